//! The answers over HTTP, row by row as `docs/spec/services.md` specifies them, and the checks before the route. The
//! test body itself makes the requests.

use retryproof::World;
use retryproof::http::Http;
use retryproof::service::email::Email;
use retryproof::service::error_tracker::Notification;
use retryproof::service::fulfillment::Shipment;
use retryproof::service::payments::Charge;
use retryproof::service::{ServiceContext, function};
use serde_json::{Value, json};
use ureq::http::Request;
use ureq::{Agent, Body};

/// Makes a client that accepts any status as an answer.
fn agent() -> Agent {
    Agent::config_builder().http_status_as_error(false).build().into()
}

struct Answer {
    status: u16,
    text: String,
    response: ureq::http::Response<()>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name).map(|value| value.to_str().unwrap())
    }
}

/// Makes a request, with headers as `name: value`, and sends the body unchanged.
fn ask(door: &Http, line: &str, headers: &[&str], body: &str) -> Answer {
    let (method, path) = line.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(format!("{}{path}", door.uri()));
    for header in headers {
        let (name, value) = header.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    let agent = agent();
    let response: ureq::http::Response<Body> = match body {
        "" => agent.run(request.body(()).unwrap()),
        body => agent.run(request.body(body).unwrap()),
    }
    .unwrap();
    let (parts, mut body) = response.into_parts();
    let text = body.read_to_string().unwrap();
    Answer { status: parts.status.as_u16(), text, response: ureq::http::Response::from_parts(parts, ()) }
}

fn send(door: &Http, line: &str, body: Value) -> (u16, Value) {
    let answer = ask(door, line, &[], &body.to_string());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    (answer.status, answer.json())
}

fn get(door: &Http, path: &str) -> (u16, Value) {
    let answer = ask(door, &format!("GET {path}"), &[], "");
    (answer.status, answer.json())
}

#[test]
fn a_charge_is_made_once_a_key() {
    let world = World::fake();
    let door = world.http();
    let charge = crate::charge(6, Some("k"));
    let (status, first) = send(&door, "POST /payments/charge", charge.clone());
    assert_eq!((status, &first["status"]), (201, &json!("success")));
    assert!(first["charge_id"].as_str().unwrap().starts_with("ch_"));
    assert_eq!(send(&door, "POST /payments/charge", charge), (201, first.clone()));
    assert_eq!(world.effects().of("payments.charge").count(), 1);
    let (status, found) = get(&door, "/payments/charges?order_id=6");
    assert_eq!((status, found.as_array().unwrap().len()), (200, 1));
    assert_eq!(found[0]["charge_id"], first["charge_id"]);
    assert_eq!(found[0]["metadata"], json!({ "order_id": "6", "idempotency_key": "k" }));
    assert_eq!(get(&door, "/payments/charges?order_id=7"), (200, json!([])));
    assert_eq!(get(&door, "/payments/charges"), (422, json!({ "error": "order_id required" })));
    // The same in process.
    assert_eq!(
        world.payments().records()[0].charge,
        Charge::of_order(6, 500).customer("cu_2").payment_method("pm_2").key("k")
    );
}

#[test]
fn a_declined_charge_may_be_tried_again() {
    let world = World::fake();
    let door = world.http();
    let mut charge = crate::charge(6, Some("k"));
    charge["amount_cents"] = 9_999.into();
    let declined = json!({ "status": "declined", "explanation": "Insufficient funds" });
    assert_eq!(send(&door, "POST /payments/charge", charge.clone()), (200, declined.clone()));
    charge["amount_cents"] = 500.into();
    assert_eq!(send(&door, "POST /payments/charge", charge).0, 201, "the key is a new attempt");
    let found = get(&door, "/payments/charges?order_id=6").1;
    let statuses: Vec<_> = found.as_array().unwrap().iter().map(|charge| charge["status"].clone()).collect();
    assert_eq!(statuses, ["declined", "success"]);
}

#[test]
fn a_parcel_is_requested_once_a_key() {
    let world = World::fake();
    let door = world.http();
    let parcel = |address: &str, key: &str| {
        json!({
            "customer_id": "cu_2", "address": address, "product_id": "pr_3", "quantity": 1,
            "metadata": { "order_id": "6", "idempotency_key": key },
        })
    };
    assert_eq!(get(&door, "/fulfillment/status"), (200, json!({ "num_requests": 0 })));
    let (status, first) = send(&door, "PUT /fulfillment/request", parcel("1 Main St", "k"));
    assert_eq!((status, &first["status"]), (202, &json!("accepted")));
    assert!(first["request_id"].as_str().unwrap().starts_with("fr_"));
    assert_eq!(send(&door, "PUT /fulfillment/request", parcel("1 Main St", "k")), (202, first));
    let rejected = json!({ "status": "rejected", "error": "Missing address" });
    assert_eq!(send(&door, "PUT /fulfillment/request", parcel(" ", "other")), (422, rejected));
    assert_eq!(get(&door, "/fulfillment/status"), (200, json!({ "num_requests": 1 })));
    assert_eq!(world.fulfillment().records().len(), 1);
}

#[test]
fn an_email_is_sent_as_often_as_it_is_asked_for() {
    let world = World::fake();
    let door = world.http();
    let email =
        json!({ "to": "ada@example.com", "template_id": "hello", "template_data": { "order_id": 6 } });
    let (status, first) = send(&door, "POST /email/send", email.clone());
    assert_eq!((status, &first["status"]), (202, &json!("queued")));
    assert!(first["email_id"].as_str().unwrap().starts_with("em_"));
    assert_ne!(send(&door, "POST /email/send", email).1, first);
    for (body, missing) in [
        (json!({ "to": " ", "template_id": "hello" }), "to"),
        (json!({ "to": "ada@example.com" }), "template_id"),
    ] {
        let answer = json!({ "status": "not-queued", "errorMessage": format!("{missing} required") });
        assert_eq!(send(&door, "POST /email/send", body), (422, answer));
    }
    let found = get(&door, "/email/emails?email=ada%40example.com&template_id=hello").1;
    assert_eq!(found.as_array().unwrap().len(), 2);
    assert_eq!(found[0]["template_data"], json!({ "order_id": 6 }));
    assert_eq!(get(&door, "/email/emails?email=ada%40example.com&template_id=bye").1, json!([]));
    assert_eq!(get(&door, "/email/emails?email=bob%40example.com&template_id=hello").1, json!([]));
    assert_eq!(get(&door, "/email/emails?email=x").1, json!({ "error": "template_id required" }));
}

#[test]
fn the_error_tracker_wants_both_texts() {
    let world = World::fake();
    let door = world.http();
    let told = json!({ "exception_class": "Timeout", "exception_message": "no answer" });
    let (status, noted) = send(&door, "PUT /error-tracker/notification", told);
    assert_eq!(status, 202);
    assert!(noted["notification_id"].as_str().unwrap().starts_with("err_"));
    let missing = json!({ "error": "exception class or message is missing" });
    for body in [json!({ "exception_class": "Timeout" }), json!({ "exception_message": "no answer" })] {
        assert_eq!(send(&door, "PUT /error-tracker/notification", body), (422, missing.clone()));
    }
    assert_eq!(world.error_tracker().records(), [Notification::new("Timeout", "no answer")]);
}

#[tokio::test]
async fn what_was_done_is_emptied() {
    let world = World::fake();
    let door = world.http();
    let fill = async || {
        world.payments().charge(Charge::of_order(6, 500).key("k")).await.unwrap();
        world
            .fulfillment()
            .request(Shipment::of_order(6, "pr_3", 1).address("1 Main St").key("k"))
            .await
            .unwrap();
        world.email().send(Email::new("ada@example.com", "hello")).await.unwrap();
        world.error_tracker().notify(Notification::new("Timeout", "no answer")).await.unwrap();
    };
    let left = || {
        let records = [world.payments().records().len(), world.fulfillment().records().len()];
        (records, world.email().records().len(), world.error_tracker().records().len())
    };
    fill().await;
    assert_eq!(left(), ([1, 1], 1, 1));
    for path in
        ["/payments/charges", "/fulfillment/requests", "/email/emails", "/error-tracker/notifications"]
    {
        assert_eq!(ask(&door, &format!("DELETE {path}"), &[], "").status, 200);
    }
    assert_eq!(left(), ([0, 0], 0, 0));
    // The keys are forgotten, too. The ledger keeps the effects.
    fill().await;
    assert_eq!(left(), ([1, 1], 1, 1));
    assert_eq!(world.effects().of("payments.charge").count(), 2);
    world.payments().clear();
    world.fulfillment().clear();
    world.email().clear();
    world.error_tracker().clear();
    assert_eq!((left(), world.fulfillment().records().len()), (([0, 0], 0, 0), 0));
}

#[tokio::test]
async fn the_pages_show_what_was_done_and_escape_it() {
    let world = World::fake();
    let door = world.http();
    let index = ask(&door, "GET /", &["Accept: text/html"], "");
    assert_eq!((index.status, index.header("content-type")), (200, Some("text/html; charset=utf-8")));
    for service in ["payments", "fulfillment", "email", "error-tracker"] {
        let path = format!("/{service}/ui");
        assert!(index.text.contains(&format!("<a href=\"{path}\">")), "{}", index.text);
        assert!(ask(&door, &format!("GET {path}"), &[], "").text.contains("NONE YET"));
        assert_eq!(ask(&door, &format!("GET /{service}/status"), &[], "").status, 200);
    }
    let email = Email::new("<script>alert('1')</script>", "a&b").data("\"", "<td>");
    world.email().send(email).await.unwrap();
    let page = ask(&door, "GET /email/ui", &[], "").text;
    assert!(page.contains("<td>&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;</td>"), "{page}");
    assert!(page.contains("<td>a&amp;b</td>"), "{page}");
    assert!(!page.contains("<script>") && !page.contains("NONE YET"), "{page}");
    assert_eq!(page.matches("<tr>").count(), 2, "{page}");
}

#[test]
fn accept_is_looked_at_first() {
    let world = World::fake();
    let door = world.http();
    let status = |line: &str, accept: &str| ask(&door, line, &[&format!("Accept: {accept}")], "").status;
    for (accept, json, page) in [
        ("*/*", 200, 200),
        ("application/json", 200, 406),
        ("APPLICATION/JSON;q=0.5", 200, 406),
        ("application/*", 200, 406),
        ("text/html", 406, 200),
        ("text/html, */*;q=0.1", 200, 200),
        ("image/png, application/json", 200, 406),
        ("application/json;q=0", 406, 406),
        ("image/png", 406, 406),
        ("nonsense", 406, 406),
    ] {
        assert_eq!(status("GET /payments/status", accept), json, "{accept}");
        assert_eq!(status("GET /payments/ui", accept), page, "{accept}");
        assert_eq!(status("GET /", accept), page, "{accept}");
    }
    // Before the body, and before the route.
    let refused = ["Accept: image/png", "X-Throttle: true"];
    assert_eq!(ask(&door, "POST /nowhere", &refused, "{").status, 406);
}

#[test]
fn then_the_body_then_what_the_headers_want_then_the_route() {
    let world = World::fake();
    let door = world.http();
    let (crash, throttle, slow) = ("X-Crash: true", "X-Throttle: true", "X-Be-Slow: 2.5");
    assert_eq!(ask(&door, "POST /nowhere", &[throttle, crash, slow], "{").status, 422);
    assert_eq!(world.now().as_millis(), 0);
    let throttled = ask(&door, "POST /nowhere", &[throttle, crash, slow], "{}");
    assert_eq!((throttled.status, throttled.header("retry-after")), (429, Some("30")));
    assert_eq!(world.now().as_millis(), 2_500, "it was slow before it was throttled");
    assert!([503, 504].contains(&ask(&door, "POST /nowhere", &[crash], "{}").status));
    assert_eq!(ask(&door, "POST /nowhere", &[], "{}").status, 404);
    assert_eq!(ask(&door, "GET /payments/status", &["X-Be-Slow: soon"], "").status, 422);
    assert_eq!(ask(&door, "GET /payments/status", &["X-Crash: false", "X-Throttle: no"], "").status, 200);
    assert_eq!(ask(&door, "POST /payments/charge", &[], "").status, 422, "no body is no JSON");
    assert_eq!(world.effects().count(), 0);
}

#[test]
fn slow_is_between_one_and_ten_seconds_and_always_the_same() {
    let times: Vec<_> = (0..2)
        .map(|_| {
            let world = World::fake();
            let door = world.http();
            let time = |order: u32| {
                let before = world.now();
                let path = format!("POST /payments/charge?{order}");
                let slow = ask(&door, &path, &["X-Be-Slow: true"], &crate::charge(order, None).to_string());
                assert_eq!(slow.status, 201);
                (world.now() - before).as_secs()
            };
            (0..3).map(time).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(times[0], times[1]);
    assert!(times[0].iter().all(|time| (1..=10).contains(time)), "{times:?}");
}

#[test]
fn a_crash_comes_before_anything_happens_but_for_emails() {
    let world = World::fake();
    let door = world.http();
    let crash = |line: &str, body: Value| ask(&door, line, &["X-Crash: true"], &body.to_string()).status;
    let statuses: Vec<_> =
        (0..20).map(|order| crash("POST /payments/charge", crate::charge(order, None))).collect();
    assert!(statuses.iter().all(|status| [503, 504].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&503) && statuses.contains(&504), "{statuses:?}");
    assert_eq!(world.effects().count(), 0);
    let email = json!({ "to": "ada@example.com", "template_id": "hello" });
    assert!([503, 504].contains(&crash("POST /email/send", email)));
    assert_eq!(
        world.effects().of("email.send").count(),
        1,
        "it happened, and the caller is told that it did not"
    );
}

#[test]
fn what_is_not_there_is_not_found_and_what_cannot_be_done_is_not_allowed() {
    let world = World::fake();
    let door = world.http();
    for line in [
        "GET /nowhere",
        "GET /payments",
        "GET /payments/",
        "GET /payments/charge/1",
        "GET //",
        "GET /payments/../etc",
    ] {
        assert_eq!(ask(&door, line, &[], "").status, 404, "{line}");
    }
    for (line, allowed) in [
        ("GET /payments/charge", "POST"),
        ("DELETE /payments/charge", "POST"),
        ("PUT /payments/charges", "GET, DELETE"),
        ("GET /fulfillment/requests", "DELETE"),
        ("POST /email/ui", "GET"),
        ("GET /sms/send", "POST"),
    ] {
        let body = if line.starts_with('P') { "{}" } else { "" };
        let answer = ask(&door, line, &[], body);
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allowed)), "{line}");
    }
}

