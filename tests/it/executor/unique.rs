//! Unique jobs: the five locks, conflicts, owners and times to live. By hand, while `unique_checked` explores.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use retryproof::job::{DrainError, EnqueueError, JobState, LockTaken};
use retryproof::{Backoff, Conflict, Ordered, Unique, World};
use serde::{Deserialize, Serialize};

use super::{Log, S, log, numbers, panic_of, worker};

const HOUR: Duration = Duration::from_secs(3_600);

/// Fetches a feed. Without a feed it has no key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Fetch {
    feed: Option<u32>,
    /// The number of the job, which is not a part of the key.
    nth: u32,
}

fn fetch(nth: u32) -> Fetch {
    Fetch { feed: Some(1), nth }
}

fn feed(job: &Fetch) -> Option<u32> {
    job.feed
}

/// Adds a worker that records when a job begins and when it ends, 10 s later. The first attempt of number 13 fails.
fn fetching(world: &World, log: &Log, unique: Unique) {
    worker(world, log, move |p, log| {
        let (clock, noted) = (p.clock(), log.clone());
        let note = move |what: &str, nth: u32, at: Duration| {
            noted.update(|log| log.push(format!("{} {what} {nth}", at.as_secs())));
        };
        p.handle(async move |job: Fetch| {
            note("begins", job.nth, clock.now());
            clock.sleep(10 * S).await;
            note("ends", job.nth, clock.now());
            if job.nth == 13 && clock.now() < 20 * S { Err("unlucky") } else { Ok(()) }
        })
        .backoff(Backoff::Constant(20 * S))
        .unique(unique.clone());
    });
}

fn world(unique: Unique) -> (World, Log) {
    let world = World::fake();
    let log = log(&world);
    fetching(&world, &log, unique);
    (world, log)
}

fn states(world: &World) -> Vec<JobState> {
    world.all_jobs().iter().map(|job| job.state).collect()
}

#[test]
fn until_executing_one_waits_and_a_second_comes_in_when_it_runs() {
    let (world, log) = world(Unique::until_executing(feed));
    let first = world.enqueue(fetch(1));
    assert_eq!(world.enqueue(fetch(2)), first, "dropped: the id of the one that is there");
    world.settle_until(|_| log.get().len() == 1).run();
    assert_ne!(world.enqueue(fetch(3)), first);
    world.settle().run();
    assert_eq!(log.get(), ["0 begins 1", "0 begins 3", "10 ends 1", "10 ends 3"]);
    assert_eq!(world.locks(), []);
}

#[test]
fn until_executed_one_at_a_time_until_it_is_over() {
    let (world, log) = world(Unique::until_executed(feed));
    world.enqueue(fetch(1));
    world.settle_until(|_| log.get().len() == 1).run();
    world.enqueue(fetch(2));
    world.settle().run();
    world.enqueue(fetch(3));
    world.settle().run();
    assert_eq!(log.get(), ["0 begins 1", "10 ends 1", "10 begins 3", "20 ends 3"]);
}

#[test]
fn until_expired_at_most_one_in_that_time_whatever_becomes_of_it() {
    let (world, log) = world(Unique::until_expired(HOUR, feed));
    world.enqueue(fetch(1));
    world.settle().run();
    world.advance(HOUR - 11 * S);
    world.enqueue(fetch(2));
    assert_eq!(world.stats().enqueued, 0);
    world.advance(S);
    world.enqueue(fetch(3));
    world.settle().run();
    assert_eq!(log.get(), ["0 begins 1", "10 ends 1", "3600 begins 3", "3610 ends 3"]);
}

#[test]
fn while_executing_any_number_wait_and_one_runs_at_a_time() {
    let (world, log) = world(Unique::while_executing(feed));
    world.enqueue_bulk([1, 2, 3].map(fetch));
    assert_eq!((world.stats().enqueued, world.locks().len()), (3, 0));
    world.settle().run();
    let expected = ["0 begins 1", "10 ends 1", "10 begins 2", "20 ends 2", "20 begins 3", "30 ends 3"];
    assert_eq!(log.get(), expected);
}

