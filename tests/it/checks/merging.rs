//! States that must not be merged: with or without merging, an exploration finds the same violations.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use retryproof::service::error_tracker::Notification;
use retryproof::service::payments::{Charge, DECLINED_AMOUNT};
use retryproof::{Clock, Delivery, Explore, Report, ServiceError, World};

const S: Duration = Duration::from_secs(1);

/// Returns the violations without their scenarios.
fn found(report: &Report) -> Vec<String> {
    let mut found: Vec<_> =
        report.violations().iter().map(|v| format!("{} | {}", v.summary, v.actual)).collect();
    found.sort();
    found
}

/// Allows a number of deviations, all of them crashes.
fn crashes(most: usize) -> Explore {
    Explore::new().name("test").deviations(most).faults(0).deliveries(0)
}

/// Explores with and without merging, and compares.
#[track_caller]
fn finds_the_same(settings: &Explore, expected: &str, body: impl AsyncFn(&World) + Sync) {
    let settings = settings.clone().keep_going();
    let (full, merged) = (settings.run(&body), settings.clone().merge(true).run(&body));
    assert!(found(&full).iter().any(|text| text.contains(expected)), "{full}");
    // The simplest way that leads to a violation may differ, because some runs are skipped.
    let causes = |report: &Report| -> Vec<String> {
        let mut causes: Vec<_> = report.violations().iter().map(|v| v.summary.clone()).collect();
        causes.sort();
        causes.dedup();
        causes
    };
    assert_eq!(causes(&full), causes(&merged), "{full}\n{merged}");
}

/// The second of two jobs that are lost. It waits, but not in a process that was restarted.
async fn second(clock: &Clock, again: bool) -> Result<(), &'static str> {
    if again {
        return Err("again");
    }
    clock.sleep(S).await;
    Ok(())
}

/// Loses two jobs: in one crash after a second; or the first one at once, and the second one in a crash of the
/// restarted process after a second. What remains is the same, except for what the next process knows about itself.
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
    finds_the_same(&crashes(2), "666", async |world: &World| {
        one_crash_or_two(world, |p| p.incarnation() == 3).await;
    });
}

#[test]
fn a_queue_that_is_not_the_same() {
    finds_the_same(&crashes(1), "job `u16` was lost", async |world: &World| {
        world.durable("nothing", ());
        world.process("worker", |p| {
            p.handle(async |_: u8| ()).delivery(Delivery::AtMostOnce);
            p.handle(async |_: u16| ()).delivery(Delivery::AtMostOnce);
        });
        world.enqueue(1_u8);
        world.enqueue(1_u16);
        world.settle().await;
    });
}

#[test]
fn a_body_that_has_gone_on() {
    // The body enqueues later what the job could not enqueue, so the queue is the same by then.
    let settings = crashes(2).deliveries(1);
    finds_the_same(&settings, "mended and crashed", async |world: &World| {
        let (ran, boots) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
        let (inner, counted) = (ran.clone(), boots.clone());
        world.durable("nothing", ());
        world.process("worker", move |p| {
            counted.set(counted.get() + 1);
            let (queue, ran) = (p.queue(), inner.clone());
            p.handle(async move |_: u16| drop(queue.enqueue(1_u8).await));
            p.handle(async move |_: u8| ran.set(true));
        });
        world.enqueue(1_u16);
        world.settle().await;
        if !ran.get() {
            let before = boots.get();
            world.enqueue(1_u8);
            world.settle().await;
            assert_eq!(boots.get(), before, "mended and crashed");
        }
    });
}

#[test]
fn a_process_that_lives_on_and_remembers() {
    let settings = crashes(2).faults(1);
    finds_the_same(&settings, "666", async |world: &World| {
        let crashed = world.durable("crashed", false);
        world.ignore("crashed", "$");
        let told = crashed.clone();
        world.process("crashing", move |p| {
            if p.incarnation() > 1 {
                told.set(true);
            }
            p.handle(async |_: u8| ());
        });
        world.process("remembering", move |p| {
            let (payments, crashed, failed) = (p.payments(), crashed.clone(), Rc::new(Cell::new(false)));
            let (inner, noted) = (payments.clone(), failed.clone());
            p.handle(async move |_: u16| noted.set(inner.charges(1).await.is_err()));
            p.handle(async move |_: u32| {
                let cents = if failed.get() && crashed.get() { 666 } else { 500 };
                payments.charge(Charge::of_order(1, cents).key("k")).await.map(drop)
            });
        });
        world.enqueue(1_u16);
        // Enqueued when all faults of the first job are over.
        world.enqueue_in(50 * S, 1_u8);
        world.enqueue_in(200 * S, 1_u32);
        world.settle().await;
    });
}

