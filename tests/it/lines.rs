//! Crashes at lines.
//!
//! This only tests points, and what crashes at them. `crash-points` tests the attribute itself.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use crash_points::crash_points;
use expect_test::expect;
use retryproof::service::payments::{Charge, Payments};
use retryproof::{Client, Durable, Explore, Report, ServiceError, Verdict, World};

use crate::support::{assert_green, has_line};

#[derive(serde::Serialize, serde::Deserialize)]
struct Order {
    id: u32,
}

fn one_deviation() -> Explore {
    Explore::new().name("test").deviations(1).faults(0).deliveries(0)
}

/// Returns the name of the point before the statement of this file that begins with `text`.
fn point(text: &str, ordinal: u32) -> String {
    let line = include_str!("lines.rs").lines().position(|line| line.trim_start().starts_with(text)).unwrap();
    let column = include_str!("lines.rs").lines().nth(line).unwrap().find(text).unwrap();
    format!("{}:{}:{}#{ordinal}:line", file!(), line + 1, column + 1)
}

fn keyed(order: u32) -> Charge {
    Charge::of_order(order, 500).key(format!("order-{order}"))
}

/// Two writes without a transaction.
#[crash_points]
async fn decrement_and_mark_paid(stock: Durable<u32>, paid: Durable<bool>) {
    stock.update(|stock| *stock -= 1);
    paid.set(true);
}

#[crash_points]
async fn guarded(stock: Durable<(u32, bool)>) {
    stock.update(|(stock, paid)| {
        if !*paid {
            *stock -= 1;
            *paid = true;
        }
    });
}

