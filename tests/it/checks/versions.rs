//! Two versions of a program at once, and schedulers on several nodes.

use super::{assert_green, keyed, one_deviation};
use crate::support::{DAY, has_line, panic_of, scenarios};
use expect_test::expect;
use retryproof::job::NewJob;
use retryproof::{Conflict, Process, Report, Verdict, World};

mod old {
    #[derive(serde::Serialize, serde::Deserialize)]
    pub(super) struct Order {
        pub(super) id: u32,
    }
}

mod new {
    #[derive(serde::Serialize, serde::Deserialize)]
    pub(super) struct Order {
        pub(super) id: u32,
        pub(super) currency: String,
    }
}

mod careful {
    #[derive(serde::Serialize, serde::Deserialize)]
    pub(super) struct Order {
        pub(super) id: u32,
        #[serde(default)]
        pub(super) currency: String,
    }
}

/// Accepts an order and enqueues its payment, and pays.
fn old_version(p: &Process) {
    let queue = p.queue();
    p.handle(async move |id: u32| queue.enqueue(old::Order { id }).await.map(drop));
    let payments = p.payments();
    p.handle(async move |order: old::Order| payments.charge(keyed(order.id)).await.map(drop));
}

/// Only preemptions: a process takes a job.
fn explore(boot: fn(&Process)) -> Report {
    let explore = one_deviation().crashes(0).faults(0).deliveries(0);
    explore.run(async move |world: &World| {
        world.jobs::<old::Order>().ignore("$.currency");
        world.process("worker", old_version).replaced_by(boot);
        world.enqueue(6_u32);
        world.settle().await;
    })
}

#[test]
fn a_payload_that_the_other_version_cannot_read() {
    let report = explore(|p| {
        let queue = p.queue();
        let enqueue = async move |id: u32| {
            let currency = "EUR".to_owned();
            queue.enqueue(new::Order { id, currency }).await.map(drop)
        };
        p.handle(enqueue);
        let payments = p.payments();
        p.handle(async move |order: new::Order| {
            assert!(!order.currency.is_empty());
            payments.charge(keyed(order.id)).await.map(drop)
        });
    });
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert!(scenarios(&report).contains(&"test job#2.1:take=other".to_owned()), "{report}");
    has_line(&report, expect!["✗ worker@new takes the job"]);
}

#[test]
fn versions_that_read_the_payloads_of_each_other() {
    let report = explore(|p| {
        let queue = p.queue();
        let enqueue = async move |id: u32| {
            let currency = "EUR".to_owned();
            queue.enqueue(careful::Order { id, currency }).await.map(drop)
        };
        p.handle(enqueue);
        let payments = p.payments();
        p.handle(async move |order: careful::Order| {
            assert!(["", "EUR"].contains(&&*order.currency));
            payments.charge(keyed(order.id)).await.map(drop)
        });
    });
    assert_green(&report);
    // Either version may take each of the two jobs (2), and the second one may run while the first one goes on (1).
    assert_eq!(report.runs(), 1 + 2 + 1);
}

#[test]
fn versions_that_handle_no_kind_in_common() {
    let world = World::fake();
    let add = || {
        world.process("worker", old_version).replaced_by(|p| {
            p.handle(async |_: String| ());
        });
    };
    assert_eq!(
        panic_of(add),
        "the two versions of the process `worker` handle no kind of job in common (u32, Order and String); a new version has to handle the jobs that the old one has enqueued"
    );
}

/// A nightly report, which a scheduler on each of two nodes enqueues. With `is_once`, under a key for each night.
fn nightly(is_once: bool) -> Report {
    one_deviation().run(async move |world: &World| {
        for node in ["node-1", "node-2"] {
            world.process(node, move |p| {
                p.every("nightly", DAY, move |night| {
                    let report = NewJob::encoded::<u32>(night.to_string());
                    let key = format!("night-{night}");
                    (night == 1)
                        .then(|| if is_once { report.deduplicate(key, Conflict::Drop) } else { report })
                });
                let payments = p.payments();
                p.handle(async move |night: u32| payments.charge(keyed(night)).await.map(drop));
            });
        }
        let is_idle = |world: &World| {
            let stats = world.stats();
            stats.enqueued + stats.scheduled + stats.retries + stats.leased + stats.busy == 0
        };
        world.settle_until(|world| !world.payments().records().is_empty() && is_idle(world)).await;
        assert_eq!(world.all_jobs().len(), 1, "one report a night");
    })
}

#[test]
fn a_scheduler_on_each_node() {
    let report = nightly(false);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    has_line(
        &report,
        expect![r"panic: assertion `left == right` failed: one report a night\n  left: 2\n right: 1"],
    );
    assert_green(&nightly(true));
}
