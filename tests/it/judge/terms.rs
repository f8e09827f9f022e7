//! The terms of a test. For each term: a bad job that fails with it, and a good job that fails without it and passes
//! with it.
//!
//! A part: the text of a panic ends in its place in this file, which moves with each edit.

use super::{S, assert_first, body_panic};
use crate::support::{assert_green, assert_violated, one_deviation};
use retryproof::job::JobState;
use retryproof::service::email::Email;
use retryproof::service::fulfillment::Shipment;
use retryproof::service::payments::Charge;
use retryproof::service::{Function, ServiceContext, function};
use retryproof::{Code, Delivery, Explore, Guarantee, Process, Report, ServiceError, Verdict, World};

type Failure = Box<dyn std::error::Error>;

/// Explores a world with one job, on terms.
pub(super) fn on(
    explore: &Explore,
    terms: impl Fn(&World) + Sync,
    boot: impl Fn(&Process) + Clone + Sync + 'static,
) -> Report {
    explore.run(async |world: &World| {
        world.store();
        terms(world);
        world.process("worker", boot.clone());
        world.enqueue(6_u32);
        world.settle().await;
    })
}

pub(super) fn hook() -> Email {
    Email::new("ada@example.com", "hook")
}

/// Posts up to `most` times until it gets an answer.
fn posts(most: u32) -> impl Fn(&Process) + Clone + Sync + 'static {
    move |p: &Process| {
        let email = p.email();
        p.handle(async move |_: u32| {
            for _ in 0..most {
                if email.send(hook()).await.is_ok() {
                    return Ok(());
                }
            }
            Err("no answer")
        });
    }
}

pub(super) fn faults_only() -> Explore {
    one_deviation().crashes(0).deliveries(0)
}

#[test]
fn input_25_a_hook_that_is_posted_until_it_answers() {
    let between = |world: &World| drop(world.allow("email.send", Guarantee::between(1, 5)));
    assert_green(&on(&one_deviation(), between, posts(5)));
    let report = on(&faults_only(), |_| (), posts(5));
    assert_violated(
        &report,
        "email.send happened twice, expected once",
        "test job#1.1/email.send:call=reply-lost",
    );
    let twice = |world: &World| drop(world.allow("email.send", Guarantee::between(1, 2)));
    assert_green(&on(&faults_only(), twice, posts(5)));
    // Three times is more than twice.
    let report = on(&faults_only().deviations(2), twice, posts(5));
    assert_first(
        &report,
        "email.send happened 3 times, expected twice",
        "test job#1.1/email.send:call=reply-lost job#1.1/email.send:call~2=reply-lost",
    );
}

