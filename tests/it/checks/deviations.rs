//! Deviations besides crashes, faults and preemptions: other processes, stalls, late replies, timeouts, and calls that keep
//! failing. Each bad job has a good twin.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use expect_test::expect;
use retryproof::service::email::Email;
use retryproof::{Backoff, Explore, Process, Report, ServiceError, Verdict, World};

use super::{assert_green, assert_violated, keyed, one_deviation, unkeyed};
use crate::support::has_line;

const S: Duration = Duration::from_secs(1);
const TWICE: &str = "payments.charge happened twice, expected once";

/// Two processes alike, and some jobs of a number.
fn in_two(explore: &Explore, jobs: &[u32], boot: impl Fn(&Process) + Clone + Sync + 'static) -> Report {
    explore.run(async |world: &World| {
        for name in ["one", "two"] {
            world.process(name, boot.clone());
        }
        for job in jobs {
            world.enqueue(*job);
            world.settle().await;
        }
    })
}

#[test]
fn input_8_which_process_takes_a_job_is_a_choice() {
    // The first job tells the address, the second one changes it, the third one mails. A process that keeps it in memory mails to
    // the old one, if another process has changed it.
    let mailing = |cached: bool| {
        in_two(&one_deviation().crashes(0).faults(0).deliveries(0), &[1, 2, 3], move |p| {
            let (store, email) = (p.store(), p.email());
            let cache = Rc::new(RefCell::new(None));
            p.handle(async move |job: u32| {
                if job == 2 {
                    let new = "new@example.com".to_owned();
                    store.put("address", &new).await?;
                    *cache.borrow_mut() = Some(new);
                    return Ok::<_, Box<dyn std::error::Error>>(());
                }
                let known = cache.borrow().clone().filter(|_| cached);
                let address = match known {
                    Some(known) => known,
                    None => {
                        let row = store.get::<String>("address").await?;
                        row.map_or("old@example.com".to_owned(), |row| row.value)
                    }
                };
                *cache.borrow_mut() = Some(address.clone());
                email.send(Email::new(address, format!("mail-{job}"))).await?;
                Ok(())
            });
        })
    };
    let report = mailing(true);
    assert_violated(
        &report,
        "email.send happened with different content or a different key than expected",
        "test job#2.1:take=other",
    );
    has_line(&report, expect!["✗ two takes the job"]);
    assert_green(&mailing(false));
}

#[test]
fn input_6_a_mutex_in_each_process_guards_nothing() {
    let looking = |is_keyed: bool| {
        in_two(&one_deviation(), &[1], move |p| {
            let payments = p.payments();
            let mutex = Rc::new(tokio::sync::Mutex::new(()));
            p.handle(async move |order: u32| {
                let _alone = mutex.lock().await;
                if payments.charges(order).await?.is_empty() {
                    let charge = if is_keyed { keyed(order) } else { unkeyed(order) };
                    payments.charge(charge).await?;
                }
                Ok::<_, ServiceError>(())
            });
        })
    };
    let report = looking(false);
    assert_violated(&report, TWICE, "test job#1.1/payments.charges:pause=past-lease");
    has_line(&report, expect!["t+60s     job#1 u32 1 · attempt 2 on two"]);
    assert_green(&looking(true));
}

#[test]
fn a_second_delivery_goes_to_the_same_process_by_a_choice() {
    // A mutex that both attempts share does its work where the second one comes to the same process.
    let mutex = || {
        move |p: &Process| {
            let payments = p.payments();
            let mutex = Rc::new(tokio::sync::Mutex::new(()));
            p.handle(async move |order: u32| {
                let _alone = mutex.lock().await;
                if payments.charges(order).await?.is_empty() {
                    payments.charge(unkeyed(order)).await?;
                }
                Ok::<_, ServiceError>(())
            });
        }
    };
    let replay = |scenario: &str| {
        one_deviation().replay(scenario).run(async |world: &World| {
            world.process("worker", mutex());
            world.enqueue(1_u32);
            world.settle().await;
        })
    };
    let report = replay("test job#1.1/payments.charges:pause=past-lease");
    has_line(&report, expect!["t+60s     worker#2 starts, a fresh copy of worker"]);
    assert_eq!(report.violations().len(), 1, "{report}");
    let report = replay("test job#1.1/payments.charges:pause=past-lease job#1.2:take=other");
    assert_eq!((report.reason(), report.violations().len()), (None, 0), "{report}");
}

