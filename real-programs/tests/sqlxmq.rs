//! sqlxmq 0.6.0: a runner that polls with a function in the database, and listens for notifications.

use std::error::Error;
use std::time::Duration;

use retryproof::{Explore, Report, Verdict, World};
use retryproof_postgres::{Postgres, WorldExt, is_available};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use sqlxmq::{CurrentJob, JobRegistry};

type Failure = Box<dyn Error + Send + Sync>;

/// The job of the program under test.
#[sqlxmq::job("charge")]
async fn charge(mut current: CurrentJob) -> Result<(), Failure> {
    sqlx::query("INSERT INTO charges (order_id) VALUES (6)").execute(current.pool()).await?;
    current.complete().await?;
    Ok(())
}

/// The same, in one transaction with the end of the job.
#[sqlxmq::job("charge_once")]
async fn charge_once(mut current: CurrentJob) -> Result<(), Failure> {
    let pool = current.pool().clone();
    let mut tx = pool.begin().await?;
    sqlx::query("INSERT INTO charges (order_id) VALUES (6)").execute(&mut *tx).await?;
    current.complete_with_transaction(tx).await?;
    Ok(())
}

async fn run_worker(url: String) -> Result<(), Failure> {
    let pool = PgPoolOptions::new().max_connections(4).connect_lazy(&url)?;
    let registry = JobRegistry::new(&[charge, charge_once]);
    let _runner = registry.runner(&pool).set_concurrency(1, 2).run().await?;
    // The runner is a task of tokio, and goes on as long as the program runs.
    loop {
        tokio::time::sleep(Duration::from_secs(600)).await;
    }
}

static QUEUE: Postgres = Postgres::migrated(|url| {
    Box::pin(async move {
        let pool = PgPool::connect(&url).await?;
        let migrations = retryproof_real_programs::migrations_of("sqlxmq", "migrations");
        sqlx::raw_sql(&migrations).execute(&pool).await?;
        sqlx::raw_sql("CREATE TABLE charges (order_id bigint NOT NULL)").execute(&pool).await?;
        Ok(())
    })
});

fn explored(name: &'static str) -> Report {
    Explore::new().name(name).deviations(1).run(async move |world: &World| {
        let db = world.postgres(&QUEUE);
        db.execute(&format!(
            "SELECT mq_insert(ARRAY[ROW('6ba7b810-9dad-11d1-80b4-00c04fd430c8', '0', 5, '1 second', '', '', NULL, false, '{name}', NULL, NULL)::mq_new_t])"
        ));
        let of_boot = db.clone();
        world.process("worker", move |p| p.spawn("runner", run_worker(of_boot.url(p))));
        // All retries are over by then.
        world.settle_until(|world| world.now() > Duration::from_secs(90)).await;
        assert!(db.count("charges") > 0, "the job has not run");
    })
}

#[test]
fn a_job_that_completes_apart_from_its_work_charges_twice() {
    if !is_available() {
        return;
    }
    let report = explored("charge");
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    let found = report.violations()[0].scenario.to_string();
    assert!(found.contains("db.insert-charges:call=reply-lost"), "{report}");
}

#[test]
fn a_job_that_completes_with_its_work_charges_once() {
    if !is_available() {
        return;
    }
    let report = explored("charge_once");
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    assert!(report.runs() > 20, "{report}");
}
