//! The tests that the other tests here run. Their behavior depends on `SCENE`, like code that is being worked on.

use retryproof::service::email::Email;
use retryproof::service::fulfillment::Shipment;
use retryproof::service::payments::Charge;
use retryproof::{ServiceError, World};
use serde::{Deserialize, Serialize};

fn version() -> String {
    std::env::var("SCENE").unwrap_or_default()
}

/// Charges, with a key if the version says so, and mails, unless the version says otherwise.
async fn order(world: &World) {
    let version = version();
    world.process("worker", move |p| {
        let (payments, email, version) = (p.payments(), p.email(), version.clone());
        p.handle(async move |order: u32| {
            let charge = Charge::of_order(order, 500);
            let is_keyed = version.contains("keyed");
            payments.charge(if is_keyed { charge.key(format!("order-{order}")) } else { charge }).await?;
            if version.contains("mails") {
                email.send(Email::new("ada@example.com", "receipt")).await?;
            }
            if version.contains("asks") {
                payments.charges(order).await?;
            }
            Ok::<(), ServiceError>(())
        });
    });
    world.enqueue(6_u32);
    world.settle().await;
}

#[retryproof::test(deviations = 1)]
#[ignore = "run by the tests beside it"]
async fn charges(world: &World) {
    order(world).await;
}

#[retryproof::test(deviations = 1, faults = 0)]
#[ignore = "run by the tests beside it"]
async fn charges_without_faults(world: &World) {
    order(world).await;
}

#[retryproof::test(deviations = 1, keep_regressions)]
#[ignore = "run by the tests beside it"]
async fn charges_for_ever(world: &World) {
    order(world).await;
}

#[retryproof::test(deviations = 1, ratchet)]
#[ignore = "run by the tests beside it"]
async fn ratcheted(world: &World) {
    order(world).await;
}

#[retryproof::test(deviations = 0, ratchet)]
#[ignore = "run by the tests beside it"]
async fn ratcheted_to_nothing(world: &World) {
    order(world).await;
}

/// Explored by a plain test, which is named after its thread.
#[test]
#[ignore = "run by the tests beside it"]
fn charges_by_check() {
    retryproof::Explore::new().deviations(1).check(order);
}

/// Gets stuck if its worker crashes at the right place.
#[retryproof::test(deviations = 1)]
#[ignore = "run by the tests beside it"]
async fn gets_stuck(world: &World) {
    world.process("worker", |p| {
        let (payments, incarnation) = (p.payments(), p.incarnation());
        p.handle(async move |order: u32| {
            payments.charge(Charge::of_order(order, 500).key("k")).await?;
            if incarnation > 1 && version().is_empty() {
                std::future::pending::<()>().await;
            }
            Ok::<(), ServiceError>(())
        });
    });
    world.enqueue(6_u32);
    world.settle().await;
}

/// The job panics if its call fails. Its charges are repeated, too.
#[retryproof::test(deviations = 1)]
#[ignore = "run by the tests beside it"]
async fn panics_often(world: &World) {
    world.process("worker", |p| {
        let payments = p.payments();
        p.handle(async move |order: u32| {
            payments.charge(Charge::of_order(order, 500)).await.expect("a panic of the job");
        });
    });
    world.enqueue(6_u32);
    world.settle().await;
}

/// Mails without a key. In the version `waits`, it waits forever if a mail was not sent.
#[retryproof::test(deviations = 1, ratchet)]
#[ignore = "run by the tests beside it"]
async fn mails_twice(world: &World) {
    world.process("worker", |p| {
        let email = p.email();
        p.handle(async move |_: u32| {
            let sent = email.send(Email::new("ada@example.com", "receipt")).await;
            if sent.is_err() && version() == "waits" {
                std::future::pending::<()>().await;
            }
            sent
        });
    });
    world.enqueue(6_u32);
    world.settle().await;
}

/// Its own assertion fails if the mail is repeated. In the version `unkeyed`, the charge is repeated, too. In the
/// version `mended`, the assertion holds. In `other`, it holds as well, but another one does not.
#[retryproof::test(deviations = 1, ratchet)]
#[ignore = "run by the tests beside it"]
async fn asserts(world: &World) {
    let version = version();
    world.allow("email.send", retryproof::Guarantee::AtLeastOnce);
    world.process("worker", |p| {
        let (payments, email) = (p.payments(), p.email());
        p.handle(async move |order: u32| {
            let charge = Charge::of_order(order, 500);
            let is_keyed = self::version() != "unkeyed";
            payments.charge(if is_keyed { charge.key(format!("order-{order}")) } else { charge }).await?;
            email.send(Email::new("ada@example.com", "receipt")).await
        });
    });
    world.enqueue(6_u32);
    world.settle().await;
    let mails = world.effects().of("email.send").count();
    if version != "mended" && version != "other" {
        assert!(
            mails < 2,
            "one mail for each order is enough, and there are {mails} of them, which is what somebody would notice"
        );
    }
    if version == "other" {
        assert!(
            mails % 2 == 1,
            "an odd number of mails is what somebody else would like to see, and there are {mails} of them by now"
        );
    }
}