/// Two jobs that add to a balance, under a lock that lives for half a minute.
fn adding(is_fenced: bool) -> Report {
    one_deviation().crashes(0).faults(0).deliveries(0).run(async move |world: &World| {
        world.store().put("balance", &0_u32).await.unwrap();
        world.process("worker", move |p| {
            let store = p.store();
            p.handle(async move |amount: u32| -> Result<(), Box<dyn std::error::Error>> {
                if !store.set_if_absent("lock", &amount, 30 * S).await? {
                    return Err("locked".into());
                }
                let balance = store.get::<u32>("balance").await?.expect("it was put there");
                let sum = balance.value + amount;
                if !is_fenced {
                    store.put("balance", &sum).await?;
                } else if !store.compare_and_set("balance", balance.version, &sum).await? {
                    return Err("somebody else had the lock meanwhile".into());
                }
                store.delete_if("lock", &amount).await?;
                Ok(())
            })
            .backoff(Backoff::Constant(10 * S));
        });
        world.enqueue_bulk([1_u32, 10]);
        world.settle().await;
    })
}

#[test]
fn a_worker_stands_still_until_its_lock_has_expired() {
    let report = adding(false);
    let scenario = "test job#1.1/store.get:stall=past-next-deadline";
    assert_violated(&report, "store.balance is", scenario);
    has_line(&report, expect!["✗ the task stalls here until just past the next deadline"]);
    assert_green(&adding(true));
}

/// Two processes in which a loop books, under a lease that lives for half a minute.
fn booking(is_keyed: bool) -> Report {
    let settings = one_deviation().crashes(0).faults(0).deliveries(0).preemptions(0);
    settings.run(async move |world: &World| {
        for name in ["one", "two"] {
            world.process(name, move |p| {
                let (store, payments, clock) = (p.store(), p.payments(), p.clock());
                p.spawn("booker", async move {
                    while store.get::<bool>("booked").await?.is_none() {
                        if store.set_if_absent("lease", name, 30 * S).await?
                            && payments.charges(1).await?.is_empty()
                        {
                            payments.charge(if is_keyed { keyed(1) } else { unkeyed(1) }).await?;
                            store.put("booked", &true).await?;
                        }
                        clock.sleep(5 * S).await;
                    }
                    Ok::<_, Box<dyn std::error::Error>>(())
                });
            });
        }
        world.settle().await;
    })
}

#[test]
fn input_39_a_loop_stands_still_past_its_lease() {
    assert_violated(&booking(false), TWICE, "test one/booker/payments.charges:stall=past-second-deadline");
    assert_green(&booking(true));
}

/// A worker that takes a slot and says every ten seconds that it is alive, and a supervisor that gives back the slot of a
/// worker that has said nothing for a minute. The worker gives its slot back as well, in the fixed version only if
/// it still has it.
fn supervised(has_it_still: bool) -> Report {
    let settings = one_deviation().crashes(0).faults(0).deliveries(0).preemptions(0);
    settings.run(async move |world: &World| {
        world.store().put("free", &1_i64).await.unwrap();
        world.store().put("to do", &true).await.unwrap();
        world.process("worker", move |p| {
            let (store, clock) = (p.store(), p.clock());
            p.spawn("work", async move {
                if store.get::<bool>("to do").await?.is_some() {
                    store.incr("free", -1).await?;
                    store.put("slot", &true).await?;
                    for _ in 0..3 {
                        store.put("alive", &clock.now().as_secs()).await?;
                        clock.sleep(10 * S).await;
                    }
                    if store.delete("slot").await? || !has_it_still {
                        store.incr("free", 1).await?;
                    }
                    store.delete("to do").await?;
                }
                Ok::<_, Box<dyn std::error::Error>>(())
            });
        });
        world.process("supervisor", |p| {
            let (store, clock) = (p.store(), p.clock());
            p.spawn("look", async move {
                while store.get::<bool>("to do").await?.is_some() {
                    clock.sleep(15 * S).await;
                    let alive = store.get::<u64>("alive").await?;
                    let is_late = alive.is_some_and(|row| row.value + 60 < clock.now().as_secs());
                    if is_late && store.delete("slot").await? {
                        store.incr("free", 1).await?;
                    }
                }
                Ok::<_, Box<dyn std::error::Error>>(())
            });
        });
        world.settle().await;
        world.ignore("store", "$.alive");
    })
}

