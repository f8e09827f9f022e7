//! Inputs are not failures: each assignment of them has its own fault-free run.

use std::sync::Mutex;

use super::assert_first;
use crate::support::{assert_green, one_deviation};
use retryproof::service::email::{Email, SendOutcome};
use retryproof::service::fulfillment::{Shipment, ShipmentOutcome};
use retryproof::service::payments::{Charge, ChargeOutcome, DECLINED_CARD};
use retryproof::service::{Operation, Refusal, Refusals, Service, ServiceContext};
use retryproof::{Client, Code, Explore, Guarantee, Process, Report, ServiceError, Verdict, World};

pub(super) fn charge(order: u32) -> Charge {
    Charge::of_order(order, 500).key(format!("order-{order}"))
}

pub(super) fn shipment(order: u32) -> Shipment {
    Shipment::of_order(order, "pr_3", 1).address("1 Main St").key(format!("order-{order}"))
}

/// Explores one order in a world in which cards are declined.
pub(super) fn with_declines(explore: &Explore, boot: impl Fn(&Process) + Copy + Sync + 'static) -> Report {
    explore.run(async move |world: &World| {
        world.payments().explore_declines();
        world.process("worker", boot);
        world.enqueue(6_u32);
        world.settle().await;
    })
}

/// Ships without checking the answer.
fn ships_although_declined(p: &Process) {
    let (payments, parcels) = (p.payments(), p.fulfillment());
    p.handle(async move |order: u32| {
        payments.charge(charge(order)).await?;
        parcels.request(shipment(order)).await
    });
}

/// Ships what is paid for.
fn ships_if_paid(p: &Process) {
    let (payments, parcels) = (p.payments(), p.fulfillment());
    p.handle(async move |order: u32| {
        if let ChargeOutcome::Success { .. } = payments.charge(charge(order)).await? {
            parcels.request(shipment(order)).await?;
        }
        Ok::<(), ServiceError>(())
    });
}

#[test]
fn a_job_that_ships_although_the_card_was_declined() {
    let report = with_declines(&Explore::new().name("test"), ships_although_declined);
    assert_first(
        &report,
        "payments.charge was refused (declined), but job `u32` did the same as when it is accepted",
        "test input:payments.charge/6/500=declined",
    );
    assert_eq!(report.code(), Some(Code::RefusalIgnored));
    assert_eq!(report.violations().len(), 1, "{report}");
    assert_green(&with_declines(&Explore::new().name("test"), ships_if_paid));
}

/// The first job writes a row, the second enqueues, the third sends a mail: the result is the same for all of them.
#[test]
fn whatever_follows_a_refusal_that_was_ignored() {
    let row = |p: &Process| {
        let (payments, store) = (p.payments(), p.store());
        p.handle(async move |order: u32| {
            payments.charge(charge(order)).await?;
            store.put("paid", &true).await?;
            Ok::<(), Box<dyn std::error::Error>>(())
        });
    };
    let next = |p: &Process| {
        let (payments, queue, email) = (p.payments(), p.queue(), p.email());
        p.handle(async move |order: u32| {
            payments.charge(charge(order)).await?;
            queue.enqueue(format!("{order}@example.com")).await?;
            Ok::<(), Box<dyn std::error::Error>>(())
        });
        p.handle(async move |to: String| email.send(Email::new(to, "paid")).await);
    };
    for report in [
        with_declines(&Explore::new().deviations(0), row),
        with_declines(&Explore::new().deviations(0), next),
    ] {
        assert_eq!(report.code(), Some(Code::RefusalIgnored), "{report}");
    }
    // The good twins check the answer: one records it, and one stops.
    let noted = |p: &Process| {
        let (payments, store) = (p.payments(), p.store());
        p.handle(async move |order: u32| {
            let paid = matches!(payments.charge(charge(order)).await?, ChargeOutcome::Success { .. });
            store.put("paid", &paid).await?;
            Ok::<(), Box<dyn std::error::Error>>(())
        });
    };
    let ends = |p: &Process| {
        let (payments, queue, email) = (p.payments(), p.queue(), p.email());
        p.handle(async move |order: u32| {
            if let ChargeOutcome::Declined { .. } = payments.charge(charge(order)).await? {
                return Ok(());
            }
            queue.enqueue(format!("{order}@example.com")).await?;
            Ok::<(), Box<dyn std::error::Error>>(())
        });
        p.handle(async move |to: String| email.send(Email::new(to, "paid")).await.map(drop));
    };
    assert_green(&with_declines(&one_deviation().deliveries(0).crashes(0).faults(0), noted));
    assert_green(&with_declines(&one_deviation().deliveries(0).crashes(0).faults(0), ends));
}

