//! An apalis worker that charges an order and pushes a parcel, with apalis' retry layer around it.
//!
//! ```console
//! $ cargo run -p retryproof-apalis --example apalis_retry_layer
//! ```
//!
//! You will see two reports. In the first, a reply is lost, the retry layer takes that for a refusal and charges again within
//! the same attempt; a push is done twice as well. In the second, the charge and the push bear the id of the task, and every
//! scenario ends well. The program fails unless it comes out so.

#![expect(clippy::print_stdout, reason = "it is the example's purpose")]

use apalis::prelude::*;
use retryproof::service::fulfillment::{Fulfillment, Shipment};
use retryproof::service::payments::{Charge, Payments};
use retryproof::{Client, Explore, Report, Verdict, World};
use retryproof_apalis::{ProcessExt, WorldStorage};
use serde::{Deserialize, Serialize};

/// An order to be paid and sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct CompleteOrder {
    order_id: u32,
    amount_cents: u64,
}

/// A parcel to be sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Ship {
    order_id: u32,
}

/// The `Data` of the handlers. In production: an HTTP client and a `PostgresStorage<Ship>`.
type Till = Client<Payments>;
type Depot = Client<Fulfillment>;
type Parcels = WorldStorage<Ship>;

/// The first version. Each of its two steps may happen although the worker sees an error.
async fn complete(
    order: CompleteOrder,
    till: Data<Till>,
    mut parcels: Data<Parcels>,
) -> Result<(), BoxDynError> {
    till.charge(Charge::of_order(order.order_id, order.amount_cents)).await?;
    parcels.push(Ship { order_id: order.order_id }).await?;
    Ok(())
}

/// The fixed version: both steps have a key that is the same on each retry and delivery.
async fn complete_once(
    order: CompleteOrder,
    id: TaskId,
    till: Data<Till>,
    mut parcels: Data<Parcels>,
) -> Result<(), BoxDynError> {
    till.charge(Charge::of_order(order.order_id, order.amount_cents).key(id.to_string())).await?;
    let parcel = TaskBuilder::new(Ship { order_id: order.order_id }).idempotency_key(id.to_string());
    parcels.push_task(parcel.build()).await?;
    Ok(())
}

/// Sends a parcel, once for each task.
async fn ship(parcel: Ship, id: TaskId, depot: Data<Depot>) -> Result<(), BoxDynError> {
    let shipment = Shipment::of_order(parcel.order_id, "pr_3", 1).address("1 Main St");
    depot.request(shipment.key(id.to_string())).await?;
    Ok(())
}

/// Explores the failures of an order worker, which `run` adds to a process, and of a parcel worker.
fn explore(name: &str, run: impl Fn(&retryproof::Process) + Clone + Sync + 'static) -> Report {
    Explore::new().name(name).run(async |world: &World| {
        let run = run.clone();
        world.process("worker", move |p| {
            run(p);
            let parcels = WorkerBuilder::new("parcels").backend(p.storage()).data(p.fulfillment());
            p.run_worker(parcels.build(ship));
        });
        world.enqueue(CompleteOrder { order_id: 6, amount_cents: 2_598 });
        world.settle().await;
    })
}

fn main() {
    let broken = explore("order_worker", |p| {
        let orders =
            WorkerBuilder::new("orders").backend(p.storage()).data(p.payments()).data(p.storage::<Ship>());
        p.run_worker(orders.retry(RetryPolicy::retries(2)).build(complete));
    });
    let mended = explore("order_worker_mended", |p| {
        let orders =
            WorkerBuilder::new("orders").backend(p.storage()).data(p.payments()).data(p.storage::<Ship>());
        p.run_worker(orders.retry(RetryPolicy::retries(2)).build(complete_once));
    });
    println!("{broken}\n{mended}");
    assert_eq!((broken.verdict(), mended.verdict()), (Verdict::Violated, Verdict::RetryProof));
}
