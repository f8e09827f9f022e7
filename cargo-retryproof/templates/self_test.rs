//! Controls of `cargo retryproof self-test`: bad jobs that must be found, and a good one that must pass.

use std::time::Duration;

use crash_points::crash_points;
use retryproof::service::payments::{Charge, Payments};
use retryproof::{Client, Code, Durable, Explore, ServiceError, World};

fn pay(key: Option<&'static str>) -> impl AsyncFn(&World) + Sync {
    async move |world: &World| {
        world.process("worker", move |p| {
            let payments = p.payments();
            p.handle(async move |order: u32| {
                let charge = Charge::of_order(order, 500);
                payments.charge(key.into_iter().fold(charge, Charge::key)).await.map(drop)
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    }
}

#[test]
fn a_lost_reply_is_found() {
    let report = Explore::new().name("lost").crashes(0).deliveries(0).run(pay(None));
    assert_eq!(report.code(), Some(Code::RepeatedAfterError), "{report}");
}

#[crash_points]
async fn mark_late(done: &Durable<bool>, payments: &Client<Payments>) -> Result<(), ServiceError> {
    if done.get() {
        return Ok(());
    }
    payments.charge(Charge::of_order(6, 500)).await?;
    let is_done = true;
    done.set(is_done);
    Ok(())
}

#[test]
fn a_crash_at_a_line_is_found() {
    let report = Explore::new().name("line").faults(0).deliveries(0).run(async |world: &World| {
        let done = world.durable("done", false);
        world.process("worker", move |p| {
            let (payments, done) = (p.payments(), done.clone());
            p.handle(async move |_: u32| mark_late(&done, &payments).await);
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert_eq!(report.code(), Some(Code::RepeatedAfterCrash), "{report}");
    assert!(!report.by_line().functions().is_empty(), "no line has a crash point: {report}");
}

#[test]
fn the_clock_is_virtual() {
    let days = Duration::from_secs(20 * 24 * 60 * 60);
    let report = Explore::new().name("clock").deviations(0).run(async move |world: &World| {
        world.process("worker", move |p| {
            let (payments, clock) = (p.payments(), p.clock());
            p.handle(async move |order: u32| {
                clock.sleep(days).await;
                payments.charge(Charge::of_order(order, 500)).await.map(drop)
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
        assert!(world.now() >= days, "{:?}", world.now());
    });
    assert!(report.is_retryproof(), "{report}");
}

#[test]
fn a_correct_job_is_green() {
    let report = Explore::new().name("correct").run(pay(Some("order-6")));
    assert!(report.is_retryproof(), "{report}");
}
