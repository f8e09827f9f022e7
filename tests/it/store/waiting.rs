//! Locked rows, deadlocks, and pools that are too small: which tasks wait for each other, and when they continue.

use std::time::Duration;

use super::{S, assert_green, assert_row, assert_violated, explore, one_deviation, preemptions, replay};
use crate::support::has_line;
use expect_test::expect;
use retryproof::service::email::Email;
use retryproof::store::Isolation::{ReadCommitted, Serializable};
use retryproof::{Explore, Process, Report, StoreError, Verdict, World};

/// Takes the row `a`, holds it for `seconds` seconds, and adds the number of the job.
fn holding(seconds: u32) -> impl Fn(&Process) + Clone + Sync {
    move |p| {
        let (store, clock) = (p.store(), p.clock());
        p.handle(async move |job: u32| {
            let mut tx = store.transaction(ReadCommitted).await;
            let row = tx.for_update::<u32>("a").await?.expect("a given");
            clock.sleep(seconds * S).await;
            tx.put("a", &(row.value + job)).await?;
            tx.commit().await
        });
    }
}

#[test]
fn who_wants_a_locked_row_waits_for_the_commit() {
    let report = Explore::new().name("test").deviations(0).run(async |world: &World| {
        world.store().put("a", &100).await.unwrap();
        world.process("worker", holding(10));
        world.enqueue_bulk([1_u32, 10]);
        world.settle().await;
        // One after the other.
        assert_eq!(world.now(), 20 * S);
        assert_eq!(world.store().get::<u32>("a").await.unwrap().map(|row| row.value), Some(111));
    });
    assert_green(&report);
}

#[test]
fn a_lock_is_given_up_when_its_process_dies() {
    assert_green(&dying_with_a_lock(false));
    // No destructor runs, as with a thread that lives on.
    assert_green(&dying_with_a_lock(true));
}

