//! Requests: calls by clients that a queue does not hand out again.

use super::*;
use retryproof::job::JobState;
use retryproof::store::Isolation;

type Failure = Box<dyn std::error::Error>;

/// One request, with one deviation.
fn requested(boot: impl Fn(&Process) + Clone + Sync + 'static, send: impl Fn(&World) + Sync) -> Report {
    judged(boot, send)
}

/// A web request that charges and notes it: in two steps, in one, or as the affair of a job.
#[derive(Clone, Copy, PartialEq)]
enum Checkout {
    TwoSteps,
    Swallowing,
    OneStep,
    ByJob,
}

fn checkout(how: Checkout) -> impl Fn(&Process) + Clone + Sync + 'static {
    move |p| {
        let (payments, store, queue) = (p.payments(), p.store(), p.queue());
        p.handle(async move |order: u32| {
            match how {
                Checkout::TwoSteps => {
                    payments.charge(charge(order)).await?;
                    store.put(format!("paid:{order}"), &true).await?;
                }
                Checkout::Swallowing => {
                    let _ = payments.charge(charge(order)).await;
                    store.put(format!("paid:{order}"), &true).await?;
                }
                Checkout::OneStep => drop(payments.charge(charge(order)).await?),
                Checkout::ByJob => drop(queue.enqueue(format!("order {order}")).await?),
            }
            Ok::<(), Failure>(())
        });
        let (payments, store) = (p.payments(), p.store());
        p.handle(async move |order: String| {
            payments.charge(charge(6).key(&*order)).await?;
            store.put("paid:6", &true).await?;
            Ok::<(), Failure>(())
        });
    }
}

#[test]
fn a_request_may_fail_and_may_be_lost_but_is_not_half_done() {
    let send = |world: &World| _ = world.request(6_u32);
    let report = requested(checkout(Checkout::TwoSteps), send);
    assert_red(&report, Code::GaveUpHalfWay, "payments.charge happened, but store.paid:6 is missing");
    let paths = || report.violations().iter().flat_map(|violation| &violation.paths);
    assert!(paths().any(|path| path.scenario.to_string().ends_with("=crash")), "{report}");
    assert_red(
        &requested(checkout(Checkout::Swallowing), send),
        Code::MissingAfterError,
        "payments.charge never happened",
    );
    assert_green(&requested(checkout(Checkout::OneStep), send));
    assert_green(&requested(checkout(Checkout::ByJob), send));
    // A job that charges without a key is handed out again; a request is not.
    let report = requested(checkout(Checkout::OneStep), |world| _ = world.enqueue(6_u32));
    assert_red(&report, Code::RepeatedAfterError, "payments.charge happened twice, expected once");
}

/// Another request, or a job, is not excused by one that was lost.
#[test]
fn a_request_that_was_lost_excuses_nobody_else() {
    let explore = |swallows: bool| {
        let explore = Explore::new().name("test").deviations(2).deliveries(0).preemptions(0);
        with(
            &explore,
            move |p| {
                let payments = p.payments();
                p.handle(async move |order: u32| payments.charge(charge(order)).await.map(drop));
                let parcels = p.fulfillment();
                p.handle(async move |key: String| match parcels.request(parcel(&key)).await {
                    Err(error) if !swallows => Err(error),
                    _ => Ok(()),
                });
            },
            |world| {
                world.request(6_u32);
                world.enqueue("m".to_owned());
            },
        )
    };
    assert_red(&explore(true), Code::MissingAfterError, "fulfillment.request never happened");
    assert_green(&explore(false));
}

/// The retry settings of a handler are about jobs.
#[test]
fn no_queue_tries_a_request_again() {
    let attempts = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = attempts.clone();
    let report = Explore::new().name("test").deviations(1).run(async move |world: &World| {
        world.store();
        world.process("web", |p| {
            let payments = p.payments();
            p.handle(async move |order: u32| payments.charge(charge(order)).await.map(drop))
                .max_retries(5)
                .decide(|_| panic!("a request is no job"));
            p.on_death(|_| panic!("a request does not die"));
        });
        world.request(6_u32);
        world.settle().await;
        let job = &world.all_jobs()[0];
        seen.lock().unwrap().push((job.state, job.attempts));
    });
    assert_green(&report);
    let mut seen = attempts.lock().unwrap().clone();
    seen.sort();
    seen.dedup();
    assert_eq!(seen, [(JobState::Done, 1), (JobState::Lost, 1), (JobState::Discarded, 1)], "{report}");
}

/// A form that is sent again when its answer does not come, and a deduplication by a key or by none.
fn sent_again(has_key: bool, retries: usize) -> Report {
    requested(
        move |p| {
            let payments = p.payments();
            p.handle(async move |order: u32| {
                let charge = charge(order);
                payments.charge(if has_key { charge.key(format!("order-{order}")) } else { charge }).await
            });
        },
        move |world| _ = world.request(6_u32).client_retries(retries),
    )
}

