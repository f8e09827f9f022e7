//! Answers by closures.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use expect_test::expect;
use retryproof::http::{UpstreamResponse, get, post, put};
use retryproof::{Code, Report, World};
use serde_json::{Value, json};

use super::{assert_green, charges, one_deviation, summaries};

fn explore_charges(keyed: bool, honors: bool) -> Report {
    one_deviation().run(async |world: &World| {
        let stripe = world.upstream("stripe");
        stripe.stub(post("/v1/charges"), |call| {
            let id = call.id("ch_");
            let charge = json!({ "id": id, "amount": call.json()["amount"] });
            call.state().insert(id, charge.clone());
            (201, charge)
        });
        if honors {
            stripe.honor_idempotency_keys();
        }
        charges(world, &stripe, keyed);
        world.settle().await;
    })
}

#[test]
fn a_lost_reply_is_paid_for_twice_without_a_key() {
    for (keyed, honors) in [(false, false), (false, true), (true, false)] {
        let report = explore_charges(keyed, honors);
        // The second charge is in the state of the stub, too.
        let told = summaries(&report);
        assert_eq!(told[0], "stripe.POST/v1/charges happened twice, expected once", "{report}");
        assert!(told.len() == 2 && told[1].starts_with("stripe.ch_"), "{report}");
        let scenarios = crate::support::scenarios(&report);
        assert!(
            scenarios.contains(&"test job#1.1/stripe.POST/v1/charges:call=reply-lost".to_owned()),
            "{scenarios:?}"
        );
    }
    assert_green(&explore_charges(true, true));
}

