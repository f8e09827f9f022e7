//! A parcel is requested with an idempotency key. Whether the key works depends on what it is derived from.

use retryproof::report::Oracle;
use retryproof::service::fulfillment::Shipment;
use retryproof::{Durable, Explore, Process, Report, World};

use crate::{Family, S, bad, because, good};

pub(crate) fn family() -> Family {
    const ANOTHER: &str =
        "fulfillment.request happened with different content or a different key than expected";
    const BOTH: &str = "fulfillment.request happened, but happens in no fault-free run";
    const REUSED: &str =
        "fulfillment.request never happened: it was answered with the stored answer of another request…";
    let lost = "job#1.1/fulfillment.request:call=reply-lost";
    let both = || {
        let pause = "job#1.1/fulfillment.request:pause=past-lease";
        [
            because(Oracle::Reference, BOTH, lost, "parcels.request("),
            because(Oracle::Serial, BOTH, pause, "parcels.request("),
        ]
    };
    let changes = || {
        let unavailable = "job#1.1/fulfillment.request:call=unavailable";
        let another = because(Oracle::Reference, ANOTHER, unavailable, "parcels.request(");
        both().into_iter().chain([another]).collect::<Vec<_>>()
    };
    Family::new(
        "fulfillment key",
        [
            // Another moment is another name of the same parcel, as long as there is only one.
            bad("from the time", both(), |explore| shipping(explore, &[1], Key::Time)),
            bad("from the attempt", changes(), |explore| shipping(explore, &[1], Key::Attempt)),
            bad("the constant 1", [because(Oracle::Guarantee, REUSED, "", "parcels.request(")], |explore| {
                shipping(explore, &[1, 2], Key::Constant)
            }),
            good("from the order's id", |explore| shipping(explore, &[1, 2], Key::Order)),
        ],
    )
}

#[derive(Clone, Copy)]
enum Key {
    Time,
    Attempt,
    Constant,
    Order,
}

fn shipping(explore: &Explore, orders: &'static [u32], key: Key) -> Report {
    explore.run(async move |world: &World| {
        let attempts = world.durable("attempts", 0_u32);
        world.ignore("attempts", "$");
        world.process("worker", move |p| handle(p, &attempts, key));
        world.enqueue_bulk(orders.iter().copied());
        world.settle().await;
    })
}

fn handle(p: &Process, attempts: &Durable<u32>, key: Key) {
    let (parcels, clock, attempts) = (p.fulfillment(), p.clock(), attempts.clone());
    p.handle(async move |order: u32| {
        attempts.update(|attempts| *attempts += 1);
        let key = match key {
            Key::Time => format!("{}", clock.now().as_secs() / S.as_secs()),
            Key::Attempt => format!("order-{order}-attempt-{}", attempts.get()),
            Key::Constant => "1".to_owned(),
            Key::Order => format!("order-{order}"),
        };
        parcels.request(Shipment::of_order(order, "pr_1", 1).address("1 Main St").key(key)).await
    });
}
