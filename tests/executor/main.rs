//! The executor, row by row as `docs/spec/executor.md` specifies it; each test is named after its row.

mod bad_input;
mod better;
mod bulk;
mod by_hand;
mod context;
mod failures;
mod iterable;
mod middleware;
mod modes;
mod order_properties;
mod ordering;
mod priorities;
mod properties;
mod put;
mod raw;
mod retries;
mod rows;
mod shutdown;
mod the_same;
mod unique;
mod unique_checked;

use std::time::Duration;

use retryproof::{Durable, Explore, JobView, Process, Report, Verdict, World};

const S: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// A job of a kind of its own beside `u32`.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Mail {
    to: u32,
}

/// What happened, in order.
type Log = Durable<Vec<String>>;

fn log(world: &World) -> Log {
    world.durable("log", Vec::new())
}

/// Adds a worker.
fn worker(world: &World, log: &Log, boot: impl Fn(&Process, &Log) + 'static) {
    let log = log.clone();
    world.process("worker", move |p| boot(p, &log));
}

/// A worker that notes each job, of two kinds; a `u32` of 13 fails.
fn noting(world: &World, log: &Log) {
    worker(world, log, |p, log| {
        let noted = log.clone();
        p.handle(async move |job: u32| {
            noted.update(|log| log.push(format!("u32 {job}")));
            if job == 13 { Err("unlucky") } else { Ok(()) }
        });
        let noted = log.clone();
        p.handle(async move |mail: Mail| noted.update(|log| log.push(format!("Mail {}", mail.to))));
    });
}

/// One deviation shows most.
fn one_deviation() -> Explore {
    Explore::new().name("test").deviations(1)
}

#[track_caller]
fn assert_green(report: &Report) {
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    assert!(report.exhausted(), "{report}");
}

/// The report condemns the job, with this sentence, in this scenario.
#[track_caller]
fn assert_violated(report: &Report, summary: &str, scenario: &str) {
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    let found =
        report.violations().iter().any(|v| v.summary == summary && v.scenario.to_string() == scenario);
    assert!(found, "no violation `{summary}` in the scenario `{scenario}`:\n{report}");
}

fn numbers(jobs: &[JobView]) -> Vec<u32> {
    jobs.iter().map(|job| job.number).collect()
}

/// The message with which `code` panics.
#[track_caller]
fn panic_of(code: impl FnOnce()) -> String {
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(code)).expect_err("it panics");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().expect("a panic with a text")).to_owned(),
    }
}
