use retryproof::{Explore, World};

// As well with `reqwest` in `p.handle`: see the examples in `integration/examples/`.
let report = Explore::new().deviations(1).run(async |world: &World| {
    world.process("worker", |p| {
        let uri = p.http().uri();
        p.handle_blocking(move |order: u32| {
            let charge = serde_json::json!({
                "customer_id": "cu_2", "payment_method_id": "pm_2", "amount_cents": 500,
                "metadata": { "order_id": order.to_string() },
            });
            ureq::post(format!("{uri}/payments/charge")).send_json(charge).map(drop)
        });
    });
    world.enqueue(6_u32);
    world.settle().await;
});
assert_eq!(report.violations()[0].summary, "payments.charge happened twice, expected once");
