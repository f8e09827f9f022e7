//! Only orders that a run itself allows excuse its outcome.

use super::*;
use crate::support::line_of;
use expect_test::expect;
use retryproof::{Guarantee, StoreError, service::ServiceError};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Create(u32);
#[derive(Serialize, Deserialize)]
struct Welcome(u32);
#[derive(Serialize, Deserialize)]
struct Confirm(u32);
#[derive(Serialize, Deserialize)]
struct Cancel(u32);

/// Input 1: a mail to an existing user, whose error is swallowed or returned.
fn welcoming(swallows: bool) -> Report {
    judged(
        move |p| {
            let store = p.store();
            p.handle(async move |user: Create| store.put(format!("user:{}", user.0), &true).await);
            let (store, email) = (p.store(), p.email());
            p.handle(async move |user: Welcome| {
                if store.get::<bool>(format!("user:{}", user.0)).await.map_err(|e| e.to_string())?.is_none() {
                    return Ok::<_, String>(());
                }
                let claim = format!("sent:{}", user.0);
                if swallows {
                    if store.set_if_absent(&claim, &true, None).await.map_err(|e| e.to_string())? {
                        let _ = email.send(mail("u@example.com")).await;
                    }
                    return Ok(());
                }
                if store.get::<bool>(&claim).await.map_err(|e| e.to_string())?.is_none() {
                    if email.emails("u@example.com", "hello").await.map_err(|e| e.to_string())?.is_empty() {
                        email.send(mail("u@example.com")).await.map_err(|e| e.to_string())?;
                    }
                    store.put(&claim, &true).await.map_err(|e| e.to_string())?;
                }
                Ok(())
            });
        },
        |world| {
            // Checking before sending is not a claim: a second delivery may check at the same time.
            world.allow("email.send", Guarantee::AtLeastOnce);
            world.enqueue(Create(1));
            world.enqueue(Welcome(1));
        },
    )
}

#[test]
fn input_1_an_order_that_contradicts_the_run_is_no_excuse() {
    assert_red(&welcoming(true), Code::MissingAfterError, "email.send never happened");
    assert_green(&welcoming(false));
}

/// Input 2: what a later job undoes must have been done.
fn confirming(swallows: bool, delay: Duration) -> Report {
    judged(
        move |p| {
            let (email, store) = (p.email(), p.store());
            p.handle(async move |order: Confirm| {
                let key = format!("cancelled:{}", order.0);
                if store.get::<bool>(key).await.map_err(|e| e.to_string())?.is_some() {
                    return Ok(());
                }
                if !email.emails("u@example.com", "hello").await.map_err(|e| e.to_string())?.is_empty() {
                    return Ok(());
                }
                match email.send(mail("u@example.com")).await {
                    Err(error) if !swallows => Err(error.to_string()),
                    _ => Ok(()),
                }
            });
            let store = p.store();
            p.handle(async move |order: Cancel| store.put(format!("cancelled:{}", order.0), &true).await);
        },
        move |world| {
            world.enqueue(Confirm(1));
            world.enqueue_in(delay, Cancel(1));
        },
    )
}

#[test]
fn input_2_a_job_due_in_an_hour_does_not_come_before_one_that_is_done_now() {
    assert_red(&confirming(true, HOUR), Code::MissingAfterError, "email.send never happened");
}

/// The same, if the second job comes after a `settle` that saw the end of the first.
fn one_after_the_other(settles: bool, swallows: bool) -> Report {
    Explore::new().name("test").deviations(1).crashes(0).deliveries(0).run(async move |world: &World| {
        world.store();
        world.process("worker", move |p| {
            let (store, email) = (p.store(), p.email());
            p.handle(async move |_: Welcome| {
                if store.get::<bool>("closed").await.map_err(|e| e.to_string())?.is_some() {
                    return Ok(());
                }
                match email.emails("u@example.com", "hello").await {
                    Ok(sent) if !sent.is_empty() => return Ok(()),
                    Err(error) if !swallows => return Err(error.to_string()),
                    _ => {}
                }
                match email.send(mail("u@example.com")).await {
                    Err(error) if !swallows => Err(error.to_string()),
                    _ => Ok(()),
                }
            });
            let store = p.store();
            p.handle(async move |_: Cancel| store.put("closed", &true).await);
        });
        world.enqueue(Welcome(1));
        if settles {
            world.settle().await;
        }
        world.enqueue(Cancel(1));
        world.settle().await;
    })
}