/// Every fault of a service and of its connection is tried, and reaches the client as such.
#[test]
fn each_fault_reaches_the_client() {
    let seen = std::sync::Mutex::new(std::collections::BTreeSet::new());
    let report = one_deviation().run(async |world: &World| {
        let stripe = world.upstream("stripe");
        stripe.stub(post("/v1/charges"), |_| json!({ "id": "ch_1" })).honor_idempotency_keys();
        let log = crate::support::log(world);
        let stripe = stripe.clone();
        world.process("worker", move |p| {
            let (url, log) = (stripe.url(p), p.durable::<Vec<String>>("log"));
            let client =
                reqwest::Client::builder().timeout(std::time::Duration::from_secs(20)).build().unwrap();
            p.handle(async move |order: u32| {
                let request = client.post(format!("{url}/v1/charges")).header("Idempotency-Key", order);
                let sent = request.send().await;
                let text = match &sent {
                    Ok(response) => {
                        let wait = response
                            .headers()
                            .get("retry-after")
                            .map(|value| value.to_str().unwrap().to_owned());
                        format!("{} {wait:?}", response.status())
                    }
                    Err(error) => format!("timeout: {}, request: {}", error.is_timeout(), error.is_request()),
                };
                log.update(|log| log.push(text));
                sent?.error_for_status()?.bytes().await.map(drop)
            });
        });
        world.ignore("log", "$");
        world.enqueue(6_u32);
        world.settle().await;
        seen.lock().unwrap().extend(log.get());
    });
    assert_green(&report);
    let seen: Vec<_> = seen.into_inner().unwrap().into_iter().collect();
    expect![[r#"
        200 OK None
        429 Too Many Requests Some("30")
        503 Service Unavailable None
        timeout: false, request: true
        timeout: true, request: true"#]]
    .assert_eq(&seen.join("\n"));
}

/// A resource that a client has put is compared by its last content, so putting it twice is no violation.
#[test]
fn an_idempotent_request_may_be_repeated() {
    let explore = |stale: bool| {
        one_deviation().run(async move |world: &World| {
            let crm = world.upstream("crm");
            crm.stub(put("/contacts/{id}"), |_| UpstreamResponse::new(204));
            world.durable("attempts", 0_u32);
            world.ignore("attempts", "$");
            world.process("worker", move |p| {
                let (url, client) = (crm.url(p), reqwest::Client::new());
                let attempts = p.durable::<u32>("attempts");
                p.handle(async move |order: u32| {
                    attempts.update(|attempts| *attempts += 1);
                    let attempt = if stale { attempts.get() } else { 1 };
                    let request =
                        client.put(format!("{url}/contacts/{order}")).json(&json!({ "attempt": attempt }));
                    request.send().await?.error_for_status().map(drop)
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
        })
    };
    assert_green(&explore(false));
    let report = explore(true);
    assert_eq!(summaries(&report).len(), 1, "{report}");
    assert!(summaries(&report)[0].contains("crm"), "{report}");
}

#[test]
fn a_refusal_is_an_input() {
    let explore = |checks: bool| {
        one_deviation().run(async move |world: &World| {
            let (stripe, parcels) = (world.upstream("stripe"), world.upstream("parcels"));
            stripe.stub(post("/v1/charges"), |call| json!({ "id": call.id("ch_") })).honor_idempotency_keys();
            stripe.explore_refusal(
                post("/v1/charges"),
                "card-declined",
                (402, json!({ "error": "card_declined" })),
            );
            parcels.stub(post("/parcels"), |_| UpstreamResponse::new(202)).honor_idempotency_keys();
            world.process("worker", move |p| {
                let (stripe, parcels, client) = (stripe.url(p), parcels.url(p), reqwest::Client::new());
                p.handle(async move |order: u32| {
                    let charge = client.post(format!("{stripe}/v1/charges")).header("Idempotency-Key", order);
                    let charged = charge.json(&json!({ "order": order })).send().await?;
                    if charged.status() == 402 && checks {
                        return Ok(());
                    }
                    if charged.status() != 402 {
                        charged.error_for_status()?;
                    }
                    let parcel = client.post(format!("{parcels}/parcels")).header("Idempotency-Key", order);
                    parcel.json(&json!({ "order": order })).send().await?.error_for_status().map(drop)
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
        })
    };
    assert_green(&explore(true));
    let report = explore(false);
    assert_eq!(report.code(), Some(Code::RefusalIgnored), "{report}");
    let inputs = report.violations()[0].scenario.inputs();
    assert!(
        inputs[0].starts_with("input:stripe.POST/v1/charges/") && inputs[0].ends_with("=card-declined"),
        "{inputs:?}"
    );
}

/// A form, a query, parameters of the path, a search by `POST`, a blocking client, and the state of the stubs.
#[test]
fn a_stub_sees_the_request() {
    let report = one_deviation().run(async |world: &World| {
        let shop = world.upstream("shop");
        shop.honor_idempotency_keys().reads(post("/search"));
        shop.stub(post("/carts/{cart}/items"), |call| {
            let item =
                json!({ "cart": call.parameter("cart"), "item": call.json(), "dry": call.query("dry") });
            call.state().insert("item".to_owned(), item.clone());
            item
        });
        shop.stub(post("/search"), |call| json!(call.state().len()));
        shop.stub(get("/items"), |call| call.state().get("item").cloned().unwrap_or(Value::Null));
        world.process("worker", move |p| {
            let url = shop.url(p);
            p.handle_blocking(move |cart: u32| -> Result<(), ureq::Error> {
                let form = [("sku", "a 1"), ("sku", "b"), ("count", "2")];
                let request =
                    ureq::post(format!("{url}/carts/{cart}/items?dry=no")).header("Idempotency-Key", "k");
                let item: Value = request.send_form(form)?.body_mut().read_json()?;
                let expected =
                    json!({ "cart": "6", "item": { "sku": ["a 1", "b"], "count": "2" }, "dry": "no" });
                assert_eq!(item, expected);
                assert_eq!(
                    ureq::get(format!("{url}/items")).call()?.body_mut().read_json::<Value>()?,
                    expected
                );
                let found: Value = ureq::post(format!("{url}/search")).send("{}")?.body_mut().read_json()?;
                assert_eq!(found, json!(1));
                Ok(())
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
        assert_eq!(world.effects().count(), 1, "reads are no effects");
    });
    assert_green(&report);
}

fn read_answer(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let before = head.len();
        if stream.read_line(&mut head)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(value) = head[before..].strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(head.lines().next().unwrap_or_default().to_owned() + " " + &String::from_utf8_lossy(&body))
}

/// Two requests on one connection, one of them in chunks, and one in the absolute form that a forward proxy gets.
#[test]
fn a_connection_is_kept_and_chunks_are_joined() {
    let report = one_deviation().deviations(0).run(async |world: &World| {
        let (api, other) = (world.upstream("api"), world.upstream("other"));
        api.stub(post("/echo"), |call| call.json());
        other.stub(post("/echo"), |_| json!("other")).at("http://Other.example.com");
        world.process("worker", move |p| {
            let doors = [api.url(p), p.http().uri()].map(|url| url["http://".len()..].to_owned());
            p.handle_blocking(move |_: u32| -> std::io::Result<()> {
                for door in &doors {
                    let mut stream = BufReader::new(TcpStream::connect(door)?);
                    let absolute = "POST http://other.example.com/echo HTTP/1.1\r\nhost: other.example.com\r\ncontent-length: 2\r\n\r\n{}";
                    let chunked = "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n";
                    stream.get_mut().write_all(absolute.as_bytes())?;
                    assert_eq!(read_answer(&mut stream)?, "HTTP/1.1 200 OK \"other\"");
                    if *door == doors[0] {
                        stream.get_mut().write_all(chunked.as_bytes())?;
                        assert_eq!(read_answer(&mut stream)?, "HTTP/1.1 200 OK [1,2]");
                    }
                }
                let mut stream = BufReader::new(TcpStream::connect(&doors[1])?);
                stream.get_mut().write_all(b"CONNECT api.example.com:443 HTTP/1.1\r\nhost: api.example.com:443\r\n\r\n")?;
                // A part: the rest is the head of the answer.
                assert!(read_answer(&mut stream)?.contains("this proxy has no tunnels"));
                Ok(())
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
        assert_eq!(world.effects().of("other.POST/echo").count(), 2);
    });
    assert_green(&report);
}
