//! The answers of the built-in services, row by row as `docs/spec/services.md` specifies them, serialized as JSON. The
//! test body itself makes the calls, so no failures are injected.

use retryproof::service::email::Email;
use retryproof::service::fulfillment::Shipment;
use retryproof::service::payments::Charge;
use retryproof::{Explore, Verdict, World};
use serde::Serialize;
use serde_json::{Value, json};

/// Runs a body without jobs. Only its assertions are tested.
#[track_caller]
fn given(body: impl AsyncFn(&World) + Sync) {
    let report = Explore::new().name("test").run(body);
    assert_eq!(report.verdict(), Verdict::NothingTested, "{report}");
}

#[track_caller]
fn assert_json(answer: impl Serialize, expected: Value) {
    assert_eq!(serde_json::to_value(answer).unwrap(), expected);
}

/// Returns the id in an answer: a prefix and eight hex digits.
#[track_caller]
fn id(answer: &impl Serialize, field: &str, prefix: &str) -> String {
    let answer = serde_json::to_value(answer).unwrap();
    let id = answer[field].as_str().unwrap_or_else(|| panic!("no {field} in {answer}")).to_owned();
    let digits = id.strip_prefix(prefix).unwrap_or_else(|| panic!("{id} does not begin with {prefix}"));
    assert!(digits.len() == 8 && digits.chars().all(|c| c.is_ascii_hexdigit()), "{id}");
    id
}

fn charge() -> Charge {
    Charge::of_order(6, 2_598).customer("cu_2").payment_method("pm_2")
}

fn shipment() -> Shipment {
    Shipment::of_order(6, "pr_3", 2).customer("cu_2").address("1 Main St")
}

#[test]
fn payments_charge_success() {
    given(async |world: &World| {
        let answer = world.payments().charge(charge()).await.unwrap();
        let charge_id = id(&answer, "charge_id", "ch_");
        assert_json(answer, json!({"status": "success", "charge_id": charge_id}));
    });
}

#[test]
fn payments_charge_with_a_known_key_has_the_stored_answer_and_charges_nothing() {
    given(async |world: &World| {
        let payments = world.payments();
        let first = payments.charge(charge().key("k")).await.unwrap();
        let second = payments.charge(charge().key("k")).await.unwrap();
        assert_eq!(first, second);
        assert_eq!((payments.records().len(), world.effects().count()), (1, 1));
    });
}

#[test]
fn payments_charge_declined_is_recorded_and_the_same_key_is_a_new_attempt() {
    given(async |world: &World| {
        let payments = world.payments();
        let declined = Charge::of_order(6, 9_999).key("k");
        let answer = payments.charge(declined.clone()).await.unwrap();
        assert_json(answer, json!({"status": "declined", "explanation": "Insufficient funds"}));
        payments.charge(declined).await.unwrap();
        assert_eq!((payments.records().len(), world.effects().count()), (2, 0));
        let answer = payments.charge(charge().key("k")).await.unwrap();
        id(&answer, "charge_id", "ch_");
        assert_eq!((payments.records().len(), world.effects().count()), (3, 1));
    });
}

#[test]
fn payments_charges_of_an_order() {
    given(async |world: &World| {
        let payments = world.payments();
        payments.charge(charge().key("k")).await.unwrap();
        payments.charge(Charge::of_order(7, 1)).await.unwrap();
        let found = payments.charges(6).await.unwrap();
        let charge_id = found[0].charge_id().unwrap().to_owned();
        assert_json(
            found,
            json!([{
                "customer_id": "cu_2", "payment_method_id": "pm_2", "amount_cents": 2598,
                "metadata": {"order_id": "6", "idempotency_key": "k"},
                "status": "success", "charge_id": charge_id,
            }]),
        );
        assert_json(payments.charges(8).await.unwrap(), json!([]));
    });
}

#[test]
fn fulfillment_request_accepted() {
    given(async |world: &World| {
        let answer = world.fulfillment().request(shipment()).await.unwrap();
        let request_id = id(&answer, "request_id", "fr_");
        assert_json(answer, json!({"status": "accepted", "request_id": request_id}));
    });
}

#[test]
fn fulfillment_request_with_a_known_key_has_the_stored_answer() {
    given(async |world: &World| {
        let parcels = world.fulfillment();
        let first = parcels.request(shipment().key("k")).await.unwrap();
        assert_eq!(parcels.request(shipment().key("k")).await.unwrap(), first);
        assert_eq!((parcels.records().len(), world.effects().count()), (1, 1));
    });
}

#[test]
fn fulfillment_request_with_a_blank_address_is_rejected() {
    given(async |world: &World| {
        for address in ["", "  "] {
            let answer = world.fulfillment().request(shipment().address(address).key("k")).await.unwrap();
            assert_json(answer, json!({"status": "rejected", "error": "Missing address"}));
        }
        // The key of a rejected request is not stored.
        id(&world.fulfillment().request(shipment().key("k")).await.unwrap(), "request_id", "fr_");
    });
}

#[test]
fn email_send_queued() {
    given(async |world: &World| {
        let send = || world.email().send(Email::new("ada@example.com", "receipt").data("order_id", 6));
        let answer = send().await.unwrap();
        let email_id = id(&answer, "email_id", "em_");
        assert_json(&answer, json!({"status": "queued", "email_id": email_id}));
        // Without a key, the same request sends another email.
        assert_ne!(send().await.unwrap(), answer);
    });
}

#[test]
fn email_send_without_to_or_template_id_is_not_queued() {
    given(async |world: &World| {
        let send =
            async |to: &str, template: &str| world.email().send(Email::new(to, template)).await.unwrap();
        assert_json(send(" ", "").await, json!({"status": "not-queued", "errorMessage": "to required"}));
        assert_json(
            send("ada@example.com", " ").await,
            json!({"status": "not-queued", "errorMessage": "template_id required"}),
        );
        assert_eq!(world.effects().count(), 0);
    });
}

#[test]
fn email_emails_that_match_both() {
    given(async |world: &World| {
        let email = world.email();
        email.send(Email::new("ada@example.com", "receipt")).await.unwrap();
        email.send(Email::new("ada@example.com", "reminder")).await.unwrap();
        let found = email.emails("ada@example.com", "receipt").await.unwrap();
        let email_id = found[0].email_id.clone();
        assert_json(
            found,
            json!([{"email_id": email_id, "to": "ada@example.com", "template_id": "receipt", "template_data": {}}]),
        );
        assert_json(email.emails("bob@example.com", "receipt").await.unwrap(), json!([]));
    });
}
