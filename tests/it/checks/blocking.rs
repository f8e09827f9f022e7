//! Blocking handlers on the threads of their slots: preemptions, and what stays on a thread.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crash_points::crash_points;
use expect_test::expect;
use retryproof::middleware::{ClearThreadLocals, RequestContext};
use retryproof::report::Oracle;
use retryproof::service::email::Email;
use retryproof::{Durable, Explore, Guarantee, Process, Report, Store, StoreError, Verdict, World};

use super::{assert_green, keyed, one_deviation};
use crate::support::has_line;

/// Allows preemptions only.
fn preemptions(most: usize) -> Explore {
    Explore::new().name("test").deviations(most).crashes(0).faults(0).deliveries(0)
}

/// Explores two jobs of a kind, `1` and `2`, in one process.
fn two(explore: &Explore, boot: impl Fn(&Process) + Clone + Sync + 'static) -> Report {
    explore.run(async |world: &World| {
        world.process("worker", boot.clone());
        world.enqueue_bulk([1_u32, 2]);
        world.settle().await;
    })
}

/// Explores the same jobs, which record what they saw.
fn seen_by_two(explore: &Explore, job: impl Fn(u32) -> String + Clone + Send + Sync + 'static) -> Report {
    explore.run(async |world: &World| {
        let seen = world.durable("seen", std::collections::BTreeMap::new());
        let job = job.clone();
        world.process("worker", move |p| {
            let (seen, job) = (seen.clone(), job.clone());
            p.handle_blocking(move |number: u32| {
                let saw = job(number);
                seen.update(|seen| seen.insert(number, saw));
            });
        });
        world.enqueue_bulk([1_u32, 2]);
        world.settle().await;
    })
}

fn get_and_put(store: &Store) -> Result<(), StoreError> {
    let count = store.get_blocking::<i64>("count")?.map_or(0, |row| row.value);
    store.put_blocking("count", &(count + 1))
}

