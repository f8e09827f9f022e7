//! Checks the adapter's assumptions about graphile_worker with its own worker on a real PostgreSQL.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use graphile_worker::tokio_postgres::TokioPostgresDatabase;
use graphile_worker::{
    Database, DbExecutor, DbParams, DbRow, IntoTaskHandlerResult, JobKeyMode, JobSpec, TaskHandler, Worker,
    WorkerContext, WorkerContextExt, WorkerOptions, WorkerUtils,
};
use retryproof::World;
use retryproof::job::JobState;
use retryproof_graphile_worker::{AddJobs, GraphileWorker, backoff};
use retryproof_wrapped_postgres::server::Server;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const HOUR: Duration = Duration::from_secs(3_600);

/// The database of the tests' server. `None` if there is no server.
fn database() -> Option<Database> {
    let server = Server::shared()?;
    let options = server.options();
    let text = match (std::env::var("DATABASE_URL"), options.get_socket()) {
        (_, Some(socket)) => format!("host={} user=postgres dbname=postgres", socket.display()),
        (Ok(url), None) => url,
        (Err(_), None) => unreachable!("a server of our own has a socket"),
    };
    Some(TokioPostgresDatabase::from_url(&text, 4).expect("it is an address").into())
}

async fn rows(database: &Database, sql: &str) -> Vec<DbRow> {
    database.fetch_all(sql, DbParams::new()).await.expect("it is a query")
}

/// The records of handlers, in the real database and in the world.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}

