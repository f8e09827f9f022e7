//! The report is the same, byte for byte, for any number of threads.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

use crash_points::crash_points;
use expect_test::expect;
use retryproof::service::fulfillment::Shipment;
use retryproof::store::Isolation;
use retryproof::{Client, Durable, Explore, Report, Verdict, World, service::payments::Payments};

use super::{Order, explore, keyed, one_deviation, paying, unkeyed};
use crate::support::has_line;

/// Explores on one thread and on several, and returns the report of one thread.
#[track_caller]
fn the_same(settings: &Explore, body: impl AsyncFn(&World) + Sync) -> Report {
    let whole = |report: &Report| format!("{report}\n{}", serde_json::to_string_pretty(report).unwrap());
    let one = settings.run(&body);
    for threads in 2..=4 {
        let report = settings.clone().threads(threads).run(&body);
        assert_eq!(whole(&report), whole(&one), "{threads} threads");
    }
    one
}

/// Ships, and charges with or without a key.
async fn paid_and_shipped(world: &World, has_keys: bool) {
    let paid = world.durable("paid", 0_u32);
    world.process("worker", move |p| {
        let (payments, parcels, paid) = (p.payments(), p.fulfillment(), paid.clone());
        p.handle(async move |order: Order| {
            let key = format!("order-{}", order.id);
            parcels.request(Shipment::of_order(order.id, "pr_3", 1).address("1 Main St").key(&key)).await?;
            let charge = if has_keys { keyed(order.id) } else { unkeyed(order.id) };
            payments.charge(charge).await?;
            paid.set(order.id);
            Ok::<(), retryproof::ServiceError>(())
        });
    });
    world.enqueue(Order { id: 1 });
    world.settle().await;
}

#[test]
fn of_a_good_job() {
    for deviations in 0..=2 {
        let settings = Explore::new().name("test").deviations(deviations);
        let report = the_same(&settings, async |world: &World| paid_and_shipped(world, true).await);
        assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    }
}

#[test]
fn of_a_bad_job() {
    for deviations in 1..=2 {
        let settings = Explore::new().name("test").deviations(deviations);
        let report = the_same(&settings, async |world: &World| paid_and_shipped(world, false).await);
        assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    }
    // Several causes, some of which only show together with others.
    let settings = Explore::new().name("test").deviations(3).keep_going();
    let report = the_same(&settings, async |world: &World| {
        world.process("worker", paying(async |payments, id| payments.charge(unkeyed(id)).await.map(drop)));
        world.enqueue(Order { id: 1 });
        world.settle().await;
        assert!(world.effects().count() < 3, "three charges");
    });
    assert!(report.violations().len() > 1, "{report}");
}

#[crash_points]
async fn charge_and_mark(payments: Client<Payments>, marks: Durable<u32>, id: u32) {
    for _ in 0..3 {
        marks.update(|marks| *marks += 1);
    }
    let _ = payments.charge(unkeyed(id)).await;
}

