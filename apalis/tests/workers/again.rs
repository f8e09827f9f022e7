//! The same code has the same report, byte for byte.

use apalis::prelude::*;
use retryproof::{Report, World};
use retryproof_apalis::{ProcessExt, WorldStorage};

use crate::{S, charge_naively, deviations};

async fn order(order: u32, id: TaskId, mut mails: Data<WorldStorage<String>>) -> Result<(), BoxDynError> {
    let metadata = (0..20).map(|n| (format!("key {n}"), format!("{n}"))).collect();
    let mail = TaskBuilder::new(format!("{id} {order}")).with_metadata(metadata).run_after(90 * S);
    mails.push_task(mail.build()).await?;
    Ok(())
}

fn explored(threads: usize) -> Report {
    deviations(2).threads(threads).run(async |world: &World| {
        world.process("worker", |p| {
            let orders = WorkerBuilder::new("orders").backend(p.storage()).data(p.storage::<String>());
            p.run_worker(orders.retry(RetryPolicy::retries(1)).build(order));
            let charges = WorkerBuilder::new("charges").backend(p.storage()).data(p.payments());
            p.run_worker(
                charges.build(async |_: String, till: Data<crate::Till>| charge_naively(6, till).await),
            );
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}

#[test]
fn two_explorations_report_the_same() {
    let (one, other) = (explored(1), explored(1));
    assert!(one.runs() > 20 && !one.is_retryproof(), "{one}");
    // A second exploration in one test has another name.
    assert_eq!(one.to_string(), other.to_string().replace("report_the_same#2", "report_the_same"));
    let json = |report: &Report| serde_json::to_string(report).unwrap();
    assert_eq!(json(&one), json(&other).replace("report_the_same#2", "report_the_same"));
}

#[test]
fn more_threads_report_the_same() {
    let (one, more) = (explored(1), explored(3));
    assert_eq!(one.to_string(), more.to_string().replace("report_the_same#2", "report_the_same"));
}
