//! Bad input leads to a verdict or a typed error that says what to do next. Nothing hangs, and nothing passes.

use std::time::Duration;

use super::{Order, assert_green, explore, keyed, one_deviation, paying, unkeyed};
use crate::support::has_line;
use expect_test::expect;
use retryproof::service::payments::Charge;
use retryproof::{Backoff, Explore, Report, Verdict, World};

#[track_caller]
fn assert_reason(report: &Report, verdict: Verdict, reason: &str) {
    assert_eq!(report.verdict(), verdict, "{report}");
    assert!(report.reason().unwrap_or_default().contains(reason), "{report}");
    assert!(!report.is_retryproof());
}

#[test]
fn a_body_that_panics_before_anything_is_explored() {
    let report = Explore::new().name("test").run(async |_: &World| {
        let orders: Vec<u32> = Vec::new();
        assert!(!orders.is_empty(), "no orders in the fixture");
    });
    assert_reason(&report, Verdict::Violated, "This is the fault-free run: fix the test");
    let violation = &report.violations()[0];
    assert!(
        violation.summary.starts_with("the test body panicked at tests/it/checks/bad_input.rs:"),
        "{report}"
    );
    assert!(violation.summary.ends_with("no orders in the fixture"), "{report}");
    assert_eq!(report.runs(), 1);
}

#[test]
fn a_missing_handler() {
    let report = Explore::new().name("test").run(async |world: &World| {
        world.process("worker", |p| {
            let payments = p.payments();
            p.handle(async move |id: u32| payments.charge(keyed(id)).await.map(drop));
        });
        world.enqueue(Order { id: 1 });
        world.enqueue(6_u32);
        world.settle().await;
        // The job beside it is not affected.
        assert_eq!(world.payments().records().len(), 1);
        assert_eq!(world.dead().len(), 1);
    });
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert_eq!(
        report.violations()[0].summary,
        "a job could not be run: job#1 it::checks::Order has no handler; register one with \
         `p.handle(async |job: Order| …)` in a process, or name its kind there with `.name(\"it::checks::Order\")`"
    );
}