#[test]
fn input_15_a_slot_is_given_back_by_its_worker_and_by_the_supervisor() {
    let report = supervised(false);
    assert_violated(
        &report,
        "store.free is 2, expected 1",
        "test worker/work/store.put:stall=past-second-deadline",
    );
    // What the supervisor sees again and again is shown once.
    has_line(&report, expect!["… the same 3 more times, until t+60s"]);
    assert_green(&supervised(true));
}

/// A charge that is waited for a minute, and then taken for failed.
#[cfg(feature = "tokio")]
fn waiting_for_a_minute(is_retried: bool) -> Report {
    super::explore(&one_deviation(), move |p| {
        let (payments, email) = (p.payments(), p.email());
        p.handle(async move |order: super::Order| -> Result<(), Box<dyn std::error::Error>> {
            match tokio::time::timeout(60 * S, payments.charge(keyed(order.id))).await {
                Ok(charged) => drop(charged?),
                Err(late) if is_retried => return Err(late.into()),
                Err(_) => drop(email.send(Email::new("ada@example.com", "not-charged")).await?),
            }
            Ok(())
        });
    })
}

#[cfg(feature = "tokio")]
#[test]
fn a_call_that_succeeds_late_has_been_dropped_by_then() {
    let report = waiting_for_a_minute(false);
    let unexpected = "email.send happened, but happens in no fault-free run";
    assert_violated(&report, unexpected, "test job#1.1/payments.charge:reply=late");
    has_line(&report, expect!["✗ the reply to payments.charge comes an hour late"]);
    has_line(
        &report,
        expect!["t+60s       payments.charge (tests/it/checks/deviations.rs:…) had happened, and is dropped"],
    );
    assert_green(&waiting_for_a_minute(true));
}

/// A job that enqueues the next one, and waits for the queue for five seconds.
#[cfg(feature = "tokio")]
fn enqueuing_in_time(is_told: bool) -> Report {
    super::explore(&one_deviation(), move |p| {
        let (payments, queue) = (p.payments(), p.queue());
        p.handle(async move |_: super::Order| -> Result<(), Box<dyn std::error::Error>> {
            match tokio::time::timeout(5 * S, queue.enqueue(7_u32)).await {
                Ok(enqueued) => drop(enqueued?),
                Err(late) if is_told => return Err(late.into()),
                Err(_) => {}
            }
            Ok(())
        });
        p.handle(async move |order: u32| payments.charge(keyed(order)).await.map(drop));
    })
}

#[cfg(feature = "tokio")]
#[test]
fn input_10_an_enqueue_that_is_not_answered_in_time() {
    let report = enqueuing_in_time(false);
    let never = "payments.charge never happened, expected once";
    assert_violated(&report, never, "test job#1.1/queue.enqueue:call=timed-out");
    has_line(&report, expect!["✗ queue.enqueue does not answer in time; nothing has happened"]);
    has_line(
        &report,
        expect![
            "t+5s        queue.enqueue (tests/it/checks/deviations.rs:…) is dropped, and has not happened"
        ],
    );
    assert_green(&enqueuing_in_time(true));
}

/// A job that tries to enqueue the next one a number of times.
fn enqueuing(tries: u32, is_told: bool) -> Report {
    super::explore(&Explore::new().name("test"), move |p| {
        let (payments, queue, clock) = (p.payments(), p.queue(), p.clock());
        p.handle(async move |_: super::Order| {
            let mut enqueued = Ok(());
            for _ in 0..tries {
                enqueued = queue.enqueue(7_u32).await.map(drop);
                if enqueued.is_ok() {
                    break;
                }
                clock.sleep(S).await;
            }
            if is_told { enqueued } else { Ok(()) }
        });
        p.handle(async move |order: u32| payments.charge(keyed(order)).await.map(drop));
    })
}

