//! The test's own reads belong to the test, no matter which job ran last: no job used the test's handle.

use std::future::pending;

use super::one_deviation;
use crate::support::has_line;
use expect_test::expect;
use retryproof::{StoreError, World};

fn done(world: &World) -> bool {
    world.store().get_blocking::<bool>("done").unwrap().is_some()
}

#[test]
fn a_loop_is_let_run_until_the_store_says_so() {
    one_deviation().check(async |world: &World| {
        world.process("relay", |p| {
            let store = p.store();
            p.spawn("poller", async move {
                store.put("done", &true).await?;
                pending::<()>().await;
                Ok::<_, StoreError>(())
            });
        });
        assert!(world.settle_until(done).await);
    });
}

#[test]
fn what_always_holds_may_be_read_from_the_store() {
    let counting = |most: u32| {
        one_deviation().run(async move |world: &World| {
            let store = world.store();
            world.invariant("few", move |_: &World| {
                let row = store.get_blocking::<u32>("count").unwrap();
                assert!(row.is_none_or(|row| row.value <= most), "too many");
            });
            world.process("worker", |p| {
                let store = p.store();
                p.handle(async move |_: u32| {
                    store.put("count", &1_u32).await?;
                    store.put("count", &2_u32).await
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
        })
    };
    super::assert_green(&counting(2));
    let report = counting(1).to_string();
    has_line(&report, expect!["panic: too many"]);
}
