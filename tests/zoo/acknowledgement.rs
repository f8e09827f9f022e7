//! A consumer like one of RabbitMQ's: it acknowledges a message, and sees whether a message was delivered
//! before.

use retryproof::adapter::RawAttempt;
use retryproof::job::NewJob;
use retryproof::report::Oracle;
use retryproof::service::payments::Charge;
use retryproof::{Delivery, Explore, Report, World};

use crate::{Done, Family, bad, because, good};

#[derive(Clone, Copy, PartialEq)]
enum Consumer {
    AcknowledgesAtReceipt,
    TakesRedeliveredForDone,
    WithoutKey,
    AcknowledgesAfterTheWork,
}

pub(crate) fn family() -> Family {
    let never = "payments.charge never happened, expected once";
    let lost = "job `orders` was lost when its worker crashed: the queue had already removed it";
    let twice = "payments.charge happened twice, expected once";
    Family::new(
        "acknowledgement",
        [
            bad(
                "at the receipt",
                [
                    because(Oracle::Guarantee, never, "job#1.1:start=crash", "p.handle_raw("),
                    because(Oracle::Accounted, lost, "job#1.1:start=crash", "p.handle_raw("),
                ],
                |explore| consuming(explore, Consumer::AcknowledgesAtReceipt),
            ),
            bad(
                "of what was delivered before",
                [because(Oracle::Guarantee, never, "job#1.1:start=crash", "p.handle_raw(")],
                |explore| consuming(explore, Consumer::TakesRedeliveredForDone),
            ),
            bad(
                "after a charge without a key",
                [because(
                    Oracle::Guarantee,
                    twice,
                    "job#1.1/payments.charge:call=reply-lost",
                    "payments.charge(",
                )],
                |explore| consuming(explore, Consumer::WithoutKey),
            ),
            good("after the work, under a key", |explore| {
                consuming(explore, Consumer::AcknowledgesAfterTheWork)
            }),
        ],
    )
}

/// Explores consumers of a queue with two messages, which prefetch both.
fn consuming(explore: &Explore, consumer: Consumer) -> Report {
    explore.run(async move |world: &World| {
        world.process("worker", move |p| {
            let payments = p.payments();
            p.slots(2);
            let orders = p.handle_raw("orders", async move |message: RawAttempt| -> Done {
                let order: u32 = serde_json::from_str(&message.job.payload)?;
                let is_redelivered = message.job.attempts > 1;
                if is_redelivered && consumer == Consumer::TakesRedeliveredForDone {
                    return Ok(());
                }
                let charge = Charge::of_order(order, 500);
                let key = format!("order-{order}");
                let charge = if consumer == Consumer::WithoutKey { charge } else { charge.key(key) };
                payments.charge(charge).await?;
                Ok(())
            });
            if consumer == Consumer::AcknowledgesAtReceipt {
                orders.delivery(Delivery::AtMostOnce);
            }
        });
        for order in ["1", "2"] {
            world.enqueue_new(NewJob::named("orders", order));
        }
        world.settle().await;
    })
}
