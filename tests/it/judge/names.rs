//! Generated values are compared up to renaming.

use super::*;
use retryproof::{Guarantee, StoreError};

/// Input 17: a key is drawn, stored, and read back, or drawn anew each time.
fn drawing(stores: bool) -> Report {
    judged(
        move |p| {
            let (store, payments, rng) = (p.store(), p.payments(), p.rng());
            p.handle(async move |order: u32| {
                let row = format!("key:{order}");
                let drawn = format!("order-{:016x}", rng.next_u64());
                let key = match stores {
                    true => {
                        store.set_if_absent(&row, &drawn, None).await.map_err(|e| e.to_string())?;
                        let row = store.get::<String>(&row).await.map_err(|e| e.to_string())?;
                        row.expect("it is there now").value
                    }
                    false => drawn,
                };
                payments.charge(charge(order).key(key)).await.map(drop).map_err(|e| e.to_string())
            });
        },
        |world| {
            world.enqueue_bulk([1_u32, 2]);
        },
    )
}

#[test]
fn input_17_one_charge_under_a_drawn_and_stored_key_is_right_and_two_are_two() {
    assert_green(&drawing(true));
    assert_red(&drawing(false), Code::RepeatedAfterError, "payments.charge happened twice, expected once");
}

/// Keys of two orders, one of which is stored under the other order's row in some runs.
fn keys_in_rows(mixes_up: bool) -> Report {
    with(
        &Explore::new().name("test").deviations(1).deliveries(0),
        move |p| {
            let (store, payments, rng) = (p.store(), p.payments(), p.rng());
            p.handle(async move |order: u32| {
                let own = format!("key:{order}");
                let text = |error: StoreError| error.to_string();
                let again = store.get::<u64>(&own).await.map_err(text)?;
                let key = match &again {
                    Some(row) => row.value,
                    None => {
                        let drawn = rng.next_u64() >> 1;
                        store.put(&own, &drawn).await.map_err(text)?;
                        drawn
                    }
                };
                payments.charge(charge(order).key(key.to_string())).await.map_err(|e| e.to_string())?;
                // A retry writes to the other order's row.
                let row = match (mixes_up && again.is_some(), order) {
                    (true, 1) => "charged:2",
                    (true, _) => "charged:1",
                    (false, 1) => "charged:1",
                    (false, _) => "charged:2",
                };
                store.put(row, &key).await.map_err(text)
            });
        },
        |world| {
            world.enqueue_bulk([1_u32, 2]);
        },
    )
}

#[test]
fn a_key_that_belongs_to_another_orders_charge_is_wrong() {
    assert_red(&keys_in_rows(true), Code::StateAfterError, "store.");
    assert_green(&keys_in_rows(false));
}

/// Input 21: two identical mails, whose ids are stored in rows.
fn kept_ids(mixes_up: bool) -> Report {
    judged(
        move |p| {
            let (store, email) = (p.store(), p.email());
            p.handle(async move |number: u32| {
                let id = email.send(mail("u@example.com")).await.map_err(|e| e.to_string())?;
                let row = format!("mail:{number}");
                store.put(&row, &id).await.map_err(|e| e.to_string())?;
                if mixes_up && number == 2 {
                    let other = store.get::<serde_json::Value>("mail:1").await.map_err(|e| e.to_string())?;
                    if let Some(other) = other {
                        store.put(&row, &other.value).await.map_err(|e| e.to_string())?;
                    }
                }
                Ok::<_, String>(())
            });
        },
        move |world| {
            world.allow("email.send", Guarantee::AtLeastOnce);
            world.enqueue_bulk([1_u32, 2]);
        },
    )
}

#[test]
fn input_21_ids_of_identical_mails_are_names() {
    assert_green(&kept_ids(false));
}

/// A random number in the payload of a child.
fn in_a_payload(draws_twice: bool) -> Report {
    judged(
        move |p| {
            let (store, queue, rng) = (p.store(), p.queue(), p.rng());
            p.handle(async move |_: u32| {
                let text = |error: StoreError| error.to_string();
                let token = rng.next_u64();
                store.set_if_absent("token", &token, None).await.map_err(text)?;
                let token = match draws_twice {
                    true => token,
                    false => store.get::<u64>("token").await.map_err(text)?.expect("it is there").value,
                };
                let child = retryproof::job::NewJob::encoded::<u64>(token.to_string());
                queue
                    .enqueue_new(child.deduplicate("child", retryproof::Conflict::Drop))
                    .await
                    .map_err(|e| e.to_string())?;
                Ok::<_, String>(())
            });
            let store = p.store();
            p.handle(async move |token: u64| store.put("used", &token).await);
        },
        |world| {
            world.enqueue(1_u32);
        },
    )
}

#[test]
fn a_value_is_the_same_in_state_and_in_payloads() {
    assert_green(&in_a_payload(false));
    let report = in_a_payload(true);
    assert_red(&report, Code::StateAfterError, "store.");
}

/// Small random numbers are ordinary numbers.
#[test]
fn a_die_is_compared_as_it_fell() {
    let report = judged(
        |p| {
            let (store, rng) = (p.store(), p.rng());
            p.handle(async move |_: u32| {
                let thrown = rng.below(1_000);
                store.put("die", &thrown).await
            });
        },
        |world| {
            world.enqueue(1_u32);
        },
    );
    assert_red(&report, Code::StateAfterCrash, "store.");
}

/// A job leaves NaN behind, or nothing.
fn leaving(once_failed: Option<f64>) -> Report {
    Explore::new().name("test").deviations(1).crashes(0).deliveries(0).run(async move |world: &World| {
        let left = world.durable("left", Some(1.5));
        world.process("worker", {
            let left = left.clone();
            move |p| {
                let (email, left) = (p.email(), left.clone());
                p.handle(async move |_: u32| {
                    left.set(Some(f64::NAN));
                    if email.send(mail("u@example.com")).await.is_err() {
                        left.set(once_failed);
                    }
                });
            }
        });
        world.allow("email.send", retryproof::Guarantee::Unchecked);
        world.enqueue(6_u32);
        world.settle().await;
    })
}

