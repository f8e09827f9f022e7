//! Jobs of one key run one at a time: ten of them, and behind them one of another key.

use retryproof::report::Oracle;
use retryproof::{Conflict, Explore, Report, Unique, World};
use serde::{Deserialize, Serialize};

use crate::{Family, S, bad, because, good};

pub(crate) fn family() -> Family {
    let body = "the test body panicked at tests/zoo/unique_waiting.rs:…";
    Family::new(
        "unique, waiting",
        [
            bad("waits in its slot", [because(Oracle::Body, body, "", "")], |explore| {
                crowding(explore, Conflict::Wait)
            })
            .says("one slot of five is used: 0.3; the others' turn comes at 90s"),
            good("rescheduled when busy", |explore| crowding(explore, Conflict::Reschedule(S)))
                .with("deviations(0)", |explore| explore.deviations(0)),
        ],
    )
}

#[derive(Serialize, Deserialize)]
struct Fetch {
    feed: u32,
    nth: u32,
}

fn crowding(explore: &Explore, when_busy: Conflict) -> Report {
    explore.run(async move |world: &World| {
        let fetched = world.durable("others fetched", 0_u32);
        world.process("worker", {
            let fetched = fetched.clone();
            move |p| {
                let (clock, fetched) = (p.clock(), fetched.clone());
                p.handle(async move |job: Fetch| {
                    clock.sleep(10 * S).await;
                    fetched.update(|fetched| *fetched += u32::from(job.feed > 1));
                })
                .unique(
                    Unique::while_executing(|job: &Fetch| Some(job.feed)).ttl(60 * S).when_busy(when_busy),
                );
            }
        });
        world.enqueue_bulk((1..=10).map(|nth| Fetch { feed: 1, nth }));
        world.enqueue_bulk((2..=5).map(|feed| Fetch { feed, nth: 1 }));
        world.settle_until(|_| fetched.get() == 4).await;
        let used = world.stats().utilisation;
        assert!(
            used > 0.5,
            "one slot of five is used: {used:.1}; the others' turn comes at {:?}",
            world.now()
        );
        world.settle().await;
    })
}