#[test]
fn until_and_while_executing_one_waits_and_one_runs_at_a_time() {
    let (world, log) = world(Unique::until_and_while_executing(feed));
    world.enqueue_bulk([1, 2].map(fetch));
    world.settle_until(|_| log.get().len() == 1).run();
    world.enqueue_bulk([3, 4].map(fetch));
    assert_eq!(numbers(&world.jobs::<Fetch>()), [1, 2], "one runs, one waits");
    world.settle().run();
    assert_eq!(log.get(), ["0 begins 1", "10 ends 1", "10 begins 3", "20 ends 3"]);
}

#[test]
fn no_key_is_no_lock_and_never_one_key_for_all() {
    for unique in [Unique::until_executed(feed), Unique::while_executing(feed)] {
        let (world, log) = world(unique);
        world.enqueue_bulk([1, 2, 3].map(|nth| Fetch { feed: None, nth }));
        world.settle().run();
        assert_eq!((log.get().len(), world.now()), (6, 10 * S), "all three at once");
    }
}

#[test]
fn keys_of_different_kinds_are_different() {
    let world = World::fake();
    world.process("worker", |p| {
        p.handle(async |_: u32| ()).unique(Unique::until_executed(|job: &u32| Some(*job)));
        p.handle(async |_: u64| ()).unique(Unique::until_executed(|job: &u64| Some(*job)));
    });
    world.enqueue(1_u32);
    world.enqueue(1_u64);
    assert_eq!(world.locks().len(), 2);
}

#[test]
fn conflict_drop_gives_the_id_of_the_job_that_is_there() {
    let (world, _) = world(Unique::until_executed(feed).on_conflict(Conflict::Drop));
    let first = world.enqueue(fetch(1));
    assert_eq!(world.enqueue_bulk([2, 3].map(fetch)), [first, first]);
    assert_eq!(world.all_jobs().len(), 1);
}

#[test]
fn conflict_drop_of_an_attempt_drops_the_job() {
    let (world, log) = world(Unique::while_executing(feed).on_conflict(Conflict::Drop));
    world.enqueue_bulk([1, 2].map(fetch));
    world.settle().run();
    assert_eq!(states(&world), [JobState::Done, JobState::Dropped]);
    assert_eq!((log.get().len(), world.stats().failed), (2, 0));
}

#[test]
fn conflict_raise_is_a_typed_error_for_whoever_enqueues() {
    let (world, _) = world(Unique::until_executed(feed).ttl(HOUR).on_conflict(Conflict::Raise));
    let seen = Arc::new(Mutex::new(None));
    let noted = seen.clone();
    world.process("other", move |p| {
        let (queue, noted) = (p.queue(), noted.clone());
        p.handle(async move |_: u32| *noted.lock().unwrap() = queue.enqueue(fetch(2)).await.err());
        let queue = p.queue();
        p.handle_blocking(move |_: u64| queue.enqueue_blocking(fetch(2)).map(drop));
    });
    world.enqueue(fetch(1));
    world.enqueue(1_u32);
    assert!(world.perform_one::<u32>().is_ok());
    let error = seen.lock().unwrap().clone().expect("an error");
    assert!(matches!(&error, EnqueueError::Locked(LockTaken { key, .. }) if key == "1"), "{error:?}");
    assert_eq!(
        error.to_string(),
        "the job was not enqueued: a it::executor::unique::Fetch holds the lock 1 already: job#1, which waits; it expires \
         at t+1h"
    );
    world.enqueue(1_u64);
    let failed = world.perform_one::<u64>().unwrap_err();
    assert!(matches!(&failed, DrainError::Failed { error: text, .. } if *text == error.to_string()));
    assert_eq!(panic_of(|| _ = world.enqueue(fetch(3))), error.to_string());
}

#[test]
fn conflict_raise_of_an_attempt_is_a_failure_that_is_tried_again() {
    let (world, log) = world(Unique::while_executing(feed).on_conflict(Conflict::Raise));
    world.enqueue_bulk([1, 2].map(fetch));
    world.settle_until(|world| !world.retries().is_empty()).run();
    assert_eq!(
        world.retries()[0].error.as_deref(),
        Some("a it::executor::unique::Fetch holds the lock 1 already: job#1, which runs; it never expires")
    );
    world.settle().run();
    assert_eq!(log.get(), ["0 begins 1", "10 ends 1", "20 begins 2", "30 ends 2"]);
}

