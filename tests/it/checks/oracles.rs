//! For each oracle, fault and crash point: a job that it must find, and one that it must accept.

use std::time::Duration;

use super::{Order, assert_green, assert_violated, explore, keyed, one_deviation, paying, unkeyed};
use crate::support::has_line;
use expect_test::expect;
use retryproof::report::Oracle;
use retryproof::service::email::Email;
use retryproof::service::fulfillment::Shipment;
use retryproof::{Backoff, Delivery, Explore, Guarantee, Report, ServiceError, Verdict, World};

const TWICE: &str = "payments.charge happened twice, expected once";

fn charge_without_key() -> Report {
    explore(&one_deviation(), paying(async |payments, id| payments.charge(unkeyed(id)).await.map(drop)))
}

#[test]
fn guarantee_catches_a_charge_without_a_key_and_leaves_one_with_a_key_alone() {
    let report = charge_without_key();
    assert_violated(&report, TWICE, "test job#1.1/payments.charge:call=reply-lost");
    assert_eq!(report.violations()[0].oracle, Oracle::Guarantee);
    assert_eq!(report.violations()[0].effect.as_deref(), Some("payments.charge"));
    assert_green(&explore(
        &Explore::new(),
        paying(async |payments, id| payments.charge(keyed(id)).await.map(drop)),
    ));
}

/// Lists all single deviations after which a charge without a key is repeated, and all after which it is not.
#[test]
fn each_fault_and_crash_point_is_judged_for_what_it_is() {
    let repeated = |scenario: &str| {
        let explore = one_deviation().replay(format!("test {scenario}"));
        let report = super::explore(
            &explore,
            paying(async |payments, id| payments.charge(unkeyed(id)).await.map(drop)),
        );
        assert!(report.reason().is_none(), "{report}");
        report.verdict() == Verdict::Violated
    };
    for scenario in [
        "job#1.1/payments.charge:call=reply-lost",
        "job#1.1/payments.charge:call=timed-out-but-done",
        "job#1.1/payments.charge:happened=crash",
        "job#1.1/payments.charge:replied=crash",
        "job#1.1:end=crash",
        "job#1.1:ack=again",
    ] {
        assert!(repeated(scenario), "{scenario}");
    }
    for scenario in [
        "job#1.1:start=crash",
        "job#1.1/payments.charge:before=crash",
        "job#1.1/payments.charge:call=unavailable",
        "job#1.1/payments.charge:call=throttled",
        "job#1.1/payments.charge:call=timed-out",
    ] {
        assert!(!repeated(scenario), "{scenario}");
    }
}

