//! The job that is measured: ten awaits and three effects, with JSON payloads, ledger and observed state.

use std::collections::BTreeMap;
use std::time::Duration;

use retryproof::service::email::Email;
use retryproof::service::fulfillment::Shipment;
use retryproof::service::payments::{Charge, ChargeOutcome};
use retryproof::{Guarantee, ServiceError, World};
use serde::{Deserialize, Serialize};

/// The payload.
#[derive(Serialize, Deserialize)]
pub(crate) struct CompleteOrder {
    pub(crate) order_id: u32,
    pub(crate) email: String,
    pub(crate) lines: Vec<Line>,
}

/// An item of an order.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) product: String,
    pub(crate) cents: u64,
}

/// The state that survives every crash, and is compared when a run ends.
#[derive(Clone, Default, Serialize)]
pub(crate) struct Order {
    pub(crate) charge_id: Option<String>,
    pub(crate) done: bool,
}

impl CompleteOrder {
    pub(crate) fn example() -> Self {
        let line = Line { product: "pr_3".to_owned(), cents: 1_299 };
        Self { order_id: 6, email: "ada@example.com".to_owned(), lines: vec![line.clone(), line] }
    }
}

/// Two lookups, three effects, two sleeps and three yields. The job is retry-proof, so an exploration runs to its end
/// and makes no report: the charge and the parcel have keys, and the email is looked up before it is sent.
pub(crate) async fn ten_awaits(world: &World) {
    // Checking before sending takes two steps, so two concurrent deliveries both find nothing.
    world.allow("email.send", Guarantee::AtLeastOnce);
    let orders = world.durable("orders", BTreeMap::<u32, Order>::new());
    world.process("worker", move |p| {
        let (payments, email, fulfillment) = (p.payments(), p.email(), p.fulfillment());
        let (clock, orders) = (p.clock(), orders.clone());
        p.handle(async move |job: CompleteOrder| {
            let id = job.order_id;
            let cents = job.lines.iter().map(|line| line.cents).sum();
            payments.charges(id).await?;
            let charge = Charge::of_order(id, cents).customer("cu_2").payment_method("pm_2");
            let charged = payments.charge(charge.key(format!("charge-order-{id}"))).await?;
            clock.yield_now().await;
            orders.update(|orders| {
                let charge_id = match charged {
                    ChargeOutcome::Success { charge_id } => Some(charge_id),
                    _ => None,
                };
                orders.entry(id).or_default().charge_id = charge_id;
            });
            clock.sleep(Duration::from_secs(1)).await;
            if email.emails(&job.email, "receipt").await?.is_empty() {
                email
                    .send(Email::new(job.email, "receipt").data("order_id", id).data("cents", cents))
                    .await?;
            }
            clock.yield_now().await;
            clock.sleep(Duration::from_secs(1)).await;
            let shipment = Shipment::of_order(id, job.lines[0].product.clone(), 2).customer("cu_2");
            fulfillment.request(shipment.address("1 Main St").key(format!("ship-order-{id}"))).await?;
            clock.yield_now().await;
            orders.update(|orders| orders.entry(id).or_default().done = true);
            Ok::<(), ServiceError>(())
        });
    });
    world.enqueue(CompleteOrder::example());
    world.settle().await;
}
