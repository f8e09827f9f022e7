//! Retries, the dead set, and the hooks for failures.

use std::time::Duration;

use retryproof::job::JobState;
use retryproof::report::Oracle;
use retryproof::service::payments::Charge;
use retryproof::{Backoff, Decision, Explore, HandlerOptions, ServiceError, World};

use super::{DAY, S, log, numbers, worker};

/// Returns the times at which a job that always fails is tried, with the given options.
fn attempts(
    options: impl for<'p> Fn(HandlerOptions<'p>) -> HandlerOptions<'p> + 'static,
) -> (World, Vec<Duration>) {
    let world = World::fake();
    let times = world.durable("times", Vec::new());
    world.process("worker", {
        let times = times.clone();
        move |p| {
            let (clock, times) = (p.clock(), times.clone());
            options(p.handle(async move |_: u32| {
                times.update(|times| times.push(clock.now()));
                Err::<(), _>("always")
            }));
        }
    });
    world.enqueue(1_u32);
    world.settle().run();
    let times = times.get();
    (world, times)
}

fn seconds(times: &[Duration]) -> Vec<u64> {
    times.iter().map(Duration::as_secs).collect()
}

#[test]
fn retry_25_times_over_20_days_then_the_dead_set() {
    let (world, times) = attempts(|job| job);
    assert_eq!(times.len(), 26);
    let waits: Vec<_> = seconds(&times).windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (n, &wait) in (0_u64..).zip(&waits) {
        let least = n.pow(4) + 15;
        assert!((least..least + 10 * (n + 1)).contains(&wait), "retry {n} after {wait}s");
    }
    // The exact times, because the jitter is drawn from the seed.
    assert_eq!(seconds(&times), TWENTY_DAYS);
    assert_eq!(world.now().as_secs() / 86_400, 20);
    let dead = world.dead();
    assert_eq!((numbers(&dead), dead[0].failures, dead[0].error.as_deref()), (vec![1], 26, Some("always")));
}

const TWENTY_DAYS: [u64; 26] = [
    0, 19, 35, 82, 180, 461, 1126, 2497, 4916, 9045, 15627, 25711, 40396, 61148, 89858, 128325, 179123,
    244809, 328358, 433366, 563735, 723776, 918457, 1152873, 1432940, 1764816,
];

#[test]
fn backoff_constant_exponential_and_a_function() {
    let (_, times) = attempts(|job| job.max_retries(3).backoff(Backoff::Constant(7 * S)));
    assert_eq!(seconds(&times), [0, 7, 14, 21]);
    let (_, times) =
        attempts(|job| job.max_retries(3).backoff(Backoff::function(|failure| S * 10_u32.pow(failure))));
    assert_eq!(seconds(&times), [0, 1, 11, 111]);
    let (_, times) =
        attempts(|job| job.max_retries(9).backoff(Backoff::Exponential { base: S, cap: 60 * S }));
    let waits: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (n, wait) in waits.iter().enumerate() {
        assert!(*wait <= (S * 2_u32.pow(n as u32)).min(60 * S), "{waits:?}");
    }
    assert!(waits.iter().any(|wait| wait.subsec_nanos() != 0), "full jitter: {waits:?}");
}

#[test]
fn retry_for_bounds_by_time_instead_of_count() {
    let (world, times) =
        attempts(|job| job.retry_for(60 * S).max_retries(1).backoff(Backoff::Constant(25 * S)));
    assert_eq!(seconds(&times), [0, 25, 50, 75], "75 is past 60");
    assert_eq!(world.dead().len(), 1);
}

#[test]
fn retry_0_goes_straight_to_the_dead_set() {
    let (world, times) = attempts(|job| job.max_retries(0));
    assert_eq!((times.len(), world.dead().len()), (1, 1));
}

/// Makes a world whose hooks record their calls.
fn heard(
    options: impl for<'p> Fn(HandlerOptions<'p>) -> HandlerOptions<'p> + 'static,
) -> (World, super::Log) {
    let world = World::fake();
    let log = log(&world);
    worker(&world, &log, move |p, log| {
        let noted = [log.clone(), log.clone(), log.clone()];
        let [errors, deaths, exhausted] = noted;
        p.on_error(move |failed| {
            errors.update(|log| log.push(format!("error {} after {}", failed.error, failed.job.failures)));
        });
        p.on_death(move |job| {
            deaths.update(|log| log.push(format!("death of {} in state {:?}", job.number, job.state)));
        });
        options(p.handle(async |job: u32| Err::<(), _>(format!("e{job}"))).on_exhausted(move |job| {
            exhausted.update(|log| log.push(format!("exhausted {}", job.failures)));
        }));
    });
    world.enqueue(1_u32);
    world.settle().run();
    (world, log)
}

#[test]
fn exhausted_the_hook_then_the_dead_set_then_every_death_handler_and_error_handlers_for_each_failure() {
    let (world, log) = heard(|job| job.max_retries(1));
    let expected = ["error e1 after 0", "error e1 after 1", "exhausted 2", "death of 1 in state Dead"];
    assert_eq!(log.get(), expected);
    assert_eq!(world.dead().len(), 1);
}

#[test]
fn retry_off_is_neither_retried_nor_dead_and_death_handlers_run() {
    let (world, log) = heard(|job| job.discard_on_failure());
    assert_eq!(log.get(), ["error e1 after 0", "death of 1 in state Discarded"]);
    assert!(world.dead().is_empty() && world.retries().is_empty());
}

