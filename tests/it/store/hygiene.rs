//! Code that works but is risky: a warning, and a violation if the test says so.

use super::{S, explore, one_deviation};
use retryproof::report::Oracle;
use retryproof::service::payments::Charge;
use retryproof::store::Isolation::ReadCommitted;
use retryproof::{Explore, Process, Report, StoreError, Verdict, World};

#[derive(serde::Serialize, serde::Deserialize)]
struct Ship {
    order: u32,
}

/// Charges while a transaction is open, or after the commit.
fn charging(inside: bool) -> impl Fn(&Process) + Clone + Sync {
    move |p| {
        let (store, payments) = (p.store(), p.payments());
        p.handle(async move |order: u32| {
            let charge = Charge::of_order(order, 500).key(format!("order-{order}"));
            let mut tx = store.transaction(ReadCommitted).await;
            tx.put("order", &"paying").await?;
            if inside {
                payments.charge(charge).await?;
                tx.commit().await
            } else {
                tx.commit().await?;
                payments.charge(charge).await.map(drop).map_err(StoreError::from)
            }
        });
    }
}

fn line(marker: &str) -> usize {
    let source = include_str!("hygiene.rs");
    source[..source.find(marker).unwrap()].lines().count()
}

#[test]
fn a_call_to_the_outside_while_a_transaction_is_open() {
    let report = explore(&one_deviation(), &[], &[6], charging(true));
    // It is not a violation.
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    let [warning] = report.warnings() else { panic!("{report}") };
    let (call, begun) = (line("payments.charge(charge)"), line("store.transaction("));
    assert_eq!(
        warning.summary,
        format!(
            "payments.charge is called while the transaction begun at tests/it/store/hygiene.rs:{begun} is open"
        )
    );
    assert_eq!(warning.place, Some(format!("tests/it/store/hygiene.rs:{call}")));
    let text = report.to_string();
    let section = text.split("\nwarnings\n").nth(1).expect("a section").split("\n\n").next().unwrap();
    assert_eq!(
        section,
        format!(
            "  payments.charge is called while the transaction begun at tests/it/store/hygiene.rs:{begun} is open (tests/it/store/hygiene.rs:{call}): the transaction holds row locks and a connection until the answer comes; make the call after the commit"
        )
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["warnings"][0]["place"], format!("tests/it/store/hygiene.rs:{call}"));
    assert_eq!(explore(&one_deviation(), &[], &[6], charging(true)).to_string(), text, "byte for byte");
}

#[test]
fn a_call_after_the_commit_is_left_alone() {
    let report = explore(&one_deviation(), &[], &[6], charging(false));
    assert_eq!((report.verdict(), report.warnings()), (Verdict::RetryProof, &[][..]), "{report}");
    assert!(!report.to_string().contains("warnings"), "{report}");
    assert!(serde_json::to_value(&report).unwrap().get("warnings").is_none());
}

#[test]
fn one_that_only_some_run_meets_is_told_too() {
    let report = explore(&one_deviation().crashes(0).deliveries(0), &[], &[6], |p| {
        let (store, payments) = (p.store(), p.payments());
        p.handle(async move |order: u32| {
            let unreachable = store.get::<u32>("order").await.is_err();
            let tx = store.transaction(ReadCommitted).await;
            if unreachable {
                payments.charges(order).await?;
            }
            tx.commit().await
        });
    });
    assert_eq!((report.verdict(), report.warnings().len()), (Verdict::RetryProof, 1), "{report}");
}

#[test]
fn another_jobs_transaction_is_no_matter() {
    let report = explore(&one_deviation().faults(0), &[], &[1, 2], |p| {
        let (store, payments, clock) = (p.store(), p.payments(), p.clock());
        p.handle(async move |order: u32| {
            if order == 1 {
                let mut tx = store.transaction(ReadCommitted).await;
                tx.put("order", &1).await?;
                clock.sleep(S).await;
                tx.commit().await
            } else {
                payments.charges(order).await?;
                // A call to the store itself is not an external call.
                store.get::<u32>("order").await.map(drop)
            }
        });
    });
    assert_eq!((report.verdict(), report.warnings().len()), (Verdict::RetryProof, 0), "{report}");
}

#[test]
fn an_enqueue_while_a_transaction_is_open() {
    let report = explore(&one_deviation().deviations(0), &[], &[6], |p| {
        let (store, queue) = (p.store(), p.queue());
        p.handle(async move |order: u32| {
            let mut tx = store.transaction(ReadCommitted).await;
            tx.put("order", &order).await?;
            let _ = queue.enqueue(Ship { order }).await;
            tx.commit().await
        });
        let store = p.store();
        p.handle_blocking(move |ship: Ship| {
            let tx = store.transaction_blocking(ReadCommitted);
            drop(store.get_blocking::<u32>(format!("order:{}", ship.order)));
            tx.commit_blocking()
        });
    });
    let summaries: Vec<_> = report.warnings().iter().map(|warning| &*warning.summary).collect();
    let begun = source_line("let (store, queue)") + 2;
    assert_eq!(
        summaries,
        [format!(
            "job `Ship` is enqueued while the transaction begun at tests/it/store/hygiene.rs:{begun} is open"
        )]
    );
}

fn source_line(marker: &str) -> usize {
    line(marker)
}

/// Explores three slots with this number of connections.
fn pooled(settings: &Explore, connections: Option<usize>, deny: bool, uses: bool) -> Report {
    settings.run(async move |world: &World| {
        if let Some(most) = connections {
            world.store().connections(most);
        }
        if deny {
            world.deny_warnings();
        }
        world.durable("nothing", ());
        world.process("worker", move |p| {
            p.slots(3);
            let store = uses.then(|| p.store());
            p.handle(async move |_: u32| match &store {
                Some(store) => store.put("a", &1).await,
                None => Ok(()),
            });
        });
        world.enqueue(1_u32);
        world.settle().await;
    })
}

#[test]
fn a_pool_smaller_than_the_slots_that_need_it() {
    let report = pooled(&one_deviation(), Some(2), false, true);
    let [warning] = report.warnings() else { panic!("{report}") };
    assert_eq!(warning.summary, "`worker` runs 3 jobs at once over 2 connections to the store");
    assert_eq!((report.verdict(), &warning.place), (Verdict::RetryProof, &None));
    for (connections, uses) in [(Some(3), true), (None, true), (Some(1), false)] {
        let report = pooled(&one_deviation(), connections, false, uses);
        assert!(report.warnings().is_empty(), "{report}");
    }
}

#[test]
fn what_the_test_denies_is_a_violation() {
    let report = pooled(&one_deviation(), Some(1), true, true);
    assert_eq!((report.verdict(), report.warnings()), (Verdict::Violated, &[][..]), "{report}");
    let [violation] = report.violations() else { panic!("{report}") };
    assert_eq!(violation.oracle, Oracle::Hygiene);
    assert_eq!(violation.summary, "`worker` runs 3 jobs at once over 1 connection to the store");
    assert!(pooled(&one_deviation(), Some(3), true, true).is_retryproof());

    let report = Explore::new().name("test").deviations(1).run(async |world: &World| {
        world.deny_warnings();
        world.process("worker", charging(true));
        world.enqueue(6_u32);
        world.settle().await;
    });
    let [violation] = report.violations() else { panic!("{report}") };
    assert_eq!(
        violation.place,
        Some(format!("tests/it/store/hygiene.rs:{}", line("payments.charge(charge)")))
    );
    let text = report.to_string();
    // A part: the lines have numbers of this file.
    assert!(
        text.contains("call after the commit") && text.contains("payments.charge(charge).await?;"),
        "{text}"
    );
}