#[test]
fn conflict_reject_goes_to_the_dead_set_and_is_no_failure() {
    for unique in [Unique::until_executed(feed), Unique::while_executing(feed)] {
        let (world, log) = world(unique.on_conflict(Conflict::Reject));
        world.enqueue_bulk([1, 2].map(fetch));
        world.settle().run();
        assert_eq!(states(&world), [JobState::Done, JobState::Dead]);
        let stats = world.stats();
        assert_eq!((stats.dead, stats.failed, stats.processed, log.get().len()), (1, 0, 1, 2));
        let error = world.dead()[0].error.clone().unwrap();
        assert!(
            error.starts_with("a it::executor::unique::Fetch holds the lock 1 already: job#1, which"),
            "{error}"
        );
    }
}

#[test]
fn conflict_replace_withdraws_the_one_that_waits() {
    let (world, log) = world(Unique::until_executed(feed).on_conflict(Conflict::Replace));
    world.enqueue_in(HOUR, fetch(1));
    world.enqueue(fetch(2));
    assert_eq!(states(&world), [JobState::Replaced, JobState::Ready]);
    world.settle_until(|_| log.get().len() == 1).run();
    // A running job is left alone, except for its lock: what it releases at its end is not the lock of the next job.
    world.enqueue(fetch(3));
    assert_eq!(world.locks()[0].owner, Some(3));
    world.settle_until(|world| world.all_jobs()[1].state == JobState::Done).run();
    assert_eq!(world.locks()[0].owner, Some(3));
    world.settle().run();
    assert_eq!(log.get(), ["0 begins 2", "0 begins 3", "10 ends 2", "10 ends 3"]);
}

#[test]
fn conflict_reschedule_goes_to_the_back_of_the_queue_and_tries_again() {
    for unique in [Unique::until_executed(feed), Unique::while_executing(feed)] {
        let (world, log) = world(unique.on_conflict(Conflict::Reschedule(4 * S)));
        world.enqueue_bulk([1, 2].map(fetch));
        world.settle().run();
        assert_eq!(log.get(), ["0 begins 1", "10 ends 1", "12 begins 2", "22 ends 2"]);
        assert_eq!((world.locks().len(), world.stats().failed), (0, 0));
    }
}

#[test]
fn a_duplicate_while_in_retry_comes_in_until_executing_and_is_kept_out_until_executed() {
    for (unique, second) in [(Unique::until_executing(feed), true), (Unique::until_executed(feed), false)] {
        let (world, log) = world(unique);
        world.enqueue(fetch(13));
        world.settle_until(|world| !world.retries().is_empty()).run();
        world.enqueue(fetch(2));
        assert_eq!(world.all_jobs().len() == 2, second);
        world.settle().run();
        assert_eq!(log.get().iter().any(|noted| noted.ends_with("begins 2")), second);
        assert!(log.get().contains(&"40 ends 13".to_owned()), "{:?}", log.get());
    }
}

#[test]
fn a_job_that_is_given_up_gives_its_lock_back() {
    let locked = |give_up: fn(&World)| {
        let world = World::fake();
        world.process("worker", |p| {
            p.handle(async |_: u32| Err::<(), _>("no"))
                .max_retries(1)
                .backoff(Backoff::Constant(S))
                .unique(Unique::until_executed(|job: &u32| Some(*job)));
        });
        world.enqueue(1_u32);
        assert_eq!(world.locks().len(), 1);
        give_up(&world);
        world.locks().len()
    };
    assert_eq!(locked(|world| _ = world.clear::<u32>()), 0, "cleared");
    assert_eq!(locked(|world| drop(world.drain_all().run())), 0, "popped");
    assert_eq!(locked(|world| world.settle().run()), 0, "dead");
    assert_eq!(
        locked(|world| _ = world.settle_until(|world| !world.retries().is_empty()).run()),
        1,
        "retried"
    );
}

