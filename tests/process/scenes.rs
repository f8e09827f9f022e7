//! The tests that are run by the tests beside it. What they do depends on `SCENE`, as code that is being worked on would.

use retryproof::service::email::Email;
use retryproof::service::payments::Charge;
use retryproof::{ServiceError, World};

fn version() -> String {
    std::env::var("SCENE").unwrap_or_default()
}

/// Charges, with a key where the version says so, and mails, unless the version says otherwise.
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

/// Explored by a plain test, whose name is the thread's.
#[test]
#[ignore = "run by the tests beside it"]
fn charges_by_check() {
    retryproof::Explore::new().deviations(1).check(order);
}

/// Gets stuck when its worker dies at the right place.
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

/// Its job panics wherever its call fails; its payments are repeated, too.
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
