//! Goods are delivered, and their number is added to the stock.

use retryproof::report::Oracle;
use retryproof::store::Isolation::ReadCommitted;
use retryproof::{Explore, Process, Report, StoreError, World};
use serde::{Deserialize, Serialize};

use crate::{Family, bad, because, good};

pub(crate) fn family() -> Family {
    let wrong = "store.stock …";
    let twice = [
        because(Oracle::Reference, wrong, "job#1.1/store.incr:happened=crash", "store.incr("),
        because(Oracle::Reference, wrong, "job#1.1:end=crash", "p.handle("),
        because(Oracle::Serial, wrong, "job#1.1/store.incr:pause=past-lease", "store.incr("),
    ];
    let lost = [
        because(Oracle::Serial, wrong, "job#1.1/store.get:next=other", "store.get"),
        because(Oracle::Serial, wrong, "job#1.1/store.put:happened=crash", "store.put("),
    ];
    Family::new(
        "add stock",
        [
            bad("crashes before the acknowledgement", twice, |explore| stocking(explore, &[1], adding)),
            bad("two concurrent jobs", lost, |explore| stocking(explore, &[1, 2], reading_and_adding)),
            good("a row for each delivery", |explore| stocking(explore, &[1, 2], noting)),
        ],
    )
}

/// A delivery of five items.
#[derive(Serialize, Deserialize)]
struct Delivered(u32);

fn stocking(explore: &Explore, deliveries: &'static [u32], boot: fn(&Process)) -> Report {
    explore.run(async move |world: &World| {
        world.store().put("stock", &10).await.unwrap();
        world.process("worker", boot);
        world.enqueue_bulk(deliveries.iter().copied().map(Delivered));
        world.settle().await;
    })
}

fn adding(p: &Process) {
    let store = p.store();
    p.handle(async move |_: Delivered| store.incr("stock", 5).await);
}

fn reading_and_adding(p: &Process) {
    let store = p.store();
    p.handle(async move |_: Delivered| {
        let stock = store.get::<i64>("stock").await?.map_or(0, |row| row.value);
        store.put("stock", &(stock + 5)).await
    });
}

/// The inbox, in the same transaction.
fn noting(p: &Process) {
    let store = p.store();
    p.handle(async move |Delivered(delivery): Delivered| {
        let mut tx = store.transaction(ReadCommitted).await;
        match tx.insert(format!("inbox:{delivery}"), &true).await {
            Err(StoreError::Duplicate { .. }) => return Ok(()),
            other => other?,
        }
        tx.incr("stock", 5).await?;
        tx.commit().await
    });
}
