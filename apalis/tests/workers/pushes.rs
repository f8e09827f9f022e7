//! Pushes from inside a task, which have the crash points and faults of the world's queue.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use apalis::prelude::*;
use apalis_core::backend::finalize::Durable;
use futures_util::stream;
use retryproof::job::{EnqueueError, JobState};
use retryproof::service::payments::Charge;
use retryproof::{Report, World};
use retryproof_apalis::{ProcessExt, StorageError, WorldExt, WorldStorage};

use crate::{Log, S, Till, assert_green, assert_violated, deviations, log};

type Mails = WorldStorage<String>;
type Pushed = Result<(), TaskSinkError<StorageError>>;

/// Code of a user, for any backend.
async fn confirm<B: TaskSink<String, Durable>>(
    order: u32,
    mails: &mut B,
) -> Result<(), TaskSinkError<B::Error>> {
    mails.push(format!("confirm {order}")).await
}

async fn push_naively(order: u32, mut mails: Data<Mails>) -> Pushed {
    confirm(order, &mut *mails).await
}

async fn push_under_a_key(order: u32, mut mails: Data<Mails>) -> Pushed {
    let mail = TaskBuilder::new(format!("confirm {order}")).idempotency_key(format!("confirm-{order}"));
    mails.push_task(mail.build()).await
}

async fn push_under_an_id(order: u32, mut mails: Data<Mails>) -> Pushed {
    let mail = TaskBuilder::new(format!("confirm {order}")).task_id(TaskId::from_int(order.into()));
    match mails.push_task(mail.build()).await {
        Err(TaskSinkError::PushError(StorageError::Enqueue(EnqueueError::Locked(_)))) => Ok(()),
        pushed => pushed,
    }
}

/// The pushed task. It charges once for each task, no matter how often the task is delivered.
async fn charge(_: String, id: TaskId, till: Data<Till>) -> Result<(), BoxDynError> {
    till.charge(Charge::of_order(6, 500).key(id.to_string())).await?;
    Ok(())
}

