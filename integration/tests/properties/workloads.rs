//! For any workload and any scenario within the bounds, effects happen exactly once, counters add up, and no job is
//! lost.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use retryproof::ServiceError;
use retryproof::job::JobState;
use retryproof::service::fulfillment::Shipment;

use crate::*;

/// A second kind of job, beside orders.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Ship {
    order: u32,
}

fn everything() -> Workloads {
    Workloads::new()
        .kind(0..50_u32)
        .kind((0..50_u32).prop_map(|order| Ship { order }))
        .jobs(0..=4)
        .queues(["high", "low"])
        .delays(Duration::ZERO..=Duration::from_secs(120))
        .duplicates(1..=3)
}

#[test]
fn effects_happen_exactly_once_counters_add_up_and_no_job_is_lost() {
    let property = Property::new().cases(120).explore(Explore::new().name("everything"));
    property.check(everything(), async |world: &World, work: &Workload| {
        let (paid, shipped) =
            (world.durable("paid", BTreeSet::new()), world.durable("shipped", BTreeSet::new()));
        let (orders, parcels) = (work.queue_of::<u32>(), work.queue_of::<Ship>());
        let (paid_here, shipped_here) = (paid.clone(), shipped.clone());
        world.process("worker", move |p| {
            p.queues(["high", "low"]).slots(2);
            let (payments, paid) = (p.payments(), paid_here.clone());
            p.handle(async move |order: u32| {
                payments.charge(keyed(order)).await?;
                paid.update(|paid| _ = paid.insert(order));
                Ok::<(), ServiceError>(())
            })
            .queue(orders);
            let (fulfillment, shipped) = (p.fulfillment(), shipped_here.clone());
            p.handle(async move |Ship { order }: Ship| {
                let parcel = Shipment::of_order(order, "pr_3", 1).address("1 Main St");
                fulfillment.request(parcel.key(format!("parcel-{order}"))).await?;
                shipped.update(|shipped| _ = shipped.insert(order));
                Ok::<(), ServiceError>(())
            })
            .queue(parcels);
        });
        work.enqueue(world);
        world.settle().await;

        let jobs = world.all_jobs();
        assert_eq!(jobs.len(), work.count() as usize, "no job is lost or invented");
        assert!(jobs.iter().all(|job| job.state == JobState::Done), "{jobs:?}");
        let stats = world.stats();
        let waiting = [stats.enqueued, stats.scheduled, stats.retries, stats.leased, stats.busy, stats.dead];
        assert_eq!(waiting, [0; 6]);
        assert!(stats.processed >= jobs.len() as u64 && stats.processed - stats.failed >= jobs.len() as u64);
        let (charged, sent) = (world.effects().of("payments"), world.effects().of("fulfillment"));
        assert_eq!((charged.count(), sent.count()), (paid.get().len(), shipped.get().len()));
    });
}

#[test]
fn workloads_have_all_that_they_may_and_nothing_else() {
    let mut runner = TestRunner::deterministic();
    let drawn: Vec<_> = (0..200).map(|_| everything().new_tree(&mut runner).unwrap().current()).collect();
    let jobs: Vec<_> = drawn.iter().flat_map(Workload::jobs).collect();
    let counts: BTreeSet<_> = drawn.iter().map(|work| work.jobs().len()).collect();
    assert_eq!(counts, (0..=4).collect());
    assert_eq!(jobs.iter().map(|job| job.copies).collect::<BTreeSet<_>>(), (1..=3).collect());
    let kinds: BTreeSet<_> = jobs.iter().map(|job| job.kind).collect();
    assert_eq!(kinds, BTreeSet::from(["properties::workloads::Ship", "u32"]));
    let queues: BTreeSet<_> = drawn
        .iter()
        .map(|work| (work.queue_of::<u32>().as_str(), work.queue_of::<Ship>().as_str()))
        .collect();
    assert_eq!(queues.len(), 4, "{queues:?}");
    let delays = || jobs.iter().map(|job| job.delay);
    assert!(delays().max() <= Some(Duration::from_secs(120)) && delays().max() > delays().min());
    let work = drawn.iter().find(|work| work.jobs().len() == 1).unwrap();
    assert_eq!(work.queue_of::<u64>().as_str(), "default", "a kind that is none of it");
}

#[test]
fn workloads_shrink_towards_one_job_at_once() {
    let mut runner = TestRunner::deterministic();
    for _ in 0..20 {
        let some = Workloads::new().kind(7..50_u32).jobs(1..=4).queues(["high", "low"]).duplicates(1..=3);
        let mut tree = some.delays(Duration::ZERO..=Duration::from_secs(60)).new_tree(&mut runner).unwrap();
        while tree.simplify() {}
        assert_eq!(tree.current().to_string(), "u32 7 in high");
    }
}

#[test]
fn scenarios_and_schedules_shrink_towards_the_happy_path() {
    let mut runner = TestRunner::deterministic();
    for _ in 0..20 {
        let mut tree = Scenarios::of(0..=5).new_tree(&mut runner).unwrap();
        let most = tree.current().count();
        while tree.simplify() {
            assert!(tree.current().count() <= most);
        }
        assert_eq!(tree.current().count(), 0);
        let mut tree = Preemptions::of(2..=5).new_tree(&mut runner).unwrap();
        while tree.simplify() {}
        assert_eq!(tree.current().count(), 2);
    }
}

#[test]
fn a_workload_is_data() {
    let mut runner = TestRunner::deterministic();
    let work = Workloads::new()
        .kind(7..8_u32)
        .jobs(1..=1)
        .duplicates(2..=2)
        .new_tree(&mut runner)
        .unwrap()
        .current();
    assert_eq!(work.to_string(), "u32 7 × 2");
    let json = serde_json::to_value(&work).unwrap();
    assert_eq!(json["jobs"][0]["payload"], "7");
    let world = World::fake();
    work.enqueue(&world);
    assert_eq!(world.all_enqueued::<u32>(), [7, 7]);
}
