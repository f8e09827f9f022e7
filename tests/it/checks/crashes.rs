//! A dead process does nothing more.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{Order, assert_green, assert_violated, explore, keyed, one_deviation, unkeyed};
use crate::support::has_line;
use expect_test::expect;
use retryproof::service::email::Email;
use retryproof::service::payments::Payments;
use retryproof::{Client, Clock, Durable, Explore, JobQueue, Report, ServiceError, Verdict, World};

const TWICE: &str = "payments.charge happened twice, expected once";

/// Undoes the charge in its destructor, which passes under unwinding, and fails under a real crash.
struct Compensate {
    charged: Durable<bool>,
    armed: bool,
}

impl Drop for Compensate {
    fn drop(&mut self) {
        if self.armed {
            self.charged.set(false);
        }
    }
}

#[test]
fn a_destructor_does_not_save_the_day() {
    let report = one_deviation().faults(0).deliveries(0).run(async |world: &World| {
        let (locked, charged) = (world.durable("locked", false), world.durable("runs", 0_u32));
        world.process("worker", move |p| {
            let (clock, locked, charged) = (p.clock(), locked.clone(), charged.clone());
            p.handle(async move |_: Order| {
                // Only the destructor of the lock releases it.
                if locked.update(|locked| std::mem::replace(locked, true)) {
                    return Err("locked");
                }
                let mut guard = Compensate { charged: locked.clone(), armed: true };
                clock.sleep(Duration::from_secs(1)).await;
                charged.set(1);
                guard.armed = false;
                drop(guard);
                locked.set(false);
                Ok(())
            })
            .max_retries(0);
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
        assert!(world.dead().is_empty(), "the lock was never given back");
    });
    let locked = report.violations().iter().any(|v| v.summary.contains("the lock was never given back"));
    assert!(locked, "{report}");
}

/// A destructor that calls services, with a blocking handle and with its own small executor.
struct Refund {
    payments: Client<Payments>,
    email: Client<retryproof::service::email::EmailService>,
    queue: JobQueue,
    clock: Clock,
    armed: Cell<bool>,
}

static REFUNDS: AtomicU32 = AtomicU32::new(0);

impl Drop for Refund {
    fn drop(&mut self) {
        if self.armed.get() {
            self.payments.charge_blocking(unkeyed(99)).expect("a destructor is answered");
            // There is no handler for this kind of job, so the test would find the job if it were enqueued.
            self.queue.enqueue_blocking(99_u64).expect("a destructor is answered");
            let asked = async {
                self.clock.sleep(Duration::from_secs(1)).await;
                self.queue.enqueue(99_u64).await.expect("a destructor is answered");
                self.email
                    .send(Email::new("a@example.com", "sorry"))
                    .await
                    .expect("a destructor is answered");
            };
            futures_util::FutureExt::now_or_never(asked).expect("a destructor does not wait");
            REFUNDS.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn what_a_destructor_asks_for_is_answered_and_comes_to_nothing() {
    let report = one_deviation().faults(0).deliveries(0).run(async |world: &World| {
        world.process("worker", |p| {
            let (payments, email, queue, clock) = (p.payments(), p.email(), p.queue(), p.clock());
            p.handle(async move |order: Order| {
                let (queue, clock, armed) = (queue.clone(), clock.clone(), Cell::new(true));
                let guard = Refund { payments: payments.clone(), email: email.clone(), queue, clock, armed };
                payments.charge(keyed(order.id)).await?;
                guard.armed.set(false);
                Ok::<(), ServiceError>(())
            });
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
        assert_eq!(world.payments().records().len(), 1);
        assert_eq!(world.email().records().len(), 0);
    });
    assert_green(&report);
    assert!(REFUNDS.load(Ordering::Relaxed) >= 3, "the destructors have run");
}

#[test]
fn the_handles_of_a_dead_incarnation_do_nothing_more() {
    use std::sync::Mutex;
    static KEPT: Mutex<Vec<Client<Payments>>> = Mutex::new(Vec::new());
    let settings =
        retryproof::Explore::new().name("test").replay("test job#1.1/payments.charge:happened=crash");
    let report = explore(&settings, |p| {
        let payments = p.payments();
        KEPT.lock().unwrap().push(payments.clone());
        p.handle(async move |order: Order| payments.charge(keyed(order.id)).await.map(drop));
    });
    assert!(report.reason().is_none() && report.violations().is_empty(), "{report}");
    // The last run booted twice, and its first incarnation died. (The reference run, and the run that looks up places,
    // booted once each.)
    let mut kept = std::mem::take(&mut *KEPT.lock().unwrap());
    assert_eq!(kept.len(), 4);
    let dead = kept.remove(2);
    let before = dead.records().len();
    assert!(
        futures_util::FutureExt::now_or_never(dead.charge(unkeyed(7))).is_none(),
        "an async call never completes"
    );
    let blocking = std::thread::spawn({
        let dead = dead.clone();
        move || dead.charge_blocking(unkeyed(7)).is_ok()
    });
    assert!(blocking.join().is_err(), "a blocking call unwinds");
    assert_eq!(dead.records().len(), before, "and nothing has happened");
}

#[test]
fn a_destructor_that_panics_is_no_harm() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    let report = explore(&one_deviation().faults(0).deliveries(0), |p| {
        let payments = p.payments();
        p.handle(async move |order: Order| {
            let bomb = Panics;
            payments.charge(keyed(order.id)).await?;
            std::mem::forget(bomb);
            Ok::<(), ServiceError>(())
        });
    });
    assert_green(&report);
}

#[test]
fn a_crash_that_is_swallowed_stays_a_crash() {
    // Blocking: the job catches the unwinding, and reports success.
    let report = explore(&one_deviation().faults(0).deliveries(0), |p| {
        let payments = p.payments();
        p.handle_blocking(move |order: Order| {
            let step = || payments.charge_blocking(unkeyed(order.id)).map(drop);
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(step));
        });
    });
    assert_violated(&report, TWICE, "test job#1.1/payments.charge:happened=crash");
    // Nothing that it does afterwards counts.
    let report = one_deviation().faults(0).deliveries(0).run(async |world: &World| {
        let done = world.durable("done", 0_u32);
        world.process("worker", {
            let done = done.clone();
            move |p| {
                let (payments, done) = (p.payments(), done.clone());
                p.handle_blocking(move |order: Order| {
                    let step = || payments.charge_blocking(keyed(order.id)).map(drop);
                    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(step)).is_err();
                    done.set(if died { 99 } else { 1 });
                });
            }
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
        assert_eq!(done.get(), 1);
    });
    assert_green(&report);
}

#[test]
fn a_job_that_panics_has_failed_and_is_tried_again() {
    let report = explore(&one_deviation().crashes(0), |p| {
        let payments = p.payments();
        p.handle(async move |order: Order| {
            payments.charge(unkeyed(order.id)).await.unwrap();
        });
    });
    assert_violated(&report, TWICE, "test job#1.1/payments.charge:call=reply-lost");
    has_line(
        &report,
        expect!["failed: panicked: called `Result::unwrap()` on an `Err` value: Unavailable { service:"],
    );
}

#[test]
fn what_the_boot_closure_builds_dies_and_is_built_anew() {
    // A cache in memory tells the second attempt in the same process what has been done. After a crash it is empty.
    let cached = |explore: retryproof::Explore| -> Report {
        super::explore(&explore, |p| {
            let (payments, cache) = (p.payments(), std::rc::Rc::new(Cell::new(false)));
            p.handle(async move |order: Order| {
                if !cache.get() {
                    cache.set(true);
                    payments.charge(unkeyed(order.id)).await?;
                }
                Ok::<(), ServiceError>(())
            });
        })
    };
    let again = cached(one_deviation().replay("test job#1.1:ack=again"));
    assert_eq!((again.reason(), again.violations().len()), (None, 0), "{again}");
    // A fresh copy of the process has built its own.
    let elsewhere = "test job#1.1/payments.charge:pause=past-lease";
    assert_violated(&cached(one_deviation().crashes(0).faults(0)), TWICE, elsewhere);
    assert_violated(&cached(one_deviation()), TWICE, "test job#1.1/payments.charge:happened=crash");
}

#[test]
fn a_crash_takes_every_attempt_of_the_process_with_it_and_none_of_another() {
    // Two jobs sleep at the same time, in one process or in two. A crash of the first one repeats the charge of the
    // second one only if they share a process.
    let sleeping = |processes: bool| {
        one_deviation().faults(0).deliveries(0).run(async move |world: &World| {
            world.process("one", move |p| {
                let (clock, payments) = (p.clock(), p.payments());
                p.handle(async move |_: u8| {
                    payments.charge(unkeyed(7)).await?;
                    clock.sleep(Duration::from_secs(10)).await;
                    Ok::<(), ServiceError>(())
                });
                if !processes {
                    let clock = p.clock();
                    p.handle(async move |_: u16| clock.sleep(Duration::from_secs(5)).await);
                }
            });
            if processes {
                world.process("two", |p| {
                    let clock = p.clock();
                    p.handle(async move |_: u16| clock.sleep(Duration::from_secs(5)).await);
                });
            }
            world.enqueue(1_u8);
            world.enqueue(1_u16);
            world.settle().await;
        })
    };
    let repeated = |report: &Report| {
        report.violations().iter().any(|v| v.scenario.to_string().contains("job#2.1/sleep:before=crash"))
            || report.violations().iter().any(|v| v.scenario.to_string().contains("job#2.1:end=crash"))
    };
    let replay = |processes: bool| {
        let report = sleeping(processes);
        assert_eq!(report.verdict(), Verdict::Violated, "{report}");
        report
    };
    // The smallest scenario of the cause is the charge's own crash, so the number of failed runs distinguishes the
    // two: the second job's three crash points add three runs if it shares the process.
    let (shared, apart) = (replay(false), replay(true));
    assert!(!repeated(&apart), "{apart}");
    assert_eq!(shared.violations()[0].runs, apart.violations()[0].runs + 3, "{shared}\n{apart}");
}

#[test]
fn a_static_outlives_the_crash_but_durable_state_is_per_run() {
    let report = one_deviation().run(async |world: &World| {
        let seen = world.durable("seen", 0_u32);
        assert_eq!(seen.get(), 0, "every run begins anew");
        world.process("worker", move |p| {
            let (payments, seen) = (p.payments(), seen.clone());
            p.handle(async move |order: Order| {
                payments.charge(keyed(order.id)).await?;
                seen.set(1);
                Ok::<(), ServiceError>(())
            });
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert_green(&report);
}

#[test]
fn a_panic_inside_an_update_leaves_the_state_as_it_was() {
    let report = one_deviation().run(async |world: &World| {
        let state = world.durable("state", (0_u32, 0_u32));
        world.process("worker", {
            let state = state.clone();
            move |p| {
                let state = state.clone();
                p.handle(async move |_: Order| {
                    let torn = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        state.update(|state| {
                            state.0 += 1;
                            panic!("between two writes");
                        })
                    }));
                    assert!(torn.is_err());
                    state.set((5, 5));
                });
            }
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
        assert_eq!(state.get(), (5, 5));
    });
    assert_green(&report);
}

#[test]
fn what_a_dead_process_calls_comes_to_nothing() {
    // `join!` polls its second branch although the first one has just died.
    let report = Explore::new().name("test").replay("test job#1.1/payments.charge:before=crash").run(
        async |world: &World| {
            world.process("worker", |p| {
                let (payments, email, queue) = (p.payments(), p.email(), p.queue());
                p.handle(async move |order: Order| {
                    let (charged, sent, enqueued) = futures_util::join!(
                        payments.charge(keyed(order.id)),
                        email.send(Email::new("a@example.com", "paid")),
                        queue.enqueue(1_u8)
                    );
                    enqueued.unwrap();
                    charged.map(drop).and(sent.map(drop))
                });
                p.handle(async |_: u8| ());
            });
            world.enqueue(Order { id: 1 });
            world.settle().await;
            assert_eq!(world.email().records().len(), 1);
        },
    );
    assert_eq!((report.reason(), report.violations().len()), (None, 0), "{report}");
    // A blocking job swallows its crash and continues with calls.
    let report =
        explore(&Explore::new().name("test").replay("test job#1.1/payments.charge:before=crash"), |p| {
            let (payments, email, queue) = (p.payments(), p.email(), p.queue());
            p.handle_blocking(move |order: Order| {
                let step = || payments.charge_blocking(keyed(order.id)).map(drop);
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(step));
                let step = || queue.enqueue_blocking(1_u8).map(drop);
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(step));
                email.send_blocking(Email::new("a@example.com", "paid")).map(drop)
            });
            p.handle(async |_: u8| ());
        });
    assert_eq!((report.reason(), report.violations().len()), (None, 0), "{report}");
}

#[test]
fn a_crash_is_not_drawn_while_the_jobs_own_panic_unwinds() {
    /// Looks up in its destructor what was charged.
    struct Looks(Client<Payments>);
    impl Drop for Looks {
        fn drop(&mut self) {
            let _ = self.0.charges_blocking(1);
        }
    }
    // A crash there would unwind out of a destructor that runs because of a panic, which aborts.
    let report = explore(&Explore::new().name("test"), |p| {
        let payments = p.payments();
        p.handle_blocking(move |order: Order| {
            let _looks = Looks(payments.clone());
            payments.charge_blocking(keyed(order.id)).unwrap();
        });
    });
    assert_green(&report);
}

#[test]
fn a_dead_attempt_is_not_polled_again() {
    // It would wake itself forever.
    let report = explore(&one_deviation().faults(0).deliveries(0), |p| {
        let payments = p.payments();
        p.handle(async move |order: Order| {
            let restless = std::future::poll_fn(|cx| {
                cx.waker().wake_by_ref();
                std::task::Poll::<()>::Pending
            });
            let charging = Box::pin(payments.charge(keyed(order.id)));
            drop(futures_util::future::select(charging, restless).await);
        });
    });
    assert_green(&report);
}
