//! A job that gives up must do everything or nothing.

use super::*;
use retryproof::store::Isolation;
use retryproof::{Decision, StoreError};

#[derive(Clone, Copy, PartialEq)]
enum Transfer {
    /// Debit and credit, each in its own deduplicated transaction.
    TwoTransactions,
    OneTransaction,
}

async fn move_once(store: &retryproof::Store, name: &str, by: i64) -> Result<(), StoreError> {
    let mut tx = store.transaction(Isolation::Serializable).await;
    if tx.get::<bool>(format!("{name}:done")).await?.is_none() {
        tx.put(format!("{name}:done"), &true).await?;
        tx.incr(name, by).await?;
    }
    tx.commit().await
}

/// Input 4.
fn transferring(how: Transfer, discards: bool, may_stop: bool) -> Report {
    judged(
        move |p| {
            let store = p.store();
            let options = p.handle(async move |cents: i64| {
                if how == Transfer::TwoTransactions {
                    move_once(&store, "from", -cents).await?;
                    return move_once(&store, "to", cents).await;
                }
                let mut tx = store.transaction(Isolation::Serializable).await;
                if tx.get::<bool>("done").await?.is_none() {
                    tx.put("done", &true).await?;
                    tx.incr("from", -cents).await?;
                    tx.incr("to", cents).await?;
                }
                tx.commit().await
            });
            match discards {
                true => options.decide(|_| Decision::Discard),
                false => options.max_retries(0),
            };
        },
        move |world| {
            if may_stop {
                world.jobs::<i64>().may_stop_half_way();
            }
            world.enqueue(30_i64);
        },
    )
}

#[test]
fn input_4_half_a_transfer_is_told_whether_the_job_is_dead_or_discarded() {
    for discards in [false, true] {
        let report = transferring(Transfer::TwoTransactions, discards, false);
        assert_red(&report, Code::GaveUpHalfWay, "gave up halfway");
        assert_green(&transferring(Transfer::OneTransaction, discards, false));
        assert_green(&transferring(Transfer::TwoTransactions, discards, true));
    }
}

/// Input 5: a job's record of its failure is not an effect.
fn cancelling(notes: bool) -> Report {
    judged(
        move |p| {
            let (store, payments) = (p.store(), p.payments());
            p.handle(async move |order: u32| {
                if let Err(error) = payments.charge(charge(order).key("k")).await {
                    if notes {
                        store.put("order", &"cancelled, not charged").await.map_err(|e| e.to_string())?;
                    }
                    return Err(error.to_string());
                }
                Ok(())
            })
            .max_retries(0);
        },
        |world| {
            world.enqueue(1_u32);
        },
    )
}

#[test]
fn input_5_charged_and_cancelled_is_half_way() {
    let report = cancelling(true);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert_green(&cancelling(false));
}

/// A job that gave up excuses its own effects, and not those of others.
fn beside(second_swallows: bool) -> Report {
    judged(
        move |p| {
            let payments = p.payments();
            p.handle(async move |order: u32| {
                let paid = payments.charge(charge(order).key(format!("k{order}"))).await;
                match paid {
                    Err(error) if order == 1 || !second_swallows => Err(error.to_string()),
                    _ => Ok(()),
                }
            })
            .max_retries(0);
        },
        |world| {
            world.enqueue_bulk([1_u32, 2]);
        },
    )
}

#[test]
fn only_the_job_that_gave_up_is_excused() {
    assert_red(&beside(true), Code::MissingAfterError, "payments.charge never happened");
    assert_green(&beside(false));
}

/// One of two jobs is dead in each run. The other one loses its mail after one more fault.
#[test]
fn a_dead_job_excuses_no_other_one_in_the_same_run() {
    let report = with(
        &Explore::new().name("test").deviations(2).crashes(0).deliveries(0).preemptions(0),
        |p| {
            let (payments, parcels) = (p.payments(), p.fulfillment());
            p.handle(async move |order: u32| {
                if order == 1 {
                    return payments.charge(charge(order).key("k")).await.map(drop);
                }
                let _ = parcels.request(parcel("m")).await;
                Ok(())
            })
            .max_retries(0);
        },
        |world| {
            world.enqueue_bulk([1_u32, 2]);
        },
    );
    assert_red(&report, Code::MissingAfterError, "fulfillment.request never happened");
    let both = "test job#1.1/payments.charge:call=unavailable job#2.1/fulfillment.request:call=unavailable";
    let report = with(
        &Explore::new().name("test").replay(both),
        |p| {
            let (payments, parcels) = (p.payments(), p.fulfillment());
            p.handle(async move |order: u32| {
                if order == 1 {
                    return payments.charge(charge(order).key("k")).await.map(drop);
                }
                let _ = parcels.request(parcel("m")).await;
                Ok(())
            })
            .max_retries(0);
        },
        |world| {
            world.enqueue_bulk([1_u32, 2]);
        },
    );
    assert_red(&report, Code::MissingAfterError, "fulfillment.request never happened");
}

