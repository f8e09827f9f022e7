//! The layers of a worker in production: apalis' own, tower's, and the user's.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use apalis::layers::limit::RateLimitLayer;
use apalis::prelude::*;
use retryproof::job::JobState;
use retryproof::middleware::Perform;
use retryproof::service::payments::Charge;
use retryproof::{Report, Verdict, World};
use retryproof_apalis::ProcessExt;
use tower::{Layer, Service};

use crate::{Log, S, Till, assert_green, assert_violated, charge_naively, deviations, log};

async fn fail_twice(_: u32, attempt: Attempt, log: Data<Log>) -> Result<(), String> {
    log.update(|log| log.push(format!("attempt {}", attempt.current())));
    if attempt.current() < 3 { Err("no connection".to_owned()) } else { Ok(()) }
}

#[test]
fn a_retry_layer_retries_within_one_delivery() {
    let world = World::fake();
    let log = log(&world);
    let noted = log.clone();
    world.process("worker", move |p| {
        let worker = WorkerBuilder::new("orders").backend(p.storage()).data(noted.clone());
        p.run_worker(worker.retry(RetryPolicy::retries(2)).build(fail_twice));
    });
    world.enqueue(6_u32);
    world.drain_all().run().unwrap();
    assert_eq!(log.get(), ["attempt 1", "attempt 2", "attempt 3"]);
    assert_eq!(world.all_jobs()[0].attempts, 1);
}

