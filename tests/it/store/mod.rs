//! The store: its calls, transactions, locks and pool, and the jobs with it that must be told apart.

mod calls;
mod hygiene;
mod jobs;
mod reads;
mod races;
mod waiting;

use retryproof::{Explore, Process, Report, Verdict, World};

use crate::support::{S, assert_green, one_deviation};

/// Allows preemptions only.
fn preemptions(most: usize) -> Explore {
    Explore::new().name("test").deviations(most).crashes(0).faults(0).deliveries(0)
}

/// Explores a world with these numbers in the store, one worker and these jobs.
fn explore(
    settings: &Explore,
    rows: &[(&str, i64)],
    jobs: &[u32],
    boot: impl Fn(&Process) + Clone + Sync + 'static,
) -> Report {
    settings.run(async |world: &World| {
        for (key, number) in rows {
            world.store().put(*key, number).await.unwrap();
        }
        world.process("worker", boot.clone());
        world.enqueue_bulk(jobs.iter().copied());
        world.settle().await;
    })
}

/// Asserts that the report has a violation with this summary and this outcome, in this scenario.
#[track_caller]
fn assert_violated(report: &Report, summary: &str, actual: &str, scenario: &str) {
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    let wanted = (summary, actual, format!("test job#{scenario}"));
    let found = report.violations().iter().any(|v| {
        v.summary.starts_with(summary) && &*v.actual == actual && crate::support::comes_about_in(v, &wanted.2)
    });
    assert!(found, "no violation {wanted:?}:\n{report}");
}

/// Replays this scenario.
fn replay(scenario: &str) -> Explore {
    Explore::new().name("test").replay(format!("test job#{scenario}"))
}

/// Asserts that a row of the store differs from the fault-free run.
#[track_caller]
fn assert_row(report: &Report, key: &str, actual: &str, scenario: &str) {
    let summary = format!("store.{key} is");
    assert_violated(report, &summary, &format!("store.{key} = {actual}"), scenario);
}
