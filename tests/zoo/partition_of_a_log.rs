//! A consumer like one of Kafka's: it polls a partition, and commits offsets.

use retryproof::partition::{Message, PartitionError};
use retryproof::report::Oracle;
use retryproof::service::payments::Charge;
use retryproof::{Explore, Process, Report, World};

use crate::{Family, S, bad, because, good};

#[derive(Clone, Copy, PartialEq)]
enum Consumer {
    CommitsFirst,
    SkipsFailures,
    CommitsPastTheFailure,
    WithoutKey,
    LooksFirst,
    CommitsAfterEach,
}

pub(crate) fn family() -> Family {
    let never = "payments.charge never happened, expected once";
    let twice = "payments.charge happened twice, expected once";
    Family::new(
        "partition of a log",
        [
            bad(
                "commits before the work",
                [because(
                    Oracle::Guarantee,
                    never,
                    "worker-1/consumer/orders.commit:call=reply-lost",
                    "orders.commit(end)",
                )],
                |explore| consuming(explore, Consumer::CommitsFirst, 1),
            ),
            bad(
                "commits the batch although a part failed",
                [because(
                    Oracle::Guarantee,
                    never,
                    "worker-1/consumer/payments.charge:call=unavailable",
                    "payments.charge(",
                )],
                |explore| consuming(explore, Consumer::CommitsPastTheFailure, 1),
            ),
            bad(
                "skips a message that fails",
                [because(
                    Oracle::Guarantee,
                    never,
                    "worker-1/consumer/payments.charge:call=unavailable",
                    "payments.charge(",
                )],
                |explore| consuming(explore, Consumer::SkipsFailures, 1),
            ),
            bad(
                "charges without a key",
                [because(
                    Oracle::Guarantee,
                    twice,
                    "worker-1/consumer/payments.charge:call=reply-lost",
                    "payments.charge(",
                )],
                |explore| consuming(explore, Consumer::WithoutKey, 1),
            ),
            good("charges under a key, then commits", |explore| {
                consuming(explore, Consumer::CommitsAfterEach, 1)
            }),
            good("looks before it charges, alone", |explore| consuming(explore, Consumer::LooksFirst, 1)),
            bad(
                "looks before it charges, and is slow",
                [because(
                    Oracle::Guarantee,
                    twice,
                    "worker-1/consumer/payments.charges:stall=past-next-deadline",
                    "payments.charges(",
                )],
                |explore| consuming(explore, Consumer::LooksFirst, 2),
            )
            .with("deviations(1)", |explore| explore.deviations(1)),
            good("charges under a key in two processes", |explore| {
                consuming(explore, Consumer::CommitsAfterEach, 2)
            })
            .with("deviations(1)", |explore| explore.deviations(1)),
        ],
    )
}

/// Explores consumers of two orders.
fn consuming(explore: &Explore, consumer: Consumer, processes: u32) -> Report {
    explore.run(async move |world: &World| {
        let orders = world.partition("orders", [1_u32, 2]);
        for process in 1..=processes {
            world.process(format!("worker-{process}"), move |p| consume(p, consumer));
        }
        world.settle_until(|_| orders.committed() == 2).await;
    })
}

fn consume(p: &Process, consumer: Consumer) {
    let (orders, payments, clock) = (p.partition::<u32>("orders"), p.payments(), p.clock());
    let charge = async move |message: &Message<u32>| {
        let order = message.value;
        let is_keyed = !matches!(consumer, Consumer::WithoutKey | Consumer::LooksFirst);
        if consumer == Consumer::LooksFirst && !payments.charges(order).await?.is_empty() {
            return Ok(());
        }
        let charge = Charge::of_order(order, 500);
        payments.charge(if is_keyed { charge.key(format!("order-{order}")) } else { charge }).await.map(drop)
    };
    p.spawn("consumer", async move {
        loop {
            let batch = orders.poll(2).await?;
            let end = batch.last().map(|message| message.offset + 1);
            if let (Consumer::CommitsFirst, Some(end)) = (consumer, end) {
                orders.commit(end).await?;
            }
            for message in &batch {
                match charge(message).await {
                    Err(_) if consumer == Consumer::CommitsPastTheFailure => break,
                    Err(_) if consumer == Consumer::SkipsFailures => {}
                    Err(error) => return Err(PartitionError::from(error)),
                    Ok(_) if consumer == Consumer::CommitsAfterEach => {
                        orders.commit(message.offset + 1).await?;
                    }
                    Ok(_) => {}
                }
            }
            if let Some(end) = end {
                orders.commit(end).await?;
            }
            clock.sleep(5 * S).await;
        }
        #[allow(unreachable_code, reason = "it names the type of the error")]
        Ok(())
    });
}