#[test]
fn a_job_that_is_cleared_after_its_worker_died_leaves_no_lock_and_those_that_wait_for_it_go_on() {
    let (world, log) = world(Unique::while_executing(feed));
    world.enqueue(fetch(1));
    world.settle_until(|_| log.get().len() == 1).run();
    world.crash("worker");
    assert_eq!((world.clear::<Fetch>(), world.locks().len()), (1, 0));
    world.enqueue(fetch(2));
    world.settle().run();
    assert_eq!(log.get().last().map(String::as_str), Some("11 ends 2"));
    // A job that waits for the lock already is woken.
    world.enqueue(fetch(3));
    world.settle_until(|_| log.get().len() == 4).run();
    world.crash("worker");
    world.enqueue(fetch(4));
    assert!(world.settle_until(|world| world.stats().busy == 1).run());
    assert_eq!((world.clear::<Fetch>(), world.locks().len()), (1, 0));
    world.settle().run();
    assert_eq!(log.get()[3..], ["11 begins 3", "12 begins 4", "22 ends 4"]);
}

#[test]
fn self_conflict_a_job_that_enqueues_itself_hands_its_lock_on() {
    let world = World::fake();
    world.process("worker", |p| {
        let queue = p.queue();
        p.handle(async move |job: Fetch| {
            if job.nth < 5 {
                queue.enqueue(fetch(job.nth + 1)).await.unwrap();
            }
        })
        .unique(Unique::until_executed(feed).on_conflict(Conflict::Raise));
    });
    world.enqueue(fetch(1));
    assert_eq!(world.drain_all().run().unwrap().succeeded, 5);
    assert_eq!(world.locks(), []);
}

#[test]
fn until_expired_keeps_a_job_out_that_enqueues_itself_too() {
    let world = World::fake();
    world.process("worker", |p| {
        let queue = p.queue();
        p.handle(async move |job: Fetch| queue.enqueue(fetch(job.nth + 1)).await.map(drop))
            .unique(Unique::until_expired(HOUR, feed));
    });
    world.enqueue(fetch(1));
    assert_eq!(world.drain_all().run().unwrap().succeeded, 1);
}

#[test]
fn self_conflict_a_job_that_is_retried_keeps_its_own_lock() {
    for unique in [Unique::until_executed(feed), Unique::until_and_while_executing(feed)] {
        let (world, log) = world(unique.on_conflict(Conflict::Raise));
        world.enqueue(fetch(13));
        world.settle().run();
        assert_eq!(log.get(), ["0 begins 13", "10 ends 13", "30 begins 13", "40 ends 13"]);
    }
    // A job whose worker crashed is redelivered, and takes its own lock again.
    let (world, log) = world(Unique::while_executing(feed).on_conflict(Conflict::Raise));
    world.enqueue(fetch(1));
    world.settle_until(|_| log.get().len() == 1).run();
    world.crash("worker");
    assert_eq!(world.locks()[0].owner, Some(1), "it outlives the crash");
    world.settle().run();
    assert_eq!(log.get(), ["0 begins 1", "60 begins 1", "70 ends 1"]);
    assert_eq!((world.locks().len(), world.stats().failed), (0, 0));
}

#[test]
fn an_interrupted_job_gives_its_lock_to_run_back_and_keeps_its_place() {
    let world = World::fake();
    let log = log(&world);
    worker(&world, &log, |p, log| {
        let (clock, noted) = (p.clock(), log.clone());
        p.handle(async move |job: Fetch| {
            noted.update(|log| log.push(format!("{} begins {}", clock.now().as_secs(), job.nth)));
            clock.sleep(60 * S).await;
        })
        .unique(Unique::while_executing(feed))
        .ordered(Ordered::in_one_partition());
    });
    world.enqueue_bulk([fetch(1), fetch(2)]);
    assert!(world.settle_until(|_| log.get().len() == 1).run());
    world.shut_down("worker");
    world.settle().run();
    assert_eq!((world.locks(), states(&world)), (Vec::new(), vec![JobState::Ready, JobState::Blocked]));
    world.start("worker");
    world.settle().run();
    assert_eq!(log.get(), ["0 begins 1", "25 begins 1", "85 begins 2"]);
}

#[test]
fn a_handler_that_panics_or_gets_stuck_gives_its_lock_back() {
    let world = World::fake();
    world.process("worker", |p| {
        let unique = Unique::while_executing(|job: &u32| Some(job % 2));
        p.handle(async |job: u32| match job {
            1 => panic!("broken"),
            2 => std::future::pending::<()>().await,
            _ => {}
        })
        .max_retries(1)
        .backoff(Backoff::Constant(HOUR))
        .unique(unique);
    });
    // The second job runs long before the first one is retried.
    world.enqueue_bulk([1_u32, 3]);
    world.settle_until(|world| world.now() > S || world.stats().processed == 2).run();
    assert_eq!((states(&world), world.now()), (vec![JobState::Retrying, JobState::Done], Duration::ZERO));
    world.settle().run();
    world.enqueue(2_u32);
    assert!(world.drain_all().run().is_err());
    assert_eq!(world.locks(), []);
}

