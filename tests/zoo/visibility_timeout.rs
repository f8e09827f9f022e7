//! A queue like SQS: a worker has a message for half a minute from its receipt.

use retryproof::service::payments::Charge;
use retryproof::{Explore, Report, World};

use crate::{Done, Family, S, good, stuck};

pub(crate) fn family() -> Family {
    Family::new(
        "visibility timeout",
        [
            stuck(
                "works for longer",
                "50 attempts of job#1 u32 took longer than its lease of 30s",
                |explore| importing(explore, false),
            ),
            good("extends it after each part", |explore| importing(explore, true)),
        ],
    )
}

/// Explores a job that works for a minute in three parts, and then charges.
fn importing(explore: &Explore, extends: bool) -> Report {
    explore.run(async move |world: &World| {
        world.process("worker", move |p| {
            let (queue, clock, payments) = (p.queue(), p.clock(), p.payments());
            let message = p.handle(async move |order: u32| -> Done {
                for _ in 0..3 {
                    clock.sleep(20 * S).await;
                    if extends {
                        queue.extend_lease(30 * S).await?;
                    }
                }
                payments.charge(Charge::of_order(order, 500).key(format!("order-{order}"))).await?;
                Ok(())
            });
            let message = message.lease(30 * S);
            if extends {
                message.max_receives(3);
            }
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}
