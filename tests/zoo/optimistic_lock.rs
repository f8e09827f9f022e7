//! Two customers, one seat.

use retryproof::report::Oracle;
use retryproof::{Explore, Report, StoreError, World};

use crate::{Family, bad, because, good};

pub(crate) fn family() -> Family {
    let both = "store.…";
    let reasons = [because(Oracle::Serial, both, "job#1.1/store.get:next=other", "store.get")];
    Family::new(
        "optimistic lock",
        [
            bad("update … where id", reasons, |explore| reserving(explore, false)),
            good("update … where id and version", |explore| reserving(explore, true)),
        ],
    )
}

fn reserving(explore: &Explore, versioned: bool) -> Report {
    explore.run(async move |world: &World| {
        world.store().put("seat", &0).await.unwrap();
        world.process("worker", move |p| {
            let store = p.store();
            p.handle(async move |customer: u32| {
                let seat = store.get::<u32>("seat").await?.expect("it was put there");
                if seat.value != 0 && seat.value != customer {
                    return Ok(());
                }
                if !versioned {
                    store.put("seat", &customer).await?;
                } else if seat.value == 0 && !store.compare_and_set("seat", seat.version, &customer).await? {
                    // Back to the queue.
                    return Err(StoreError::Conflict { key: "seat".to_owned() });
                }
                store.put(format!("ticket:{customer}"), &true).await
            });
        });
        world.enqueue_bulk([1_u32, 2]);
        world.settle().await;
    })
}