#[test]
fn a_run_that_may_do_less_from_there() {
    // After a fault or a lost reply the same is recorded, but if the fault was used up, no other one may follow.
    let settings = Explore::new().name("test").deviations(3).crashes(1).faults(1).deliveries(1);
    finds_the_same(&settings, "666", async |world: &World| {
        let (failed, enqueued) = (world.durable("failed", false), world.durable("enqueued", false));
        ["failed", "enqueued"].into_iter().for_each(|state| world.ignore(state, "$"));
        world.process("worker", move |p| {
            let (payments, queue, failed) = (p.payments(), p.queue(), failed.clone());
            let (heard, enqueued) = (enqueued.clone(), enqueued.clone());
            p.handle(async move |_: u16| {
                let before = failed.get();
                let looked = payments.charges(1).await.is_err();
                if before && looked && heard.get() {
                    payments.charge(Charge::of_order(1, 666).key("never")).await?;
                }
                if !before && (queue.enqueue(1_u8).await.is_err() || looked) {
                    failed.set(true);
                }
                Ok::<(), retryproof::ServiceError>(())
            });
            p.handle(async move |_: u8| enqueued.set(true));
        });
        world.enqueue(1_u16);
        world.settle().await;
    });
}

#[test]
fn a_service_that_is_not_the_same() {
    // A declined charge is not an effect, but the service remembers it.
    finds_the_same(&crashes(1), "666", async |world: &World| {
        world.process("worker", |p| {
            let payments = p.payments();
            p.handle(async move |_: u8| {
                let cents = if payments.charges(1).await?.is_empty() { DECLINED_AMOUNT } else { 666 };
                payments.charge(Charge::of_order(1, cents).key("k")).await.map(drop)
            });
        });
        world.enqueue(1_u8);
        world.durable("nothing", ());
        world.settle().await;
    });
}

/// One fault and one crash. What needs both of them shows in runs that could be merged.
fn a_fault_and_a_crash() -> Explore {
    Explore::new().name("test").deviations(2).crashes(1).faults(1).deliveries(0).preemptions(0)
}

#[test]
fn a_run_whose_key_was_anothers() {
    // After a failed lookup, the job sends a different request under a known key, and then waits forever. A crash in
    // the wait leaves the same behind as a crash before any of it.
    finds_the_same(&a_fault_and_a_crash(), "was used for both", async |world: &World| {
        world.durable("nothing", ());
        world.payments().charge(Charge::of_order(1, 500).key("k")).await.unwrap();
        world.process("worker", |p| {
            let (payments, clock) = (p.payments(), p.clock());
            p.handle(async move |_: u8| {
                let failed = payments.charges(1).await.is_err();
                if failed {
                    let _ = payments.charge(Charge::of_order(1, 666).key("k")).await;
                }
                clock.yield_now().await;
                clock.yield_now().await;
                if failed {
                    std::future::pending().await
                }
            });
        });
        world.enqueue(1_u8);
        world.settle().await;
    });
}

#[test]
fn a_run_in_which_another_attempt_told() {
    // The first attempt always fails. It reports that, wrongly, if its lookup failed; otherwise the second attempt
    // reports, in its ordinary course. The process crashes later, and only then does the second job end.
    finds_the_same(&a_fault_and_a_crash(), "reported in 1 attempt", async |world: &World| {
        world.durable("nothing", ());
        world.process("worker", |p| {
            let (tried, told) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
            let (payments, catcher, early) = (p.payments(), p.error_tracker(), told.clone());
            p.handle(async move |_: u8| {
                let again = tried.replace(true);
                let looked = if again { Ok(Vec::new()) } else { payments.charges(1).await };
                // A failure that takes no time.
                let failed = matches!(looked, Err(ServiceError::Unavailable { .. }));
                if failed || again && !early.get() {
                    early.set(failed);
                    while catcher.notify(Notification::new("Charge", "down")).await.is_err() {}
                }
                again.then_some(()).ok_or("once")
            })
            .max_retries(3);
            let clock = p.clock();
            p.handle(async move |_: u16| {
                clock.yield_now().await;
                if told.get() {
                    std::future::pending().await
                }
            });
        });
        world.enqueue(1_u8);
        world.enqueue_in(600 * S, 1_u16);
        world.settle().await;
    });
}
