//! What may go wrong besides crashes, faults and other orders: other processes, standing still, late replies, silence,
//! and what goes on failing. Each job that is wrong stands beside its mended twin.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use expect_test::expect;
use retryproof::service::email::Email;
use retryproof::{Explore, Process, Report, ServiceError, World};

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
    // The first job tells the address, the second one changes it, the third one mails. Whoever keeps it in memory mails to
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
        "email.send happened with another content or key than expected",
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
    has_line(&report, expect!["job#1 u32 1 · attempt 2 on two"]);
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

/// Two jobs that add to a balance, under a lock that lives for half a minute. Nobody is handed out a second time.
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
            });
        });
        world.enqueue_bulk([1_u32, 10]);
        world.settle().await;
    })
}

#[test]
fn a_worker_stands_still_until_its_lock_has_expired() {
    let report = adding(false);
    let scenario = "test job#1.1/store.get:stall=past-second-deadline";
    assert_violated(&report, "the state `store` differs from the fault-free run, at $.balance", scenario);
    has_line(
        &report,
        expect!["✗ stands still here until a second thing that expires, or a second timer, is over"],
    );
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
    let unexpected = "email.send happened and should not have";
    assert_violated(&report, unexpected, "test job#1.1/payments.charge:reply=late");
    has_line(&report, expect!["✗ the reply to payments.charge comes an hour late"]);
    has_line(
        &report,
        expect!["payments.charge (tests/it/checks/deviations.rs:…) had happened, and is dropped before its"],
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
        expect!["queue.enqueue (tests/it/checks/deviations.rs:…) is dropped, and has not happened"],
    );
    assert_green(&enqueuing_in_time(true));
}

/// A job that tries to enqueue the next one so many times.
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
    has_line(&report, expect!["✗ queue.enqueue fails again, as the next ones of this attempt will"]);
    assert_green(&enqueuing(3, true));
    // Who tries for as long as it takes has an answer some time.
    assert_green(&enqueuing(u32::MAX, false));
}
