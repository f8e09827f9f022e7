//! Parts that are not compared, because the test says so or because they were drawn from a sequence.
//!
//! A part: the text of a panic ends in its place in this file, which moves with each edit.

use super::terms::on;
use super::{S, body_panic};
use crate::support::{assert_green, one_deviation};
use retryproof::service::email::Email;
use retryproof::service::payments::Charge;
use retryproof::{Code, Explore, Guarantee, Process, Verdict, World};

type Failure = Box<dyn std::error::Error>;

/// A stable key, and a body that differs in each attempt.
#[test]
fn input_19_a_volatile_field_of_a_body() {
    let seals = |p: &Process| {
        let (payments, clock) = (p.payments(), p.clock());
        p.handle(async move |order: u32| {
            let sealed = format!("sealed-{}", clock.now().as_secs());
            payments.charge(Charge::of_order(order, 500).customer(sealed).key("k")).await.map(drop)
        });
    };
    let report = on(&one_deviation(), |_| (), seals);
    assert!(report.violations().iter().any(|v| v.code == Code::KeyReused), "{report}");
    let ignored = |world: &World| world.ignore_effect("payments.charge", "$.customer_id");
    assert_green(&on(&one_deviation(), ignored, seals));
    // Another field that changes is different content.
    let doubles = |p: &Process| {
        let (payments, clock) = (p.payments(), p.clock());
        p.handle(async move |order: u32| {
            let amount = if clock.now().is_zero() { 500 } else { 1_000 };
            payments.charge(Charge::of_order(order, amount).key("k")).await.map(drop)
        });
    };
    let report = on(&one_deviation(), ignored, doubles);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
}

