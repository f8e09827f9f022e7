//! Two requests, each of another tenant. Their jobs store something for their tenants.

use std::cell::RefCell;
use std::collections::BTreeMap;

use retryproof::middleware::RequestContext;
use retryproof::report::Oracle;
use retryproof::{Explore, Report, World};

use crate::{Family, bad, because, good};

thread_local! {
    static TENANT: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn tenant() -> Option<String> {
    TENANT.with_borrow(Clone::clone)
}

pub(crate) fn family() -> Family {
    let body = "the test body panicked at tests/zoo/request_context.rs:…";
    Family::new(
        "request context",
        [
            bad("tenant of the thread", [because(Oracle::Body, body, "", "")], |explore| {
                storing(explore, false)
            }),
            good("tenant in the payload", |explore| storing(explore, true)),
        ],
    )
}

fn storing(explore: &Explore, carried: bool) -> Report {
    explore.run(async move |world: &World| {
        TENANT.set(None);
        let context = || RequestContext::of_thread_local("tenant", &TENANT);
        let stored = world.durable("stored", BTreeMap::new());
        if carried {
            world.enqueue_layer(context());
        }
        world.process("worker", {
            let stored = stored.clone();
            move |p| {
                if carried {
                    p.layer(context());
                }
                let (stored, clock) = (stored.clone(), p.clock());
                p.handle(async move |document: u32| {
                    clock.yield_now().await;
                    let tenant = tenant().ok_or("no tenant")?;
                    stored.update(|stored| stored.insert(document, tenant));
                    Ok::<_, &str>(())
                });
            }
        });
        // What a request sets on its thread stays until the next request.
        for (tenant, document) in [("acme", 1_u32), ("umbrella", 2)] {
            TENANT.set(Some(tenant.to_owned()));
            world.enqueue(document);
        }
        world.settle().await;
        let tenants: Vec<_> = stored.get().into_values().collect();
        assert_eq!(tenants, ["acme", "umbrella"], "each for its own tenant");
    })
}
