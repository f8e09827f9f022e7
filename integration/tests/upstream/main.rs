//! HTTP APIs behind an address of their own, with clients that know nothing about the harness.

#[path = "../../../tests/support/mod.rs"]
mod support;

mod broken;
mod jobs;
mod servers;
mod stubs;

use retryproof::http::Upstream;
use retryproof::{Report, World};
use serde_json::json;

use crate::support::{assert_green, one_deviation};

/// The summary of each violation.
fn summaries(report: &Report) -> Vec<&str> {
    report.violations().iter().map(|violation| violation.summary.as_str()).collect()
}

/// A job that charges for an order, as in production: it takes a base URL. `keyed` sends an idempotency key.
fn charges(world: &World, stripe: &Upstream, keyed: bool) {
    let stripe = stripe.clone();
    world.process("worker", move |p| {
        let (url, client) = (stripe.url(p), reqwest::Client::new());
        p.handle(async move |order: u32| {
            let mut request =
                client.post(format!("{url}/v1/charges")).json(&json!({ "order": order, "amount": 500 }));
            if keyed {
                request = request.header("Idempotency-Key", format!("order-{order}"));
            }
            request.send().await?.error_for_status()?.bytes().await.map(drop)
        });
    });
    world.enqueue(6_u32);
}
