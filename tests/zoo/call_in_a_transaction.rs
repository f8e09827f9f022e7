//! A charge while a transaction is open. If the call hangs, row locks and a connection are held.

use retryproof::report::Oracle;
use retryproof::service::payments::Charge;
use retryproof::store::Isolation::ReadCommitted;
use retryproof::{Explore, Report, World};

use crate::{Done, Family, bad, because, good};

pub(crate) fn family() -> Family {
    let open =
        "payments.charge is called while the transaction begun at tests/zoo/call_in_a_transaction.rs:…";
    let reasons = [because(Oracle::Hygiene, open, "", "payments.charge(")];
    Family::new(
        "outside call in a transaction",
        [
            bad("called inside", reasons, |explore| paying(explore, true)),
            good("called after the commit", |explore| paying(explore, false)),
        ],
    )
}

fn paying(explore: &Explore, inside: bool) -> Report {
    explore.run(async move |world: &World| {
        world.deny_warnings();
        world.process("worker", move |p| {
            let (store, payments) = (p.store(), p.payments());
            p.handle(async move |order: u32| -> Done {
                let charge = Charge::of_order(order, 500).key(format!("order-{order}"));
                let mut tx = store.transaction(ReadCommitted).await;
                tx.put(format!("order:{order}"), "paying").await?;
                if inside {
                    payments.charge(charge).await?;
                    tx.commit().await?;
                } else {
                    tx.commit().await?;
                    payments.charge(charge).await?;
                }
                Ok(())
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}