#[test]
fn input_36_what_is_refused_again_and_again() {
    let report = enqueuing(3, false);
    let never = "payments.charge never happened, expected once";
    let scenario = "test job#1.1/queue.enqueue:call=refused job#1.1/queue.enqueue:call~2=still-refused";
    assert_violated(&report, never, scenario);
    has_line(
        &report,
        expect!["t+1s        ✗ queue.enqueue fails again, as the next ones of this attempt will"],
    );
    assert_green(&enqueuing(3, true));
    // A job that tries until it succeeds does succeed.
    assert_green(&enqueuing(u32::MAX, false));
}

/// A job that puts a row and looks for it at once, and mails only if it is there.
fn joined(explore: &Explore, is_in_order: bool) -> Report {
    super::explore(explore, move |p| {
        let (store, email) = (p.store(), p.email());
        p.handle(async move |order: super::Order| -> Result<(), Box<dyn std::error::Error>> {
            let key = format!("order:{}", order.id);
            let found = if is_in_order {
                store.put(key.clone(), &true).await?;
                store.get::<bool>(key).await?
            } else {
                let (put, found) = futures_util::join!(store.put(key.clone(), &true), store.get::<bool>(key));
                put?;
                found?
            };
            if found.is_some() {
                email.send(Email::new("ada@example.com", "paid")).await?;
            }
            Ok(())
        });
    })
}

#[test]
fn input_9_calls_made_side_by_side_take_effect_in_any_order() {
    let settings = one_deviation().crashes(0).faults(0).deliveries(0);
    let report = joined(&settings, false);
    assert_violated(
        &report,
        "email.send never happened, expected once",
        "test job#1.1/store.put:sent=behind",
    );
    has_line(&report, expect!["✗ store.put takes effect after the calls that are made beside it"]);
    assert_green(&joined(&settings, true));
    // A call that is made alone has no such choice: none of the three calls, and nothing else is left to deviate.
    assert_eq!(joined(&settings, true).runs(), 1);
    // Two calls beside each other, one of them behind.
    assert_eq!(joined(&settings, false).runs(), 1 + 2);
}

/// A job of two steps, of which the second one is another job, and a sweeper that enqueues it once more if it is missing.
fn two_steps(explore: &Explore, is_swept: bool) -> Report {
    explore.run(async move |world: &World| {
        world.explore_lost_jobs();
        world.process("worker", move |p| {
            let (store, queue, payments) = (p.store(), p.queue(), p.payments());
            let (swept, enqueues) = (p.store(), p.queue());
            p.handle(async move |order: super::Order| queue.enqueue(order.id).await.map(drop));
            p.handle(async move |order: u32| -> Result<(), Box<dyn std::error::Error>> {
                payments.charge(keyed(order)).await?;
                store.put("paid", &true).await?;
                Ok(())
            });
            p.handle(async move |_: u8| -> Result<(), Box<dyn std::error::Error>> {
                if swept.get::<bool>("paid").await?.is_none() {
                    enqueues.enqueue(1_u32).await?;
                    return Err("look once more".into());
                }
                Ok(())
            })
            .max_retries(100);
        });
        world.enqueue(super::Order { id: 1 });
        if is_swept {
            world.enqueue_in(3_600 * S, 0_u8);
        }
        world.settle().await;
    })
}

#[test]
fn input_40_a_queue_that_loses_what_it_has_accepted() {
    let settings = one_deviation().crashes(0).deliveries(1);
    let report = two_steps(&settings, false);
    let never = "payments.charge never happened, expected once";
    assert_violated(&report, never, "test job#1.1/queue.enqueue:call=accepted-but-lost");
    has_line(&report, expect!["✗ queue.enqueue is answered, but the queue loses the job"]);
    let report = two_steps(&settings, true);
    assert_green(&report);
}

/// A job, and how often it may be received.
fn received(most: Option<u32>, asks: bool) -> Report {
    one_deviation().run(async move |world: &World| {
        if asks {
            world.explore_poison_jobs();
        }
        world.process("worker", move |p| {
            let payments = p.payments();
            let handler = p.handle(async move |order: u32| payments.charge(keyed(order)).await.map(drop));
            if let Some(most) = most {
                handler.max_receives(most);
            }
        });
        world.enqueue(1_u32);
        world.settle().await;
    })
}

