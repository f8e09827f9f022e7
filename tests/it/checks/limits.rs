//! Limits of a run: too many jobs for its steps, the time of the exploration, and the watchdog.

use std::time::Duration;

use expect_test::expect;
use retryproof::service::payments::Charge;
use retryproof::{Explore, Process, Report, ServiceError, Verdict, World};

use super::{assert_green, keyed, one_deviation};
use crate::support::has_line;

/// A check with that many correct jobs.
fn jobs(explore: &Explore, jobs: u32) -> Report {
    explore.run(async move |world: &World| {
        world.process("worker", |p| {
            let payments = p.payments();
            p.handle(async move |order: u32| payments.charge(keyed(order)).await.map(drop));
        });
        world.enqueue_bulk(0..jobs);
        world.settle().await;
    })
}

/// Input 32.
#[test]
fn ten_thousand_correct_jobs_are_too_many() {
    let report = jobs(&one_deviation(), 10_000);
    assert_eq!(report.verdict(), Verdict::Incomplete, "{report}");
    has_line(
        &report,
        expect![
            "this check is too large: 1538 of 10000 jobs were done after 20000 steps, the limit of `Explore::max_steps`; check fewer jobs at once, or set `max_steps(261000)`"
        ],
    );
    assert!(!report.to_string().contains("job#"), "no job is blamed: {report}");
    // It is no limit that a test may allow: nothing was explored.
    assert!(report.violations().is_empty() && !report.exhausted(), "{report}");
}

#[test]
fn the_limit_that_is_named_is_enough() {
    let explore = one_deviation().deviations(0);
    let report = jobs(&explore.clone().max_steps(3_000), 400);
    assert_eq!(report.verdict(), Verdict::Incomplete, "{report}");
    let (_, named) = report.reason().unwrap().split_once("set `max_steps(").unwrap();
    let enough = named.split_once(')').unwrap().0.parse().unwrap();
    assert_green(&jobs(&explore.max_steps(enough), 400));
}

