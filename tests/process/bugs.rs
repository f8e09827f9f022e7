//! Three bugs that the page of a test run shows, and a test whose names are markup. The tests in `page.rs` run them.

use crash_points::crash_points;
use retryproof::service::email::{Email, EmailService};
use retryproof::service::fulfillment::{Fulfillment, Shipment};
use retryproof::service::payments::{Charge, Payments};
use retryproof::{Client, Durable, Explore, ServiceError, Store, World};
use serde::{Deserialize, Serialize};

type JobError = Box<dyn std::error::Error + Send + Sync>;

fn is_mended() -> bool {
    std::env::var("SCENE").is_ok_and(|version| version == "mended")
}

#[derive(Serialize, Deserialize)]
struct CompleteOrder {
    order_id: u32,
}

/// A lost reply leads to a second charge.
#[crash_points]
async fn complete_order(
    payments: &Client<Payments>,
    parcels: &Client<Fulfillment>,
    job: CompleteOrder,
) -> Result<(), ServiceError> {
    let charge = Charge::of_order(job.order_id, 2_598);
    let charge = if is_mended() { charge.key(format!("order-{}", job.order_id)) } else { charge };
    payments.charge(charge).await?;
    let parcel = Shipment::of_order(job.order_id, "pr_3", 1).address("1 Main St");
    parcels.request(parcel.key(format!("order-{}", job.order_id))).await?;
    Ok(())
}

#[retryproof::test(deviations = 1)]
#[ignore = "run by the tests beside it"]
async fn charges_twice(world: &World) {
    world.process("worker", |p| {
        let (payments, parcels) = (p.payments(), p.fulfillment());
        p.handle(async move |job: CompleteOrder| complete_order(&payments, &parcels, job).await);
    });
    world.enqueue(CompleteOrder { order_id: 6 });
    world.settle().await;
}

#[derive(Serialize, Deserialize)]
struct SendReceipt {
    order_id: u32,
}

/// Remembers that the receipt is sent before it is.
#[crash_points]
async fn send_receipt(email: &Client<EmailService>, sent: &Durable<bool>) -> Result<(), ServiceError> {
    if sent.get() {
        return Ok(());
    }
    sent.set(true);
    email.send(Email::new("ada@example.com", "receipt")).await?;
    Ok(())
}

#[retryproof::test(deviations = 1)]
#[ignore = "run by the tests beside it"]
async fn loses_a_mail(world: &World) {
    world.allow("email.send", retryproof::Guarantee::AtLeastOnce);
    let sent = world.durable("receipt_sent", false);
    world.process("worker", move |p| {
        let (email, sent) = (p.email(), sent.clone());
        p.handle(async move |_: SendReceipt| send_receipt(&email, &sent).await);
    });
    world.enqueue(SendReceipt { order_id: 6 });
    world.settle().await;
}

#[derive(Serialize, Deserialize)]
struct Reserve {
    order_id: u32,
}

/// Reads the stock, and writes it back: another worker may do the same in between.
async fn reserve(store: &Store, job: Reserve) -> Result<(), JobError> {
    let stock = store.get::<u32>("stock").await?.ok_or("no stock")?;
    let row = format!("reserved-{}", job.order_id);
    if stock.value > 0 && store.set_if_absent(row, &true, None).await? {
        store.put("stock", &(stock.value - 1)).await?;
    }
    Ok(())
}

#[retryproof::test(deviations = 1, crashes = 0, faults = 0, deliveries = 0)]
#[ignore = "run by the tests beside it"]
async fn oversells(world: &World) {
    world.store().put_blocking("stock", &2_u32).unwrap();
    for name in ["worker-a", "worker-b"] {
        world.process(name, |p| {
            let store = p.store();
            p.handle(async move |job: Reserve| reserve(&store, job).await);
        });
    }
    world.enqueue(Reserve { order_id: 6 });
    world.enqueue(Reserve { order_id: 7 });
    world.settle().await;
}

/// Every name and every text is markup.
#[test]
#[ignore = "run by the tests beside it"]
fn is_markup() {
    const EVIL: &str = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&--><!--";
    Explore::new().name(format!("bugs::{EVIL}")).deviations(1).check(async |world: &World| {
        let state = world.durable(EVIL, 0_u32);
        world.process(EVIL, move |p| {
            let (payments, state) = (p.payments(), state.clone());
            p.handle(async move |text: String| {
                state.set(state.get() + 1);
                payments.charge(Charge::of_order(text, 500)).await.map(drop)
            });
        });
        world.enqueue(EVIL.to_owned());
        world.settle().await;
    });
}