#[test]
fn between_wants_it_at_least_so_often() {
    let swallows = |p: &Process| {
        let (email, store) = (p.email(), p.store());
        p.handle(async move |_: u32| {
            let _ = email.send(hook()).await;
            store.put("done", &true).await
        });
    };
    let between = |least| move |world: &World| drop(world.allow("email.send", Guarantee::between(least, 5)));
    let report = on(&faults_only(), between(1), swallows);
    assert_violated(
        &report,
        "email.send never happened, expected once",
        "test job#1.1/email.send:call=unavailable",
    );
    assert_green(&on(&faults_only(), between(0), swallows));
    // A second job that sends the same has no such guarantee.
    let report = faults_only().run(async |world: &World| {
        world.allow("email.send", Guarantee::between(1, 5));
        let first = world.durable("first", false);
        world.process("worker", move |p| {
            let (email, first) = (p.email(), first.clone());
            p.handle(async move |job: u32| {
                // A job that fails leaves it to the other one as well.
                if job == 1 || first.get() {
                    first.set(true);
                    email.send(hook()).await?;
                    first.set(false);
                }
                Ok::<(), ServiceError>(())
            });
        });
        world.enqueue(1_u32);
        world.enqueue_in(S, 2_u32);
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
}

#[test]
#[should_panic(expected = "the first number must not be greater than the second")]
fn between_the_wrong_way_round() {
    let _ = Guarantee::between(5, 1);
}

/// Two jobs that post the same hook. The first posts it once more than necessary, as soon as the other one has failed.
#[test]
fn between_is_of_each_job() {
    let explore = |least: u32, most: u32, posts: [u32; 2]| {
        faults_only().deviations(0).run(async move |world: &World| {
            world.allow("email.send", Guarantee::between(least, most));
            world.process("worker", move |p| {
                let email = p.email();
                p.handle(async move |job: u32| {
                    for _ in 0..posts[job as usize] {
                        email.send(hook()).await?;
                    }
                    Ok::<(), ServiceError>(())
                });
            });
            world.enqueue(0_u32);
            world.enqueue(1_u32);
            world.settle().await;
        })
    };
    assert_green(&explore(1, 5, [1, 1]));
    assert_green(&explore(2, 3, [2, 3]));
    // The fault-free run violates it.
    assert_first(&explore(2, 3, [1, 2]), "email.send happened once, expected twice", "test");
    assert_first(&explore(1, 5, [6, 0]), "email.send happened 6 times, expected 5 times", "test");
}

/// A 503 of the second job makes the first one post once more, so the total is correct.
#[test]
fn between_sees_who_did_nothing_though_the_total_is_right() {
    let report = faults_only().preemptions(0).run(async |world: &World| {
        world.allow("email.send", Guarantee::between(1, 5));
        let (failed, second) = (world.durable("failed", false), world.durable("second", false));
        world.process("worker", move |p| {
            let (email, failed, second) = (p.email(), failed.clone(), second.clone());
            let clock = p.clock();
            p.handle(async move |job: u32| {
                if job == 1 {
                    failed.set(email.send(hook()).await.is_err());
                    second.set(true);
                } else {
                    email.send(hook()).await?;
                    clock.sleep(S).await;
                    if failed.get() {
                        email.send(hook()).await?;
                        failed.set(false);
                    }
                }
                Ok::<(), ServiceError>(())
            });
        });
        world.enqueue_bulk([0_u32, 1]);
        world.settle().await;
    });
    assert!(
        report.violations().iter().any(|v| v.summary.contains("email.send never happened, expected once")),
        "{report}"
    );
}

/// Marks a path as dirty, and then invalidates all dirty paths.
fn invalidates(p: &Process) {
    let (cdn, store) = (p.service::<Function<Vec<String>, String>>("cdn"), p.store());
    p.handle(async move |job: u32| {
        store.put(format!("dirty:{job}"), &true).await?;
        let dirty: Vec<String> =
            store.scan::<bool>("dirty:").await?.into_iter().map(|(key, _)| key).collect();
        cdn.call(dirty.clone()).await?;
        for key in dirty {
            store.delete(key).await?;
        }
        Ok::<(), Failure>(())
    });
}

fn invalidating(items: bool, boot: impl Fn(&Process) + Clone + Sync + 'static) -> Report {
    one_deviation().deliveries(0).preemptions(0).run(async |world: &World| {
        world.service(
            "cdn",
            function("invalidate", |paths: Vec<String>, cx: &mut ServiceContext<'_>| {
                cx.effect("invalidate", None, &paths, "in_")
            }),
        );
        let allowed = world.allow("cdn.invalidate", Guarantee::AtLeastOnce);
        if items {
            allowed.as_items("$");
        }
        world.process("worker", boot.clone());
        world.enqueue(1_u32);
        world.enqueue_in(S, 2_u32);
        world.settle().await;
    })
}

#[test]
fn input_24_a_batch_stands_for_its_items() {
    assert_green(&invalidating(true, invalidates));
    let report = invalidating(false, invalidates);
    assert_eq!(report.code(), Some(Code::AnotherContent), "{report}");
    // A job that forgets the second path still fails.
    let forgets = |p: &Process| {
        let cdn = p.service::<Function<Vec<String>, String>>("cdn");
        p.handle(async move |job: u32| {
            let _ = cdn.call(vec![format!("dirty:{job}")]).await;
        });
    };
    let report = invalidating(true, forgets);
    assert_violated(
        &report,
        "cdn.invalidate never happened, expected once",
        "test job#1.1/cdn.invalidate:call=unavailable",
    );
}

/// The second job covers what the first one has marked, and the first one is retried, or runs at the same time.
#[test]
fn input_24_a_batch_of_another_job_is_no_repetition() {
    let explore = |guarantee: Guarantee| {
        one_deviation().run(async move |world: &World| {
            world.service(
                "cdn",
                function("invalidate", |paths: Vec<String>, cx: &mut ServiceContext<'_>| {
                    cx.effect("invalidate", None, &paths, "in_")
                }),
            );
            world.allow("cdn.invalidate", guarantee).as_items("$");
            world.process("worker", invalidates);
            world.enqueue_bulk([1_u32, 2]);
            world.settle().await;
        })
    };
    assert_green(&explore(Guarantee::AtLeastOnce));
    assert_eq!(explore(Guarantee::ExactlyOnce).verdict(), Verdict::Violated);
}