#[test]
fn no_number_and_infinite_and_nothing_are_three_values() {
    assert_green(&leaving(Some(f64::NAN)));
    for other in [None, Some(f64::INFINITY), Some(f64::NEG_INFINITY)] {
        assert_eq!(leaving(other).verdict(), Verdict::Violated, "{other:?}");
    }
}

/// When something was paid, as a number of some unit, as a duration, in words; or how much, which is no reading.
fn noting_the_time(what: &'static str) -> Report {
    judged(
        move |p| {
            let (store, clock) = (p.store(), p.clock());
            let attempts = p.incarnation();
            p.handle(async move |order: u32| {
                let now = clock.now();
                match what {
                    "seconds" => store.put("at", &now.as_secs()).await?,
                    "milliseconds" => store.put("at", &(now.as_millis() as u64)).await?,
                    "a duration" => store.put("at", &now).await?,
                    "words" => store.put("order", &format!("{order} paid at {now:?}")).await?,
                    "both" => {
                        store.put("begun", &now).await?;
                        store.put("ended", &clock.now()).await?;
                    }
                    "a sum" => store.put("cents", &(500 + now.as_secs())).await?,
                    "a sum beside" => {
                        store.put("order", &(now, if attempts > 1 { 1_000 } else { 500 })).await?;
                    }
                    _ => {
                        store.incr("tries", 1).await?;
                    }
                }
                Ok::<_, StoreError>(())
            });
        },
        |world| {
            world.enqueue(6_u32);
        },
    )
}

#[test]
fn a_reading_of_the_clock_is_later_in_another_run() {
    for reading in ["seconds", "milliseconds", "a duration", "words", "both"] {
        assert_green(&noting_the_time(reading));
    }
    for number in ["a sum", "a sum beside", "tries"] {
        assert_eq!(noting_the_time(number).verdict(), Verdict::Violated, "{number}");
    }
}

/// A charge under a key made of the time: one is right, and two are two.
fn charged_at(explore: &Explore) -> Report {
    with(
        explore,
        |p| {
            let (payments, clock) = (p.payments(), p.clock());
            p.handle(async move |order: u32| {
                payments.charge(charge(order).key(format!("{order} at {:?}", clock.now()))).await.map(drop)
            });
        },
        |world| {
            world.enqueue(6_u32);
        },
    )
}

#[test]
fn a_key_made_of_the_time_is_a_name() {
    let replay = |scenario: &str| charged_at(&Explore::new().name("test").replay(scenario));
    let once = replay("test job#1.1/payments.charge:call=unavailable");
    assert_eq!((once.verdict(), once.reason()), (Verdict::RetryProof, None), "{once}");
    assert_eq!(replay("test job#1.1/payments.charge:call=reply-lost").verdict(), Verdict::Violated);
    assert_eq!(charged_at(&Explore::new().name("test").deviations(1)).verdict(), Verdict::Violated);
}

/// A set of keys that were drawn, in the order of the keys; or in the order in which they came.
fn sorted_keys(is_set: bool, loses_one: bool) -> Report {
    with(
        &Explore::new().name("test").deviations(1).deliveries(0).preemptions(0),
        move |p| {
            let (store, rng) = (p.store(), p.rng());
            let incarnation = p.incarnation();
            p.handle(async move |order: u32| {
                let own = format!("key:{order}");
                if store.get::<String>(&own).await?.is_none() {
                    store.put(&own, &format!("k{:016x}", rng.next_u64())).await?;
                }
                let mut keys = Vec::new();
                for other in 1..=3_u32 {
                    keys.extend(store.get::<String>(format!("key:{other}")).await?.map(|row| row.value));
                }
                if is_set {
                    keys.sort();
                }
                if loses_one && incarnation > 1 {
                    keys.pop();
                }
                store.put("keys", &keys).await
            });
        },
        |world| {
            for order in 1..=3_u32 {
                world.enqueue_in(order * S, order);
            }
        },
    )
}

#[test]
fn a_list_that_is_sorted_by_what_was_drawn() {
    assert_green(&sorted_keys(true, false));
    assert_green(&sorted_keys(false, false));
    assert_eq!(sorted_keys(true, true).verdict(), Verdict::Violated);
}

/// A token for each user. A retry takes the last one that was drawn, even if it belongs to another user.
fn tokens(takes_the_last: bool) -> Report {
    with(
        &Explore::new().name("test").deviations(1).faults(0).deliveries(0).preemptions(0),
        move |p| {
            let (store, rng) = (p.store(), p.rng());
            p.handle(async move |user: u32| {
                let own = if takes_the_last { "last".to_owned() } else { format!("drawn:{user}") };
                let begun = format!("begun:{user}");
                let again = store.get::<bool>(&begun).await?.is_some();
                store.put(&begun, &true).await?;
                let known = if again { store.get::<String>(&own).await? } else { None };
                let token = known.map_or_else(|| format!("{:016x}", rng.next_u64()), |row| row.value);
                store.put(&own, &token).await?;
                store.put(format!("token:{user}"), &token).await
            });
        },
        |world| {
            // The last token belongs to either user.
            world.ignore("store", "$.last");
            for user in 1..=2_u32 {
                world.enqueue_in(user * HOUR, user);
            }
        },
    )
}

#[test]
fn two_values_are_not_one() {
    assert_red(&tokens(true), Code::StateAfterCrash, "store.");
    assert_green(&tokens(false));
}
