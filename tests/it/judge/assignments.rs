//! Inputs: each assignment is explored, with its scenarios, limits, and bad input.
//!
//! A part: the text of a panic ends in its place in this file, which moves with each edit.

use super::inputs::charge;
use super::{assert_first, body_panic};
use crate::support::{assert_green, line_of, one_deviation};
use expect_test::expect;
use retryproof::service::email::Email;
use retryproof::service::payments::{Charge, ChargeOutcome, DECLINED_CARD};
use retryproof::service::{Keys, Operation, Refusal, Service, ServiceContext};
use retryproof::{Client, Explore, Report, ServiceError, Verdict, World};

/// Explores a card that the test chooses, and a job that is wrong with only one of the cards.
fn with_cards(explore: &Explore, is_good: bool) -> Report {
    explore.run(async move |world: &World| {
        let card = world.choose("card", ["good", "declined"]);
        let card = if card == "good" { "pm_1" } else { DECLINED_CARD };
        world.process("worker", move |p| {
            let (payments, email) = (p.payments(), p.email());
            p.handle(async move |(order, card): (u32, String)| {
                let answer = payments.charge(charge(order).payment_method(card)).await?;
                if let ChargeOutcome::Declined { .. } = answer {
                    // It would take a mail per attempt, or a key in the body to identify it, and emails have none.
                    let told = email.emails("ada@example.com", "declined").await?;
                    if told.is_empty() || !is_good {
                        email.send(Email::new("ada@example.com", "declined")).await?;
                    }
                }
                Ok::<(), ServiceError>(())
            });
        });
        world.enqueue((6_u32, card.to_owned()));
        world.settle().await;
    })
}

fn only_crashes() -> Explore {
    one_deviation().deliveries(0).preemptions(0).faults(0)
}

#[test]
fn scenarios_name_the_inputs_and_replays_have_them() {
    let report = with_cards(&only_crashes(), false);
    let scenario = "test input:card=declined job#1.1/email.send:happened=crash";
    assert_first(&report, "email.send happened twice, expected once", scenario);
    let first = &report.violations()[0];
    assert_eq!(first.scenario.inputs(), ["input:card=declined"]);
    assert_eq!(first.scenario.deviations(), ["job#1.1/email.send:happened=crash"]);
    let replayed = with_cards(&only_crashes().replay(scenario), false);
    assert_first(&replayed, "email.send happened twice, expected once", scenario);
    let mended = with_cards(&only_crashes().replay(scenario), true);
    assert!(mended.violations().is_empty() && mended.reason().is_none(), "{mended}");
    assert_green(&with_cards(&only_crashes(), true));
}

#[test]
fn inputs_are_told_and_are_no_deviations() {
    let report = with_cards(&only_crashes().deviations(0), true);
    assert_eq!((report.runs(), report.exhausted()), (2, true), "{report}");
    let text = report.to_string();
    expect!["note: inputs: card (good, declined); 2 assignments, and each run is compared with the fault-free run of its assignment"].assert_eq(line_of(&text, "inputs: "));
}

#[test]
fn a_scenario_whose_input_is_gone_is_told() {
    for (scenario, why) in [
        (
            "test input:card=stolen",
            "`input:card=stolen`: that input no longer has this value; it has [`good`, `declined`]",
        ),
        ("test input:colour=red", "`input:colour=red` was never asked for"),
    ] {
        let report = with_cards(&only_crashes().replay(scenario), true);
        assert_eq!(report.verdict(), Verdict::Incomplete, "{report}");
        assert!(report.reason().unwrap().contains(why), "{report}");
    }
}

