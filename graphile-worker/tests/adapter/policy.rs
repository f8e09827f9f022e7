//! When and how often a failed job is retried, and what its handler sees of it.

use std::time::Duration;

use graphile_worker::{
    BatchTaskHandler, IntoTaskHandlerResult, JobSpec, TaskHandler, WorkerContext, WorkerContextExt,
};
use retryproof::World;
use retryproof::job::JobState;
use retryproof_graphile_worker::{AddJobs, GraphileWorker, backoff, database, date};
use serde::{Deserialize, Serialize};

use crate::{HOUR, Log, S};

/// Fails, and records the time.
#[derive(Serialize, Deserialize)]
struct Fail {
    reason: String,
}

impl TaskHandler for Fail {
    const IDENTIFIER: &'static str = "fail";

    async fn run(self, ctx: WorkerContext) -> impl IntoTaskHandlerResult {
        let job = ctx.job();
        let at = job.locked_at().expect("it runs").signed_duration_since(date(Duration::ZERO));
        let (attempt, of) = (job.attempts(), job.max_attempts());
        let log: &Log = ctx.get_ext().unwrap();
        log.note(format!("{attempt}/{of} at {} us", at.num_microseconds().unwrap()));
        Err::<(), _>(self.reason)
    }
}

fn failing(spec: JobSpec) -> (World, Log) {
    let world = World::fake();
    let log = Log::of(&world);
    let noted = log.clone();
    world.process("worker", move |p| {
        GraphileWorker::new().add_extension(noted.clone()).define_job::<Fail>().run(p);
    });
    world.add_job(Fail { reason: "no such order".to_owned() }, spec);
    world.settle().run();
    (world, log)
}

#[test]
fn a_failed_job_waits_for_e_to_the_number_of_its_attempts_in_seconds() {
    let (world, log) = failing(JobSpec::builder().max_attempts(4).build());
    // Exact: 2.718282 s, then 7.389056 s, then 20.085537 s.
    let times = ["1/4 at 0 us", "2/4 at 2718282 us", "3/4 at 10107338 us", "4/4 at 30192875 us"];
    assert_eq!(log.0.get(), times);
    let dead = world.dead();
    assert_eq!((dead.len(), dead[0].failures, dead[0].state), (1, 4, JobState::Dead));
    assert_eq!(dead[0].error.as_deref(), Some("\"no such order\""), "as its Debug says it");
}

#[test]
fn a_job_is_attempted_25_times_unless_it_says_otherwise() {
    let (world, log) = failing(JobSpec::default());
    assert_eq!((log.0.get().len(), world.dead()[0].failures), (25, 25));
    // From the tenth attempt on, each wait has the same length.
    let ends = (1..=24).map(backoff).sum::<Duration>();
    assert_eq!(world.now(), ends);
    assert_eq!((backoff(10), backoff(24)), (Duration::from_micros(22_026_465_795), backoff(10)));
    let (world, log) = failing(JobSpec::builder().max_attempts(1).build());
    assert_eq!((log.0.get().len(), world.dead().len(), world.now()), (1, 1, Duration::ZERO));
    let (_, log) = failing(JobSpec::builder().max_attempts(40).build());
    assert_eq!(log.0.get().len(), 40, "more than the default");
}

/// Records what it sees of its job.
#[derive(Serialize, Deserialize)]
struct Look {
    at: String,
}

impl TaskHandler for Look {
    const IDENTIFIER: &'static str = "look";

    async fn run(self, ctx: WorkerContext) -> impl IntoTaskHandlerResult {
        let job = ctx.job();
        let log: &Log = ctx.get_ext().unwrap();
        log.note(format!(
            "{} {} by {} in {}: attempt {}, priority {}, key {:?}, flags {}, queued {}, run at {}, added at {}",
            job.task_identifier(),
            ctx.payload(),
            ctx.worker_id(),
            ctx.schema(),
            job.attempts(),
            job.priority(),
            job.key(),
            job.flags().clone().unwrap_or_default(),
            job.job_queue_id().is_some(),
            job.run_at().format("%H:%M:%S"),
            job.created_at().format("%H:%M:%S"),
        ));
        log.note(job.id().to_string());
        assert_eq!(ctx.task_details().get(job.task_id()).await.as_deref(), Some("look"));
        if *job.attempts() == 1 { Err("once more") } else { Ok(()) }
    }
}

