//! Fake and inline worlds in ordinary tests, with and without the user's own runtime.

use std::time::Duration;

use retryproof::World;
use retryproof::job::EnqueueError;

use super::{Mail, S, log, noting, panic_of, worker};

/// Adds handlers that use all of tokio: timers, tasks, and blocking tasks.
fn with_tokio(world: &World, log: &super::Log) {
    worker(world, log, |p, log| {
        let log = log.clone();
        p.handle(async move |job: u32| {
            tokio::time::sleep(Duration::from_secs(60)).await;
            let spawned = tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(30)).await;
                job + 1
            });
            let noted = spawned.await.unwrap();
            log.update(|log| log.push(noted.to_string()));
        });
    });
}

#[test]
fn a_fake_world_in_a_plain_test() {
    let world = World::fake();
    let log = log(&world);
    with_tokio(&world, &log);
    world.enqueue(1_u32);
    assert!(log.get().is_empty(), "it waits in the queue");
    world.drain_all().run().unwrap();
    assert_eq!((log.get(), world.now()), (vec!["2".to_owned()], 90 * S));
}

#[tokio::test]
async fn a_fake_world_in_a_tokio_test() {
    let world = World::fake();
    let log = log(&world);
    with_tokio(&world, &log);
    world.enqueue_bulk([1_u32, 5]);
    world.drain_all().limit(1).await.unwrap();
    assert_eq!((log.get(), world.now()), (vec!["2".to_owned()], 90 * S));
    world.settle().await;
    assert_eq!((log.get().len(), world.now()), (2, 180 * S));
    // The user's own runtime continues as before.
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(tokio::spawn(async { 7 }).await.unwrap(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fake_world_in_a_tokio_test_with_threads() {
    let world = World::fake();
    let log = log(&world);
    with_tokio(&world, &log);
    world.enqueue(1_u32);
    world.settle().await;
    assert_eq!((log.get(), world.now()), (vec!["2".to_owned()], 90 * S));
}

#[test]
fn an_inline_world_in_a_plain_test() {
    let world = World::inline();
    let log = log(&world);
    with_tokio(&world, &log);
    world.enqueue(1_u32);
    assert_eq!(log.get(), ["2"]);
    assert_eq!(world.stats().processed, 1);
}

#[tokio::test]
async fn an_inline_world_in_a_tokio_test() {
    let world = World::inline();
    let log = log(&world);
    with_tokio(&world, &log);
    world.enqueue(1_u32);
    assert_eq!(log.get(), ["2"]);
}

/// Adds a worker whose `u32` enqueues a `Mail` and records the time.
fn chained(world: &World, log: &super::Log) {
    worker(world, log, |p, log| {
        let (queue, noted) = (p.queue(), log.clone());
        p.handle(async move |job: u32| {
            noted.update(|log| log.push(format!("before {job}")));
            let enqueued = queue.enqueue(Mail { to: job }).await;
            noted.update(|log| log.push(format!("after {job}")));
            enqueued.map(drop)
        });
        let noted = log.clone();
        p.handle(async move |mail: Mail| {
            noted.update(|log| log.push(format!("mail {}", mail.to)));
            if mail.to == 13 { Err("unlucky") } else { Ok(()) }
        });
    });
}

#[test]
fn inline_runs_where_it_is_enqueued_also_when_a_job_enqueues() {
    let world = World::inline();
    let log = log(&world);
    chained(&world, &log);
    world.enqueue(1_u32);
    assert_eq!(log.get(), ["before 1", "mail 1", "after 1"]);
    // The same jobs in a fake world run one after the other.
    let world = World::fake();
    let log = super::log(&world);
    chained(&world, &log);
    world.enqueue(1_u32);
    world.drain_all().run().unwrap();
    assert_eq!(log.get(), ["before 1", "after 1", "mail 1"]);
}

#[test]
fn inline_gives_the_error_to_whoever_enqueued() {
    let world = World::inline();
    let log = log(&world);
    chained(&world, &log);
    let message = panic_of(|| _ = world.enqueue(13_u32));
    assert_eq!(
        message,
        "a job that ran where it was enqueued failed: job#1 u32 failed: job#2 it::executor::Mail, run where it was enqueued, \
         failed: unlucky"
    );
    assert_eq!(log.get(), ["before 13", "mail 13", "after 13"]);
    assert!(world.retries().is_empty(), "nothing is tried again");
    world.enqueue(1_u32);
    assert_eq!(log.get().len(), 6, "the world goes on");
}

#[test]
fn inline_chains_take_no_stack_and_are_stopped() {
    let world = World::inline();
    world.process("worker", |p| {
        let queue = p.queue();
        p.handle(async move |left: u32| match left {
            0 => Ok(()),
            left => queue.enqueue(left - 1).await.map(drop),
        });
    });
    world.enqueue(900_u32);
    assert_eq!(world.stats().processed, 901);
    let message = panic_of(|| _ = world.enqueue(5_000_u32));
    assert_eq!(
        message,
        "a job that ran where it was enqueued failed: 1000 jobs in a row were each enqueued by the one before, and no end: \
         u32 → u32; stop the chain, or run one step of it with `drain_all().recursive(false)` or `perform_one`"
    );
    world.enqueue(3_u32);
}

#[test]
fn inline_keeps_what_is_to_run_later_for_later() {
    let world = World::inline();
    let log = log(&world);
    noting(&world, &log);
    world.enqueue_in(60 * S, 1_u32);
    assert!(log.get().is_empty());
    world.settle().run();
    assert_eq!((log.get(), world.now()), (vec!["u32 1".to_owned()], 60 * S));
}

#[test]
fn inline_runs_the_job_of_a_blocking_one_on_another_slot() {
    let world = World::inline();
    let log = log(&world);
    world.process("worker", {
        let log = log.clone();
        move |p| {
            let (queue, own) = (p.queue(), log.clone());
            p.handle_blocking(move |_: u32| {
                queue.enqueue_blocking(Mail { to: 1 }).unwrap();
                own.update(|log| log.push("enqueued".to_owned()));
            });
            let own = log.clone();
            p.handle_blocking(move |_: Mail| own.update(|log| log.push("sent".to_owned())));
        }
    });
    world.enqueue(1_u32);
    assert_eq!(log.get(), ["sent", "enqueued"]);
}

#[test]
fn inline_says_that_code_on_no_slot_cannot_wait_for_a_job() {
    let world = World::inline();
    let seen = world.durable("seen", None);
    world.process("worker", {
        let seen = seen.clone();
        move |p| {
            let (queue, seen) = (p.queue(), seen.clone());
            p.handle(async move |_: u32| {
                let queue = queue.clone();
                let blocks = tokio::task::spawn_blocking(move || queue.enqueue_blocking(Mail { to: 1 }));
                seen.set(blocks.await.unwrap().err().map(|error| error.to_string()))
            });
        }
    });
    world.enqueue(1_u32);
    let error = EnqueueError::InlineBlocking { kind: "it::executor::Mail".to_owned() };
    assert_eq!(seen.get(), Some(error.to_string()));
    assert_eq!(
        error.to_string(),
        "it::executor::Mail cannot run where it is enqueued, because the job that enqueues it blocks; enqueue it with \
         `enqueue(…).await`, or use `World::fake()`"
    );
}

#[test]
fn worlds_are_values_and_independent() {
    let worlds: Vec<_> = (0..3).map(|_| World::fake()).collect();
    let logs: Vec<_> = worlds.iter().map(log).collect();
    worlds.iter().zip(&logs).for_each(|(world, log)| noting(world, log));
    worlds[1].enqueue(1_u32);
    worlds[2].enqueue(2_u32);
    worlds[2].drain_all().run().unwrap();
    assert_eq!(logs.iter().map(|log| log.get().len()).collect::<Vec<_>>(), [0, 0, 1]);
    // And in parallel, each on its own thread.
    std::thread::scope(|scope| {
        for job in 0..4_u32 {
            scope.spawn(move || {
                let world = World::fake();
                let log = log(&world);
                noting(&world, &log);
                world.enqueue(job);
                world.drain_all().run().unwrap();
                assert_eq!(log.get(), [format!("u32 {job}")]);
            });
        }
    });
}

#[test]
fn the_same_executor_inside_check() {
    let report = retryproof::Explore::new().name("test").deviations(1).run(async |world: &World| {
        let log = log(world);
        worker(world, &log, |p, log| {
            let log = log.clone();
            p.handle(async move |job: u32| log.update(|log| log.push(job.to_string()))).queue("high");
            p.queues(["high"]);
        });
        world.ignore("log", "$");
        world.enqueue(1_u32);
        world.assert_enqueued::<u32>(|&job| job == 1);
        assert!(world.settle_until(|world| world.stats().processed > 0).await);
        world.settle().await;
    });
    assert!(report.is_retryproof(), "{report}");
}
