//! Memory that threads share: each bad example beside its correct twin.
#![allow(missing_docs, reason = "a test without an interface")]

#[path = "../../../tests/support/mod.rs"]
mod support;

mod class_level_counter;
mod counters;
mod limits;
mod initialized_once;
mod misuse;
mod std_types;
mod waiting;

use retryproof::Verdict;
use retryproof::model::{Model, ModelReport};

fn run(code: impl Fn() + Send + Sync + 'static) -> ModelReport {
    Model::new().name("test").run(code)
}

/// Asserts that the code holds in every order, and that there is more than one.
#[track_caller]
fn assert_holds(code: impl Fn() + Send + Sync + 'static) -> u64 {
    let report = run(code);
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    assert!(report.exhausted() && report.executions() > 1, "{report}");
    report.executions()
}

/// Asserts that the code fails in an assertion with this text.
#[track_caller]
fn assert_fails(says: &str, code: impl Fn() + Send + Sync + 'static) -> ModelReport {
    let report = run(code);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert!(report.summary().unwrap().contains(says), "{report}");
    assert!(!report.exhausted() && !report.steps().is_empty(), "{report}");
    report
}
