//! Unmodified drivers, with a proxy between them and a real PostgreSQL: bad jobs are found, good twins pass, and whatever
//! a client sends, nothing hangs and the next scenario starts clean.

mod bad_input;
mod drivers;
mod locks;
mod places;
mod repeats;
mod state;
mod together;

use retryproof::{Explore, Report, Verdict, World};
use retryproof_postgres::{Database, Postgres, WorldExt, is_available};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Error, PgPool};

/// Orders that are paid, with a receipt for each payment.
static SHOP: Postgres = Postgres::schema(
    "CREATE TABLE orders (id bigint PRIMARY KEY, cents bigint NOT NULL, state text NOT NULL DEFAULT 'new');
    CREATE TABLE receipts (id bigserial PRIMARY KEY, order_id bigint NOT NULL REFERENCES orders (id),
        at timestamptz NOT NULL DEFAULT now());
    CREATE UNIQUE INDEX ON receipts (order_id, at)",
);

/// A pool as a program makes it.
fn pool(url: &str, most: u32) -> PgPool {
    PgPoolOptions::new().max_connections(most).connect_lazy(url).expect("the URL is one of a database")
}

fn one_deviation(name: &str) -> Explore {
    Explore::new().name(name).deviations(1)
}

/// Jobs only overtake each other.
fn overtaking(name: &str) -> Explore {
    Explore::new().name(name).deviations(2).crashes(0).faults(0).deliveries(0)
}

/// One job with a pool of its own, on an order.
fn with_pool(
    explore: &Explore,
    job: impl AsyncFn(PgPool) -> Result<(), Error> + Clone + Sync + 'static,
) -> Report {
    explore.run(async |world: &World| {
        let db = world.postgres(&SHOP);
        db.execute("INSERT INTO orders VALUES (6, 2598)");
        let job = job.clone();
        world.process("worker", move |p| {
            let (pool, job) = (pool(&db.url(p), 2), job.clone());
            p.handle(async move |_: u32| job(pool.clone()).await);
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}

#[track_caller]
fn assert_red(report: &Report, texts: &[&str]) {
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    let found: Vec<_> =
        report.violations().iter().map(|v| format!("{}: {}", v.summary, v.scenario)).collect();
    for text in texts {
        assert!(found.iter().any(|found| found.contains(text)), "no `{text}` in {found:#?}\n{report}");
    }
}

#[track_caller]
fn assert_green(report: &Report) {
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    assert!(report.runs() > 5, "{report}");
}

/// Reports whether the server was started here. It lets clients in without a password, and says itself that a
/// statement waits for a lock.
fn is_own_server() -> bool {
    is_available() && std::env::var("DATABASE_URL").map_or(true, |url| !url.starts_with("postgres"))
}

/// Counts the backends of the scenario's database besides the test's own.
fn backends(db: &Database, what: &str) -> u64 {
    let all = "pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    db.execute("SELECT 1");
    db.count(&format!("{all} {what}"))
}