/// Telemetry that may be lost, and an order that must not be half done.
#[test]
fn input_23_a_job_that_may_be_lost() {
    let counts = |p: &Process| {
        let payments = p.payments();
        p.handle(async move |order: u32| payments.charge(Charge::of_order(order, 1)).await)
            .delivery(Delivery::AtMostOnce);
    };
    let crashes = one_deviation().faults(0);
    let lost = |world: &World| drop(world.jobs::<u32>().may_be_lost());
    assert_green(&on(&crashes, lost, counts));
    let report = on(&crashes, |_| (), counts);
    assert!(report.violations().iter().any(|violation| violation.code == Code::Lost), "{report}");
    let two_halves = |p: &Process| {
        let (payments, parcels) = (p.payments(), p.fulfillment());
        p.handle(async move |order: u32| {
            payments.charge(Charge::of_order(order, 1)).await?;
            parcels.request(Shipment::of_order(order, "pr_1", 1).address("1 Main St")).await
        })
        .delivery(Delivery::AtMostOnce);
    };
    let report = on(&crashes, lost, two_halves);
    assert_eq!(report.code(), Some(Code::GaveUpHalfWay), "{report}");
    let half = |world: &World| drop(world.jobs::<u32>().may_be_lost().may_stop_half_way());
    assert_green(&on(&crashes, half, two_halves));
}

/// Enqueues the same job `count` times. Each acts only while it holds the code's own lock.
fn duplicates(count: usize, is_allowed: bool, is_half: bool) -> Report {
    one_deviation().faults(0).crashes(0).deliveries(0).run(async move |world: &World| {
        world.store();
        if is_allowed {
            world.jobs::<u32>().may_be_skipped();
        }
        world.process("worker", move |p| {
            let (payments, store) = (p.payments(), p.store());
            p.handle(async move |order: u32| {
                if store.set_if_absent("lock", &order, std::time::Duration::from_secs(600)).await? {
                    payments.charge(Charge::of_order(order, 500)).await?;
                    store.delete("lock").await?;
                } else if is_half {
                    store.put("dropped", &true).await?;
                }
                Ok::<(), Failure>(())
            });
        });
        world.enqueue_bulk(vec![6_u32; count]);
        world.settle().await;
    })
}

#[test]
fn a_job_that_may_be_skipped() {
    for count in [2, 5] {
        assert_green(&duplicates(count, true, false));
        assert_eq!(duplicates(count, false, false).verdict(), Verdict::Violated);
    }
    // A dropped job must leave nothing behind.
    assert_eq!(duplicates(2, true, true).verdict(), Verdict::Violated);
}