#[test]
fn a_handler_sees_its_job() {
    let world = World::fake();
    let log = Log::of(&world);
    let noted = log.clone();
    world.process("worker", move |p| {
        let worker = GraphileWorker::new().schema("Shop").add_extension(noted.clone());
        worker.define_job::<Look>().concurrency(1).run(p);
    });
    world.advance(60 * S);
    let spec = JobSpec::builder().priority(-3).job_key("k").flags(vec!["gpu".to_owned()]).queue_name("q");
    world.add_job(Look { at: "me".to_owned() }, spec.run_at(date(HOUR)).build());
    world.settle().run();
    let seen = |attempt: u32| {
        format!(
            "look {{\"at\":\"me\"}} by worker-1 in \"Shop\": attempt {attempt}, priority -3, key Some(\"k\"), flags {{\"gpu\":true}}, queued true, run at 01:00:00, added at 00:01:00"
        )
    };
    let log = log.0.get();
    assert_eq!((log[0].as_str(), log[2].as_str()), (seen(1).as_str(), seen(2).as_str()));
    assert_eq!(log[1], log[3], "its number stays the same");
    assert!(log[1].parse::<i64>().unwrap() > 0);
}

/// Items, some of which fail.
#[derive(Serialize, Deserialize)]
struct Item(u32);

impl BatchTaskHandler for Item {
    const IDENTIFIER: &'static str = "item";

    async fn run_batch(
        items: Vec<Self>,
        ctx: WorkerContext,
    ) -> impl graphile_worker::IntoBatchTaskHandlerResult {
        let log: &Log = ctx.get_ext().unwrap();
        log.note(format!("{:?}", items.iter().map(|item| item.0).collect::<Vec<_>>()));
        if items.len() > 3 { Err("too many") } else { Ok(()) }
    }
}

#[test]
fn a_batch_is_run_as_one_job() {
    let world = World::fake();
    let log = Log::of(&world);
    let noted = log.clone();
    world.process("worker", move |p| {
        GraphileWorker::new().add_extension(noted.clone()).define_batch_job::<Item>().run(p);
    });
    world.add_batch_job(vec![Item(1), Item(2)], JobSpec::default());
    world.add_batch_job((0..4).map(Item).collect(), JobSpec::builder().max_attempts(2).build());
    world.settle().run();
    assert_eq!(log.0.get(), ["[1, 2]", "[0, 1, 2, 3]", "[0, 1, 2, 3]"]);
    assert_eq!(world.dead()[0].error.as_deref(), Some("\"too many\""));
}

/// Uses a statement that the adapter does not model.
#[derive(Serialize, Deserialize)]
struct Remove;

impl TaskHandler for Remove {
    const IDENTIFIER: &'static str = "remove";

    async fn run(self, ctx: WorkerContext) -> impl IntoTaskHandlerResult {
        ctx.utils().complete_jobs(&[1]).await.map(drop).map_err(|error| error.to_string())
    }
}

#[test]
fn a_statement_that_is_not_modelled_is_an_error_that_says_so() {
    let world = World::fake();
    world.process("worker", |p| {
        GraphileWorker::new().define_job::<Remove>().run(p);
        let begun = graphile_worker_database::Database::from(&database(p));
        p.spawn("starter", async move {
            begun.begin().await.map(drop).unwrap_err();
        });
    });
    world.add_job(Remove, JobSpec::builder().max_attempts(1).build());
    world.settle().run();
    let error = world.dead()[0].error.clone().unwrap();
    // A part: the rest is the driver's.
    assert!(
        error.contains(
            "this statement is not modeled: `select * from graphile_worker.complete_jobs($1::bigint[]);`"
        ),
        "{error}"
    );
}

#[test]
#[should_panic(expected = "a job for `fail` is not added: a job must have at least 1 for max_attempts")]
fn what_the_table_would_not_hold_is_not_added() {
    failing(JobSpec::builder().max_attempts(0).build());
}

#[test]
#[should_panic(expected = "the worker in process `worker` has no task; add one by `define_job::<T>()`")]
fn a_worker_without_a_task_is_refused() {
    let world = World::fake();
    world.process("worker", |p| GraphileWorker::new().run(p));
    world.settle().run();
}
