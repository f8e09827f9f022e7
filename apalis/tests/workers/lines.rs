//! Crashes at the lines of a worker's handler, through all of its layers.

use apalis::prelude::*;
use crash_points::crash_points;
use retryproof::service::payments::Charge;
use retryproof::{Durable, Report, World};
use retryproof_apalis::ProcessExt;

use crate::{S, Till, assert_green, assert_violated, deviations};

type Paid = Durable<u32>;

#[crash_points]
async fn pay_and_count(order: u32, till: Data<Till>, paid: Data<Paid>) -> Result<(), BoxDynError> {
    till.charge(Charge::of_order(order, 500).key(format!("order-{order}"))).await?;
    let so_far = paid.get();
    paid.set(so_far + 1);
    drop(till);
    Ok(())
}

#[crash_points]
async fn pay_and_mark(order: u32, till: Data<Till>, paid: Data<Paid>) -> Result<(), BoxDynError> {
    till.charge(Charge::of_order(order, 500).key(format!("order-{order}"))).await?;
    paid.set(order);
    drop(till);
    Ok(())
}

/// Only crashes, so that only those at lines, calls and ends of attempts are seen.
fn crashed<H, F>(handler: H) -> Report
where
    H: Fn(u32, Data<Till>, Data<Paid>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<(), BoxDynError>> + Send + 'static,
{
    deviations(1).faults(0).deliveries(0).preemptions(0).run(async |world: &World| {
        let (handler, paid) = (handler.clone(), world.durable("paid", 0_u32));
        world.process("worker", move |p| {
            let worker =
                WorkerBuilder::new("orders").backend(p.storage()).data(p.payments()).data(paid.clone());
            // A crash at a line unwinds. A layer that catches panics catches it, but the attempt is still dead.
            let worker = worker.retry(RetryPolicy::retries(2)).timeout(30 * S).catch_panic();
            p.run_worker(worker.build(handler.clone()));
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}

#[test]
fn a_crash_at_a_line_counts_twice_what_is_counted_before_it() {
    let report = crashed(pay_and_count);
    assert_violated(&report, "drop(till);");
    assert_violated(&report, "paid = 2");
}

#[test]
fn a_crash_at_a_line_does_nothing_to_what_is_set() {
    let report = crashed(pay_and_mark);
    assert_green(&report);
    // The reference run, a crash before the first line, before each of four, at three points of the call, and after
    // the end; and a reply that comes after the timeout of the layer.
    assert_eq!(report.runs(), 1 + 1 + 4 + 3 + 1 + 1, "{report}");
}
