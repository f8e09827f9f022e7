//! An order is placed, and its confirmation is enqueued after the commit.

use retryproof::report::Oracle;
use retryproof::store::Isolation::ReadCommitted;
use retryproof::{Decision, Process};

use crate::enqueue_in_a_transaction::{Confirm, Place, confirming, placing, with_outbox};
use crate::{Done, Family, bad, because, good};

pub(crate) fn family() -> Family {
    let never = "email.send never happened, expected once";
    let between = [
        because(Oracle::Guarantee, never, "job#1.1/store.commit:replied=crash", "tx.commit("),
        because(Oracle::Guarantee, never, "job#1.1/queue.enqueue:call=refused", "queue.enqueue("),
        // Two concurrent attempts find no order, and two jobs send a mail.
        because(
            Oracle::Guarantee,
            "email.send happened twice, expected once",
            "job#1.1/store.get:pause=past-lease",
            "tx.get::<u32>",
        ),
    ];
    Family::new(
        "enqueue after the commit",
        [
            bad("crashes in between", between, |explore| placing(explore, false, enqueuing_after)),
            good("outbox", |explore| placing(explore, true, with_outbox)),
        ],
    )
}

fn enqueuing_after(p: &Process) {
    let (store, queue) = (p.store(), p.queue());
    p.handle(async move |Place(order): Place| -> Done {
        let mut tx = store.transaction(ReadCommitted).await;
        if tx.get::<u32>(format!("order:{order}")).await?.is_some() {
            return Ok(());
        }
        tx.put(format!("order:{order}"), &order).await?;
        tx.commit().await?;
        queue.enqueue(Confirm(order)).await?;
        Ok(())
    });
    confirming(p, Decision::Discard);
}