#[test]
fn a_payload_that_does_not_decode() {
    let report = Explore::new().name("test").run(async |world: &World| {
        world.process("worker", paying(async |payments, id| payments.charge(keyed(id)).await.map(drop)));
        world.enqueue_raw("it::checks::Order", r#"{"identity": 7}"#);
        world.enqueue(Order { id: 1 });
        world.settle().await;
        assert_eq!(world.payments().records().len(), 1);
    });
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert_eq!(
        report.violations()[0].summary,
        "a job could not be run: job#1 it::checks::Order does not decode: missing field `id` at line 1 column 15; \
         its payload is {\"identity\": 7}"
    );
}

#[test]
fn garbage_as_a_replay() {
    let boot = || paying(async |payments, id| payments.charge(keyed(id)).await.map(drop));
    let report = explore(&Explore::new().name("test").replay("test crash please"), boot());
    assert_reason(&report, Verdict::Incomplete, "`crash` (word 2 of the scenario) is not `choice=option`");
    let report = explore(&Explore::new().name("test").replay("test job#9.1:end=crash"), boot());
    assert_reason(
        &report,
        Verdict::Incomplete,
        "the scenario no longer fits the code: `job#9.1:end=crash` was never met; the run met 8 choices, the last being `job#1.1:ack`",
    );
    let report = explore(&Explore::new().name("test").replay("test job#1.1:end=explode"), boot());
    assert_reason(&report, Verdict::Incomplete, "it offers live, crash");
}

#[test]
#[should_panic(expected = "the scenario no longer fits the code: `job#9.1:end=crash` was never met")]
fn a_replay_that_no_longer_fits_does_not_pass() {
    Explore::new().name("test").replay("test job#9.1:end=crash").check(async |world: &World| {
        world.process("worker", paying(async |payments, id| payments.charge(keyed(id)).await.map(drop)));
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
}

#[test]
fn a_job_that_never_ends() {
    let report = explore(&one_deviation(), |p| {
        let clock = p.clock();
        p.handle(async move |_: Order| {
            while clock.now() < Duration::MAX {
                clock.sleep(Duration::from_secs(1)).await;
            }
        });
    });
    assert_reason(&report, Verdict::Stuck, "20000 steps and no end: job#1.1 runs forever");
    // It blocks without a wait, so each call is a step.
    let report = explore(&one_deviation().max_steps(500), |p| {
        let payments = p.payments();
        p.handle_blocking(move |_: Order| {
            while payments.records().is_empty() {
                let _ = payments.charges_blocking(1);
            }
        });
    });
    assert_reason(&report, Verdict::Stuck, "500 steps and no end");
    let report = explore(&one_deviation().max_steps(500), |p| {
        let queue = p.queue();
        p.handle_blocking(
            move |order: Order| while queue.enqueue_blocking(Order { id: order.id }).is_ok() {},
        );
    });
    assert_reason(&report, Verdict::Stuck, "500 steps and no end");
    // The job enqueues itself.
    let report = explore(&one_deviation(), |p| {
        let queue = p.queue();
        p.handle(async move |order: Order| queue.enqueue(Order { id: order.id + 1 }).await.map(drop));
    });
    assert_reason(
        &report,
        Verdict::Stuck,
        "1000 jobs in a row were each enqueued by the one before, and no end: it::checks::Order → it::checks::Order; stop the chain",
    );
}

#[test]
fn a_deadlock() {
    let report = explore(&one_deviation(), |p| {
        let payments = p.payments();
        p.handle(async move |order: Order| {
            payments.charge(keyed(order.id)).await?;
            std::future::pending::<Result<(), retryproof::ServiceError>>().await
        });
    });
    assert_reason(
        &report,
        Verdict::Stuck,
        "deadlock: nothing can go on and no timer is set; job#1.1 Order waits; it called last at tests/it/checks/bad_input.rs:",
    );
    has_line(&report, expect!["This is the fault-free run."]);
}

#[test]
fn stuck_after_a_crash_only() {
    // A flag is set while the job runs. After a crash nothing clears it, and the job waits for it forever.
    let report = one_deviation().run(async |world: &World| {
        let running = world.durable("running", false);
        world.process("worker", move |p| {
            let (clock, running) = (p.clock(), running.clone());
            p.handle(async move |_: Order| {
                while running.get() {
                    clock.sleep(Duration::from_secs(60)).await;
                }
                running.set(true);
                clock.yield_now().await;
                running.set(false);
            });
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::Stuck, "{report}");
    has_line(&report, expect!["RETRYPROOF_REPLAY='test job#1.1/yield:before=crash' cargo test"]);
}

#[test]
fn a_stuck_scenario_is_stuck_when_it_is_replayed_and_the_smallest_is_shown() {
    // As above, but for any number of deviations.
    let explore = |settings: Explore| {
        settings.name("test").run(async |world: &World| {
            let running = world.durable("running", false);
            world.process("worker", move |p| {
                let (clock, running) = (p.clock(), running.clone());
                p.handle(async move |_: Order| {
                    if running.update(|running| std::mem::replace(running, true)) {
                        std::future::pending::<()>().await;
                    }
                    clock.yield_now().await;
                    running.set(false);
                });
            });
            world.enqueue(Order { id: 1 });
            world.settle().await;
        })
    };
    let smallest = "test job#1.1/yield:before=crash";
    let report = explore(Explore::new());
    assert_reason(&report, Verdict::Stuck, "deadlock");
    assert!(report.to_string().contains(&format!("RETRYPROOF_REPLAY='{smallest}'")), "{report}");
    let replayed = explore(Explore::new().replay(smallest));
    assert_reason(&replayed, Verdict::Stuck, "deadlock");
    // That `running` is still true is a consequence, not the cause.
    for report in [report, replayed] {
        assert!(!report.to_string().contains("error[RP"), "{report}");
    }
}

#[test]
fn what_goes_on_by_itself_and_what_waits_for_nothing() {
    // The task wakes itself and asks nothing of the world: alone, and with a condition that is checked after each step.
    for watched in [false, true] {
        let report = one_deviation().max_steps(500).run(async move |world: &World| {
            if watched {
                world.invariant("nothing", |_| ());
            }
            world.process("worker", |p| {
                p.handle(async |_: Order| for_ever().await);
            });
            world.enqueue(Order { id: 1 });
            world.settle().await;
        });
        assert_reason(&report, Verdict::Stuck, "500 steps and no end: job#1.1 runs");
    }
    // The same in the test body.
    let report = one_deviation().max_steps(500).run(async |_: &World| for_ever().await);
    assert_reason(&report, Verdict::Stuck, "500 steps and no end");
    let report = one_deviation().run(async |_: &World| std::future::pending().await);
    assert_reason(&report, Verdict::Stuck, "the test body waits for something that never happens");
    // The same in a drain.
    let report = one_deviation().max_steps(500).run(async |world: &World| {
        world.process("worker", |p| {
            p.handle(async |_: Order| for_ever().await);
        });
        world.enqueue(Order { id: 1 });
        let error = world.drain_all().await.unwrap_err();
        // A part: the rest of the line differs in each iteration.
        assert!(error.to_string().contains("500 steps and no end"), "{error}");
    });
    assert_reason(&report, Verdict::NothingTested, "job#1 Order is");
}

async fn for_ever() {
    std::future::poll_fn(|cx| {
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await
}

#[test]
fn a_boot_that_panics_after_a_crash() {
    let report = one_deviation().run(async |world: &World| {
        world.process("worker", |p| {
            let payments = p.payments();
            p.handle(async move |order: Order| payments.charge(keyed(order.id)).await.map(drop));
            assert_eq!(p.incarnation(), 1, "no second boot");
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    has_line(
        &report.violations()[0].summary,
        expect![
            "the process `worker` panicked while it booted at tests/it/checks/bad_input.rs:…: assertion `left == right` failed: no second boot"
        ],
    );
}

#[test]
fn an_order_that_is_none() {
    #[expect(clippy::disallowed_types, reason = "the point of the test")]
    let report = Explore::new().name("test").run(async |world: &World| {
        let log = world.durable("log", Vec::new());
        world.process("worker", move |p| {
            let log = log.clone();
            p.handle(async move |_: Order| {
                let set: std::collections::HashSet<u32> = (0..50).collect();
                log.set(set.into_iter().collect());
            });
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert_reason(&report, Verdict::Nondeterministic, "log[");
    assert_reason(
        &report,
        Verdict::Nondeterministic,
        "There are four ways to fix this: let random numbers and times come from the scenario",
    );
}

/// Returns a random number like `Uuid::new_v4()`, from the process's own randomness.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

#[test]
fn a_random_id() {
    let charging = |id: fn(&retryproof::Process) -> u64| {
        Explore::new().name("test").deviations(1).run(async move |world: &World| {
            world.process("worker", move |p| {
                let (payments, id) = (p.payments(), id(p));
                p.handle(async move |order: Order| {
                    let charge = Charge::of_order(order.id, 500).customer(format!("cu_{id}")).key("k");
                    payments.charge(charge).await.map(drop)
                });
            });
            world.enqueue(Order { id: 1 });
            world.settle().await;
        })
    };
    let report = charging(|_| random());
    assert_reason(&report, Verdict::Nondeterministic, "payments.charge differs at $.customer_id");
    assert_ne!(charging(|p| p.rng().next_u64()).verdict(), Verdict::Nondeterministic);
}

#[test]
fn a_course_that_differs() {
    let report = Explore::new().name("test").run(async |world: &World| {
        world.durable("nothing", ());
        world.process("worker", |p| {
            let payments = p.payments();
            p.handle(async move |order: Order| {
                for _ in 0..random() % 1_000 {
                    payments.charges(order.id).await?;
                }
                Ok::<(), retryproof::ServiceError>(())
            });
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert_reason(&report, Verdict::Nondeterministic, "the first time and `job#1.1");
}

#[test]
fn no_effect_at_all() {
    let report = explore(&Explore::new().name("test"), |p| {
        p.handle(async |_: Order| ());
    });
    assert_reason(&report, Verdict::NothingTested, "the jobs did nothing that retryproof can see");
    // What the test itself does does not count.
    let report = one_deviation().run(async |world: &World| {
        world.payments().charge(unkeyed(1)).await.unwrap();
        world.process("worker", |p| {
            p.handle(async |_: Order| ());
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
        assert!(world.effects().iter().all(|effect| effect.given));
    });
    assert_reason(&report, Verdict::NothingTested, "the jobs did nothing that retryproof can see");
}

#[test]
fn no_job_no_settle_no_success_no_crash_point() {
    let nothing = |enqueue: bool, settle: bool, drain: bool, fails: bool| {
        Explore::new().name("test").run(async move |world: &World| {
            world.process("worker", move |p| {
                let payments = p.payments();
                p.handle(async move |order: Order| {
                    payments.charge(keyed(order.id)).await.map_err(|error| error.to_string())?;
                    if fails { Err("always".to_owned()) } else { Ok(()) }
                });
            });
            if enqueue {
                world.enqueue(Order { id: 1 });
            }
            if drain {
                world.drain_all().await.unwrap();
            }
            if settle {
                world.settle().await;
            }
        })
    };
    assert_reason(&nothing(false, true, false, false), Verdict::NothingTested, "no job was enqueued");
    assert_reason(
        &nothing(true, false, false, false),
        Verdict::NothingTested,
        "a test body usually ends with `world.settle().await`",
    );
    assert_reason(&nothing(true, true, false, true), Verdict::NothingTested, "job#1 Order is dead: always");
    assert_reason(
        &nothing(true, false, true, false),
        Verdict::NothingTested,
        "run the jobs with `world.settle()`",
    );
    assert_green(&nothing(true, true, false, false));
}

#[test]
fn a_job_that_is_forgotten_in_the_queue() {
    let report = Explore::new().name("test").run(async |world: &World| {
        world.process("worker", paying(async |payments, id| payments.charge(keyed(id)).await.map(drop)));
        world.enqueue(Order { id: 1 });
        world.settle().await;
        world.enqueue(Order { id: 2 });
    });
    assert_reason(
        &report,
        Verdict::NothingTested,
        "job#2 Order never ran, because the test body ended before",
    );
}

#[test]
fn names_that_name_nothing_are_noted() {
    let report = one_deviation().run(async |world: &World| {
        world.allow("emial.send", retryproof::Guarantee::AtLeastOnce);
        world.durable("orders", ());
        world.process("worker", paying(async |payments, id| payments.charge(keyed(id)).await.map(drop)));
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    let text = report.to_string();
    has_line(
        &text,
        expect![[r#"note: `allow("emial.send", …)` names no effect that happens in the fault-free run"#]],
    );
}

#[test]
fn a_state_that_cannot_be_looked_at() {
    let report = one_deviation().run(async |world: &World| {
        world.process("worker", paying(async |payments, id| payments.charge(keyed(id)).await.map(drop)));
        world.observe("rows", || -> u32 { panic!("no such table") });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    has_line(
        &report.violations()[0].summary,
        expect!["the test body panicked at tests/it/checks/bad_input.rs:…: no such table"],
    );
}

#[test]
fn a_state_that_waits_for_itself() {
    let report = one_deviation().run(async |world: &World| {
        let count = world.durable("count", 1_u32);
        world.process("worker", move |p| {
            let count = count.clone();
            p.handle(async move |_: Order| count.update(|held| *held += count.get())).max_retries(0);
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert_reason(&report, Verdict::NothingTested, "`count` is used inside its own `read` or `update`");
}

#[test]
fn a_boot_closure_that_calls() {
    let report = explore(&one_deviation(), |p| {
        let payments = p.payments();
        payments.charges_blocking(1).unwrap();
        p.handle(async move |order: Order| payments.charge(keyed(order.id)).await.map(drop));
    });
    assert_green(&report);
}

#[test]
fn a_bound_that_would_take_for_ever() {
    let boot = || paying(async |payments, id| payments.charge(keyed(id)).await.map(drop));
    let report = explore(&Explore::new().name("test").deviations(50).max_runs(500), boot());
    assert_reason(&report, Verdict::Incomplete, "stopped by max_runs = 500 after 500 runs of at least ");
    assert_eq!((report.runs(), report.exhausted()), (500, false));
    let report =
        explore(&Explore::new().name("test").deviations(50).max_time(Duration::from_millis(50)), boot());
    assert_reason(&report, Verdict::Incomplete, "stopped by max_time = 50ms after ");
    // A violation that was found before is reported nevertheless.
    let report = explore(
        &Explore::new().name("test").deviations(50).max_runs(500),
        paying(async |payments, id| payments.charge(unkeyed(id)).await.map(drop)),
    );
    assert_eq!((report.verdict(), report.exhausted()), (Verdict::Violated, false), "{report}");
}

#[test]
#[should_panic(expected = "the exploration is incomplete")]
fn incomplete_does_not_pass() {
    incomplete(Explore::new());
}

#[test]
#[should_panic(expected = "the scenario to replay cannot be read")]
fn what_is_incomplete_for_another_reason_does_not_pass() {
    incomplete(Explore::new().replay("garbage in").allow_incomplete());
}

#[test]
fn incomplete_passes_where_the_test_says_so() {
    incomplete(Explore::new().allow_incomplete());
}

fn incomplete(explore: Explore) {
    explore.max_runs(10).check(async |world: &World| {
        world.process("worker", paying(async |payments, id| payments.charge(keyed(id)).await.map(drop)));
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
}

#[test]
fn a_handle_of_the_tests_own_given_to_a_job() {
    let report = one_deviation().run(async |world: &World| {
        let payments = world.payments();
        world.process("worker", move |p| {
            let payments = payments.clone();
            p.handle(async move |order: Order| payments.charge(keyed(order.id)).await.map(drop))
                .max_retries(1)
                .backoff(Backoff::Constant(Duration::ZERO));
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert_reason(
        &report,
        Verdict::NothingTested,
        "where nothing can go wrong; give the job the handle of its process (`p.…`)",
    );
}

#[test]
fn names_that_are_taken() {
    let twice = |what: u8| {
        Explore::new().name("test").run(async move |world: &World| {
            let _first = world.durable("orders", 1);
            match what {
                0 => drop(world.durable("orders", 2)),
                1 => {
                    world.process("worker", |_| {});
                    world.process("worker", |_| {});
                }
                2 => {
                    world.process("worker", |p| {
                        p.handle(async |_: Order| ());
                        p.handle(async |_: Order| ());
                    });
                }
                _ => world.ignore("orders", "$[x]"),
            }
        })
    };
    for (what, message) in [
        (0, "the state `orders` was registered twice; give each durable or observed state its own name"),
        (1, "the process `worker` was added twice; give each process its own name"),
        (
            2,
            "process `worker` handles it::checks::Order twice; a process has one handler for each kind of job",
        ),
        (
            3,
            "`$[x]` is not a path: expected a number or `*` at character 1; paths look like `$.orders[*].paid_at` or `$..id`",
        ),
    ] {
        let report = twice(what);
        assert!(report.violations()[0].summary.ends_with(message), "{report}");
    }
}

#[test]
fn a_state_that_is_no_json() {
    let report = one_deviation().run(async |world: &World| {
        world.process("worker", paying(async |payments, id| payments.charge(keyed(id)).await.map(drop)));
        world.observe("pairs", || std::collections::BTreeMap::from([((1, 2), 3)]));
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    let summary = &report.violations()[0].summary;
    assert_eq!(
        summary,
        "the test body panicked: the state `pairs` cannot be written as JSON: key must be a string"
    );
}

#[test]
fn a_drain_stops_at_the_first_error() {
    let report = one_deviation().run(async |world: &World| {
        let ran = world.durable("ran", Vec::new());
        world.process("worker", {
            let ran = ran.clone();
            move |p| {
                let (queue, ran) = (p.queue(), ran.clone());
                p.handle(async move |id: u32| {
                    ran.update(|ran| ran.push(id));
                    match id {
                        1 => queue.enqueue(4_u32).await.map(drop).map_err(|error| error.to_string()),
                        2 => Err("two".to_owned()),
                        _ => Ok(()),
                    }
                });
            }
        });
        world.enqueue_bulk(1..=3_u32);
        let error = world.drain_all().await.unwrap_err();
        assert_eq!(error.to_string(), "job#2 u32 failed: two");
        assert_eq!(world.jobs::<u32>().iter().map(|job| job.number).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(world.drain_all().await.unwrap().performed, 2);
        assert_eq!(ran.get(), [1, 2, 3, 4]);
        assert!(world.retries().is_empty() && world.dead().is_empty());
    });
    // A drain injects no failures, so nothing was tested, and the report says so.
    assert_reason(&report, Verdict::NothingTested, "a drain injects no failures");
}

#[test]
fn a_drain_runs_one_job_after_the_other() {
    let report = one_deviation().run(async |world: &World| {
        let ran = world.durable("ran", Vec::new());
        world.process("worker", {
            let ran = ran.clone();
            move |p| {
                let (clock, ran) = (p.clock(), ran.clone());
                p.handle(async move |id: u32| {
                    clock.sleep(Duration::from_secs(10 - u64::from(id))).await;
                    ran.update(|ran| ran.push(id));
                });
            }
        });
        for id in 1..=3_u32 {
            world.enqueue(id);
        }
        assert_eq!(world.drain_all().await.unwrap().performed, 3);
        assert_eq!((ran.get(), world.now()), (vec![1, 2, 3], Duration::from_secs(9 + 8 + 7)));
        // A job for a time in the past is ready now, and a job for a later time waits.
        world.enqueue_at(Duration::from_secs(20), 4_u32);
        world.enqueue_in(Duration::from_secs(20), 5_u32);
        assert_eq!((world.jobs::<u32>().len(), world.scheduled().len()), (2, 1));
        assert_eq!(world.drain_all().await.unwrap().performed, 1);
    });
    assert_reason(&report, Verdict::NothingTested, "a drain injects no failures");
}

#[test]
fn a_drain_of_a_job_that_nobody_handles() {
    let report = one_deviation().run(async |world: &World| {
        world.process("worker", |_| {});
        world.enqueue(1_u32);
        world.drain_all().await.unwrap_err();
    });
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    has_line(
        &report.violations()[0].summary,
        expect![[
            r#"a job could not be run: job#1 u32 has no handler; register one with `p.handle(async |job: u32| …)` in a process, or name its kind there with `.name("u32")`"#
        ]],
    );
}
