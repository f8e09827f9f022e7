//! fang 0.11.0, with sqlx: workers that take tasks with `FOR UPDATE SKIP LOCKED`.

use std::cell::RefCell;
use std::time::Duration;

use fang::asynk::async_queue::{AsyncQueue, AsyncQueueable};
use fang::{AsyncRunnable, AsyncWorkerPool, FangError, RetentionMode};
use retryproof::{Explore, Report, World};
use retryproof_postgres::{Postgres, WorldExt, is_available};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

thread_local! {
    /// Tasks of a process find its database here.
    static DATABASE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The task of the program under test. It may run any number of times: the second charge of an order changes nothing.
#[derive(Serialize, Deserialize)]
struct Charge {
    order: i64,
    is_repeatable: bool,
}

#[typetag::serde]
#[async_trait::async_trait]
impl AsyncRunnable for Charge {
    async fn run(&self, _: &dyn AsyncQueueable) -> Result<(), FangError> {
        let pool = PgPool::connect_lazy(&DATABASE.with_borrow(Clone::clone))?;
        let insert = match self.is_repeatable {
            true => "INSERT INTO charges VALUES ($1) ON CONFLICT DO NOTHING",
            false => "INSERT INTO charges SELECT $1 + count(*) FROM charges",
        };
        sqlx::query(insert).bind(self.order).execute(&pool).await?;
        Ok(())
    }

    fn backoff(&self, _: u32) -> u32 {
        0
    }
}

async fn run_worker(url: String) -> Result<(), String> {
    DATABASE.set(url.clone());
    let mut queue = AsyncQueue::builder().uri(url).max_pool_size(2_u32).build();
    queue.connect().await.map_err(|error| error.to_string())?;
    let workers = AsyncWorkerPool::<AsyncQueue>::builder().number_of_workers(1_u32).queue(queue);
    workers.retention_mode(RetentionMode::KeepAll).build().start().await;
    // The workers are tasks of tokio, and go on as long as the program runs.
    loop {
        tokio::time::sleep(Duration::from_secs(600)).await;
    }
}

static QUEUE: Postgres = Postgres::migrated(|url| {
    Box::pin(async move {
        let pool = PgPool::connect(&url).await?;
        let migrations = retryproof_real_programs::migrations_of("fang", "postgres_migrations/migrations");
        sqlx::raw_sql(&migrations).execute(&pool).await?;
        sqlx::raw_sql("CREATE TABLE charges (order_id bigint PRIMARY KEY)").execute(&pool).await?;
        Ok(())
    })
});

fn explored(explore: Explore, workers: &'static [&'static str], is_repeatable: bool) -> Report {
    explore.run(async move |world: &World| {
        let db = world.postgres(&QUEUE);
        let task = format!(r#"{{"type":"Charge","order":6,"is_repeatable":{is_repeatable}}}"#);
        db.execute(&format!("INSERT INTO fang_tasks (metadata) VALUES ('{task}')"));
        for worker in workers {
            let db = db.clone();
            world.process(*worker, move |p| p.spawn("worker", run_worker(db.url(p))));
        }
        let long = Duration::from_secs(600);
        world
            .settle_until(|world| world.now() > long || db.count("fang_tasks WHERE state = 'finished'") == 1)
            .await;
    })
}

#[track_caller]
fn assert_found(report: &Report, scenarios: &[&str]) {
    let paths = report.violations().iter().flat_map(|violation| &violation.paths);
    let found: Vec<_> = paths.map(|path| path.scenario.to_string()).collect();
    for scenario in scenarios {
        assert!(
            found.iter().any(|found| found.contains(scenario)),
            "no `{scenario}` in {found:#?}\n{report}"
        );
    }
}

/// The task is repeatable, and still is never run again: it stays `in_progress`, and nobody looks for those.
#[test]
fn a_worker_that_dies_loses_its_task() {
    if !is_available() {
        return;
    }
    let report = explored(Explore::new().name("dies").deviations(1).keep_going(), &["one"], true);
    assert_found(
        &report,
        &[
            "db.update-fang_tasks:call=reply-lost",
            "db.update-fang_tasks:happened=crash",
            "db.insert-charges:before=crash",
        ],
    );
}

/// Nothing fails. The lock of the `SELECT … FOR UPDATE SKIP LOCKED` ends with that statement, because it is not in one
/// transaction with the `UPDATE` that follows.
#[test]
fn two_workers_take_the_same_task() {
    if !is_available() {
        return;
    }
    let explore = Explore::new().name("both").deviations(1).crashes(0).faults(0);
    assert_found(&explored(explore, &["one", "two"], false), &["db.select-fang_tasks:next=other"]);
}