#[test]
fn a_volatile_field_of_a_payload() {
    let parent = |ignore: bool, skips: bool| {
        one_deviation().deliveries(0).run(async move |world: &World| {
            if ignore {
                world.jobs::<(String, u64)>().ignore("$[1]");
            }
            world.process("worker", move |p| {
                let (queue, worker, payments) = (p.queue(), p.incarnation(), p.payments());
                p.handle(async move |order: u32| {
                    if skips && worker > 1 {
                        return Ok(());
                    }
                    queue.enqueue((order.to_string(), u64::from(worker))).await.map(drop)
                });
                p.handle(async move |(order, _): (String, u64)| {
                    payments.charge(Charge::of_order(order, 500).key("k")).await.map(drop)
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
        })
    };
    assert_green(&parent(true, false));
    assert_eq!(parent(false, false).code(), Some(Code::NeverEnqueued));
    assert_eq!(parent(true, true).verdict(), Verdict::Violated);
}

#[test]
fn rows_by_the_beginning_of_their_keys() {
    let notes = |p: &Process| {
        let (store, clock) = (p.store(), p.clock());
        p.handle(async move |order: u32| {
            store.put(format!("tx:{}", clock.now().as_secs()), &order).await?;
            store.put("paid", &true).await
        });
    };
    let report = on(&one_deviation().deliveries(0), |_| (), notes);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert_green(&on(&one_deviation().deliveries(0), |world| world.ignore("store", "$.tx:*"), notes));
}

#[test]
fn a_term_that_is_about_nothing_is_told() {
    let charges = |p: &Process| {
        let (payments, store) = (p.payments(), p.store());
        p.handle(async move |order: u32| {
            payments.charge(Charge::of_order(order, 500).key("k")).await?;
            store.put("paid", &true).await?;
            Ok::<(), Failure>(())
        });
    };
    let told = |term: fn(&World), why: &str| {
        let report = on(&one_deviation(), term, charges);
        assert_eq!(report.verdict(), Verdict::Incomplete, "{report}");
        assert_eq!(report.reason(), Some(why));
    };
    told(
        |world| world.ignore("sotre", "$.paid"),
        "`ignore(\"sotre\", …)` names no durable or observed state; the states: `store`",
    );
    told(
        |world| world.ignore_effect("payment.charge", "$.customer_id"),
        "`ignore_effect: payment.charge` names no effect of any run; the effects: `payments.charge`",
    );
    told(
        |world| drop(world.allow("cdn.invalidate", Guarantee::AtLeastOnce).as_items("$")),
        "`as_items: cdn.invalidate` names no effect of any run; the effects: `payments.charge`",
    );
    told(
        |world| world.effects_in_order(["payments.charge", "email.send"]),
        "`effects_in_order: email.send` names no effect of any run; the effects: `payments.charge`",
    );
    told(
        |world| drop(world.jobs::<String>().may_be_lost()),
        "a term for jobs of the kind `String` matches no job of any run; the kinds of jobs: `u32`",
    );
    // A name that is right, with a part of it that never appears.
    told(
        |world| world.ignore("store", "$.payd"),
        "`ignore(\"store\", \"$.payd\")` names nothing that any run has there; correct the path, or remove the term",
    );
    told(
        |world| world.ignore("store", "$.tx:*"),
        "`ignore(\"store\", \"$.tx:*\")` names nothing that any run has there; correct the path, or remove the term",
    );
    told(
        |world| world.ignore_effect("payments.charge", "$.customer"),
        "`ignore_effect(\"payments.charge\", \"$.customer\")` names nothing that any run has there; correct the path, or remove the term",
    );
    told(
        |world| drop(world.jobs::<u32>().ignore("$.order")),
        "`jobs::<u32>().ignore(\"$.order\")` names nothing that any run has there; correct the path, or remove the term",
    );
    let bad = one_deviation().run(async |world: &World| world.ignore_effect("email.send", "body"));
    assert!(body_panic(&bad).contains("`body` is not a path: expected `$`"), "{bad}");
}

/// Row ids from a sequence: a lost reply leaves a gap.
#[test]
fn input_18_numbers_with_gaps() {
    let numbers = |incr: bool| {
        move |p: &Process| {
            let store = p.store();
            let ids = store.sequence("orders");
            p.handle(async move |order: u32| {
                let id = if incr { store.incr("ids", 1).await? } else { ids.next().await? };
                store.set_if_absent(format!("order:{order}"), &id, None).await.map(drop)
            });
        }
    };
    assert_green(&on(&Explore::new(), |_| (), numbers(false)));
    // A counter is a state like any other: a lost reply adds once too often.
    assert_eq!(on(&one_deviation(), |_| (), numbers(true)).code(), Some(Code::StateAfterError));
}

/// Two rows with one number are not a renaming of two rows with two numbers.
#[test]
fn numbers_of_a_sequence_keep_apart() {
    let report = one_deviation().run(async |world: &World| {
        world.process("worker", |p| {
            let store = p.store();
            let ids = store.sequence("orders");
            p.handle(async move |order: u32| {
                // A failed draw takes the number that the other order has.
                let known = store.get::<i64>("last").await?.map_or(0, |row| row.value);
                let id = ids.next().await.unwrap_or(known);
                store.put("last", &id).await?;
                store.put(format!("order:{order}"), &id).await
            });
        });
        world.enqueue(1_u32);
        world.enqueue_in(S, 2_u32);
        world.settle().await;
    });
    assert!(
        report.violations().iter().any(|v| v.scenario.to_string().contains("store.next:call")),
        "{report}"
    );
}

/// Blocking and async draws, each from its own sequence.
#[test]
fn a_sequence_is_drawn_by_code_that_blocks_too() {
    let world = World::fake();
    let store = world.store();
    let first = store.sequence("a").next_blocking().unwrap();
    assert_eq!(store.sequence("a").next_blocking().unwrap(), first + 1);
    assert_ne!(store.sequence("b").next_blocking().unwrap(), first + 2);
}

/// A scan moves a cursor past the number of a slower writer, whose row is then never seen.
#[test]
fn input_3_a_cursor_that_moves_past_a_slower_writer() {
    let explore = |by_number: bool| {
        one_deviation().crashes(0).faults(0).run(async move |world: &World| {
            world.process("worker", move |p| {
                let (store, email) = (p.store(), p.email());
                let ids = store.sequence("events");
                p.handle(async move |event: u32| {
                    let id = ids.next().await?;
                    // Only one of two concurrent attempts writes.
                    if store.set_if_absent(format!("number:{event}"), &id, None).await? {
                        store.put(format!("event:{id}"), &event).await?;
                    }
                    Ok::<(), Failure>(())
                });
                let store = p.store();
                p.handle(async move |_: String| {
                    let cursor =
                        store.get::<String>("cursor").await?.map(|row| row.value).unwrap_or_default();
                    for (key, row) in store.scan::<u32>("event:").await? {
                        let seen = store.get::<bool>(format!("seen:{}", row.value)).await?.is_some();
                        if if by_number { key > cursor } else { !seen } {
                            email
                                .send(Email::new("ada@example.com", "event").data("event", row.value))
                                .await?;
                            store.put(format!("seen:{}", row.value), &true).await?;
                            store.put("cursor", &key).await?;
                        }
                    }
                    Ok::<(), Failure>(())
                });
            });
            // The cursor is a means. Only the mails count.
            world.allow("email.send", Guarantee::AtLeastOnce);
            world.ignore("store", "$.cursor");
            world.enqueue_bulk([1_u32, 2]);
            world.enqueue_in(S, "now".to_owned());
            world.enqueue_in(super::HOUR, "later".to_owned());
            world.settle().await;
        })
    };
    let report = explore(true);
    assert!(report.violations().iter().any(|v| v.effect.as_deref() == Some("email.send")), "{report}");
    assert_green(&explore(false));
}

/// A row and a job that only a failure brings about are there, too.
#[test]
fn a_term_about_what_only_failures_bring_about() {
    let repairs = |p: &Process| {
        let (store, queue, payments) = (p.store(), p.queue(), p.payments());
        let clock = p.clock();
        p.handle(async move |order: u32| {
            if !store.set_if_absent("begun", &order, None).await? {
                store.put("repaired", &clock.now().as_secs()).await?;
                queue.enqueue((order, clock.now().as_secs())).await?;
            }
            payments.charge(Charge::of_order(order, 500).key("k")).await?;
            Ok::<(), Failure>(())
        });
        let payments = p.payments();
        p.handle(async move |(order, _): (u32, u64)| {
            payments.charge(Charge::of_order(order, 500).key("k")).await.map(drop)
        });
    };
    let terms = |world: &World| {
        world.ignore("store", "$.repaired");
        world.jobs::<(u32, u64)>().may_be_lost().ignore("$[1]");
    };
    for threads in [1, 3] {
        let report = on(&one_deviation().threads(threads), terms, repairs);
        assert_green(&report);
    }
    // A row that is gone at the end was there, and so was one that expires.
    let claims = |p: &Process| {
        let (store, payments) = (p.store(), p.payments());
        p.handle(async move |order: u32| {
            store.set_if_absent(format!("lock:{order}"), &order, S).await?;
            store.put(format!("tmp:{order}"), &order).await?;
            payments.charge(Charge::of_order(order, 500).key("k")).await?;
            store.delete(format!("tmp:{order}")).await?;
            Ok::<(), Failure>(())
        });
    };
    for path in ["$.lock:*", "$.tmp:6"] {
        assert_green(&on(&one_deviation(), |world| world.ignore("store", path), claims));
    }
    let report = on(&one_deviation(), |world| world.ignore("store", "$.tmp:7"), claims);
    assert_eq!(report.verdict(), Verdict::Incomplete, "{report}");
}

/// A shard does not know what the runs of the others have.
#[test]
fn a_shard_leaves_it_to_the_whole() {
    let charges = |p: &Process| {
        let payments = p.payments();
        p.handle(async move |order: u32| payments.charge(Charge::of_order(order, 500).key("k")).await);
    };
    let ignored = |world: &World| world.ignore_effect("payments.charge", "$.customer");
    assert_eq!(on(&one_deviation(), ignored, charges).verdict(), Verdict::Incomplete);
    for number in 1..=2 {
        assert_green(&on(&one_deviation().shard(number, 2), ignored, charges));
    }
}
