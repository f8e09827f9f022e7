//! Five jobs that have no key.

use retryproof::report::Oracle;
use retryproof::{Explore, Report, Unique, World};
use serde::{Deserialize, Serialize};

use crate::{Family, S, bad, because, good};

pub(crate) fn family() -> Family {
    let body = "the test body panicked at tests/zoo/unique_without_key.rs:…";
    Family::new(
        "unique, no key",
        [
            bad("a missing key is a key", [because(Oracle::Body, body, "", "")], |explore| {
                fetching(explore, |job| Some(job.0.unwrap_or_default()))
            })
            .says("unrelated jobs waited for each other: 50s"),
            good("no key, no lock", |explore| fetching(explore, |job| job.0))
                .with("deviations(0)", |explore| explore.deviations(0)),
        ],
    )
}

#[derive(Serialize, Deserialize)]
struct Fetch(Option<u32>);

fn fetching(explore: &Explore, key: fn(&Fetch) -> Option<u32>) -> Report {
    explore.run(async move |world: &World| {
        world.durable("nothing", ());
        world.process("worker", move |p| {
            let clock = p.clock();
            p.handle(async move |_: Fetch| clock.sleep(10 * S).await).unique(Unique::while_executing(key));
        });
        world.enqueue_bulk((0..5).map(|_| Fetch(None)));
        world.settle().await;
        assert!(world.now() == 10 * S, "unrelated jobs waited for each other: {:?}", world.now());
    })
}