/// Gives a claim up if the charge fails. In the version `keeps`, the claim is kept. If the reply to the claim is lost,
/// both versions keep it.
#[retryproof::test(deviations = 1, crashes = 0, deliveries = 0, ratchet)]
#[ignore = "run by the tests beside it"]
async fn claims(world: &World) {
    world.process("worker", |p| {
        let (store, payments) = (p.store(), p.payments());
        p.handle(async move |order: u32| {
            if store.set_if_absent("claim", &true, None).await? {
                let charged = payments.charge(Charge::of_order(order, 500).key("k")).await;
                if charged.is_err() && version() != "keeps" {
                    store.delete("claim").await?;
                }
                charged?;
            }
            Ok::<(), Box<dyn std::error::Error>>(())
        });
    });
    world.enqueue(6_u32);
    world.settle().await;
}

/// Turns on every check, and allows nothing, except for what the version names.
#[test]
#[ignore = "run by the tests beside it"]
fn asks_for_much() {
    let has = |what: &str| version().split(' ').any(|named| named == what);
    let explore = retryproof::Explore::new().name("scenes::asks_for_much").deviations(1).ratchet();
    let explore = if has("punctual") { explore } else { explore.delays(1) };
    explore.check(async |world: &World| {
        if !has("undeployed") {
            world.explore_deploys();
        }
        if !has("available") {
            world.payments().explore_outages(std::time::Duration::from_secs(60));
        }
        if !has("unwarned") {
            world.deny_warnings();
        }
        if has("lenient") {
            world.allow("payments.charge", retryproof::Guarantee::AtLeastOnce);
        }
        let paid = world.durable("paid", 0_u32);
        if has("blind") {
            world.ignore("paid", "$");
        }
        if !has("unobserved") {
            let paid = paid.clone();
            world.observe("twice the sum", move || 2 * paid.get());
        }
        if !has("variable") {
            let paid = paid.clone();
            world.invariant("paid is 0 or 1", move |_| assert!(paid.get() < 2));
        }
        if !has("unordered") {
            world.effects_in_order(["payments.charge", "fulfillment.request"]);
        }
        let process = world.process("worker", move |p| {
            let (payments, clock, paid) = (p.payments(), p.clock(), paid.clone());
            let parcels = p.fulfillment();
            p.handle(async move |order: u32| {
                clock.sleep(std::time::Duration::from_secs(1)).await;
                payments.charge(Charge::of_order(order, 500).key(format!("order-{order}"))).await?;
                let parcel = Shipment::of_order(order, "pr_1", 1).address("1 Main St");
                parcels.request(parcel.key(format!("order-{order}"))).await?;
                paid.set(1);
                Ok::<(), ServiceError>(())
            });
        });
        if has("reliable") {
            process.reliable();
        }
        match has("requested") {
            true => _ = world.request(6_u32).client_retries(2),
            false => drop(world.enqueue(6_u32).to_string()),
        }
        world.settle().await;
    });
}

/// In the version `compensates`, a failed charge is recorded, which only runs with a failure reach.
#[retryproof::test(deviations = 1, crashes = 0, deliveries = 0, ratchet)]
#[ignore = "run by the tests beside it"]
async fn compensates(world: &World) {
    world.allow("email.send", retryproof::Guarantee::Unchecked);
    world.process("worker", |p| {
        let (payments, email) = (p.payments(), p.email());
        p.handle(async move |order: u32| {
            let charged = payments.charge(Charge::of_order(order, 500).key("k")).await;
            if charged.is_err() && version() == "compensates" {
                email.send(Email::new("ada@example.com", "sorry")).await?;
            }
            charged.map(drop)
        });
    });
    world.enqueue(6_u32);
    world.settle().await;
}

#[derive(Serialize, Deserialize)]
enum Event {
    SignUp,
    Cancel,
}

/// One handler with a branch for each event, and a charge in each. In the version `loops`, signing up charges again on
/// retries, by a line that charges for several months. In the version `both`, canceling does, too.
#[retryproof::test(deviations = 1, ratchet)]
#[ignore = "run by the tests beside it"]
async fn branches(world: &World) {
    world.process("worker", |p| {
        let payments = p.payments();
        p.handle(async move |event: Event| match event {
            Event::SignUp => {
                let months = if version() == "loops" { 2 } else { 1 };
                for month in 0..months {
                    payments.charge(Charge::of_order(10 + month, 500)).await?;
                }
                Ok::<(), ServiceError>(())
            }
            Event::Cancel => {
                let fee = Charge::of_order(1, 100);
                let fee = if version() == "both" { fee } else { fee.key("fee") };
                payments.charge(fee).await.map(drop)
            }
        });
    });
    world.enqueue(Event::SignUp);
    world.enqueue(Event::Cancel);
    world.settle().await;
}

/// A claim, and a charge that is left undone by a failure after it. In the version `ships`, a parcel is left undone by
/// the same failures.
#[retryproof::test(deviations = 1, ratchet)]
#[ignore = "run by the tests beside it"]
async fn claims_all(world: &World) {
    world.process("worker", |p| {
        let (store, payments, parcels) = (p.store(), p.payments(), p.fulfillment());
        p.handle(async move |order: u32| {
            let first = store.set_if_absent("claim", &order, None).await?;
            if first && version() == "ships" {
                parcels.request(Shipment::of_order(order, "pr_3", 1).address("1 Main St").key("k")).await?;
            }
            if first {
                payments.charge(Charge::of_order(order, 500).key("k")).await?;
            }
            Ok::<(), Box<dyn std::error::Error>>(())
        });
    });
    world.enqueue(6_u32);
    world.settle().await;
}
