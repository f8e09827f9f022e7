//! An async job whose HTTP client is `reqwest`, as in production: it gets another base URI, and nothing else changes.
//!
//! ```console
//! $ cargo run -p retryproof-integration --example reqwest_client
//! ```
//!
//! You will see two reports of a job that pays for an order and has it shipped. Without idempotency keys, a lost reply
//! is paid for twice (RP0002). With keys that are the same on every attempt, every scenario ends well. The program
//! fails unless it comes out so.

#![expect(clippy::print_stdout, reason = "it is the example's purpose")]

use std::time::Duration;

use reqwest::{Client, Error};
use retryproof::{Explore, Report, World};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The shop's own code. It knows nothing of the harness.
#[derive(Clone)]
struct Shop {
    client: Client,
    base: String,
    keyed: bool,
}

/// The job.
#[derive(Serialize, Deserialize)]
struct CompleteOrder {
    order_id: u32,
}

impl Shop {
    fn new(base: String, keyed: bool) -> Result<Self, Error> {
        let client = Client::builder().timeout(Duration::from_secs(20)).build()?;
        Ok(Self { client, base, keyed })
    }

    fn metadata(&self, what: &str, order_id: u32) -> Value {
        let order = order_id.to_string();
        match self.keyed {
            true => json!({ "order_id": order, "idempotency_key": format!("{what}-{order}") }),
            false => json!({ "order_id": order }),
        }
    }

    async fn charge(&self, order_id: u32) -> Result<Value, Error> {
        let charge = json!({
            "customer_id": "cu_2", "payment_method_id": "pm_2", "amount_cents": 2_598,
            "metadata": self.metadata("charge", order_id),
        });
        let sent = self.client.post(format!("{}/payments/charge", self.base)).json(&charge).send().await?;
        sent.error_for_status()?.json().await
    }

    async fn ship(&self, order_id: u32) -> Result<Value, Error> {
        let parcel = json!({
            "customer_id": "cu_2", "address": "1 Main St", "product_id": "pr_3", "quantity": 1,
            "metadata": self.metadata("ship", order_id),
        });
        let sent = self.client.put(format!("{}/fulfillment/request", self.base)).json(&parcel).send().await?;
        sent.error_for_status()?.json().await
    }

    async fn complete(&self, order_id: u32) -> Result<(), Error> {
        self.charge(order_id).await?;
        self.ship(order_id).await.map(drop)
    }
}

fn explore(name: &str, keyed: bool) -> Report {
    let replay = "cargo run -p retryproof-integration --example reqwest_client";
    Explore::new().name(name).replay_command(replay).run(async |world: &World| {
        world.process("worker", move |p| {
            let shop = Shop::new(p.http().uri(), keyed).expect("a client can be built");
            p.handle(async move |job: CompleteOrder| shop.complete(job.order_id).await);
        });
        world.enqueue(CompleteOrder { order_id: 6 });
        world.settle().await;
    })
}

fn main() {
    let (naive, keyed) = (explore("without_keys", false), explore("with_keys", true));
    println!("{naive}\n{keyed}");
    assert!(!naive.is_retryproof(), "without keys a lost reply is paid for twice");
    assert!(keyed.is_retryproof(), "with keys it is not");
}
