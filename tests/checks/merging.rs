//! What must not be taken for the same: merged or not, an exploration finds the same.

use std::time::Duration;

use retryproof::service::payments::Charge;
use retryproof::{Clock, Delivery, Explore, Report, World};

const S: Duration = Duration::from_secs(1);

/// What is wrong, and whether something was merged.
fn found(report: &Report) -> Vec<String> {
    let mut found: Vec<_> =
        report.violations().iter().map(|v| format!("{} | {}", v.summary, v.actual)).collect();
    found.sort();
    found
}

/// Explores crashes, without merging and with it, and compares.
#[track_caller]
fn finds_the_same(crashes: usize, expected: &str, body: impl AsyncFn(&World) + Sync) -> Report {
    let crashes = Explore::new().name("test").deviations(crashes).faults(0).deliveries(0);
    let (full, merged) = (crashes.clone().run(&body), crashes.merge(true).run(&body));
    assert!(found(&full).iter().any(|text| text.contains(expected)), "{full}");
    assert_eq!(found(&full), found(&merged), "{full}\n{merged}");
    merged
}

/// The second job of the two that are popped and lost. It waits, but not in a process that was restarted.
async fn second(clock: &Clock, again: bool) -> Result<(), &'static str> {
    if again {
        return Err("again");
    }
    clock.sleep(S).await;
    Ok(())
}

/// Two jobs are lost: in one crash after a second; or the first one at once, and the second one in a crash when the
/// process has restarted after a second. What is left is the same, but for what the next process knows of itself.
async fn one_crash_or_two(world: &World, boot: impl Fn(&retryproof::Process) -> bool + 'static) {
    world.process("worker", move |p| {
        let (clock, again, third) = (p.clock(), p.incarnation() == 2, boot(p));
        p.handle(async move |_: u8| {
            clock.sleep(S).await;
            clock.yield_now().await;
        })
        .delivery(Delivery::AtMostOnce);
        let clock = p.clock();
        p.handle(async move |_: u16| second(&clock, again).await)
            .delivery(Delivery::AtMostOnce)
            .max_retries(0);
        let payments = p.payments();
        p.handle(async move |_: u32| {
            let cents = if third { 666 } else { 500 };
            payments.charge(Charge::of_order(1, cents).key("k")).await.map(drop)
        })
        .delivery(Delivery::AtMostOnce);
    });
    world.enqueue(1_u8);
    world.enqueue(1_u16);
    world.enqueue_in(100 * S, 1_u32);
    world.settle().await;
}

#[test]
fn a_process_that_was_booted_oftener() {
    finds_the_same(2, "666", async |world: &World| {
        one_crash_or_two(world, |p| p.incarnation() == 3).await;
    });
}
