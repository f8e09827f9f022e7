//! A blocking job whose HTTP client is `ureq`, as in production: it gets another base URI, and nothing else changes.
//!
//! ```console
//! $ cargo run -p retryproof-integration --example ureq_client
//! ```
//!
//! You will see two reports of a job that sends a welcome email. The email service takes no keys, so a lost reply sends the
//! email twice. A job that looks before it sends ends well in every scenario. The program fails unless it comes out so.

#![expect(clippy::print_stdout, reason = "it is the example's purpose")]

use retryproof::{Explore, Report, World};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use ureq::{Agent, Error};

/// The app's own code. It knows nothing of the harness.
#[derive(Clone)]
struct Mailer {
    agent: Agent,
    base: String,
    looks: bool,
}

/// The job.
#[derive(Serialize, Deserialize)]
struct Welcome {
    to: String,
}

impl Mailer {
    fn was_sent(&self, to: &str) -> Result<bool, Error> {
        let found = self.agent.get(format!("{}/email/emails", self.base));
        let mut found = found.query("email", to).query("template_id", "welcome").call()?;
        Ok(!found.body_mut().read_json::<Vec<Value>>()?.is_empty())
    }

    fn welcome(&self, to: &str) -> Result<(), Error> {
        if self.looks && self.was_sent(to)? {
            return Ok(());
        }
        let email = json!({ "to": to, "template_id": "welcome", "template_data": { "name": "Ada" } });
        self.agent
            .post(format!("{}/email/send", self.base))
            .send_json(email)?
            .body_mut()
            .read_json::<Value>()
            .map(drop)
    }
}

fn explore(name: &str, looks: bool) -> Report {
    let replay = "cargo run -p retryproof-integration --example ureq_client";
    Explore::new().name(name).replay_command(replay).run(async |world: &World| {
        world.process("worker", move |p| {
            let mailer = Mailer { agent: Agent::new_with_defaults(), base: p.http().uri(), looks };
            p.handle_blocking(move |job: Welcome| mailer.welcome(&job.to));
        });
        world.enqueue(Welcome { to: "ada@example.com".to_owned() });
        world.settle().await;
    })
}

fn main() {
    let (naive, looking) = (explore("without_a_look", false), explore("with_a_look", true));
    println!("{naive}\n{looking}");
    assert!(!naive.is_retryproof(), "without a look a lost reply is sent twice");
    assert!(looking.is_retryproof(), "with a look it is not");
}