#[test]
fn an_update_is_lost_between_two_calls() {
    let report = two(&preemptions(1), |p| {
        let store = p.store();
        p.handle_blocking(move |_: u32| get_and_put(&store));
    });
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    let violation = &report.violations()[0];
    assert_eq!(violation.oracle, Oracle::Serial, "{report}");
    has_line(&report, expect![[r#"interleaving"#]]);
}

#[test]
fn an_atomic_update_is_left_alone() {
    assert_green(&two(&preemptions(3), |p| {
        let store = p.store();
        p.handle_blocking(move |_: u32| store.incr_blocking("count", 1).map(drop));
    }));
}

#[test]
fn blocking_jobs_meet_the_choices_of_async_ones() {
    let settings = Explore::new().name("test").deviations(2);
    let blocking = two(&settings, |p| {
        let payments = p.payments();
        p.handle_blocking(move |order: u32| payments.charge_blocking(keyed(order)).map(drop));
    });
    let asynchronous = two(&settings, |p| {
        let payments = p.payments();
        p.handle(async move |order: u32| payments.charge(keyed(order)).await.map(drop));
    });
    assert_green(&blocking);
    assert_green(&asynchronous);
    assert_eq!(blocking.runs(), asynchronous.runs());
}

/// A setting of the whole class, which any thread may overwrite.
#[crash_points]
fn shown_in(unit: &AtomicI64, job: u32) -> String {
    unit.store(i64::from(job), Ordering::SeqCst);
    let unit = unit.load(Ordering::SeqCst);
    format!("unit {unit}")
}

#[test]
fn another_slots_job_overwrites_what_all_share() {
    let unit = Arc::new(AtomicI64::new(0));
    let report = seen_by_two(&preemptions(1), move |job| shown_in(&unit, job));
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert_eq!(report.violations()[0].oracle, Oracle::Serial, "{report}");
    // The report shows the preemption at the line before which it happened.
    let text = report.to_string();
    assert!(text.contains("blocking.rs"), "{text}");
}

#[test]
fn what_is_passed_on_is_overwritten_by_nobody() {
    assert_green(&seen_by_two(&preemptions(2), |job| {
        let unit = AtomicI64::new(0);
        shown_in(&unit, job)
    }));
}

#[crash_points]
fn step_by_step(steps: &Mutex<Vec<u32>>, job: u32) {
    steps.lock().unwrap().push(job);
    steps.lock().unwrap().push(job);
    steps.lock().unwrap().push(job);
}

#[test]
fn every_order_of_three_lines_each_is_run() {
    let orders = Arc::new(Mutex::new(std::collections::BTreeSet::new()));
    let all = orders.clone();
    let report = preemptions(64).run(async move |world: &World| {
        let steps = Arc::new(Mutex::new(Vec::new()));
        let own = steps.clone();
        world.process("worker", move |p| {
            let steps = own.clone();
            p.handle_blocking(move |job: u32| step_by_step(&steps, job));
        });
        // There must be a state to compare.
        let _ = world.durable("nothing", ());
        world.enqueue_bulk([1_u32, 2]);
        world.settle().await;
        let steps = std::mem::take(&mut *steps.lock().unwrap());
        // The map of the lines includes crashes, regardless of the bounds.
        if steps.len() == 6 {
            all.lock().unwrap().insert(steps);
        }
    });
    assert_green(&report);
    // Three steps of one job and three of the other, in any order.
    assert_eq!(orders.lock().unwrap().len(), 20, "{orders:?}");
}

#[crash_points]
fn under_a_lock(lock: &Mutex<i64>, store: &Store) -> Result<(), StoreError> {
    let mut count = lock.lock().unwrap_or_else(PoisonError::into_inner);
    *count = store.get_blocking::<i64>("count")?.map_or(0, |row| row.value);
    *count += 1;
    store.put_blocking("count", &*count)
}

#[test]
fn a_lock_that_is_held_over_a_switch_is_waited_for() {
    let lock = Arc::new(Mutex::new(0));
    let report = two(&preemptions(2), move |p| {
        let (store, lock) = (p.store(), lock.clone());
        p.handle_blocking(move |_: u32| under_a_lock(&lock, &store));
    });
    assert_green(&report);
    assert!(report.runs() > 20, "{report}");
}

#[test]
fn crashes_under_a_lock_are_green_too() {
    // The lock dies with its process.
    let report = two(&Explore::new().name("test").deviations(2).faults(0).deliveries(0), |p| {
        let (store, lock) = (p.store(), Arc::new(Mutex::new(0)));
        p.handle_blocking(move |job: u32| {
            let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
            store.put_blocking(format!("done:{job}"), &true)
        });
    });
    assert_green(&report);
}

#[crash_points]
fn both(first: &Mutex<()>, second: &Mutex<()>) {
    let one = first.lock();
    let other = second.lock();
    drop((one, other));
}

#[test]
fn locks_that_are_taken_in_two_orders() {
    let report = preemptions(2).run(async |world: &World| {
        let done = world.durable("done", 0);
        world.process("worker", move |p| {
            let locks = Arc::new([Mutex::new(()), Mutex::new(())]);
            let done = done.clone();
            p.handle_blocking(move |job: u32| {
                let [left, right] = &*locks;
                let (first, second) = if job == 1 { (left, right) } else { (right, left) };
                both(first, second);
                done.update(|done| *done += 1);
            });
        });
        world.enqueue_bulk([1_u32, 2]);
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::Stuck, "{report}");
    let reason = report.reason().unwrap();
    for (waits, holds) in [("job#1.1", "job#2.1"), ("job#2.1", "job#1.1")] {
        let said = reason
            .split("; ")
            .find(|said| said.starts_with(&format!("{waits} (last at tests/it/checks/blocking.rs:")));
        let said = said.unwrap_or_else(|| panic!("nothing of {waits}: {reason}"));
        let whom = format!(") waits for a lock of its own (a Mutex, a channel, …) that {holds} (last at");
        assert!(said.contains(&whom), "{said}");
    }
}

#[test]
fn locks_that_are_taken_in_one_order() {
    let report = preemptions(2).run(async |world: &World| {
        let done = world.durable("done", 0);
        world.process("worker", move |p| {
            let locks = Arc::new([Mutex::new(()), Mutex::new(())]);
            let done = done.clone();
            p.handle_blocking(move |_: u32| {
                both(&locks[0], &locks[1]);
                done.update(|done| *done += 1);
            });
        });
        world.enqueue_bulk([1_u32, 2]);
        world.settle().await;
    });
    assert_green(&report);
}

#[test]
fn a_thread_that_waits_for_itself() {
    let report = preemptions(0).run(async |world: &World| {
        let _ = world.durable("nothing", ());
        world.process("worker", |p| {
            p.handle_blocking(|_: u32| {
                let lock = Mutex::new(());
                both(&lock, &lock);
            });
        });
        world.enqueue(1_u32);
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::Stuck, "{report}");
    has_line(
        report.reason().unwrap(),
        expect![
            "deadlock: nothing can go on and no timer is set; job#1.1 (last at tests/it/checks/blocking.rs:…) waits for a lock of its own (a Mutex, a channel, …) that no other task can hold: it holds the lock itself, or waits for a message that never comes"
        ],
    );
}

thread_local! {
    static UNIT: Cell<&'static str> = const { Cell::new("Celsius") };
}

fn units_seen(slots: usize, clear: bool, crash: bool) -> Vec<String> {
    let world = World::fake();
    let seen: Durable<Vec<String>> = world.durable("seen", Vec::new());
    let units = seen.clone();
    world.process("worker", move |p| {
        p.slots(slots);
        if clear {
            p.layer(ClearThreadLocals::new(|| UNIT.set("Celsius")));
        }
        let units = units.clone();
        p.handle_blocking(move |american: bool| {
            if american {
                UNIT.set("Fahrenheit");
            }
            let thread = std::thread::current().name().unwrap_or_default().to_owned();
            units.update(|units| units.push(format!("{thread} {}", UNIT.get())));
        });
    });
    world.enqueue(true);
    world.settle().run();
    if crash {
        world.crash("worker");
    }
    world.enqueue(false);
    world.settle().run();
    seen.get()
}

#[test]
fn thread_locals_stay_with_the_slot() {
    assert_eq!(units_seen(1, false, false), ["worker-slot-1 Fahrenheit", "worker-slot-1 Fahrenheit"]);
    assert_eq!(units_seen(1, true, false), ["worker-slot-1 Fahrenheit", "worker-slot-1 Celsius"]);
    // Threads end with the incarnation.
    assert_eq!(units_seen(1, false, true), ["worker-slot-1 Fahrenheit", "worker-slot-1 Celsius"]);
    // This thread is not a slot.
    assert_eq!(UNIT.get(), "Celsius");
}

#[test]
fn one_after_the_other_they_share_a_slot() {
    let world = World::fake();
    let seen: Durable<Vec<String>> = world.durable("seen", Vec::new());
    let names = seen.clone();
    world.process("worker", move |p| {
        let (queue, names) = (p.queue(), names.clone());
        p.handle_blocking(move |turns: u32| {
            for _ in 0..turns {
                queue.enqueue_blocking("child").unwrap();
            }
            names.update(|names| names.push(std::thread::current().name().unwrap().to_owned()));
        });
        p.handle_blocking(|_: String| {});
    });
    world.enqueue_bulk([1_u32, 1, 1]);
    world.settle().run();
    let mut names = seen.get();
    names.sort();
    names.dedup();
    // In an ordinary test, no other job runs as long as the first one can.
    assert_eq!(names, ["worker-slot-1"]);
}

thread_local! {
    static TENANT: std::cell::RefCell<Option<String>> = const { std::cell::RefCell::new(None) };
}

#[test]
fn a_request_context_is_in_place_on_the_slots_thread() {
    let world = World::fake();
    let seen: Durable<Vec<(String, Option<String>)>> = world.durable("seen", Vec::new());
    let tenant = RequestContext::of_thread_local("tenant", &TENANT);
    world.enqueue_layer(tenant.clone());
    world.process("worker", {
        let seen = seen.clone();
        move |p| {
            p.slots(1).layer(tenant.clone()).enqueue_layer(tenant.clone());
            let queue = p.queue();
            p.handle_blocking({
                let seen = seen.clone();
                move |job: u32| {
                    let name = format!("parent {job}");
                    seen.update(|seen| seen.push((name, TENANT.with_borrow(Clone::clone))));
                    queue.enqueue_blocking(u64::from(job)).unwrap();
                }
            });
            p.handle_blocking({
                let seen = seen.clone();
                move |job: u64| {
                    let name = format!("child {job}");
                    seen.update(|seen| seen.push((name, TENANT.with_borrow(Clone::clone))));
                }
            });
        }
    });
    TENANT.set(Some("acme".to_owned()));
    world.enqueue(1_u32);
    TENANT.set(None);
    world.enqueue(2_u32);
    world.settle().run();
    let acme = Some("acme".to_owned());
    let expected = [("parent 1", &acme), ("parent 2", &None), ("child 1", &acme), ("child 2", &None)];
    assert_eq!(seen.get(), expected.map(|(name, tenant)| (name.to_owned(), tenant.clone())));
}

#[test]
fn time_passes_for_code_that_blocks() {
    let world = World::fake();
    let took: Durable<Option<Duration>> = world.durable("took", None);
    let own = took.clone();
    world.payments().behavior(retryproof::service::Behavior::Slow(Duration::from_secs(3)));
    world.process("worker", move |p| {
        let (payments, clock, took) = (p.payments(), p.clock(), own.clone());
        p.handle_blocking(move |order: u32| {
            let begun = clock.now();
            payments.charge_blocking(keyed(order)).unwrap();
            took.set(Some(clock.now() - begun));
        });
    });
    world.enqueue(1_u32);
    world.settle().run();
    assert_eq!(took.get(), Some(Duration::from_secs(3)));
}

#[test]
fn the_report_is_the_same_each_time() {
    let run = |threads| {
        two(&Explore::new().name("test").deviations(2).threads(threads), |p| {
            let (store, lock) = (p.store(), Arc::new(Mutex::new(0)));
            p.handle_blocking(
                move |job: u32| {
                    if job == 1 { under_a_lock(&lock, &store) } else { get_and_put(&store) }
                },
            );
        })
        .to_string()
    };
    let first = run(1);
    assert_eq!(first, run(1));
    assert_eq!(first, run(2));
}

#[test]
fn a_failure_on_a_slots_thread_is_the_attempts() {
    let world = World::fake();
    world.process("worker", |p| {
        p.handle_blocking(
            |job: u32| if job == 1 { panic!("no such order") } else { Err::<(), _>("not today") },
        )
        .decide(|failed| match failed.downcast_ref::<&str>() {
            Some(&"not today") => retryproof::Decision::Discard,
            _ => retryproof::Decision::Retry,
        });
    });
    world.enqueue(1_u32);
    assert_eq!(world.drain_all().run().unwrap_err().to_string(), "job#1 u32 failed: panicked: no such order");
    world.clear_all();
    world.enqueue(2_u32);
    assert_eq!(world.drain_all().run().unwrap().discarded, 1);
}

#[test]
fn a_point_is_where_a_blocking_job_dies() {
    // Like an async job: five crash points of a charge.
    let report = super::explore(&one_deviation().faults(0).deliveries(0), |p| {
        let payments = p.payments();
        p.handle_blocking(move |order: super::Order| payments.charge_blocking(keyed(order.id)).map(drop));
    });
    assert_green(&report);
    assert_eq!(report.runs(), 1 + 5, "{report}");
}

/// Explores two jobs that show a temperature, one of them in Fahrenheit.
fn showing_temperatures(settings: &Explore, clear: bool) -> Report {
    settings.run(async |world: &World| {
        world.process("worker", move |p| {
            if clear {
                p.layer(ClearThreadLocals::new(|| UNIT.set("Celsius")));
            }
            let email = p.email();
            p.handle_blocking(move |american: bool| {
                if american {
                    UNIT.set("Fahrenheit");
                }
                let (to, text) = (if american { "us" } else { "eu" }, UNIT.get());
                email.send_blocking(Email::new(to, text)).map(drop)
            });
        });
        world.allow("email.send", Guarantee::AtLeastOnce);
        world.enqueue_bulk([true, false]);
        world.settle().await;
    })
}

#[test]
fn what_a_job_leaves_on_its_thread_is_found() {
    let report = showing_temperatures(&one_deviation(), false);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    let violation = &report.violations()[0];
    assert_eq!(violation.oracle, Oracle::Isolation, "{report}");
    assert!(violation.expected.contains("Celsius") && violation.actual.contains("Fahrenheit"), "{report}");
    let replayed = showing_temperatures(&one_deviation().replay(violation.scenario.to_string()), false);
    assert_eq!(replayed.violations()[0].summary, violation.summary, "{replayed}");
}

#[test]
fn a_thread_that_is_cleared_after_each_job() {
    assert_green(&showing_temperatures(&one_deviation(), true));
}

/// Announces each order once, according to memory or according to durable state.
fn announcing(durable: bool) -> Report {
    one_deviation().crashes(0).faults(0).deliveries(0).run(async |world: &World| {
        let stored = world.durable("stored", Vec::new());
        let announced = world.durable("announced", 0);
        world.process("worker", move |p| {
            let (memory, stored, announced) = (Mutex::new(Vec::new()), stored.clone(), announced.clone());
            p.handle_blocking(move |order: u32| {
                let is_new = |known: &mut Vec<u32>| {
                    !known.contains(&order) && {
                        known.push(order);
                        true
                    }
                };
                let new = if durable { stored.update(is_new) } else { is_new(&mut memory.lock().unwrap()) };
                if new {
                    announced.update(|count| *count += 1);
                }
            });
        });
        world.enqueue_bulk([6_u32, 6]);
        world.settle().await;
    })
}

#[test]
fn what_a_process_remembers_is_found() {
    let report = announcing(false);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert_eq!(report.violations()[0].oracle, Oracle::Isolation, "{report}");
    assert_green(&announcing(true));
}

/// Blocks the thread itself, like the user's own executor.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn time_passes_for_whoever_blocks_by_other_means() {
    let world = World::fake();
    let took: Durable<Option<Duration>> = world.durable("took", None);
    let own = took.clone();
    world.process("worker", move |p| {
        let (clock, took) = (p.clock(), own.clone());
        p.handle_blocking(move |seconds: u64| {
            let begun = clock.now();
            block_on(clock.sleep(Duration::from_secs(seconds)));
            took.set(Some(clock.now() - begun));
        });
    });
    world.enqueue(7_u64);
    world.settle().run();
    assert_eq!(took.get(), Some(Duration::from_secs(7)));
}
