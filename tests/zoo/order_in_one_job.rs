//! One job charges, emails, ships, and saves everything at the end.

use retryproof::report::Oracle;
use retryproof::service::email::Email;
use retryproof::service::fulfillment::Shipment;
use retryproof::service::payments::Charge;
use retryproof::{Explore, Report, World};

use crate::{Done, Family, bad, because};

pub(crate) fn family() -> Family {
    let charged = "payments.charge happened twice, expected once";
    let reasons = [
        because(Oracle::Guarantee, charged, "job#1.1/payments.charge:call=reply-lost", "payments.charge("),
        because(Oracle::Guarantee, charged, "job#1.1/email.send:call=unavailable", "email.send("),
        because(Oracle::Guarantee, charged, "job#1.1/store.put:before=crash", "store.put("),
        because(
            Oracle::Guarantee,
            "email.send happened twice, expected once",
            "job#1.1/fulfillment.request:call=unavailable",
            "parcels.request(",
        ),
        because(
            Oracle::Guarantee,
            "fulfillment.request happened twice, expected once",
            "job#1.1/store.put:call=unavailable",
            "store.put(",
        ),
    ];
    Family::new("order, one job", [bad("saves at the end", reasons, completing)])
}

fn completing(explore: &Explore) -> Report {
    explore.run(async |world: &World| {
        world.process("worker", |p| {
            let (payments, email, parcels, store) = (p.payments(), p.email(), p.fulfillment(), p.store());
            p.handle(async move |order: u32| -> Done {
                payments.charge(Charge::of_order(order, 2_598)).await?;
                email.send(Email::new("ada@example.com", "thanks").data("order", order)).await?;
                parcels.request(Shipment::of_order(order, "pr_3", 1).address("1 Main St")).await?;
                store.put(format!("order:{order}"), "completed").await?;
                Ok(())
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}
