//! All services over real HTTP: an unchanged client of the user's in an explored job.

use retryproof::{Explore, World};

#[test]
fn thin() {
    let report = Explore::new().name("test").deviations(1).run(async |world: &World| {
        world.process("worker", |p| {
            let (uri, client) = (p.http().uri(), reqwest::Client::new());
            p.handle(async move |order: u32| {
                let charge = serde_json::json!({
                    "customer_id": "cu_2", "payment_method_id": "pm_2", "amount_cents": 500,
                    "metadata": { "order_id": order.to_string() },
                });
                let charged = client.post(format!("{uri}/payments/charge")).json(&charge).send().await?;
                charged.error_for_status().map(drop)
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    println!("{report}");
    println!("{}", report.runs());
    for v in report.violations() {
        println!("{} {}", v.summary, v.scenario);
    }
}
