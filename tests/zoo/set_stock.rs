//! The stock is counted, and set to the number.

use retryproof::{Explore, Report, World};

use crate::{Family, good};

pub(crate) fn family() -> Family {
    Family::new(
        "set stock",
        [
            good("setting twice is setting once", |explore| setting(explore, &[7])),
            good("any order of two is fine", |explore| setting(explore, &[7, 8])),
        ],
    )
}

fn setting(explore: &Explore, counts: &'static [u32]) -> Report {
    explore.run(async move |world: &World| {
        world.store().put("stock", &10).await.unwrap();
        world.process("worker", |p| {
            let store = p.store();
            p.handle(async move |count: u32| store.put("stock", &count).await);
        });
        world.enqueue_bulk(counts.iter().copied());
        world.settle().await;
    })
}
