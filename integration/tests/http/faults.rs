//! Every fault and every crash point, with an unchanged async client and with an unchanged blocking one.

use std::time::Duration;

use crate::support::has_line;
use crate::{assert_green, charge, found, one_deviation};
use expect_test::expect;
use retryproof::service::payments::Charge;
use retryproof::service::{Behavior, ServiceContext, function};
use retryproof::{Clock, Explore, Process, Report, Verdict, World};
use serde_json::{Value, json};

/// An attempt that charges with `reqwest`.
async fn charges(
    uri: &str,
    client: &reqwest::Client,
    order: u32,
    key: Option<&str>,
) -> Result<Value, reqwest::Error> {
    let request = client.post(format!("{uri}/payments/charge")).json(&charge(order, key));
    request.send().await?.error_for_status()?.json().await
}

fn charging(explore: &Explore, key: Option<&'static str>) -> Report {
    explore.run(async move |world: &World| {
        world.process("worker", move |p| {
            let (uri, client) = (p.http().uri(), client());
            p.handle(async move |order: u32| charges(&uri, &client, order, key).await.map(drop));
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap()
}

/// Explores the same job with `ureq`.
fn charging_blocking(explore: &Explore, key: Option<&'static str>) -> Report {
    explore.run(async move |world: &World| {
        world.process("worker", move |p| {
            let uri = format!("{}/payments/charge", p.http().uri());
            p.handle_blocking(move |order: u32| {
                ureq::post(&uri).send_json(charge(order, key))?.body_mut().read_json::<Value>().map(drop)
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}

/// The scenarios that repeat a charge without a key, in the order in which they are found.
const TWICE: [&str; 9] = [
    "job#1.1/payments.charge:call=reply-lost",
    "job#1.1/payments.charge:call=timed-out-but-done",
    "job#1.1/payments.charge:call=reset-but-done",
    "job#1.1/payments.charge:call=closed-but-done",
    "job#1.1/payments.charge:call=half-a-reply",
    "job#1.1/payments.charge:pause=past-lease",
    "job#1.1/payments.charge:happened=crash",
    "job#1.1/payments.charge:replied=crash",
    "job#1.1:end=crash",
];

#[track_caller]
fn assert_each_alone_repeats_the_charge(charging: impl Fn(&Explore, Option<&'static str>) -> Report) {
    let report = charging(&one_deviation(), None);
    // start 1, before 1, call 9, pause 1, happened 1, replied 1, end 1, ack 1.
    assert_eq!((report.runs(), report.verdict()), (1 + 16, Verdict::Violated), "{report}");
    for scenario in TWICE {
        let scenario = format!("test {scenario}");
        let replayed = charging(&one_deviation().replay(&scenario), None);
        assert_eq!(found(&replayed), [format!("payments.charge happened twice, expected once: {scenario}")]);
    }
    let harmless = ["unavailable", "throttled", "timed-out", "reset"]
        .map(|fault| format!("/payments.charge:call={fault}"));
    for point in harmless.iter().map(String::as_str).chain(["/payments.charge:before=crash", ":start=crash"])
    {
        let replayed = charging(&one_deviation().replay(format!("test job#1.1{point}")), None);
        // A part: each scenario has its own deviation in its report.
        assert!(
            replayed.violations().is_empty()
                && replayed.to_string().contains("it ends like the fault-free run"),
            "{replayed}"
        );
    }
    let mended = charging(&one_deviation(), Some("order-6"));
    assert_green(&mended);
    assert_eq!(mended.runs(), 1 + 16);
}

#[test]
fn an_async_client_meets_every_fault_and_crash_point() {
    assert_each_alone_repeats_the_charge(charging);
}

#[test]
fn a_blocking_client_meets_every_fault_and_crash_point() {
    assert_each_alone_repeats_the_charge(charging_blocking);
}

#[test]
fn two_deviations_and_a_key_are_green() {
    for report in [
        charging(&Explore::new().deviations(2), Some("k")),
        charging_blocking(&Explore::new().deviations(2), Some("k")),
    ] {
        assert_green(&report);
        assert!(report.runs() > 150, "{}", report.runs());
    }
}

/// Returns the root cause of an error.
fn root(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), root)
}

async fn told(uri: &str, client: &reqwest::Client, clock: &Clock, order: u32) -> String {
    let sent = client.post(format!("{uri}/payments/charge")).json(&charge(order, None)).send().await;
    let answer = match sent {
        Err(error) if error.is_timeout() => return format!("no answer after {:?}", clock.now()),
        Err(error) => return root(&error),
        Ok(answer) => answer,
    };
    let (status, wait) = (answer.status(), answer.headers().get("retry-after").cloned());
    match answer.bytes().await {
        Err(error) => format!("{status}, {}", root(&error)),
        Ok(_) => format!("{status}, {wait:?}"),
    }
}

/// Checks what the client sees of each fault.
#[test]
fn the_client_sees_what_a_network_does() {
    let seen = |fault: &str| {
        let scenario = format!("test job#1.1/payments.charge:call={fault}");
        let report = one_deviation().replay(&scenario).run(async |world: &World| {
            world.allow("payments", retryproof::Guarantee::Unchecked);
            world.process("worker", move |p| {
                let (uri, client, clock) = (p.http().uri(), client(), p.clock());
                p.handle(async move |order: u32| Err::<(), _>(told(&uri, &client, &clock, order).await))
                    .max_retries(0);
            });
            world.enqueue(6_u32);
            world.settle().await;
        });
        let shown = report.to_string();
        let failed = shown.lines().find_map(|line| line.split_once("failed: "));
        failed.unwrap_or_else(|| panic!("{report}")).1.split(';').next().unwrap().to_owned()
    };
    for (fault, told) in [
        ("unavailable", "503 Service Unavailable, None"),
        ("reply-lost", "503 Service Unavailable, None"),
        ("throttled", "429 Too Many Requests, Some(\"30\")"),
        ("timed-out", "no answer after 10s"),
        ("timed-out-but-done", "no answer after 10s"),
        ("reset", "Connection reset by peer (os error 104)"),
        ("reset-but-done", "Connection reset by peer (os error 104)"),
        ("closed-but-done", "connection closed before message completed"),
        ("half-a-reply", "201 Created, end of file before message length reached"),
    ] {
        assert_eq!(seen(fault), told, "{fault}");
    }
}

#[test]
fn the_same_report_byte_for_byte_whatever_the_ports() {
    let reports: Vec<_> = (0..3).map(|_| charging(&one_deviation(), None).to_string()).collect();
    has_line(&reports[0], expect!["failed: HTTP status server error (503 Service Unavailable) for url"]);
    assert!(reports.iter().all(|report| *report == reports[0]), "{}\n{}", reports[0], reports[1]);
    assert_eq!(charging(&one_deviation().threads(2), None).to_string(), reports[0]);
}

#[test]
fn a_client_without_a_timeout_is_cut_off_in_the_end() {
    let report = one_deviation().run(async |world: &World| {
        world.process("worker", move |p| {
            let (uri, client) = (p.http().uri(), reqwest::Client::new());
            p.handle(async move |order: u32| charges(&uri, &client, order, Some("k")).await.map(drop));
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert_green(&report);
    assert_eq!(report.runs(), 1 + 16);
}

#[test]
fn reads_have_the_faults_of_reads() {
    let report = one_deviation().run(async |world: &World| {
        world.durable("nothing", ());
        world.process("worker", move |p| {
            let (uri, client) = (p.http().uri(), client());
            p.handle(async move |order: u32| {
                let looked = client.get(format!("{uri}/payments/charges?order_id={order}")).send().await?;
                looked.error_for_status()?.json::<Value>().await.map(drop)
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert_green(&report);
    // start 1, before 1, call 5, pause 1, replied 1, end 1, ack 1.
    assert_eq!(report.runs(), 1 + 11, "{report}");
}

/// Faults that a test turns on, like a stale read or an outage, exist over HTTP, too.
#[test]
fn stale_reads_and_outages_are_explored_where_the_test_asks_for_them() {
    let looking = async |world: &World| {
        world
            .payments()
            .explore_stale_reads()
            .explore_outages(Duration::from_secs(60))
            .explore_outages_for_ever();
        world.process("worker", move |p| {
            let (uri, client) = (p.http().uri(), client());
            p.handle(async move |order: u32| {
                let looked = client.get(format!("{uri}/payments/charges?order_id={order}")).send().await?;
                let found: Vec<Value> = looked.error_for_status()?.json().await?;
                if found.is_empty() {
                    charges(&uri, &client, order, None).await?;
                }
                Ok::<_, reqwest::Error>(())
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    };
    let report = one_deviation().run(looking);
    assert_green(&report);
    // start, end, ack; a read: before, 8 faults, pause, replied; a write: before, 11 faults, pause, happened, replied.
    assert_eq!(report.runs(), 1 + 3 + 11 + 15, "{report}");
    let stale = "test job#1.1/payments.charge:call=closed-but-done job#1.2/payments.charges:call=stale";
    let replayed = one_deviation().replay(stale).run(looking);
    assert_eq!(found(&replayed), [format!("payments.charge happened twice, expected once: {stale}")]);
}

#[test]
fn what_a_request_asks_for_is_no_deviation() {
    let report = one_deviation().run(async |world: &World| {
        world.process("worker", move |p| {
            let (uri, client, clock) = (p.http().uri(), client(), p.clock());
            p.handle(async move |order: u32| {
                let slow = client
                    .post(format!("{uri}/payments/charge"))
                    .header("X-Be-Slow", "3")
                    .json(&charge(order, Some("k")));
                let before = clock.now();
                slow.send().await?.error_for_status()?;
                assert!(clock.now() >= before + Duration::from_secs(3));
                Ok::<_, reqwest::Error>(())
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert_green(&report);
    // Its reply takes time, so no other task runs first: no pause.
    assert_eq!(report.runs(), 1 + 15);
}

/// The answer comes after the client has given up: the effect happened, and the retry repeats it.
#[test]
fn what_is_slower_than_the_client_waits_happens_all_the_same() {
    let slow = |key: Option<&'static str>| {
        Explore::new().name("test").deviations(0).run(async move |world: &World| {
            world.allow("payments.charge", retryproof::Guarantee::Unchecked);
            world.process("worker", move |p| {
                let (uri, client) = (p.http().uri(), client());
                p.handle(async move |order: u32| charges(&uri, &client, order, key).await.map(drop))
                    .max_retries(1);
            });
            world.payments().behavior(Behavior::Slow(Duration::from_secs(12)));
            world.enqueue(6_u32);
            world.settle().await;
            let charged = world.effects().of("payments.charge").count();
            assert_eq!(charged, if key.is_some() { 1 } else { 2 });
        })
    };
    // The job never ends well, so this only checks that nothing unexpected happens.
    for report in [slow(None), slow(Some("k"))] {
        assert!(!report.to_string().contains("assertion"), "{report}");
    }
}

#[test]
fn a_service_of_ones_own_has_every_fault() {
    let report = one_deviation().run(async |world: &World| {
        let send = |text: String, cx: &mut ServiceContext<'_>| cx.effect("send", None, &text, "sm_");
        world.service("sms", function("send", send)).over_http();
        world.process("worker", |p| {
            let (uri, client) = (p.http().uri(), client());
            p.handle(async move |name: String| {
                client.post(format!("{uri}/sms/send")).json(&name).send().await?.error_for_status().map(drop)
            });
        });
        world.enqueue("Ada".to_owned());
        world.settle().await;
    });
    assert_eq!(report.runs(), 1 + 16, "{report}");
    let lost = "sms.send happened twice, expected once: test job#1.1/sms.send:call=reply-lost";
    assert!(found(&report).contains(&lost.to_owned()), "{report}");
}

/// Attempts of one process run at the same time, and each call belongs to its attempt.
#[test]
fn each_call_is_that_of_its_attempt() {
    let body = async |world: &World| {
        world.process("worker", |p| {
            let (uri, client) = (p.http().uri(), client());
            p.handle(async move |order: u32| {
                let key = format!("order-{order}");
                charges(&uri, &client, order, Some(&key)).await?;
                charges(&uri, &client, order + 100, None).await.map(drop)
            });
        });
        for order in 1..=3_u32 {
            world.enqueue(order);
        }
        world.settle().await;
    };
    for job in 1..=3 {
        let scenario = format!("test job#{job}.1/payments.charge:happened~2=crash");
        let report = one_deviation().replay(&scenario).run(body);
        assert_eq!(report.verdict(), Verdict::Violated, "{report}");
        let shown = report.to_string();
        assert!(shown.contains(&format!("\"order_id\":\"{}\"", 100 + job)), "{shown}");
    }
    let reports: Vec<_> = (0..3).map(|_| one_deviation().run(body).to_string()).collect();
    assert!(reports.iter().all(|report| *report == reports[0]), "{}\n{}", reports[0], reports[1]);
    assert!(!reports[0].contains("worker/payments"), "{}", reports[0]);
}

/// One job waits in virtual time between its calls, and another one gives up on a slow call.
#[test]
fn timers_of_tokio_fire_when_they_are_due_and_not_before() {
    let report = Explore::new().name("test").deviations(1).run(async |world: &World| {
        world.process("worker", |p| {
            let (uri, client, clock) = (p.http().uri(), client(), p.clock());
            p.handle(async move |order: u32| waits(&uri, &client, &clock, order).await);
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert_green(&report);
}

async fn waits(uri: &str, client: &reqwest::Client, clock: &Clock, order: u32) -> Result<(), String> {
    let start = clock.now();
    for turn in 1..=3_u32 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(clock.now() >= start + turn * Duration::from_secs(5));
        let key = format!("{order}-{turn}");
        let call = charges(uri, client, order + turn, Some(&key));
        let answered = tokio::time::timeout(Duration::from_millis(20), call).await;
        answered.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    }
    Ok(())
}

#[test]
fn a_blocking_client_may_run_in_a_blocking_task() {
    let spawning = |p: &Process| {
        let uri = format!("{}/payments/charge", p.http().uri());
        p.handle(async move |order: u32| {
            let uri = uri.clone();
            let charging = move || ureq::post(&uri).send_json(charge(order, Some("k"))).map(drop);
            tokio::task::spawn_blocking(charging)
                .await
                .map_err(|_| "it was ended".to_owned())?
                .map_err(|error| error.to_string())
        });
    };
    let report = one_deviation().run(async move |world: &World| {
        world.process("worker", spawning);
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert_green(&report);
    // A call from a tokio thread is served when nothing else can run: no pause.
    assert_eq!(report.runs(), 1 + 15);
}

#[test]
fn a_boot_closure_may_ask_and_nothing_goes_wrong() {
    let report = one_deviation().run(async |world: &World| {
        world.payments().charge(Charge::of_order(1, 500)).await.unwrap();
        world.process("worker", |p| {
            let uri = p.http().uri();
            let found: Value = ureq::get(format!("{uri}/payments/charges?order_id=1"))
                .call()
                .unwrap()
                .body_mut()
                .read_json()
                .unwrap();
            assert_eq!(found.as_array().map(Vec::len), Some(1));
            p.handle(async move |order: u32| charges(&uri, &client(), order, Some("k")).await.map(drop));
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert_green(&report);
    assert_eq!(report.runs(), 1 + 16);
}

#[test]
fn an_async_job_that_goes_through_the_tests_own_door_is_refused() {
    let report = one_deviation().run(async |world: &World| {
        let uri = world.http().uri();
        world.process("worker", move |p| {
            let (uri, client) = (uri.clone(), client());
            p.handle(async move |order: u32| charges(&uri, &client, order, None).await.map(drop));
        });
        world.enqueue(6_u32);
        world.settle().await;
        assert_eq!(world.effects().count(), 0);
    });
    assert_ne!(report.verdict(), Verdict::RetryProof, "{report}");
    // The test itself may do so.
    let world = World::fake();
    assert!(ureq::post(format!("{}/payments/charge", world.http().uri())).send_json(charge(6, None)).is_ok());
}

#[test]
fn a_job_that_goes_through_the_tests_own_door_is_refused() {
    let report = one_deviation().run(async |world: &World| {
        let uri = format!("{}/payments/charge", world.http().uri());
        world.process("worker", move |p| {
            let uri = uri.clone();
            p.handle_blocking(move |order: u32| ureq::post(&uri).send_json(charge(order, None)).map(drop));
        });
        world.enqueue(6_u32);
        world.settle().await;
        assert_eq!(world.effects().count(), 0);
        let refused = ureq::post(format!("{}/sms/send", world.http().uri())).send_json(json!({}));
        assert!(refused.is_err());
    });
    assert_ne!(report.verdict(), Verdict::RetryProof, "{report}");
}
