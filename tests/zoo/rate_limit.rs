//! At most two charges per hour: a job that finds the limit used up gives up.

use retryproof::report::Oracle;
use retryproof::service::payments::Charge;
use retryproof::store::Isolation::{ReadCommitted, Serializable};
use retryproof::{Explore, Report, World};

use crate::{Done, Family, bad, because, good};

pub(crate) fn family() -> Family {
    let never = "payments.charge never happened, expected once";
    let replied = "job#1.1/store.commit:replied=crash";
    let not_counted = "store.counted:…";
    let reasons = [
        because(Oracle::Guarantee, never, replied, "tx.commit("),
        because(Oracle::Serial, not_counted, "job#1.1:start=crash job#2.1:ack=again", "payments.charge("),
    ];
    Family::new(
        "rate limit",
        [
            bad("counts again on a retry", reasons, |explore| limiting(explore, false)),
            good("counts once for each job", |explore| limiting(explore, true)),
        ],
    )
}

fn limiting(explore: &Explore, once: bool) -> Report {
    explore.run(async move |world: &World| {
        world.process("worker", move |p| {
            p.slots(1);
            let (store, payments) = (p.store(), p.payments());
            p.handle(async move |order: u32| -> Done {
                // Whether it has counted is no answer to rely on if another delivery may count meanwhile.
                let mut tx = store.transaction(if once { Serializable } else { ReadCommitted }).await;
                let counted = format!("counted:{order}");
                if !once || tx.get::<bool>(&counted).await?.is_none() {
                    tx.put(&counted, &true).await?;
                    if tx.incr("charges", 1).await? > 2 {
                        return Ok(());
                    }
                }
                tx.commit().await?;
                payments.charge(Charge::of_order(order, 500).key(format!("order-{order}"))).await?;
                Ok(())
            });
        });
        world.enqueue_bulk([1_u32, 2]);
        world.settle().await;
    })
}