#[test]
fn of_a_job_with_lines() {
    let report = the_same(&Explore::new().name("test"), async |world: &World| {
        let marks = world.durable("marks", 0_u32);
        world.process("worker", move |p| {
            let (payments, marks) = (p.payments(), marks.clone());
            p.handle(async move |order: Order| {
                charge_and_mark(payments.clone(), marks.clone(), order.id).await;
            });
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert!(!report.by_line().is_empty(), "{report}");
}

#[test]
fn of_jobs_whose_outcome_depends_on_their_order() {
    let last_wins = async |world: &World| {
        let last = world.durable("last", 0_u32);
        world.process("worker", move |p| {
            let last = last.clone();
            p.handle(async move |order: Order| last.set(order.id));
        });
        for id in 1..=3 {
            world.enqueue(Order { id });
        }
        world.settle().await;
    };
    let report = the_same(&Explore::new().name("test"), last_wins);
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    // Of seven jobs that write the same, the order that a run suggests is tried first.
    let many = async |world: &World| {
        let last = world.durable("last", 0_u32);
        world.process("worker", move |p| {
            let last = last.clone();
            p.handle(async move |order: Order| last.set(order.id));
        });
        for id in 1..=7 {
            world.enqueue(Order { id });
        }
        world.settle().await;
    };
    let report = the_same(&one_deviation(), many);
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    has_line(
        &report,
        expect![[
            r#"note: in 3 runs, `Order {"id":2}` came before `Order {"id":1}`, and the outcome differed: last = 1, not 7; if that is wrong, order the jobs or assert on the outcome"#
        ]],
    );
}

#[test]
fn wherever_max_runs_stops_it() {
    let runs =
        Explore::new().keep_going().run(async |world: &World| paid_and_shipped(world, false).await).runs();
    for most in [0, 1, 2, 5, 20, 21, 22, 50, 99, runs - 1, runs, runs + 1] {
        let settings = Explore::new().keep_going().name("test").max_runs(most);
        let report = the_same(&settings, async |world: &World| paid_and_shipped(world, false).await);
        assert_eq!(report.runs(), most.clamp(1, runs));
        assert_eq!(report.exhausted(), most >= runs);
        let green = the_same(&settings, async |world: &World| paid_and_shipped(world, true).await);
        assert_eq!(green.runs(), most.clamp(1, green.runs()));
    }
}

#[test]
fn where_runs_are_merged() {
    let report = the_same(&Explore::new().name("test").merge(true), async |world: &World| {
        paid_and_shipped(world, true).await;
    });
    assert!(report.merged() > 0, "{report}");
}

#[test]
fn of_what_only_some_run_does_that_is_asking_for_trouble() {
    let report = the_same(&one_deviation().crashes(0).deliveries(0), async |world: &World| {
        world.process("worker", |p| {
            let (store, payments, parcels) = (p.store(), p.payments(), p.fulfillment());
            p.handle(async move |order: Order| {
                let (mut first, mut last) = (false, false);
                for _ in 0..8 {
                    last = store.get::<u32>("order").await.is_err();
                    first |= last;
                }
                let tx = store.transaction(Isolation::ReadCommitted).await;
                if last {
                    payments.charges(order.id).await?;
                } else if first {
                    parcels.request(Shipment::of_order(order.id, "pr_3", 1).key("once")).await?;
                }
                tx.commit().await
            });
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert_eq!((report.verdict(), report.warnings().len()), (Verdict::RetryProof, 2), "{report}");
}

#[test]
fn of_what_gets_stuck_and_of_what_is_poisoned() {
    let report = the_same(&Explore::new().name("test").max_steps(200), async |world: &World| {
        world.process("worker", |p| {
            let (clock, payments, again) = (p.clock(), p.payments(), p.incarnation() > 1);
            p.handle(async move |order: Order| {
                if again {
                    loop {
                        clock.yield_now().await;
                    }
                }
                payments.charge(keyed(order.id)).await.map(drop)
            });
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::Stuck, "{report}");
    let report = the_same(&Explore::new().name("test"), async |world: &World| {
        world.process("worker", |p| {
            let (payments, again) = (p.payments(), p.incarnation() > 1);
            p.handle(async move |order: Order| {
                if again {
                    return Err("a PoisonError");
                }
                payments.charge(keyed(order.id)).await.map(drop).map_err(|_| "no charge")
            });
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::Incomplete, "{report}");
}

#[test]
fn code_that_is_not_deterministic_is_found_on_any_number_of_threads() {
    for threads in 1..=4 {
        let runs = AtomicU32::new(0);
        let report = Explore::new().name("test").threads(threads).run(async |world: &World| {
            let strange = runs.fetch_add(1, Ordering::Relaxed) % 9 == 8;
            world.process("worker", move |p| {
                let (payments, clock) = (p.payments(), p.clock());
                p.handle(async move |order: Order| {
                    if strange {
                        clock.yield_now().await;
                    }
                    payments.charge(keyed(order.id)).await.map(drop)
                });
            });
            world.enqueue(Order { id: 1 });
            world.settle().await;
        });
        assert_eq!(report.verdict(), Verdict::Nondeterministic, "{threads} threads: {report}");
    }
}

#[test]
fn they_are_really_used() {
    let seen = |threads: usize| {
        let ids = Mutex::new(Vec::<ThreadId>::new());
        let runs = AtomicU32::new(0);
        let met = Barrier::new(threads);
        let _ = Explore::new().deviations(1).threads(threads).run(async |world: &World| {
            // After the two reference runs, the first run on each thread waits for the others.
            if runs.fetch_add(1, Ordering::Relaxed) >= 2 {
                let id = std::thread::current().id();
                let is_first = !ids.lock().unwrap().contains(&id);
                if is_first {
                    ids.lock().unwrap().push(id);
                    met.wait();
                }
            }
            paid_and_shipped(world, true).await;
        });
        ids.into_inner().unwrap().len()
    };
    assert_eq!(seen(1), 1);
    assert_eq!(seen(2), 2);
}

#[test]
fn panics_of_jobs_stay_off_the_terminal_and_in_the_report() {
    let report = the_same(&one_deviation(), async |world: &World| {
        world.process("worker", |p| {
            let (payments, again) = (p.payments(), p.incarnation() > 1);
            p.handle(async move |order: Order| {
                assert!(!again, "a worker that was restarted");
                payments.charge(keyed(order.id)).await.map(drop)
            });
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
        assert!(world.effects().count() > 0, "nobody paid");
    });
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
}

#[test]
fn a_limit_of_time_holds_on_any_number_of_threads() {
    for threads in [1, 3] {
        let settings = Explore::new().name("test").deviations(9).threads(threads);
        let report = settings
            .max_time(Duration::from_millis(50))
            .run(async |world: &World| paid_and_shipped(world, true).await);
        assert_eq!(report.verdict(), Verdict::Incomplete, "{report}");
        assert!(report.reason().unwrap().starts_with("stopped by max_time = 50ms after "), "{report}");
    }
}

#[test]
fn a_replay_needs_one_thread() {
    let boot = || paying(async |payments, id| payments.charge(unkeyed(id)).await.map(drop));
    let settings = one_deviation().replay("test job#1.1/payments.charge:call=reply-lost");
    let (one, four) = (explore(&settings, boot()), explore(&settings.threads(4), boot()));
    assert_eq!((one.verdict(), one.to_string()), (Verdict::Violated, four.to_string()));
}

#[test]
fn no_threads_run_nothing() {
    let boot = paying(async |payments, id| payments.charge(keyed(id)).await.map(drop));
    let report = explore(&one_deviation().threads(0), boot);
    assert_eq!((report.verdict(), report.runs()), (Verdict::Incomplete, 0), "{report}");
    assert!(report.reason().unwrap().starts_with("`Explore::threads`: 0 threads run nothing;"), "{report}");
}
