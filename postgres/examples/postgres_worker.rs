//! A worker of a program, unchanged: it polls a table with sqlx, charges customers over HTTP with reqwest, and notes it
//! in the same transaction. Only the two URLs in its settings differ from production.
//!
//! ```console
//! $ cargo run -p retryproof-postgres --example postgres_worker
//! ```
//!
//! You will see two reports. Without idempotency keys, a worker that dies between the charge and the commit charges
//! twice (RP0002). With keys that are the same on every attempt, every scenario ends well. The program fails unless it
//! comes out so. It needs PostgreSQL, or a server in `DATABASE_URL`.

#![expect(clippy::print_stdout, reason = "it is the example's purpose")]

use retryproof::{Explore, Report, World};
use retryproof_postgres::{Postgres, WorldExt, is_available};

/// The program under test. It knows nothing of the harness.
mod program {
    use std::time::Duration;

    use serde_json::json;
    use sqlx::PgPool;
    use sqlx::postgres::PgPoolOptions;

    type Error = Box<dyn std::error::Error + Send + Sync>;

    #[derive(Clone)]
    pub(crate) struct Settings {
        pub(crate) database_url: String,
        pub(crate) payments_url: String,
        pub(crate) has_keys: bool,
    }

    pub(crate) const MIGRATIONS: &str = "
        CREATE TABLE orders (id bigserial PRIMARY KEY, customer text NOT NULL, cents bigint NOT NULL,
            state text NOT NULL DEFAULT 'new', paid_at timestamptz);
        CREATE TABLE receipts (id bigserial PRIMARY KEY, order_id bigint NOT NULL REFERENCES orders (id));";

    pub(crate) async fn migrate(url: String) -> Result<(), Error> {
        let pool = PgPool::connect(&url).await?;
        sqlx::raw_sql(MIGRATIONS).execute(&pool).await?;
        Ok(())
    }

    pub(crate) async fn run_worker_until_stopped(settings: Settings) -> Result<(), Error> {
        let pool = PgPoolOptions::new().max_connections(2).connect_lazy(&settings.database_url)?;
        let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build()?;
        loop {
            match charge_next(&pool, &client, &settings).await {
                Ok(true) => {}
                Ok(false) => tokio::time::sleep(Duration::from_secs(10)).await,
                Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    }

    async fn charge_next(
        pool: &PgPool,
        client: &reqwest::Client,
        settings: &Settings,
    ) -> Result<bool, Error> {
        let mut tx = pool.begin().await?;
        let next = "SELECT id, customer, cents FROM orders WHERE state = 'new' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED";
        let next: Option<(i64, String, i64)> = sqlx::query_as(next).fetch_optional(&mut *tx).await?;
        let Some((id, customer, cents)) = next else { return Ok(false) };
        let mut metadata = json!({ "order_id": id.to_string() });
        if settings.has_keys {
            metadata["idempotency_key"] = format!("order-{id}").into();
        }
        let charge = json!({
            "customer_id": customer, "payment_method_id": "pm_2", "amount_cents": cents, "metadata": metadata,
        });
        let url = format!("{}/payments/charge", settings.payments_url);
        client.post(url).json(&charge).send().await?.error_for_status()?;
        sqlx::query("INSERT INTO receipts (order_id) VALUES ($1)").bind(id).execute(&mut *tx).await?;
        sqlx::query("UPDATE orders SET state = 'paid', paid_at = now() WHERE id = $1")
            .bind(id)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(true)
    }
}

static SHOP: Postgres = Postgres::migrated(|url| Box::pin(program::migrate(url)));

pub(crate) fn explore(name: &str, has_keys: bool) -> Report {
    let replay = "cargo run -p retryproof-postgres --example postgres_worker";
    Explore::new().name(name).deviations(1).replay_command(replay).run(async |world: &World| {
        let db = world.postgres(&SHOP);
        db.execute("INSERT INTO orders (customer, cents) VALUES ('ann', 2598), ('bob', 1000)");
        for worker in ["worker-1", "worker-2"] {
            let db = db.clone();
            world.process(worker, move |p| {
                let (database_url, payments_url) = (db.url(p), p.http().uri());
                let settings = program::Settings { database_url, payments_url, has_keys };
                p.spawn("payments", program::run_worker_until_stopped(settings));
            });
        }
        world.settle_until(|_| db.count("orders WHERE state <> 'paid'") == 0).await;
    })
}

fn main() {
    if !is_available() {
        return;
    }
    let (naive, keyed) = (explore("without_keys", false), explore("with_keys", true));
    println!("{naive}\n{keyed}");
    assert!(!naive.is_retryproof(), "without keys, a worker that dies before the commit charges twice");
    assert!(keyed.is_retryproof(), "with keys it does not");
}
