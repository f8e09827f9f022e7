//! A first test with retryproof. The job is wrong on purpose: run `cargo retryproof test`, and read the report.

use retryproof::World;
use retryproof::service::payments::Charge;

#[retryproof::test]
async fn orders_are_paid_once(world: &World) {
    // What `main` of your worker does: it builds clients, and registers handlers.
    world.process("worker", |p| {
        let payments = p.payments();
        p.handle(async move |order: u32| {
            // To mend it, use a key that is the same on every attempt: `.key(format!("order-{order}"))`.
            payments.charge(Charge::of_order(order, 500)).await.map(drop)
        });
    });
    world.enqueue(6_u32);
    world.settle().await;
}
