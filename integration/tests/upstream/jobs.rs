//! Jobs whose verdict was decided beforehand, in pairs: one that loses or repeats something, and its correct twin.

use reqwest::{Client, StatusCode};
use retryproof::http::{Upstream, UpstreamResponse, delete, get, post, put};
use retryproof::{Explore, Report, Verdict, World};
use serde_json::{Value, json};

use super::{assert_green, one_deviation, summaries};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Explores one job of a worker that has a client and the base URL of `shop`.
fn explore_with<F>(
    explore: &Explore,
    set: fn(&Upstream),
    job: impl Fn(Client, String, u32) -> F + Clone + Sync + 'static,
) -> Report
where
    F: Future<Output = Result<(), Error>> + 'static,
{
    explore.run(async |world: &World| {
        let shop = world.upstream("shop");
        set(&shop);
        let job = job.clone();
        world.process("worker", move |p| {
            let (client, url, job) = (Client::new(), shop.url(p), job.clone());
            p.handle(async move |order: u32| job(client.clone(), url.clone(), order).await);
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}

/// Orders are kept in the state of the stub, under their number.
fn orders(shop: &Upstream) {
    shop.stub(post("/orders/{order}/charge"), |call| {
        let order = call.parameter("order").to_owned();
        call.state().insert(order, json!("charged"));
        json!({ "charged": true })
    });
    shop.stub(get("/orders/{order}"), |call| {
        let order = call.parameter("order").to_owned();
        match call.state().get(&order) {
            Some(state) => UpstreamResponse::from(state.clone()),
            None => UpstreamResponse::from((404, json!({}))),
        }
    });
}

async fn charge(client: Client, url: String, order: u32, looks_first: bool) -> Result<(), Error> {
    let order = format!("{url}/orders/{order}");
    if looks_first {
        let known = client.get(&order).send().await?;
        // Any other answer says nothing about the order.
        match known.status() {
            StatusCode::OK => return Ok(()),
            StatusCode::NOT_FOUND => {}
            _ => return known.error_for_status().map(drop).map_err(Error::from),
        }
    }
    client.post(format!("{order}/charge")).send().await?.error_for_status()?;
    Ok(())
}

#[test]
fn to_look_first_helps_against_crashes_and_not_against_a_second_delivery() {
    let alone = one_deviation().deviations(2).deliveries(0);
    let look_first = |client, url, order| charge(client, url, order, true);
    assert_green(&explore_with(&alone, orders, look_first));
    let blind = explore_with(&alone, orders, |client, url, order| charge(client, url, order, false));
    assert_eq!(
        summaries(&blind)[0],
        "shop.POST/orders/{order}/charge happened twice, expected once",
        "{blind}"
    );
    let at_once = explore_with(&one_deviation(), orders, look_first);
    assert_eq!(at_once.verdict(), Verdict::Violated, "{at_once}");
}

#[test]
fn a_status_that_nobody_checks_loses_the_request() {
    async fn pay(client: Client, url: String, order: u32, checks: bool) -> Result<(), Error> {
        let request =
            client.post(format!("{url}/payments")).header("Idempotency-Key", format!("order-{order}"));
        let answer = request.json(&json!({ "order": order })).send().await?;
        if checks {
            answer.error_for_status()?;
        }
        Ok(())
    }
    fn payments(shop: &Upstream) {
        shop.stub(post("/payments"), |_| json!({})).honor_idempotency_keys();
    }
    assert_green(&explore_with(&one_deviation().deviations(2), payments, |client, url, order| {
        pay(client, url, order, true)
    }));
    let careless =
        explore_with(&one_deviation(), payments, |client, url, order| pay(client, url, order, false));
    assert_eq!(summaries(&careless)[0], "shop.POST/payments never happened, expected once", "{careless}");
}

#[test]
fn a_second_request_that_is_refused_as_known_is_no_second_effect() {
    fn mails(shop: &Upstream) {
        shop.stub(put("/mails/{mail}"), |_| UpstreamResponse::from((404, json!({}))));
        shop.stub(post("/mails/{mail}"), |call| {
            let mail = call.parameter("mail").to_owned();
            match call.state().insert(mail, json!("sent")) {
                None => UpstreamResponse::from((201, json!({}))),
                Some(_) => UpstreamResponse::from((409, json!({ "error": "known" }))),
            }
        });
    }
    async fn send(client: Client, url: String, order: u32, knows: bool) -> Result<(), Error> {
        let answer = client.post(format!("{url}/mails/order-{order}")).send().await?;
        match answer.status() {
            StatusCode::CONFLICT if knows => Ok(()),
            _ => answer.error_for_status().map(drop).map_err(Error::from),
        }
    }
    assert_green(&explore_with(&one_deviation().deviations(2), mails, |client, url, order| {
        send(client, url, order, true)
    }));
    let gives_up =
        explore_with(&one_deviation(), mails, |client, url, order| send(client, url, order, false));
    assert_eq!(gives_up.verdict(), Verdict::Violated, "its own first request makes it fail: {gives_up}");
}

#[test]
fn items_of_one_order_are_told_apart() {
    async fn ship(client: Client, url: String, order: u32, keyed: bool) -> Result<(), Error> {
        for item in ["apple", "pear"] {
            let mut request =
                client.post(format!("{url}/parcels")).json(&json!({ "order": order, "item": item }));
            if keyed {
                request = request.header("Idempotency-Key", format!("{order}-{item}"));
            }
            request.send().await?.error_for_status()?;
        }
        Ok(())
    }
    fn parcels(shop: &Upstream) {
        shop.stub(post("/parcels"), |call| json!({ "id": call.id("pa_") })).honor_idempotency_keys();
    }
    assert_green(&explore_with(&one_deviation(), parcels, |client, url, order| {
        ship(client, url, order, true)
    }));
    let twice = explore_with(&one_deviation(), parcels, |client, url, order| ship(client, url, order, false));
    assert_eq!(summaries(&twice)[0], "shop.POST/parcels happened twice, expected once", "{twice}");
}

/// A key that is the same for both items: the second parcel is never sent, in the fault-free run as well.
#[test]
fn a_key_for_two_things_is_found_without_any_failure() {
    fn parcels(shop: &Upstream) {
        shop.stub(post("/parcels"), |call| json!({ "id": call.id("pa_") })).honor_idempotency_keys();
    }
    let report = explore_with(&one_deviation(), parcels, |client, url, order| async move {
        for item in ["apple", "pear"] {
            let request = client.post(format!("{url}/parcels")).json(&json!({ "item": item }));
            request.header("Idempotency-Key", format!("order-{order}")).send().await?;
        }
        Ok(())
    });
    assert_eq!(report.code().map(|code| code.to_string()), Some("RP0023".to_owned()), "{report}");
}

#[test]
fn what_is_replaced_and_deleted_may_be_replaced_and_deleted_again() {
    fn carts(shop: &Upstream) {
        shop.stub(delete("/carts/{cart}"), |call| {
            let cart = call.parameter("cart").to_owned();
            call.state().remove(&cart);
            json!({})
        });
        shop.stub(put("/carts/{cart}"), |call| {
            let (cart, content): (String, Value) = (call.parameter("cart").to_owned(), call.json());
            call.state().insert(cart, content);
            json!({})
        });
    }
    assert_green(&explore_with(&one_deviation().deviations(2), carts, |client, url, order| async move {
        client
            .put(format!("{url}/carts/{order}"))
            .json(&json!(["apple"]))
            .send()
            .await?
            .error_for_status()?;
        client.delete(format!("{url}/carts/{order}")).send().await?.error_for_status()?;
        Ok(())
    }));
}
