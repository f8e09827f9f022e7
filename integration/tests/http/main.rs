//! All services over real HTTP, with clients that know nothing about the harness.

#[path = "../../../tests/support/mod.rs"]
mod support;

mod answers;
mod faults;
mod hangs;
mod hostile;
mod preemptions;
mod http_parity;

use retryproof::Report;
use serde_json::{Value, json};

use crate::support::{assert_green, one_deviation};

/// Returns each violation as `summary: scenario`.
fn found(report: &Report) -> Vec<String> {
    report.violations().iter().map(|v| format!("{}: {}", v.summary, v.scenario)).collect()
}

/// Returns the body of a request to charge.
fn charge(order: u32, key: Option<&str>) -> Value {
    let mut metadata = json!({ "order_id": order.to_string() });
    if let Some(key) = key {
        metadata["idempotency_key"] = key.into();
    }
    json!({
        "customer_id": "cu_2", "payment_method_id": "pm_2", "amount_cents": 500, "metadata": metadata,
    })
}
