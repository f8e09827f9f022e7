//! The findings of an exploration, and the code that it accepts.

mod bad_input;
mod blocking;
#[cfg(feature = "tokio")]
mod cancelled;
mod comparing;
mod counts;
mod crashes;
mod deviations;
mod nondeterminism;
mod limits;
mod merging;
mod oracles;
mod other_threads;
#[cfg(all(feature = "progress", target_os = "linux"))]
mod progress;
mod replays;
mod reports;
mod sampling;
mod schedules;
mod services;
mod shards;
mod wording;
mod threads;
mod versions;
mod waits;
mod webhooks;

use crate::support::{assert_green, assert_violated, one_deviation, own_test};
use retryproof::job::JobResult;
use retryproof::service::email::{Email, EmailService};
use retryproof::service::payments::{Charge, Payments};
use retryproof::{Client, Explore, Process, Report, ServiceError, World};
use serde::{Deserialize, Serialize};

/// The job of most tests here.
#[derive(Serialize, Deserialize)]
struct Order {
    id: u32,
}

/// Explores a world with one worker, which `boot` sets up, and one order.
fn explore(explore: &Explore, boot: impl Fn(&Process) + Clone + Sync + 'static) -> Report {
    explore.run(async |world: &World| {
        world.process("worker", boot.clone());
        world.enqueue(Order { id: 1 });
        world.settle().await;
    })
}

/// Boots a worker whose job only uses the payment service.
fn paying<R: JobResult + 'static>(
    job: impl AsyncFn(Client<Payments>, u32) -> R + Clone + 'static,
) -> impl Fn(&Process) + Clone {
    move |p: &Process| {
        let (payments, job) = (p.payments(), job.clone());
        p.handle(async move |order: Order| job(payments.clone(), order.id).await);
    }
}

/// Stands for an adapter of a service, in another file than the jobs that call it.
async fn send_by_adapter(email: &Client<EmailService>, subject: &str) -> Result<(), ServiceError> {
    email.send(Email::new("ada@example.com", subject)).await.map(drop)
}

fn keyed(order: u32) -> Charge {
    unkeyed(order).key(format!("order-{order}"))
}

fn unkeyed(order: u32) -> Charge {
    Charge::of_order(order, 500).customer("cu_1").payment_method("pm_1")
}