/// The exploration is the same in shards, on several threads, and merged.
#[test]
fn shards_threads_and_merging() {
    let whole = with_cards(&only_crashes(), false);
    let threads = with_cards(&only_crashes().threads(3), false);
    assert_eq!(whole.to_string(), threads.to_string());
    let runs_of = |explore: Explore| {
        let report = with_cards(&explore, true);
        assert_green(&report);
        report.runs()
    };
    let all = runs_of(only_crashes());
    let shards: Vec<_> = (1..=3).map(|number| runs_of(only_crashes().shard(number, 3))).collect();
    // Each shard has both fault-free runs.
    assert_eq!(shards.iter().sum::<u64>(), all + 2 * 2, "{shards:?}");
    let merged = with_cards(&only_crashes().deviations(2).merge(true), false);
    assert_first(&merged, &whole.violations()[0].summary, &whole.violations()[0].scenario.to_string());
    assert_green(&with_cards(&only_crashes().deviations(2).merge(true), true));
}

#[test]
fn samples_are_drawn_on_all_inputs() {
    let wrong_after_two = |explore: Explore| {
        explore.run(async move |world: &World| {
            let card = world.choose("card", ["good", "declined"]);
            world.process("worker", move |p| {
                let (payments, incarnation) = (p.payments(), p.incarnation());
                p.handle(async move |(order, card): (u32, String)| {
                    let worn = if card == "declined" { incarnation / 4 } else { 0 };
                    let key = format!("order-{order}-{worn}");
                    payments.charge(Charge::of_order(order, 500).key(key)).await.map(drop)
                });
            });
            world.enqueue((6_u32, card.to_owned()));
            world.settle().await;
        })
    };
    let report = wrong_after_two(one_deviation().random(1_000).seed(7));
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    let scenario = &report.violations()[0].scenario;
    assert_eq!((scenario.inputs(), scenario.deviations().len()), (vec!["input:card=declined".to_owned()], 3));
}

#[test]
fn too_many_assignments_are_told() {
    let explore = |explore: Explore| {
        explore.run(async |world: &World| {
            for input in ["a", "b", "c"] {
                world.choose(input, [0, 1]);
            }
            world.process("worker", |p| {
                let payments = p.payments();
                p.handle(async move |order: u32| payments.charge(charge(order)).await.map(drop));
            });
            world.enqueue(6_u32);
            world.settle().await;
        })
    };
    let report = explore(one_deviation().max_assignments(5));
    assert_eq!(report.verdict(), Verdict::Incomplete, "{report}");
    assert!(report.reason().unwrap().starts_with("stopped by max_assignments = 5"), "{report}");
    assert_green(&explore(one_deviation().max_assignments(8)));
}

#[test]
fn an_input_that_cannot_be_drawn_says_what_to_do() {
    let drawing = |draw: fn(&World)| {
        let report = one_deviation().run(async move |world: &World| {
            draw(world);
            world.enqueue(6_u32);
        });
        body_panic(&report)
    };
    let none = drawing(|world| {
        world.choose("card", [""; 0]);
    });
    assert!(
        none.contains("`world.choose(\"card\", …)` has no value to choose from; give it at least one"),
        "{none}"
    );
    let nameless = drawing(|world| {
        world.choose("", ["a"]);
    });
    assert!(nameless.contains("an input needs a name"), "{nameless}");
    let twice = drawing(|world| {
        world.choose("card", ["a", "a"]);
    });
    assert!(twice.contains("the input `card` lists \"a\" twice"), "{twice}");
    let other = drawing(|world| {
        world.choose("card", ["a", "b"]);
        world.choose("card", ["a", "c"]);
    });
    assert!(
        other.contains("the input `card` was asked for with [`a`, `b`] and then with [`a`, `c`]; ask once"),
        "{other}"
    );
    let nan = drawing(|world| drop(world.choose("card", [std::collections::BTreeMap::from([((1, 2), 3)])])));
    assert!(nan.contains("cannot be written as JSON"), "{nan}");
}

/// An ordinary test gets the first value.
#[test]
fn an_ordinary_test_gets_the_ordinary_input() {
    assert_eq!(World::fake().choose("card", ["good", "declined"]), "good");
}

