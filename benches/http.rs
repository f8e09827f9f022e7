//! Measures a run over HTTP: `cargo bench -p retryproof-benches --bench http`, or quickly with `-- --test`.
#![expect(clippy::disallowed_methods, reason = "what is measured is real time")]
#![expect(clippy::print_stdout, reason = "what was measured is shown")]

use std::time::Instant;

use retryproof::{Explore, Verdict, World};
use serde_json::json;

/// The target for a job with three calls, in runs per second.
const WANTED: f64 = 1_000.0;

async fn complete(uri: &str, client: &reqwest::Client, order: u32) -> Result<(), reqwest::Error> {
    let metadata = json!({ "order_id": order.to_string(), "idempotency_key": format!("order-{order}") });
    let charge = json!({
        "customer_id": "cu_2", "payment_method_id": "pm_2", "amount_cents": 500, "metadata": metadata,
    });
    let charged = client.post(format!("{uri}/payments/charge")).json(&charge).send().await?;
    charged.error_for_status()?;
    let looked = client.get(format!("{uri}/payments/charges?order_id={order}")).send().await?;
    let _: serde_json::Value = looked.error_for_status()?.json().await?;
    let parcel = json!({
        "customer_id": "cu_2", "address": "1 Main St", "product_id": "pr_3", "quantity": 1, "metadata": metadata,
    });
    let shipped = client.put(format!("{uri}/fulfillment/request")).json(&parcel).send().await?;
    shipped.error_for_status().map(drop)
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--test");
    let deviations = if quick { 1 } else { 2 };
    let start = Instant::now();
    let report = Explore::new().deviations(deviations).run(async |world: &World| {
        world.process("worker", |p| {
            let (uri, client) = (p.http().uri(), reqwest::Client::new());
            p.handle(async move |order: u32| complete(&uri, &client, order).await);
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    let rate = report.runs() as f64 / start.elapsed().as_secs_f64();
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    println!("{} runs of a job of three calls, {rate:.0} runs/s; wanted: {WANTED}", report.runs());
}
