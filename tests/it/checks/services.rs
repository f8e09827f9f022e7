//! The built-in services, called by the test itself.

use super::{keyed, unkeyed};
use retryproof::service::email::{Email, SendOutcome};
use retryproof::service::fulfillment::{Shipment, ShipmentOutcome};
use retryproof::service::payments::{Charge, ChargeOutcome, DECLINED_AMOUNT};
use retryproof::{Explore, Verdict, World};

/// Runs a test body that has no job.
fn ask(body: impl AsyncFn(&World) + Sync) {
    let report = Explore::new().name("test").run(body);
    assert_eq!(report.verdict(), Verdict::NothingTested, "{report}");
}

#[test]
fn payments_decline_one_amount_and_look_up_by_order() {
    ask(async |world: &World| {
        let payments = world.payments();
        let declined = payments.charge(Charge::of_order(1, DECLINED_AMOUNT).key("k")).await.unwrap();
        assert!(matches!(declined, ChargeOutcome::Declined { .. }));
        assert_eq!(world.effects().count(), 0);
        // The same key may be tried again after a decline, and only once after a success.
        let paid = payments.charge(Charge::of_order(1, 500).key("k")).await.unwrap();
        assert_eq!(payments.charge(Charge::of_order(1, 500).key("k")).await.unwrap(), paid);
        assert_ne!(payments.charge(unkeyed(2)).await.unwrap(), payments.charge(unkeyed(2)).await.unwrap());
        payments.charge(keyed(3)).await.unwrap();
        let ids = async |order: u32| {
            let charges = payments.charges(order).await.unwrap();
            charges.iter().map(|charge| charge.charge_id().is_some()).collect::<Vec<_>>()
        };
        assert_eq!(ids(1).await, [false, true]);
        assert_eq!((ids(2).await.len(), ids(3).await.len(), ids(4).await.len()), (2, 1, 0));
        assert_eq!(world.effects().of("payments.charge").count(), 4);
    });
}

#[test]
fn emails_need_an_address_and_a_template_and_are_looked_up_by_both() {
    ask(async |world: &World| {
        let email = world.email();
        for (to, template, missing) in [(" ", "hello", "to required"), ("a@b", "", "template_id required")] {
            let answer = email.send(Email::new(to, template)).await.unwrap();
            assert_eq!(answer, SendOutcome::NotQueued { error_message: missing.to_owned() });
        }
        assert_eq!(world.effects().count(), 0);
        for (to, template) in [("a@b", "hello"), ("a@b", "hello"), ("a@b", "bye"), ("c@d", "hello")] {
            assert!(matches!(
                email.send(Email::new(to, template)).await.unwrap(),
                SendOutcome::Queued { .. }
            ));
        }
        for (to, template, count) in [("a@b", "hello", 2), ("a@b", "bye", 1), ("c@d", "bye", 0)] {
            assert_eq!(email.emails(to, template).await.unwrap().len(), count, "{to} {template}");
        }
    });
}

#[test]
fn parcels_need_an_address_and_are_shipped_once_a_key() {
    ask(async |world: &World| {
        let parcels = world.fulfillment();
        let nowhere = parcels.request(Shipment::of_order(1, "pr_1", 1).key("k")).await.unwrap();
        assert_eq!(nowhere, ShipmentOutcome::Rejected { error: "Missing address".to_owned() });
        assert_eq!(world.effects().count(), 0);
        let parcel = || Shipment::of_order(1, "pr_1", 1).address("1 Main St");
        let shipped = parcels.request(parcel().key("k")).await.unwrap();
        assert_eq!(parcels.request(parcel().key("k")).await.unwrap(), shipped);
        assert_ne!(parcels.request(parcel()).await.unwrap(), shipped);
        assert_eq!(world.effects().count(), 2);
    });
}
