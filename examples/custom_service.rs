//! A service of your own: an SMS gateway, in three lines, with the same faults, ledger and crash points as the built-in
//! services.
//!
//! ```console
//! $ cargo run --example custom_service
//! ```
//!
//! You will see two reports. Without a key, the customer gets the text twice if the gateway's reply is lost (RP0002).
//! With a key that the gateway honors, every scenario passes. The program fails if a report differs from this.

#![expect(clippy::print_stdout, reason = "it is the example's purpose")]

use retryproof::service::{ServiceContext, function};
use retryproof::{Explore, Report, World};
use serde::{Deserialize, Serialize};

/// A request to the gateway.
#[derive(Debug, Serialize, Deserialize)]
struct Text {
    key: Option<String>,
    to: String,
    text: String,
}

/// The job.
#[derive(Serialize, Deserialize)]
struct Remind {
    appointment: u32,
    to: String,
}

fn explore(name: &str, keyed: bool) -> Report {
    Explore::new().name(name).replay_command("cargo run --example custom_service").run(
        async |world: &World| {
            // The gateway: its effects, its answers, and the key of a request.
            let send = function("send", |text: Text, cx: &mut ServiceContext<'_>| {
                cx.effect("send", text.key.as_deref(), &text, "sm_")
            });
            let sms = world.service("sms", send.honors_keys(|text| text.key.as_deref()));
            world.process("worker", move |p| {
                let sms = p.client(&sms);
                p.handle(async move |job: Remind| {
                    let key = keyed.then(|| format!("remind-{}", job.appointment));
                    sms.call(Text { key, to: job.to, text: "See you tomorrow".to_owned() }).await.map(drop)
                });
            });
            world.enqueue(Remind { appointment: 6, to: "+49 30 901820".to_owned() });
            world.settle().await;
        },
    )
}

fn main() {
    let (naive, keyed) = (explore("without_a_key", false), explore("with_a_key", true));
    println!("{naive}\n{keyed}");
    assert!(!naive.is_retryproof(), "a text without a key is sent twice");
    assert!(keyed.is_retryproof(), "a text with a key is sent once");
}
