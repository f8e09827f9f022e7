//! apalis workers in a world: handlers, layers and pushes as in production.

mod again;
mod errors;
mod handlers;
mod layers;
mod lines;
mod pushes;

use std::time::Duration;

use apalis::prelude::{BoxDynError, Data};
use retryproof::service::payments::{Charge, Payments};
use retryproof::{Client, Durable, Explore, Report, Verdict, World};

const S: Duration = Duration::from_secs(1);

/// The payment service, which handlers receive as `Data`.
type Till = Client<Payments>;

/// The events, in order.
type Log = Durable<Vec<String>>;

fn log(world: &World) -> Log {
    world.durable("log", Vec::new())
}

fn deviations(bound: usize) -> Explore {
    Explore::new().deviations(bound)
}

#[track_caller]
fn assert_green(report: &Report) {
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
}

/// Asserts that the report is about a violation whose first one has this text.
#[track_caller]
fn assert_violated(report: &Report, by: &str) {
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert!(report.to_string().contains(by), "no `{by}` in:\n{report}");
}

/// Charges an order, without a key that would identify a second charge.
async fn charge_naively(order: u32, till: Data<Till>) -> Result<(), BoxDynError> {
    till.charge(Charge::of_order(order, 500)).await?;
    Ok(())
}
