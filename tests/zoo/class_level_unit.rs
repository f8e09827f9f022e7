//! A setting in a static, which the job of each slot sets for itself.

use std::sync::atomic::{AtomicU8, Ordering};

use retryproof::report::Oracle;
use retryproof::service::email::Email;
use retryproof::{Explore, Guarantee, Report, ServiceError, World};

use crate::{Family, bad, because, good};

/// The unit of the temperatures: `C` or `F`.
static UNIT: AtomicU8 = AtomicU8::new(b'C');

pub(crate) fn family() -> Family {
    let another = "email.send happened with different content or a different key than expected";
    let twice = "email.send happened, but happens in no fault-free run";
    let both_late = "job#1.1/email.emails:pause=past-lease job#2.1/email.emails:pause=past-lease";
    let reasons = [
        because(Oracle::Serial, another, "job#1.1/email.emails:next=other", "emails_blocking("),
        because(Oracle::Serial, twice, both_late, "emails_blocking("),
    ];
    Family::new(
        "class-level unit",
        [
            bad("kept in a static", reasons, |explore| telling(explore, true)),
            good("passed as an argument", |explore| telling(explore, false)),
        ],
    )
}

fn telling(explore: &Explore, is_static: bool) -> Report {
    explore.run(async move |world: &World| {
        // Checking before sending is not enough for two concurrent deliveries, which are not the subject here.
        world.allow("email.send", Guarantee::AtLeastOnce);
        world.process("worker", move |p| {
            let email = p.email();
            p.handle_blocking(move |unit: char| {
                UNIT.store(unit as u8, Ordering::SeqCst);
                let to = format!("{unit}@example.com");
                if email.emails_blocking(&to, "forecast")?.is_empty() {
                    let unit = if is_static { UNIT.load(Ordering::SeqCst) as char } else { unit };
                    email.send_blocking(Email::new(to, "forecast").data("unit", unit.to_string()))?;
                }
                Ok::<_, ServiceError>(())
            });
        });
        world.enqueue_bulk(['C', 'F']);
        world.settle().await;
    })
}
