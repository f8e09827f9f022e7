//! The store: its calls, its transactions, its locks and its pool; and the jobs over it that must be told apart.

mod calls;
mod hygiene;
mod jobs;
mod reads;
mod races;
mod waiting;

use retryproof::{Explore, Process, Report, Verdict, World};

use crate::support::{S, assert_green, one_deviation};

/// Nothing goes wrong but that workers overtake each other.
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

/// The report condemns the job, with this sentence and this end, in this scenario.
#[track_caller]
fn assert_violated(report: &Report, summary: &str, actual: &str, scenario: &str) {
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    let wanted = (summary, actual, format!("test job#{scenario}"));
    let found = report.violations().iter().any(|v| {
        (&*v.summary, &*v.actual) == (summary, actual) && crate::support::comes_about_in(v, &wanted.2)
    });
    assert!(found, "no violation {wanted:?}:\n{report}");
}

/// This scenario alone.
fn replay(scenario: &str) -> Explore {
    Explore::new().name("test").replay(format!("test job#{scenario}"))
}

/// A row of the store differs from the fault-free run.
#[track_caller]
fn assert_row(report: &Report, key: &str, actual: &str, scenario: &str) {
    let summary = format!("the state `store` differs from the fault-free run, at $.{key}");
    assert_violated(report, &summary, &format!("store $.{key} = {actual}"), scenario);
}
