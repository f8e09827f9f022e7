//! The obvious first version: charge, email, fulfill, then save everything.
//!
//! It is correct as long as nothing goes wrong. But a job that fails or dies starts again from its first line. By
//! then the customer may have paid, and nothing records that before the last line has run.

use crash_points::crash_points;
use retryproof::World;
use retryproof::service::fulfillment::ShipmentOutcome;
use retryproof::service::payments::ChargeOutcome;
use serde::{Deserialize, Serialize};

use crate::order::{Orders, Status};
use crate::shop::{Done, Shop, assert_completed, email_id};

#[derive(Serialize, Deserialize)]
struct CompleteOrder {
    order_id: u32,
}

pub(crate) async fn complete(world: &World, orders: Orders) {
    let placed: Vec<u32> = orders.keys().copied().collect();
    let orders = world.durable("orders", orders);
    world.process("worker", |p| {
        let shop = Shop::new(p);
        p.handle(async move |job: CompleteOrder| complete_order(&shop, job).await);
    });
    for order_id in placed {
        world.enqueue(CompleteOrder { order_id });
    }
    world.settle().await;
    orders.read(|orders| assert_completed(world, orders));
}

#[crash_points]
async fn complete_order(shop: &Shop, job: CompleteOrder) -> Done {
    let mut order = shop.order(job.order_id);

    match shop.payments.charge(order.charge()).await? {
        ChargeOutcome::Success { charge_id } => order.charge_id = Some(charge_id),
        ChargeOutcome::Declined { .. } => {
            order.status = Status::Declined;
            shop.save(order);
            return Ok(());
        }
    }

    let sent = shop.email.send(order.confirmation()).await?;
    order.email_id = Some(email_id(sent)?);

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