#[test]
fn what_the_code_under_test_may_not_set() {
    let report = one_deviation().run(async |world: &World| {
        world.process("worker", |p| {
            p.payments().explore_declines();
        });
    });
    assert!(
        body_panic(&report).contains("settings of the service `payments` belong to the test"),
        "{report}"
    );
}

/// A request that no fault-free run makes gets the ordinary answer: a refund after a crash is accepted.
#[test]
fn a_question_that_only_a_failure_brings_up_has_the_ordinary_answer() {
    let report = only_crashes().run(async |world: &World| {
        world.payments().explore_declines();
        world.process("worker", |p| {
            let (payments, store, incarnation) = (p.payments(), p.store(), p.incarnation());
            p.handle(async move |order: u32| {
                let amount = if incarnation > 1 { 1 } else { 500 };
                let charge = Charge::of_order(order, amount).key(format!("order-{order}"));
                let answer = payments.charge(charge).await?;
                store.put("paid", &matches!(answer, ChargeOutcome::Success { .. })).await?;
                Ok::<(), Box<dyn std::error::Error>>(())
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    let inputs: Vec<_> = report.violations().iter().flat_map(|v| v.scenario.inputs()).collect();
    assert!(inputs.iter().all(|input| !input.contains("/6/1=")), "{report}");
    assert_eq!(report.verdict(), Verdict::Violated, "another amount is another charge: {report}");
}

/// A service that stores its answers under keys: input 29.
#[derive(Clone, Default)]
struct Desk {
    keys: Keys<String>,
}

impl Service for Desk {
    type Request = (String, u32);
    type Reply = String;

    fn operation(&self, _: &(String, u32)) -> Operation {
        Operation::write("book".into())
    }

    fn answer(&mut self, (key, seat): (String, u32), cx: &mut ServiceContext<'_>) -> Result<String, Refusal> {
        if let Some(stored) = self.keys.known("book", Some(&key), &seat, cx)? {
            return Ok(stored);
        }
        // Seat 13 is taken: nothing happens, but the answer is stored.
        let answer =
            if seat == 13 { "taken".to_owned() } else { cx.effect("book", Some(&key), &seat, "bk_") };
        self.keys.store(key, answer.clone(), cx);
        Ok(answer)
    }
}

fn booking(second: u32) -> Report {
    Explore::new().deviations(1).run(async move |world: &World| {
        world.service("desk", Desk::default());
        world.process("worker", move |p| {
            let desk: Client<Desk> = p.service("desk");
            p.handle(async move |seat: u32| {
                desk.call(("a".to_owned(), seat)).await.map_err(|e| e.to_string())?;
                desk.call(("b".to_owned(), 1)).await.map_err(|e| e.to_string())?;
                desk.call(("b".to_owned(), second)).await.map(drop).map_err(|e| e.to_string())
            });
        });
        world.enqueue(13_u32);
        world.settle().await;
    })
}

#[test]
fn input_29_the_same_request_again_after_an_answer_without_effect() {
    assert_green(&booking(1));
    assert_eq!(booking(2).verdict(), Verdict::Violated);
}

/// Input 28: the test waits for a row.
#[test]
fn input_28_a_condition_that_reads_the_store() {
    let explore = |writes: bool| {
        Explore::new().name("test").deviations(1).run(async move |world: &World| {
            let row = world.durable("row", 0_u32);
            world.process("worker", {
                let row = row.clone();
                move |p| {
                    let (store, row) = (p.store(), row.clone());
                    p.handle(async move |order: u32| {
                        store.put(format!("order:{order}"), &true).await?;
                        if writes {
                            row.set(order);
                        }
                        Ok::<_, retryproof::StoreError>(())
                    });
                }
            });
            world.enqueue(6_u32);
            let until = row.clone();
            let came = world.settle_until(move |_| until.get() == 6).await;
            assert!(came, "the row never came");
            world.settle().await;
        })
    };
    assert_green(&explore(true));
    assert_eq!(explore(false).verdict(), Verdict::Violated);
}
