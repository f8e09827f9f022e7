//! Three jobs: each makes one call, saves, and enqueues the next.

use retryproof::job::NewJob;
use retryproof::report::Oracle;
use retryproof::service::email::Email;
use retryproof::service::fulfillment::Shipment;
use retryproof::service::payments::Charge;
use retryproof::{Conflict, Explore, Guarantee, Report, World};
use serde::{Deserialize, Serialize};

use crate::{Done, Family, bad, because, good};

pub(crate) fn family() -> Family {
    let charged = "payments.charge happened twice, expected once";
    let reasons = [
        because(Oracle::Guarantee, charged, "job#1.1/payments.charge:call=reply-lost", "payments.charge("),
        because(Oracle::Guarantee, charged, "job#1.1/payments.charge:replied=crash", "payments.charge("),
        because(Oracle::Guarantee, charged, "job#1.1/queue.enqueue:before=crash", "queue.enqueue(Confirm"),
        because(
            Oracle::Guarantee,
            "email.send happened twice, expected once",
            "job#2.1/email.send:call=reply-lost",
            "email.send(",
        ),
        because(
            Oracle::Guarantee,
            "fulfillment.request happened twice, expected once",
            "job#3.1/fulfillment.request:call=reply-lost",
            "parcels.request(",
        ),
        // An attempt that has lost its lease saves last.
        because(
            Oracle::Serial,
            "store.order:6 …",
            "job#1.1/payments.charge:pause=past-lease job#1.1/store.put:happened=crash",
            "store.put(",
        ),
    ];
    Family::new(
        "order, chain of three",
        [
            bad("call, save, enqueue", reasons, |explore| completing(explore, false)),
            // Checking before sending is not enough for two concurrent deliveries: see the family of the email.
            good("with keys, a lookup, and enqueues that may be repeated", |explore| {
                completing(explore, true)
            }),
        ],
    )
}

#[derive(Serialize, Deserialize)]
struct Pay(u32);

#[derive(Serialize, Deserialize)]
struct Confirm(u32);

#[derive(Serialize, Deserialize)]
struct Ship(u32);

fn completing(explore: &Explore, repeatable: bool) -> Report {
    explore.run(async move |world: &World| {
        if repeatable {
            world.allow("email.send", Guarantee::AtLeastOnce);
        }
        world.process("worker", move |p| {
            let (payments, store, queue) = (p.payments(), p.store(), p.queue());
            p.handle(async move |Pay(order): Pay| -> Done {
                let charge = Charge::of_order(order, 2_598);
                let charge = if repeatable { charge.key(format!("order-{order}")) } else { charge };
                payments.charge(charge).await?;
                store.put(format!("order:{order}"), "paid").await?;
                if repeatable {
                    // Two jobs would send two mails. There is only one parcel per key, no matter which job requests it.
                    let confirm = NewJob::encoded::<Confirm>(order.to_string());
                    queue.enqueue_new(confirm.deduplicate(format!("order-{order}"), Conflict::Drop)).await?;
                } else {
                    queue.enqueue(Confirm(order)).await?;
                }
                Ok(())
            });
            let (email, store, queue) = (p.email(), p.store(), p.queue());
            p.handle(async move |Confirm(order): Confirm| -> Done {
                let thanks = format!("thanks-{order}");
                if !repeatable || email.emails("ada@example.com", &thanks).await?.is_empty() {
                    email.send(Email::new("ada@example.com", &thanks)).await?;
                }
                if !repeatable {
                    store.put(format!("order:{order}"), "confirmed").await?;
                }
                queue.enqueue(Ship(order)).await?;
                Ok(())
            });
            let (parcels, store) = (p.fulfillment(), p.store());
            p.handle(async move |Ship(order): Ship| -> Done {
                let parcel = Shipment::of_order(order, "pr_3", 1).address("1 Main St");
                let parcel = if repeatable { parcel.key(format!("order-{order}")) } else { parcel };
                parcels.request(parcel).await?;
                store.put(format!("shipped:{order}"), &true).await?;
                Ok(())
            });
        });
        world.enqueue(Pay(6));
        world.settle().await;
    })
}
