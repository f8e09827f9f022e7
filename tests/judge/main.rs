//! What counts as right: inputs, and what a test accepts. For each, a bad job that is caught and a good job that passes.

mod inputs;

use retryproof::{Explore, Report, Verdict};

/// Most of it shows in one deviation.
fn one_deviation() -> Explore {
    Explore::new().name("test").deviations(1)
}

#[track_caller]
fn assert_green(report: &Report) {
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    assert!(report.exhausted(), "{report}");
}

/// The report has this violation first, in this scenario.
#[track_caller]
fn assert_violated(report: &Report, summary: &str, scenario: &str) {
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    let first = &report.violations()[0];
    assert_eq!((&*first.summary, &*first.scenario.to_string()), (summary, scenario), "{report}");
}

/// The message of the panic in which this ends.
#[track_caller]
fn panic_of(report: &Report) -> String {
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    report.violations()[0].summary.clone()
}