/// Explores two jobs that update one row by compare-and-set, and give up if the other one was faster.
fn racing(retries: u32) -> Report {
    with(
        &Explore::new().name("test").deviations(1).crashes(0).faults(0).deliveries(0),
        move |p| {
            let store = p.store();
            p.handle(async move |by: i64| {
                let row = store.get::<i64>("sum").await.map_err(|e| e.to_string())?.expect("a given");
                let sum = row.value + by;
                match store.compare_and_set("sum", row.version, &sum).await {
                    Ok(true) => Ok(()),
                    Ok(false) => Err("somebody else was faster".to_owned()),
                    Err(error) => Err(error.to_string()),
                }
            })
            .max_retries(retries);
            p.slots(2);
        },
        |world| {
            retryproof_given(world);
            world.enqueue_bulk([1_i64, 2]);
        },
    )
}

fn retryproof_given(world: &World) {
    use std::future::IntoFuture;
    use std::task::{Context, Poll, Waker};
    let mut put = std::pin::pin!(world.store().put("sum", &0_i64).into_future());
    let polled = put.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Ok(()))), "a given is done at once");
}

#[test]
fn an_interleaving_alone_is_no_excuse_for_giving_up() {
    assert_red(&racing(0), Code::DiedByItself, "ended dead");
    assert_green(&racing(5));
}

/// The children of a job belong to it.
fn with_child(enqueues_first: bool) -> Report {
    judged(
        move |p| {
            let (queue, payments) = (p.queue(), p.payments());
            p.handle(async move |order: u32| {
                if enqueues_first {
                    queue.enqueue(format!("mail {order}")).await.map_err(|e| e.to_string())?;
                }
                payments.charge(charge(order).key("k")).await.map(drop).map_err(|e| e.to_string())
            })
            .max_retries(0);
            let parcels = p.fulfillment();
            p.handle(async move |_: String| parcels.request(parcel("m")).await.map(drop));
        },
        |world| {
            world.enqueue(1_u32);
        },
    )
}

#[test]
fn a_child_without_what_its_parent_does_is_half_way() {
    assert_red(&with_child(true), Code::GaveUpHalfWay, "gave up halfway");
    assert_green(&with_child(false));
}

/// A job that records an order, charges, and marks the order as paid: a row that exists halfway, and not at all
/// without it.
fn pending(may_stop: bool) -> Report {
    judged(
        |p| {
            let (store, payments) = (p.store(), p.payments());
            p.handle(async move |order: u32| {
                let row = format!("order:{order}");
                store
                    .put(&row, &std::collections::BTreeMap::from([("status", "pending")]))
                    .await
                    .map_err(|e| e.to_string())?;
                payments.charge(charge(order).key("k")).await.map_err(|e| e.to_string())?;
                store
                    .put(&row, &std::collections::BTreeMap::from([("status", "paid")]))
                    .await
                    .map_err(|e| e.to_string())
            })
            .max_retries(0);
        },
        move |world| {
            if may_stop {
                world.jobs::<u32>().may_stop_half_way();
            }
            world.enqueue(6_u32);
        },
    )
}

#[test]
fn a_row_that_is_half_written_is_half_way() {
    let report = pending(false);
    assert_red(&report, Code::GaveUpHalfWay, "gave up halfway");
    assert!(report.violations().iter().all(|violation| violation.code == Code::GaveUpHalfWay), "{report}");
    assert_green(&pending(true));
}

/// The effects of death handlers belong to giving up, whether the job did everything or nothing.
fn telling(notes_first: bool) -> Report {
    with(
        &Explore::new().name("test").deviations(1).crashes(0).deliveries(0),
        move |p| {
            let (store, email) = (p.store(), p.email());
            p.handle(async move |order: u32| {
                if notes_first {
                    store.put("sending", &order).await.map_err(|e| e.to_string())?;
                }
                email.send(mail("u@example.com")).await.map(drop).map_err(|e| e.to_string())
            })
            .max_retries(0);
            let payments = p.payments();
            p.handle(async move |order: String| payments.charge(charge(7).key(order)).await.map(drop));
            let queue = p.queue();
            p.on_death(move |job| {
                if job.kind.ends_with("u32") {
                    let _ = queue.enqueue_blocking("refund".to_owned());
                }
            });
        },
        |world| {
            world.enqueue(6_u32);
        },
    )
}

#[test]
fn what_is_done_about_a_death_is_part_of_giving_up() {
    assert_green(&telling(false));
    assert_red(&telling(true), Code::GaveUpHalfWay, "gave up halfway");
}

/// Explores a job that also gives up in the fault-free run, after `steps` steps.
fn always_dead(steps: u32) -> Report {
    judged(
        move |p| {
            let store = p.store();
            p.handle(async move |_: u32| {
                for step in 0..steps {
                    store.put(format!("step:{step}"), &true).await.map_err(|e| e.to_string())?;
                }
                Err::<(), _>("it always does".to_owned())
            })
            .max_retries(0);
            p.handle(async |_: String| {});
        },
        |world| {
            world.enqueue("well".to_owned());
            world.enqueue(6_u32);
        },
    )
}

#[test]
fn all_or_nothing_holds_for_a_job_that_always_gives_up() {
    assert_green(&always_dead(1));
    assert_red(&always_dead(2), Code::GaveUpHalfWay, "gave up halfway");
}
