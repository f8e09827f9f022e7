//! A job that cannot be made idempotent gives up: it is tried once, is moved to the dead set, and is reported.

use retryproof::report::Oracle;
use retryproof::service::email::Email;
use retryproof::{Explore, Report, World};

use crate::{Done, Family, bad, because, good};

pub(crate) fn family() -> Family {
    // At-least-once delivery redelivers after a crash, regardless of the number of retries.
    let again = [because(
        Oracle::Guarantee,
        "email.send happened twice, expected once",
        "job#1.1/email.send:happened=crash",
        "email.send(",
    )];
    Family::new(
        "retry 0",
        [
            bad("a crash is not a retry", again, |explore| sending(explore, false)),
            good("records that it began, and a human checks", |explore| sending(explore, true)),
        ],
    )
}

fn sending(explore: &Explore, marked: bool) -> Report {
    explore.run(async move |world: &World| {
        if marked {
            // It may have begun and sent nothing, which a human checks.
            world.jobs::<u32>().may_stop_half_way();
        }
        let told = world.durable("told", Vec::new());
        world.process("worker", move |p| {
            let (store, email) = (p.store(), p.email());
            p.handle(async move |order: u32| -> Done {
                if marked && !store.set_if_absent(format!("begun:{order}"), &true, None).await? {
                    return Err("an earlier attempt has begun, and nobody knows how far it came".into());
                }
                email.send(Email::new("ada@example.com", format!("order-{order}"))).await?;
                Ok(())
            })
            .max_retries(0);
            let told = told.clone();
            p.on_death(move |job| told.update(|told| told.push(job.number)));
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}
