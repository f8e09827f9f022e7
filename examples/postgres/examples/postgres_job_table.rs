//! Two workers that poll a table of jobs in a real PostgreSQL, with a loop of their own and no job library.
//!
//! ```console
//! $ cargo run -p retryproof-wrapped-postgres --example postgres_job_table
//! ```
//!
//! It starts its own server if PostgreSQL is installed, or uses the one in `DATABASE_URL`.
//!
//! You will see three reports. A worker that looks for a job and then takes it pays a job twice, without any failure,
//! if the other worker takes the job in between. `SELECT … FOR UPDATE SKIP LOCKED` fixes that, but a crash after the
//! payment still pays twice. With an idempotency key as well, every scenario passes.

use std::io::{self, Write};
use std::time::Duration;

use retryproof::service::payments::{Charge, Payments};
use retryproof::{Client, Clock, Explore, Report, World};
use retryproof_sqlx::Pool;
use retryproof_wrapped_postgres::database::Database;
use retryproof_wrapped_postgres::server::Server;
use sqlx::{Error, Postgres};

const TABLES: &str = "CREATE TABLE jobs (id BIGINT PRIMARY KEY, amount BIGINT NOT NULL, \
    state TEXT NOT NULL DEFAULT 'new', lease_ends BIGINT NOT NULL DEFAULT 0)";

#[derive(Clone, Copy, Debug)]
enum Care {
    /// Looks for a job, then takes it. The other worker does the same.
    LooksThenTakes,
    /// Locks the row that it looks at, so no other worker takes it. But after a crash it requests the payment again.
    SkipsLocked,
    /// And its request has the number of the job as a key.
    WithKey,
}

/// The endless loop of the worker.
async fn work(
    pool: Pool<Postgres>,
    care: Care,
    clock: Clock,
    payments: Client<Payments>,
) -> Result<(), Error> {
    loop {
        let now = clock.now().as_secs() as i64;
        let Some((id, amount)) = take(&pool, care, now).await? else {
            tokio::time::sleep(Duration::from_secs(5)).await;
            continue;
        };
        let charge = Charge::of_order(id.unsigned_abs(), amount.unsigned_abs());
        let charge = match care {
            Care::WithKey => charge.key(format!("job-{id}")),
            Care::LooksThenTakes | Care::SkipsLocked => charge,
        };
        // A job that was not paid is taken again when its lease ends.
        if payments.charge(charge).await.is_ok() {
            sqlx::query("UPDATE jobs SET state = 'done' WHERE id = $1").bind(id).execute(&pool).await?;
        }
    }
}

async fn take(pool: &Pool<Postgres>, care: Care, now: i64) -> Result<Option<(i64, i64)>, Error> {
    const TAKE: &str = "UPDATE jobs SET state = 'running', lease_ends = $1 WHERE id = $2";
    let locks = match care {
        Care::LooksThenTakes => "",
        Care::SkipsLocked | Care::WithKey => "FOR UPDATE SKIP LOCKED",
    };
    let free = format!(
        "SELECT id, amount FROM jobs WHERE state = 'new' OR state = 'running' AND lease_ends <= $1 \
         ORDER BY id LIMIT 1 {locks}"
    );
    let mut tx = pool.begin().await?;
    let found: Option<(i64, i64)> = sqlx::query_as(&free).bind(now).fetch_optional(&mut *tx).await?;
    if let Some((id, _)) = found {
        sqlx::query(TAKE).bind(now + 60).bind(id).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(found)
}

fn explored(server: &Server, care: Care) -> Report {
    let database = Database::new(server, TABLES);
    let report = Explore::new().name(format!("{care:?}")).deviations(1).run(async |world: &World| {
        let external = database.start(world, "INSERT INTO jobs (id, amount) VALUES (1, 500), (2, 700)");
        for worker in ["one", "two"] {
            let theirs = database.clone();
            world.process(worker, move |p| {
                p.spawn("loop", work(theirs.pool(p, 2), care, p.clock(), p.payments()));
            });
        }
        let left = "SELECT id, state FROM jobs WHERE state <> 'done'";
        let all_done = |_: &World| external.block_on(database.clone().rows(left)).is_empty();
        assert!(world.settle_until(all_done).await, "a job was never done");
        external.block_on(database.clone().nothing_is_open());
    });
    database.drop(&World::fake().external("db"));
    report
}

fn main() -> io::Result<()> {
    // Prints that it is skipped if there is no PostgreSQL, and fails if skipping is forbidden.
    let Some(server) = Server::shared() else { return Ok(()) };
    let mut out = io::stdout().lock();
    for care in [Care::LooksThenTakes, Care::SkipsLocked, Care::WithKey] {
        writeln!(out, "{}\n", explored(server, care))?;
    }
    Ok(())
}
