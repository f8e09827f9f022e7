//! The email was sent before the job was enqueued: the job finds it, and sends none.

use retryproof::service::email::Email;
use retryproof::{Explore, Report, ServiceError, World};

use crate::{Family, good};

pub(crate) fn family() -> Family {
    Family::new("pre-sent email", [good("sent by the test", finding)])
}

fn finding(explore: &Explore) -> Report {
    explore.run(async |world: &World| {
        world.email().send(Email::new("ada@example.com", "receipt")).await.unwrap();
        let found = world.durable("found", false);
        world.process("worker", move |p| {
            let (email, found) = (p.email(), found.clone());
            p.handle(async move |to: String| {
                if email.emails(&to, "receipt").await?.is_empty() {
                    email.send(Email::new(&to, "receipt")).await?;
                } else {
                    found.set(true);
                }
                Ok::<_, ServiceError>(())
            });
        });
        world.enqueue("ada@example.com".to_owned());
        world.settle().await;
        assert_eq!(world.email().records().len(), 1);
    })
}
