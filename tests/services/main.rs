//! The services: each row of `docs/spec/services.md` (answers, faults, settings), and a service of the test's own.

mod answers;
mod faults;
mod keys;
mod own;
mod rows;
mod told;

use retryproof::{Explore, Report, Verdict};

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