#[test]
fn a_job_that_did_nothing_because_its_call_failed_was_not_skipped() {
    let explore = |count: usize| {
        faults_only().preemptions(0).run(async move |world: &World| {
            world.jobs::<u32>().may_be_skipped();
            world.process("worker", |p| {
                let payments = p.payments();
                p.handle(async move |order: u32| {
                    let _ = payments.charge(Charge::of_order(order, 500)).await;
                });
            });
            world.enqueue_bulk(vec![6_u32; count]);
            world.settle().await;
        })
    };
    assert_violated(
        &explore(1),
        "payments.charge never happened, expected once",
        "test job#1.1/payments.charge:call=unavailable",
    );
    assert_eq!(explore(2).verdict(), Verdict::Violated);
}

/// A job that dies because of what it left behind, and may do so.
#[test]
fn a_job_that_may_end_dead() {
    let inserts = |p: &Process| {
        let store = p.store();
        p.handle(async move |order: u32| store.insert(format!("row:{order}"), &true).await).max_retries(3);
    };
    let crashes = one_deviation().faults(0).deliveries(0);
    let dead = |world: &World| drop(world.jobs::<u32>().may_end(JobState::Dead));
    assert_green(&on(&crashes, dead, inserts));
    assert_eq!(on(&crashes, |_| (), inserts).code(), Some(Code::DiedByItself));
    let half = |p: &Process| {
        let (store, payments) = (p.store(), p.payments());
        p.handle(async move |order: u32| {
            store.insert(format!("row:{order}"), &true).await?;
            payments.charge(Charge::of_order(order, 500).key("k")).await?;
            Ok::<(), Failure>(())
        })
        .max_retries(3);
    };
    assert_eq!(on(&crashes, dead, half).code(), Some(Code::GaveUpHalfWay));
}

#[test]
fn a_state_in_which_no_job_gives_up() {
    let report = one_deviation().run(async |world: &World| {
        world.jobs::<u32>().may_end(JobState::Ready);
    });
    assert!(body_panic(&report).contains("`may_end(Ready)`: a job gives up as `JobState::Dead`"), "{report}");
}

/// A process of the test itself, and one of the code under test with the same bug.
#[test]
fn scaffolding_is_left_alone() {
    let explore = |cron: bool, worker: bool| {
        one_deviation().run(async move |world: &World| {
            let boot = |p: &Process| {
                let email = p.email();
                p.handle(async move |_: u32| email.send(hook()).await.map(drop));
            };
            let hosted = world.process("worker", boot);
            if worker {
                hosted.reliable();
            }
            let hosted = world.process("cron", |p| {
                let queue = p.queue();
                p.spawn("tick", async move { queue.enqueue(6_u32).await.map(drop) });
            });
            if cron {
                hosted.reliable();
            }
            // Until nothing is left to do.
            world.settle_until(|_| false).await;
        })
    };
    assert_green(&explore(true, true));
    let report = explore(true, false);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    let of_worker = |v: &retryproof::Violation| v.scenario.to_string().contains("job#1.");
    assert!(report.violations().iter().all(of_worker), "{report}");
    assert_eq!(explore(false, true).verdict(), Verdict::Violated);
}

/// The process takes part in preemptions: races with it are found.
#[test]
fn a_reliable_process_races_with_others() {
    let report = one_deviation().run(async |world: &World| {
        for name in ["one", "two"] {
            world
                .process(name, |p| {
                    let store = p.store();
                    p.slots(1).handle(async move |_: u32| {
                        let count = store.get::<u32>("count").await?.map_or(0, |row| row.value);
                        store.put("count", &(count + 1)).await
                    });
                })
                .reliable();
        }
        world.enqueue_bulk([1_u32, 2]);
        world.settle().await;
    });
    assert_eq!(report.code(), Some(Code::StateWhenJobsCross), "{report}");
}