/// The use that a job makes of the answer before it ships.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Made {
    Dropped,
    Stored,
    Mailed,
    WildcardArm,
    HandedOn,
    /// It looks, and is wrong about what it sees.
    Wrong,
}

/// A job that ships whatever the answer, or only if it is paid.
fn ships_after(made: Made, looks: bool) -> impl Fn(&Process) + Copy + Sync + 'static {
    move |p: &Process| {
        let (payments, parcels, store) = (p.payments(), p.fulfillment(), p.store());
        let (email, queue) = (p.email(), p.queue());
        p.handle(async move |order: u32| {
            let mut answer = payments.charge(charge(order)).await?;
            let is_paid = matches!(answer, ChargeOutcome::Success { .. });
            match made {
                Made::Dropped => {}
                Made::Stored => store.put(format!("answer:{order}"), &is_paid).await?,
                Made::Mailed if !is_paid => drop(email.send(Email::new("us@example.com", "declined")).await?),
                Made::Mailed => {}
                #[expect(clippy::single_match, reason = "an arm for all others is what this is about")]
                Made::WildcardArm => match &mut answer {
                    ChargeOutcome::Success { charge_id } => store.put("charge", charge_id).await?,
                    _ => {}
                },
                Made::HandedOn => {
                    let charge_id = match &answer {
                        ChargeOutcome::Success { charge_id } => charge_id.clone(),
                        _ => String::new(),
                    };
                    if !looks || is_paid {
                        queue.enqueue((order, charge_id)).await?;
                    }
                    return Ok(());
                }
                Made::Wrong => {
                    let state = if is_paid { "paid" } else { "to be paid on delivery" };
                    store.put(format!("order:{order}"), &state).await?;
                }
            }
            if !looks || is_paid {
                parcels.request(shipment(order)).await?;
            }
            Ok::<(), Box<dyn std::error::Error>>(())
        });
        let parcels = p.fulfillment();
        p.handle(async move |(order, _charge): (u32, String)| {
            parcels.request(shipment(order)).await.map(drop)
        });
    }
}

#[test]
fn a_refusal_that_is_noted_and_not_heeded() {
    for made in [Made::Dropped, Made::Stored, Made::Mailed, Made::WildcardArm, Made::HandedOn, Made::Wrong] {
        let report = with_declines(&Explore::new().name("test").deviations(0), ships_after(made, false));
        assert_eq!(report.code(), Some(Code::RefusalIgnored), "{made:?}: {report}");
        let did = match made {
            // The id of a charge is a name, even if it is empty.
            Made::Dropped | Made::HandedOn => "did the same as when it is accepted",
            _ => "went on to fulfillment.request as when it is accepted",
        };
        let summary = format!("payments.charge was refused (declined), but job `u32` {did}");
        assert_first(&report, &summary, "test input:payments.charge/6/500=declined");
        assert_green(&with_declines(
            &one_deviation().faults(0).crashes(0).deliveries(0),
            ships_after(made, true),
        ));
    }
}

