//! Helpers of all test binaries of the workspace: `mod support;`, or by `#[path]` from another member.
#![allow(dead_code, reason = "no binary uses all of them")]

use std::process::Command;
use std::time::Duration;

use retryproof::{Durable, Explore, Process, Report, Verdict, World};

pub(crate) const S: Duration = Duration::from_secs(1);
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// What happened, in order.
pub(crate) type Log = Durable<Vec<String>>;

pub(crate) fn log(world: &World) -> Log {
    world.durable("log", Vec::new())
}

/// Adds a worker.
pub(crate) fn worker(world: &World, log: &Log, boot: impl Fn(&Process, &Log) + 'static) {
    let log = log.clone();
    world.process("worker", move |p| boot(p, &log));
}

/// One deviation shows most.
pub(crate) fn one_deviation() -> Explore {
    Explore::new().name("test").deviations(1)
}

/// Nothing goes wrong, and every scenario was run.
#[track_caller]
pub(crate) fn assert_green(report: &Report) {
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    assert!(report.exhausted(), "{report}");
}

/// The report condemns the job, with this sentence, in this scenario.
#[track_caller]
pub(crate) fn assert_violated(report: &Report, summary: &str, scenario: &str) {
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    let found =
        report.violations().iter().any(|v| v.summary == summary && v.scenario.to_string() == scenario);
    assert!(found, "no violation `{summary}` in the scenario `{scenario}`:\n{report}");
}

/// The message with which `code` panics.
#[track_caller]
pub(crate) fn panic_of(code: impl FnOnce()) -> String {
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(code)).expect_err("it panics");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().expect("a panic with a text")).to_owned(),
    }
}

/// The path of a test as its binary knows it: `own_path(module_path!(), "panics_often")`.
pub(crate) fn own_path(module: &str, test: &str) -> String {
    match module.split_once("::") {
        Some((_, module)) => format!("{module}::{test}"),
        None => test.to_owned(),
    }
}

/// This binary, started anew for one ignored test of it: `own_test(module_path!(), "panics_often")`.
pub(crate) fn own_test(module: &str, test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a test has a program"));
    command.args(["--ignored", "--exact", &own_path(module, test), "--test-threads=1"]);
    command
}

/// The same command in a pseudo terminal, which `script` (util-linux) makes.
pub(crate) fn on_a_terminal(plain: &Command) -> Command {
    let words: Vec<_> = std::iter::once(plain.get_program()).chain(plain.get_args()).collect();
    let words: Vec<_> = words.into_iter().map(|word| word.to_str().expect("UTF-8")).collect();
    let mut script = Command::new("script");
    script.args(["-qec", &format!("'{}'", words.join("' '")), "/dev/null"]);
    script
}