fn dying_with_a_lock(leaked: bool) -> Report {
    Explore::new().name("test").deviations(0).run(async move |world: &World| {
        world.store().put("a", &100).await.unwrap();
        world.process("one", move |p| {
            p.queues(["one"]);
            let (store, clock) = (p.store(), p.clock());
            p.handle(async move |_: u8| {
                let mut tx = store.transaction(ReadCommitted).await;
                tx.put("a", &0).await?;
                let tx = if leaked {
                    std::mem::forget(tx);
                    None
                } else {
                    Some(tx)
                };
                clock.sleep(1_000 * S).await;
                drop(tx);
                Ok::<_, StoreError>(())
            })
            .queue("one")
            .max_retries(0);
        });
        world.process("two", holding(0));
        world.enqueue(1_u8);
        world.settle_until(|world| world.now() == Duration::ZERO && world.stats().busy == 1).await;
        world.enqueue(1_u32);
        world.enqueue_in(5 * S, Poke);
        world.process("three", |p| {
            p.handle(async |_: Poke| ());
        });
        world.settle_until(|world| world.now() == 5 * S).await;
        assert_eq!(world.store().get::<u32>("a").await.unwrap().map(|row| row.value), Some(100));
        world.crash("one");
        world.settle_until(|world| world.stats().processed == 2).await;
        assert_eq!(world.now(), 5 * S, "the one who waited went on at once");
        assert_eq!(world.store().get::<u32>("a").await.unwrap().map(|row| row.value), Some(101));
        world.settle().await;
    })
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Poke;

#[test]
fn wherever_the_holder_dies_the_others_go_on() {
    let report = explore(&one_deviation().faults(0).deliveries(0), &[("a", 0)], &[1, 10], |p| {
        let (store, clock) = (p.store(), p.clock());
        p.handle(async move |job: u32| {
            let mut tx = store.transaction(ReadCommitted).await;
            let row = tx.for_update::<u32>("a").await?.expect("a given");
            // The guard: a row for each job, in the same transaction.
            if tx.get::<bool>(format!("done:{job}")).await?.is_none() {
                clock.sleep(S).await;
                tx.put("a", &(row.value + job)).await?;
                tx.put(format!("done:{job}"), &true).await?;
            }
            tx.commit().await
        });
    });
    assert_green(&report);
}

#[test]
fn a_wait_is_a_crash_point() {
    let waiting = |settings: Explore, connections: usize| {
        settings.run(async move |world: &World| {
            world.store().put("a", &0).await.unwrap();
            world.store().connections(connections);
            world.process("worker", |p| {
                let (store, clock, email) = (p.store(), p.clock(), p.email());
                p.handle(async move |job: u32| {
                    if job == 2 {
                        email.send(Email::new("ada", "waits")).await?;
                    }
                    let mut tx = store.transaction(ReadCommitted).await;
                    tx.put("a", &1).await?;
                    clock.sleep(S).await;
                    tx.commit().await
                });
            });
            world.enqueue_bulk([1_u32, 2]);
            world.settle().await;
        })
    };
    let twice = "email.send happened twice, expected once";
    let ada = r#"2 × email.send {"to":"ada","template_id":"waits"}"#;
    for (connections, crash, cause) in [
        (
            2,
            "2.1/lock-wait:before=crash",
            expect!["job#2, attempt 1: the process crashes here, while the job waits for a locked row"],
        ),
        (
            1,
            "2.1/pool-wait:before=crash",
            expect![
                "job#2, attempt 1: the process crashes here, while the job waits for a connection to the store"
            ],
        ),
    ] {
        let report = waiting(replay(crash), connections);
        assert_violated(&report, twice, ada, crash);
        cause.assert_eq(&report.violations()[0].cause[0]);
    }
}

/// Takes `a` and `b`, in an order that depends on the job.
fn crosswise(p: &Process) {
    let (store, email) = (p.store(), p.email());
    p.handle(async move |job: u32| {
        let keys = if job == 1 { ["a", "b"] } else { ["b", "a"] };
        let mut tx = store.transaction(ReadCommitted).await;
        for key in keys {
            match tx.put(key, &1).await {
                Err(StoreError::Deadlock { key }) => {
                    email.send(Email::new("ada", &key)).await?;
                    assert_eq!(tx.commit().await, Err(StoreError::RolledBack));
                    return Err(StoreError::Deadlock { key });
                }
                other => other?,
            }
        }
        tx.commit().await
    });
}

#[test]
fn two_that_wait_for_each_other_are_a_deadlock_and_one_of_them_is_told() {
    let report = explore(&preemptions(1), &[], &[1, 2], crosswise);
    // The second job takes `b` and waits for `a`. The first one then wants `b`.
    let told = report
        .violations()
        .iter()
        .find(|v| v.summary == "email.send happened, but happens in no fault-free run");
    let told = told.unwrap_or_else(|| panic!("{report}"));
    assert_eq!(told.scenario.to_string(), "test job#1.1/store.put:next=other");
    assert!(told.actual.contains(r#""template_id":"b""#), "{}", told.actual);
    // The job that loses is retried, and both end as they should.
    assert_eq!(report.violations().len(), 1, "{report}");
    let text = report.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    let waits = "waits at tests/it/store/waiting.rs:";
    let locked = "for the row `a`, which is locked by the transaction that job#1.1 began at";
    let deadlock = "→ error: deadlock at the row `b`: the transactions that hold it wait for this one; it is rolled back: run the whole transaction again, or lock rows in the same order everywhere";
    assert!(text.contains(waits) && text.contains(locked) && text.contains(deadlock), "{text}");
}

#[test]
fn a_pool_in_which_all_wait_for_a_second_connection_is_stuck_and_named() {
    let report = preemptions(0).run(async |world: &World| {
        world.store().connections(4);
        world.process("worker", |p| {
            let (store, clock) = (p.store(), p.clock());
            p.handle(async move |job: u32| {
                let mut tx = store.transaction(ReadCommitted).await;
                tx.put(format!("order:{job}"), &job).await?;
                clock.sleep(S).await;
                // Outside of the transaction, this takes a second connection.
                store.incr("orders", 1).await?;
                tx.commit().await
            });
        });
        world.enqueue_bulk(1..=5_u32);
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::Stuck, "{report}");
    let reason = report.reason().unwrap();
    let line = |marker: &str| {
        let source = include_str!("waiting.rs");
        let pool = source.find("fn a_pool_in_which").unwrap();
        source[..pool + source[pool..].find(marker).unwrap()].lines().count()
    };
    let (began, wants) = (line("store.transaction("), line("store.incr("));
    let held = (1..=4).map(|job| format!("job#{job}.1 since tests/it/store/waiting.rs:{began}:"));
    assert!(reason.starts_with("deadlock: nothing can go on and no timer is set; "), "{reason}");
    // A part: the columns move with each edit.
    assert!(reason.contains(&format!("job#1.1 u32 waits at tests/it/store/waiting.rs:{wants}:")), "{reason}");
    has_line(
        reason,
        expect![
            "deadlock: nothing can go on and no timer is set; job#1.1 u32 waits at tests/it/store/waiting.rs:… for a connection to the store: all 4 of the pool of `worker` are held (job#1.1 since tests/it/store/waiting.rs:…, job#2.1 since tests/it/store/waiting.rs:…, job#3.1 since tests/it/store/waiting.rs:…, job#4.1 since tests/it/store/waiting.rs:…); job#2.1 u32 waits at tests/it/store/waiting.rs:… for a connection to the store: all 4 of the pool of `worker` are held (job#1.1 since tests/it/store/waiting.rs:…, job#2.1 since tests/it/store/waiting.rs:…, job#3.1 since tests/it/store/waiting.rs:…, job#4.1 since tests/it/store/waiting.rs:…); job#3.1 u32 waits at tests/it/store/waiting.rs:… for a connection to the store: all 4 of the pool of `worker` are held (job#1.1 since tests/it/store/waiting.rs:…, job#2.1 since tests/it/store/waiting.rs:…, job#3.1 since tests/it/store/waiting.rs:…, job#4.1 since tests/it/store/waiting.rs:…); job#4.1 u32 waits at tests/it/store/waiting.rs:… for a connection to the store: all 4 of the pool of `worker` are held (job#1.1 since tests/it/store/waiting.rs:…, job#2.1 since tests/it/store/waiting.rs:…, job#3.1 since tests/it/store/waiting.rs:…, job#4.1 since tests/it/store/waiting.rs:…); job#5.1 u32 waits at tests/it/store/waiting.rs:… for a connection to the store: all 4 of the pool of `worker` are held (job#1.1 since tests/it/store/waiting.rs:…, job#2.1 since tests/it/store/waiting.rs:…, job#3.1 since tests/it/store/waiting.rs:…, job#4.1 since tests/it/store/waiting.rs:…)"
        ],
    );
    // A part: the columns move with each edit.
    assert!(reason.contains(&format!("job#5.1 u32 waits at tests/it/store/waiting.rs:{began}:")), "{reason}");
    held.for_each(|held| assert!(reason.contains(&held), "{held}: {reason}"));
}

#[test]
fn a_pool_of_one_serves_all_who_want_one_at_a_time_in_their_order() {
    let report = preemptions(0).run(async |world: &World| {
        world.store().connections(1);
        world.process("worker", |p| {
            let (store, clock) = (p.store(), p.clock());
            p.handle(async move |job: u32| {
                let mut tx = store.transaction(Serializable).await;
                clock.sleep(S).await;
                let row = tx.get::<Vec<u32>>("order").await?;
                let mut order = row.map(|row| row.value).unwrap_or_default();
                order.push(job);
                tx.put("order", &order).await?;
                tx.commit().await
            });
        });
        world.enqueue_bulk([3_u32, 1, 2]);
        world.settle().await;
        let order = world.store().get::<Vec<u32>>("order").await.unwrap().unwrap().value;
        assert_eq!((order, world.now()), (vec![3, 1, 2], 3 * S));
    });
    // Any order of the jobs is correct, and this one happened.
    assert_green(&report);
}

#[test]
fn connections_of_a_dead_process_are_closed() {
    let report = one_deviation().faults(0).deliveries(0).run(async |world: &World| {
        world.store().connections(1);
        world.process("worker", |p| {
            let store = p.store();
            p.handle(async move |job: u32| {
                let mut tx = store.transaction(ReadCommitted).await;
                tx.put(format!("order:{job}"), &job).await?;
                tx.commit().await?;
                store.put("last", &0).await
            });
        });
        world.enqueue_bulk([1_u32, 2]);
        world.settle().await;
    });
    assert_green(&report);
}

/// Registers a job that holds the row `a` for a second.
fn a_second_in_a_transaction(p: &Process) {
    let (store, clock) = (p.store(), p.clock());
    p.handle(async move |_: u8| {
        let mut tx = store.transaction(ReadCommitted).await;
        tx.put("a", &1).await?;
        clock.sleep(S).await;
        tx.commit().await
    });
}

#[test]
fn a_blocking_job_waits_on_its_slot() {
    let report = preemptions(0).run(async |world: &World| {
        world.store().put("a", &0).await.unwrap();
        world.process("worker", |p| {
            a_second_in_a_transaction(p);
            let store = p.store();
            p.handle_blocking(move |_: u16| store.incr_blocking("a", 1));
        });
        world.enqueue(1_u8);
        world.enqueue(1_u16);
        world.settle().await;
    });
    assert_green(&report);
}

#[cfg(feature = "tokio")]
#[test]
fn code_that_blocks_on_no_slot_would_wait_for_ever() {
    let report = preemptions(0).run(async |world: &World| {
        world.store().put("a", &0).await.unwrap();
        world.process("worker", |p| {
            a_second_in_a_transaction(p);
            let store = p.store();
            p.handle(async move |_: u16| {
                let store = store.clone();
                tokio::task::spawn_blocking(move || store.incr_blocking("a", 1)).await.unwrap()
            });
        });
        world.enqueue(1_u8);
        world.enqueue(1_u16);
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::Stuck, "{report}");
    let reason = report.reason().unwrap();
    has_line(
        reason,
        expect![
            "deadlock: nothing can go on and no timer is set; worker waits at tests/it/store/waiting.rs:… for the row `a`, which is locked by the transaction that job#1.1 began at tests/it/store/waiting.rs:…; because it blocks, nothing else can run meanwhile: use the async form"
        ],
    );
    has_line(
        reason,
        expect![
            "deadlock: nothing can go on and no timer is set; worker waits at tests/it/store/waiting.rs:… for the row `a`, which is locked by the transaction that job#1.1 began at tests/it/store/waiting.rs:…; because it blocks, nothing else can run meanwhile: use the async form"
        ],
    );
}

#[test]
fn rows_that_others_have_locked_are_skipped() {
    // Two workers share a table of tasks.
    let report = explore(&preemptions(2), &[("todo:1", 1), ("todo:2", 1)], &[1, 2], |p| {
        let (store, parcels) = (p.store(), p.fulfillment());
        p.handle(async move |_: u32| {
            let mut tx = store.transaction(ReadCommitted).await;
            let found = tx.skip_locked::<i64>("todo:", 1).await?;
            if let [(key, _)] = &found[..] {
                tx.delete(key).await?;
                tx.commit().await?;
                let parcel = retryproof::service::fulfillment::Shipment::of_order(key, "pr_1", 1);
                parcels.request(parcel.address("here")).await?;
            }
            Ok::<_, StoreError>(())
        });
    });
    assert_green(&report);
    // A job that checks and locks in two steps takes what another job has taken.
    let report = explore(&preemptions(1), &[("todo:1", 1), ("todo:2", 1)], &[1, 2], |p| {
        let store = p.store();
        p.handle(async move |_: u32| {
            let Some((key, _)) = store.scan::<i64>("todo:").await?.into_iter().next() else { return Ok(()) };
            store.delete(&key).await?;
            store.incr("done", 1).await?;
            Ok::<_, StoreError>(())
        });
    });
    assert_row(&report, "todo:2", "1", "1.1/store.scan:next=other");
}
