//! The definition of a correct job: common bad jobs fail for the reason given, and their correct twins pass.

mod assignments;
mod giving_up;
mod guarantees;
mod ignored;
mod inputs;
mod inputs_table;
mod kinds;
mod names;
mod orders;
mod panics;
mod refusals;
mod requests;
mod seeded;
mod terms;

use crate::support::assert_green;
use retryproof::service::email::Email;
use retryproof::service::fulfillment::Shipment;
use retryproof::service::payments::Charge;
use retryproof::{Code, Explore, Process, Report, Verdict, World};
use std::time::Duration;

const S: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// Explores one deviation, with one worker. `given` enqueues.
fn judged(boot: impl Fn(&Process) + Clone + Sync + 'static, given: impl Fn(&World) + Sync) -> Report {
    with(&Explore::new().name("test").deviations(1), boot, given)
}

fn with(
    explore: &Explore,
    boot: impl Fn(&Process) + Clone + Sync + 'static,
    given: impl Fn(&World) + Sync,
) -> Report {
    explore.run(async |world: &World| {
        world.store();
        world.process("worker", boot.clone());
        given(world);
        world.settle().await;
    })
}

/// Asserts that the report has this code, and a violation whose summary begins with this text.
#[track_caller]
fn assert_red(report: &Report, code: Code, summary: &str) {
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    let is_it = |v: &&retryproof::Violation| v.code == code && v.summary.contains(summary);
    assert!(report.violations().iter().any(|v| is_it(&v)), "no {code} with `{summary}`:\n{report}");
}

fn mail(to: &str) -> Email {
    Email::new(to, "hello")
}

fn charge(order: u32) -> Charge {
    Charge::of_order(order, 500)
}

/// Makes a request for one parcel under this key.
fn parcel(key: &str) -> Shipment {
    Shipment::of_order(1, "pr_1", 1).address("1 Main St").key(key)
}

/// Asserts that the report leads with this violation, in this scenario.
#[track_caller]
fn assert_first(report: &Report, summary: &str, scenario: &str) {
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    let first = &report.violations()[0];
    assert_eq!((&*first.summary, &*first.scenario.to_string()), (summary, scenario), "{report}");
}

/// Returns the message of the panic of the test body.
#[track_caller]
fn body_panic(report: &Report) -> String {
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    report.violations()[0].summary.clone()
}
