//! Keys of jobs, and named queues.

use graphile_worker::{
    IntoTaskHandlerResult, JobKeyMode, JobSpec, TaskHandler, WorkerContext, WorkerContextExt,
};
use retryproof::job::JobState;
use retryproof::{Explore, Verdict, World};
use retryproof_graphile_worker::{AddJobs, GraphileWorker, date};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{HOUR, Log, S, Shop, send};

fn spec(key: &str, mode: JobKeyMode) -> JobSpec {
    JobSpec::builder().job_key(key).job_key_mode(mode).build()
}

fn at(hours: u32, spec: JobSpec) -> JobSpec {
    JobSpec { run_at: Some(date(hours * HOUR)), ..spec }
}

/// Records its payload.
#[derive(Serialize, Deserialize)]
struct Note(serde_json::Value);

impl TaskHandler for Note {
    const IDENTIFIER: &'static str = "note";

    async fn run(self, ctx: WorkerContext) -> impl IntoTaskHandlerResult {
        let log: &Log = ctx.get_ext().unwrap();
        log.note(format!("{} at {}", self.0, ctx.job().locked_at().unwrap().format("%H:%M")));
    }
}

/// The records of jobs that were added by `add`.
fn noted(add: impl Fn(&World)) -> Vec<String> {
    let world = World::fake();
    let log = Log::of(&world);
    let extension = log.clone();
    world.process("worker", move |p| {
        GraphileWorker::new().add_extension(extension.clone()).define_job::<Note>().run(p);
    });
    add(&world);
    world.settle().run();
    log.0.get()
}

#[test]
fn a_job_that_waits_is_replaced_keeps_its_time_or_is_left() {
    use JobKeyMode::{PreserveRunAt, Replace, UnsafeDedupe};
    let twice = |mode: JobKeyMode| {
        noted(move |world| {
            let first = world.add_job(Note(json!(1)), at(2, spec("k", Replace)));
            let second = world.add_job(Note(json!(2)), at(1, spec("k", mode.clone())));
            assert_eq!(first, second, "one job");
            world.add_job(Note(json!(3)), at(3, spec("l", mode.clone())));
        })
    };
    assert_eq!(twice(Replace), ["2 at 01:00", "3 at 03:00"]);
    assert_eq!(twice(PreserveRunAt), ["2 at 02:00", "3 at 03:00"]);
    assert_eq!(twice(UnsafeDedupe), ["1 at 02:00", "3 at 03:00"]);
}

#[test]
fn two_arrays_become_one() {
    let noted = noted(|world| {
        world.add_job(Note(json!([1])), at(1, spec("k", JobKeyMode::Replace)));
        world.add_job(Note(json!([2, 3])), at(1, spec("k", JobKeyMode::Replace)));
    });
    assert_eq!(noted, ["[1,2,3] at 01:00"]);
}

#[test]
fn a_key_is_free_when_its_job_has_ended_well() {
    let noted = noted(|world| {
        for n in 1..=2 {
            world.add_job(Note(json!(n)), spec("k", JobKeyMode::UnsafeDedupe));
            world.settle().run();
        }
    });
    assert_eq!(noted, ["1 at 00:00", "2 at 00:00"]);
}

/// While it runs for the first time, another job with its key is added. Then it fails.
#[derive(Serialize, Deserialize)]
struct AddAnother {
    first: bool,
    mode: String,
}

impl TaskHandler for AddAnother {
    const IDENTIFIER: &'static str = "add_another";

    async fn run(self, ctx: WorkerContext) -> impl IntoTaskHandlerResult {
        let log: &Log = ctx.get_ext().unwrap();
        log.note(format!("first {}, attempt {}", self.first, ctx.job().attempts()));
        if !self.first {
            return Ok(());
        }
        let mode = if self.mode == "replace" { JobKeyMode::Replace } else { JobKeyMode::UnsafeDedupe };
        let another = AddAnother { first: false, mode: self.mode };
        ctx.add_job(another, spec("k", mode)).await.unwrap();
        Err("it failed")
    }
}

