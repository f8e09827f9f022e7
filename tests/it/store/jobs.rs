//! Jobs with the store that must be told apart, each bad one beside its correct twin.

use super::{S, assert_green, assert_row, assert_violated, explore, one_deviation, replay};
use retryproof::job::NewJob;
use retryproof::service::email::Email;
use retryproof::service::payments::Charge;
use retryproof::store::Isolation::{ReadCommitted, Serializable};
use retryproof::{
    Backoff, Conflict, Decision, Explore, Guarantee, Process, Report, Store, StoreError, Verdict, World,
};
use serde::{Deserialize, Serialize};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(Clone, Copy, PartialEq)]
enum Buy {
    TwoWrites,
    Transaction,
    Guarded,
    GuardOutside,
}

/// Takes one item from the stock, and marks the order as paid.
fn buying(settings: &Explore, how: Buy) -> Report {
    explore(settings, &[("stock", 10)], &[6], move |p| {
        let store = p.store();
        p.handle(async move |order: u32| {
            let paid = format!("paid:{order}");
            if how == Buy::TwoWrites {
                if store.get::<bool>(&paid).await?.is_none() {
                    store.incr("stock", -1).await?;
                    store.put(&paid, &true).await?;
                }
                return Ok(());
            }
            if how == Buy::GuardOutside && store.get::<bool>(&paid).await?.is_some() {
                return Ok(());
            }
            let mut tx = store.transaction(Serializable).await;
            if how == Buy::Guarded && tx.get::<bool>(&paid).await?.is_some() {
                return Ok(());
            }
            tx.incr("stock", -1).await?;
            tx.put(&paid, &true).await?;
            tx.commit().await
        });
    })
}

#[test]
fn decrement_and_mark_paid() {
    // Crashes between the two writes.
    let between = "1.1/store.incr:replied=crash";
    assert_row(&buying(&replay(between), Buy::TwoWrites), "stock", "8", between);
    // A transaction prevents that, but the process crashes after the commit, before the acknowledgement.
    let report = buying(&replay(between), Buy::Transaction);
    assert_eq!((report.verdict(), report.reason()), (Verdict::RetryProof, None), "{report}");
    for after in ["1.1/store.commit:replied=crash", "1.1:end=crash", "1.1:ack=again"] {
        assert_row(&buying(&replay(after), Buy::Transaction), "stock", "8", after);
    }
    assert_green(&buying(&Explore::new().name("test"), Buy::Guarded));
    // A guard outside of the transaction is enough for crashes, but not if the lease is lost between the two.
    assert_green(&buying(&one_deviation().deliveries(0), Buy::GuardOutside));
    let report = buying(&one_deviation(), Buy::GuardOutside);
    assert_row(&report, "stock", "8", "1.1/store.get:pause=past-lease");
}

/// A delivery of goods.
#[derive(Serialize, Deserialize)]
struct Delivered {
    delivery: u32,
    count: i64,
}

fn stocking(settings: &Explore, boot: impl Fn(&Process) + Clone + Sync + 'static) -> Report {
    settings.run(async |world: &World| {
        world.store().put("stock", &10).await.unwrap();
        world.process("worker", boot.clone());
        world.enqueue(Delivered { delivery: 1, count: 5 });
        world.settle().await;
    })
}

#[test]
fn add_stock() {
    for again in ["1.1/store.incr:happened=crash", "1.1:end=crash"] {
        let report = stocking(&replay(again), |p| {
            let store = p.store();
            p.handle(async move |goods: Delivered| store.incr("stock", goods.count).await);
        });
        assert_row(&report, "stock", "20", again);
    }
    // The inbox: a row for each delivery, in the same transaction.
    let report = stocking(&Explore::new().name("test"), |p| {
        let store = p.store();
        p.handle(async move |goods: Delivered| {
            let mut tx = store.transaction(ReadCommitted).await;
            match tx.insert(format!("inbox:{}", goods.delivery), &goods.count).await {
                Err(StoreError::Duplicate { .. }) => return Ok(()),
                other => other?,
            }
            tx.incr("stock", goods.count).await?;
            tx.commit().await
        });
    });
    assert_green(&report);
}

#[test]
fn set_stock() {
    let setting = |settings: &Explore, jobs: &[u32]| {
        explore(settings, &[("stock", 10)], jobs, |p| {
            let store = p.store();
            p.handle(async move |count: u32| store.put("stock", &count).await);
        })
    };
    // Setting twice is the same as setting once.
    assert_green(&setting(&Explore::new().name("test"), &[7]));
    // Whichever of two comes last is correct, and repeating one of them after the other one allows no other outcome.
    assert_green(&setting(&one_deviation(), &[7, 8]));
}

/// Mails that an order exists, if it finds it.
#[derive(Serialize, Deserialize)]
struct Confirm {
    order: u32,
}

