//! Bugs that are found, and correct code that passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use graphile_worker::{IntoTaskHandlerResult, JobSpec, TaskHandler, WorkerContext};
use retryproof::{Explore, Verdict, World};
use retryproof_graphile_worker::{AddJobs, GraphileWorker};
use serde::{Deserialize, Serialize};

use crate::{ChargeOrder, ChargeOrderOnce, Shop, explore};

#[test]
fn a_charge_without_a_key_is_made_twice_and_one_with_a_key_is_not() {
    let worker = |p: &retryproof::Process| {
        let shop = GraphileWorker::new().add_extension(Shop::of(p));
        shop.define_job::<ChargeOrder>().define_job::<ChargeOrderOnce>()
    };
    let naive = explore(1, worker, |world| {
        world.add_job(ChargeOrder { order: 6 }, JobSpec::default());
    });
    assert_eq!(naive.verdict(), Verdict::Violated);
    assert_eq!(naive.violations()[0].summary, "payments.charge happened twice, expected once");
    let mended = explore(2, worker, |world| {
        world.add_job(ChargeOrderOnce { order: 6 }, JobSpec::default());
    });
    assert_eq!(mended.verdict(), Verdict::RetryProof, "{mended}");
    assert!(mended.runs() > 20, "{}", mended.runs());
}

/// Charges an order unless it remembers having done so.
#[derive(Serialize, Deserialize)]
struct ChargeUnlessSeen {
    order: u32,
}

/// The memory of a process.
#[derive(Clone, Debug, Default)]
struct Seen(Arc<AtomicU32>);

impl TaskHandler for ChargeUnlessSeen {
    const IDENTIFIER: &'static str = "charge_unless_seen";

    async fn run(self, ctx: WorkerContext) -> impl IntoTaskHandlerResult {
        if ctx.get_ext::<Seen>().expect("it is there").0.swap(self.order, Ordering::Relaxed) == self.order {
            return Ok(());
        }
        let charge = retryproof::service::payments::Charge::of_order(self.order, 500);
        Shop::in_context(&ctx).payments.charge(charge).await.map(drop)
    }
}

#[test]
fn what_is_in_an_extension_is_gone_after_a_crash() {
    let worker = |p: &retryproof::Process| {
        let worker = GraphileWorker::new().add_extension(Shop::of(p)).add_extension(Seen::default());
        worker.define_job::<ChargeUnlessSeen>()
    };
    let add = |world: &World| {
        world.add_job(ChargeUnlessSeen { order: 6 }, JobSpec::default());
    };
    // A second delivery to the same process finds the memory of the first one. A delivery to the next incarnation
    // does not.
    let crashed = Explore::new().deviations(1).faults(0).deliveries(0).run(async |world: &World| {
        world.process("worker", move |p| worker(p).run(p));
        add(world);
        world.settle().await;
    });
    assert_eq!(crashed.verdict(), Verdict::Violated, "{crashed}");
    let again = Explore::new().name("again").replay("again job#1.1:ack=again");
    let delivered = again.run(async |world: &World| {
        world.process("worker", move |p| worker(p).run(p));
        add(world);
        world.settle().await;
    });
    assert_eq!((delivered.reason(), delivered.violations().len()), (None, 0), "{delivered}");
}

#[test]
fn an_identifier_that_nobody_runs_and_a_payload_that_does_not_decode_are_said() {
    let worker = |p: &retryproof::Process| {
        GraphileWorker::new().add_extension(Shop::of(p)).define_job::<ChargeOrderOnce>()
    };
    let unknown = explore(1, worker, |world| {
        world.add_raw_job("charge_odrer", (), JobSpec::default());
    });
    assert_eq!(unknown.verdict(), Verdict::Violated);
    // A part: the rest is in a text of the core.
    assert!(unknown.to_string().contains("job#1 charge_odrer has no handler"), "{unknown}");
    let undecodable = explore(1, worker, |world| {
        world.add_raw_job("charge_order_once", [("order", "six")], JobSpec::default());
    });
    assert_eq!(undecodable.verdict(), Verdict::Violated);
    let text = undecodable.to_string();
    assert!(text.contains("job#1 charge_order_once does not decode: "), "{text}");
    assert!(text.contains(r#"its payload is [["order","six"]]"#), "{text}");
}

#[test]
fn two_explorations_say_the_same() {
    let report = || {
        let worker = |p: &retryproof::Process| {
            GraphileWorker::new().add_extension(Shop::of(p)).define_job::<ChargeOrder>()
        };
        explore(2, worker, |world| {
            world
                .add_job(ChargeOrder { order: 6 }, JobSpec::builder().max_attempts(3).job_key("six").build());
            world.add_job(ChargeOrder { order: 7 }, JobSpec::builder().queue_name("one").build());
        })
    };
    let (one, other) = (report(), report());
    assert_eq!(one.to_string(), other.to_string());
    assert_eq!(one.runs(), other.runs());
    assert!(one.to_string().contains("charge_order"));
}