#[test]
fn input_35_a_poison_job_is_retried_forever_unless_its_receives_are_counted() {
    let report = received(None, true);
    assert_eq!(report.verdict(), Verdict::Stuck, "{report}");
    assert!(report.to_string().contains("job#1.1:start=poison"), "{report}");
    has_line(
        &report,
        expect!["✗ the process crashes here, before the first line of the job, and does so in every"],
    );
    // With a limit it ends in the dead set, having done nothing.
    let report = received(Some(5), true);
    assert_green(&report);
    // As one charge (12), and the poison.
    assert_eq!(report.runs(), 1 + 12 + 1);
    // A queue that counts is asked by default. What is not asked is named.
    assert_eq!(received(Some(5), false).runs(), 1 + 12 + 1);
    let report = received(None, false);
    assert_eq!(report.runs(), 1 + 12);
    has_line(&report, expect!["not explored: jobs that crash every worker (`world.explore_poison_jobs()`)"]);
}

#[test]
#[should_panic(expected = "`max_receives` needs at least 1")]
fn a_job_that_may_never_be_received() {
    World::fake().process("worker", |p| {
        p.handle(async |_: u32| ()).max_receives(0);
    });
}

#[test]
fn outages_that_end_and_those_that_do_not_are_asked_for_apart() {
    let runs = |ask: fn(&World)| {
        let report = one_deviation().crashes(0).deliveries(0).run(async move |world: &World| {
            ask(world);
            world.process("worker", |p| {
                let payments = p.payments();
                p.handle(async move |order: u32| payments.charge(keyed(order)).await.map(drop));
            });
            world.enqueue(1_u32);
            world.settle().await;
        });
        let note = "outages that never end (`explore_outages_for_ever` of the service)";
        (report.runs(), report.to_string().contains(note))
    };
    // Five faults of a charge.
    assert_eq!(runs(|_| ()), (1 + 5, false));
    assert_eq!(runs(|world| _ = world.payments().explore_outages(S)), (1 + 6, true));
    assert_eq!(runs(|world| _ = world.payments().explore_outages_for_ever()), (1 + 6, false));
    let both = |world: &World| _ = world.payments().explore_outages(S).explore_outages_for_ever();
    assert_eq!(runs(both), (1 + 7, false));
}

/// A job that takes a minute, under a lease of half a minute.
fn slow(explore: &Explore, is_extended: bool) -> Report {
    super::explore(explore, move |p| {
        let (queue, clock, payments) = (p.queue(), p.clock(), p.payments());
        p.handle(async move |order: super::Order| -> Result<(), Box<dyn std::error::Error>> {
            for _ in 0..3 {
                clock.sleep(20 * S).await;
                if is_extended {
                    queue.extend_lease(30 * S).await?;
                }
            }
            payments.charge(keyed(order.id)).await?;
            Ok(())
        })
        .lease(30 * S);
    })
}

#[test]
fn a_lease_is_counted_from_the_receipt_and_a_heartbeat_extends_it() {
    let report = slow(&one_deviation(), false);
    assert_eq!(report.verdict(), Verdict::Stuck, "{report}");
    has_line(
        &report,
        expect![
            "50 attempts of job#1 Order took longer than its lease of 30s, and no end: set a longer `.lease(…)`, extend it during the work (`extend_lease`), or limit the deliveries (`.max_receives(…)`)"
        ],
    );
    assert_green(&slow(&Explore::new().name("test"), true));
}

#[test]
fn a_lease_that_cannot_be_extended() {
    let world = World::fake();
    world.process("worker", |p| {
        let queue = p.queue();
        p.handle(async move |_: u32| queue.extend_lease(S).await);
    });
    world.enqueue(1_u32);
    let failed = world.drain_all().run().unwrap_err().to_string();
    let error = "u32 has no lease to extend; set one where it is handled, with `.lease(…)`";
    assert!(failed.contains(error), "{failed}");
}

#[test]
#[should_panic(expected = "a lease of no time is over before the job begins")]
fn a_lease_of_no_time() {
    World::fake().process("worker", |p| {
        p.handle(async |_: u32| ()).lease(Duration::ZERO);
    });
}
