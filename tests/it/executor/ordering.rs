//! Ordered streams: one partition strictly in order, one job per key at a time, and all jobs in parallel.

use expect_test::expect;
use retryproof::job::JobState;
use retryproof::{Backoff, Decision, Delivery, Explore, Ordered, Unique, Verdict, World};
use serde::{Deserialize, Serialize};

use super::{Log, S, log, numbers, panic_of, worker};
use crate::support::has_line;

/// A change to an account. Without an account it belongs to no stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Change {
    account: Option<u32>,
    nth: u32,
}

fn change(account: u32, nth: u32) -> Change {
    Change { account: Some(account), nth }
}

fn by_account() -> Ordered {
    Ordered::by_key(|job: &Change| job.account)
}

/// Adds a worker that records when a job begins and when it ends, 10 s later. Number 13 fails twice, number 66 always,
/// and number 5 is rescheduled by a minute.
fn changing(world: &World, log: &Log, name: &'static str, ordered: Ordered) {
    let log = log.clone();
    world.process(name, move |p| {
        let (clock, noted) = (p.clock(), log.clone());
        let note = move |what: &str, nth: u32, at: std::time::Duration| {
            noted.update(|log| log.push(format!("{} {what} {nth}", at.as_secs())));
        };
        p.handle(async move |job: Change| {
            note("begins", job.nth, clock.now());
            clock.sleep(10 * S).await;
            note("ends", job.nth, clock.now());
            match job.nth {
                13 if clock.now() < 60 * S => Err("unlucky"),
                66 => Err("never"),
                5 if clock.now() < 60 * S => Err("later"),
                _ => Ok(()),
            }
        })
        .max_retries(2)
        .backoff(Backoff::Constant(20 * S))
        .decide(|failed| match failed.error {
            "later" => Decision::Snooze(60 * S),
            _ => Decision::Retry,
        })
        .ordered(ordered.clone());
    });
}

fn world(ordered: Ordered) -> (World, Log) {
    let world = World::fake();
    let log = log(&world);
    changing(&world, &log, "worker", ordered);
    (world, log)
}

/// Returns when each job began, in order.
fn begun(log: &Log) -> Vec<String> {
    log.get()
        .iter()
        .filter(|noted| noted.contains("begins"))
        .map(|noted| noted.replace(" begins", ""))
        .collect()
}

#[test]
fn one_partition_strictly_in_order() {
    let (world, log) = world(Ordered::in_one_partition());
    world.enqueue_bulk([change(1, 1), change(2, 2), change(1, 3)]);
    assert_eq!((world.stats().enqueued, world.stats().blocked), (1, 2));
    assert_eq!(world.all_enqueued::<Change>().len(), 3, "they wait all the same");
    world.settle().run();
    assert_eq!(begun(&log), ["0 1", "10 2", "20 3"]);
}

#[test]
fn one_at_a_time_per_key_keys_in_parallel() {
    let (world, log) = world(by_account());
    world.enqueue_bulk([change(1, 1), change(2, 2), change(1, 3), change(2, 4)]);
    world.settle().run();
    assert_eq!(begun(&log), ["0 1", "0 2", "10 3", "10 4"]);
}

#[test]
fn all_parallel() {
    let (world, log) = world(Ordered::in_parallel());
    world.enqueue_bulk([change(1, 1), change(1, 2), change(1, 3)]);
    world.settle().run();
    assert_eq!(begun(&log), ["0 1", "0 2", "0 3"]);
}

#[test]
fn a_key_of_none_is_no_key_and_never_one_key_for_all() {
    let (world, log) = world(by_account());
    world.enqueue_bulk([1, 2, 3].map(|nth| Change { account: None, nth }));
    world.settle().run();
    assert_eq!(begun(&log), ["0 1", "0 2", "0 3"]);
}

#[test]
fn a_failed_job_blocks_those_behind_it_until_it_is_done_or_dead() {
    let (world, log) = world(by_account());
    world.enqueue_bulk([change(1, 13), change(1, 2), change(2, 66), change(2, 4)]);
    world.settle().run();
    assert_eq!(begun(&log), ["0 13", "0 66", "30 13", "30 66", "60 13", "60 66", "70 2", "70 4"]);
    assert_eq!(world.dead().len(), 1);
}

#[test]
fn a_snoozed_job_and_one_whose_worker_died_keep_their_place() {
    let (world, log) = world(Ordered::in_one_partition());
    world.enqueue_bulk([change(1, 5), change(1, 2), change(1, 3)]);
    world.settle_until(|_| begun(&log).contains(&"80 2".to_owned())).run();
    world.crash("worker");
    world.settle().run();
    assert_eq!(begun(&log), ["0 5", "70 5", "80 2", "140 2", "150 3"]);
}

