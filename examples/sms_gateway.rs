//! A service of your own: an SMS gateway in three lines, with the same faults, ledger and crash points as the
//! built-in services.
//!
//! ```console
//! $ cargo run --example sms_gateway
//! ```
//!
//! The job texts a customer. It is explored twice: without a key, and with an idempotency key that the gateway knows.
//! The program fails unless the harness rejects the first version and accepts the second.

#![expect(clippy::print_stdout, reason = "it is the example's purpose")]

use retryproof::service::{Function, Keys, ServiceContext, function};
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
    Explore::new().name(name).replay_command("cargo run --example sms_gateway").run(async |world: &World| {
        // The gateway: its effects, its answers, and the keys that it knows.
        let mut keys = Keys::<String>::default();
        world.service(
            "sms",
            function("send", move |text: Text, cx: &mut ServiceContext<'_>| send(&mut keys, text, cx)),
        );
        world.process("worker", move |p| {
            let sms = p.service::<Function<Text, String>>("sms");
            p.handle(async move |job: Remind| {
                let key = keyed.then(|| format!("remind-{}", job.appointment));
                sms.call(Text { key, to: job.to, text: "See you tomorrow".to_owned() }).await.map(drop)
            });
        });
        world.enqueue(Remind { appointment: 6, to: "+49 30 901820".to_owned() });
        world.settle().await;
    })
}

fn send(keys: &mut Keys<String>, mut text: Text, cx: &mut ServiceContext<'_>) -> String {
    let key = text.key.take();
    if let Ok(Some(known)) = keys.known("send", key.as_deref(), &text, cx) {
        return known;
    }
    let id = cx.effect("send", key.as_deref(), &text, "sm_");
    if let Some(key) = key {
        keys.store(key, id.clone(), cx);
    }
    id
}

fn main() {
    let (naive, keyed) = (explore("without_a_key", false), explore("with_a_key", true));
    println!("{naive}\n{keyed}");
    assert!(!naive.is_retryproof(), "a text without a key is sent twice");
    assert!(keyed.is_retryproof(), "a text with a key is sent once");
}