#[test]
fn what_the_test_enqueues_after_a_settle_comes_later() {
    assert_red(&one_after_the_other(true, true), Code::MissingAfterError, "email.send never happened");
    assert_green(&one_after_the_other(true, false));
}

/// A parent writes what its child reads.
fn parent_and_child(swallows: bool) -> Report {
    judged(
        move |p| {
            let (store, queue) = (p.store(), p.queue());
            p.handle(async move |order: Create| {
                queue.enqueue(Welcome(order.0)).await.map_err(|error| error.to_string())?;
                store.put("row", &order.0).await.map_err(|error| error.to_string())
            });
            let (store, parcels) = (p.store(), p.fulfillment());
            p.handle(async move |_: Welcome| {
                let row = store.get::<u32>("row").await;
                match row {
                    Ok(Some(_)) => {}
                    Ok(None) if swallows => return Ok(()),
                    Ok(None) => return Err("not there yet".to_owned()),
                    Err(error) => return Err(error.to_string()),
                }
                parcels.request(parcel("welcome")).await.map_err(|e| e.to_string())?;
                Ok(())
            });
        },
        |world| {
            world.enqueue(Create(1));
        },
    )
}

#[test]
fn a_child_does_not_come_before_its_parent() {
    let report = parent_and_child(true);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    // A part: the report may lead with any of the parcels.
    assert!(
        report.violations().iter().any(|v| v.summary.contains("fulfillment.request never happened")),
        "{report}"
    );
}

/// Input 22: jobs that write the same row.
fn writers(count: u32) -> Report {
    judged(
        |p| {
            let store = p.store();
            p.handle(async move |number: u32| store.put("row", &number).await);
        },
        move |world| {
            world.enqueue_bulk(1..=count);
        },
    )
}

#[test]
fn input_22_seven_jobs_that_write_the_same_row_are_right() {
    for count in [2, 7, 12] {
        assert_green(&writers(count));
    }
}

#[test]
fn an_order_that_ends_otherwise_is_told() {
    let report = writers(2).to_string();
    expect!["note: in 12 runs, `u32 2` came before `u32 1`, and the outcome differed: store.row = 1, not 2; if that is wrong, order the jobs or assert on the outcome"].assert_eq(line_of(&report, "came before"));
}

/// Jobs that overlap and add to a number, atomically or not.
fn adding(atomic: bool) -> Report {
    with(
        &Explore::new().name("test").deviations(1).crashes(0).faults(0).deliveries(0),
        move |p| {
            let store = p.store();
            p.handle(async move |number: i64| {
                if atomic {
                    store.incr("sum", number).await?;
                    return Ok(());
                }
                let sum = store.get::<i64>("sum").await?.map_or(0, |row| row.value);
                store.put("sum", &(sum + number)).await?;
                Ok::<_, StoreError>(())
            });
            p.slots(3);
        },
        |world| {
            world.enqueue_bulk([1_i64, 2, 4]);
        },
    )
}

#[test]
fn a_lost_update_is_that_of_no_order() {
    assert_red(&adding(false), Code::StateWhenJobsCross, "store.");
    assert_green(&adding(true));
}

/// A worker that stalls past its lease writes after its job has ended, and the job that it enqueued, too.
fn zombie(guarded: bool) -> Report {
    with(
        &Explore::new().name("test").deviations(2).crashes(0).faults(0),
        move |p| {
            let (store, queue) = (p.store(), p.queue());
            p.handle(async move |number: u32| {
                store.get::<u32>("row").await?;
                match (guarded, number) {
                    (true, 1) => store.set_if_absent("row", &number, None).await.map(drop)?,
                    _ => store.put("row", &number).await?,
                }
                if number == 1 {
                    let next = retryproof::job::NewJob::encoded::<u32>("2".to_owned());
                    queue.enqueue_new(next.deduplicate("next", retryproof::Conflict::Drop)).await?;
                }
                Ok::<_, Box<dyn std::error::Error>>(())
            });
            p.slots(2);
        },
        |world| {
            world.enqueue(1_u32);
        },
    )
}

