//! A queue that hands out its jobs and forgets them, or keeps them until they are acknowledged.

use retryproof::report::Oracle;
use retryproof::service::payments::Charge;
use retryproof::{Delivery, Explore, Report, World};

use crate::{Family, bad, because, good};

pub(crate) fn family() -> Family {
    let gone = "job `u32` was lost when its worker crashed: the queue had already removed it";
    let never = "payments.charge never happened, expected once";
    let start = "job#1.1:start=crash";
    let reasons = [
        because(Oracle::Accounted, gone, start, "p.handle("),
        because(Oracle::Guarantee, never, start, "p.handle("),
    ];
    Family::new(
        "fetch without acknowledgement",
        [
            bad("at most once", reasons, |explore| charging(explore, Delivery::AtMostOnce)),
            good("at least once", |explore| charging(explore, Delivery::AtLeastOnce)),
        ],
    )
}

fn charging(explore: &Explore, delivery: Delivery) -> Report {
    explore.run(async move |world: &World| {
        world.process("worker", move |p| {
            let payments = p.payments();
            p.handle(async move |order: u32| {
                payments.charge(Charge::of_order(order, 500).key(format!("order-{order}"))).await
            })
            .delivery(delivery);
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}
