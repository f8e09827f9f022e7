//! Each scenario of the jobs of the order pipeline has the same outcome in process and over HTTP.

#[path = "../../../examples/order_pipeline/order.rs"]
mod order;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use order::{Order, Orders, Status};
use retryproof::service::email::{Email, EmailService, SendOutcome};
use retryproof::service::fulfillment::{Fulfillment, Shipment, ShipmentOutcome};
use retryproof::service::payments::{Charge, ChargeOutcome, Payments};
use retryproof::{Client, Durable, Explore, JobQueue, Process, Verdict, World};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How the shop reaches the services.
#[derive(Clone)]
enum Way {
    InProcess(Client<Payments>, Client<EmailService>, Client<Fulfillment>),
    Http(String, reqwest::Client),
}

type Answer<T> = Result<T, String>;

impl Way {
    fn new(p: &Process, over_http: bool) -> Self {
        // As long as the handles wait.
        let client = || reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
        match over_http {
            true => Way::Http(p.http().uri(), client()),
            false => Way::InProcess(p.payments(), p.email(), p.fulfillment()),
        }
    }

    async fn charge(&self, charge: Charge) -> Answer<ChargeOutcome> {
        match self {
            Way::InProcess(payments, ..) => payments.charge(charge).await.map_err(|e| e.to_string()),
            Way::Http(uri, client) => {
                answer(client.post(format!("{uri}/payments/charge")).json(&charge)).await
            }
        }
    }

    async fn send(&self, email: Email) -> Answer<SendOutcome> {
        match self {
            Way::InProcess(_, service, _) => service.send(email).await.map_err(|e| e.to_string()),
            Way::Http(uri, client) => answer(client.post(format!("{uri}/email/send")).json(&email)).await,
        }
    }

    /// Returns the ids of the emails about an order.
    async fn sent(&self, order: &Order, template: &str) -> Answer<Vec<String>> {
        let records: Vec<Value> = match self {
            Way::InProcess(_, service, _) => {
                let found =
                    service.emails(&order.customer.email, template).await.map_err(|e| e.to_string())?;
                found.iter().map(|record| serde_json::to_value(record).unwrap()).collect()
            }
            Way::Http(uri, client) => {
                let query = [("email", order.customer.email.as_str()), ("template_id", template)];
                answer(client.get(format!("{uri}/email/emails")).query(&query)).await?
            }
        };
        let about = records.iter().filter(|record| record["template_data"]["order_id"] == order.id);
        Ok(about.map(|record| record["email_id"].as_str().unwrap().to_owned()).collect())
    }

    async fn ship(&self, parcel: Shipment) -> Answer<ShipmentOutcome> {
        match self {
            Way::InProcess(.., service) => service.request(parcel).await.map_err(|e| e.to_string()),
            Way::Http(uri, client) => {
                answer(client.put(format!("{uri}/fulfillment/request")).json(&parcel)).await
            }
        }
    }
}

async fn answer<T: DeserializeOwned>(request: reqwest::RequestBuilder) -> Answer<T> {
    let response = request.send().await.map_err(|error| error.to_string())?;
    match response.status().as_u16() {
        200..300 | 422 => response.json().await.map_err(|error| error.to_string()),
        status => Err(status.to_string()),
    }
}

#[derive(Clone)]
struct Shop {
    way: Way,
    orders: Durable<Orders>,
    queue: JobQueue,
}

impl Shop {
    fn order(&self, id: u32) -> Order {
        self.orders.read(|orders| orders[&id].clone())
    }

    fn save(&self, order: &Order) {
        self.orders.update(|orders| orders.insert(order.id, order.clone()));
    }

    async fn email(&self, order: &Order, template: &str) -> Answer<String> {
        let email = Email::new(&order.customer.email, template).data("order_id", order.id);
        match self.way.send(email).await? {
            SendOutcome::Queued { email_id } => Ok(email_id),
            SendOutcome::NotQueued { error_message } => Err(error_message),
        }
    }

    async fn email_once(&self, order: &Order, template: &str) -> Answer<String> {
        match self.way.sent(order, template).await?.pop() {
            Some(id) => Ok(id),
            None => self.email(order, template).await,
        }
    }
}

fn charge(order: &Order) -> Charge {
    Charge::of_order(order.id, order.total_cents).customer(&order.customer.id)
}

fn parcel(order: &Order) -> Shipment {
    Shipment::of_order(order.id, &order.product_id, order.quantity).address(&order.customer.address)
}

/// Does everything at once, and repeats effects after any failure.
#[derive(Serialize, Deserialize)]
struct Naive(u32);

async fn naive(shop: &Shop, id: u32) -> Answer<()> {
    let mut order = shop.order(id);
    match shop.way.charge(charge(&order)).await? {
        ChargeOutcome::Success { charge_id } => order.charge_id = Some(charge_id),
        ChargeOutcome::Declined { .. } => order.status = Status::Declined,
    }
    if order.status != Status::Declined {
        order.email_id = Some(shop.email(&order, "order-confirmation").await?);
        match shop.way.ship(parcel(&order)).await? {
            ShipmentOutcome::Accepted { request_id } => {
                (order.request_id, order.status) = (Some(request_id), Status::Shipped);
            }
            ShipmentOutcome::Rejected { .. } => {
                shop.email(&order, "address-needed").await?;
                order.status = Status::Rejected;
            }
        }
    }
    shop.save(&order);
    Ok(())
}

/// The same in two jobs, each of which may be repeated.
#[derive(Serialize, Deserialize)]
struct Pay(u32);

#[derive(Serialize, Deserialize)]
struct Send(u32);

