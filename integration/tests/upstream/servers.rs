//! Servers behind an upstream: a mock server that runs, and a router in the test body.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Json, Router};
use retryproof::{Report, World};
use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::{assert_green, charges, one_deviation, summaries};

fn explore_mock(expected: impl Into<wiremock::Times> + Clone + Sync, keyed: bool) -> Report {
    one_deviation().run(async |world: &World| {
        let server = MockServer::start().await;
        let answer = ResponseTemplate::new(201).set_body_json(json!({ "id": "ch_1" }));
        let charge = Mock::given(method("POST")).and(path("/v1/charges")).respond_with(answer);
        charge.expect(expected.clone()).named("charges").mount(&server).await;
        let stripe = world.upstream("stripe");
        stripe.behind(server.uri());
        if keyed {
            stripe.honor_idempotency_keys();
        }
        charges(world, &stripe, keyed);
        world.settle().await;
    })
}

/// The expectation holds in the fault-free run, and fails in the scenario in which the reply is lost.
#[test]
fn an_expectation_that_fails_is_named_with_its_scenario() {
    let report = explore_mock(1, false);
    let failed: Vec<_> = report
        .violations()
        .iter()
        .filter(|violation| {
            violation.to_string().contains("Verifications failed")
                || violation.summary.contains("Verifications failed")
        })
        .collect();
    assert_eq!(failed.len(), 1, "{report}");
    assert_eq!(failed[0].scenario.deviations().len(), 1, "{report}");
    assert_green(&explore_mock(1, true));
}

#[test]
fn a_request_that_a_server_carries_out_is_an_effect() {
    let report = explore_mock(1.., false);
    assert_eq!(summaries(&report), ["stripe.POST/v1/charges happened twice, expected once"], "{report}");
}

type Charges = Arc<Mutex<BTreeMap<String, Value>>>;

async fn charge(State(charges): State<Charges>, headers: HeaderMap, Json(body): Json<Value>) -> Json<Value> {
    let mut charges = charges.lock().unwrap();
    let key = headers.get("idempotency-key").map(|key| key.to_str().unwrap().to_owned());
    let key = key.unwrap_or_else(|| format!("charge {}", charges.len() + 1));
    charges.insert(key.clone(), body);
    Json(json!({ "id": key }))
}

/// The router honors keys itself, so its state tells what happened: a repeated request is no effect of its own.
#[test]
fn the_state_of_a_router_is_compared() {
    let explore = |keyed: bool| {
        one_deviation().run(async move |world: &World| {
            let state = Charges::default();
            let stripe = world.upstream("stripe");
            stripe.served_by(Router::new().route("/v1/charges", post(charge)).with_state(state.clone()));
            stripe.deduplicates(retryproof::http::post("/v1/charges"));
            world.observe("charges", move || state.lock().unwrap().clone());
            charges(world, &stripe, keyed);
            world.settle().await;
        })
    };
    let report = explore(false);
    assert!(!report.is_retryproof(), "{report}");
    assert!(summaries(&report)[0].contains("charges"), "{report}");
    assert_green(&explore(true));
}
