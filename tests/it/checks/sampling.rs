//! Samples past the bound: what is drawn, what it finds, and how it is shrunk and reported.

use std::time::Duration;

use expect_test::expect;
use retryproof::service::payments::Charge;
use retryproof::{Explore, Report, Verdict, World};

use super::{Order, assert_green, explore, keyed, paying, unkeyed};
use crate::support::has_line;

/// Charges with another key after a number of restarts.
async fn forgets_after(world: &World, restarts: u32) {
    world.process("worker", move |p| {
        let (payments, clock, incarnation) = (p.payments(), p.clock(), p.incarnation());
        p.handle(async move |order: Order| {
            clock.yield_now().await;
            let key = format!("order-{}-{}", order.id, incarnation / (restarts + 1));
            payments.charge(Charge::of_order(order.id, 500).key(key)).await.map(drop)
        });
    });
    world.enqueue(Order { id: 1 });
    world.settle().await;
}

fn drawn(settings: &Explore) -> Report {
    settings.run(async |world: &World| forgets_after(world, 3).await)
}

fn one_and_samples() -> Explore {
    Explore::new().name("test").deviations(1).random(400).seed(7)
}

#[test]
fn a_bug_past_the_bound_is_found_and_made_as_small_as_it_gets() {
    assert_green(&drawn(&Explore::new().name("test").deviations(1)));
    for deviations in [0, 1, 2] {
        let report = drawn(&one_and_samples().deviations(deviations));
        assert_eq!(report.verdict(), Verdict::Violated, "{report}");
        assert!(report.exhausted(), "{report}");
        assert_eq!(report.sampled(), 400);
        let violation = &report.violations()[0];
        assert_eq!(violation.summary, "payments.charge happened, but happens in no fault-free run");
        // Three crashes, and the first charge before the last of them. Nothing else is needed.
        let deviations = violation.scenario.deviations();
        assert_eq!(deviations.len(), 3, "{report}");
        assert!(deviations.iter().all(|deviation| deviation.ends_with("=crash")), "{deviations:?}");
        let text = report.to_string();
        // A part: the rest of the line differs in each iteration.
        assert!(
            text.contains("note: found past the bound with seed 7, in 3 deviations: shrunk from"),
            "{report}"
        );
        assert!(text.contains("  in addition, 400 random scenarios of "), "{report}");
        assert!(text.contains(" deviations, drawn with seed 7; "), "{report}");
    }
}

#[test]
fn what_samples_find_replays_by_its_text_like_anything_else() {
    let report = drawn(&one_and_samples());
    for violation in report.violations() {
        let replay = drawn(&Explore::new().name("test").replay(violation.scenario.to_string()));
        assert_eq!(replay.verdict(), Verdict::Violated, "{replay}");
        assert_eq!(replay.violations()[0].scenario, violation.scenario);
        // None of its deviations can be removed.
        let deviations = violation.scenario.deviations();
        for left_out in 0..deviations.len() {
            let mut rest = deviations.clone();
            rest.remove(left_out);
            let replay = drawn(&Explore::new().name("test").replay(format!("test {}", rest.join(" "))));
            assert_ne!(replay.verdict(), Verdict::Violated, "{replay}");
        }
    }
}