#[test]
fn a_crash_between_two_writes() {
    let report = one_deviation().run(async |world: &World| {
        let (stock, paid) = (world.durable("stock", 10_u32), world.durable("paid", false));
        world.process("worker", move |p| {
            let (stock, paid) = (stock.clone(), paid.clone());
            p.handle(async move |_: Order| decrement_and_mark_paid(stock.clone(), paid.clone()).await);
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    let violation = &report.violations()[0];
    // Between the two lines: the crash comes before the second one.
    let scenario = format!("test job#1.1/{}=crash", point("paid.set(true)", 1));
    assert_eq!(violation.scenario.to_string(), scenario, "{report}");
    assert_eq!((&*violation.expected, &*violation.actual), ("stock = 9", "stock = 8"));
    // start 1, two lines 2, end 1, and the reference run.
    assert_eq!(report.runs(), 5);

    let report = one_deviation().run(async |world: &World| {
        let stock = world.durable("stock", (10_u32, false));
        world.process("worker", move |p| {
            let stock = stock.clone();
            p.handle(async move |_: Order| guarded(stock.clone()).await);
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert_green(&report);
}

#[crash_points]
async fn charge_each(payments: Client<Payments>, key: bool) -> Result<(), ServiceError> {
    for line in 1..=3 {
        let charge = Charge::of_order(line, 100);
        payments.charge(if key { charge.key(format!("line-{line}")) } else { charge }).await?;
    }
    Ok(())
}

#[test]
fn the_third_turn_of_a_loop_is_a_point_of_its_own() {
    let charging = |key: bool| {
        one_deviation().run(async move |world: &World| {
            world.process("worker", move |p| {
                let payments = p.payments();
                p.handle(async move |_: Order| charge_each(payments.clone(), key).await);
            });
            world.enqueue(Order { id: 1 });
            world.settle().await;
        })
    };
    assert_green(&charging(true));
    // start, loop, three iterations of two lines, one branch and three points of the call, the last line, end.
    assert_eq!(charging(true).runs(), 1 + 1 + 1 + 3 * (2 + 1 + 3) + 1 + 1);
    let report = charging(false);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    // The number of times that the point was passed distinguishes the iterations, and a replay finds them again.
    let scenario = format!("test job#1.1/{}~3=crash", point("let charge = Charge::of_order(line, 100)", 1));
    let replay = Explore::new().name("test").replay(&scenario).run(async |world: &World| {
        world.process("worker", move |p| {
            let payments = p.payments();
            p.handle(async move |_: Order| charge_each(payments.clone(), false).await);
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
        assert_eq!(world.effects().count(), 5, "two charges, the crash, and all three");
    });
    assert!(replay.reason().is_none(), "{replay}");
    assert_eq!(replay.violations()[0].scenario.to_string(), scenario, "{replay}");
    assert!(replay.violations().iter().all(|violation| !violation.summary.contains("panicked")), "{replay}");
}

/// Returns in its destructor what it took, which passes under unwinding, and fails under a real crash.
struct GiveBack(Durable<bool>);

impl Drop for GiveBack {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

#[crash_points]
fn with_a_lock(lock: &Durable<bool>, done: &Durable<u32>) -> Result<(), &'static str> {
    if lock.update(|locked| std::mem::replace(locked, true)) {
        return Err("locked");
    }
    let guard = GiveBack(lock.clone());
    done.set(1);
    drop(guard);
    Ok(())
}

#[test]
fn a_destructor_does_not_save_the_day_though_it_runs() {
    let report = one_deviation().run(async |world: &World| {
        let (lock, done) = (world.durable("lock", false), world.durable("done", 0));
        world.process("worker", move |p| {
            let (lock, done) = (lock.clone(), done.clone());
            p.handle_blocking(move |_: Order| with_a_lock(&lock, &done)).max_retries(0);
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
        assert!(world.dead().is_empty(), "still locked");
    });
    assert!(report.violations().iter().any(|v| v.summary.contains("still locked")), "{report}");
}

#[crash_points]
fn blocking(payments: &Client<Payments>, saved: &Durable<u32>, order: u32) -> Result<(), ServiceError> {
    if saved.get() == 0 {
        payments.charge_blocking(Charge::of_order(order, 500))?;
        saved.set(1);
    }
    Ok(())
}

#[test]
fn a_blocking_handler_dies_at_lines_too() {
    let report = one_deviation().run(async |world: &World| {
        let saved = world.durable("saved", 0);
        world.process("worker", move |p| {
            let (payments, saved) = (p.payments(), saved.clone());
            p.handle_blocking(move |order: Order| blocking(&payments, &saved, order.id));
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    // start, three lines, the call's three points, the last line, end.
    assert_eq!(report.runs(), 1 + 1 + 3 + 3 + 1 + 1, "{report}");
}

#[crash_points]
fn step(saved: &Durable<u32>) {
    saved.update(|saved| *saved += 1);
    saved.get();
}

#[crash_points]
fn swallowing(saved: &Durable<u32>) {
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| step(saved)));
}

#[test]
fn a_swallowed_crash_stays_a_crash() {
    let report = one_deviation().run(async |world: &World| {
        let saved = world.durable("saved", 0);
        world.process("worker", move |p| {
            let saved = saved.clone();
            p.handle(async move |_: Order| swallowing(&saved));
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert_eq!(report.violations()[0].actual, "saved = 2");
}

#[crash_points]
fn swallowing_and_going_on(saved: &Durable<u32>, after: &AtomicU32) {
    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| step(saved))).is_err();
    after.fetch_add(u32::from(died), Ordering::Relaxed);
}

#[test]
fn a_dead_process_passes_no_line() {
    let after = Arc::new(AtomicU32::new(0));
    let inner = after.clone();
    let report = one_deviation().run(async |world: &World| {
        let (saved, after) = (world.durable("saved", 0), inner.clone());
        world.process("worker", move |p| {
            let (saved, after) = (saved.clone(), after.clone());
            p.handle_blocking(move |_: Order| swallowing_and_going_on(&saved, &after));
        });
        world.ignore("saved", "$");
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert_green(&report);
    assert_eq!(after.load(Ordering::Relaxed), 0);
}

#[crash_points]
fn counting_for_ever() {
    let mut count = 0_u64;
    loop {
        count = count.wrapping_add(1);
    }
}

#[test]
fn a_job_of_nothing_but_lines_ends_at_the_step_limit() {
    let report = one_deviation().max_steps(500).run(async |world: &World| {
        world.durable("nothing", ());
        world.process("worker", |p| {
            p.handle_blocking(|_: Order| counting_for_ever());
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::Stuck, "{report}");
    has_line(
        report.reason().unwrap(),
        expect!["500 steps and no end: job#1.1 runs forever, or longer than `Explore::max_steps` allows"],
    );
}

/// Panics, or does something, when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[crash_points]
fn lines() {
    let one = 1;
    let two = one + 1;
    assert_eq!(two, 2);
}

#[test]
fn points_and_calls_in_destructors_neither_hang_nor_panic_twice() {
    let report = one_deviation().run(async |world: &World| {
        world.process("worker", move |p| {
            let payments = p.payments();
            p.handle_blocking(move |order: Order| {
                let inner = payments.clone();
                // While the crash unwinds, this passes its own points and calls a service.
                let _guard = OnDrop(|| {
                    if std::thread::panicking() {
                        lines();
                        inner.charge_blocking(Charge::of_order(99, 1)).expect("a destructor is answered");
                    }
                });
                lines();
                payments.charge_blocking(keyed(order.id)).map(drop)
            });
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
        assert_eq!(world.payments().records().len(), 1);
    });
    assert_green(&report);
    assert!(report.runs() > 6, "{report}");
}

#[cfg(feature = "tokio")]
mod in_tokio {
    use super::*;

    #[crash_points]
    async fn spawned(saved: Durable<u32>) {
        saved.update(|saved| *saved += 1);
        tokio::task::yield_now().await;
        saved.get();
    }

    #[test]
    fn a_crash_at_a_line_of_a_spawned_task_is_one_of_the_process() {
        let report = one_deviation().run(async |world: &World| {
            let saved = world.durable("saved", 0);
            world.process("worker", move |p| {
                let saved = saved.clone();
                // Tokio catches the unwinding and makes a JoinError of it, which the job ignores.
                p.handle(async move |_: Order| drop(tokio::spawn(spawned(saved.clone())).await));
            });
            world.enqueue(Order { id: 1 });
            world.settle().await;
        });
        assert_eq!(report.verdict(), Verdict::Violated, "{report}");
        let at = format!("worker/{}:", file!());
        assert!(report.violations()[0].scenario.to_string().contains(&at), "{report}");
    }

    #[test]
    fn a_blocking_task_dies_at_its_lines_and_does_nothing_more() {
        let report = one_deviation().run(async |world: &World| {
            let saved = world.durable("saved", 0);
            world.process("worker", {
                let saved = saved.clone();
                move |p| {
                    let saved = saved.clone();
                    p.handle(async move |_: Order| {
                        let inner = saved.clone();
                        let died = tokio::task::spawn_blocking(move || step(&inner)).await.is_err();
                        if died {
                            saved.set(99);
                        }
                    });
                }
            });
            world.enqueue(Order { id: 1 });
            world.settle().await;
            assert_ne!(saved.get(), 99);
        });
        assert_eq!(report.verdict(), Verdict::Violated, "{report}");
        assert_eq!(report.violations()[0].actual, "saved = 2", "{report}");
        let scenario = format!("test worker/{}=crash", point("saved.get();", 1));
        assert_eq!(report.violations()[0].scenario.to_string(), scenario, "{report}");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a real thread is given real time")]
    fn a_blocking_task_that_swallows_its_death_writes_nothing_more() {
        let report = one_deviation().run(async |world: &World| {
            let (saved, written) = (world.durable("saved", 0), world.durable("written", false));
            world.process("worker", {
                let (saved, written) = (saved.clone(), written.clone());
                move |p| {
                    let (saved, written) = (saved.clone(), written.clone());
                    p.handle(async move |_: Order| {
                        let (saved, written) = (saved.clone(), written.clone());
                        let blocking = move || {
                            let step = std::panic::AssertUnwindSafe(|| step(&saved));
                            if std::panic::catch_unwind(step).is_err() {
                                written.set(true);
                            }
                        };
                        let _ = tokio::task::spawn_blocking(blocking).await;
                    });
                }
            });
            world.ignore("saved", "$");
            world.enqueue(Order { id: 1 });
            world.settle().await;
            // Long enough for a thread that would write.
            std::thread::sleep(std::time::Duration::from_millis(2));
            assert!(!written.get());
        });
        assert_green(&report);
    }
}

#[test]
fn scoped_threads_are_joined_and_a_crash_inside_is_one_of_the_process() {
    let report = one_deviation().run(async |world: &World| {
        world.process("worker", move |p| {
            let payments = p.payments();
            p.handle_blocking(move |order: Order| {
                std::thread::scope(|scope| {
                    scope.spawn(|| payments.charge_blocking(Charge::of_order(order.id, 500)).map(drop)).join()
                })
                .unwrap_or(Ok(()))
            });
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    has_line(&report, expect!["error[RP0001]: payments.charge happened twice, expected once"]);
    // It is unknown for which attempt a thread works, so the call belongs to the process.
    let scenario = "test worker/payments.charge:happened=crash";
    assert_eq!(report.violations()[0].scenario.to_string(), scenario, "{report}");
}

#[crash_points]
fn under_a_mutex(shared: &Mutex<u32>) {
    let mut held = shared.lock().unwrap();
    *held += 1;
    *held = 1;
}

#[test]
fn a_mutex_poisoned_by_the_crash_is_explained_and_passes_for_nothing() {
    let report = one_deviation().run(async |world: &World| {
        // The test holds it, so it survives the crash, which no mutex does in reality.
        let shared = Arc::new(Mutex::new(0));
        world.observe("shared", {
            let shared = shared.clone();
            move || *shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        });
        world.process("worker", move |p| {
            let shared = shared.clone();
            p.handle_blocking(move |_: Order| under_a_mutex(&shared)).max_retries(1);
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::Incomplete, "{report}");
    has_line(
        report.reason().unwrap(),
        expect![
            "the crash poisoned a lock: panicked: called `Result::unwrap()` on an `Err` value: PoisonError { .. }"
        ],
    );
    has_line(
        &report,
        expect!["RETRYPROOF_REPLAY='test job#1.1/tests/it/lines.rs:…#1:line=crash' cargo test"],
    );
}

/// Reaching a limit does not excuse what was found before it.
#[test]
#[should_panic(expected = "the crash poisoned a lock")]
fn a_poisoned_lock_does_not_pass_as_an_exploration_that_may_be_incomplete() {
    Explore::new().name("test").allow_incomplete().max_runs(60).check(async |world: &World| {
        let shared = Arc::new(Mutex::new(0));
        world.durable("nothing", ());
        world.process("worker", move |p| {
            let (shared, payments) = (shared.clone(), p.payments());
            p.handle_blocking(move |_: Order| {
                under_a_mutex(&shared);
                payments.charge_blocking(Charge::of_order(1, 500).key("k")).unwrap();
            });
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
}

static CONFIG: LazyLock<u32> = LazyLock::new(|| {
    lines();
    7
});

#[test]
fn a_static_poisoned_by_the_crash_is_explained() {
    // Only an attempt after a crash fills it, because the fault-free run does not need it. An exploration would fill
    // it on its way to the crash inside it, but a replay goes straight there.
    let scenario = format!("test job#1.1:start=crash job#1.2/{}=crash", point("let two = one + 1", 1));
    let report = Explore::new().name("test").replay(scenario).run(async |world: &World| {
        world.durable("nothing", ());
        world.process("worker", move |p| {
            let again = p.incarnation() > 1;
            p.handle_blocking(move |_: Order| assert!(!again || *CONFIG == 7)).max_retries(1);
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::Incomplete, "{report}");
    has_line(
        report.reason().unwrap(),
        expect!["the crash poisoned a lock: panicked: LazyLock instance has previously been poisoned"],
    );
}

#[test]
fn a_static_that_is_filled_once_is_found() {
    static FILLED: LazyLock<u32> = LazyLock::new(|| {
        lines();
        7
    });
    let report = one_deviation().run(async |world: &World| {
        world.durable("nothing", ());
        world.process("worker", move |p| {
            p.handle_blocking(move |_: Order| assert_eq!(*FILLED, 7));
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::Nondeterministic, "{report}");
    has_line(
        report.reason().unwrap(),
        expect![
            "The same scenario must take the same course each time. There are four ways to fix this: let random numbers and times come from the scenario (`use retryproof_determinism as _;`, on Linux); take them from `p.rng()` and `p.clock()`; ignore the value with `world.ignore(name, path)`; or derive the value from the job, and use ordered collections (a BTreeMap instead of a HashMap). A static, a thread-local, a LazyLock or a Once outlives the run: build its content in the boot closure instead"
        ],
    );
}

/// Sets the stock, charges, and records it: three lines, one of which only runs if the order was paid.
#[crash_points]
async fn complete(
    payments: Client<Payments>,
    stock: Durable<u32>,
    paid: Durable<bool>,
) -> Result<(), ServiceError> {
    if paid.get() {
        return Ok(());
    }
    stock.set(9);
    payments.charge(Charge::of_order(1, 500)).await?;
    paid.set(true);
    Ok(())
}

fn completing(settings: &Explore) -> Report {
    settings.run(async |world: &World| {
        let (stock, paid) = (world.durable("stock", 10_u32), world.durable("paid", false));
        world.process("worker", move |p| {
            let (payments, stock, paid) = (p.payments(), stock.clone(), paid.clone());
            p.handle(async move |_: Order| complete(payments.clone(), stock.clone(), paid.clone()).await);
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    })
}

#[test]
fn the_map_of_a_job() {
    let report = completing(&one_deviation());
    let map = report.by_line();
    assert_eq!(map.functions().len(), 1);
    assert_eq!(map.functions()[0].name, "complete");
    let row = |text: &str| {
        let lines: Vec<_> = include_str!("lines.rs").lines().collect();
        let line = lines.iter().rposition(|line| line.trim() == text).unwrap() as u32 + 1;
        let point = map.functions()[0].points.iter().find(|point| point.line == line).unwrap();
        point
            .crashes
            .iter()
            .map(|c| (c.after_crash.join(", "), c.after_recovery.join(", ")))
            .collect::<Vec<_>>()
    };
    let told = |after: &str, recovered: &str| vec![(after.to_owned(), recovered.to_owned())];
    assert_eq!(row("if paid.get() {"), told("", ""));
    assert_eq!(row("payments.charge(Charge::of_order(1, 500)).await?;"), told("stock = 9", ""));
    // Between the charge and its record.
    assert_eq!(row("paid.set(true);"), told("payments.charge, stock = 9", "payments.charge twice"));
    assert_eq!(map.unreached().len(), 1, "{map}");
    assert!(map.unreached()[0].starts_with("tests/it/lines.rs:"));
    let text = report.to_string();
    has_line(&text, expect![[r#"by line"#]]);
    has_line(&text, expect![[r#"complete · tests/it/lines.rs"#]]);
    let rows = text.lines().map(|line| line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' '));
    let rows = rows.collect::<Vec<_>>().join("\n");
    has_line(
        &rows,
        expect!["✗ paid.set(true);                      │ payments.charge,         → payments.charge twice"],
    );
    has_line(&rows, expect!["·     return Ok(());                   │ never reached"]);
}

#[crash_points]
async fn flagged(running: Durable<bool>) {
    if running.get() {
        std::future::pending::<()>().await;
    }
    running.set(true);
    running.set(false);
}

#[test]
fn the_map_tells_what_gets_stuck_and_leaves_out_what_was_given() {
    let report = one_deviation().run(async |world: &World| {
        world.payments().charge(keyed(1)).await.unwrap();
        let running = world.durable("running", false);
        world.process("worker", move |p| {
            let running = running.clone();
            p.handle(async move |_: Order| flagged(running.clone()).await);
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::Stuck, "{report}");
    let crash = &report.by_line().functions()[0].points.last().unwrap().crashes[0];
    assert_eq!(crash.after_crash, ["running = true"]);
    assert!(crash.after_recovery[0].starts_with("deadlock: nothing can go on"), "{report}");
}

/// Returns all violations without their scenarios: merging finds the same ones, and keeps the smallest scenario.
fn violations(report: &Report) -> Vec<String> {
    let mut found: Vec<_> = report
        .violations()
        .iter()
        .map(|v| format!("{:?} {} | {} | {} | {}", v.oracle, v.summary, v.expected, v.actual, v.scenario))
        .collect();
    found.sort();
    found
}

#[crash_points]
async fn many_lines(
    payments: Client<Payments>,
    log: Durable<Vec<u32>>,
    key: bool,
) -> Result<(), ServiceError> {
    let one = 1;
    let two = one + 1;
    log.update(|log| log.push(two));
    let three = two + 1;
    let charge = Charge::of_order(three, 100);
    payments.charge(if key { charge.key("k") } else { charge }).await?;
    log.update(|log| log.push(three));
    let four = three + 1;
    log.update(|log| log.retain(|entry| *entry != four));
    Ok(())
}

#[test]
fn merging_finds_the_same_and_runs_less() {
    let bodies = [(false, false), (true, false), (true, true)];
    for deviations in 1..=2 {
        for (key, ignore) in bodies {
            let explore = |merge: bool| {
                Explore::new().name("test").deviations(deviations).merge(merge).keep_going().run(
                    async move |world: &World| {
                        if ignore {
                            world.ignore("log", "$");
                        }
                        let log = world.durable("log", Vec::new());
                        world.process("worker", move |p| {
                            let (payments, log) = (p.payments(), log.clone());
                            p.handle(async move |_: Order| {
                                many_lines(payments.clone(), log.clone(), key).await
                            });
                        });
                        world.enqueue(Order { id: 1 });
                        world.settle().await;
                    },
                )
            };
            let (full, merged) = (explore(false), explore(true));
            assert_eq!(
                violations(&full),
                violations(&merged),
                "{deviations} {key} {ignore}\n{full}\n{merged}"
            );
            assert_eq!(full.verdict(), merged.verdict());
            assert!(merged.exhausted() && merged.merged() > 0 && full.merged() == 0);
            assert!(merged.runs() < full.runs(), "{} of {}", merged.runs(), full.runs());
            // A part: the rest of the line differs in each iteration.
            let text = merged.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(text.contains("more were merged with runs that reached the same state"), "{merged}");
        }
    }
}

#[test]
fn a_state_that_is_not_observed_must_not_be_merged_and_is_found_without() {
    // Merging cannot see a file, a table or a static. The documentation says so, and this test shows what it means.
    let explore = |merge: bool| {
        one_deviation().merge(merge).run(async |world: &World| {
            let hidden = Arc::new(Mutex::new(0_u32));
            world.observe("half", {
                let hidden = hidden.clone();
                move || *hidden.lock().unwrap() / 100
            });
            world.process("worker", move |p| {
                let (payments, hidden) = (p.payments(), hidden.clone());
                p.handle(async move |_: Order| {
                    *hidden.lock().unwrap() += 60;
                    payments.charges(1).await.map(drop)
                });
            });
            world.enqueue(Order { id: 1 });
            world.settle().await;
        })
    };
    assert_eq!(explore(false).verdict(), Verdict::Violated);
}
