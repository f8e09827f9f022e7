//! Five slots. Each job holds a connection while it needs a second one.

use retryproof::store::Isolation::ReadCommitted;
use retryproof::{Explore, Report, World};

use crate::{Done, Family, S, good, stuck};

pub(crate) fn family() -> Family {
    Family::new(
        "pool too small",
        [
            stuck(
                "four connections",
                "for a connection to the store: all 4 of the pool of `worker` are held",
                |explore| pooled(explore, 4),
            ),
            good("two for each slot", |explore| pooled(explore, 10))
                .with("deviations(1)", |explore| explore.deviations(1)),
        ],
    )
}

fn pooled(explore: &Explore, connections: usize) -> Report {
    explore.run(async move |world: &World| {
        world.store().connections(connections);
        world.process("worker", |p| {
            let (store, clock) = (p.store(), p.clock());
            p.handle(async move |order: u32| -> Done {
                let mut tx = store.transaction(ReadCommitted).await;
                tx.put(format!("order:{order}"), "seen").await?;
                clock.sleep(S).await;
                // The log is written no matter what happens to the transaction, so it is outside of it.
                store.put(format!("log:{order}"), "seen").await?;
                tx.commit().await?;
                Ok(())
            });
        });
        world.enqueue_bulk(1_u32..=5);
        world.settle().await;
    })
}
