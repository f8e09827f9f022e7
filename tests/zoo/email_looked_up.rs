//! An email service without idempotency keys, so the job looks for the email before it sends it.

use retryproof::report::Oracle;
use retryproof::service::email::Email;
use retryproof::{Explore, Guarantee, Report, ServiceError, World};

use crate::{Family, bad, because, good};

const TWICE: &str = "email.send happened twice, expected once";

pub(crate) fn family() -> Family {
    let at_once =
        [because(Oracle::Guarantee, TWICE, "job#1.1/email.emails:pause=past-lease", "email.emails(")];
    let stale = "job#1.1/email.send:call=reply-lost job#1.2/email.emails:call=stale";
    let lagging = [because(Oracle::Guarantee, TWICE, stale, "email.emails(")];
    Family::new(
        "email, look before sending",
        [
            bad("two concurrent deliveries", at_once, |explore| sending(explore, |_| ()))
                .says("world.allow(\"email.send\", Guarantee::AtLeastOnce)"),
            bad("a search that shows nothing yet", lagging, |explore| {
                sending(explore, |world| _ = world.email().explore_stale_reads())
            })
            .with("deliveries(0)", |explore| explore.deliveries(0)),
            good("crashes and lost replies alone", |explore| sending(explore, |_| ()))
                .with("deliveries(0)", |explore| explore.deliveries(0)),
            good("at least once is enough", |explore| {
                sending(explore, |world| {
                    world.allow("email.send", Guarantee::AtLeastOnce);
                })
            })
            .says("email.send may be repeated: the test allows `AtLeastOnce`"),
        ],
    )
}

fn sending(explore: &Explore, set: fn(&World)) -> Report {
    explore.run(async move |world: &World| {
        set(world);
        world.process("worker", |p| {
            let email = p.email();
            p.handle(async move |to: String| {
                if email.emails(&to, "receipt").await?.is_empty() {
                    email.send(Email::new(&to, "receipt")).await?;
                }
                Ok::<_, ServiceError>(())
            });
        });
        world.enqueue("ada@example.com".to_owned());
        world.settle().await;
    })
}
