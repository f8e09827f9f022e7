//! A graphile_worker task that places an order, and adds a reminder for tomorrow.
//!
//! ```console
//! $ cargo run -p retryproof-graphile-worker --example graphile_job_key
//! ```
//!
//! You will see two reports. Without a job key, the reminder is added twice if the worker crashes at the wrong moment. With a
//! job key it is added once, and every scenario ends well. The program fails unless it comes out so.

#![expect(clippy::print_stdout, reason = "it is the example's purpose")]

use std::process::ExitCode;
use std::time::Duration;

use graphile_worker::{IntoTaskHandlerResult, JobSpec, TaskHandler, WorkerContext, WorkerContextExt};
use retryproof::service::payments::{Charge, Payments};
use retryproof::{Client, Explore, Report, Verdict, World};
use retryproof_graphile_worker::{AddJobs, GraphileWorker};
use serde::{Deserialize, Serialize};

const DAY: Duration = Duration::from_secs(86_400);

/// The services of the handlers.
#[derive(Clone, Debug)]
struct Shop {
    payments: Client<Payments>,
}

/// Charges an order, and schedules a reminder of the second half for tomorrow.
#[derive(Serialize, Deserialize)]
struct PlaceOrder {
    order: u32,
    keyed: bool,
}

/// Charges the second half once for each reminder, no matter what happens to the reminder.
#[derive(Serialize, Deserialize)]
struct Remind {
    order: u32,
}

impl TaskHandler for PlaceOrder {
    const IDENTIFIER: &'static str = "place_order";

    async fn run(self, ctx: WorkerContext) -> impl IntoTaskHandlerResult {
        let shop: &Shop = ctx.get_ext().expect("the worker has it");
        let charge = Charge::of_order(self.order, 1_299).key(format!("order-{}", self.order));
        shop.payments.charge(charge).await.map_err(|error| error.to_string())?;
        let mut spec = JobSpec { run_at: Some(chrono::Utc::now() + DAY), ..JobSpec::default() };
        if self.keyed {
            spec.job_key = Some(format!("remind-{}", self.order));
        }
        ctx.add_job(Remind { order: self.order }, spec).await.map(drop).map_err(|error| error.to_string())
    }
}

impl TaskHandler for Remind {
    const IDENTIFIER: &'static str = "remind";

    async fn run(self, ctx: WorkerContext) -> impl IntoTaskHandlerResult {
        let shop: &Shop = ctx.get_ext().expect("the worker has it");
        let charge = Charge::of_order(self.order, 1_299).key(format!("reminder-{}", ctx.job().id()));
        shop.payments.charge(charge).await.map(drop)
    }
}

fn explore(keyed: bool) -> Report {
    Explore::new().name(if keyed { "with a key" } else { "without a key" }).run(async |world: &World| {
        world.process("worker", |p| {
            GraphileWorker::new()
                .add_extension(Shop { payments: p.payments() })
                .define_job::<PlaceOrder>()
                .define_job::<Remind>()
                .run(p);
        });
        world.add_job(PlaceOrder { order: 6, keyed }, JobSpec::default());
        world.settle().await;
    })
}

fn main() -> ExitCode {
    let (broken, mended) = (explore(false), explore(true));
    println!("{broken}\n\n{mended}");
    let as_expected = broken.verdict() == Verdict::Violated && mended.verdict() == Verdict::RetryProof;
    if as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