#[test]
fn a_zombies_write_after_the_end_of_its_job_is_late() {
    assert_red(&zombie(false), Code::StateAfterDelivery, "store.");
    assert_green(&zombie(true));
}

/// Nothing is tested here, although there are millions of orders.
#[test]
fn orders_are_not_looked_at_before_it_is_known_that_anything_is_tested() {
    let report = Explore::new().name("test").run(async |world: &World| {
        world.process("worker", |p| {
            let clock = p.clock();
            p.handle(async move |_: u32| clock.sleep(S).await);
            p.slots(30);
        });
        world.enqueue_bulk(1..=30_u32);
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::NothingTested, "{report}");
}

/// Input 37: a retry makes an effect too early.
fn reminding(marks_early: bool) -> Report {
    with(
        &Explore::new().name("test").deviations(1).faults(0).deliveries(0),
        move |p| {
            let (store, parcels, clock) = (p.store(), p.fulfillment(), p.clock());
            p.handle(async move |_: u32| {
                let begun = match store.get::<u64>("begun").await? {
                    Some(row) => row.value,
                    None => {
                        let now = clock.now().as_secs();
                        store.put("begun", &now).await?;
                        now
                    }
                };
                if marks_early {
                    if store.set_if_absent("waited", &true, None).await? {
                        clock.sleep(24 * HOUR).await;
                    }
                } else {
                    let due = Duration::from_secs(begun) + 24 * HOUR;
                    clock.sleep(due.saturating_sub(clock.now())).await;
                    store.put("waited", &true).await?;
                }
                parcels.request(parcel("reminder")).await?;
                Ok::<_, Box<dyn std::error::Error>>(())
            });
        },
        |world| {
            world.ignore("store", "$.begun");
            world.enqueue(1_u32);
        },
    )
}

#[test]
fn input_37_an_effect_before_its_time_is_told() {
    assert_red(&reminding(true), Code::Early, "fulfillment.request happened too early");
    assert_green(&reminding(false));
}

/// A job that is enqueued for later, or at once by a retry that considers it late.
fn scheduling(at_once: bool) -> Report {
    judged(
        move |p| {
            let (store, queue) = (p.store(), p.queue());
            p.handle(async move |order: Create| {
                let again = !store.set_if_absent("begun", &true, None).await.map_err(|e| e.to_string())?;
                let delay = if again && at_once { Duration::ZERO } else { HOUR };
                let mut reminder = retryproof::job::NewJob::encoded::<Welcome>(order.0.to_string());
                reminder.delay = delay;
                queue
                    .enqueue_new(reminder.deduplicate("reminder", retryproof::Conflict::Drop))
                    .await
                    .map(drop)
                    .map_err(|e| e.to_string())
            });
            let parcels = p.fulfillment();
            p.handle(async move |_: Welcome| parcels.request(parcel("reminder")).await.map(drop));
        },
        |world| {
            world.enqueue(Create(1));
        },
    )
}

#[test]
fn a_job_that_comes_before_it_was_due_is_told() {
    assert_red(&scheduling(true), Code::Early, "fulfillment.request happened too early");
    assert_green(&scheduling(false));
}

/// Jobs that wait for a slot act earlier in some runs than in the reference run, and later by their own measure.
#[test]
fn waiting_for_a_slot_is_no_wait_of_the_job() {
    assert_green(&judged(
        |p| {
            let (parcels, clock) = (p.fulfillment(), p.clock());
            p.handle(async move |number: u32| {
                if number == 1 {
                    clock.sleep(HOUR).await;
                }
                parcels.request(parcel(&format!("mail-{number}"))).await?;
                Ok::<_, ServiceError>(())
            });
        },
        |world| {
            world.enqueue_bulk([1_u32, 2]);
        },
    ));
}

/// Input 11: a lock, a charge with a key, a record, and the release of the lock. After a crash the lock is still held,
/// and only an attempt that finds no record releases it.
fn locking(releases: bool, ttl: Duration) -> Report {
    with(
        &Explore::new().name("test").deviations(1).deliveries(0),
        move |p| {
            let (payments, store) = (p.payments(), p.store());
            p.handle(async move |order: u32| {
                store.set_if_absent("lock", &true, Some(ttl)).await?;
                if store.get::<bool>("charged").await?.is_none() {
                    let charge = charge(order).key(format!("order-{order}"));
                    payments.charge(charge).await.map_err(|error| error.to_string())?;
                    store.put("charged", &true).await?;
                } else if !releases {
                    return Ok(());
                }
                store.delete("lock").await?;
                Ok::<_, Box<dyn std::error::Error>>(())
            });
        },
        |world| {
            world.enqueue(6_u32);
        },
    )
}

#[test]
fn input_11_a_lock_of_ten_years_is_a_state_that_nobody_leaves() {
    let years = Duration::from_secs(10 * 365 * 24 * 3_600);
    let report = locking(false, years);
    let left = "store.lock is";
    assert!(report.violations().iter().any(|violation| violation.summary.starts_with(left)), "{report}");
    assert_green(&locking(true, years));
    // It expires before any waiting job gives up.
    assert_green(&locking(false, Duration::from_secs(60)));
}

/// A job that is due in an hour and is taken out of the queue before: it came after the one that is done now.
fn cleared(swallows: bool) -> Report {
    Explore::new().name("test").deviations(1).crashes(0).deliveries(0).run(async move |world: &World| {
        world.store();
        world.process("worker", move |p| {
            let (store, email) = (p.store(), p.email());
            p.handle(async move |order: Confirm| {
                let closed = store.get::<bool>(format!("closed:{}", order.0)).await;
                if closed.map_err(|e| e.to_string())?.is_some() {
                    return Ok(());
                }
                if !email.emails("u@example.com", "hello").await.map_err(|e| e.to_string())?.is_empty() {
                    return Ok(());
                }
                match email.send(mail("u@example.com")).await {
                    Err(error) if !swallows => Err(error.to_string()),
                    _ => Ok(()),
                }
            });
            let store = p.store();
            p.handle(async move |order: Cancel| store.put(format!("closed:{}", order.0), &true).await);
        });
        world.enqueue(Confirm(1));
        world.enqueue_in(24 * HOUR, Cancel(1));
        world.settle_until(|world| world.jobs::<Confirm>().is_empty()).await;
        world.clear::<Cancel>();
        world.settle().await;
    })
}

#[test]
fn a_job_that_was_due_later_and_never_came_is_no_excuse() {
    assert_red(&cleared(true), Code::MissingAfterError, "email.send never happened");
    assert_green(&cleared(false));
}

/// Jobs that never run at the same time: one that waits for a retry is overtaken, so that the other one comes first in
/// the list. `swallows`: one that fails is not in the list at all.
fn one_by_one(swallows: bool, delay: Duration) -> Report {
    with(
        &Explore::new().name("test"),
        move |p| {
            let store = p.store();
            p.handle(async move |order: Create| {
                let row = store.get::<Vec<u32>>("list").await?;
                let (mut list, version) = row.map_or((Vec::new(), 0), |row| (row.value, row.version));
                if list.contains(&order.0) {
                    return Ok(());
                }
                list.push(order.0);
                match store.compare_and_set("list", version, &list).await {
                    Ok(true) => Ok(()),
                    Err(_) if swallows => Ok(()),
                    Ok(false) => Err("somebody else was faster".into()),
                    Err(error) => Err::<(), Box<dyn std::error::Error>>(error.into()),
                }
            });
        },
        move |world| {
            for order in 1..=2_u32 {
                let mut job = retryproof::job::NewJob::encoded::<Create>(order.to_string()).serial("list");
                job.delay = order * delay;
                world.enqueue_new(job);
            }
        },
    )
}

#[test]
fn serial_jobs_overtake_one_that_waits_for_a_retry() {
    for delay in [Duration::ZERO, S] {
        assert_green(&one_by_one(false, delay));
        assert_red(&one_by_one(true, delay), Code::StateAfterError, "store.list is");
    }
}
