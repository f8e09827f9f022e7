//! A page is fetched and stored. It changes after five seconds, and a second job fetches it then.

use std::time::Duration;

use retryproof::report::Oracle;
use retryproof::service::{Function, ServiceContext, function};
use retryproof::store::Isolation::Serializable;
use retryproof::{Conflict, Explore, Report, Unique, World};
use serde::{Deserialize, Serialize};

use crate::{Done, Family, S, bad, because, good};

pub(crate) fn family() -> Family {
    let older = "store.page.content …";
    let reasons = [because(Oracle::Serial, older, "job#1.1/remote.fetch:pause=past-lease", "remote.call(")];
    Family::new(
        "refresh remote content",
        [
            bad("the last one to save wins", reasons, |explore| refreshing(explore, false)),
            good("unique while it runs, and the newest fetch wins", |explore| refreshing(explore, true)),
        ],
    )
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Page {
    content: String,
    fetched_at: Duration,
}

fn refreshing(explore: &Explore, guarded: bool) -> Report {
    explore.run(async move |world: &World| {
        world.ignore("store", "$.page.fetched_at");
        let fetch = |_: (), cx: &mut ServiceContext<'_>| if cx.now() < 5 * S { "old" } else { "new" };
        world.service("remote", function("fetch", fetch).read_only());
        world.process("worker", move |p| {
            let (store, clock) = (p.store(), p.clock());
            let remote = p.service::<Function<(), &'static str>>("remote");
            let job = p.handle(async move |_: u32| -> Done {
                let fetched_at = clock.now();
                let content = remote.call(()).await?.to_owned();
                let mut tx = store.transaction(Serializable).await;
                let kept = tx.get::<Page>("page").await?;
                if !guarded || kept.is_none_or(|kept| kept.value.fetched_at <= fetched_at) {
                    tx.put("page", &Page { content, fetched_at }).await?;
                }
                tx.commit().await?;
                Ok(())
            });
            if guarded {
                let one_page = Unique::while_executing(|_: &u32| Some("page")).ttl(30 * S);
                job.unique(one_page.when_busy(Conflict::Reschedule(10 * S)));
            }
        });
        world.enqueue(1_u32);
        world.enqueue_in(5 * S, 2_u32);
        world.settle().await;
    })
}
