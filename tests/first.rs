use retryproof::{
    Explore, World,
    service::{email::Email, payments::Charge},
};
#[derive(serde::Serialize, serde::Deserialize)]
struct CompleteOrder {
    order_id: u32,
}

#[retryproof::test]
async fn naive(world: &World) {
    let orders = world.durable("orders", std::collections::BTreeMap::<u32, String>::new());
    world.process("worker", move |p| {
        let (payments, email, orders) = (p.payments(), p.email(), orders.clone());
        p.handle(async move |job: CompleteOrder| {
            let charged = payments.charge(Charge::of_order(job.order_id, 2_598).customer("cu_2")).await?;
            email.send(Email::new("ada@example.com", "receipt").data("order_id", job.order_id)).await?;
            orders.update(|orders| orders.insert(job.order_id, format!("{charged:?}")));
            Ok::<(), retryproof::ServiceError>(())
        });
    });
    world.enqueue(CompleteOrder { order_id: 6 });
    world.settle().await;
}
#[test]
fn one() {
    let r = Explore::new().deviations(1).run(async |world: &World| {
        world.process("worker", move |p| {
            let payments = p.payments();
            p.handle(async move |job: CompleteOrder| {
                payments.charge(Charge::of_order(job.order_id, 2_598).key("x")).await.map(drop)
            });
        });
        world.enqueue(CompleteOrder { order_id: 6 });
        world.settle().await;
    });
    println!("{r}");
}
