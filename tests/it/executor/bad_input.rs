//! Bad input leads to a typed error that names the job and the field. Other jobs in the queue are not affected.

use retryproof::job::{DrainError, JobError, JobState};
use retryproof::{Explore, Unique, Verdict, World};

use super::{Mail, log, noting, panic_of};

/// Asserts that the job is dead for this reason, and that the job behind it ran.
#[track_caller]
fn assert_dead_alone(world: &World, log: &super::Log, reason: &str) {
    world.enqueue(5_u32);
    world.settle().run();
    let dead = world.dead();
    assert_eq!((dead.len(), dead[0].error.as_deref()), (1, Some(reason)));
    assert_eq!(log.get(), ["u32 5"]);
}

#[test]
fn a_payload_that_does_not_decode() {
    let world = World::fake();
    let log = log(&world);
    noting(&world, &log);
    world.enqueue_raw("it::executor::Mail", r#"{"to": "ada"}"#);
    let reason = "job#1 it::executor::Mail does not decode: invalid type: string \"ada\", expected u32 at line 1 column \
                  12; its payload is {\"to\": \"ada\"}";
    assert_dead_alone(&world, &log, reason);
    world.enqueue_raw("it::executor::Mail", "{");
    let error = world.drain_all().run().unwrap_err();
    assert_eq!(
        error.to_string(),
        "job#3 it::executor::Mail failed: job#3 it::executor::Mail does not decode: EOF while parsing an object at line 1 \
         column 1; its payload is {"
    );
}

#[test]
fn a_kind_with_no_handler() {
    let world = World::fake();
    let log = log(&world);
    noting(&world, &log);
    world.enqueue(1_u8);
    let reason = "job#1 u8 has no handler; register one with `p.handle(async |job: u8| …)` in a process, or name its \
                  kind there with `.name(\"u8\")`";
    assert_dead_alone(&world, &log, reason);
    world.enqueue(1_u8);
    let error = world.drain_all().run().unwrap_err();
    assert_eq!(error, DrainError::NotRun(JobError::NoHandler { job: 3, kind: "u8".to_owned() }));
    assert_eq!(world.all_jobs()[2].state, JobState::Dead);
}

#[test]
fn a_queue_that_no_process_serves() {
    let world = World::fake();
    let log = log(&world);
    noting(&world, &log);
    world.process("other", |p| {
        p.queues(["high"]);
        p.handle(async |_: u8| ()).queue("low");
    });
    world.enqueue(1_u8);
    let reason = "job#1 u8 lies in the queue `low`, which no process serves; add it to the `p.queues([…])` of a \
                  process that handles this kind";
    assert_dead_alone(&world, &log, reason);
}

#[test]
fn a_lock_without_an_owner() {
    let reason = |job: u32| {
        format!(
            "job#{job} u64 meets the lock 7, whose field `owner` is missing, so it may never be released; \
             delete that lock, and name an owner in each lock"
        )
    };
    for unique in
        [Unique::until_executed(|job: &u64| Some(*job)), Unique::while_executing(|job: &u64| Some(*job))]
    {
        let world = World::fake();
        let log = log(&world);
        noting(&world, &log);
        world.process("other", move |p| _ = p.handle(async |_: u64| ()).unique(unique.clone()));
        world.put_lock::<u64>(7, None, None);
        world.enqueue(7_u64);
        assert_dead_alone(&world, &log, &reason(1));
        // Once the broken lock is gone, the next job runs. A lock with an owner only keeps it out.
        world.put_lock::<u64>(7, None, Some(super::S));
        world.advance(super::S);
        let id = world.enqueue(7_u64);
        world.settle().run();
        assert_eq!(world.all_jobs()[2].state, JobState::Done, "{id}");
    }
    let message = panic_of(|| World::fake().put_lock::<u64>(7, None, None));
    assert_eq!(
        message,
        "u64 takes no lock; make it unique with `p.handle(…).unique(…)` before you insert a lock"
    );
}

#[test]
fn a_duplicate_handler_and_queues_that_make_no_sense() {
    let message = |boot: fn(&retryproof::Process)| panic_of(|| _ = World::fake().process("worker", boot));
    assert_eq!(
        message(|p| {
            p.handle(async |_: u32| ());
            p.handle(async |_: u32| ());
        }),
        "process `worker` handles u32 twice; a process has one handler for each kind of job"
    );
    assert_eq!(
        message(|p| _ = p.queues::<&'static str>([])),
        "process `worker` serves no queue; name at least one"
    );
    assert_eq!(
        message(|p| _ = p.queues(["a", "b", "a"])),
        "process `worker` serves the queue `a` twice; name each queue once"
    );
    assert_eq!(
        message(|p| _ = p.weighted_queues([("a", 0)])),
        "process `worker` gives the queue `a` the weight 0, so it would never be served; remove the \
         queue, or give it a weight of at least 1"
    );
    assert_eq!(message(|p| _ = p.slots(0)), "process `worker` needs at least one slot to run jobs in");
}

#[test]
fn a_negative_delay_cannot_be_written_and_one_past_all_time_waits_for_ever() {
    // `Duration` has no negative values, so a time in the past means now.
    let world = World::fake();
    let log = log(&world);
    noting(&world, &log);
    world.enqueue_in(std::time::Duration::MAX, 1_u32);
    world.advance(super::DAY);
    world.enqueue_in(std::time::Duration::MAX, Mail { to: 2 });
    assert_eq!(world.scheduled().len(), 2);
    assert_eq!(world.drain_all().run().unwrap().performed, 0);
}

#[test]
fn an_unknown_process_is_not_killed() {
    let world = World::fake();
    world.process("worker", |_| ());
    let message = panic_of(|| world.crash("wroker"));
    assert_eq!(message, "there is no process `wroker` to be killed; there are: [`worker`]");
}

#[test]
fn a_replay_text_that_does_not_parse() {
    let replayed = |text: &str| {
        let report = Explore::new().name("test").replay(text).run(async |_: &World| ());
        assert_eq!(report.verdict(), Verdict::Incomplete, "{report}");
        report.reason().expect("a reason").to_owned()
    };
    assert_eq!(
        replayed("test job#1.1:end"),
        "the scenario to replay cannot be read: `job#1.1:end` (word 2 of the scenario) is not `choice=option`, as in \
         `job#1.1:end=crash`; paste the whole line that the report prints"
    );
    assert_eq!(
        replayed("test job#1.1:end=crash job#2.1:end~first=crash"),
        "the scenario to replay cannot be read: `job#2.1:end~first=crash` (word 3 of the scenario): what follows `~` \
         counts meetings with that choice, from 1"
    );
    assert_eq!(
        replayed(" "),
        "the scenario to replay cannot be read: a replay needs a scenario: paste the line that the report prints, \
         `test choice=option …`"
    );
}
