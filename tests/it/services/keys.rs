//! Idempotency keys: reused for another request, forgotten, or still in flight.

use std::time::Duration;

use super::{assert_green, assert_violated, one_deviation};
use crate::support::has_line;
use expect_test::expect;
use retryproof::report::Oracle;
use retryproof::service::fulfillment::Shipment;
use retryproof::service::payments::Charge;
use retryproof::{Backoff, Explore, Guarantee, Report, ServiceError, Verdict, World};

/// Explores two orders that are shipped, each under the key that `key` derives from its number.
fn shipping_two(explore: &Explore, key: fn(u32) -> String, refuse: bool) -> Report {
    explore.run(async move |world: &World| {
        if refuse {
            world.fulfillment().reject_key_reuse();
        }
        world.process("worker", move |p| {
            let parcels = p.fulfillment();
            p.handle(async move |order: u32| {
                let parcel = Shipment::of_order(order, "pr_1", 1).address("1 Main St").key(key(order));
                parcels.request(parcel).await.map(drop)
            })
            .max_retries(1);
        });
        world.enqueue(1_u32);
        world.enqueue(2_u32);
        world.settle().await;
    })
}

const REUSED: &str = "fulfillment.request never happened: it was answered with the stored answer of another request with the key \"1\"";

#[test]
fn the_constant_key_1_the_second_order_is_never_shipped() {
    let report = shipping_two(&Explore::new().name("test"), |_| "1".to_owned(), false);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert_eq!(report.runs(), 1, "only the fault-free run");
    let violation = &report.violations()[0];
    assert_eq!((violation.oracle, &*violation.summary), (Oracle::Guarantee, REUSED));
    assert_eq!(violation.effect.as_deref(), Some("fulfillment.request"));
    let body = |order: u32| {
        format!(
            r#"{{"address":"1 Main St","product_id":"pr_1","quantity":1,"metadata":{{"order_id":"{order}"}}}}"#
        )
    };
    assert_eq!(violation.expected, format!("fulfillment.request {} happens, under its own key", body(2)));
    assert_eq!(
        violation.actual,
        format!(
            "fulfillment.request {} happened under the key \"1\", and its answer was used for both",
            body(1)
        )
    );
    let text = report.to_string();
    has_line(
        &text,
        expect![[
            r#"|                         ^^^^^^^ job#2, attempt 1: the key "1" was used by another request; this one never happens"#
        ]],
    );
    assert!(violation.place.as_deref().is_some_and(|place| place.starts_with("tests/it/services/keys.rs:")));
}

#[test]
fn a_key_from_the_orders_id_ships_both() {
    assert_green(&shipping_two(&one_deviation(), |order| format!("order-{order}"), false));
}

#[test]
fn a_reused_key_may_be_where_the_effect_may_be_missing() {
    let report = one_deviation().run(async |world: &World| {
        world.allow("payments.charge", Guarantee::AtMostOnce);
        world.process("worker", |p| {
            let payments = p.payments();
            p.handle(async move |order: u32| {
                payments.charge(Charge::of_order(order, 500).key("k")).await.map(drop)
            });
        });
        world.enqueue(1_u32);
        world.enqueue(2_u32);
        world.settle().await;
    });
    assert!(!report.violations().iter().any(|v| v.summary.contains("stored answer")), "{report}");
}

/// A charge whose amount changes from attempt to attempt, under one key: the same key with other parameters.
#[test]
fn other_parameters_in_the_second_attempt_are_found_where_the_first_one_happened() {
    let report = one_deviation().run(async |world: &World| {
        world.process("worker", |p| {
            let (payments, clock) = (p.payments(), p.clock());
            p.handle(async move |order: u32| {
                let late = u64::from(!clock.now().is_zero());
                payments.charge(Charge::of_order(order, 500 + late).key("order-1")).await.map(drop)
            });
        });
        world.enqueue(1_u32);
        world.settle().await;
    });
    assert_violated(
        &report,
        "payments.charge never happened: it was answered with the stored answer of another request with the key \"order-1\"",
        "test job#1.1/payments.charge:call=reply-lost",
    );
}

#[test]
fn refused_reused_keys_are_an_error_and_no_stored_answer() {
    let report = shipping_two(&one_deviation(), |_| "1".to_owned(), true);
    assert!(!report.violations().iter().any(|v| v.summary == REUSED), "{report}");
    let said = "job#2 u32 fails twice even in the fault-free run: fulfillment.request: 400 the idempotency key \
                \"1\" was used before, with different parameters";
    assert!(report.to_string().contains(said), "{report}");
    assert_green(&shipping_two(&one_deviation(), |order| order.to_string(), true));
}

