//! Unchanged handlers: the data that they receive, and the bugs that are found.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use apalis::prelude::*;
use apalis_core::backend::queue::Queue;
use retryproof::World;
use retryproof::job::JobState;
use retryproof::service::payments::Charge;
use retryproof_apalis::ProcessExt;
use serde::{Deserialize, Serialize};

use crate::{Log, Till, assert_green, assert_violated, charge_naively, deviations, log};

#[test]
fn a_naive_handler_charges_twice() {
    let report = deviations(1).run(async |world: &World| {
        world.process("worker", |p| {
            let worker =
                WorkerBuilder::new("orders").backend(p.storage()).data(p.payments()).build(charge_naively);
            p.run_worker(worker);
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert_violated(&report, "payments.charge happened twice, expected once");
}

/// The id of the task is a good key, because it is the same on each delivery.
async fn charge_by_task_id(order: u32, till: Data<Till>, id: TaskId) -> Result<(), BoxDynError> {
    till.charge(Charge::of_order(order, 500).key(id.to_string())).await?;
    Ok(())
}

#[test]
fn the_same_handler_with_the_tasks_id_for_key_charges_once() {
    let report = deviations(2).run(async |world: &World| {
        world.process("worker", |p| {
            let worker =
                WorkerBuilder::new("orders").backend(p.storage()).data(p.payments()).build(charge_by_task_id);
            p.run_worker(worker);
        });
        world.enqueue_bulk([6_u32, 6]);
        world.settle().await;
        assert_eq!(world.effects().count(), 2, "two tasks, though they look alike");
    });
    assert_green(&report);
}

async fn charge_by_attempt(
    order: u32,
    till: Data<Till>,
    id: TaskId,
    attempt: Attempt,
) -> Result<(), BoxDynError> {
    till.charge(Charge::of_order(order, 500).key(format!("{id}-{}", attempt.current()))).await?;
    Ok(())
}

#[test]
fn a_key_that_has_the_attempt_in_it_charges_twice() {
    let report = deviations(1).run(async |world: &World| {
        world.process("worker", |p| {
            let worker =
                WorkerBuilder::new("orders").backend(p.storage()).data(p.payments()).build(charge_by_attempt);
            p.run_worker(worker);
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert_violated(
        &report,
        "payments.charge happened with different content or a different key than expected",
    );
}

type Seen = Arc<Mutex<Vec<usize>>>;

async fn note_attempt(
    _: u32,
    seen: Data<Seen>,
    till: Data<Till>,
    attempt: Attempt,
) -> Result<(), BoxDynError> {
    seen.lock().unwrap().push(attempt.current());
    till.charge(Charge::of_order(6, 500).key("order-6")).await?;
    Ok(())
}

#[test]
fn attempts_are_counted_from_one_over_crashes_and_failures() {
    let most = Mutex::new(0);
    let report = deviations(2).run(async |world: &World| {
        let seen = Seen::default();
        let noted = seen.clone();
        world.process("worker", move |p| {
            let worker = WorkerBuilder::new("orders").backend(p.storage());
            p.run_worker(worker.data(noted.clone()).data(p.payments()).build(note_attempt));
        });
        world.enqueue(6_u32);
        world.settle().await;
        let seen = seen.lock().unwrap();
        assert!(seen.is_sorted_by(|one, next| one < next), "{seen:?}");
        assert_eq!(*seen.last().unwrap(), world.all_jobs()[0].attempts as usize);
        let mut most = most.lock().unwrap();
        *most = seen.len().max(*most);
    });
    assert_green(&report);
    assert_eq!(most.into_inner().unwrap(), 3, "two deviations, so at most two attempts more than one");
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Method {
    Card { number: String },
    Invoice,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct CompleteOrder {
    id: u64,
    lines: Vec<(String, u32)>,
    method: Method,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

fn order() -> CompleteOrder {
    let method = Method::Card { number: "4242 …".to_owned() };
    CompleteOrder { id: 1 << 53, lines: vec![("Tee \"für zwei\"\n".to_owned(), 2)], method, note: None }
}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("no tenant")]
struct NoTenant;

/// Metadata as users define it.
#[derive(Debug)]
struct Tenant(String);

impl Metadata for Tenant {
    type Error = NoTenant;

    fn extract(store: &MetadataStore) -> Result<Self, NoTenant> {
        store.get("tenant").map(|tenant| Self(tenant.to_owned())).ok_or(NoTenant)
    }

    fn inject(&self, store: &mut MetadataStore) -> Result<(), NoTenant> {
        store.insert("tenant", &*self.0).map_err(|_| NoTenant)
    }
}

#[derive(Clone)]
struct NowhereToBeFound;

#[expect(clippy::too_many_arguments, reason = "a handler may take as many")]
async fn note_all(
    order: CompleteOrder,
    log: Data<Log>,
    id: TaskId,
    attempt: Attempt,
    queue: Queue,
    worker: WorkerContext,
    metadata: MetadataStore,
    tenant: Option<Meta<Tenant>>,
    missing: Option<Data<NowhereToBeFound>>,
) {
    assert_eq!(order, self::order());
    log.update(|log| {
        log.push(format!("{id} {} {queue} {metadata:?}", attempt.current()));
        log.push(format!("{} {} {}", worker.name(), worker.is_running(), worker.task_count()));
        log.push(format!("{:?} {}", tenant.map(|tenant| tenant.0.0), missing.is_none()));
    });
}

#[test]
fn a_handler_is_told_what_a_backend_would_tell_it() {
    let world = World::fake();
    let log = log(&world);
    let noted = log.clone();
    world.process("worker", move |p| {
        p.run_worker(WorkerBuilder::new("orders-1").backend(p.storage()).data(noted.clone()).build(note_all));
    });
    let id = world.enqueue(order());
    world.drain_all().run().unwrap();
    let queue = std::any::type_name::<CompleteOrder>();
    assert_eq!(
        log.get(),
        [format!("{id} 1 {queue} MetadataStore({{}})"), "orders-1 true 1".to_owned(), "None true".to_owned()]
    );
}

async fn wants_what_is_not_there(_: u32, _: Data<NowhereToBeFound>) {}

#[test]
fn data_that_is_missing_fails_the_task() {
    let world = World::fake();
    world.process("worker", |p| {
        let worker = WorkerBuilder::new("orders").backend(p.storage()).build(wants_what_is_not_there);
        p.run_worker(worker).max_retries(2);
    });
    world.enqueue(6_u32);
    world.settle().run();
    let dead = &world.dead()[0];
    let missing = std::any::type_name::<NowhereToBeFound>();
    assert_eq!(
        (dead.attempts, dead.error.clone()),
        (3, Some(format!("the type for key `{missing}` is not available")))
    );
}

#[test]
fn a_payload_that_does_not_decode_goes_to_the_dead_set_unrun() {
    let world = World::fake();
    world.process("worker", |p| {
        p.run_worker(WorkerBuilder::new("orders").backend(p.storage::<u32>()).build(async |_: u32| ()));
    });
    world.enqueue_raw("u32", "\"six\"");
    world.settle().run();
    let dead = &world.dead()[0];
    // A part: the rest is the JSON library's.
    assert!(dead.error.as_ref().unwrap().contains("does not decode"), "{dead:?}");
}

/// Orders that were charged, in the memory of the worker.
type Charged = Arc<Mutex<BTreeSet<u32>>>;

async fn charge_if_not_remembered(
    order: u32,
    till: Data<Till>,
    charged: Data<Charged>,
) -> Result<(), BoxDynError> {
    if charged.lock().unwrap().contains(&order) {
        return Ok(());
    }
    till.charge(Charge::of_order(order, 500)).await?;
    charged.lock().unwrap().insert(order);
    Ok(())
}

#[test]
fn what_a_worker_remembers_dies_with_its_process() {
    let remembering = |crashes: usize| {
        deviations(1).faults(0).deliveries(0).crashes(crashes).run(async |world: &World| {
            world.process("worker", |p| {
                let worker = WorkerBuilder::new("orders").backend(p.storage());
                p.run_worker(
                    worker.data(p.payments()).data(Charged::default()).build(charge_if_not_remembered),
                );
            });
            world.enqueue(6_u32);
            world.settle().await;
        })
    };
    assert_green(&remembering(0));
    assert_violated(&remembering(1), "payments.charge happened twice, expected once");
}

#[test]
fn two_workers_of_one_process_each_have_their_own_tasks() {
    let world = World::fake();
    let log = log(&world);
    let noted = log.clone();
    world.process("worker", move |p| {
        let numbers = WorkerBuilder::new("numbers").backend(p.storage()).data(noted.clone());
        p.run_worker(
            numbers
                .build(async |job: u32, log: Data<Log>| log.update(|log| log.push(format!("number {job}")))),
        );
        let texts = WorkerBuilder::new("texts").backend(p.storage()).data(noted.clone());
        p.run_worker(
            texts
                .build(async |job: String, log: Data<Log>| log.update(|log| log.push(format!("text {job}")))),
        );
    });
    world.enqueue(6_u32);
    world.enqueue("six".to_owned());
    world.drain_all().run().unwrap();
    assert_eq!(log.get(), ["number 6", "text six"]);
    assert!(world.all_jobs().iter().all(|job| job.state == JobState::Done));
}