async fn pay(shop: &Shop, id: u32) -> Answer<()> {
    let mut order = shop.order(id);
    match shop.way.charge(charge(&order).key(format!("charge-{id}"))).await? {
        ChargeOutcome::Success { charge_id } => order.charge_id = Some(charge_id),
        ChargeOutcome::Declined { .. } => {
            order.status = Status::Declined;
            shop.save(&order);
            return Ok(());
        }
    }
    if shop.order(id).status == Status::Placed {
        order.status = Status::Paid;
        shop.save(&order);
    }
    shop.queue.enqueue(Send(id)).await.map(drop).map_err(|error| error.to_string())
}

async fn send(shop: &Shop, id: u32) -> Answer<()> {
    let mut order = shop.order(id);
    order.email_id = Some(shop.email_once(&order, "order-confirmation").await?);
    match shop.way.ship(parcel(&order).key(format!("ship-{id}"))).await? {
        ShipmentOutcome::Accepted { request_id } => {
            (order.request_id, order.status) = (Some(request_id), Status::Shipped);
        }
        ShipmentOutcome::Rejected { .. } => {
            shop.email_once(&order, "address-needed").await?;
            order.status = Status::Rejected;
        }
    }
    shop.save(&order);
    Ok(())
}

/// The outcome of a scenario: all effects as JSON, the final state, and the findings.
#[derive(Debug, PartialEq)]
struct Outcome {
    ends: Vec<Value>,
    verdict: Verdict,
    violations: Vec<String>,
}

fn play(orders: &Orders, is_naive: bool, over_http: bool, scenario: &str) -> Outcome {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let report = Explore::new().name("test").replay(scenario).run(async |world: &World| {
        let table = world.durable("orders", orders.clone());
        let durable = table.clone();
        world.process("worker", move |p| {
            let shop = Shop { way: Way::new(p, over_http), orders: durable.clone(), queue: p.queue() };
            let (one, other, third) = (shop.clone(), shop.clone(), shop);
            p.handle(async move |Naive(id)| naive(&one, id).await);
            p.handle(async move |Pay(id)| pay(&other, id).await);
            p.handle(async move |Send(id)| send(&third, id).await);
        });
        for id in orders.keys() {
            match is_naive {
                true => world.enqueue(Naive(*id)),
                false => world.enqueue(Pay(*id)),
            };
        }
        world.settle().await;
        let end = serde_json::to_value((world.effects(), table.get())).unwrap();
        ends.lock().unwrap().push(end);
    });
    let violations = report.violations().iter().map(|v| format!("{}: {}", v.summary, v.scenario)).collect();
    Outcome { ends: std::mem::take(&mut *ends.lock().unwrap()), verdict: report.verdict(), violations }
}

/// Lists the points and options of a job that makes these calls, except for connection faults.
fn points(job: &str, calls: &[(&str, bool)]) -> Vec<String> {
    let mut points =
        vec![format!("{job}:start=crash"), format!("{job}:end=crash"), format!("{job}:ack=again")];
    for (call, writes) in calls {
        let faults: &[&str] = match writes {
            true => &["unavailable", "reply-lost", "throttled", "timed-out", "timed-out-but-done"],
            false => &["unavailable", "throttled", "timed-out"],
        };
        let crashes: &[&str] =
            if *writes { &["before", "happened", "replied"] } else { &["before", "replied"] };
        points.extend(faults.iter().map(|fault| format!("{job}/{call}:call={fault}")));
        points.extend(crashes.iter().map(|point| format!("{job}/{call}:{point}=crash")));
    }
    points
}

#[track_caller]
fn assert_same(is_naive: bool, first: &[String], second: &[String]) {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/orders.json");
    let mut orders = order::load(&fixture).unwrap();
    let plain = orders.iter().position(|o| o.total_cents != 9_999 && !o.customer.address.trim().is_empty());
    let declined = orders.iter().position(|order| order.total_cents == 9_999);
    let rejected = orders.iter().position(|order| order.customer.address.trim().is_empty());
    let chosen = [plain, declined, rejected].map(|at| orders[at.unwrap()].clone());
    orders.clear();
    let mut met = 0;
    for order in chosen {
        let orders = Orders::from([(order.id, order)]);
        let scenarios = first.iter().cloned().chain(second.iter().enumerate().map(|(at, then)| {
            // A scenario with two deviations: some fault first, and then something else.
            format!("{} {then}", first[(7 * at + 3) % first.len()])
        }));
        for scenario in scenarios {
            let scenario = format!("test {scenario}");
            let inside = play(&orders, is_naive, false, &scenario);
            let outside = play(&orders, is_naive, true, &scenario);
            assert_eq!(inside, outside, "{scenario}");
            met += usize::from(inside.ends.iter().any(|end| *end != inside.ends[0]));
        }
    }
    // The naive job's outcome shows the failure, and that of the other job does not.
    assert_eq!(met > 20, is_naive, "{met} scenarios made a difference");
}

#[test]
fn the_naive_order_job_has_the_same_outcomes() {
    let calls = [("payments.charge", true), ("email.send", true), ("fulfillment.request", true)];
    assert_same(true, &points("job#1.1", &calls), &points("job#1.2", &calls));
}

#[test]
fn the_mended_order_jobs_have_the_same_outcomes() {
    let paying = [("payments.charge", true)];
    let sending = [("email.emails", false), ("email.send", true), ("fulfillment.request", true)];
    let first = [points("job#1.1", &paying), points("job#2.1", &sending)].concat();
    assert_same(false, &first, &points("job#2.2", &sending));
}
