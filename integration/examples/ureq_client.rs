//! A blocking job whose HTTP client is `ureq`, as in production: it gets another base URI, and nothing else changes.
//!
//! ```console
//! $ cargo run -p retryproof-integration --example ureq_client
//! ```
//!
//! The job sends a welcome email. The email service takes no idempotency key. You will see three reports:
//!
//! 1. The job just sends. A lost reply leads to a second email.
//! 2. The job looks before it sends. Retries are safe now, but two attempts that run at the same time both look
//!    before either of them sends.
//! 3. The same job, and the test accepts an email that is sent more than once. This is all that can be had
//!    without a key.
//!
//! The program fails unless the harness tells the three apart.

#![expect(clippy::print_stdout, reason = "it is the example's purpose")]

use retryproof::{Explore, Guarantee, Report, World};
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

fn explore(name: &str, looks: bool, guarantee: Guarantee) -> Report {
    let replay = "cargo run -p retryproof-integration --example ureq_client";
    Explore::new().name(name).replay_command(replay).run(async |world: &World| {
        world.allow("email.send", guarantee);
        world.process("worker", move |p| {
            let mailer = Mailer { agent: Agent::new_with_defaults(), base: p.http().uri(), looks };
            p.handle_blocking(move |job: Welcome| mailer.welcome(&job.to));
        });
        world.enqueue(Welcome { to: "ada@example.com".to_owned() });
        world.settle().await;
    })
}

fn main() {
    let naive = explore("just_sends", false, Guarantee::ExactlyOnce);
    let looking = explore("looks_first", true, Guarantee::ExactlyOnce);
    let accepted = explore("looks_first_and_may_repeat", true, Guarantee::AtLeastOnce);
    println!("{naive}\n{looking}\n{accepted}");
    let codes =
        |report: &Report| report.violations().iter().map(|found| found.code.to_string()).collect::<Vec<_>>();
    assert_eq!(codes(&naive)[0], "RP0002", "a lost reply leads to a second email");
    assert_eq!(codes(&looking), ["RP0004"], "only attempts that run at the same time send twice");
    assert!(accepted.is_retryproof(), "the test accepts a repeated email");
}