fn confirming(p: &Process) {
    let (store, email) = (p.store(), p.email());
    p.handle(async move |confirm: Confirm| -> Result {
        let Some(row) = store.get::<u32>(format!("order:{}", confirm.order)).await? else {
            return Err("no such order".into());
        };
        // Once for each order: the job that will send marks the row first, and sending twice is allowed.
        email.send(Email::new("ada", format!("order-{}", row.value))).await?;
        Ok(())
    })
    .decide(|failed| match failed.error {
        "no such order" => Decision::Discard,
        _ => Decision::Retry,
    });
}

fn ordering(settings: &Explore, relay: bool, boot: impl Fn(&Process) + Clone + Sync + 'static) -> Report {
    settings.run(async move |world: &World| {
        world.allow("email.send", Guarantee::AtLeastOnce);
        let boot = boot.clone();
        world.process("worker", move |p| {
            boot(p);
            confirming(p);
            if relay {
                relaying(p);
            }
        });
        world.enqueue(6_u32);
        if relay {
            world.enqueue_in(600 * S, Relay);
        }
        world.settle().await;
    })
}

/// Enqueues what the outbox contains.
#[derive(Serialize, Deserialize)]
struct Relay;

fn relaying(p: &Process) {
    let (store, queue) = (p.store(), p.queue());
    p.handle(async move |_: Relay| -> Result {
        for (key, row) in store.scan::<u32>("outbox:").await? {
            // Once for each row: a second job for it would be another job, and its mail not a repetition.
            let confirm = NewJob::encoded::<Confirm>(serde_json::to_string(&Confirm { order: row.value })?);
            queue.enqueue_new(confirm.deduplicate(key.as_str(), Conflict::Drop)).await?;
            store.delete(key).await?;
        }
        Ok(())
    });
}

async fn order_with_outbox(store: &Store, order: u32) -> std::result::Result<(), StoreError> {
    let mut tx = store.transaction(ReadCommitted).await;
    if tx.get::<u32>(format!("order:{order}")).await?.is_none() {
        tx.put(format!("order:{order}"), &order).await?;
        tx.put(format!("outbox:{order}"), &order).await?;
    }
    tx.commit().await
}

#[test]
fn enqueue_inside_a_transaction_or_from_an_outbox() {
    let inside = |p: &Process| {
        let (store, queue) = (p.store(), p.queue());
        p.handle(async move |order: u32| -> Result {
            let mut tx = store.transaction(ReadCommitted).await;
            if tx.get::<u32>(format!("order:{order}")).await?.is_none() {
                tx.put(format!("order:{order}"), &order).await?;
                queue.enqueue(Confirm { order }).await?;
            }
            tx.commit().await?;
            Ok(())
        });
    };
    let report = ordering(&one_deviation(), false, inside);
    // The other job runs before the commit, and finds no row.
    let never = "email.send never happened, expected once";
    assert_violated(
        &report,
        never,
        "0 × email.send {\"to\":\"ada\",\"template_id\":\"order-6\"}",
        "1.1/queue.enqueue:next=other",
    );
    // It is risky in any case.
    assert!(
        report.warnings()[0].summary.starts_with("job `Confirm` is enqueued while the transaction"),
        "{report}"
    );
    let report = ordering(&one_deviation(), true, |p| {
        let store = p.store();
        p.handle(async move |order: u32| order_with_outbox(&store, order).await);
    });
    assert_green(&report);
    assert!(report.warnings().is_empty(), "{report}");
}

#[test]
fn enqueue_after_the_commit_or_from_an_outbox() {
    let after = |p: &Process| {
        let (store, queue) = (p.store(), p.queue());
        p.handle(async move |order: u32| -> Result {
            let mut tx = store.transaction(ReadCommitted).await;
            if tx.get::<u32>(format!("order:{order}")).await?.is_some() {
                return Ok(());
            }
            tx.put(format!("order:{order}"), &order).await?;
            tx.commit().await?;
            queue.enqueue(Confirm { order }).await?;
            Ok(())
        });
    };
    // A crash in between: the job never exists.
    let between = "1.1/store.commit:replied=crash";
    let report = ordering(&replay(between), false, after);
    let none = r#"0 × email.send {"to":"ada","template_id":"order-6"}"#;
    assert_violated(&report, "email.send never happened, expected once", none, between);
    assert!(ordering(&one_deviation(), false, after).warnings().is_empty(), "it is not in the transaction");
}

/// Explores a limit of three messages: a job that finds the limit used up gives up.
fn limiting(once: bool) -> Report {
    explore(&one_deviation(), &[], &[1, 2, 3], move |p| {
        let (store, payments) = (p.store(), p.payments());
        p.slots(1);
        p.handle(async move |job: u32| -> Result {
            let mut tx = store.transaction(ReadCommitted).await;
            let counted = format!("counted:{job}");
            if !once || tx.get::<bool>(&counted).await?.is_none() {
                tx.put(counted, &true).await?;
                if tx.incr("count", 1).await? > 3 {
                    return Ok(());
                }
            }
            tx.commit().await?;
            payments.charge(Charge::of_order(job, 500).key(job.to_string())).await?;
            Ok(())
        });
    })
}

