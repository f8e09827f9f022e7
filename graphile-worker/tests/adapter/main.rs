//! Task handlers of graphile_worker under the harness, as in production.

mod adding;
mod known_bugs;
mod keys;
mod policy;

use std::fmt;
use std::time::Duration;

use graphile_worker::{IntoTaskHandlerResult, TaskHandler, WorkerContext};
use retryproof::service::email::{Email, EmailService};
use retryproof::service::payments::{Charge, Payments};
use retryproof::{Client, Durable, Explore, Process, Report, World};
use retryproof_graphile_worker::GraphileWorker;
use serde::{Deserialize, Serialize};

const S: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// The context of the handlers in these tests.
#[derive(Clone, Debug)]
struct Shop {
    payments: Client<Payments>,
    email: Client<EmailService>,
}

impl Shop {
    fn of(p: &Process) -> Self {
        Self { payments: p.payments(), email: p.email() }
    }

    fn in_context(ctx: &WorkerContext) -> &Self {
        ctx.get_ext().expect("the worker has it")
    }
}

/// Charges an order without a key.
#[derive(Clone, Serialize, Deserialize)]
struct ChargeOrder {
    order: u32,
}

impl TaskHandler for ChargeOrder {
    const IDENTIFIER: &'static str = "charge_order";

    async fn run(self, ctx: WorkerContext) -> impl IntoTaskHandlerResult {
        Shop::in_context(&ctx).payments.charge(Charge::of_order(self.order, 500)).await.map(drop)
    }
}

/// Charges an order with the order's key.
#[derive(Clone, Serialize, Deserialize)]
struct ChargeOrderOnce {
    order: u32,
}

impl TaskHandler for ChargeOrderOnce {
    const IDENTIFIER: &'static str = "charge_order_once";

    async fn run(self, ctx: WorkerContext) -> impl IntoTaskHandlerResult {
        let charge = Charge::of_order(self.order, 500).key(format!("order-{}", self.order));
        Shop::in_context(&ctx).payments.charge(charge).await.map(drop)
    }
}

/// Sends one email, without protection against a second one.
async fn send(ctx: &WorkerContext, template: &str) -> Result<(), retryproof::ServiceError> {
    Shop::in_context(ctx).email.send(Email::new("ann@example.com", template)).await.map(drop)
}

/// A log that survives crashes, as an extension.
#[derive(Clone)]
struct Log(Durable<Vec<String>>);

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}

impl Log {
    fn of(world: &World) -> Self {
        Self(world.durable("log", Vec::new()))
    }

    fn note(&self, line: impl Into<String>) {
        self.0.update(|log| log.push(line.into()));
    }
}

/// Explores a world with one worker, which `worker` defines, and the jobs that `body` adds.
fn explore(
    deviations: usize,
    worker: impl Fn(&Process) -> GraphileWorker + Clone + Send + Sync + 'static,
    body: impl Fn(&World) + Sync,
) -> Report {
    Explore::new().name("explored").deviations(deviations).run(async |world: &World| {
        let worker = worker.clone();
        world.process("worker", move |p| worker(p).run(p));
        body(world);
        world.settle().await;
    })
}