#[test]
fn a_service_of_ones_own_is_reached_by_its_name_and_operation() {
    let world = World::fake();
    let text = |text: String, cx: &mut ServiceContext<'_>| cx.effect("send", None, &text, "sm_");
    world.service("sms", function("send", text)).over_http();
    world.service("secret", function("tell", text));
    let door = world.http();
    let (status, id) = send(&door, "POST /sms/send", json!("Hello"));
    assert!(status == 200 && id.as_str().unwrap().starts_with("sm_"), "{status} {id}");
    assert_eq!(world.effects().of("sms.send").count(), 1);
    let other = send(&door, "POST /sms/receive", json!("Hello"));
    assert_eq!(other, (404, json!({ "error": "this request is for /sms/send" })));
    assert_eq!(send(&door, "POST /sms/send", json!({})).0, 422);
    assert_eq!(send(&door, "POST /secret/tell", json!("Hello")).0, 404, "it was not asked for");
    assert_eq!(world.effects().count(), 1);
}

#[test]
fn the_door_closes_with_its_world() {
    let world = World::fake();
    let address = world.http().address();
    assert_eq!(world.http().address(), address, "asked for again it is the same");
    assert!(std::net::TcpStream::connect(address).is_ok());
    drop(world);
    assert!(std::net::TcpStream::connect(address).is_err());
}