#[test]
fn a_lock_left_behind_by_a_killed_process_goes_when_its_time_to_live_is_over() {
    let left = |ttl: Duration| {
        let (world, log) = world(Unique::while_executing(feed).ttl(ttl));
        world.enqueue(fetch(1));
        world.settle_until(|_| log.get().len() == 1).run();
        world.crash("worker");
        world.enqueue(fetch(2));
        world.settle().run();
        log.get().into_iter().filter(|noted| noted.contains("begins")).collect::<Vec<_>>()
    };
    assert_eq!(left(15 * S), ["0 begins 1", "15 begins 2", "60 begins 1"]);
    // Unless its own job is redelivered before that, takes the lock again and releases it.
    assert_eq!(left(HOUR), ["0 begins 1", "60 begins 1", "70 begins 2"]);
}

#[test]
fn a_lock_that_nobody_gives_back_is_named_by_whoever_waits_for_it() {
    let world = World::fake();
    let log = log(&world);
    worker(&world, &log, |p, log| {
        let (clock, noted) = (p.clock(), log.clone());
        p.handle(async move |job: Fetch| {
            noted.update(|log| log.push(job.nth.to_string()));
            clock.sleep(10 * S).await;
        })
        .delivery(retryproof::Delivery::AtMostOnce)
        .unique(Unique::while_executing(feed));
    });
    world.enqueue(fetch(1));
    world.settle_until(|_| log.get().len() == 1).run();
    world.crash("worker");
    world.enqueue(fetch(2));
    assert_eq!(
        panic_of(|| world.settle().run()),
        "the world is stuck: deadlock: nothing can go on and no timer is set; job#2.1 Fetch waits for the lock 1, held \
         by job#1, which was lost when its worker crashed; it never expires"
    );
}

#[test]
fn a_job_that_comes_back_for_its_lock_needs_a_slot_that_those_who_wait_for_it_must_not_fill() {
    let crashed = |slots: usize, unique: Unique| {
        let world = World::fake();
        let log = log(&world);
        worker(&world, &log, move |p, log| {
            let (clock, noted) = (p.clock(), log.clone());
            p.slots(slots)
                .handle(async move |job: Fetch| {
                    noted.update(|log| log.push(job.nth.to_string()));
                    clock.sleep(10 * S).await;
                })
                .unique(unique.clone());
        });
        world.enqueue(fetch(1));
        world.settle_until(|_| log.get().len() == 1).run();
        world.enqueue(fetch(2));
        world.crash("worker");
        (world, log)
    };
    // The first job comes back behind the second one, which has the only slot.
    let (world, _) = crashed(1, Unique::while_executing(feed));
    assert_eq!(
        panic_of(|| world.settle().run()),
        "the world is stuck: deadlock: nothing can go on and no timer is set; job#2.1 Fetch waits for the lock 1, held \
         by job#1, which waits; it never expires"
    );
    // A second slot is enough, and so is a time to live.
    for (slots, unique, order) in [
        (2, Unique::while_executing(feed), ["1", "1", "2"]),
        (1, Unique::while_executing(feed).ttl(HOUR), ["1", "2", "1"]),
    ] {
        let (world, log) = crashed(slots, unique);
        world.settle().run();
        assert_eq!(log.get(), order);
    }
}

/// Three jobs of one feed add one to a counter that they read ten seconds before. The correct sum is 3.
fn counted(unique: Unique) -> u32 {
    let world = World::fake();
    let counter = world.durable("counter", 0_u32);
    let count = counter.clone();
    world.process("worker", move |p| {
        let (clock, count) = (p.clock(), count.clone());
        p.handle(async move |_: Fetch| {
            let read = count.get();
            clock.sleep(10 * S).await;
            count.set(read + 1);
        })
        .unique(unique.clone());
    });
    world.enqueue_bulk([1, 2, 3].map(fetch));
    world.settle().run();
    counter.get()
}

