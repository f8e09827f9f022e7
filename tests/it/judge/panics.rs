//! The culprit of a panic.

use super::*;
use retryproof::Backoff;

/// A worker that cannot boot in the state that a crash leaves.
fn booting(takes_any_state: bool) -> Report {
    Explore::new().name("test").deviations(1).faults(0).deliveries(0).run(async move |world: &World| {
        let step = world.durable("step", 0_u32);
        world.process("worker", move |p| {
            assert!(takes_any_state || step.get() != 1, "half a step");
            let (step, email) = (step.clone(), p.email());
            p.handle(async move |_: u32| {
                if step.get() < 2 {
                    step.set(1);
                    if email.emails("ada@example.com", "hello").await?.is_empty() {
                        email.send(mail("ada@example.com")).await?;
                    }
                    step.set(2);
                }
                Ok::<(), retryproof::ServiceError>(())
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}

#[test]
fn a_panic_while_a_process_boots_is_no_assertion_of_the_test() {
    let report = booting(false);
    assert_red(
        &report,
        Code::NotRun,
        "the process `worker` panicked while it booted at tests/it/judge/panics.rs",
    );
    assert!(report.violations().iter().all(|v| !v.summary.contains("test body")), "{report}");
    assert_green(&booting(true));
}

/// A job that fails once, and whose `backoff` panics or does not.
fn backing_off(panics: bool) -> Report {
    Explore::new().name("test").deviations(1).crashes(0).deliveries(0).run(async move |world: &World| {
        world.process("worker", move |p| {
            let payments = p.payments();
            let backoff = move |failure: u32| {
                assert!(!panics, "no backoff for failure {failure}");
                S
            };
            p.handle(async move |order: u32| payments.charge(charge(order).key("k")).await.map(drop))
                .backoff(Backoff::function(backoff));
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}

#[test]
fn a_panic_of_a_backoff_is_the_jobs() {
    // It waits as one without a backoff of its own, and the error says what has happened.
    assert_green(&backing_off(true));
    assert_green(&backing_off(false));
    let world = World::fake();
    world.process("worker", |p| {
        p.handle(async |_: u32| Err::<(), _>("no"))
            .max_retries(1)
            .backoff(Backoff::function(|_| panic!("no backoff")))
            .on_exhausted(|_| panic!("no exhaustion"));
        p.on_error(|_| panic!("no hook"));
    });
    world.enqueue(6_u32);
    world.settle().run();
    let error = world.dead()[0].error.clone().unwrap_or_default();
    assert_eq!(error, "no; an `on_error` hook panicked: no hook; its `on_exhausted` panicked: no exhaustion");
}
