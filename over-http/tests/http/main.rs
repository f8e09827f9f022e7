//! All services over real HTTP, with clients that know nothing of the harness.

mod answers;
mod faults;
mod hostile;
mod overtaken;
mod same;

use retryproof::{Explore, Report, Verdict};
use serde_json::{Value, json};

/// One deviation shows most.
fn one_deviation() -> Explore {
    Explore::new().name("test").deviations(1)
}

#[track_caller]
fn assert_green(report: &Report) {
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    assert!(report.exhausted(), "{report}");
}

/// Each violation, as `summary: scenario`.
fn found(report: &Report) -> Vec<String> {
    report.violations().iter().map(|v| format!("{}: {}", v.summary, v.scenario)).collect()
}

/// The body of a request to charge.
fn charge(order: u32, key: Option<&str>) -> Value {
    let mut metadata = json!({ "order_id": order.to_string() });
    if let Some(key) = key {
        metadata["idempotency_key"] = key.into();
    }
    json!({
        "customer_id": "cu_2", "payment_method_id": "pm_2", "amount_cents": 500, "metadata": metadata,
    })
}
