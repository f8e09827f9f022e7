//! Row by row: what is the same as in Sidekiq.

use retryproof::job::{DrainError, JobState};
use retryproof::{Delivery, World};

use super::{Mail, S, log, noting, numbers, worker};

#[test]
fn fake_mode_a_job_goes_to_a_queue_that_can_be_looked_at_and_changed() {
    let world = World::fake();
    world.enqueue(Mail { to: 1 });
    world.enqueue(2_u32);
    let jobs = world.jobs::<Mail>();
    assert_eq!((numbers(&jobs), &*jobs[0].payload, jobs[0].state), (vec![1], r#"{"to":1}"#, JobState::Ready));
    assert_eq!(world.clear::<Mail>(), 1);
    assert_eq!((world.jobs::<Mail>().len(), world.jobs::<u32>().len()), (0, 1));
    assert_eq!(world.clear_all(), 1);
    assert!(world.jobs::<u32>().is_empty());
}

#[test]
fn arguments_go_through_json_in_both_modes() {
    /// A payload that loses in JSON what JSON cannot represent.
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Lossy {
        kept: u32,
        #[serde(skip)]
        lost: u32,
    }
    for world in [World::fake(), World::inline()] {
        let seen = world.durable("seen", (0, 0));
        world.process("worker", {
            let seen = seen.clone();
            move |p| {
                let seen = seen.clone();
                p.handle(async move |job: Lossy| seen.set((job.kept, job.lost)));
            }
        });
        world.enqueue(Lossy { kept: 5, lost: 7 });
        world.drain_all().run().unwrap();
        assert_eq!(seen.get(), (5, 0));
    }
}

/// Registers a `u32` that enqueues the number below it, and a `Mail`.
fn enqueuing(world: &World, log: &super::Log) {
    worker(world, log, |p, log| {
        let (queue, noted) = (p.queue(), log.clone());
        p.handle(async move |job: u32| {
            noted.update(|log| log.push(format!("u32 {job}")));
            if job > 0 {
                queue.enqueue(Mail { to: job }).await?;
                queue.enqueue(job - 1).await?;
            }
            Ok::<(), retryproof::job::EnqueueError>(())
        });
        let noted = log.clone();
        p.handle(async move |mail: Mail| noted.update(|log| log.push(format!("Mail {}", mail.to))));
    });
}

#[test]
fn drain_all_runs_what_jobs_enqueue_too() {
    let world = World::fake();
    let log = log(&world);
    enqueuing(&world, &log);
    world.enqueue(2_u32);
    let drained = world.drain_all().run().unwrap();
    assert_eq!(log.get(), ["u32 2", "Mail 2", "u32 1", "Mail 1", "u32 0"]);
    assert_eq!((drained.performed, drained.succeeded), (5, 5));
}

#[test]
fn drain_of_a_kind_runs_that_kind_alone_including_those_it_enqueues() {
    let world = World::fake();
    let log = log(&world);
    enqueuing(&world, &log);
    world.enqueue(Mail { to: 9 });
    world.enqueue(2_u32);
    assert_eq!(world.drain::<u32>().run().unwrap().performed, 3);
    assert_eq!(log.get(), ["u32 2", "u32 1", "u32 0"]);
    assert_eq!(world.all_enqueued::<Mail>(), [9, 2, 1].map(|to| Mail { to }));
}

#[test]
fn a_job_that_fails_in_a_drain_is_popped_its_error_comes_back_and_the_jobs_behind_it_stay() {
    let world = World::fake();
    let log = log(&world);
    noting(&world, &log);
    world.enqueue_bulk([1_u32, 13, 2]);
    assert_eq!(world.drain_all().run().unwrap_err().to_string(), "job#2 u32 failed: unlucky");
    assert_eq!(world.all_enqueued::<u32>(), [2]);
    assert_eq!(world.all_jobs()[1].state, JobState::Popped);
    assert!(world.retries().is_empty() && world.dead().is_empty());
    assert_eq!(world.drain_all().run().unwrap().performed, 1);
}

#[test]
fn perform_one_on_an_empty_queue_is_an_error_of_its_own() {
    let world = World::fake();
    let log = log(&world);
    noting(&world, &log);
    world.enqueue(Mail { to: 1 });
    world.enqueue_bulk([1_u32, 2]);
    world.perform_one::<u32>().unwrap();
    assert_eq!(log.get(), ["u32 1"]);
    world.perform_one::<u32>().unwrap();
    let error = world.perform_one::<u32>().unwrap_err();
    assert_eq!(error, DrainError::EmptyQueue { what: "u32".to_owned(), ready: 1 });
    assert_eq!(error.to_string(), "no u32 is ready to run; ready jobs of other kinds: 1");
    world.clear_all();
    let error = world.perform_one::<u32>().unwrap_err();
    assert_eq!(error.to_string(), "no u32 is ready to run; the queue is empty");
}

#[test]
fn delays_put_a_job_into_the_scheduled_set_and_a_time_in_the_past_means_now() {
    let world = World::fake();
    world.advance(100 * S);
    world.enqueue_in(5 * S, 1_u32);
    world.enqueue_at(160 * S, 2_u32);
    world.enqueue_at(40 * S, 3_u32);
    let due: Vec<_> = world.scheduled().iter().map(|job| (job.number, job.due)).collect();
    assert_eq!(due, [(1, Some(105 * S)), (2, Some(160 * S))]);
    let third = &world.jobs::<u32>()[2];
    assert_eq!((third.state, third.due), (JobState::Ready, None));
}

#[test]
fn bulk_ids_come_back_in_order() {
    let (world, one_by_one) = (World::fake(), World::fake());
    let ids = world.enqueue_bulk(0..2_500_u32);
    let expected: Vec<_> = (0..2_500_u32).map(|job| one_by_one.enqueue(job)).collect();
    assert_eq!(ids, expected);
    assert_eq!(world.all_enqueued::<u32>(), (0..2_500).collect::<Vec<_>>());
}

#[test]
fn slots_bound_how_many_jobs_run_at_once() {
    for (slots, seconds) in [(1, 60), (3, 20), (5, 20), (6, 10)] {
        let world = World::fake();
        world.process("worker", move |p| {
            let clock = p.clock();
            p.slots(slots);
            p.handle(async move |_: u32| clock.sleep(10 * S).await);
        });
        world.enqueue_bulk(0..6_u32);
        assert!(world.settle_until(|world| world.stats().busy == slots.min(6)).run());
        world.settle().run();
        assert_eq!(world.now(), seconds * S, "{slots} slots");
    }
}

#[test]
fn stats_count_everything() {
    let world = World::fake();
    world.process("worker", |p| {
        let clock = p.clock();
        p.slots(2);
        p.handle(async move |job: u32| {
            clock.sleep(10 * S).await;
            if job == 0 { Err("zero") } else { Ok(()) }
        })
        .max_retries(0);
        p.handle(async |_: Mail| Err::<(), _>("never")).queue("mails");
    });
    world.enqueue_bulk([0_u32, 1, 2]);
    world.enqueue_in(1_000 * S, 4_u32);
    world.advance(3 * S);
    let stats = world.stats();
    assert_eq!((stats.enqueued, stats.scheduled, stats.busy, stats.slots), (3, 1, 0, 2));
    assert_eq!(stats.latency.into_iter().collect::<Vec<_>>(), [("default".into(), 3 * S)]);
    assert!(world.settle_until(|world| world.stats().processed == 2).run());
    let stats = world.stats();
    assert_eq!((stats.processed, stats.failed, stats.dead, stats.enqueued), (2, 1, 1, 1));
    // Three seconds idle, then ten with both slots busy.
    assert!((stats.utilisation - 20.0 / 26.0).abs() < 1e-9, "{stats:?}");
    world.enqueue(Mail { to: 1 });
    assert!(world.settle_until(|world| world.stats().retries == 1).run());
    assert_eq!(world.stats().failed, 2);
}

#[test]
fn at_least_once_comes_again_when_the_lease_ends_and_at_most_once_is_gone() {
    for (delivery, end) in [(Delivery::AtLeastOnce, JobState::Done), (Delivery::AtMostOnce, JobState::Lost)] {
        let world = World::fake();
        world.process("worker", move |p| {
            let clock = p.clock();
            p.handle(async move |_: u32| clock.sleep(10 * S).await).delivery(delivery);
        });
        world.enqueue(1_u32);
        assert!(world.settle_until(|world| world.stats().busy == 1).run());
        world.crash("worker");
        assert_eq!(world.stats().leased, usize::from(delivery == Delivery::AtLeastOnce));
        world.settle().run();
        let job = &world.all_jobs()[0];
        assert_eq!((job.state, job.failures), (end, 0), "a crash uses up no retry");
        // The lease of 60 seconds and the ten seconds of the job, or the second during which the process is down.
        assert_eq!(world.now(), if end == JobState::Done { 70 * S } else { S });
    }
}
