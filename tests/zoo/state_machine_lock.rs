//! A job that must not run twice at once sets `running`, and clears it at the end.

use std::time::Duration;

use retryproof::report::Oracle;
use retryproof::service::payments::Charge;
use retryproof::{Backoff, Explore, Report, World};

use crate::{Done, Family, S, bad, because, good};

pub(crate) fn family() -> Family {
    let dead = "job `u32` ended dead: it failed 6 times, with only …";
    let never = "payments.charge never happened, expected once";
    let left = "store.running …";
    let taken = "job#1.1/store.set_if_absent:happened=crash";
    let reasons = [
        because(Oracle::Guarantee, never, taken, "set_if_absent("),
        because(Oracle::Reference, left, taken, "set_if_absent("),
        because(Oracle::Accounted, dead, taken, "set_if_absent("),
        because(Oracle::Accounted, dead, "job#1.1/payments.charge:before=crash", "payments.charge("),
    ];
    Family::new(
        "state machine lock",
        [
            bad("a flag", reasons, |explore| exclusively(explore, None)),
            good("an owner and a time to live", |explore| exclusively(explore, Some(30 * S))),
        ],
    )
}

fn exclusively(explore: &Explore, ttl: Option<Duration>) -> Report {
    explore.run(async move |world: &World| {
        world.process("worker", move |p| {
            let (store, payments) = (p.store(), p.payments());
            p.handle(async move |order: u32| -> Done {
                if !store.set_if_absent("running", &order, ttl).await? {
                    return Err("somebody else is at it".into());
                }
                payments.charge(Charge::of_order(order, 500).key(format!("order-{order}"))).await?;
                store.delete_if("running", &order).await?;
                Ok(())
            })
            .max_retries(5)
            .backoff(Backoff::Constant(40 * S));
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}
