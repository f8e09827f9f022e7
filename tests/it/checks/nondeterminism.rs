//! Code whose course depends on what survives a run is found as soon as the dependency shows.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::{Order, keyed, one_deviation, unkeyed};
use retryproof::{Explore, Report, Verdict, World};

#[track_caller]
fn assert_fickle(report: &Report, reason: &str) {
    assert_eq!(report.verdict(), Verdict::Nondeterministic, "{report}");
    assert!(report.reason().unwrap().contains(reason), "{report}");
}

#[test]
fn only_the_closing_reference_run_shows_it() {
    // Set after the first crash. Only a run without a crash depends on it.
    static CRASHED: AtomicBool = AtomicBool::new(false);
    let report = one_deviation().faults(0).deliveries(0).run(async |world: &World| {
        let state = world.durable("state", 0);
        world.process("worker", move |p| {
            let (again, state) = (p.incarnation() > 1, state.clone());
            CRASHED.fetch_or(again, Ordering::Relaxed);
            p.handle(async move |_: Order| {
                state.set(if !again && CRASHED.load(Ordering::Relaxed) { 2 } else { 1 });
            });
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert_fickle(&report, "state = 1 the first time, state = 2 the second");
}

#[test]
fn only_one_run_takes_another_course() {
    // The fourth run should crash before the charge, and only that run has another point there.
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let report = one_deviation().faults(0).deliveries(0).run(async |world: &World| {
        let fourth = RUNS.fetch_add(1, Ordering::Relaxed) == 3;
        world.process("worker", move |p| {
            let (payments, clock) = (p.payments(), p.clock());
            p.handle(async move |order: Order| {
                if fourth {
                    clock.yield_now().await;
                }
                payments.charge(keyed(order.id)).await.map(drop)
            });
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    let expected = "choice 1 was `job#1.1/payments.charge:before` the first time and `job#1.1/yield:before`";
    assert_fickle(&report, expected);
}

#[test]
fn a_violation_that_does_not_come_again() {
    static ONCE: AtomicBool = AtomicBool::new(false);
    let report = one_deviation().faults(0).deliveries(0).run(async |world: &World| {
        world.process("worker", |p| {
            let (payments, again) = (p.payments(), p.incarnation() > 1);
            p.handle(async move |order: Order| {
                if again && !ONCE.swap(true, Ordering::Relaxed) {
                    payments.charge(unkeyed(99)).await?;
                }
                payments.charge(keyed(order.id)).await.map(drop)
            });
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert_fickle(
        &report,
        "`: the first time payments.charge happened, but happens in no fault-free run, the second time not",
    );
}

#[test]
fn an_error_that_speaks_of_poison_without_a_crash_is_one_like_any_other() {
    let report = Explore::new().name("test").deviations(1).crashes(0).run(async |world: &World| {
        world.process("worker", |p| {
            let payments = p.payments();
            p.handle(async move |order: Order| {
                payments.charge(keyed(order.id)).await.map(drop).map_err(|_| "a PoisonError of its own")
            });
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
}
