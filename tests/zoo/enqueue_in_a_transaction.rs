//! An order is placed, and its confirmation is enqueued while the transaction is open.

use retryproof::job::NewJob;
use retryproof::report::Oracle;
use retryproof::service::email::Email;
use retryproof::store::Isolation::ReadCommitted;
use retryproof::{Conflict, Decision, Explore, Guarantee, Process, Report, Store, StoreError, World};
use serde::{Deserialize, Serialize};

use crate::{Done, Family, S, bad, because, good};

pub(crate) fn family() -> Family {
    let never = "email.send never happened, expected once";
    let twice = "email.send happened twice, expected once";
    let at_enqueue = "job#1.1/queue.enqueue:next=other";
    let too_early = [
        because(Oracle::Guarantee, never, at_enqueue, "queue.enqueue("),
        because(
            Oracle::Accounted,
            "job `Confirm` ended dead: it failed once, …",
            at_enqueue,
            "queue.enqueue(",
        ),
        // Two concurrent attempts find no order, and two jobs send a mail.
        because(Oracle::Guarantee, twice, "job#1.1/store.get:pause=past-lease", "tx.get::<u32>"),
    ];
    let orphan = "job `Confirm` ended dead: it failed 4 times, with only …";
    let at_commit = "job#1.1/store.commit:call=unavailable";
    let rolled_back = [
        because(Oracle::Accounted, orphan, at_commit, "tx.commit("),
        because(Oracle::Guarantee, twice, "job#1.1/queue.enqueue:happened=crash", "queue.enqueue(Confirm"),
    ];
    Family::new(
        "enqueue inside a transaction",
        [
            bad("the job runs before the commit", too_early, |explore| {
                placing(explore, false, |p| {
                    enqueuing_inside(p, 25);
                    confirming(p, Decision::Discard);
                })
            }),
            bad("a rollback leaves an orphan", rolled_back, |explore| {
                placing(explore, false, |p| {
                    enqueuing_inside(p, 0);
                    confirming(p, Decision::Retry);
                })
            }),
            good("outbox", |explore| placing(explore, true, with_outbox)),
        ],
    )
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Place(pub(crate) u32);

#[derive(Serialize, Deserialize)]
pub(crate) struct Confirm(pub(crate) u32);

/// Enqueues what the outbox contains.
#[derive(Serialize, Deserialize)]
struct Relay;

/// Explores an order that is placed. The relay of the outbox runs once, after all deviations of the order's job.
pub(crate) fn placing(explore: &Explore, relay: bool, boot: fn(&Process)) -> Report {
    explore.run(async move |world: &World| {
        // A confirmation is sent at least once, which is not the subject here.
        world.allow("email.send", Guarantee::AtLeastOnce);
        world.process("worker", boot);
        world.enqueue(Place(6));
        if relay {
            world.enqueue_in(600 * S, Relay);
        }
        world.settle().await;
    })
}

fn enqueuing_inside(p: &Process, retries: u32) {
    let (store, queue) = (p.store(), p.queue());
    p.handle(async move |Place(order): Place| -> Done {
        let mut tx = store.transaction(ReadCommitted).await;
        if tx.get::<u32>(format!("order:{order}")).await?.is_none() {
            tx.put(format!("order:{order}"), &order).await?;
            queue.enqueue(Confirm(order)).await?;
        }
        tx.commit().await?;
        Ok(())
    })
    .max_retries(retries);
}

/// Registers the confirmation. Without the order, it is retried three times, or given up.
pub(crate) fn confirming(p: &Process, otherwise: Decision) {
    let (store, email) = (p.store(), p.email());
    p.handle(async move |Confirm(order): Confirm| -> Done {
        if store.get::<u32>(format!("order:{order}")).await?.is_none() {
            return Err("no such order".into());
        }
        email.send(Email::new("ada@example.com", format!("order-{order}"))).await?;
        Ok(())
    })
    .max_retries(3)
    .decide(move |failed| if failed.error == "no such order" { otherwise } else { Decision::Retry });
}

pub(crate) fn with_outbox(p: &Process) {
    let store = p.store();
    p.handle(async move |Place(order): Place| place(&store, order).await);
    let (store, queue) = (p.store(), p.queue());
    p.handle(async move |_: Relay| -> Done {
        for (key, row) in store.scan::<u32>("outbox:").await? {
            // A confirmation that is enqueued twice is mailed by two jobs, which is more than at-least-once allows.
            let order = row.value;
            let confirm = NewJob::encoded::<Confirm>(order.to_string());
            queue.enqueue_new(confirm.deduplicate(format!("order-{order}"), Conflict::Drop)).await?;
            store.delete(key).await?;
        }
        Ok(())
    });
    confirming(p, Decision::Discard);
}

async fn place(store: &Store, order: u32) -> Result<(), StoreError> {
    let mut tx = store.transaction(ReadCommitted).await;
    if tx.get::<u32>(format!("order:{order}")).await?.is_none() {
        tx.put(format!("order:{order}"), &order).await?;
        tx.put(format!("outbox:{order}"), &order).await?;
    }
    tx.commit().await
}