/// The second card is good: the order is paid for after all. A mail of thanks is no parcel.
#[test]
fn what_is_paid_with_a_second_card_or_costs_nothing() {
    let second_card = |p: &Process| {
        let (payments, parcels, store) = (p.payments(), p.fulfillment(), p.store());
        p.handle(async move |order: u32| {
            for card in ["pm_first", "pm_second"] {
                let charge = Charge::of_order(order, 500).payment_method(card).key(format!("{order}-{card}"));
                if let ChargeOutcome::Success { .. } = payments.charge(charge).await? {
                    store.put("card", card).await?;
                    parcels.request(shipment(order)).await?;
                    break;
                }
            }
            Ok::<(), Box<dyn std::error::Error>>(())
        });
    };
    assert_green(&with_declines(&one_deviation(), second_card));
    let thanks = |p: &Process| {
        let (payments, store, email) = (p.payments(), p.store(), p.email());
        p.handle(async move |order: u32| {
            let is_paid = matches!(payments.charge(charge(order)).await?, ChargeOutcome::Success { .. });
            store.put("paid", &is_paid).await?;
            email.send(Email::new("ada@example.com", "thank you for your order")).await?;
            Ok::<(), Box<dyn std::error::Error>>(())
        });
    };
    assert_green(&with_declines(&one_deviation().deviations(0), thanks));
}