#[test]
fn a_client_that_repeats_a_request_charges_once() {
    let report = sent_again(false, 1);
    assert_red(&report, Code::RepeatedAfterError, "payments.charge happened twice, expected once");
    // A crash, and an answer that is lost or late, have the client come again.
    let paths: Vec<_> = report.violations()[0].paths.iter().map(|path| path.scenario.to_string()).collect();
    for way in ["happened=crash", ":ack=again", ":pause=past-lease"] {
        assert!(paths.iter().any(|path| path.contains(way)), "{way}: {paths:?}\n{report}");
    }
    assert_green(&sent_again(false, 0));
    for retries in [1, 2] {
        assert_green(&sent_again(true, retries));
    }
}

/// A customer who corrects the amount: the key is that of the order, or of the body.
fn corrected(by_order: bool) -> Report {
    requested(
        move |p| {
            let (payments, store) = (p.payments(), p.store());
            p.handle(async move |(order, amount): (u32, u64)| {
                let key = if by_order { format!("{order}") } else { format!("{order}-{amount}") };
                // The first body decides the amount.
                let amount = match by_order {
                    true => {
                        let row = format!("amount:{order}");
                        store.set_if_absent(&row, &amount, None).await?;
                        store.get::<u64>(&row).await?.expect("it is there now").value
                    }
                    false => amount,
                };
                payments.charge(Charge::of_order(order, amount).key(key)).await?;
                Ok::<(), Failure>(())
            });
        },
        |world| _ = world.request((6_u32, 500_u64)).client_retries_with([(6, 600)]),
    )
}

#[test]
fn a_client_that_repeats_a_request_with_another_body_is_charged_for_one_of_them() {
    let report = corrected(false);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert!(
        report.violations().iter().any(|v| v.effect.as_deref() == Some("payments.charge")),
        "charged for both bodies: {report}"
    );
    assert_green(&corrected(true));
}

/// The order is one row, and the last form that arrives wins: with another body that is another row, which is right.
#[test]
fn either_body_may_be_what_has_happened() {
    let explore = |adds: bool| {
        requested(
            move |p| {
                let store = p.store();
                p.handle(async move |amount: i64| match adds {
                    true => store.incr("amount", amount).await.map(drop),
                    false => store.put("amount", &amount).await,
                });
            },
            |world| _ = world.request(500_i64).client_retries_with([600]),
        )
    };
    let report = explore(true);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert!(report.to_string().contains("1100"), "{report}");
    assert_green(&explore(false));
}

/// An interleaving may make a request fail, and its client learns of it. Half of it is still half.
#[test]
fn a_request_may_lose_a_race() {
    let explore = |first_notes: bool| {
        with(
            &Explore::new().name("test").deviations(1).crashes(0).faults(0).deliveries(0),
            move |p| {
                let store = p.store();
                p.handle(async move |number: u32| {
                    if first_notes {
                        store.put(format!("seen:{number}"), &true).await?;
                    }
                    let mut tx = store.transaction(Isolation::Serializable).await;
                    let sum = tx.get::<u32>("sum").await?.map_or(0, |row| row.value);
                    tx.put("sum", &(sum + number)).await?;
                    tx.commit().await
                });
                p.slots(2);
            },
            |world| {
                world.request(1_u32);
                world.request(2_u32);
            },
        )
    };
    assert_green(&explore(false));
    assert_red(&explore(true), Code::GaveUpHalfWay, "gave up halfway");
}

/// A deploy cuts a request off.
#[test]
fn a_request_that_a_deploy_cuts_off_is_lost() {
    let explore = |in_one_step: bool| {
        Explore::new().name("test").deviations(1).faults(0).deliveries(0).run(async move |world: &World| {
            world.explore_deploys();
            world.store();
            world.process("web", move |p| {
                let (store, payments, clock) = (p.store(), p.payments(), p.clock());
                p.handle(async move |order: u32| {
                    if !in_one_step {
                        store.put("begun", &true).await?;
                    }
                    clock.sleep(HOUR).await;
                    payments.charge(charge(order)).await?;
                    Ok::<(), Failure>(())
                });
            });
            world.request(6_u32);
            world.settle().await;
        })
    };
    assert_green(&explore(true));
    assert_red(&explore(false), Code::GaveUpHalfWay, "gave up halfway");
}

#[test]
fn in_an_ordinary_test_a_request_runs_like_a_job_and_may_fail() {
    let world = World::inline();
    world.process("web", |p| {
        p.handle(async |order: u32| if order == 6 { Ok(()) } else { Err("sold out") });
    });
    world.request(6_u32);
    world.request(7_u32).client_retries(1);
    let states: Vec<_> = world.all_jobs().iter().map(|job| job.state).collect();
    assert_eq!(states, [JobState::Done, JobState::Popped]);
}
