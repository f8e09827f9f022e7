//! The key is correct, but the service forgets it after a day, and a job may be retried for twenty days.

use std::time::Duration;

use retryproof::report::Oracle;
use retryproof::service::payments::Charge;
use retryproof::{Explore, Report, ServiceError, World};

use crate::{Family, bad, because, good};

const DAY: Duration = Duration::from_secs(86_400);

pub(crate) fn family() -> Family {
    let twice = "payments.charge happened twice, expected once";
    let reasons = [
        because(
            Oracle::Guarantee,
            twice,
            "job#1.1/payments.charge:call=reply-lost job#1.1:retry=days-late",
            "payments.charge(",
        ),
        because(
            Oracle::Guarantee,
            twice,
            "job#1.1/payments.charge:happened=crash job#1.1:lease=days-late",
            "payments.charge(",
        ),
    ];
    Family::new(
        "payment key",
        [
            bad("forgotten before the retry", reasons, |explore| charging(explore, DAY, false)),
            good("charges looked up first", |explore| charging(explore, DAY, true)),
            good("kept for longer than retries last", |explore| charging(explore, 30 * DAY, false)),
        ],
    )
}

fn charging(explore: &Explore, horizon: Duration, look: bool) -> Report {
    explore.run(async move |world: &World| {
        world.payments().key_ttl(horizon);
        world.process("worker", move |p| {
            let payments = p.payments();
            p.handle(async move |order: u32| {
                if look && !payments.charges(order).await?.is_empty() {
                    return Ok(());
                }
                let charge = Charge::of_order(order, 500).key(format!("order-{order}"));
                payments.charge(charge).await?;
                Ok::<_, ServiceError>(())
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}
