//! Two jobs of one customer. Each looks for the customer, and inserts the customer if it does not find one.

use retryproof::report::Oracle;
use retryproof::{Explore, Report, StoreError, World};

use crate::{Done, Family, bad, because, good};

pub(crate) fn family() -> Family {
    let both = "store.customer:…";
    let reasons = [because(Oracle::Serial, both, "job#1.1/store.scan:next=other", "store.scan")];
    Family::new(
        "find or create",
        [
            bad("both find nothing, both insert", reasons, |explore| finding(explore, false)),
            good("a unique index, and its violation caught", |explore| finding(explore, true)),
        ],
    )
}

fn finding(explore: &Explore, unique: bool) -> Report {
    explore.run(async move |world: &World| {
        world.process("worker", move |p| {
            let store = p.store();
            p.handle(async move |job: u32| -> Done {
                let address = "ada@example.com";
                if !store.scan::<String>("customer:").await?.is_empty() {
                    return Ok(());
                }
                let key = if unique { format!("customer:{address}") } else { format!("customer:{job}") };
                match store.insert(key, address).await {
                    Err(StoreError::Duplicate { .. }) => Ok(()),
                    other => Ok(other?),
                }
            });
        });
        world.enqueue_bulk([1_u32, 2]);
        world.settle().await;
    })
}