/// Explores a charge under a key that is forgotten after a day.
fn expiring(explore: &Explore, look_first: bool, ttl: Option<Duration>) -> Report {
    explore.run(async move |world: &World| {
        if let Some(ttl) = ttl {
            world.payments().key_ttl(ttl);
        }
        world.process("worker", move |p| {
            let payments = p.payments();
            p.handle(async move |order: u32| {
                if look_first && !payments.charges(order).await?.is_empty() {
                    return Ok(());
                }
                payments.charge(Charge::of_order(order, 500).key(format!("order-{order}"))).await.map(drop)
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn idempotency_keys_ttl_the_key_expires_and_the_retry_comes_on_day_three() {
    let report = expiring(&Explore::new().name("test"), false, Some(DAY));
    let twice = "payments.charge happened twice, expected once";
    assert_violated(&report, twice, "test job#1.1/payments.charge:call=reply-lost job#1.1:retry=days-late");
    assert_violated(&report, twice, "test job#1.1/payments.charge:happened=crash job#1.1:lease=days-late");
    let text = report.to_string();
    has_line(&text, expect!["✗ the retry comes three days late"]);
    // It is retry-proof with a lookup before paying, or with keys that live longer.
    assert_green(&expiring(&Explore::new().name("test"), true, Some(DAY)));
    assert_green(&expiring(&Explore::new().name("test"), false, Some(30 * DAY)));
}

#[test]
fn delays_are_drawn_where_keys_expire_or_where_they_are_asked_for_and_bounded() {
    // 12 single deviations of a charge. After five faults a retry follows, after five crashes a lease, and each may be
    // late: ten more runs at level 2. The others are those without delays (counted in `checks/counts.rs`).
    let runs = |explore: Explore, ttl| expiring(&explore.name("test"), false, ttl).runs();
    let without = 1 + 12 + 6 * 12 + 5 * (3 + 12) + 3 + (1 + 1 + 12 + 1 + 3);
    assert_eq!(runs(Explore::new(), None), without);
    assert_eq!(runs(Explore::new().delays(1), None), without + 10);
    assert_eq!(runs(Explore::new(), Some(30 * DAY)), without + 10);
    assert_eq!(runs(Explore::new().delays(0), Some(30 * DAY)), without);
}

/// Returns whether a job that sleeps, and a job that it schedules, are both done within a day, which nothing promises.
fn in_a_days_time(explore: &Explore) -> Report {
    explore.run(async |world: &World| {
        let in_time = world.durable("in time", false);
        world.process("worker", move |p| {
            let (clock, queue) = (p.clock(), p.queue());
            p.handle(async move |_: u32| {
                clock.sleep(Duration::from_secs(1)).await;
                queue.enqueue_in(Duration::from_secs(1), DAY.as_secs()).await.map(drop)
            });
            let (clock, in_time) = (p.clock(), in_time.clone());
            p.handle(async move |until: u64| in_time.set(clock.now().as_secs() < until));
        });
        world.enqueue(1_u32);
        world.settle().await;
    })
}

#[test]
fn a_sleep_and_a_scheduled_job_come_late() {
    let wrong = "in time is";
    for (late, words) in [
        ("job#1.1/sleep:timer=days-late", "the end of this wait comes three days late"),
        ("job#1.1/queue.enqueue:timer=days-late", "the scheduled job comes three days late"),
    ] {
        let scenario = format!("test {late}");
        let report = in_a_days_time(&one_deviation().delays(1).replay(&scenario));
        assert_violated(&report, wrong, &scenario);
        assert!(report.to_string().contains(words), "{report}");
    }
    assert_violated(&in_a_days_time(&one_deviation().delays(1)), wrong, "test job#1.1/sleep:timer=days-late");
    // If nothing expires, and nothing turns delays on, all timers are on time.
    assert_green(&in_a_days_time(&one_deviation()));
}

/// Explores a charge that is retried at once, while the first request is still running.
fn in_flight(conflict_is_done: bool, wait: u64) -> Report {
    one_deviation().run(async move |world: &World| {
        world.payments().reject_concurrent_keys(Duration::from_secs(60));
        let paid = world.durable("paid", false);
        world.process("worker", move |p| {
            let (payments, paid) = (p.payments(), paid.clone());
            p.handle(async move |order: u32| {
                let charge = Charge::of_order(order, 500).key(format!("order-{order}"));
                match payments.charge(charge).await {
                    // As if the running request were going to succeed.
                    Err(ServiceError::Refused { status: 409, .. }) if conflict_is_done => return Ok(()),
                    answer => answer?,
                };
                paid.set(true);
                Ok::<_, ServiceError>(())
            })
            .backoff(Backoff::Constant(Duration::from_secs(wait)));
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}

#[test]
fn keys_in_flight_a_key_whose_first_request_is_still_running_is_a_conflict() {
    assert_violated(&in_flight(true, 5), "paid is", "test job#1.1/payments.charge:call=reply-lost");
    // Retried until the conflict is over, or retried only after it.
    assert_green(&in_flight(false, 5));
    assert_green(&in_flight(true, 61));
}

#[test]
fn keys_in_flight_a_request_that_was_answered_runs_no_longer() {
    one_deviation().crashes(0).faults(0).check(async |world: &World| {
        world.payments().reject_concurrent_keys(Duration::from_secs(60));
        world.process("worker", |p| {
            let payments = p.payments();
            p.handle_blocking(move |order: u32| {
                let charge = || payments.charge_blocking(Charge::of_order(order, 500).key("k"));
                assert_eq!(charge().unwrap(), charge().unwrap());
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
        assert!(world.dead().is_empty() && world.retries().is_empty());
    });
}

#[test]
fn settings_are_the_tests_own() {
    let report = one_deviation().run(async |world: &World| {
        world.process("worker", |p| {
            p.payments().key_ttl(DAY);
        });
    });
    assert!(
        report.violations()[0].summary.ends_with(
            "settings of the service `payments` belong to the test: change them through `world`, not through the handle of a \
             process"
        ),
        "{report}"
    );
}
