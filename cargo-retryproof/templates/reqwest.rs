//! A first test with retryproof and reqwest. The job is wrong on purpose: run `cargo retryproof test`, and read the report.

use retryproof::World;
use serde_json::json;

/// Your job. Only the base URI differs from production.
async fn pay(client: &reqwest::Client, base: &str, order: u32) -> Result<(), reqwest::Error> {
    let body = json!({
        "customer_id": "ada", "payment_method_id": "pm_1", "amount_cents": 500, "metadata": { "order_id": order.to_string() },
    });
    // To mend it, send a key that is the same on every attempt: `"idempotency_key": format!("order-{order}")` in `metadata`.
    let reply = client.post(format!("{base}/payments/charge")).json(&body).send().await?;
    reply.error_for_status().map(drop)
}

#[retryproof::test]
async fn orders_are_paid_once(world: &World) {
    // What `main` of your worker does: it builds clients, and registers handlers.
    world.process("worker", |p| {
        let (base, client) = (p.http().uri(), reqwest::Client::new());
        p.handle(async move |order: u32| pay(&client, &base, order).await);
    });
    world.enqueue(6_u32);
    world.settle().await;
}