#[test]
fn a_job_that_runs_loses_its_key_and_is_not_tried_again() {
    let run = |mode: &str| {
        let world = World::fake();
        let log = Log::of(&world);
        let extension = log.clone();
        world.process("worker", move |p| {
            GraphileWorker::new().add_extension(extension.clone()).define_job::<AddAnother>().run(p);
        });
        let job = AddAnother { first: true, mode: mode.to_owned() };
        world.add_job(job, JobSpec { max_attempts: Some(2), ..spec("k", JobKeyMode::Replace) });
        world.settle().run();
        (log.0.get(), world.all_jobs().iter().map(|job| job.state).collect::<Vec<_>>())
    };
    let (log, states) = run("replace");
    assert_eq!(log, ["first true, attempt 1", "first false, attempt 1"]);
    assert_eq!(states, [JobState::Replaced, JobState::Done]);
    let (log, states) = run("unsafe_dedupe");
    assert_eq!(log, ["first true, attempt 1", "first true, attempt 2"]);
    assert_eq!(states, [JobState::Dead], "its key is not free even then");
}

/// Two emails. No other email of the queue may be sent in between.
#[derive(Serialize, Deserialize)]
struct SendPair {
    name: String,
    fails_once: bool,
}

impl TaskHandler for SendPair {
    const IDENTIFIER: &'static str = "send_pair";

    async fn run(self, ctx: WorkerContext) -> impl IntoTaskHandlerResult {
        let log: &Log = ctx.get_ext().unwrap();
        log.note(format!("{} begins", self.name));
        send(&ctx, &self.name).await.map_err(|error| error.to_string())?;
        if self.fails_once && *ctx.job().attempts() == 1 {
            log.note(format!("{} fails", self.name));
            return Err("not yet".to_owned());
        }
        log.note(format!("{} ends", self.name));
        Ok(())
    }
}

/// Reports whether two of its jobs ran at the same time, based on their records.
fn overlap(log: &[String]) -> bool {
    log.chunks(2).any(|pair| pair.len() == 2 && pair[0].split(' ').next() != pair[1].split(' ').next())
}

#[test]
fn of_a_named_queue_one_job_runs_at_a_time() {
    let overlapped = |queue: Option<&'static str>| {
        let report =
            Explore::new().deviations(2).crashes(0).faults(0).deliveries(0).run(async |world: &World| {
                let log = Log::of(world);
                world.ignore("log", "$");
                let extension = log.clone();
                world.process("worker", move |p| {
                    let worker =
                        GraphileWorker::new().add_extension(extension.clone()).add_extension(Shop::of(p));
                    worker.define_job::<SendPair>().concurrency(2).run(p);
                });
                for name in ["a", "b"] {
                    let job = SendPair { name: name.to_owned(), fails_once: false };
                    world
                        .add_job(job, JobSpec { queue_name: queue.map(str::to_owned), ..JobSpec::default() });
                }
                world.settle().await;
                assert!(!overlap(&log.0.get()), "overlapped");
            });
        (report.verdict(), report.to_string().contains("overlapped"))
    };
    assert_eq!(overlapped(None), (Verdict::Violated, true));
    assert_eq!(overlapped(Some("mails")), (Verdict::RetryProof, false));
}

#[test]
fn one_that_waits_to_be_tried_again_lets_the_others_of_its_queue_go_first() {
    let world = World::fake();
    let log = Log::of(&world);
    let extension = log.clone();
    world.process("worker", move |p| {
        let worker = GraphileWorker::new().add_extension(extension.clone()).add_extension(Shop::of(p));
        worker.define_job::<SendPair>().run(p);
    });
    for (name, fails_once) in [("a", true), ("b", false)] {
        let spec = JobSpec::builder().queue_name("mails").build();
        world.add_job(SendPair { name: name.to_owned(), fails_once }, spec);
    }
    world.settle().run();
    assert_eq!(log.0.get(), ["a begins", "a fails", "b begins", "b ends", "a begins", "a ends"]);
    assert!(world.now() < 4 * S);
}