#[test]
fn the_seed_determines_the_report_and_the_number_of_threads_does_not() {
    let json = |settings: Explore| serde_json::to_string(&drawn(&settings)).unwrap();
    let one = json(one_and_samples());
    assert_eq!(one, json(one_and_samples()));
    for threads in 2..=4 {
        assert_eq!(json(one_and_samples().threads(threads)), one, "{threads} threads");
    }
    assert_ne!(json(one_and_samples().seed(8)), one);
    assert!(
        one.contains(r#""samples":[{"how":{"random":{"fewest":2,"most":4}},"seed":7,"runs":400,"violated":"#),
        "{one}"
    );
}

#[test]
fn samples_that_show_nothing_prove_nothing_and_the_report_says_so() {
    let boot = || paying(async |payments, id| payments.charge(keyed(id)).await.map(drop));
    let report = explore(&one_and_samples(), boot());
    assert_green(&report);
    assert_eq!(
        (report.runs(), report.sampled()),
        (explore(&Explore::new().deviations(1), boot()).runs(), 400)
    );
    let note = "note: nothing is proven past the bound: 400 random scenarios of 2 to 4 deviations, drawn with seed 7 found nothing wrong";
    assert!(report.to_string().contains(note), "{report}");
    // Without samples, the report does not mention them.
    let plain = serde_json::to_string(&explore(&Explore::new().name("test").deviations(1), boot())).unwrap();
    assert!(!plain.contains("sample"), "{plain}");
}

#[test]
fn nothing_is_drawn_where_the_exhaustive_part_has_found_something() {
    let boot = paying(async |payments, id| payments.charge(unkeyed(id)).await.map(drop));
    let report = explore(&one_and_samples(), boot);
    assert_eq!((report.verdict(), report.sampled()), (Verdict::Violated, 0), "{report}");
    has_line(
        &report,
        expect!["note: nothing was sampled past the bound, because there are violations inside it"],
    );
}

#[test]
fn where_max_runs_stops_the_exhaustive_part_samples_go_on() {
    let report = drawn(&one_and_samples().deviations(9).max_runs(20).random(2_000));
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert_eq!((report.runs(), report.exhausted()), (20, false));
    let good = paying(async |payments, id| payments.charge(keyed(id)).await.map(drop));
    let report = explore(&one_and_samples().deviations(9).max_runs(20), good);
    assert_eq!((report.verdict(), report.sampled()), (Verdict::Incomplete, 400), "{report}");
    assert!(report.reason().unwrap().starts_with("stopped by max_runs = 20 after 20 runs"), "{report}");
}

#[test]
fn where_the_time_is_up_no_more_is_drawn() {
    let good = paying(async |payments, id| payments.charge(keyed(id)).await.map(drop));
    for threads in [1, 2] {
        let settings =
            one_and_samples().random(u64::MAX).max_time(Duration::from_millis(100)).threads(threads);
        let report = explore(&settings, good.clone());
        assert_eq!((report.verdict(), report.exhausted()), (Verdict::Incomplete, true), "{report}");
        assert!(report.reason().unwrap().starts_with("stopped by max_time = 100ms after "), "{report}");
        // A part: how far it comes in that time depends on the machine.
        assert!(report.reason().unwrap().contains(" of 18446744073709551615 samples"), "{report}");
    }
}

#[test]
fn bounds_for_one_kind_hold_past_the_bound() {
    assert_green(&drawn(&one_and_samples().crashes(2)));
    let report = drawn(&one_and_samples().crashes(0).faults(0).deliveries(0));
    assert_eq!((report.verdict(), report.sampled()), (Verdict::RetryProof, 0), "{report}");
    has_line(
        &report,
        expect![
            "note: no random scenario was drawn: the bounds of the kinds of deviations allow none in this run"
        ],
    );
}

#[test]
fn what_gets_stuck_past_the_bound_is_made_smaller_too() {
    let report =
        Explore::new().name("test").deviations(1).random(400).max_steps(200).run(async |world: &World| {
            world.process("worker", |p| {
                let (payments, clock, incarnation) = (p.payments(), p.clock(), p.incarnation());
                p.handle(async move |order: Order| {
                    if incarnation > 2 {
                        loop {
                            clock.yield_now().await;
                        }
                    }
                    payments.charge(keyed(order.id)).await.map(drop)
                });
            });
            world.enqueue(Order { id: 1 });
            world.settle().await;
        });
    assert_eq!(report.verdict(), Verdict::Stuck, "{report}");
    let replay = report.to_string();
    let scenario = replay.split("RETRYPROOF_REPLAY='").nth(1).unwrap().split('\'').next().unwrap();
    assert_eq!(scenario.matches("=crash").count(), 2, "{report}");
    assert_eq!(scenario.split(' ').count(), 3, "{report}");
}

/// Explores two jobs that add to one counter, and that can be preempted between reading and writing, or not.
fn adding(settings: &Explore, at_once: bool) -> Report {
    settings.run(async move |world: &World| {
        let counter = world.durable("counter", 0_u32);
        world.process("worker", move |p| {
            let (clock, counter) = (p.clock(), counter.clone());
            p.handle(async move |amount: u32| {
                clock.yield_now().await;
                if at_once {
                    counter.update(|counter| *counter += amount);
                    return clock.yield_now().await;
                }
                let read = counter.get();
                clock.yield_now().await;
                counter.set(read + amount);
            });
        });
        world.enqueue(1_u32);
        world.enqueue(10_u32);
        world.settle().await;
    })
}

#[test]
fn schedules_by_priority_find_what_only_an_order_of_steps_shows() {
    let none = Explore::new().name("test").deviations(0);
    assert_green(&adding(&none, false));
    let settings = none.pct(2, 200).seed(3);
    let report = adding(&settings, false);
    assert_eq!((report.verdict(), report.runs(), report.sampled()), (Verdict::Violated, 1, 200), "{report}");
    // Losing the priority, and getting it back: with two tasks no more is needed.
    let scenario = &report.violations()[0].scenario;
    assert!(scenario.deviations().len() <= 2, "{report}");
    assert!(scenario.deviations().iter().all(|d| d.contains(":next") && d.ends_with("=other")), "{report}");
    let text = report.to_string();
    has_line(
        &text,
        expect![
            "in addition, 200 schedules by priority (PCT of depth 2), drawn with seed 3; 40 of 200 runs failed"
        ],
    );
    let replay = adding(&Explore::new().name("test").replay(scenario.to_string()), false);
    assert_eq!(replay.verdict(), Verdict::Violated, "{replay}");
    for threads in 2..=3 {
        assert_eq!(adding(&settings.clone().threads(threads), false).to_string(), text, "{threads} threads");
    }
    // A job that adds cannot be retried, so there are no deviations except for preemptions.
    let report = adding(&settings.random(50).crashes(0).deliveries(0), true);
    assert_green(&report);
    assert_eq!(report.sampled(), 250);
}

#[test]
fn a_run_in_which_one_task_alone_goes_on_has_no_schedules() {
    let boot = paying(async |payments, id| payments.charge(keyed(id)).await.map(drop));
    let report = explore(&Explore::new().name("test").deviations(1).pct(3, 100), boot);
    assert_eq!((report.verdict(), report.sampled()), (Verdict::RetryProof, 0), "{report}");
    has_line(
        &report,
        expect![
            "note: no schedule was drawn by priority: never in this run could more than one task run; add a second job and a free slot for it"
        ],
    );
}
