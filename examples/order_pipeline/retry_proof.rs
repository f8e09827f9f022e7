//! The chain again, with repeatable jobs: each job looks up what has happened already, every call has a key or
//! follows a look-up, every save is guarded, and every enqueue has a key.

use crash_points::crash_points;
use retryproof::job::NewJob;
use retryproof::service::fulfillment::ShipmentOutcome;
use retryproof::service::payments::{ChargeOutcome, ChargeRecord};
use retryproof::{Conflict, Guarantee, World};
use serde::{Deserialize, Serialize};

use crate::order::{Orders, Status};
use crate::shop::{ADDRESS_NEEDED, CONFIRMATION, Done, Shop, assert_completed, email_about, email_id};

#[derive(Serialize, Deserialize)]
struct ChargeOrder {
    order_id: u32,
}

#[derive(Serialize, Deserialize)]
struct ConfirmOrder {
    order_id: u32,
}

#[derive(Serialize, Deserialize)]
struct ShipOrder {
    order_id: u32,
}

pub(crate) async fn complete(world: &World, orders: Orders) {
    // The email service has no idempotency keys, and looking before sending is two steps. If a job is redelivered
    // while its first attempt still runs (a zombie), both look, both find nothing, and both send. A claim or a lock
    // does not help, because it cannot distinguish a dead holder from a slow one. So no version of this job emails
    // exactly once. Everything else it does exactly once.
    world.allow("email.send", Guarantee::AtLeastOnce);

    let placed: Vec<u32> = orders.keys().copied().collect();
    let orders = world.durable("orders", orders);
    world.process("worker", |p| {
        let shop = Shop::new(p);
        let (charging, confirming, shipping) = (shop.clone(), shop.clone(), shop);
        p.handle(async move |job: ChargeOrder| charge(&charging, job).await);
        p.handle(async move |job: ConfirmOrder| confirm(&confirming, job).await);
        p.handle(async move |job: ShipOrder| ship(&shipping, job).await);
    });
    for order_id in placed {
        world.enqueue(ChargeOrder { order_id });
    }
    world.settle().await;
    orders.read(|orders| assert_completed(world, orders));
}

#[crash_points]
async fn charge(shop: &Shop, ChargeOrder { order_id }: ChargeOrder) -> Done {
    let order = shop.order(order_id);
    if order.charge_id.is_none() {
        // The key alone prevents a second charge until it expires (for example after a day). A retry may come later.
        let charges = shop.payments.charges(order_id).await?;
        let paid = charges.iter().find_map(ChargeRecord::charge_id).map(str::to_owned);
        let charge_id = match paid {
            Some(charge_id) => charge_id,
            None => {
                // From the order's id: the same in each attempt, and different for each order.
                let charge = order.charge().key(format!("charge-order-{order_id}"));
                match shop.payments.charge(charge).await? {
                    ChargeOutcome::Success { charge_id } => charge_id,
                    ChargeOutcome::Declined { .. } => {
                        shop.update(order_id, |order| {
                            // Unless another attempt was paid in the meantime.
                            if order.charge_id.is_none() {
                                order.status = Status::Declined;
                            }
                        });
                        return Ok(());
                    }
                }
            }
        };
        shop.update(order_id, |order| {
            // A late attempt must not move back an order that has progressed.
            if order.charge_id.is_none() {
                order.charge_id = Some(charge_id);
                order.status = Status::Paid;
            }
        });
    }
    // In every attempt, because the last one may have died between its save and here. With a key, so that no second
    // job sends a second email: both could look before either has sent one.
    let confirm = NewJob::encoded::<ConfirmOrder>(serde_json::to_string(&ConfirmOrder { order_id })?);
    shop.queue.enqueue_new(confirm.deduplicate(format!("confirm-order-{order_id}"), Conflict::Drop)).await?;
    Ok(())
}

#[crash_points]
async fn confirm(shop: &Shop, ConfirmOrder { order_id }: ConfirmOrder) -> Done {
    let order = shop.order(order_id);
    if order.email_id.is_none() {
        let sent = shop.email.emails(&order.customer.email, CONFIRMATION).await?;
        let email_id = match email_about(order_id, &sent) {
            Some(email_id) => email_id,
            None => email_id(shop.email.send(order.confirmation()).await?)?,
        };
        shop.update(order_id, |order| {
            if order.email_id.is_none() {
                order.email_id = Some(email_id);
                order.status = Status::Confirmed;
            }
        });
    }
    // With a key for the same reason: if the address is rejected, the job sends an email, too.
    let ship = NewJob::encoded::<ShipOrder>(serde_json::to_string(&ShipOrder { order_id })?);
    shop.queue.enqueue_new(ship.deduplicate(format!("ship-order-{order_id}"), Conflict::Drop)).await?;
    Ok(())
}

#[crash_points]
async fn ship(shop: &Shop, ShipOrder { order_id }: ShipOrder) -> Done {
    let order = shop.order(order_id);
    if matches!(order.status, Status::Shipped | Status::Rejected) {
        return Ok(());
    }
    let shipment = order.shipment().key(format!("ship-order-{order_id}"));
    match shop.fulfillment.request(shipment).await? {
        ShipmentOutcome::Accepted { request_id } => shop.update(order_id, |order| {
            // One key, one request: a second attempt writes the same value as the first one.
            order.request_id = Some(request_id);
            order.status = Status::Shipped;
        }),
        ShipmentOutcome::Rejected { .. } => {
            // Email before saving. In the other order, a crash in between would leave the customer waiting.
            let told = shop.email.emails(&order.customer.email, ADDRESS_NEEDED).await?;
            if email_about(order_id, &told).is_none() {
                email_id(shop.email.send(order.address_needed()).await?)?;
            }
            shop.update(order_id, |order| order.status = Status::Rejected);
        }
    }
    Ok(())
}
