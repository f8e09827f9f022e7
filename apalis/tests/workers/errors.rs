//! The fate of a job, depending on the error of its task.

use std::time::Duration;

use apalis::prelude::*;
use retryproof::job::{JobState, JobView};
use retryproof::{Backoff, Decision, World};
use retryproof_apalis::{ProcessExt, TaskError, decision};

use crate::{Log, S, log};

/// A world in which a job has failed to its end, and that job.
fn ended<W: retryproof_apalis::RunWorker>(
    worker: impl Fn(&retryproof::Process) -> W + 'static,
) -> (World, JobView) {
    let world = World::fake();
    world.process("worker", move |p| {
        p.run_worker(worker(p)).max_retries(3).backoff(Backoff::Constant(10 * S));
    });
    world.enqueue(6_u32);
    world.settle().run();
    let job = world.all_jobs().remove(0);
    (world, job)
}

async fn abort(_: u32) -> Result<(), AbortError> {
    Err(AbortError::new("no such order"))
}

#[test]
fn an_aborted_task_is_dead_at_once() {
    let (world, job) = ended(|p| WorkerBuilder::new("orders").backend(p.storage()).build(abort));
    assert_eq!((job.state, job.attempts, world.now()), (JobState::Dead, 1, Duration::ZERO));
    assert_eq!(job.error.as_deref(), Some("AbortError: no such order"));
}

#[derive(Debug, thiserror::Error)]
#[error("it failed")]
struct Wrapped(#[source] AbortError);

async fn abort_wrapped(_: u32) -> Result<(), Wrapped> {
    Err(Wrapped(AbortError::new("no such order")))
}

#[test]
fn an_abort_inside_of_another_error_is_none_as_in_apalis() {
    let (world, job) = ended(|p| WorkerBuilder::new("orders").backend(p.storage()).build(abort_wrapped));
    assert_eq!((job.state, job.attempts, world.now()), (JobState::Dead, 4, 30 * S));
}

#[test]
fn an_abort_that_a_layer_turns_into_something_else_is_one_all_the_same() {
    let (_, job) = ended(|p| {
        let forget = |error: BoxDynError| BoxDynError::from(format!("hidden: {error}"));
        WorkerBuilder::new("orders").backend(p.storage()).map_err(forget).build(abort)
    });
    assert_eq!((job.state, job.attempts), (JobState::Dead, 1));
    assert_eq!(job.error.as_deref(), Some("hidden: AbortError: no such order"));
}

async fn busy_at_first(_: u32, attempt: Attempt) -> Result<(), BoxDynError> {
    match attempt.current() {
        1 => Err(RetryAfterError::new("busy", Duration::from_millis(1_234)))?,
        2 => Err(RetryAfterError::new("still busy", Duration::from_millis(766)))?,
        _ => Ok(()),
    }
}

#[test]
fn a_task_that_wants_to_be_retried_after_a_time_is_to_the_millisecond() {
    let (world, job) = ended(|p| WorkerBuilder::new("orders").backend(p.storage()).build(busy_at_first));
    assert_eq!((job.state, job.attempts, job.failures), (JobState::Done, 3, 2));
    assert_eq!(world.now(), Duration::from_millis(2_000));
}

async fn always_busy(_: u32) -> Result<(), RetryAfterError> {
    Err(RetryAfterError::new("busy", S))
}

#[test]
fn a_task_that_always_wants_to_be_retried_uses_up_its_retries() {
    let (world, job) = ended(|p| WorkerBuilder::new("orders").backend(p.storage()).build(always_busy));
    assert_eq!((job.state, job.attempts, world.now()), (JobState::Dead, 4, 3 * S));
}

async fn not_yet(_: u32, attempt: Attempt) -> Result<(), BoxDynError> {
    if attempt.current() < 9 { Err(DeferredError::new("not yet"))? } else { Ok(()) }
}

#[test]
fn a_deferred_task_comes_again_at_once_and_uses_up_no_retry() {
    let (world, job) = ended(|p| WorkerBuilder::new("orders").backend(p.storage()).build(not_yet));
    assert_eq!((job.state, job.attempts, job.failures), (JobState::Done, 9, 0));
    assert_eq!(world.now(), Duration::ZERO);
}

async fn fail(_: u32) -> Result<(), String> {
    Err("no connection".to_owned())
}

#[test]
fn any_other_error_is_retried_as_the_options_say() {
    let (world, job) = ended(|p| WorkerBuilder::new("orders").backend(p.storage()).build(fail));
    assert_eq!((job.state, job.attempts, world.now()), (JobState::Dead, 4, 30 * S));
    assert_eq!(job.error.as_deref(), Some("no connection"));
}

async fn panic(_: u32) {
    panic!("at the disco")
}

#[test]
fn a_panic_is_a_failure_and_one_that_apalis_catches_an_abort() {
    let (_, job) = ended(|p| WorkerBuilder::new("orders").backend(p.storage()).build(panic));
    assert_eq!((job.state, job.attempts), (JobState::Dead, 4));
    assert_eq!(job.error.as_deref(), Some("panicked: at the disco"));
    let (_, job) = ended(|p| WorkerBuilder::new("orders").backend(p.storage()).catch_panic().build(panic));
    assert_eq!((job.state, job.attempts), (JobState::Dead, 1));
    assert_eq!(job.error.as_deref(), Some("AbortError: PanicError: at the disco"));
}

async fn push_with_two_attempts(_: u32, mut children: Data<retryproof_apalis::WorldStorage<String>>) {
    let child = TaskBuilder::new("child".to_owned()).max_attempts(2).build();
    children.push_task(child).await.unwrap();
}

async fn fail_as_child(_: String) -> Result<(), String> {
    Err("no connection".to_owned())
}

#[test]
fn a_task_has_no_more_attempts_than_it_was_pushed_with() {
    let world = World::fake();
    world.process("worker", |p| {
        let orders = WorkerBuilder::new("orders").backend(p.storage()).data(p.storage::<String>());
        p.run_worker(orders.build(push_with_two_attempts));
        p.run_worker(WorkerBuilder::new("children").backend(p.storage()).build(fail_as_child)).max_retries(9);
    });
    world.enqueue(6_u32);
    world.settle().run();
    assert_eq!(world.dead()[0].attempts, 2);
}

async fn retry_or_abort(order: u32) -> Result<(), BoxDynError> {
    match order {
        6 => Err(AbortError::new("no such order"))?,
        _ => Err("no connection")?,
    }
}

#[test]
fn another_decision_may_ask_for_apalis_own_and_hooks_find_the_error() {
    let world = World::fake();
    let log: Log = log(&world);
    let noted = log.clone();
    world.process("worker", move |p| {
        let noted = noted.clone();
        p.on_error(move |failed| {
            let error = failed.downcast_ref::<TaskError>().expect("it is the worker's");
            noted.update(|log| log.push(format!("{} {}", error.error().is::<AbortError>(), error)));
        });
        let worker = WorkerBuilder::new("orders").backend(p.storage()).build(retry_or_abort);
        p.run_worker(worker).decide(|failed| match decision(failed) {
            Decision::Kill => Decision::Discard,
            other => other,
        });
    });
    world.enqueue_bulk([6_u32, 7]);
    world.drain_all().keep_going().run().unwrap();
    let states: Vec<_> = world.all_jobs().iter().map(|job| job.state).collect();
    assert_eq!(states, [JobState::Discarded, JobState::Popped]);
    assert_eq!(log.get(), ["true AbortError: no such order", "false no connection"]);
}