/// The other way round: what cannot be delivered is not charged for.
#[test]
fn a_parcel_that_is_refused_is_not_paid_for() {
    let explore = |looks: bool| {
        Explore::new().name("test").deviations(0).run(async move |world: &World| {
            world.fulfillment().explore_refusals();
            world.process("worker", move |p| {
                let (payments, parcels, store) = (p.payments(), p.fulfillment(), p.store());
                p.handle(async move |order: u32| {
                    let answer = parcels.request(shipment(order)).await?;
                    let is_requested = matches!(answer, ShipmentOutcome::Accepted { .. });
                    store.put("requested", &is_requested).await?;
                    if is_requested || !looks {
                        payments.charge(charge(order)).await?;
                    }
                    Ok::<(), Box<dyn std::error::Error>>(())
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
        })
    };
    assert_eq!(explore(false).code(), Some(Code::RefusalIgnored));
    assert_green(&explore(true));
}

/// One of two lines cannot be delivered: the customer pays for the other one, or for both.
#[test]
fn a_customer_pays_for_what_can_be_delivered() {
    let explore = |pays_for_all: bool| {
        Explore::new().name("test").deviations(0).run(async move |world: &World| {
            world.fulfillment().explore_refusals();
            world.process("worker", move |p| {
                let (payments, parcels, store) = (p.payments(), p.fulfillment(), p.store());
                p.handle(async move |order: u32| {
                    let mut cents = 0;
                    for line in 1..=2_u32 {
                        let parcel = Shipment::of_order(order, format!("pr_{line}"), 1).address("1 Main St");
                        let answer = parcels.request(parcel.key(format!("{order}-{line}"))).await?;
                        let is_requested = matches!(answer, ShipmentOutcome::Accepted { .. });
                        store.put(format!("line:{line}"), &is_requested).await?;
                        if is_requested || pays_for_all {
                            cents += 500;
                        }
                    }
                    if cents > 0 {
                        payments.charge(Charge::of_order(order, cents).key("k")).await?;
                    }
                    Ok::<(), Box<dyn std::error::Error>>(())
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
        })
    };
    assert_eq!(explore(true).code(), Some(Code::RefusalIgnored));
    assert_green(&explore(false));
}

/// A mail that is not required may be refused without consequences, if the test says so.
#[test]
fn a_refusal_that_may_be_ignored() {
    let explore = |allowed: Option<Guarantee>| {
        one_deviation().faults(0).crashes(0).deliveries(0).run(async move |world: &World| {
            world.email().explore_refusals();
            if let Some(guarantee) = allowed {
                world.allow("email.send", guarantee);
            }
            world.process("worker", |p| {
                let (email, store) = (p.email(), p.store());
                p.handle(async move |order: u32| {
                    let _ = email.send(Email::new("ada@example.com", "news")).await?;
                    store.put(format!("told:{order}"), &true).await?;
                    Ok::<(), Box<dyn std::error::Error>>(())
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
        })
    };
    assert_eq!(explore(None).code(), Some(Code::RefusalIgnored));
    assert_eq!(explore(Some(Guarantee::AtLeastOnce)).code(), Some(Code::RefusalIgnored));
    assert_green(&explore(Some(Guarantee::AtMostOnce)));
}

/// Declined, crashed, retried: the same card is declined again, so the run is that of a declined card.
#[test]
fn a_retry_is_answered_as_the_first_attempt_was() {
    let keyless = |p: &Process| {
        let (payments, email) = (p.payments(), p.email());
        p.handle(async move |order: u32| {
            // Without a key: the card determines the answer, and not the key.
            match payments.charge(Charge::of_order(order, 500)).await? {
                ChargeOutcome::Success { .. } => {
                    email.send(Email::new("ada@example.com", "paid")).await.map(drop)
                }
                ChargeOutcome::Declined { .. } => Ok(()),
            }
        });
    };
    let declined = "test input:payments.charge/6/500=declined job#1.1/payments.charge:happened=crash";
    let report = with_declines(&one_deviation().replay(declined), keyless);
    assert_eq!((report.violations().len(), report.reason()), (0, None), "{report}");
    // The good card is charged twice, which has nothing to do with declines.
    let accepted = "test job#1.1/payments.charge:happened=crash";
    let report = with_declines(&one_deviation().replay(accepted), keyless);
    assert_first(&report, "payments.charge happened twice, expected once", accepted);
}

/// The provider stores declines under the key, and the job tries the second card under the same key.
#[test]
fn a_second_card_under_the_key_of_a_declined_one() {
    let explore = |stores: bool, own_key: bool| {
        Explore::new().name("test").deviations(1).run(async move |world: &World| {
            world.payments().explore_declines();
            if stores {
                world.payments().store_refusals();
            }
            world.process("worker", move |p| {
                let (payments, parcels) = (p.payments(), p.fulfillment());
                p.handle(async move |order: u32| {
                    for card in ["pm_first", "pm_second"] {
                        let key = if own_key { format!("{order}-{card}") } else { order.to_string() };
                        let charge = Charge::of_order(order, 500).payment_method(card).key(key);
                        if let ChargeOutcome::Success { .. } = payments.charge(charge).await? {
                            parcels.request(shipment(order)).await?;
                            break;
                        }
                    }
                    Ok::<(), ServiceError>(())
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
        })
    };
    let report = explore(true, false);
    assert_first(
        &report,
        "payments.charge never happened: it was answered with the stored answer of another request with the key \"6\"",
        "test input:payments.charge/6/pm_first/500=declined",
    );
    assert_eq!(report.code(), Some(Code::KeyReused));
    assert_green(&explore(true, true));
    // If declines are not stored, the key may be tried again, and only a failure breaks the job.
    let report = explore(false, false);
    assert!(report.violations().iter().all(|v| !v.scenario.deviations().is_empty()), "{report}");
}

/// The same request again gets the stored decline, which is not a reuse of the key.
#[test]
fn a_stored_decline_is_answered_to_the_same_request() {
    let report = one_deviation().run(async |world: &World| {
        world.payments().store_refusals();
        world.process("worker", |p| {
            let (payments, store) = (p.payments(), p.store());
            p.handle(async move |(order, card): (u32, String)| {
                let answer = payments.charge(charge(order).payment_method(card)).await?;
                store.put("paid", &matches!(answer, ChargeOutcome::Success { .. })).await?;
                Ok::<(), Box<dyn std::error::Error>>(())
            });
        });
        world.enqueue((6_u32, DECLINED_CARD.to_owned()));
        world.settle().await;
        assert_eq!(
            world.effects().of("payments.charge").count(),
            0,
            "the card is declined whatever the amount"
        );
    });
    assert_green(&report);
}

/// A loop within one attempt: a request whose answer was lost is repeated, and gets the same answer.
#[test]
fn an_answer_that_nobody_heard_is_given_again() {
    let explore = |goes_on: bool| {
        Explore::new().name("test").crashes(0).deliveries(0).preemptions(0).run(async move |world: &World| {
            world.payments().explore_declines();
            world.process("worker", move |p| {
                let (payments, parcels, store) = (p.payments(), p.fulfillment(), p.store());
                p.handle(async move |order: u32| {
                    for _ in 0..3 {
                        match payments.charge(charge(order)).await {
                            Ok(ChargeOutcome::Success { .. }) => {
                                parcels.request(shipment(order)).await?;
                                return Ok(());
                            }
                            Ok(_) if goes_on => {}
                            Ok(_) => {
                                store.put("declined", &true).await?;
                                return Ok(());
                            }
                            // A bad twin treats a missing answer as a success.
                            Err(_) if goes_on => {
                                parcels.request(shipment(order)).await?;
                                return Ok(());
                            }
                            Err(_) => {}
                        }
                    }
                    Err::<(), Box<dyn std::error::Error>>("no answer".into())
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
        })
    };
    assert_green(&explore(false));
    assert_eq!(explore(true).verdict(), Verdict::Violated);
}

/// Two mails to one address, each recorded: an attempt that skips the first only makes the second request.
#[test]
fn a_refusal_does_not_move_to_another_request() {
    let explore = |notes: bool| {
        one_deviation().deliveries(0).preemptions(0).faults(0).run(async move |world: &World| {
            world.email().explore_refusals();
            world.allow("email.send", Guarantee::AtLeastOnce);
            world.process("worker", move |p| {
                let (email, store) = (p.email(), p.store());
                p.handle(async move |_: u32| {
                    for mail in ["welcome", "receipt"] {
                        if store.get::<bool>(mail).await?.is_some() {
                            continue;
                        }
                        if !notes {
                            store.put(mail, &true).await?;
                        }
                        let sent = email.send(Email::new("ada@example.com", mail)).await?;
                        store.put(mail, &matches!(sent, SendOutcome::Queued { .. })).await?;
                    }
                    Ok::<(), Box<dyn std::error::Error>>(())
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
        })
    };
    assert_green(&explore(true));
    assert_eq!(explore(false).verdict(), Verdict::Violated);
}

/// Cards are distinguished no matter how long the text before them is.
#[test]
fn long_questions_are_whole() {
    let seen = Mutex::new(Vec::new());
    let report = Explore::new().name("test").deviations(0).run(async |world: &World| {
        let declined = world.payments();
        declined.explore_declines();
        let count = world.durable("declined", Vec::<u32>::new());
        let noted = count.clone();
        world.process("worker", move |p| {
            let (payments, noted) = (p.payments(), noted.clone());
            p.handle(async move |_: u32| {
                for card in [1, 2] {
                    let charge = Charge::of_order("0191f6a0-7c1e-7000-8000-00000000000a", 500)
                        .customer("0191f6a0-7c1e-7000-8000-00000000000b")
                        .payment_method(format!("pm_{card}"))
                        .key(format!("k{card}"));
                    match payments.charge(charge).await? {
                        ChargeOutcome::Success { .. } => break,
                        _ => noted.update(|noted| noted.push(card)),
                    }
                }
                Ok::<(), ServiceError>(())
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
        seen.lock().unwrap().push(count.get());
    });
    assert_green(&report);
    let mut seen = seen.into_inner().unwrap();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, [vec![], vec![1], vec![1, 2]]);
}

/// A random key differs in each run, which hides nothing.
#[test]
fn a_refusal_that_is_ignored_beside_drawn_values() {
    let explore = |looks: bool| {
        Explore::new().name("test").deviations(0).run(async move |world: &World| {
            world.payments().explore_declines();
            world.process("worker", move |p| {
                let (payments, store, rng) = (p.payments(), p.store(), p.rng());
                p.handle(async move |order: u32| {
                    let answer = payments.charge(charge(order)).await?;
                    // A job that was paid draws once more.
                    if matches!(answer, ChargeOutcome::Success { .. }) {
                        let _ = rng.next_u64();
                    }
                    let paid = !looks || matches!(answer, ChargeOutcome::Success { .. });
                    store.put("receipt", &(rng.next_u64(), paid)).await?;
                    Ok::<(), Box<dyn std::error::Error>>(())
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
        })
    };
    assert_eq!(explore(false).code(), Some(Code::RefusalIgnored));
    assert_green(&explore(true));
}

/// A loop that asks again after a decline: its second request is a separate input, and the third is accepted.
#[test]
fn a_second_request_of_one_attempt_is_another_input() {
    let seen = Mutex::new(Vec::new());
    let report = Explore::new().name("test").deviations(0).run(async |world: &World| {
        world.payments().explore_declines();
        let declined = world.durable("declined", 0);
        let count = declined.clone();
        world.process("worker", move |p| {
            let (payments, count, clock) = (p.payments(), count.clone(), p.clock());
            p.handle(async move |order: u32| {
                while let ChargeOutcome::Declined { .. } = payments.charge(charge(order)).await? {
                    count.update(|count| *count += 1);
                    clock.sleep(std::time::Duration::from_secs(3_600)).await;
                }
                Ok::<(), ServiceError>(())
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
        seen.lock().unwrap().push(declined.get());
    });
    assert_green(&report);
    let mut seen = seen.into_inner().unwrap();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, [0, 1, 2]);
}

#[test]
fn every_service_has_its_refusals() {
    let answers = Mutex::new(Vec::new());
    let report = Explore::new().name("test").deviations(0).run(async |world: &World| {
        world.fulfillment().explore_refusals();
        world.email().explore_refusals();
        let said = world.durable("said", Vec::<String>::new());
        let sink = said.clone();
        world.process("worker", move |p| {
            let (parcels, email, sink) = (p.fulfillment(), p.email(), sink.clone());
            p.handle(async move |order: u32| {
                if let ShipmentOutcome::Rejected { error } = parcels.request(shipment(order)).await? {
                    sink.update(|said| said.push(error.clone()));
                }
                if let SendOutcome::NotQueued { error_message } =
                    email.send(Email::new("ada@example.com", "sent")).await?
                {
                    sink.update(|said| said.push(error_message.clone()));
                }
                Ok::<(), ServiceError>(())
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
        answers.lock().unwrap().push(said.get().join(", "));
    });
    assert_green(&report);
    let mut answers = answers.into_inner().unwrap();
    answers.sort();
    answers.dedup();
    assert_eq!(
        answers,
        [
            "",
            "Address rejected",
            "Address rejected, address rejected",
            "Out of stock",
            "Out of stock, address rejected",
            "address rejected",
        ]
    );
}

/// Books seats, which may be sold out.
#[derive(Clone, Default)]
struct Seats;

impl Service for Seats {
    type Request = u32;
    type Reply = String;

    fn operation(&self, _: &u32) -> Operation {
        Operation::write("book".into())
    }

    fn answer(&mut self, seat: u32, cx: &mut ServiceContext<'_>) -> Result<String, Refusal> {
        Ok(cx.effect("book", Some(&seat.to_string()), &seat, "bk_"))
    }

    fn refusals(&self, seat: &u32, _: &ServiceContext<'_>) -> Option<Refusals> {
        Some(Refusals::of([seat.to_string()], &["sold-out", "closed"]))
    }
}

#[test]
fn a_service_of_ones_own_names_its_refusals() {
    let seen = Mutex::new(Vec::new());
    let report = Explore::new().name("test").deviations(0).run(async |world: &World| {
        world.service("seats", Seats).explore_refusals();
        world.process("worker", |p| {
            let seats: Client<Seats> = p.service("seats");
            p.handle(async move |seat: u32| seats.call(seat).await.map(drop)).max_retries(0);
        });
        world.enqueue(7_u32);
        world.settle().await;
        seen.lock().unwrap().extend(world.dead().first().map(|job| job.error.clone().unwrap_or_default()));
    });
    assert_green(&report);
    let mut seen = seen.into_inner().unwrap();
    seen.sort();
    seen.dedup();
    assert_eq!(seen, ["seats.book: 422 closed", "seats.book: 422 sold-out"]);
}