/// Many jobs are done, and one task never ends: that one is named.
#[test]
fn a_loop_beside_many_jobs_is_named() {
    let report = one_deviation().run(async |world: &World| {
        world.process("worker", |p| {
            let (payments, store) = (p.payments(), p.store());
            p.handle(async move |order: u32| payments.charge(keyed(order)).await.map(drop));
            p.handle(async move |_: String| {
                loop {
                    let _ = store.get::<u32>("never").await;
                }
            });
        });
        world.enqueue_bulk(0..150_u32);
        world.enqueue("loops".to_owned());
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::Stuck, "{report}");
    has_line(
        &report,
        expect!["20000 steps and no end: job#151.1 runs forever, or longer than `Explore::max_steps` allows"],
    );
}

/// A job that makes that many calls.
fn calls(p: &Process, calls: u32, between: impl Fn() + 'static) {
    let payments = p.payments();
    p.handle(async move |order: u32| {
        for _ in 0..calls {
            let _ = payments.charges(order).await;
            between();
        }
        payments.charge(Charge::of_order(order, 500).key("k")).await.map(drop)
    });
}

/// The first run alone takes longer than the exploration may take.
#[test]
fn max_time_ends_a_run_that_is_in_progress() {
    let explore = one_deviation().max_steps(u64::MAX).max_time(Duration::from_millis(200));
    let report = explore.run(async |world: &World| {
        world.process("worker", |p| calls(p, u32::MAX, || {}));
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::Incomplete, "{report}");
    has_line(
        &report,
        expect![
            "stopped by max_time = 200ms in the fault-free run; raise the limit, or check fewer jobs at once"
        ],
    );
}

/// The whole run takes longer than the timeout, and each of its steps takes less.
#[test]
fn a_slow_run_that_makes_steps_never_sees_the_watchdog() {
    #[expect(clippy::disallowed_methods, reason = "slow code is what this is about")]
    let slow = || std::thread::sleep(Duration::from_millis(60));
    let explore = one_deviation().deviations(0).watchdog(Duration::from_millis(600));
    assert_green(&explore.run(async |world: &World| {
        world.process("worker", move |p| calls(p, 12, slow));
        world.enqueue(6_u32);
        world.settle().await;
    }));
}

/// The harness itself waits half a second for each of the threads, which is more than the timeout in all. This is a
/// deadlock, and the watchdog leaves it to the harness to say so.
#[test]
fn threads_that_wait_for_nothing_are_a_deadlock_whatever_the_watchdog() {
    let report = one_deviation().watchdog(Duration::from_millis(400)).run(async |world: &World| {
        world.process("worker", |p| {
            let (payments, (keeper, messages)) = (p.payments(), std::sync::mpsc::channel::<()>());
            let messages = std::sync::Arc::new(std::sync::Mutex::new((keeper, messages)));
            p.handle_blocking(move |order: u32| {
                payments.charge_blocking(keyed(order))?;
                let _ = messages.lock().map(|messages| messages.1.recv());
                Ok::<(), ServiceError>(())
            });
        });
        world.enqueue_bulk([1_u32, 2, 3]);
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::Stuck, "{report}");
    has_line(
        &report,
        expect![
            "deadlock: nothing can go on and no timer is set; job#1.1 (last at tests/it/checks/limits.rs:…) waits for a lock of its own (a Mutex, a channel, …) that one of job#2.1 (last at tests/it/checks/limits.rs:…), job#3.1 (last at tests/it/checks/limits.rs:…) holds; job#2.1 (last at tests/it/checks/limits.rs:…) waits for a lock of its own (a Mutex, a channel, …) that one of job#1.1 (last at tests/it/checks/limits.rs:…), job#3.1 (last at tests/it/checks/limits.rs:…) holds; job#3.1 (last at tests/it/checks/limits.rs:…) waits for a lock of its own (a Mutex, a channel,… (126 bytes more)"
        ],
    );
}

#[test]
fn a_watchdog_without_a_timeout_is_refused() {
    let report = jobs(&one_deviation().watchdog(Duration::ZERO), 1);
    assert_eq!(report.verdict(), Verdict::Incomplete, "{report}");
    has_line(
        &report,
        expect![
            "`Explore::watchdog`: no run ends within zero time; leave the setting out, or give it at least a millisecond"
        ],
    );
}

/// The thread of a slot is left behind, and the report is the same each time, on one thread and on two.
#[test]
fn a_blocking_handler_that_hangs_after_a_failure() {
    let run = |threads| {
        let explore = one_deviation().threads(threads).watchdog(Duration::from_millis(400));
        explore.run(async |world: &World| {
            world.process("worker", |p| {
                let payments = p.payments();
                p.handle_blocking(move |order: u32| {
                    if payments.charge_blocking(keyed(order)).is_err() {
                        // Nobody connects.
                        let _ = std::net::TcpListener::bind("127.0.0.1:0").unwrap().accept();
                    }
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
        })
    };
    let report = run(1);
    assert_eq!(report.verdict(), Verdict::Stuck, "{report}");
    let text = report.to_string();
    assert_eq!(run(1).to_string(), text);
    assert_eq!(run(2).to_string(), text);
}

/// Explorations have their own threads, which bear the name of the test's.
#[test]
fn a_body_runs_on_a_thread_of_the_tests_name() {
    let name = || std::thread::current().name().map(str::to_owned);
    let own = name();
    assert_green(&one_deviation().run(async |world: &World| {
        assert_eq!(name(), own);
        world.process("worker", |p| calls(p, 1, || {}));
        world.enqueue(6_u32);
        world.settle().await;
    }));
}

/// An exploration inside of a run: its runs do not count as standing still.
#[test]
fn an_exploration_within_a_run() {
    assert_green(&one_deviation().deviations(0).run(async |world: &World| {
        assert_green(&jobs(&one_deviation(), 1));
        world.process("worker", |p| calls(p, 1, || {}));
        world.enqueue(6_u32);
        world.settle().await;
    }));
}
