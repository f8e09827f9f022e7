//! Feature `proptest`: properties of workloads and scenarios, what they find, what they accept, and their reports. Also
//! properties of the crate itself: of its executor, its order of jobs, and its reduction.

#[path = "../../../tests/support/mod.rs"]
mod support;

mod bad_input;
mod jobs;
mod ordering;
mod reduction;
mod seeds;
mod shop;
mod smallest;
mod workloads;

use proptest::prelude::*;
use retryproof::proptest::{Preemptions, Property, PropertyError, Scenarios, Workload, Workloads};
use retryproof::service::payments::Charge;
use retryproof::{Explore, Report, World};

/// Returns a property with a few cases, which are enough for most tests.
fn property() -> Property {
    Property::new().explore(Explore::new().name("property")).cases(40)
}

/// Generates orders, some of them twice, in one of two queues, some of them delayed.
fn orders() -> Workloads {
    Workloads::new().kind(1..1_000_u32).jobs(1..=3).duplicates(1..=2).queues(["high", "low"])
}

/// Adds a worker that charges each order as `charge` returns it, given the incarnation and the order.
fn charging(world: &World, orders: &Workload, charge: impl Fn(u32, u32) -> Charge + Clone + 'static) {
    let queue = orders.queue_of::<u32>();
    world.process("worker", move |p| {
        let (payments, charge, incarnation) = (p.payments(), charge.clone(), p.incarnation());
        p.queues(["high", "low"]);
        p.handle(async move |order: u32| payments.charge(charge(incarnation, order)).await.map(drop))
            .queue(queue);
    });
}

fn keyed(order: u32) -> Charge {
    Charge::of_order(order, u64::from(order)).key(format!("order-{order}"))
}

#[track_caller]
fn falsified(result: Result<u32, PropertyError>) -> Report {
    match result {
        Err(PropertyError::Falsified { report, .. }) => *report,
        other => panic!("not falsified: {other:?}"),
    }
}
