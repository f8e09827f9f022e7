//! The usual fix: three jobs. Each makes one call, saves, and enqueues the next.
//!
//! A failure repeats less than before, but it still repeats a call: when the reply to the call is lost, when the job
//! dies between the call and the save, and when it dies between the save and the enqueue.

use crash_points::crash_points;
use retryproof::World;
use retryproof::service::fulfillment::ShipmentOutcome;
use retryproof::service::payments::ChargeOutcome;
use serde::{Deserialize, Serialize};

use crate::order::{Orders, Status};
use crate::shop::{Done, Shop, assert_completed, email_id};

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
    let mut order = shop.order(order_id);
    match shop.payments.charge(order.charge()).await? {
        ChargeOutcome::Success { charge_id } => order.charge_id = Some(charge_id),
        ChargeOutcome::Declined { .. } => {
            order.status = Status::Declined;
            shop.save(order);
            return Ok(());
        }
    }
    order.status = Status::Paid;
    shop.save(order);
    shop.queue.enqueue(ConfirmOrder { order_id }).await?;
    Ok(())
}

#[crash_points]
async fn confirm(shop: &Shop, ConfirmOrder { order_id }: ConfirmOrder) -> Done {
    let mut order = shop.order(order_id);
    let sent = shop.email.send(order.confirmation()).await?;
    order.email_id = Some(email_id(sent)?);
    order.status = Status::Confirmed;
    shop.save(order);
    shop.queue.enqueue(ShipOrder { order_id }).await?;
    Ok(())
}

#[crash_points]
async fn ship(shop: &Shop, ShipOrder { order_id }: ShipOrder) -> Done {
    let mut order = shop.order(order_id);
    match shop.fulfillment.request(order.shipment()).await? {
        ShipmentOutcome::Accepted { request_id } => {
            order.request_id = Some(request_id);
            order.status = Status::Shipped;
        }
        ShipmentOutcome::Rejected { .. } => {
            email_id(shop.email.send(order.address_needed()).await?)?;
            order.status = Status::Rejected;
        }
    }
    shop.save(order);
    Ok(())
}