#[test]
fn a_job_that_is_gone_with_its_worker_blocks_nobody() {
    let world = World::fake();
    let log = log(&world);
    worker(&world, &log, |p, log| {
        let (clock, noted) = (p.clock(), log.clone());
        p.handle(async move |job: u32| {
            noted.update(|log| log.push(job.to_string()));
            clock.sleep(S).await;
        })
        .delivery(Delivery::AtMostOnce)
        .ordered(Ordered::in_one_partition());
    });
    world.enqueue_bulk([1_u32, 2]);
    world.settle_until(|_| log.get().len() == 1).run();
    world.crash("worker");
    world.settle().run();
    assert_eq!(log.get(), ["1", "2"]);
}

#[test]
fn the_order_holds_over_processes() {
    let world = World::fake();
    let log = log(&world);
    for name in ["one", "two", "three"] {
        changing(&world, &log, name, by_account());
    }
    world.enqueue_bulk((1..=5).map(|nth| change(1, nth * 10)));
    world.settle().run();
    assert_eq!(begun(&log), ["0 10", "10 20", "20 30", "30 40", "40 50"]);
}

#[test]
fn a_scheduled_job_takes_its_place_when_it_is_due() {
    let (world, log) = world(Ordered::in_one_partition());
    world.enqueue_in(5 * S, change(1, 1));
    world.enqueue(change(1, 2));
    world.enqueue(change(1, 3));
    world.enqueue_in(4 * S, change(1, 4));
    world.settle().run();
    assert_eq!(begun(&log), ["0 2", "10 3", "20 4", "30 1"]);
}

#[test]
fn a_job_that_is_popped_or_cleared_leaves_its_place_to_the_next() {
    let (world, log) = world(by_account());
    world.enqueue_bulk([change(1, 66), change(1, 2)]);
    assert!(world.drain_all().run().is_err());
    assert_eq!(numbers(&world.jobs::<Change>()), [2]);
    world.enqueue(1_u32);
    assert_eq!(world.drain::<Change>().run().unwrap().succeeded, 1);
    assert_eq!(begun(&log), ["0 66", "10 2"]);
    world.enqueue_bulk([change(1, 6), change(1, 7)]);
    assert_eq!(world.clear::<Change>(), 2);
    assert_eq!((world.stats().enqueued, world.stats().blocked), (1, 0));
    world.enqueue(change(1, 8));
    assert_eq!(world.drain::<Change>().run().unwrap().succeeded, 1);
}

#[test]
fn a_dead_job_that_is_retried_by_hand_stands_at_the_back() {
    let (world, log) = world(Ordered::in_one_partition());
    world.enqueue(change(1, 66));
    world.settle().run();
    world.enqueue_bulk([change(1, 2), change(1, 3)]);
    world.retry_dead(1);
    world.settle().run();
    assert_eq!(begun(&log)[3..], ["70 2", "80 3", "90 66"]);
}

#[test]
fn ordered_and_unique_at_once() {
    let world = World::fake();
    let log = log(&world);
    worker(&world, &log, |p, log| {
        let noted = log.clone();
        p.handle(async move |job: Change| noted.update(|log| log.push(job.nth.to_string())))
            .unique(Unique::until_executed(|job: &Change| Some(job.nth)))
            .ordered(by_account());
    });
    world.enqueue_bulk([change(1, 1), change(1, 2), change(1, 1), change(2, 2), change(2, 3)]);
    world.settle().run();
    assert_eq!(log.get(), ["1", "3", "2"]);
    assert!(world.all_jobs().iter().all(|job| job.state == JobState::Done));
}

#[test]
fn the_order_of_another_kind_is_refused() {
    let message = panic_of(|| {
        World::fake().process("worker", |p| _ = p.handle(async |_: u32| ()).ordered(by_account()));
    });
    assert_eq!(
        message,
        "the order of u32 computes its key from a it::executor::ordering::Change; give it a function over a u32"
    );
}

#[test]
fn the_order_holds_under_every_crash_and_every_turn() {
    let last = |ordered: Ordered| {
        Explore::new().name("test").deviations(2).faults(0).deliveries(0).run(async move |world: &World| {
            let (document, ordered) = (world.durable("document", 0_u32), ordered.clone());
            let seen = document.clone();
            world.process("worker", move |p| {
                let (clock, document) = (p.clock(), document.clone());
                p.handle(async move |job: Change| {
                    clock.yield_now().await;
                    document.set(job.nth);
                })
                .ordered(ordered.clone());
            });
            (1..=3).for_each(|nth| _ = world.enqueue(change(1, nth)));
            world.settle().await;
            assert_eq!(seen.get(), 3, "the newest stays");
        })
    };
    for ordered in [Ordered::in_one_partition(), by_account()] {
        let report = last(ordered);
        assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    }
    // In parallel, older content may come after newer content.
    let report = last(Ordered::in_parallel());
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    has_line(
        &report.violations()[0].summary,
        expect![
            "the test body panicked at tests/it/executor/ordering.rs:…: assertion `left == right` failed: the newest stays"
        ],
    );
}
