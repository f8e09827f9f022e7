//! A seat is reserved, paid for, and sold.

use retryproof::report::Oracle;
use retryproof::service::payments::Charge;
use retryproof::{Explore, Report, World};

use crate::{Done, Family, S, bad, because, good};

pub(crate) fn family() -> Family {
    let never = "payments.charge never happened, expected once";
    let happened = "job#1.1/store.set_if_absent:happened=crash";
    let unsold = "store.sold …";
    let reserved = [
        because(Oracle::Reference, unsold, happened, "set_if_absent("),
        because(Oracle::Guarantee, never, happened, "set_if_absent("),
        because(Oracle::Guarantee, never, "job#1.1/payments.charge:call=unavailable", "payments.charge("),
    ];
    Family::new(
        "reserve, then die",
        [
            bad("reserved forever", reserved, |explore| reserving(explore, false)),
            good("an owner and a time to live", |explore| reserving(explore, true)),
        ],
    )
}

fn reserving(explore: &Explore, owned: bool) -> Report {
    explore.run(async move |world: &World| {
        world.process("worker", move |p| {
            let (store, payments) = (p.store(), p.payments());
            p.handle(async move |customer: u32| -> Done {
                let ttl = owned.then_some(600 * S);
                if !store.set_if_absent("seat", &customer, ttl).await? {
                    // The job that holds the seat continues, and all others stop.
                    let holder = store.get::<u32>("seat").await?.map(|row| row.value);
                    if !owned || holder != Some(customer) {
                        return Ok(());
                    }
                }
                payments.charge(Charge::of_order(customer, 500).key(format!("seat-{customer}"))).await?;
                store.put("sold", &customer).await?;
                Ok(())
            });
        });
        world.enqueue(1_u32);
        world.settle().await;
    })
}
