//! Refusals that matter in later attempts and in other jobs.

use super::inputs::{charge, shipment};
use super::*;
use retryproof::StoreError;
use retryproof::service::payments::ChargeOutcome;

/// A refused attempt notes the refusal and fails. The next one tries another card, under a key that derives from the
/// note, or from a number that it draws.
#[test]
fn input_20_the_key_of_a_later_attempt_derives_from_the_first_refusal() {
    let explore = |derives: bool| {
        Explore::new().name("test").deviations(1).run(async move |world: &World| {
            world.payments().explore_declines();
            world.payments().store_refusals();
            world.process("worker", move |p| {
                let (payments, store, rng) = (p.payments(), p.store(), p.rng());
                p.handle(async move |order: u32| {
                    let text = |error: StoreError| error.to_string();
                    let refused = store.get::<String>("refused").await.map_err(text)?;
                    let (card, key) = match &refused {
                        None => ("pm_first", format!("order-{order}")),
                        Some(note) if derives => ("pm_second", format!("order-{order}-after-{}", note.value)),
                        Some(_) => ("pm_second", format!("order-{order}-{}", rng.next_u64())),
                    };
                    let charge = Charge::of_order(order, 500).payment_method(card).key(key);
                    match payments.charge(charge).await.map_err(|error| error.to_string())? {
                        ChargeOutcome::Success { .. } => Ok(()),
                        _ if refused.is_some() => store.put("given-up", &true).await.map_err(text),
                        _ => {
                            store.put("refused", &card).await.map_err(text)?;
                            Err("try another card".to_owned())
                        }
                    }
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
        })
    };
    assert_green(&explore(true));
    assert_red(&explore(false), Code::RepeatedAfterError, "payments.charge happened twice, expected once");
}

/// A sweeper that the test enqueues ships each order that is not shipped yet: whether it is paid for, or not.
#[test]
fn a_sweeper_that_ships_a_declined_order() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Sweep;
    let explore = |looks: bool, order: u32| {
        Explore::new().name("test").deviations(1).run(async move |world: &World| {
            world.payments().explore_declines();
            world.process("worker", move |p| {
                let (payments, store) = (p.payments(), p.store());
                p.handle(async move |order: u32| {
                    let charged = payments.charge(charge(order)).await.map_err(|error| error.to_string())?;
                    let paid = matches!(charged, ChargeOutcome::Success { .. });
                    store.put(format!("paid:{order}"), &paid).await.map_err(|error| error.to_string())
                });
                let (parcels, store) = (p.fulfillment(), p.store());
                p.handle(async move |_: Sweep| {
                    let paid = store.get::<bool>("paid:6").await.map_err(|error| error.to_string())?;
                    if looks && !paid.is_some_and(|row| row.value) {
                        return Ok(());
                    }
                    parcels.request(shipment(order)).await.map(drop).map_err(|error| error.to_string())
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
            world.enqueue(Sweep);
            world.settle().await;
        })
    };
    let report = explore(false, 6);
    assert_eq!(report.code(), Some(Code::RefusalIgnored), "{report}");
    assert_green(&explore(true, 6));
    // A parcel of another order has nothing to do with it.
    assert_green(&explore(false, 7));
}
