//! One item is taken from the stock, and the order is marked as paid.

use retryproof::report::Oracle;
use retryproof::store::Isolation::Serializable;
use retryproof::{Explore, Process, Report, World};

use crate::{Family, bad, because, good};

pub(crate) fn family() -> Family {
    let wrong = "store.stock …";
    let between = [
        because(Oracle::Reference, wrong, "job#1.1/store.incr:replied=crash", "store.incr("),
        because(Oracle::Reference, wrong, "job#1.1/store.put:call=unavailable", "store.put("),
        because(Oracle::Serial, wrong, "job#1.1/store.get:pause=past-lease", "store.get"),
    ];
    let after = [
        because(Oracle::Reference, wrong, "job#1.1/store.commit:replied=crash", "tx.commit("),
        because(Oracle::Reference, wrong, "job#1.1:end=crash", "tx.commit("),
        because(Oracle::Reference, wrong, "job#1.1:ack=again", "tx.commit("),
        because(Oracle::Serial, wrong, "job#1.1/store.incr:pause=past-lease", "tx.incr("),
    ];
    Family::new(
        "decrement and mark paid",
        [
            bad("two writes", between, |explore| buying(explore, two_writes)),
            bad("a transaction", after, |explore| buying(explore, |p| transaction(p, false))),
            good("a guard in the transaction", |explore| buying(explore, |p| transaction(p, true))),
        ],
    )
}

fn buying(explore: &Explore, boot: fn(&Process)) -> Report {
    explore.run(async move |world: &World| {
        world.store().put("stock", &10).await.unwrap();
        world.process("worker", boot);
        world.enqueue(6_u32);
        world.settle().await;
    })
}

fn two_writes(p: &Process) {
    let store = p.store();
    p.handle(async move |order: u32| {
        let paid = format!("paid:{order}");
        if store.get::<bool>(&paid).await?.is_none() {
            store.incr("stock", -1).await?;
            store.put(&paid, &true).await?;
        }
        Ok::<_, retryproof::StoreError>(())
    });
}

fn transaction(p: &Process, guarded: bool) {
    let store = p.store();
    p.handle(async move |order: u32| {
        let paid = format!("paid:{order}");
        let mut tx = store.transaction(Serializable).await;
        if guarded && tx.get::<bool>(&paid).await?.is_some() {
            return Ok(());
        }
        tx.incr("stock", -1).await?;
        tx.put(&paid, &true).await?;
        tx.commit().await
    });
}
