//! Jobs that add jobs.

use graphile_worker::{
    IntoTaskHandlerResult, JobSpec, RawJobSpec, TaskHandler, WorkerContext, WorkerContextExt, WorkerUtils,
};
use retryproof::service::payments::Charge;
use retryproof::{Explore, Verdict, World};
use retryproof_graphile_worker::{AddJobs, GraphileWorker, database, date};
use serde::{Deserialize, Serialize};

use crate::{ChargeOrderOnce, HOUR, Shop, explore};

/// Charges a fee once for each job. The number of a job is the same in each attempt.
#[derive(Clone, Serialize, Deserialize)]
struct Remind {
    order: u32,
}

impl TaskHandler for Remind {
    const IDENTIFIER: &'static str = "remind";

    async fn run(self, ctx: WorkerContext) -> impl IntoTaskHandlerResult {
        let fee = Charge::of_order(self.order, 100).key(format!("reminder-{}", ctx.job().id()));
        Shop::in_context(&ctx).payments.charge(fee).await.map(drop)
    }
}

/// The way in which an order adds its reminder.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum How {
    WithoutAKey,
    WithAKey,
    AtOnceWithAKey,
    ByTheRealClock,
}

#[derive(Clone, Serialize, Deserialize)]
struct PlaceOrder {
    order: u32,
    how: How,
}

impl TaskHandler for PlaceOrder {
    const IDENTIFIER: &'static str = "place_order";

    async fn run(self, ctx: WorkerContext) -> impl IntoTaskHandlerResult {
        let in_an_hour = *ctx.job().run_at() + HOUR;
        let key = format!("remind-{}", self.order);
        let spec = match self.how {
            How::WithoutAKey => JobSpec::builder().run_at(in_an_hour),
            How::WithAKey => JobSpec::builder().run_at(in_an_hour).job_key(key),
            How::AtOnceWithAKey => JobSpec::builder().job_key(key),
            How::ByTheRealClock => JobSpec::builder().run_at(chrono::Utc::now() + HOUR).job_key(key),
        };
        ctx.add_job(Remind { order: self.order }, spec.build()).await.map(drop)
    }
}

fn placed(how: How) -> retryproof::Report {
    let worker = |p: &retryproof::Process| {
        let worker = GraphileWorker::new().add_extension(Shop::of(p)).define_job::<PlaceOrder>();
        worker.define_job::<Remind>()
    };
    explore(2, worker, |world| {
        world.add_job(PlaceOrder { order: 6, how }, JobSpec::default());
    })
}

#[test]
fn a_reminder_is_added_twice_without_a_key_and_once_with_one() {
    let naive = placed(How::WithoutAKey);
    assert_eq!(naive.verdict(), Verdict::Violated);
    assert_eq!(naive.violations()[0].summary, "payments.charge happened, but happens in no fault-free run");
    let mended = placed(How::WithAKey);
    assert_eq!(mended.verdict(), Verdict::RetryProof, "{mended}");
    assert!(mended.runs() > 100, "{}", mended.runs());
    // The real clock works as well, and each run is the same.
    let real = placed(How::ByTheRealClock);
    assert_eq!((real.verdict(), real.runs()), (Verdict::RetryProof, mended.runs()), "{real}");
}

#[test]
fn a_key_guards_only_as_long_as_the_job_is_there() {
    let report = placed(How::AtOnceWithAKey);
    assert_eq!(report.verdict(), Verdict::Violated);
    assert_eq!(report.violations()[0].summary, "payments.charge happened, but happens in no fault-free run");
}

/// Adds many jobs in one statement.
#[derive(Serialize, Deserialize)]
struct AddMany {
    raw: bool,
}

impl TaskHandler for AddMany {
    const IDENTIFIER: &'static str = "add_many";

    async fn run(self, ctx: WorkerContext) -> impl IntoTaskHandlerResult {
        let spec = |order: i16| JobSpec::builder().priority(order).run_at(date(HOUR)).build();
        let specs: Vec<_> = (1..=3).map(spec).collect();
        let added = if self.raw {
            let job = |(spec, order): (&JobSpec, u32)| RawJobSpec {
                identifier: "charge_order_once".to_owned(),
                payload: serde_json::json!({ "order": order }),
                spec: spec.clone(),
            };
            ctx.add_raw_jobs(&specs.iter().zip(1..).map(job).collect::<Vec<_>>()).await?
        } else {
            let jobs: Vec<_> =
                specs.iter().zip(1..).map(|(spec, order)| (ChargeOrderOnce { order }, spec)).collect();
            ctx.add_jobs(&jobs).await?
        };
        assert_eq!((added.len(), added[1].payload()), (3, &serde_json::json!({ "order": 2 })));
        assert!(added.iter().all(|job| job.task_identifier() == "charge_order_once"));
        assert_eq!((*added[2].priority(), *added[2].run_at()), (3, date(HOUR)));
        Ok::<(), graphile_worker::errors::GraphileWorkerError>(())
    }
}

#[test]
fn jobs_that_are_added_together_come_all_or_none() {
    for raw in [true, false] {
        let worker = |p: &retryproof::Process| {
            let worker = GraphileWorker::new().add_extension(Shop::of(p)).define_job::<AddMany>();
            worker.define_job::<ChargeOrderOnce>()
        };
        let report = Explore::new().deviations(1).run(async |world: &World| {
            world.process("worker", move |p| worker(p).run(p));
            world.add_job(AddMany { raw }, JobSpec::default());
            world.settle().await;
            let added = world.all_jobs().iter().filter(|job| job.kind == "charge_order_once").count();
            assert!(added > 0 && added % 3 == 0, "{added}, of three each time");
        });
        assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
        assert!(report.runs() > 15, "{}", report.runs());
    }
}

#[test]
fn utils_of_the_process_add_to_the_same_queue() {
    let world = World::fake();
    world.process("web", |p| {
        GraphileWorker::new().add_extension(Shop::of(p)).define_job::<ChargeOrderOnce>().run(p);
        let utils = WorkerUtils::new(database(p), "graphile_worker");
        p.spawn("requests", async move {
            let job = utils.add_job(ChargeOrderOnce { order: 6 }, JobSpec::default()).await.unwrap();
            assert_eq!((job.task_identifier().as_str(), *job.attempts()), ("charge_order_once", 0));
        });
    });
    world.settle_until(|world| !world.payments().records().is_empty()).run();
    assert_eq!(world.payments().records().len(), 1);
}