/// The queue retries nothing, and nothing crashes. Can an order still be charged twice?
fn charged_without_retries(policy: Option<RetryPolicy>) -> Report {
    deviations(1).crashes(0).deliveries(0).run(async |world: &World| {
        let policy = policy.clone();
        world.process("worker", move |p| {
            let worker = WorkerBuilder::new("orders").backend(p.storage()).data(p.payments());
            match policy.clone() {
                Some(policy) => p.run_worker(worker.retry(policy).build(charge_naively)).max_retries(0),
                None => p.run_worker(worker.build(charge_naively)).max_retries(0),
            };
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}

#[test]
fn a_retry_layer_takes_a_lost_reply_for_a_refusal() {
    assert_green(&charged_without_retries(None));
    let report = charged_without_retries(Some(RetryPolicy::retries(1)));
    assert_violated(&report, "payments.charge happened twice, expected once");
    assert!(report.to_string().contains("reply-lost"), "{report}");
}

async fn charge_keyed(order: u32, till: Data<Till>) -> Result<(), BoxDynError> {
    till.charge(Charge::of_order(order, 500).key(format!("order-{order}"))).await?;
    Ok(())
}

#[test]
fn with_a_key_all_of_apalis_layers_together_are_retryproof() {
    let report = deviations(2).run(async |world: &World| {
        world.process("worker", |p| {
            let worker = WorkerBuilder::new("orders").backend(p.storage()).data(p.payments());
            let worker = worker.retry(RetryPolicy::retries(2)).timeout(30 * S).concurrency(1);
            p.run_worker(worker.catch_panic().enable_tracing().build(charge_keyed));
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert_green(&report);
}

async fn sleep_for(seconds: u32, log: Data<Log>) {
    log.update(|log| log.push(format!("{seconds} begins")));
    tokio::time::sleep(seconds * S).await;
    log.update(|log| log.push(format!("{seconds} ends")));
}

#[test]
fn a_timeout_is_one_of_virtual_time() {
    let world = World::fake();
    let log = log(&world);
    world.process("worker", move |p| {
        let worker = WorkerBuilder::new("sleepers").backend(p.storage()).data(log.clone());
        p.run_worker(worker.timeout(10 * S).build(sleep_for)).max_retries(0);
    });
    world.enqueue_bulk([3_u32, 60]);
    world.settle().run();
    let jobs = world.all_jobs();
    assert_eq!((jobs[0].state, jobs[1].state), (JobState::Done, JobState::Dead));
    assert_eq!((jobs[1].error.as_deref(), world.now()), (Some("request timed out"), 10 * S));
}

/// The events of three sleepers, which all begin at the same time unless a layer prevents that.
fn sleepers<M, W>(layers: M) -> (Vec<String>, std::time::Duration)
where
    M: Fn(
            WorkerBuilder<
                u32,
                retryproof_apalis::WorldStorage<u32>,
                tower::layer::util::Stack<Data<Log>, tower::layer::util::Identity>,
            >,
        ) -> W
        + 'static,
    W: retryproof_apalis::RunWorker,
{
    let world = World::fake();
    let log = log(&world);
    let noted = log.clone();
    world.process("worker", move |p| {
        p.run_worker(layers(WorkerBuilder::new("sleepers").backend(p.storage()).data(noted.clone())));
    });
    world.enqueue_bulk([1_u32, 2, 3]);
    world.settle().run();
    (log.get(), world.now())
}

#[test]
fn a_limit_is_one_for_all_tasks_of_a_worker() {
    let (log, ended) = sleepers(|worker| worker.build(sleep_for));
    assert_eq!(log, ["1 begins", "2 begins", "3 begins", "1 ends", "2 ends", "3 ends"]);
    assert_eq!(ended, 3 * S);
    let (log, ended) = sleepers(|worker| worker.concurrency(1).build(sleep_for));
    assert_eq!(log, ["1 begins", "1 ends", "2 begins", "2 ends", "3 begins", "3 ends"]);
    assert_eq!(ended, 6 * S);
}

#[test]
fn a_layer_whose_service_cannot_be_cloned_counts_all_tasks() {
    let (log, ended) = sleepers(|worker| worker.layer(RateLimitLayer::new(1, 10 * S)).build(sleep_for));
    assert_eq!(log, ["1 begins", "1 ends", "2 begins", "2 ends", "3 begins", "3 ends"]);
    assert_eq!(ended, 23 * S, "the third begins after 20 s");
}

/// A layer as users write it: generic over the inner service, with a boxed `Send` future, without `Clone`.
struct Audit(Log);

struct Audited<S> {
    inner: S,
    log: Log,
    seen: u32,
}

impl<S> Layer<S> for Audit {
    type Service = Audited<S>;

    fn layer(&self, inner: S) -> Audited<S> {
        Audited { inner, log: self.0.clone(), seen: 0 }
    }
}

impl<S, Args> Service<Task<Args>> for Audited<S>
where
    S: Service<Task<Args>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, task: Task<Args>) -> Self::Future {
        self.seen += 1;
        let worker = task.data().get::<WorkerContext>().expect("the backend puts it there").name().to_owned();
        let line =
            format!("{worker}: task {} with {} attempts, {}", self.seen, task.attempt(), task.status());
        self.log.update(|log| log.push(line));
        Box::pin(self.inner.call(task))
    }
}

#[test]
fn a_users_own_layer_sees_what_a_backend_hands_out() {
    let world = World::fake();
    let log = log(&world);
    let noted = log.clone();
    world.process("worker", move |p| {
        let worker = WorkerBuilder::new("orders").backend(p.storage()).data(noted.clone());
        p.run_worker(worker.layer(Audit(noted.clone())).build(fail_twice)).max_retries(1);
    });
    world.enqueue(6_u32);
    world.settle().run();
    let audited: Vec<_> = log.get().into_iter().filter(|line| line.starts_with("orders")).collect();
    assert_eq!(audited, ["orders: task 1 with 0 attempts, Queued", "orders: task 2 with 1 attempts, Queued"]);
}

async fn pause_at_six(order: u32, worker: WorkerContext, log: Data<Log>) {
    log.update(|log| log.push(format!("{order}")));
    if order == 6 {
        worker.pause().unwrap();
        tokio::spawn(async move {
            tokio::time::sleep(5 * S).await;
            worker.resume().unwrap();
        });
    }
}

#[test]
fn a_worker_that_is_paused_takes_tasks_when_it_is_resumed() {
    let world = World::fake();
    let log = log(&world);
    let noted = log.clone();
    world.process("worker", move |p| {
        let worker = WorkerBuilder::new("orders").backend(p.storage()).data(noted.clone());
        p.slots(1).run_worker(worker.build(pause_at_six));
    });
    world.enqueue_bulk([6_u32, 7]);
    world.settle().run();
    assert_eq!((log.get(), world.now()), (vec!["6".to_owned(), "7".to_owned()], 6 * S));
    assert_eq!(world.all_jobs()[1].failures, 0);
}

async fn stop(_: u32, worker: WorkerContext) {
    worker.stop().unwrap();
}

#[test]
fn a_worker_that_was_stopped_leaves_tasks_in_the_queue() {
    let world = World::fake();
    world.process("worker", move |p| {
        let worker = WorkerBuilder::new("orders").backend(p.storage());
        p.slots(1).run_worker(worker.build(stop));
    });
    world.enqueue_bulk([6_u32, 7]);
    let drained = world.drain_all().run().unwrap();
    assert_eq!((drained.succeeded, drained.snoozed), (1, 1));
    assert_eq!(world.all_jobs()[1].state, JobState::Scheduled);
}

/// A layer of the harness, between a job and its worker. It lets later jobs overtake earlier ones.
#[derive(Clone)]
struct Dawdle;

#[derive(Clone)]
struct Dawdling<S>(S);

impl<S> Layer<S> for Dawdle {
    type Service = Dawdling<S>;

    fn layer(&self, inner: S) -> Dawdling<S> {
        Dawdling(inner)
    }
}

impl<S> Service<Perform> for Dawdling<S>
where
    S: Service<Perform, Future: 'static>,
    S::Response: 'static,
    S::Error: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Perform) -> Self::Future {
        let wait = 10 * S - request.job.number * S;
        let calling = self.0.call(request);
        Box::pin(async move {
            tokio::time::sleep(wait).await;
            calling.await
        })
    }
}

async fn note_id(job: u32, id: TaskId, log: Data<Log>) {
    log.update(|log| log.push(format!("{job}: {id}")));
}

#[test]
fn each_job_is_told_its_own_id_whatever_lies_between() {
    let world = World::fake();
    let log = log(&world);
    let noted = log.clone();
    world.process("worker", move |p| {
        let worker = WorkerBuilder::new("orders").backend(p.storage()).data(noted.clone());
        p.run_worker(worker.build(note_id)).layer(Dawdle);
    });
    let ids = world.enqueue_bulk([1_u32, 2, 3]);
    world.settle().run();
    let expected = [3, 2, 1].map(|job| format!("{job}: {}", ids[job - 1]));
    assert_eq!(log.get(), expected);
}

async fn sleep_by_apalis(_: u32) {
    apalis_core::timer::sleep(std::time::Duration::from_secs(10)).await;
}

#[test]
fn a_sleep_of_apalis_own_is_none_of_the_worlds() {
    let report = deviations(1).run(async |world: &World| {
        world.process("worker", |p| {
            p.run_worker(WorkerBuilder::new("orders").backend(p.storage()).build(sleep_by_apalis));
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::Stuck, "{report}");
    // A part: the rest has its place in this file.
    assert!(report.to_string().contains("nothing can go on and no timer is set"), "{report}");
}

#[test]
fn listeners_hear_that_a_worker_has_begun() {
    let world = World::fake();
    let log = log(&world);
    let noted = log.clone();
    world.process("worker", move |p| {
        let heard = noted.clone();
        let worker = WorkerBuilder::new("orders").backend(p.storage());
        let worker = worker.on_event(move |worker, event| {
            heard.update(|log| log.push(format!("{}: {event}", worker.name())));
        });
        p.run_worker(worker.build(async |_: u32| ()));
    });
    world.enqueue(6_u32);
    world.drain_all().run().unwrap();
    assert_eq!(log.get(), ["orders: worker started"]);
}
