//! Whole kinds, not single cases: for each kind of input more jobs that differ in shape, each bad one beside its good twin.

use super::*;
use retryproof::{Guarantee, StoreError};
use serde::{Deserialize, Serialize};

type Failure = Box<dyn std::error::Error>;

#[derive(Serialize, Deserialize)]
struct Remind(u32);
#[derive(Serialize, Deserialize)]
struct Archive(u32);
#[derive(Serialize, Deserialize)]
struct Plan(u32);

/// A mail that is looked up before it is sent. Its error is handed on, or swallowed.
async fn mails_once(
    email: &retryproof::Client<retryproof::service::email::EmailService>,
    swallows: bool,
) -> Result<(), Failure> {
    if email.emails("u@example.com", "hello").await?.is_empty() {
        match email.send(mail("u@example.com")).await {
            Err(error) if !swallows => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Orders: a job in an hour comes of one that runs now, and stands for what the mail did not say.
fn planned(swallows: bool) -> Report {
    let explore = Explore::new().name("test").deviations(1).crashes(0).deliveries(0);
    with(
        &explore,
        move |p| {
            let queue = p.queue();
            p.handle(async move |order: Plan| queue.enqueue_in(HOUR, Archive(order.0)).await.map(drop));
            let store = p.store();
            p.handle(async move |order: Archive| store.put(format!("archived:{}", order.0), &true).await);
            let (store, email) = (p.store(), p.email());
            p.handle(async move |order: Remind| {
                if store.get::<bool>(format!("archived:{}", order.0)).await?.is_some() {
                    return Ok(());
                }
                mails_once(&email, swallows).await
            });
        },
        |world| {
            world.enqueue(Plan(1));
            world.enqueue(Remind(1));
        },
    )
}

#[test]
fn orders_of_a_grandchild_that_is_due_later() {
    assert_red(&planned(true), Code::MissingAfterError, "email.send never happened");
    assert_green(&planned(false));
}

/// Orders: of two jobs on one row the later one sees the earlier one, which the test has waited for.
fn two_settles(swallows: bool) -> Report {
    Explore::new().name("test").deviations(1).crashes(0).deliveries(0).run(async move |world: &World| {
        world.store();
        world.process("worker", move |p| {
            let (store, parcels) = (p.store(), p.fulfillment());
            p.handle(async move |order: Remind| {
                let open = store.get::<bool>(format!("closed:{}", order.0)).await?.is_none();
                if open {
                    let requested = parcels.request(parcel(&format!("k{}", order.0))).await;
                    if !swallows {
                        requested?;
                    }
                }
                Ok::<(), Failure>(())
            });
            let store = p.store();
            p.handle(async move |order: Archive| store.put(format!("closed:{}", order.0), &true).await);
        });
        for order in 1..=2 {
            world.enqueue(Remind(order));
            world.settle().await;
            world.enqueue(Archive(order));
        }
        world.settle().await;
    })
}

#[test]
fn orders_of_jobs_that_the_test_has_waited_for() {
    assert_red(&two_settles(true), Code::MissingAfterError, "fulfillment.request never happened");
    assert_green(&two_settles(false));
}

/// Names: a token that is stored is that of the mail.
fn token_in_a_mail(reads_back: bool) -> Report {
    judged(
        move |p| {
            let (store, email, rng) = (p.store(), p.email(), p.rng());
            p.handle(async move |_: u32| {
                let drawn = format!("{:032x}", u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64()));
                store.set_if_absent("token", &drawn, None).await?;
                let token = match reads_back {
                    true => store.get::<String>("token").await?.expect("it is there").value,
                    false => drawn,
                };
                email
                    .send(Email::new("u@example.com", "reset").data("link", format!("/reset?token={token}")))
                    .await?;
                Ok::<(), Failure>(())
            });
        },
        |world| {
            world.allow("email.send", Guarantee::AtLeastOnce);
            world.enqueue(1_u32);
        },
    )
}

#[test]
fn names_of_a_token_in_a_row_and_in_a_mail() {
    assert_eq!(token_in_a_mail(false).verdict(), Verdict::Violated);
    assert_green(&token_in_a_mail(true));
}

/// Names: an order line points to its order by a number of a sequence.
fn lines_of_an_order(points_to_its_own: bool) -> Report {
    with(
        &Explore::new().name("test").deviations(1).deliveries(0).preemptions(0),
        move |p| {
            let store = p.store();
            p.handle(async move |order: u32| {
                let own = format!("order:{order}");
                let known = store.get::<i64>(&own).await?.map(|row| row.value);
                let id = match known {
                    Some(id) => id,
                    None => {
                        let id = store.sequence("orders").next().await?;
                        store.put(&own, &id).await?;
                        id
                    }
                };
                // A retry points to the first order there is.
                let first = store.get::<i64>("order:1").await?.map_or(id, |row| row.value);
                let id = if known.is_some() && !points_to_its_own { first } else { id };
                store.put(format!("line:{order}"), &id).await
            });
        },
        |world| {
            for order in 1..=2_u32 {
                world.enqueue_in(order * HOUR, order);
            }
        },
    )
}

#[test]
fn names_of_rows_that_point_to_each_other() {
    assert_red(&lines_of_an_order(false), Code::StateAfterError, "store.line:2 is");
    assert_green(&lines_of_an_order(true));
}

/// Giving up: two parcels, or one for both.
fn two_parcels(at_once: bool) -> Report {
    judged(
        move |p| {
            let parcels = p.fulfillment();
            p.handle(async move |_: u32| {
                let keys: &[&str] = if at_once { &["both"] } else { &["left", "right"] };
                for key in keys {
                    parcels.request(parcel(key)).await?;
                }
                Ok::<(), Failure>(())
            })
            .discard_on_failure();
        },
        |world| {
            world.enqueue(1_u32);
        },
    )
}

#[test]
fn giving_up_between_two_effects_without_any_state() {
    assert_red(&two_parcels(false), Code::GaveUpHalfWay, "gave up halfway");
    assert_green(&two_parcels(true));
}

/// Giving up: a counter is raised before, or in the same step as the row that counts.
fn counting(in_one_step: bool) -> Report {
    judged(
        move |p| {
            let store = p.store();
            p.handle(async move |order: u32| {
                if in_one_step {
                    let mut tx = store.transaction(retryproof::store::Isolation::Serializable).await;
                    if tx.get::<bool>(format!("order:{order}")).await?.is_none() {
                        tx.incr("orders", 1).await?;
                        tx.put(format!("order:{order}"), &true).await?;
                    }
                    return tx.commit().await;
                }
                if store.get::<bool>(format!("order:{order}")).await?.is_none() {
                    store.incr("orders", 1).await?;
                    store.put(format!("order:{order}"), &true).await?;
                }
                Ok::<(), StoreError>(())
            })
            .decide(|_| retryproof::Decision::Kill);
        },
        |world| {
            world.enqueue(1_u32);
        },
    )
}

#[test]
fn giving_up_between_a_counter_and_its_row() {
    assert_red(&counting(false), Code::GaveUpHalfWay, "gave up halfway");
    assert_eq!(counting(true).violations().len(), 0, "{}", counting(true));
}

/// A body that waits for something, and a job that goes on after that.
fn waiting_for_a_row(mails_if_noted: bool) -> Report {
    Explore::new().name("test").deviations(1).deliveries(0).preemptions(0).run(async move |world: &World| {
        world.store();
        let noted = world.durable("noted", false);
        world.process("worker", {
            let noted = noted.clone();
            move |p| {
                let (parcels, noted) = (p.fulfillment(), noted.clone());
                p.handle(async move |_: u32| {
                    if noted.get() && !mails_if_noted {
                        return Ok(());
                    }
                    noted.set(true);
                    parcels.request(parcel("k")).await.map(drop)
                });
            }
        });
        world.enqueue(6_u32);
        assert!(world.settle_until(move |_| noted.get()).await);
    })
}

#[test]
fn a_body_that_ends_when_a_row_is_there_sees_what_comes_after_a_crash() {
    let lost = waiting_for_a_row(false);
    assert_red(&lost, Code::MissingAfterCrash, "fulfillment.request never happened");
    assert_green(&waiting_for_a_row(true));
}

/// The same, where the condition is about effects and what comes after it is state.
fn waiting_for_a_mail(notes_again: bool) -> Report {
    Explore::new().name("test").deviations(1).deliveries(0).preemptions(0).run(async move |world: &World| {
        world.store();
        world.process("worker", move |p| {
            let (email, store) = (p.email(), p.store());
            p.handle(async move |_: u32| {
                let is_sent = !email.emails("u@example.com", "hello").await?.is_empty();
                if !is_sent {
                    email.send(mail("u@example.com")).await?;
                }
                if !is_sent || notes_again {
                    store.put("sent", &true).await?;
                }
                Ok::<(), Failure>(())
            });
        });
        world.enqueue(6_u32);
        world.settle_until(|world| world.effects().of("email.send").count() == 1).await;
    })
}

#[test]
fn a_body_that_ends_when_a_mail_was_sent_sees_the_state_after_it() {
    assert_red(&waiting_for_a_mail(false), Code::StateAfterError, "store.");
    assert_green(&waiting_for_a_mail(true));
}

/// A body that ends while a job waits to be tried again, in the fault-free run, too.
#[test]
fn a_body_that_ends_while_a_job_waits() {
    let explore = |doubles: bool| {
        // With a fault it would be another wait of the same job that ends the body.
        let explore = Explore::new().name("test").deviations(1).faults(0).deliveries(0).preemptions(0);
        explore.run(async move |world: &World| {
            world.store();
            world.process("worker", move |p| {
                let (payments, incarnation) = (p.payments(), p.incarnation());
                p.handle(async move |_: u32| {
                    let key = if doubles { format!("k{incarnation}") } else { "k".to_owned() };
                    payments.charge(charge(1).key(key)).await?;
                    Err::<(), Failure>("the rest comes tomorrow".into())
                });
                p.handle(async |_: String| {});
            });
            world.enqueue("well".to_owned());
            world.enqueue(6_u32);
            world.settle_until(|world| !world.retries().is_empty()).await;
        })
    };
    let report = explore(false);
    assert!(report.violations().is_empty(), "{report}");
    assert_eq!(explore(true).verdict(), Verdict::Violated);
}

/// Guarantees: a mail that a job repeats, and the same mail of another job that a race makes.
fn two_who_mail(by_claim: bool) -> Report {
    with(
        &Explore::new().name("test").deviations(1).crashes(0).faults(0).deliveries(0),
        move |p| {
            let (email, store) = (p.email(), p.store());
            p.handle(async move |_: u32| {
                let is_first = match by_claim {
                    true => store.set_if_absent("claim", &true, None).await?,
                    false => {
                        let is_first = store.get::<bool>("claim").await?.is_none();
                        store.put("claim", &true).await?;
                        is_first
                    }
                };
                if is_first {
                    email.send(mail("u@example.com")).await?;
                }
                Ok::<(), Failure>(())
            });
            p.slots(3);
        },
        |world| {
            world.allow("email.send", Guarantee::AtLeastOnce);
            world.enqueue_bulk([1_u32, 2, 3]);
        },
    )
}

#[test]
fn guarantees_of_three_jobs_of_which_one_mails() {
    assert_eq!(two_who_mail(false).verdict(), Verdict::Violated);
    assert_green(&two_who_mail(true));
}

/// Left behind: a slot that a retry gives back, or its time to live, or nothing.
fn slot(ttl: Option<Duration>, gives_back: bool) -> Report {
    with(
        &Explore::new().name("test").deviations(1).deliveries(0).faults(0),
        move |p| {
            let (store, parcels) = (p.store(), p.fulfillment());
            p.handle(async move |order: u32| {
                let is_free = store.set_if_absent("slot", &order, ttl).await?;
                let is_own = || async {
                    store.get::<u32>("slot").await.map(|row| row.is_some_and(|row| row.value == order))
                };
                if is_free || gives_back && is_own().await? {
                    parcels.request(parcel(&format!("k{order}"))).await?;
                    store.delete("slot").await?;
                    return Ok(());
                }
                if ttl.is_some() && !gives_back {
                    return Err("taken".into());
                }
                Ok::<(), Failure>(())
            });
        },
        |world| {
            world.enqueue(1_u32);
        },
    )
}

#[test]
fn left_behind_is_a_slot_that_nobody_gives_back() {
    assert_eq!(slot(None, false).verdict(), Verdict::Violated);
    assert_green(&slot(None, true));
}

/// Inputs: a test draws how much is in stock, and a job that sells what is not there.
fn stock(looks: bool) -> Report {
    Explore::new().name("test").deviations(1).crashes(0).deliveries(0).run(async move |world: &World| {
        let stock = world.choose("stock", [1_i64, 0]);
        let left = world.durable("left", stock);
        world.process("worker", move |p| {
            let (parcels, left) = (p.fulfillment(), left.clone());
            p.handle(async move |order: u32| {
                if !looks || left.get() > 0 {
                    parcels.request(parcel(&format!("k{order}"))).await?;
                    left.set(0);
                }
                Ok::<(), Failure>(())
            });
        });
        world.enqueue(1_u32);
        world.settle().await;
        let parcels = world.effects().of("fulfillment.request").count() as i64;
        assert!(parcels <= stock, "{parcels} of {stock}");
    })
}

#[test]
fn inputs_of_the_test_are_part_of_what_is_expected() {
    let report = stock(false);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert!(report.violations()[0].scenario.to_string().contains("input:stock=0"), "{report}");
    assert_green(&stock(true));
}

/// A bug on one input does not hide a bug on another one.
#[test]
fn inputs_with_a_bug_each_are_two_entries() {
    let report =
        Explore::new().name("test").deviations(1).crashes(0).deliveries(0).run(async |world: &World| {
            let is_member = world.choose("member", [true, false]);
            world.process("worker", |p| {
                let (email, store) = (p.email(), p.store());
                p.handle(async move |is_member: bool| {
                    store.put("seen", &true).await?;
                    let text = if is_member { "welcome back" } else { "welcome" };
                    let _ = email.send(Email::new("u@example.com", text)).await;
                    Ok::<(), Failure>(())
                });
            });
            world.enqueue(is_member);
            world.settle().await;
        });
    let missing: Vec<_> =
        report.violations().iter().filter(|v| v.summary.contains("never happened")).collect();
    assert_eq!(missing.len(), 2, "{report}");
    let inputs: Vec<_> = missing.iter().map(|violation| violation.scenario.inputs()).collect();
    assert_ne!(inputs[0], inputs[1], "{report}");
}

/// Two bugs with the same code, each at its own call, are two entries.
#[test]
fn two_bugs_with_the_same_code_are_two_entries() {
    let report = judged(
        |p| {
            let email = p.email();
            p.handle(async move |order: Remind| email.send(mail(&order.0.to_string())).await.map(drop));
            let payments = p.payments();
            p.handle(async move |order: Archive| payments.charge(charge(order.0)).await.map(drop));
        },
        |world| {
            world.enqueue(Remind(1));
            world.enqueue(Archive(1));
        },
    );
    let effects: Vec<_> = report.violations().iter().map(|violation| violation.effect.as_deref()).collect();
    assert_eq!(effects.len(), 2, "{report}");
    assert!(effects.contains(&Some("email.send")) && effects.contains(&Some("payments.charge")), "{report}");
    let codes: Vec<_> = report.violations().iter().map(|violation| violation.code).collect();
    assert_eq!(codes[0], codes[1], "{report}");
}