/// An order whose handler pushes a charge.
fn pushing<H, F>(bound: usize, handler: H, refuse: bool) -> Report
where
    H: Fn(u32, Data<Mails>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Pushed> + Send + 'static,
{
    deviations(bound).run(async |world: &World| {
        let handler = handler.clone();
        world.process("worker", move |p| {
            let mails = if refuse { p.storage().refuse_duplicates() } else { p.storage() };
            let orders = WorkerBuilder::new("orders").backend(p.storage::<u32>()).data::<Mails>(mails);
            p.run_worker(orders.build(handler.clone()));
            let children = WorkerBuilder::new("charges").backend(p.storage()).data(p.payments());
            p.run_worker(children.build(charge));
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}

#[test]
fn a_crash_after_a_push_pushes_again() {
    assert_violated(&pushing(1, push_naively, false), "payments.charge happened twice, expected once");
}

#[test]
fn a_push_under_an_idempotency_key_is_taken_in_once() {
    assert_green(&pushing(2, push_under_a_key, false));
}

#[test]
fn a_push_under_an_id_of_its_own_is_refused_the_second_time() {
    assert_green(&pushing(2, push_under_an_id, false));
}

#[test]
fn a_second_task_under_an_id_or_a_key_does_not_come_into_the_queue() {
    assert_eq!(pushed_by_two(push_naively), 2);
    assert_eq!(pushed_by_two(push_under_a_key), 1);
    assert_eq!(pushed_by_two(push_under_an_id), 1);
}

/// The number of mails that two tasks for the same order push.
fn pushed_by_two<H, F>(handler: H) -> usize
where
    H: Fn(u32, Data<Mails>) -> F + Clone + Send + 'static,
    F: Future<Output = Pushed> + Send + 'static,
{
    let world = World::fake();
    world.process("worker", move |p| {
        let orders = WorkerBuilder::new("orders").backend(p.storage()).data(p.storage::<String>());
        p.run_worker(orders.build(handler.clone()));
    });
    world.enqueue_bulk([6_u32, 6]);
    world.drain::<u32>().run().unwrap();
    world.jobs::<String>().len()
}

#[test]
#[should_panic(expected = "u32 holds the lock id 7 already: job#1")]
fn a_test_cannot_push_two_tasks_of_one_id() {
    let world = World::fake();
    for _ in 0..2 {
        world.push_task(TaskBuilder::new(6_u32).task_id(TaskId::from_int(7)).build());
    }
}

#[test]
fn what_a_test_pushes_is_as_it_says() {
    let world = World::fake();
    let log = log(&world);
    let noted = log.clone();
    world.process("worker", move |p| {
        let mails = WorkerBuilder::new("mails").backend(p.storage()).data(noted.clone());
        p.run_worker(mails.build(note_everything));
    });
    let mail = |text: &str| TaskBuilder::new(text.to_owned()).idempotency_key("mail").max_attempts(3);
    let ids = ["one", "other"].map(|text| world.push_task(mail(text).run_in_seconds(30).build()));
    assert_eq!(ids[0], ids[1]);
    world.settle().run();
    assert_eq!((world.now(), world.all_jobs().len()), (30 * S, 1));
    assert_eq!(log.get(), [r#"{} None Some(3) Some("mail") Some("mails") Running"#]);
}

#[test]
fn in_inline_mode_a_task_runs_where_it_is_pushed() {
    let world = World::inline();
    let log = log(&world);
    let noted = log.clone();
    world.process("worker", move |p| {
        let orders = WorkerBuilder::new("orders").backend(p.storage()).data(p.storage::<String>());
        p.run_worker(orders.build(push_naively));
        let mails = WorkerBuilder::new("mails").backend(p.storage()).data(noted.clone());
        p.run_worker(mails.build(note_everything));
    });
    world.enqueue(6_u32);
    assert_eq!(log.get().len(), 1);
}

#[test]
fn duplicates_are_refused_where_the_database_refuses_them() {
    // The handler treats the rejection as a failure, so it fails until its retries are used up.
    let report = pushing(1, push_under_a_key, true);
    assert_violated(&report, "confirm-6");
    let mended = async |order: u32, mails: Data<Mails>| match push_under_a_key(order, mails).await {
        Err(TaskSinkError::PushError(StorageError::Enqueue(EnqueueError::Locked(_)))) => Ok(()),
        pushed => pushed,
    };
    assert_green(&pushing(2, mended, true));
}

/// The results of a handler's pushes.
type Answers = Arc<Mutex<Vec<String>>>;

async fn push_two_and_tell(_: u32, mut mails: Data<Mails>, answers: Data<Answers>) -> Pushed {
    let pushed = mails.push_bulk(vec!["one".to_owned(), "two".to_owned()]).await;
    answers.lock().unwrap().push(match &pushed {
        Ok(()) => "pushed".to_owned(),
        Err(TaskSinkError::PushError(StorageError::Enqueue(
            EnqueueError::Unavailable { kind } | EnqueueError::TimedOut { kind, .. },
        ))) => format!("{kind}: no answer"),
        Err(other) => format!("unexpected: {other}"),
    });
    Ok(())
}

#[test]
fn a_bulk_is_taken_in_as_a_whole_or_not_at_all_and_its_error_is_typed() {
    let seen = Mutex::new(std::collections::BTreeSet::new());
    let report = deviations(1).crashes(0).run(async |world: &World| {
        let answers = Answers::default();
        let told = answers.clone();
        world.process("worker", move |p| {
            let orders = WorkerBuilder::new("orders").backend(p.storage()).data(p.storage::<String>());
            p.run_worker(orders.data(told.clone()).build(push_two_and_tell));
            let children = WorkerBuilder::new("charges").backend(p.storage()).data(p.payments());
            p.run_worker(children.build(charge));
        });
        world.enqueue(6_u32);
        world.settle().await;
        let answers = answers.lock().unwrap().join(", ");
        let children = world.all_jobs().iter().filter(|job| job.kind == "alloc::string::String").count();
        seen.lock().unwrap().insert((answers, children));
    });
    assert!(report.runs() > 3, "{report}");
    let seen: Vec<_> = seen.into_inner().unwrap().into_iter().collect();
    let no_answer = "alloc::string::String: no answer".to_owned();
    let expected =
        [(no_answer.clone(), 0), (no_answer, 2), ("pushed".to_owned(), 2), ("pushed, pushed".to_owned(), 4)];
    assert_eq!(seen, expected);
}

async fn push_a_stream(_: u32, mut mails: Data<Mails>) -> Pushed {
    mails.push_stream(stream::iter(["one", "two"].map(str::to_owned))).await?;
    mails.push_all(stream::iter([Task::new("three".to_owned())])).await
}

#[test]
fn streams_of_tasks_are_pushed() {
    let world = World::fake();
    world.process("worker", |p| {
        let orders = WorkerBuilder::new("orders").backend(p.storage()).data(p.storage::<String>());
        p.run_worker(orders.build(push_a_stream));
    });
    world.enqueue(6_u32);
    world.perform_one::<u32>().unwrap();
    assert_eq!(world.all_enqueued::<String>(), ["one", "two", "three"]);
}

async fn push_late(_: u32, mut mails: Data<Mails>) -> Pushed {
    tokio::time::sleep(Duration::from_millis(500)).await;
    mails.push_task(TaskBuilder::new("soon".to_owned()).run_after(90 * S).build()).await?;
    mails.push_task(TaskBuilder::new("past".to_owned()).run_at_timestamp(7).build()).await?;
    let all = ["hours", "minutes"].map(|unit| match unit {
        "hours" => TaskBuilder::new(unit.to_owned()).run_in_hours(2).build(),
        _ => TaskBuilder::new(unit.to_owned()).run_in_minutes(3).build(),
    });
    mails.push_all(stream::iter(all)).await
}

#[test]
fn delayed_tasks_wait_in_virtual_time() {
    let world = World::fake();
    world.process("worker", |p| {
        let orders = WorkerBuilder::new("orders").backend(p.storage()).data(p.storage::<String>());
        p.run_worker(orders.build(push_late));
    });
    world.enqueue(6_u32);
    world.perform_one::<u32>().unwrap();
    let due = |job: &retryproof::job::JobView| (job.payload.clone(), job.due);
    let half = Duration::from_millis(500);
    assert_eq!(
        world.jobs::<String>().iter().map(due).collect::<Vec<_>>(),
        [
            ("\"soon\"".to_owned(), Some(90 * S + half)),
            ("\"past\"".to_owned(), None),
            ("\"hours\"".to_owned(), Some(7_200 * S + half)),
            ("\"minutes\"".to_owned(), Some(180 * S + half)),
        ]
    );
}

async fn push_at_noon(_: u32, mut mails: Data<Mails>) -> Pushed {
    mails.push_task(TaskBuilder::new("noon".to_owned()).run_at_timestamp(1_000_090).build()).await
}

async fn note_time(_: String, log: Data<Log>, time: RunAt) {
    log.update(|log| log.push(format!("{:?}", time.0)));
}

/// An extractor of the user.
struct RunAt(Option<u64>);

impl FromRequest<Task<String>> for RunAt {
    type Error = std::convert::Infallible;

    async fn from_request(task: &Task<String>) -> Result<Self, Self::Error> {
        Ok(Self(task.run_at()))
    }
}

#[test]
fn a_date_is_one_of_the_worlds_where_the_world_has_dates() {
    let world = World::fake();
    let log = log(&world);
    let noted = log.clone();
    world.process("worker", move |p| {
        let mails: Mails = p.storage().epoch(1_000_000);
        p.run_worker(WorkerBuilder::new("orders").backend(p.storage()).data(mails).build(push_at_noon));
        let mails = WorkerBuilder::new("mails").backend(p.storage()).data(noted.clone());
        p.run_worker(mails.build(note_time));
    });
    world.enqueue_in(30 * S, 6_u32);
    world.settle().run();
    assert_eq!((world.now(), log.get()), (90 * S, vec!["Some(1000090)".to_owned()]));
}

async fn push_with_everything(_: u32, mut mails: Data<Mails>) -> Pushed {
    let metadata = [("tenant", "acme"), ("locale", "de"), ("trace", "1")].into_iter().collect();
    let mail = TaskBuilder::new("mail".to_owned()).with_metadata(metadata).priority(3).max_attempts(2);
    mails.push_task(mail.idempotency_key("mail-6").build()).await
}

async fn note_everything(_: String, log: Data<Log>, seen: Everything) {
    log.update(|log| log.push(seen.0));
}

struct Everything(String);

impl FromRequest<Task<String>> for Everything {
    type Error = std::convert::Infallible;

    async fn from_request(task: &Task<String>) -> Result<Self, Self::Error> {
        let metadata: std::collections::BTreeMap<_, _> = task.metadata().iter().collect();
        let key = task.idempotency_key();
        let (priority, most, by) = (task.priority(), task.max_attempts(), task.lock_by());
        Ok(Self(format!("{metadata:?} {priority:?} {most:?} {key:?} {by:?} {}", task.status())))
    }
}

#[test]
fn what_a_task_was_pushed_with_is_there_when_it_runs_and_when_it_runs_again() {
    let world = World::fake();
    let log = log(&world);
    let noted = log.clone();
    world.process("worker", move |p| {
        let orders = WorkerBuilder::new("orders").backend(p.storage()).data(p.storage::<String>());
        p.run_worker(orders.build(push_with_everything));
        let mails = WorkerBuilder::new("mails").backend(p.storage()).data(noted.clone());
        p.run_worker(mails.build(note_everything));
    });
    world.enqueue(6_u32);
    world.drain_all().run().unwrap();
    let metadata = r#"{"locale": "de", "tenant": "acme", "trace": "1"}"#;
    assert_eq!(log.get(), [format!(r#"{metadata} Some(3) Some(2) Some("mail-6") Some("mails") Running"#)]);
    assert!(world.all_jobs().iter().all(|job| job.state == JobState::Done));
}

async fn push_no_json(_: u32, mails: Data<Mails>) -> Result<(), String> {
    use futures_util::SinkExt;
    let sent = mails.0.clone().send(Task::new(b"confirm 6".to_vec())).await;
    sent.map_err(|error| error.to_string())
}

#[test]
fn raw_arguments_that_are_no_json_are_refused() {
    let world = World::fake();
    world.process("worker", |p| {
        let orders = WorkerBuilder::new("orders").backend(p.storage()).data(p.storage::<String>());
        p.run_worker(orders.build(push_no_json));
    });
    world.enqueue(6_u32);
    let error = world.drain_all().run().unwrap_err().to_string();
    // A part: the rest is the worker's and the handler's.
    assert!(error.contains("a task's arguments are no JSON: expected value at line 1 column 1"), "{error}");
    assert!(world.jobs::<String>().is_empty());
}

#[test]
fn a_worker_that_is_run_by_hand_says_whose_it_is_to_run() {
    let world = World::fake();
    world.process("worker", |p| {
        let storage = p.storage::<u32>();
        p.handle(async move |_: String| {
            let worker = WorkerBuilder::new("orders").backend(storage.clone()).build(async |_: u32| ());
            worker.run().await
        });
    });
    world.enqueue("run".to_owned());
    let error = world.drain_all().run().unwrap_err().to_string();
    // A part: the rest is the library's.
    assert!(error.contains("is run by its process: give it to `p.run_worker(…)`"), "{error}");
}

#[test]
#[should_panic(expected = "was given a worker that is not built on its queue; build it on `p.storage()`")]
fn a_worker_on_another_backend_is_refused() {
    let world = World::fake();
    world.process("worker", |p| {
        let worker = WorkerBuilder::new("orders").backend(MemoryStorage::new()).build(async |_: u32| ());
        p.run_worker(worker);
    });
    world.enqueue(6_u32);
    world.settle().run();
}

#[test]
#[should_panic(
    expected = "the worker `orders` cannot begin: Failed to handle the new state: Worker already started"
)]
fn a_worker_context_is_good_for_one_worker() {
    let world = World::fake();
    let context = WorkerContext::new("orders");
    for name in ["one", "other"] {
        let context = context.clone();
        world.process(name, move |p| {
            let worker = WorkerBuilder::new(context.clone()).backend(p.storage()).build(async |_: u32| ());
            p.run_worker(worker);
        });
    }
    world.enqueue(6_u32);
    world.settle().run();
}