#[test]
fn an_invariant_is_named_and_sees_the_world() {
    let explore = |most: usize| {
        one_deviation().deviations(0).run(async move |world: &World| {
            world.invariant("few mails", move |world| {
                assert!(world.effects().of("email.send").count() <= most, "more than {most}");
            });
            world.process("worker", |p| {
                let email = p.email();
                p.handle(async move |_: u32| {
                    email.send(hook()).await?;
                    email.send(hook()).await.map(drop)
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
        })
    };
    assert_green(&explore(2));
    let report = explore(1);
    assert_eq!(report.code(), Some(Code::Panicked));
    let summary = &report.violations()[0].summary;
    assert!(
        summary.starts_with("the invariant `few mails` does not hold at tests/it/judge/terms.rs:"),
        "{summary}"
    );
    assert!(summary.ends_with(": more than 1"), "{summary}");
    let twice = one_deviation().run(async |world: &World| {
        world.invariant("few", |_| ());
        world.invariant("few", |_| ());
    });
    assert!(body_panic(&twice).contains("the invariant `few` was registered twice"), "{twice}");
}

#[test]
fn effects_in_order() {
    let explore = |charges_first: bool| {
        let boot = move |p: &Process| {
            let (payments, parcels) = (p.payments(), p.fulfillment());
            p.handle(async move |order: u32| {
                let charge = Charge::of_order(order, 500).key("k");
                let parcel = Shipment::of_order(order, "pr_1", 1).address("1 Main St").key("k");
                if charges_first {
                    payments.charge(charge.clone()).await?;
                }
                parcels.request(parcel).await?;
                payments.charge(charge).await.map(drop)
            });
        };
        on(&one_deviation(), |world| world.effects_in_order(["payments.charge", "fulfillment.request"]), boot)
    };
    assert_green(&explore(true));
    let report = explore(false);
    assert_first(&report, "fulfillment.request happened before payments.charge", "test");
    assert_eq!(report.code(), Some(Code::OutOfOrder));
    let short = one_deviation().run(async |world: &World| world.effects_in_order(["payments.charge"]));
    assert!(body_panic(&short).contains("needs at least two operations"), "{short}");
}

/// Another order's charge is no excuse, but the same order's charge under the same key is one.
#[test]
fn effects_in_order_are_those_of_each_job() {
    let explore = |orders: [u32; 2], charges: [bool; 2]| {
        one_deviation().deviations(0).run(async move |world: &World| {
            world.effects_in_order(["payments.charge", "fulfillment.request"]);
            world.process("worker", move |p| {
                let (payments, parcels) = (p.payments(), p.fulfillment());
                p.handle(async move |(order, job): (u32, usize)| {
                    if charges[job] {
                        payments.charge(Charge::of_order(order, 500).key(format!("{order}"))).await?;
                    }
                    let parcel = Shipment::of_order(order, "pr_1", 1).address("1 Main St");
                    parcels.request(parcel).await.map(drop)
                });
            });
            world.enqueue((orders[0], 0_usize));
            world.enqueue((orders[1], 1_usize));
            world.settle().await;
        })
    };
    assert_green(&explore([6, 7], [true, true]));
    assert_green(&explore([6, 6], [true, true]));
    let report = explore([6, 7], [true, false]);
    assert_first(&report, "fulfillment.request happened before payments.charge", "test");
}

/// The child of a job that charged ships what is paid for.
#[test]
fn effects_in_order_over_a_job_and_its_child() {
    let explore = |charges: bool| {
        one_deviation().deviations(0).run(async move |world: &World| {
            world.effects_in_order(["payments.charge", "fulfillment.request"]);
            world.process("worker", move |p| {
                let (payments, parcels, queue) = (p.payments(), p.fulfillment(), p.queue());
                p.handle(async move |order: u32| {
                    if charges || order == 6 {
                        payments.charge(Charge::of_order(order, 500)).await?;
                    }
                    queue.enqueue(format!("{order}")).await?;
                    Ok::<(), Failure>(())
                });
                p.handle(async move |order: String| {
                    let parcel = Shipment::of_order(order.parse::<u32>()?, "pr_1", 1).address("1 Main St");
                    parcels.request(parcel).await?;
                    Ok::<(), Failure>(())
                });
            });
            world.enqueue(6_u32);
            world.enqueue(7_u32);
            world.settle().await;
        })
    };
    assert_green(&explore(true));
    assert_eq!(explore(false).code(), Some(Code::OutOfOrder));
}