#[test]
fn rate_limit() {
    // Counts, crashes, counts again: the last job finds the limit used up.
    let report = limiting(false);
    let never = "payments.charge never happened, expected once";
    let found = report.violations().iter().find(|v| v.summary == never).unwrap_or_else(|| panic!("{report}"));
    assert!(
        found.cause.iter().all(|cause| !cause.is_empty()) && found.scenario.to_string().contains("job#"),
        "{report}"
    );
    assert_green(&limiting(true));
}

#[derive(Clone, Copy, PartialEq)]
enum Running {
    /// `running` is set, and cleared at the end.
    Flag,
    /// A lock with an owner and a time to live.
    Lock,
}

/// Explores a job that must not run twice at once.
fn exclusively(settings: &Explore, how: Running) -> Report {
    explore(settings, &[], &[6], move |p| {
        let (store, payments) = (p.store(), p.payments());
        p.handle(async move |order: u32| -> Result {
            let ttl = (how == Running::Lock).then_some(30 * S);
            if !store.set_if_absent("running", &order, ttl).await? {
                return Err("somebody else is at it".into());
            }
            payments.charge(Charge::of_order(order, 500).key(order.to_string())).await?;
            store.delete_if("running", &order).await?;
            Ok(())
        })
        .max_retries(5)
        .backoff(Backoff::Constant(40 * S));
    })
}

#[test]
fn state_machine_lock() {
    // The process crashes and no destructor runs, so the flag stays forever.
    let report = exclusively(&one_deviation(), Running::Flag);
    let dead = "job `u32` ended dead: it failed 6 times, with only 1 deviation (somebody else is at it)";
    assert_violated(&report, dead, "u32 6 dead after 6 failures", "1.1/store.set_if_absent:happened=crash");
    assert_green(&exclusively(&Explore::new().name("test"), Running::Lock));
}

/// Reserves a seat, pays for it, and takes it.
fn reserving(settings: &Explore, owned: bool) -> Report {
    explore(settings, &[], &[1], move |p| {
        let (store, payments) = (p.store(), p.payments());
        p.handle(async move |customer: u32| -> Result {
            let owner = if owned { customer } else { 0 };
            let ttl = owned.then_some(600 * S);
            if !store.set_if_absent("seat", &owner, ttl).await? {
                // The job that holds the seat continues, and all others stop.
                let holder = store.get::<u32>("seat").await?.map(|row| row.value);
                if !owned || holder != Some(customer) {
                    return Ok(());
                }
            }
            payments.charge(Charge::of_order(customer, 500).key(customer.to_string())).await?;
            store.put("sold", &customer).await?;
            Ok(())
        });
    })
}

#[test]
fn reserve_then_die() {
    // The job takes its own reservation for that of another job.
    let report = reserving(&one_deviation(), false);
    let never = "payments.charge never happened, expected once";
    let charge = "payments.charge {\"amount_cents\":500,\"metadata\":{\"order_id\":\"1\"}} key \"1\"";
    let died = "1.1/store.set_if_absent:happened=crash";
    assert_violated(&report, never, &format!("0 × {charge}"), died);
    assert_green(&reserving(&Explore::new().name("test"), true));
}

#[derive(Clone, Copy, PartialEq)]
enum Find {
    /// Checks, and inserts what it did not find, under a fresh key.
    ThenCreate,
    /// The same, under a unique key. A job that fails is retried, and finds the row.
    Unique,
    /// The violation of the unique index is caught: another job was faster.
    Caught,
}

/// Explores two jobs that both look for the customer with one address.
fn finding(settings: &Explore, how: Find) -> Report {
    explore(settings, &[], &[1, 2], move |p| {
        let store = p.store();
        p.handle(async move |job: u32| -> Result {
            if !store.scan::<String>("customer:").await?.is_empty() {
                return Ok(());
            }
            let address = "ada@example.com";
            if how == Find::ThenCreate {
                return Ok(store.put(format!("customer:{job}"), address).await?);
            }
            match store.insert(format!("customer:{address}"), address).await {
                Err(StoreError::Duplicate { .. }) if how == Find::Caught => Ok(()),
                other => Ok(other?),
            }
        });
    })
}

#[test]
fn find_or_create() {
    let report = finding(&one_deviation(), Find::ThenCreate);
    assert_row(&report, "customer:2", "\"ada@example.com\"", "1.1/store.scan:next=other");
    assert_green(&finding(&one_deviation(), Find::Unique));
    assert_green(&finding(&Explore::new().name("test").crashes(0), Find::Caught));
}
