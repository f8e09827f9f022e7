//! Two jobs add to one counter. Each records that in the same transaction, so that a second delivery adds nothing.

use retryproof::report::Oracle;
use retryproof::store::Isolation::{self, ReadCommitted, Serializable};
use retryproof::{Explore, Report, StoreError, World};

use crate::{Family, bad, because, good};

pub(crate) fn family() -> Family {
    let lost = "store.count …";
    let reasons = [because(Oracle::Serial, lost, "job#1.1/store.get:next=other", "get::<i64>(")];
    Family::new(
        "resource counter in a database",
        [
            bad("read, add, save", reasons, |explore| counting(explore, ReadCommitted, Add::InTheJob)),
            good("added by the database", |explore| counting(explore, ReadCommitted, Add::InTheDatabase)),
            good("serializable, with a retry", |explore| counting(explore, Serializable, Add::InTheJob)),
        ],
    )
}

#[derive(Clone, Copy, PartialEq)]
enum Add {
    InTheJob,
    /// `update … set count = count + 1`
    InTheDatabase,
}

fn counting(explore: &Explore, isolation: Isolation, add: Add) -> Report {
    explore.run(async move |world: &World| {
        world.store().put("count", &0).await.unwrap();
        world.process("worker", move |p| {
            let store = p.store();
            p.handle(async move |job: u32| {
                let mut tx = store.transaction(isolation).await;
                match tx.insert(format!("done:{job}"), &true).await {
                    Err(StoreError::Duplicate { .. }) => return Ok(()),
                    other => other?,
                }
                if add == Add::InTheDatabase {
                    tx.incr("count", 1).await?;
                } else {
                    let count = tx.get::<i64>("count").await?.map_or(0, |row| row.value);
                    tx.put("count", &(count + 1)).await?;
                }
                tx.commit().await
            });
        });
        world.enqueue_bulk([1_u32, 2]);
        world.settle().await;
    })
}
