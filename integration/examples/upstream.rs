//! A job that calls two HTTP APIs with `reqwest`, as in production: it takes their base URLs, and nothing else changes. One
//! API is answered by stubs, the other by a router of axum.
//!
//! ```console
//! $ cargo run -p retryproof-integration --example upstream
//! ```
//!
//! You will see two reports of a job that pays for an order and sends a receipt. Without idempotency keys, a lost reply is
//! paid for twice (RP0002), and the receipt is sent although the card was declined (RP0026). The fixed job looks at the
//! answer, and its keys are the same on every attempt. The program fails unless it comes out so.

#![expect(clippy::print_stdout, reason = "it is the example's purpose")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Router, routing};
use reqwest::{Client, Error};
use retryproof::http::post;
use retryproof::{Explore, Report, World};
use serde_json::json;

/// The shop's own code. It knows nothing of the harness.
#[derive(Clone)]
struct Shop {
    client: Client,
    payments: String,
    mail: String,
    is_mended: bool,
}

impl Shop {
    async fn pay(&self, order: u32) -> Result<(), Error> {
        let charge = self.client.post(format!("{}/v1/charges", self.payments));
        let charge = charge.json(&json!({ "order": order, "amount": 2_598 }));
        let receipt = self.client.post(format!("{}/messages", self.mail));
        let receipt = receipt.body(format!("Your order {order} is paid."));
        let (charge, receipt) = match self.is_mended {
            true => {
                let key = |what: &str| format!("{what}-{order}");
                (
                    charge.header("Idempotency-Key", key("charge")),
                    receipt.header("Message-Id", key("receipt")),
                )
            }
            false => (charge, receipt),
        };
        let charged = charge.send().await?;
        let is_declined = charged.status() == 402;
        if !is_declined {
            charged.error_for_status()?;
        }
        if is_declined && self.is_mended {
            return Ok(());
        }
        receipt.send().await?.error_for_status().map(drop)
    }
}

/// A mail server of the test, which drops a message whose id it knows.
type Outbox = Arc<Mutex<BTreeSet<String>>>;

async fn send(State(outbox): State<Outbox>, headers: HeaderMap, text: String) -> StatusCode {
    let mut outbox = outbox.lock().expect("nothing panics here");
    let count = outbox.len();
    let id = headers.get("message-id").map_or_else(|| format!("message {count}"), |id| format!("{id:?}"));
    outbox.insert(format!("{id}: {text}"));
    StatusCode::ACCEPTED
}

fn explore(name: &str, is_mended: bool) -> Report {
    let replay = "cargo run -p retryproof-integration --example upstream";
    Explore::new().name(name).replay_command(replay).run(async |world: &World| {
        let payments = world.upstream("payments_api");
        payments.honor_idempotency_keys().stub(post("/v1/charges"), |call| json!({ "id": call.id("ch_") }));
        payments.explore_refusal(post("/v1/charges"), "declined", (402, json!({ "error": "card_declined" })));
        let (mail, outbox) = (world.upstream("mail"), Outbox::default());
        mail.served_by(Router::new().route("/messages", routing::post(send)).with_state(outbox.clone()));
        mail.deduplicates(post("/messages"));
        world.observe("outbox", move || outbox.lock().expect("nothing panics here").clone());
        world.process("worker", move |p| {
            let (payments, mail) = (payments.url(p), mail.url(p));
            let shop = Shop { client: Client::new(), payments, mail, is_mended };
            p.handle(async move |order: u32| shop.pay(order).await);
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}

fn main() {
    let (naive, mended) = (explore("naive", false), explore("mended", true));
    println!("{naive}\n{mended}");
    assert!(!naive.is_retryproof(), "without keys a lost reply is paid for twice");
    assert!(mended.is_retryproof(), "with keys it is not");
}
