//! Every night, a job enqueues one job for each order.

use retryproof::report::Oracle;
use retryproof::service::payments::Charge;
use retryproof::{Explore, Report, World};
use serde::{Deserialize, Serialize};

use crate::{Family, bad, because, good};

pub(crate) fn family() -> Family {
    let twice = "payments.charge happened twice, expected once";
    let reasons = [
        because(Oracle::Guarantee, twice, "job#1.1/queue.enqueue:before~2=crash", "queue.enqueue("),
        because(Oracle::Guarantee, twice, "job#1.1/queue.enqueue:replied~2=crash", "queue.enqueue("),
    ];
    Family::new(
        "nightly bulk",
        [
            bad("crashes in the middle", reasons, |explore| nightly(explore, false)),
            good("a key for each order", |explore| nightly(explore, true)),
        ],
    )
}

#[derive(Serialize, Deserialize)]
struct Nightly;

#[derive(Serialize, Deserialize)]
struct Collect(u32);

fn nightly(explore: &Explore, keyed: bool) -> Report {
    explore.run(async move |world: &World| {
        world.process("worker", move |p| {
            let queue = p.queue();
            p.handle(async move |_: Nightly| {
                for order in 1..=3 {
                    queue.enqueue(Collect(order)).await?;
                }
                Ok::<_, retryproof::job::EnqueueError>(())
            });
            let payments = p.payments();
            p.handle(async move |Collect(order): Collect| {
                let charge = Charge::of_order(order, 500);
                payments.charge(if keyed { charge.key(format!("order-{order}")) } else { charge }).await
            });
        });
        world.enqueue(Nightly);
        world.settle().await;
    })
}
