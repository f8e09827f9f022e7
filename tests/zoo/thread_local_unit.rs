//! A forecast in the unit of the customer. An American job sets Fahrenheit for its thread.

use std::cell::Cell;

use retryproof::middleware::ClearThreadLocals;
use retryproof::report::Oracle;
use retryproof::service::email::Email;
use retryproof::{Explore, Guarantee, Report, World};

use crate::{Family, bad, because, good};

thread_local! {
    static UNIT: Cell<&'static str> = const { Cell::new("Celsius") };
}

pub(crate) fn family() -> Family {
    let left = "email.send happened with different content or a different key than expected: a job found what another job had left behind";
    Family::new(
        "thread-local unit",
        [
            bad("left behind", [because(Oracle::Isolation, left, "", "")], |explore| telling(explore, false)),
            good("cleared after each job", |explore| telling(explore, true)),
        ],
    )
}

fn telling(explore: &Explore, cleared: bool) -> Report {
    explore.run(async move |world: &World| {
        // Without a key or a lookup, because repetition is not the subject here.
        world.allow("email.send", Guarantee::AtLeastOnce);
        world.process("worker", move |p| {
            if cleared {
                p.layer(ClearThreadLocals::new(|| UNIT.set("Celsius")));
            }
            let email = p.email();
            p.handle_blocking(move |to: String| {
                if to.ends_with(".us") {
                    UNIT.set("Fahrenheit");
                }
                email.send_blocking(Email::new(to, "forecast").data("unit", UNIT.get())).map(drop)
            });
        });
        world.enqueue_bulk(["ada@example.us".to_owned(), "bob@example.eu".to_owned()]);
        world.settle().await;
    })
}
