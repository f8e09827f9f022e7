//! For any sequence of operations: no job is lost or invented, the counts add up, and the order is kept.

use std::collections::BTreeMap;

use proptest::prelude::*;
use retryproof::World;
use retryproof::job::JobState;

use crate::support::{Log, S, log, worker};

/// A second kind of job, beside `u32`.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Mail {
    to: u32,
}

/// An operation of a test on a world.
#[derive(Clone, Debug)]
pub(crate) enum Do {
    Enqueue,
    EnqueueIn(u8),
    Mail,
    Bulk(u8),
    DrainAll,
    DrainMails,
    Perform,
    Clear,
    ClearMails,
    Advance(u8),
    Crash,
    /// Runs as in production, until this number of attempts has ended.
    Work(u8),
}

pub(crate) fn anything() -> impl Strategy<Value = Do> {
    prop_oneof![
        Just(Do::Enqueue),
        any::<u8>().prop_map(Do::EnqueueIn),
        Just(Do::Mail),
        (0..5_u8).prop_map(Do::Bulk),
        Just(Do::DrainAll),
        Just(Do::DrainMails),
        Just(Do::Perform),
        Just(Do::Clear),
        Just(Do::ClearMails),
        any::<u8>().prop_map(Do::Advance),
        Just(Do::Crash),
        (1..6_u8).prop_map(Do::Work),
    ]
}

/// Makes a world whose jobs take a second. Every third `u32` fails, and every fifth enqueues a mail.
fn world(queues: u8) -> (World, Log) {
    let world = World::fake();
    let log = log(&world);
    worker(&world, &log, move |p, log| {
        match queues {
            0 => {}
            1 => _ = p.queues(["default", "mails"]),
            _ => _ = p.weighted_queues([("default", 1), ("mails", 2)]),
        }
        p.slots(2);
        let (clock, queue, noted) = (p.clock(), p.queue(), log.clone());
        p.handle(async move |job: u32| {
            noted.update(|log| log.push(format!("u32 {job}")));
            clock.sleep(S).await;
            if job % 5 == 0 {
                queue.enqueue(Mail { to: job }).await.map_err(|error| error.to_string())?;
            }
            if job % 3 == 0 { Err("third".to_owned()) } else { Ok(()) }
        })
        .max_retries(2);
        let noted = log.clone();
        p.handle(async move |mail: Mail| noted.update(|log| log.push(format!("Mail {}", mail.to))))
            .queue("mails");
    });
    (world, log)
}

/// Performs one operation. Returns how many jobs it enqueued itself.
fn act(world: &World, act: &Do, next: u32) -> u32 {
    match *act {
        Do::Enqueue => _ = world.enqueue(next),
        Do::EnqueueIn(delay) => _ = world.enqueue_in(S * u32::from(delay), next),
        Do::Mail => _ = world.enqueue(Mail { to: next }),
        Do::Bulk(jobs) => _ = world.enqueue_bulk((0..u32::from(jobs)).map(|job| next + job)),
        Do::DrainAll => drop(world.drain_all().run()),
        Do::DrainMails => drop(world.drain::<Mail>().run()),
        Do::Perform => drop(world.perform_one::<u32>()),
        Do::Clear => _ = world.clear::<u32>(),
        Do::ClearMails => _ = world.clear::<Mail>(),
        Do::Advance(seconds) => world.advance(S * u32::from(seconds)),
        Do::Crash => world.crash("worker"),
        Do::Work(attempts) => {
            let enough = world.stats().processed + u64::from(attempts);
            world.settle_until(|world| world.stats().processed >= enough).run();
        }
    }
    match *act {
        Do::Enqueue | Do::EnqueueIn(..) | Do::Mail => 1,
        Do::Bulk(jobs) => u32::from(jobs),
        _ => 0,
    }
}

/// Counts the jobs in each state.
pub(crate) fn census(world: &World) -> BTreeMap<JobState, usize> {
    let mut census = BTreeMap::new();
    world.all_jobs().iter().for_each(|job| *census.entry(job.state).or_default() += 1);
    census
}

pub(crate) fn check_counts(world: &World) {
    let (census, stats) = (census(world), world.stats());
    let of = |state| census.get(&state).copied().unwrap_or(0);
    assert_eq!(stats.enqueued, of(JobState::Ready));
    assert_eq!(stats.blocked, of(JobState::Blocked));
    assert_eq!(stats.scheduled, of(JobState::Scheduled));
    assert_eq!(stats.retries, of(JobState::Retrying));
    assert_eq!(stats.leased, of(JobState::Leased));
    assert_eq!(stats.busy, of(JobState::Running));
    assert_eq!(stats.dead, of(JobState::Dead));
    assert_eq!(of(JobState::Lost), 0);
    let jobs = world.all_jobs();
    assert_eq!(stats.failed, jobs.iter().map(|job| u64::from(job.failures)).sum::<u64>());
    assert_eq!(stats.processed, stats.failed + of(JobState::Done) as u64);
    assert!(jobs.iter().zip(1..).all(|(job, number)| job.number == number));
    assert!(jobs.iter().all(|job| job.failures <= job.attempts));
    assert!((0.0..=1.0).contains(&stats.utilisation));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_job_is_lost_or_invented_and_the_counts_add_up(
        queues in 0..3_u8,
        acts in prop::collection::vec(anything(), 1..40),
    ) {
        let (world, _log) = world(queues);
        let mut put = 0;
        for one in &acts {
            put += act(&world, one, put);
            let by_jobs = world.all_jobs().iter().filter(|job| job.kind.ends_with("Mail")).count();
            prop_assert!(world.all_jobs().len() >= put as usize && world.all_jobs().len() <= put as usize + by_jobs);
            check_counts(&world);
        }
        world.settle().run();
        check_counts(&world);
        let over = [JobState::Done, JobState::Dead, JobState::Popped, JobState::Cleared];
        prop_assert!(world.all_jobs().iter().all(|job| over.contains(&job.state)), "{:?}", census(&world));
    }

    #[test]
    fn the_same_acts_give_the_same_world(
        queues in 0..3_u8,
        acts in prop::collection::vec(anything(), 1..20),
    ) {
        let run = || {
            let (world, log) = world(queues);
            let mut put = 0;
            acts.iter().for_each(|one| put += act(&world, one, put));
            (log.get(), world.now(), format!("{:?}", world.all_jobs()))
        };
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn each_queue_keeps_its_order(queues in 0..3_u8, kinds in prop::collection::vec(any::<bool>(), 0..40)) {
        let (world, log) = world(queues);
        // Jobs that neither fail nor enqueue anything.
        let numbers = (1_u32..).filter(|job| job % 3 != 0 && job % 5 != 0);
        let mut expected = Vec::new();
        for (&mail, job) in kinds.iter().zip(numbers) {
            if mail { _ = world.enqueue(Mail { to: job }); } else { _ = world.enqueue(job); }
            expected.push(if mail { format!("Mail {job}") } else { format!("u32 {job}") });
        }
        world.drain_all().run().unwrap();
        let ran = log.get();
        match queues {
            0 => prop_assert_eq!(ran, expected),
            1 => {
                // A stable sort: the jobs of the first queue before those of the second.
                expected.sort_by_key(|job| job.starts_with("Mail"));
                prop_assert_eq!(ran, expected);
            }
            _ => for kind in ["u32", "Mail"] {
                let of = |jobs: &[String]| jobs.iter().filter(|job| job.starts_with(kind)).cloned().collect::<Vec<_>>();
                prop_assert_eq!(of(&ran), of(&expected));
            },
        }
    }
}
