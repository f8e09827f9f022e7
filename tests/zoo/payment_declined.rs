//! A charge is declined. Later the customer has to pay another amount, and is charged again.

use retryproof::report::Oracle;
use retryproof::service::payments::{Charge, ChargeOutcome};
use retryproof::{Explore, Report, StoreError, World};

use crate::{Family, bad, because, good};

/// The amount that is always declined.
const TOO_MUCH: u64 = 9_999;

pub(crate) fn family() -> Family {
    let unpaid = "the test body panicked at tests/zoo/payment_declined.rs:…";
    Family::new(
        "payment, declined then paid",
        [
            bad("a decline remembered as success", [because(Oracle::Body, unpaid, "", "")], |explore| {
                paying(explore, false)
            }),
            good("only success is remembered", |explore| paying(explore, true)),
        ],
    )
}

fn paying(explore: &Explore, asks_again: bool) -> Report {
    explore.run(async move |world: &World| {
        world.process("worker", move |p| {
            let (payments, store) = (p.payments(), p.store());
            p.handle(async move |(order, amount): (u32, u64)| {
                let paid = format!("paid:{order}");
                if store.get::<bool>(&paid).await?.is_some() {
                    return Ok(());
                }
                let charge = Charge::of_order(order, amount).key(format!("order-{order}"));
                let answer = payments.charge(charge).await?;
                if !asks_again || matches!(answer, ChargeOutcome::Success { .. }) {
                    store.put(&paid, &true).await?;
                }
                Ok::<_, StoreError>(())
            });
        });
        world.enqueue((6_u32, TOO_MUCH));
        world.settle().await;
        world.enqueue((6_u32, 500_u64));
        world.settle().await;
        assert_eq!(world.effects().of("payments.charge").count(), 1, "the order is paid");
    })
}