#[test]
fn a_fault_is_seen_as_what_it_is_and_takes_its_time() {
    let seen = |scenario: &str| {
        let settings = one_deviation().replay(format!("test {scenario}"));
        let report = settings.run(async |world: &World| {
            let errors = world.durable("errors", Vec::new());
            world.process("worker", {
                let errors = errors.clone();
                move |p| {
                    let (payments, clock, errors) = (p.payments(), p.clock(), errors.clone());
                    p.handle(async move |order: Order| {
                        let from = clock.now();
                        let result = payments.charge(keyed(order.id)).await;
                        if let Err(error) = &result {
                            errors.update(|errors| {
                                errors.push(format!("{error}, {:?} later", clock.now() - from))
                            });
                        }
                        result.map(drop)
                    });
                }
            });
            world.enqueue(Order { id: 1 });
            world.settle().await;
        });
        report.violations()[0].actual.clone()
    };
    let call = |fault: &str| seen(&format!("job#1.1/payments.charge:call={fault}"));
    assert_eq!(call("unavailable"), r#"errors = ["payments.charge: 503 service unavailable, 0ns later"]"#);
    assert_eq!(call("reply-lost"), call("unavailable"), "the caller cannot tell them apart");
    assert_eq!(
        call("throttled"),
        r#"errors = ["payments.charge: 429 too many requests, retry after 30s, 0ns later"]"#
    );
    assert_eq!(call("timed-out"), r#"errors = ["payments.charge: no answer within 30s, 30s later"]"#);
    assert_eq!(call("timed-out-but-done"), call("timed-out"));
}

#[test]
fn a_multiset_is_compared_and_not_a_set() {
    // The same email again, after a mere crash: the set of effects is the same.
    let report = explore(&one_deviation().faults(0).deliveries(0), |p| {
        let email = p.email();
        p.handle(async move |_: Order| email.send(Email::new("ada@example.com", "hello")).await.map(drop));
    });
    assert_violated(
        &report,
        "email.send happened twice, expected once",
        "test job#1.1/email.send:happened=crash",
    );
    // An effect that happens twice in the fault-free run may happen twice.
    let report = explore(&one_deviation(), |p| {
        let parcels = p.fulfillment();
        p.handle(async move |order: Order| {
            let parcel = |key: &str| Shipment::of_order(order.id, "pr_1", 1).address("1 Main St").key(key);
            parcels.request(parcel("first")).await?;
            parcels.request(parcel("second")).await.map(drop)
        });
    });
    assert_green(&report);
}

#[test]
fn reference_catches_a_missing_and_a_wrong_effect_and_a_wrong_state() {
    // The job ignores an error, so the charge never happens.
    let report = explore(
        &one_deviation(),
        paying(async |payments, id| {
            let _ = payments.charge(keyed(id)).await;
        }),
    );
    assert_violated(
        &report,
        "payments.charge never happened, expected once",
        "test job#1.1/payments.charge:call=unavailable",
    );
    // A different amount the second time.
    let report = one_deviation().run(async |world: &World| {
        let tries = world.durable("tries", 0_u64);
        world.ignore("tries", "$");
        world.process("worker", move |p| {
            let (payments, tries) = (p.payments(), tries.clone());
            p.handle(async move |order: Order| {
                let amount = 500 + tries.update(|tries| std::mem::replace(tries, *tries + 1));
                payments
                    .charge(retryproof::service::payments::Charge::of_order(order.id, amount).key("k"))
                    .await
                    .map(drop)
            });
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert_violated(
        &report,
        "payments.charge happened with different content or a different key than expected",
        "test job#1.1/payments.charge:before=crash",
    );
    // A state: stock is added again.
    let add_stock = |set: bool| {
        one_deviation().run(async move |world: &World| {
            let stock = world.durable("stock", 10_u32);
            world.process("worker", move |p| {
                let stock = stock.clone();
                p.handle(async move |_: Order| {
                    stock.update(|stock| *stock = if set { 15 } else { *stock + 5 })
                });
            });
            world.enqueue(Order { id: 1 });
            world.settle().await;
        })
    };
    let report = add_stock(false);
    assert_violated(&report, "stock is", "test job#1.1:end=crash");
    let stock = &report.violations()[0];
    assert_eq!(
        (stock.oracle, &*stock.expected, &*stock.actual),
        (Oracle::Reference, "stock = 15", "stock = 20")
    );
    assert_green(&add_stock(true));
}

/// Explores two jobs that set or add to a shared state. A harmless reordering is accepted, and a lost update is found.
fn two_jobs(job: fn(&mut Vec<u32>, u32)) -> Report {
    one_deviation().run(async move |world: &World| {
        let log = world.durable("log", Vec::new());
        world.process("worker", move |p| {
            let (clock, log) = (p.clock(), log.clone());
            p.handle(async move |order: Order| {
                clock.yield_now().await;
                log.update(|log| job(log, order.id));
            });
        });
        world.enqueue(Order { id: 1 });
        world.enqueue(Order { id: 2 });
        world.settle().await;
    })
}

#[test]
fn serial_leaves_another_order_of_the_jobs_alone_and_catches_an_outcome_of_none() {
    // The last one wins. A job that is redelivered after a crash is the last one. Both orders are accepted.
    assert_green(&two_jobs(|log, id| *log = vec![id]));
    // Each job is recorded once, in the order in which they came.
    assert_green(&two_jobs(|log, id| {
        if !log.contains(&id) {
            log.push(id);
        }
    }));
    let report = two_jobs(|log, id| log.push(id));
    assert_violated(&report, "log is", "test job#1.1:end=crash");
    assert_eq!(report.violations()[0].oracle, Oracle::Serial);
}

/// Two jobs read a number, wait, and write it back incremented. `slots` of them run at once.
fn counting(slots: usize, atomic: bool) -> Report {
    one_deviation().run(async move |world: &World| {
        let count = world.durable("count", 0_u32);
        // Crashes and redeliveries repeat a count, but this test is about the fault-free run.
        let counted = world.durable("counted", Vec::new());
        world.process("worker", move |p| {
            p.slots(slots);
            let (clock, count, counted) = (p.clock(), count.clone(), counted.clone());
            p.handle(async move |order: Order| {
                if counted.get().contains(&order.id) {
                    return;
                }
                let read = count.get();
                clock.sleep(Duration::from_secs(1)).await;
                counted.update(|counted| {
                    counted.push(order.id);
                    counted.sort();
                    count.update(|count| *count = if atomic { *count + 1 } else { read + 1 });
                });
            });
        });
        world.enqueue(Order { id: 1 });
        world.enqueue(Order { id: 2 });
        world.settle().await;
    })
}

#[test]
fn a_reference_run_that_lost_an_update_is_nothing_to_compare_with() {
    let report = counting(2, false);
    assert_violated(&report, "count is", "test");
    let violation = &report.violations()[0];
    assert_eq!(
        (violation.oracle, &*violation.expected, &*violation.actual),
        (Oracle::Serial, "count = 2", "count = 1")
    );
    has_line(
        report.reason().unwrap(),
        expect![
            "This is the fault-free run. Its jobs overlapped, and the outcome matches no one-at-a-time order of them."
        ],
    );
    // One job at a time is correct, and so is an atomic update.
    assert_green(&counting(1, false));
    assert_green(&counting(2, true));
}

#[test]
fn accounted_catches_a_job_that_vanished_and_leaves_a_dead_one_alone() {
    let delivered = |delivery: Delivery| {
        explore(&one_deviation(), move |p| {
            let payments = p.payments();
            p.handle(async move |order: Order| payments.charge(keyed(order.id)).await.map(drop))
                .delivery(delivery);
        })
    };
    let report = delivered(Delivery::AtMostOnce);
    assert_violated(
        &report,
        "job `Order` was lost when its worker crashed: the queue had already removed it",
        "test job#1.1:start=crash",
    );
    assert!(report.violations().iter().any(|v| v.oracle == Oracle::Accounted));
    assert_green(&delivered(Delivery::AtLeastOnce));

    // Without retries: the job ends dead, and its effect has happened or not.
    let giving_up = |retries: u32| {
        one_deviation().crashes(0).deliveries(0).run(async move |world: &World| {
            world.process("worker", move |p| {
                let (payments, email) = (p.payments(), p.email());
                p.handle(async move |order: Order| {
                    payments.charge(unkeyed(order.id)).await?;
                    email.emails("ada@example.com", "receipt").await.map(drop)
                })
                .max_retries(retries);
            });
            world.enqueue(Order { id: 1 });
            world.settle().await;
        })
    };
    assert_green(&giving_up(0));
    // With one retry, a job that ends dead must not have repeated anything either.
    assert_violated(&giving_up(1), TWICE, "test job#1.1/payments.charge:call=reply-lost");
}

/// Inserts a row that must exist once, and then makes a call. A later attempt finds the row and always fails.
fn inserting(look: bool) -> Report {
    explore_rows(&one_deviation(), look)
}

fn explore_rows(settings: &Explore, look: bool) -> Report {
    settings.run(async move |world: &World| {
        let rows = world.durable("rows", Vec::new());
        world.process("worker", move |p| {
            let (payments, rows) = (p.payments(), rows.clone());
            p.handle(async move |order: Order| {
                let inserted = rows.update(|rows| {
                    let new = !rows.contains(&order.id);
                    rows.extend(new.then_some(order.id));
                    new
                });
                if !inserted && !look {
                    return Err("duplicate key".to_owned());
                }
                payments.charge(keyed(order.id)).await.map(drop).map_err(|error| error.to_string())
            });
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    })
}

#[test]
fn accounted_catches_a_job_that_dies_by_itself() {
    // One 503, and every retry fails because of the first attempt's row. The job does not die of the 503.
    let report = inserting(false);
    let summary = "job `Order` ended dead: it failed 26 times, with only 1 deviation (duplicate key)";
    assert_violated(&report, summary, "test job#1.1/payments.charge:call=unavailable");
    assert!(report.violations().iter().any(|v| v.oracle == Oracle::Accounted), "{report}");
    assert_green(&inserting(true));
}

#[test]
fn a_job_that_ends_dead_may_not_have_repeated_anything() {
    // One retry: after a lost reply and another fault, the job is dead, and has charged twice.
    let report = explore(&Explore::new().name("test").crashes(0).deliveries(0), |p| {
        let (payments, email) = (p.payments(), p.email());
        p.handle(async move |order: Order| {
            email.emails("ada@example.com", "receipt").await?;
            payments.charge(unkeyed(order.id)).await?;
            email.emails("ada@example.com", "receipt").await.map(drop)
        })
        .max_retries(1);
    });
    let both = "test job#1.1/payments.charge:call=reply-lost job#1.2/email.emails:call~2=unavailable";
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    let replay = explore(&Explore::new().name("test").replay(both), |p| {
        let (payments, email) = (p.payments(), p.email());
        p.handle(async move |order: Order| {
            email.emails("ada@example.com", "receipt").await?;
            payments.charge(unkeyed(order.id)).await?;
            email.emails("ada@example.com", "receipt").await.map(drop)
        })
        .max_retries(1);
    });
    assert_violated(&replay, TWICE, both);
}

#[test]
fn guarantees_are_what_the_test_says() {
    let sending = |guarantee: Option<Guarantee>, swallow: bool| {
        one_deviation().run(async move |world: &World| {
            if let Some(guarantee) = guarantee {
                world.allow("email.send", guarantee);
            }
            let sent = world.durable("sent", None);
            world.process("worker", move |p| {
                let (email, sent) = (p.email(), sent.clone());
                p.handle(async move |_: Order| {
                    match email.send(Email::new("ada@example.com", "hello")).await {
                        Ok(answer) => sent.set(Some(format!("{answer:?}"))),
                        Err(error) if !swallow => return Err(error),
                        Err(_) => {}
                    }
                    Ok::<(), ServiceError>(())
                });
            });
            world.ignore("sent", if swallow { "$" } else { "$.nothing" });
            world.enqueue(Order { id: 1 });
            world.settle().await;
        })
    };
    assert_eq!(sending(None, false).verdict(), Verdict::Violated);
    // It makes no difference which of the two emails' ids the state holds.
    assert_green(&sending(Some(Guarantee::AtLeastOnce), false));
    assert_green(&sending(Some(Guarantee::Unchecked), true));
    assert_violated(
        &sending(Some(Guarantee::AtLeastOnce), true),
        "email.send never happened, expected once",
        "test job#1.1/email.send:call=unavailable",
    );
    assert_violated(
        &sending(Some(Guarantee::AtMostOnce), false),
        "email.send happened twice, expected once",
        "test job#1.1/email.send:happened=crash",
    );
}

#[test]
fn a_repeated_effect_does_not_shift_the_ids_of_others() {
    // The email may be repeated. The charge after it is saved with its id, which must be the same in every run.
    let report = one_deviation().run(async |world: &World| {
        world.allow("email", Guarantee::AtLeastOnce);
        let saved = world.durable("saved", None);
        world.process("worker", move |p| {
            let (email, payments, saved) = (p.email(), p.payments(), saved.clone());
            p.handle(async move |order: Order| {
                email.send(Email::new("ada@example.com", "hello")).await?;
                let charged = payments.charge(keyed(order.id)).await?;
                saved.set(Some(format!("{charged:?}")));
                Ok::<(), ServiceError>(())
            });
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert_green(&report);
}

#[test]
fn a_given_is_part_of_the_state_and_no_effect() {
    let sending = |given: bool, explore: &Explore| {
        explore.run(async move |world: &World| {
            if given {
                world.email().send(Email::new("ada@example.com", "hello")).await.unwrap();
            }
            world.durable("nothing", ());
            world.process("worker", |p| {
                let email = p.email();
                p.handle(async move |_: Order| {
                    if email.emails("ada@example.com", "hello").await?.is_empty() {
                        email.send(Email::new("ada@example.com", "hello")).await?;
                    }
                    Ok::<(), ServiceError>(())
                });
            });
            world.enqueue(Order { id: 1 });
            world.settle().await;
            assert_eq!(world.email().records().len(), 1);
        })
    };
    assert_green(&sending(true, &one_deviation()));
    // For crashes and lost replies alone, checking before sending is enough. Two concurrent deliveries both find
    // nothing.
    assert_green(&sending(false, &one_deviation().deliveries(0)));
    let overtaken = "test job#1.1/email.emails:pause=past-lease";
    let report = sending(false, &one_deviation());
    assert_eq!(report.violations()[0].scenario.to_string(), overtaken, "{report}");
}

#[test]
fn the_users_own_checks_count() {
    let checking = |most: u32| {
        one_deviation().run(async move |world: &World| {
            let count = world.durable("count", 0_u32);
            world.invariant("count", {
                let count = count.clone();
                move |_: &World| assert!(count.get() <= most, "counted past {most}")
            });
            world.ignore("count", "$");
            world.process("worker", {
                let count = count.clone();
                move |p| {
                    let count = count.clone();
                    p.handle(async move |_: Order| count.update(|count| *count += 1));
                }
            });
            world.enqueue(Order { id: 1 });
            world.settle().await;
            assert!(count.get() < 3, "counted thrice");
        })
    };
    assert_green(&checking(2));
    let report = checking(1);
    assert_eq!(report.violations()[0].oracle, Oracle::Body, "{report}");
    has_line(
        &report.violations()[0].summary,
        expect!["the invariant `count` does not hold at tests/it/checks/oracles.rs:…: counted past 1"],
    );
    assert_eq!(report.violations()[0].scenario.to_string(), "test job#1.1:end=crash");
}

#[test]
fn what_is_ignored_is_not_compared_and_what_is_not_is() {
    let stamped = |ignored: &'static str| {
        one_deviation().run(async move |world: &World| {
            world.ignore("order", ignored);
            let order = world.durable("order", serde_json::json!({}));
            world.process("worker", move |p| {
                let (worker, order) = (p.incarnation(), order.clone());
                p.handle(async move |_: Order| {
                    order.set(serde_json::json!({"paid": true, "paid_by": worker}));
                });
            });
            world.enqueue(Order { id: 1 });
            world.settle().await;
        })
    };
    assert_green(&stamped("$.paid_by"));
    assert_violated(&stamped("$.paid"), "order.paid_by is", "test job#1.1:start=crash");
}

#[test]
fn an_enqueue_that_is_not_repeatable_and_one_that_is() {
    let chained = |key: bool| {
        explore(&one_deviation(), move |p| {
            let (queue, payments) = (p.queue(), p.payments());
            p.handle(async move |order: Order| queue.enqueue(order.id).await.map(drop));
            p.handle(async move |id: u32| {
                payments.charge(if key { keyed(id) } else { unkeyed(id) }).await.map(drop)
            });
        })
    };
    assert_green(&chained(true));
    let report = chained(false);
    assert_violated(&report, TWICE, "test job#1.1/queue.enqueue:call=reply-lost");
}

#[test]
fn an_enqueue_whose_failure_is_swallowed() {
    let report = explore(&one_deviation(), |p| {
        let (queue, payments) = (p.queue(), p.payments());
        p.handle(async move |order: Order| {
            let _ = queue.enqueue(order.id).await;
        });
        p.handle(async move |id: u32| payments.charge(keyed(id)).await.map(drop));
    });
    let scenario = "test job#1.1/queue.enqueue:call=refused";
    assert_violated(&report, "payments.charge never happened, expected once", scenario);
    // The missing job adds nothing to that.
    assert_eq!(report.violations().len(), 1, "{report}");
}

#[test]
fn retries_come_when_their_backoff_is_over() {
    let report = Explore::new().name("test").deviations(0).run(async |world: &World| {
        let times = world.durable("times", Vec::new());
        world.process("worker", {
            let times = times.clone();
            move |p| {
                let (clock, times) = (p.clock(), times.clone());
                p.handle(async move |_: Order| {
                    times.update(|times| times.push(clock.now()));
                    if times.get().len() < 4 { Err("not yet") } else { Ok(()) }
                })
                .backoff(Backoff::Constant(Duration::from_secs(7)));
            }
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
        assert_eq!(times.get(), [0, 7, 14, 21].map(Duration::from_secs));
    });
    assert_green(&report);
    has_line(&report, expect!["note: job#1 Order fails 3 times even in the fault-free run: not yet"]);
}

#[test]
fn a_check_of_the_users_own_is_made_after_each_step() {
    let report = Explore::new().name("test").deviations(0).run(async |world: &World| {
        let half = world.durable("half", false);
        let seen = half.clone();
        world.invariant("nothing is half done", move |_| assert!(!seen.get(), "half done"));
        world.process("worker", move |p| {
            let (clock, half) = (p.clock(), half.clone());
            p.handle(async move |_: Order| {
                half.set(true);
                clock.yield_now().await;
                half.set(false);
            });
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert_eq!((report.runs(), report.violations().len()), (1, 1), "{report}");
    has_line(
        &report.violations()[0].summary,
        expect![
            "the invariant `nothing is half done` does not hold at tests/it/checks/oracles.rs:…: half done"
        ],
    );
}
