//! Row by row: where Sidekiq's executor is not good enough.

use retryproof::job::DrainError;
use retryproof::report::Stuck;
use retryproof::{Conflict, Decision, Explore, Unique, Verdict, World};

use super::{DAY, Mail, S, log, noting, panic_of, worker};

#[test]
fn drain_all_keeps_the_order_of_the_queue() {
    let world = World::fake();
    let log = log(&world);
    noting(&world, &log);
    world.enqueue(1_u32);
    world.enqueue(Mail { to: 2 });
    world.enqueue(3_u32);
    world.drain_all().run().unwrap();
    assert_eq!(log.get(), ["u32 1", "Mail 2", "u32 3"]);
}

/// Registers two kinds of jobs that enqueue each other forever.
fn ping_pong(world: &World) {
    world.process("worker", |p| {
        let queue = p.queue();
        p.handle(async move |job: u32| queue.enqueue(Mail { to: job + 1 }).await.map(drop));
        let queue = p.queue();
        p.handle(async move |mail: Mail| queue.enqueue(mail.to + 1).await.map(drop));
    });
}

#[test]
fn a_job_that_enqueues_itself_for_ever_is_stopped_with_an_error_that_names_the_cycle() {
    let world = World::fake();
    ping_pong(&world);
    world.enqueue(1_u32);
    let error = world.drain_all().run().unwrap_err();
    let cycle = ["u32", "it::executor::Mail", "u32"].map(str::to_owned).to_vec();
    assert_eq!(error, DrainError::Stuck(Stuck::Endless { depth: 1_000, cycle }));
    assert_eq!(
        error.to_string(),
        "1000 jobs in a row were each enqueued by the one before, and no end: u32 → it::executor::Mail → u32; stop the \
         chain, or run one step of it with `drain_all().recursive(false)` or `perform_one`"
    );
    let world = World::fake();
    ping_pong(&world);
    world.enqueue(1_u32);
    let message = panic_of(|| world.settle().run());
    assert_eq!(message, format!("the world is stuck: {error}"));
}

/// Registers jobs that each enqueue `children` jobs of their own kind, by way of a mail.
fn growing(world: &World, children: u32) {
    world.process("worker", move |p| {
        let queue = p.queue();
        p.handle(async move |job: u32| {
            for _ in 0..children {
                queue.enqueue(Mail { to: job }).await.unwrap();
            }
        });
        let queue = p.queue();
        p.handle(async move |mail: Mail| queue.enqueue(mail.to + 1).await.map(drop));
    });
    world.enqueue(1_u32);
}

#[test]
fn jobs_that_enqueue_two_of_themselves_for_ever_are_stopped_with_an_error_that_names_the_cycle() {
    // At a depth of 1,000, the second case would have 2⁵⁰⁰ jobs.
    for children in [2, 10] {
        let world = World::fake();
        growing(&world, children);
        let error = world.drain_all().run().unwrap_err();
        let cycle = ["it::executor::Mail", "u32", "it::executor::Mail"].map(str::to_owned).to_vec();
        assert_eq!(error, DrainError::Stuck(Stuck::Growing { root: 1, size: 10_001, cycle }));
        assert_eq!(
            error.to_string(),
            "10001 jobs descend from job#1, each below one of its own kind, and no end: it::executor::Mail → u32 → \
             it::executor::Mail; stop the growth, or run a part of it with `drain_all().limit(…)` or `perform_one`"
        );
        assert!(world.all_jobs().len() < 25_000);
    }
    // Under `check`, each run must be short.
    let report = Explore::new().name("test").deviations(0).run(async |world: &World| {
        growing(world, 2);
        world.settle().await;
    });
    let reason = report.reason().unwrap_or_default();
    assert!(reason.starts_with("1001 jobs descend from job#1, each below one of its own kind"), "{reason}");
    // Many jobs that enqueue many jobs of other kinds are not endless growth.
    let world = World::fake();
    world.process("worker", |p| {
        let queue = p.queue();
        p.handle(async move |_: u32| {
            for to in 0..200 {
                queue.enqueue(Mail { to }).await.unwrap();
            }
        });
        p.handle(async |_: Mail| ());
    });
    world.enqueue_bulk(0..100_u32);
    assert_eq!(world.drain_all().run().unwrap().succeeded, 100 + 20_000);
}

