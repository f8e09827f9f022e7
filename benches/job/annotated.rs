//! The same job in a function with crash points: it can also crash before each of its fourteen statements.

use std::collections::BTreeMap;
use std::time::Duration;

use crash_points::crash_points;
use retryproof::service::email::{Email, EmailService};
use retryproof::service::fulfillment::{Fulfillment, Shipment};
use retryproof::service::payments::{Charge, ChargeOutcome, Payments};
use retryproof::{Client, Clock, Durable, Guarantee, ServiceError, World};

use crate::job::{CompleteOrder, Order};

struct Shop {
    payments: Client<Payments>,
    email: Client<EmailService>,
    fulfillment: Client<Fulfillment>,
    clock: Clock,
    orders: Durable<BTreeMap<u32, Order>>,
}

fn charge_id(charged: ChargeOutcome) -> Option<String> {
    match charged {
        ChargeOutcome::Success { charge_id } => Some(charge_id),
        _ => None,
    }
}

fn charge(id: u32, job: &CompleteOrder) -> Charge {
    let cents = job.lines.iter().map(|line| line.cents).sum();
    let charge = Charge::of_order(id, cents).customer("cu_2").payment_method("pm_2");
    charge.key(format!("charge-order-{id}"))
}

fn shipment(id: u32, job: &CompleteOrder) -> Shipment {
    let shipment = Shipment::of_order(id, job.lines[0].product.clone(), 2).customer("cu_2");
    shipment.address("1 Main St").key(format!("ship-order-{id}"))
}

impl Shop {
    #[crash_points]
    async fn complete(&self, job: CompleteOrder) -> Result<(), ServiceError> {
        let id = job.order_id;
        self.payments.charges(id).await?;
        let charged = self.payments.charge(charge(id, &job)).await?;
        self.clock.yield_now().await;
        self.orders.update(|orders| orders.entry(id).or_default().charge_id = charge_id(charged));
        self.clock.sleep(Duration::from_secs(1)).await;
        if self.email.emails(&job.email, "receipt").await?.is_empty() {
            self.email.send(Email::new(job.email.as_str(), "receipt").data("order_id", id)).await?;
        }
        self.clock.yield_now().await;
        self.clock.sleep(Duration::from_secs(1)).await;
        self.fulfillment.request(shipment(id, &job)).await?;
        self.clock.yield_now().await;
        self.orders.update(|orders| orders.entry(id).or_default().done = true);
        Ok(())
    }
}

/// Ten awaits, three effects, fourteen lines.
pub(crate) async fn ten_awaits(world: &World) {
    // Checking before sending takes two steps, so two concurrent deliveries both find nothing.
    world.allow("email.send", Guarantee::AtLeastOnce);
    let orders = world.durable("orders", BTreeMap::<u32, Order>::new());
    world.process("worker", move |p| {
        let (payments, email, fulfillment) = (p.payments(), p.email(), p.fulfillment());
        let shop = Shop { payments, email, fulfillment, clock: p.clock(), orders: orders.clone() };
        p.handle(async move |job: CompleteOrder| shop.complete(job).await);
    });
    world.enqueue(CompleteOrder::example());
    world.settle().await;
}