#[test]
fn a_hook_may_return_a_delay_discard_or_kill() {
    let decided = |decision: Decision| heard(move |job| job.max_retries(1).decide(move |_| decision));
    let (world, log) = decided(Decision::Discard);
    assert_eq!(log.get(), ["error e1 after 0"]);
    assert_eq!((world.all_jobs()[0].state, world.dead().len()), (JobState::Discarded, 0));

    let (world, log) = decided(Decision::Kill);
    assert_eq!(log.get(), ["error e1 after 0", "death of 1 in state Dead"]);
    assert_eq!(world.dead().len(), 1);

    let (world, log) = decided(Decision::RetryAfter(3 * S));
    assert_eq!((world.now(), log.get().len(), world.dead().len()), (3 * S, 4, 1));
}

#[test]
fn a_decision_is_made_by_the_error_itself() {
    let report =
        Explore::new().name("test").deviations(1).crashes(0).deliveries(0).run(async |world: &World| {
            let waited = world.durable("waited", Vec::new());
            world.ignore("waited", "$");
            world.process("worker", {
                let waited = waited.clone();
                move |p| {
                    let (payments, waited) = (p.payments(), waited.clone());
                    p.handle(async move |id: u32| {
                        payments.charge(Charge::of_order(id, 5).key("k")).await.map(drop)
                    })
                    .decide(move |failed| match failed.downcast_ref() {
                        Some(ServiceError::Throttled { retry_after, .. }) => {
                            waited.update(|waited| waited.push(*retry_after));
                            Decision::RetryAfter(*retry_after)
                        }
                        _ => Decision::Retry,
                    });
                }
            });
            world.enqueue(1_u32);
            world.settle().await;
            for wait in waited.get() {
                assert_eq!((wait, world.now()), (30 * S, 30 * S));
            }
        });
    assert!(report.is_retryproof(), "{report}");
}

#[test]
fn a_hook_that_panics_is_told_of_and_the_job_is_tried_again() {
    let (world, _) = heard(|job| job.max_retries(0).decide(|_| panic!("no idea")));
    assert_eq!(world.dead()[0].error.as_deref(), Some("e1; its `decide` panicked: no idea"));
}

#[test]
fn the_dead_set_holds_10_000_jobs() {
    let world = World::fake();
    world.process("worker", |p| _ = p.handle(async |_: u32| Err::<(), _>("no")).max_retries(0));
    world.enqueue_bulk(0..10_003_u32);
    world.settle().run();
    let dead = world.dead();
    assert_eq!((dead.len(), dead[0].number, world.stats().dead), (10_000, 4, 10_000));
    assert_eq!(world.all_jobs()[0].state, JobState::Forgotten);
}

#[test]
fn the_dead_set_holds_jobs_for_180_days() {
    let world = World::fake();
    world.process("worker", |p| _ = p.handle(async |_: u32| Err::<(), _>("no")).max_retries(0));
    world.enqueue(1_u32);
    world.enqueue_in(180 * DAY, 2_u32);
    world.settle().run();
    assert_eq!(numbers(&world.dead()), [1, 2]);
    world.enqueue_in(S, 3_u32);
    world.settle().run();
    assert_eq!(numbers(&world.dead()), [2, 3]);
}

#[test]
fn a_dead_job_is_retried_by_hand() {
    let world = World::fake();
    let mended = world.durable("mended", false);
    world.process("worker", {
        let mended = mended.clone();
        move |p| {
            let mended = mended.clone();
            p.handle(async move |_: u32| if mended.get() { Ok(()) } else { Err("broken") }).max_retries(0);
        }
    });
    world.enqueue(1_u32);
    world.settle().run();
    world.retry_dead(1);
    assert!(world.dead().is_empty());
    world.settle().run();
    assert_eq!(numbers(&world.dead()), [1], "it keeps its failures");
    mended.set(true);
    world.retry_dead(1);
    world.settle().run();
    assert_eq!(world.all_jobs()[0].state, JobState::Done);
    let message = super::panic_of(|| world.retry_dead(1));
    assert_eq!(message, "job#1 is not in the dead set, which holds: []");
}

#[test]
fn a_never_ending_outage_ends_in_the_dead_set() {
    let world = World::fake();
    world.process("worker", |p| _ = p.handle(async |_: u32| Err::<(), _>("503")));
    world.enqueue_bulk(0..50_u32);
    world.settle().run();
    assert_eq!((world.dead().len(), world.stats().failed), (50, 50 * 26));
}

/// Explores a job that dies, with `hear` as its death handlers.
fn dying(hear: fn()) -> retryproof::Report {
    Explore::new().name("test").deviations(1).run(async move |world: &World| {
        let tries = world.durable("tries", 0_u32);
        world.ignore("tries", "$");
        world.process("worker", move |p| {
            let tries = tries.clone();
            p.on_death(move |_| hear());
            p.handle(async move |job: u32| {
                tries.update(|tries| *tries += 1);
                if job == 1 { Err("no") } else { Ok(()) }
            })
            .max_retries(0);
        });
        world.enqueue(1_u32);
        world.enqueue(2_u32);
        world.settle().await;
    })
}

#[test]
fn accounted_death_handlers_heard_of_a_dead_job_exactly_once() {
    let report = dying(|| ());
    assert!(report.is_retryproof(), "{report}");
    let report = dying(|| panic!("nobody hears"));
    let violation = &report.violations()[0];
    assert_eq!(violation.oracle, Oracle::Accounted, "{report}");
    assert_eq!(
        violation.summary,
        "job `u32` died once, but its death handlers never completed: one of them panicked, or its process crashed"
    );
}