impl Log {
    fn note(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Records its attempt. If requested, adds another job with its key. Fails unless its payload is 0.
#[derive(Serialize, Deserialize)]
struct Task {
    n: Value,
    adds: Option<String>,
}

impl TaskHandler for Task {
    const IDENTIFIER: &'static str = "agreed";

    async fn run(self, ctx: WorkerContext) -> impl IntoTaskHandlerResult {
        let (job, log) = (ctx.job(), ctx.get_ext::<Log>().unwrap());
        log.note(format!("{} attempt {} of {}", self.n, job.attempts(), job.max_attempts()));
        if let Some(mode) = self.adds {
            let mode = if mode == "replace" { JobKeyMode::Replace } else { JobKeyMode::UnsafeDedupe };
            let spec =
                JobSpec { job_key_mode: Some(mode), job_key: Some("k".to_owned()), ..JobSpec::default() };
            ctx.add_job(Task { n: json!(0), adds: None }, spec).await.unwrap();
        }
        if self.n == json!(0) { Ok(()) } else { Err("no") }
    }
}

fn task(n: Value) -> Task {
    Task { n, adds: None }
}

fn keyed(mode: JobKeyMode, hours: u32) -> JobSpec {
    JobSpec {
        job_key: Some("k".to_owned()),
        job_key_mode: Some(mode),
        run_at: Some(Utc::now() + hours * HOUR),
        ..JobSpec::default()
    }
}

/// A real worker in its own schema.
async fn worker(database: &Database, schema: &str, log: &Log) -> (Worker, WorkerUtils) {
    rows(database, &format!("drop schema if exists {schema} cascade")).await;
    let options = WorkerOptions::default().database(database.clone()).schema(schema).concurrency(1);
    let options = options.listen_os_shutdown_signals(false).add_extension(log.clone());
    let worker = options.define_job::<Task>().init().await.expect("it starts");
    (worker, WorkerUtils::new(database.clone(), schema))
}

/// A world with the same worker.
fn world(log: &Log) -> World {
    let (world, log) = (World::fake(), log.clone());
    world.process("worker", move |p| {
        GraphileWorker::new().concurrency(1).add_extension(log.clone()).define_job::<Task>().run(p);
    });
    world
}

fn real(test: impl AsyncFnOnce(Database)) {
    let Some(database) = database() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test(database));
}

#[test]
fn delays_and_numbers_of_attempts_are_those_of_the_real_worker() {
    real(async |database| {
        let log = Log::default();
        let (worker, utils) = worker(&database, "agreed_delays", &log).await;
        utils.add_job(task(json!(1)), JobSpec::builder().max_attempts(3).build()).await.unwrap();
        for attempt in 1..=3 {
            let before = Utc::now();
            worker.run_once().await.unwrap();
            let run_at = &rows(&database, "select run_at from agreed_delays._private_jobs").await[0];
            let run_at: DateTime<Utc> = run_at.try_get("run_at").unwrap();
            let (least, most) = (before + backoff(attempt), Utc::now() + backoff(attempt));
            // Its clock is that of this machine, and both have microseconds.
            assert!(least - Duration::from_millis(5) <= run_at && run_at <= most, "{least} {run_at} {most}");
            rows(&database, "update agreed_delays._private_jobs set run_at = now()").await;
        }
        worker.run_once().await.unwrap();
        let theirs = log.take();
        let exact =
            "select (extract(epoch from exp(least(7, 10)) * interval '1 second') * 1000000)::bigint as wait";
        let wait: i64 = rows(&database, exact).await[0].try_get("wait").unwrap();
        assert_eq!(backoff(7).as_micros(), wait as u128);
        assert!(utils.add_job(task(json!(1)), JobSpec::builder().max_attempts(0).build()).await.is_err());

        let world = world(&log);
        world.add_job(task(json!(1)), JobSpec::builder().max_attempts(3).build());
        world.settle().run();
        assert_eq!((log.take(), world.dead().len()), (theirs, 1));
    });
}

#[test]
fn keys_do_what_they_do_on_the_real_table() {
    real(async |database| {
        let log = Log::default();
        for (first, second) in [(json!(1), json!(2)), (json!([1]), json!([2, 3])), (json!([1]), json!(2))] {
            for mode in [JobKeyMode::Replace, JobKeyMode::PreserveRunAt, JobKeyMode::UnsafeDedupe] {
                let (_, utils) = worker(&database, "agreed_keys", &log).await;
                for (payload, hours) in [(&first, 2), (&second, 1)] {
                    utils.add_raw_job("agreed", payload, keyed(mode.clone(), hours)).await.unwrap();
                }
                let sql = "select payload, round(extract(epoch from run_at - created_at) / 3600)::int as hours \
                           from agreed_keys._private_jobs";
                let theirs: Vec<(String, i32)> = rows(&database, sql)
                    .await
                    .iter()
                    .map(|row| {
                        (row.try_get::<Value>("payload").unwrap().to_string(), row.try_get("hours").unwrap())
                    })
                    .collect();
                let world = world(&log);
                for (payload, hours) in [(&first, 2), (&second, 1)] {
                    world.add_raw_job("agreed", payload, keyed(mode.clone(), hours));
                }
                let hours = |due: Option<Duration>| (due.unwrap().as_secs() / 3_600) as i32;
                let ours = world
                    .all_jobs()
                    .iter()
                    .map(|job| (job.payload.clone(), hours(job.due)))
                    .collect::<Vec<_>>();
                assert_eq!(ours, theirs, "{mode:?}, {first} and {second}");
            }
        }
    });
}

#[test]
fn a_job_that_runs_loses_its_key_as_on_the_real_table() {
    real(async |database| {
        for mode in ["replace", "unsafe_dedupe"] {
            let log = Log::default();
            let (worker, utils) = worker(&database, "agreed_running", &log).await;
            let first = || Task { n: json!(1), adds: Some(mode.to_owned()) };
            let spec = JobSpec { max_attempts: Some(2), ..keyed(JobKeyMode::Replace, 0) };
            utils.add_job(first(), spec.clone()).await.unwrap();
            for _ in 0..3 {
                worker.run_once().await.unwrap();
                rows(&database, "update agreed_running._private_jobs set run_at = now()").await;
            }
            let theirs = log.take();
            let left =
                rows(&database, "select key, attempts, max_attempts from agreed_running._private_jobs").await;
            assert_eq!(left.len(), 1, "the first one, which is not tried again");
            assert_eq!(left[0].try_get::<i16>("attempts").unwrap(), 2);

            let world = world(&log);
            world.add_job(first(), spec);
            world.settle().run();
            assert_eq!(log.take(), theirs, "{mode}");
            let state = world.all_jobs()[0].state;
            assert_eq!(state, if mode == "replace" { JobState::Replaced } else { JobState::Dead });
        }
    });
}