#[test]
fn a_lock_deleted_by_the_loser_lets_two_in_and_an_owner_prevents_it() {
    let unique = || Unique::while_executing(feed).ttl(HOUR).on_conflict(Conflict::Reschedule(4 * S));
    assert_eq!(counted(unique()), 3);
    assert!(counted(unique().without_owner()) < 3);
}

/// Runs a number of fetches of one feed with four other jobs behind them. Returns how busy the slots are until the
/// other jobs are done, and when they are done.
fn crowd(backlog: u32, unique: Unique) -> (f64, Duration) {
    let (world, log) = world(unique);
    world.enqueue_bulk((1..=backlog).map(fetch));
    world.enqueue_bulk((1..=4).map(|other| Fetch { feed: Some(1 + other), nth: 100 + other }));
    let others = |log: &[String]| log.iter().filter(|noted| noted.contains("ends 10")).count();
    world.settle_until(|_| others(&log.get()) == 4).run();
    (world.stats().utilisation, world.now())
}

#[test]
fn unique_waiting_fills_all_slots_and_reschedule_when_busy_does_not() {
    // One slot of five works while the others wait, and the longer the backlog, the later the other jobs run.
    let waiting = |backlog| crowd(backlog, Unique::while_executing(feed));
    let ((used, late), (_, later)) = (waiting(20), waiting(40));
    assert!(used < 0.3, "{used}");
    assert_eq!((late, later), (180 * S, 380 * S));
    let rescheduled =
        |backlog| crowd(backlog, Unique::while_executing(feed).when_busy(Conflict::Reschedule(S)));
    assert_eq!((rescheduled(20), rescheduled(40)), ((1.0, 10 * S), (1.0, 10 * S)));
}

#[test]
fn a_lock_lives_from_when_its_job_is_due() {
    let (world, _) = world(Unique::until_executed(feed).ttl(HOUR));
    world.enqueue_in(2 * HOUR, fetch(1));
    assert_eq!(world.locks()[0].expires, Some(3 * HOUR));
    world.advance(3 * HOUR - S);
    assert_eq!(world.locks().len(), 1);
    world.advance(S);
    assert_eq!(world.locks(), []);
}

#[test]
fn a_lock_to_run_lives_from_when_it_is_taken() {
    let (world, log) = world(Unique::while_executing(feed).ttl(15 * S));
    world.enqueue_bulk([fetch(1), fetch(2)]);
    assert!(world.settle_until(|_| log.get().len() == 3).run());
    assert_eq!(log.get()[1..], ["10 ends 1", "10 begins 2"]);
    assert_eq!(world.locks()[0].expires, Some(25 * S));
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let refused = |unique: fn() -> Unique| {
        panic_of(|| {
            World::fake().process("worker", move |p| _ = p.handle(async |_: Fetch| ()).unique(unique()));
        })
    };
    let kind = "it::executor::unique::Fetch";
    assert_eq!(
        refused(|| Unique::until_executed(|job: &u32| Some(*job))),
        format!("the lock of {kind} computes its key from a u32; give it a function over a {kind}")
    );
    assert_eq!(
        refused(|| Unique::until_executed(feed).on_conflict(Conflict::Wait)),
        format!(
            "the lock of {kind} waits at the enqueue, where there is no slot to wait in; use another `Conflict`"
        )
    );
    assert_eq!(
        refused(|| Unique::while_executing(feed).on_conflict(Conflict::Replace)),
        format!("the lock of {kind} replaces a running job; use another `Conflict` for `when_busy`")
    );
    assert_eq!(
        refused(|| Unique::until_executed(feed).when_busy(Conflict::Drop)),
        format!(
            "the lock of {kind} sets `when_busy`, but its lock is not taken when an attempt begins; use `on_conflict`"
        )
    );
    assert_eq!(
        refused(|| Unique::until_expired(Duration::ZERO, feed)),
        format!("the lock of {kind} has a time to live of zero; make it longer, or leave it out")
    );
}

#[test]
fn a_key_function_that_panics_fails_whoever_asks() {
    let broken = || Unique::while_executing(|_: &Fetch| -> Option<u32> { panic!("no key") });
    let (world, log) = world(broken());
    world.enqueue(fetch(1));
    world.settle().run();
    assert_eq!(world.dead()[0].error.as_deref(), Some("panicked: no key"));
    assert!(log.get().is_empty());
}
