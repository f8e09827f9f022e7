use retryproof::http::post;
use retryproof::{Explore, World};
use serde_json::json;

let report = Explore::new().deviations(1).run(async |world: &World| {
    let stripe = world.upstream("stripe");
    stripe.stub(post("/v1/charges"), |call| json!({ "id": call.id("ch_"), "amount": call.json()["amount"] }));
    world.process("worker", move |p| {
        // The job takes a base URL, as in production.
        let url = stripe.url(p);
        p.handle_blocking(move |order: u32| {
            let charge = json!({ "amount": 500, "metadata": { "order": order } });
            ureq::post(format!("{url}/v1/charges")).send_json(charge).map(drop)
        });
    });
    world.enqueue(6_u32);
    world.settle().await;
});
assert_eq!(report.violations()[0].summary, "stripe.POST/v1/charges happened twice, expected once");