#[test]
fn a_job_that_snoozes_for_ever_is_stopped_and_named() {
    let snoozing = |p: &retryproof::Process| {
        p.handle(async |_: u32| Err::<(), _>("not yet")).decide(|_| Decision::Snooze(S));
    };
    let reason = "job#1 u32 was put back 1000 times, and no end: its `decide` decided so, the last time for 1s; let \
                  it end, fail, or be discarded eventually";
    let world = World::fake();
    world.process("worker", snoozing);
    world.enqueue(1_u32);
    assert_eq!(panic_of(|| world.settle().run()), format!("the world is stuck: {reason}"));
    let world = World::fake();
    world.process("worker", snoozing);
    world.enqueue(1_u32);
    assert_eq!(world.drain_all().until(DAY).run().unwrap_err().to_string(), reason);
    let report = Explore::new().name("test").deviations(0).run(async |world: &World| {
        world.process("worker", snoozing);
        world.enqueue(1_u32);
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::Stuck);
    assert!(report.reason().unwrap_or_default().starts_with(reason), "{:?}", report.reason());
}

#[test]
fn a_job_that_a_lock_keeps_out_for_ever_is_stopped_and_named() {
    let world = World::fake();
    world.process("worker", |p| {
        let unique = Unique::while_executing(|job: &u32| Some(*job));
        p.handle(async |_: u32| ()).unique(unique.when_busy(Conflict::Reschedule(S)));
    });
    world.put_lock::<u32>(7, Some("an older version"), None);
    world.enqueue(7_u32);
    assert_eq!(
        panic_of(|| world.settle().run()),
        "the world is stuck: job#1 u32 was put back 1000 times, and no end: a u32 holds the lock 7 already: an owner \
         outside of this world; it never expires; let it end, fail, or be discarded eventually"
    );
}

#[test]
fn a_step_of_an_endless_chain_can_be_run() {
    let world = World::fake();
    ping_pong(&world);
    world.enqueue(1_u32);
    assert_eq!(world.drain_all().recursive(false).run().unwrap().performed, 1);
    world.perform_one::<Mail>().unwrap();
    assert_eq!(world.all_enqueued::<u32>(), [3]);
}

#[test]
fn a_job_that_waits_for_ever_is_stopped() {
    let world = World::fake();
    world.process("worker", |p| {
        p.handle(async |_: u32| std::future::pending::<()>().await);
    });
    world.enqueue(1_u32);
    let error = world.drain_all().run().unwrap_err();
    let waits = "deadlock: nothing can go on and no timer is set; job#1.1 u32 waits; it called last at tests/it/executor/";
    assert!(error.to_string().starts_with(waits), "{error}");
    assert_eq!(world.drain_all().run().unwrap().performed, 0, "it is popped, and the world goes on");
}

#[test]
fn clearing_one_kind_leaves_others_on_its_queue() {
    let world = World::fake();
    world.enqueue_bulk([1_u32, 2]);
    world.enqueue(Mail { to: 3 });
    world.enqueue_in(DAY, 4_u32);
    world.enqueue_in(DAY, Mail { to: 5 });
    assert_eq!(world.clear::<u32>(), 3);
    assert!(world.jobs::<u32>().is_empty());
    assert_eq!(world.all_enqueued::<Mail>(), [Mail { to: 3 }, Mail { to: 5 }]);
}

#[test]
fn scheduled_jobs_run_when_due_and_a_test_can_advance_the_clock() {
    let world = World::fake();
    let log = log(&world);
    noting(&world, &log);
    world.enqueue_in(2 * DAY, 2_u32);
    world.enqueue_in(DAY, 1_u32);
    assert_eq!(world.drain_all().run().unwrap().performed, 0);
    world.advance(DAY);
    assert_eq!(world.drain_all().run().unwrap().performed, 1);
    assert_eq!(log.get(), ["u32 1"]);
    world.settle().run();
    assert_eq!((world.now(), log.get().len()), (2 * DAY, 2));
}

#[test]
fn drains_say_what_came_of_them() {
    use retryproof::Decision;
    let world = World::fake();
    world.process("worker", |p| {
        p.handle(async |job: u32| if job == 0 { Ok(()) } else { Err(job) }).decide(|failed| {
            match failed.downcast_ref::<u32>() {
                Some(1) => Decision::Discard,
                Some(2) => Decision::Kill,
                Some(3) => Decision::Snooze(S),
                _ => Decision::Retry,
            }
        });
    });
    world.enqueue_bulk([0_u32, 1, 2, 3, 4, 0]);
    let drained = world.drain_all().keep_going().run().unwrap();
    assert_eq!((drained.performed, drained.succeeded, drained.failed), (6, 2, 1));
    assert_eq!((drained.discarded, drained.dead, drained.snoozed), (1, 1, 1));
    assert_eq!(world.scheduled()[0].failures, 0, "to be put back is no failure");
    world.clear_all();
    world.enqueue_bulk([1_u32, 2, 4, 0]);
    assert_eq!(world.drain_all().run().unwrap_err().to_string(), "job#9 u32 failed: 4");
}

#[test]
fn drains_have_a_limit_a_time_and_may_leave_what_jobs_enqueue() {
    let world = World::fake();
    let log = log(&world);
    worker(&world, &log, |p, log| {
        let (queue, log) = (p.queue(), log.clone());
        p.handle(async move |job: u32| {
            log.update(|log| log.push(job.to_string()));
            if job < 10 { queue.enqueue(job + 10).await.map(drop) } else { Ok(()) }
        });
    });
    world.enqueue_bulk([1_u32, 2, 3]);
    world.enqueue_in(5 * S, 4_u32);
    world.enqueue_in(50 * S, 5_u32);
    assert_eq!(world.drain_all().limit(2).run().unwrap().performed, 2);
    assert_eq!(world.drain_all().recursive(false).run().unwrap().performed, 3);
    assert_eq!(log.get(), ["1", "2", "3", "11", "12"]);
    assert_eq!(world.all_enqueued::<u32>(), [4, 5, 13]);
    assert_eq!(world.drain_all().until(20 * S).run().unwrap().performed, 3);
    assert_eq!(
        (log.get()[5..].to_vec(), world.now()),
        (["13", "4", "14"].map(str::to_owned).to_vec(), 5 * S)
    );
    assert_eq!(world.all_enqueued::<u32>(), [5]);
}

#[test]
fn assertions_on_the_queue_list_what_was_there() {
    let world = World::fake();
    assert_eq!(panic_of(|| world.assert_enqueued::<u32>(|_| true)), "no waiting u32 matches; nothing waits");
    world.enqueue(Mail { to: 7 });
    world.enqueue_in(60 * S, 3_u32);
    world.assert_enqueued::<Mail>(|mail| mail.to == 7);
    world.refute_enqueued::<Mail>(|mail| mail.to == 8);
    let there = "2 wait:\n  job#1 Mail {\"to\":7}\n  job#2 u32 3, due t+60s";
    assert_eq!(
        panic_of(|| world.assert_enqueued::<u32>(|&job| job == 4)),
        format!("no waiting u32 matches; {there}")
    );
    assert_eq!(
        panic_of(|| world.refute_enqueued::<Mail>(|mail| mail.to == 7)),
        format!("1 waiting it::executor::Mail should not exist; {there}")
    );
    world.enqueue_raw("it::executor::Mail", "{}");
    assert_eq!(
        panic_of(|| drop(world.all_enqueued::<Mail>())),
        format!(
            "job#3 it::executor::Mail does not decode: missing field `to` at line 1 column 2; {}\n  job#3 Mail {{}}",
            there.replace("2 wait", "3 wait")
        )
    );
}
