//! The effects of each call of the store, and its failures.

use super::{S, assert_green, assert_row, explore, one_deviation, replay};
use crate::support::has_line;
use expect_test::expect;
use retryproof::service::Behavior;
use retryproof::service::email::Email;
use retryproof::store::{Isolation, Row};
use retryproof::{Explore, ServiceError, Store, StoreError, Verdict, World};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u32,
    paid: bool,
}

fn version<T>(row: Option<Row<T>>) -> Option<u64> {
    row.map(|row| row.version)
}

/// Makes all calls one after another, and asserts their answers.
async fn every_call(store: &Store) -> Result<(), StoreError> {
    let order = Order { id: 6, paid: false };
    assert_eq!(store.get::<Order>("order:6").await?, None);
    store.put("order:6", &order).await?;
    assert_eq!(store.get("order:6").await?, Some(Row { value: order.clone(), version: 1 }));
    assert!(!store.compare_and_set("order:6", 7, &order).await?);
    assert!(store.compare_and_set("order:6", 1, &Order { paid: true, ..order.clone() }).await?);
    assert_eq!(version(store.get::<Order>("order:6").await?), Some(2));
    let duplicate = StoreError::Duplicate { key: "order:6".to_owned() };
    assert_eq!(store.insert("order:6", &order).await, Err(duplicate));
    store.insert("order:7", &order).await?;
    let scanned: Vec<(String, Row<Order>)> = store.scan("order:").await?;
    assert_eq!(scanned.iter().map(|(key, _)| &**key).collect::<Vec<_>>(), ["order:6", "order:7"]);
    assert!(store.delete("order:7").await?);
    assert!(!store.delete("order:7").await?);
    assert_eq!((store.incr("n", 5).await?, store.incr("n", -2).await?), (5, 3));
    assert!(store.set_if_absent("lock", "me", 30 * S).await?);
    assert!(!store.set_if_absent("lock", "you", None).await?);
    assert!(!store.delete_if("lock", "you").await?);
    assert!(store.delete_if("lock", "me").await?);
    let error = store.get::<u32>("order:6").await.unwrap_err().to_string();
    assert!(error.starts_with("the row `order:6` cannot be read as u32: "), "{error}");
    let unwritable = std::collections::BTreeMap::from([((1, 2), 3)]);
    let error = store.put("map", &unwritable).await.unwrap_err().to_string();
    assert_eq!(error, "the value for the row `map` cannot be written as JSON: key must be a string");
    Ok(())
}

fn every_blocking_call(store: &Store) -> Result<(), StoreError> {
    store.put_blocking("a", &1)?;
    assert_eq!(store.get_blocking::<u32>("a")?.map(|row| (row.value, row.version)), Some((1, 1)));
    assert!(store.compare_and_set_blocking("a", 1, &2)?);
    assert_eq!(store.scan_blocking::<u32>("")?.len(), 1);
    assert_eq!(store.incr_blocking("a", 1)?, 3);
    assert!(store.insert_blocking("a", &1).is_err());
    assert!(store.set_if_absent_blocking("lock", &1, S)?);
    assert!(store.delete_if_blocking("lock", &1)?);
    assert!(store.delete_blocking("a")?);
    let mut tx = store.transaction_blocking(Isolation::Serializable);
    assert_eq!(tx.get_blocking::<u32>("b")?, None);
    assert_eq!(tx.for_update_blocking::<u32>("b")?, None);
    tx.insert_blocking("b", &1)?;
    tx.put_blocking("c", &1)?;
    assert_eq!(tx.incr_blocking("c", 1)?, 2);
    assert!(tx.compare_and_set_blocking("c", 1, &5)?);
    assert_eq!(tx.skip_locked_blocking::<u32>("", 9)?.len(), 2);
    assert!(tx.delete_blocking("b")?);
    assert_eq!(tx.scan_blocking::<u32>("")?.len(), 1);
    tx.commit_blocking()?;
    assert_eq!(store.get_blocking::<u32>("c")?.map(|row| row.value), Some(5));
    Ok(())
}

#[test]
fn whatever_is_asked_is_answered() {
    let report = explore(&one_deviation().deviations(0), &[], &[1], |p| {
        let store = p.store();
        p.handle(async move |_: u32| every_call(&store).await);
    });
    assert_green(&report);
    let report = explore(&one_deviation().deviations(0), &[], &[1], |p| {
        let store = p.store();
        p.handle_blocking(move |_: u32| every_blocking_call(&store));
    });
    assert_green(&report);
    let world = World::fake();
    every_blocking_call(&world.store()).unwrap();
}

#[test]
fn the_choices_of_each_call_counted_by_hand() {
    let runs = |calls: fn(&Store) -> u32| {
        let report = explore(&one_deviation(), &[("a", 1)], &[1], move |p| {
            let store = p.store();
            p.handle(async move |_: u32| {
                match calls(&store) {
                    0 => {}
                    1 => drop(store.get::<i64>("a").await),
                    2 => drop(store.put("a", &1).await),
                    _ => {
                        let mut tx = store.transaction(Isolation::ReadCommitted).await;
                        tx.put("a", &1).await?;
                        drop(tx);
                    }
                }
                Ok::<_, StoreError>(())
            });
        });
        assert_green(&report);
        report.runs()
    };
    // start 1, end 1, ack 1.
    assert_eq!(runs(|_| 0), 1 + 3);
    // In addition: before 1, call 2 (unavailable, timed out), pause 1, replied 1.
    assert_eq!(runs(|_| 1), 1 + 3 + 5);
    // before 1, call 4 (unavailable, reply lost, timed out, timed out but done), pause 1, happened 1, replied 1.
    assert_eq!(runs(|_| 2), 1 + 3 + 8);
    // Nothing is durable inside a transaction: before 1, call 1 (unavailable), pause 1, replied 1.
    assert_eq!(runs(|_| 3), 1 + 3 + 4);
}

#[test]
fn a_commit_has_its_own_crash_points_and_faults() {
    let selling = |settings: &Explore| {
        explore(settings, &[("stock", 10)], &[1], |p| {
            let store = p.store();
            p.handle(async move |_: u32| {
                let mut tx = store.transaction(Isolation::ReadCommitted).await;
                tx.incr("stock", -1).await?;
                tx.incr("sold", 1).await?;
                tx.commit().await
            });
        })
    };
    for point in [
        "commit:happened=crash",
        "commit:replied=crash",
        "commit:call=reply-lost",
        "commit:call=timed-out-but-done",
    ] {
        let scenario = format!("1.1/store.{point}");
        let report = selling(&replay(&scenario));
        assert_row(&report, "stock", "8", &scenario);
        assert_row(&report, "sold", "2", &scenario);
    }
    // A failure before the commit has changed neither row.
    let harmless = [
        "incr:before=crash",
        "incr:replied=crash",
        "incr:call=unavailable",
        "incr:call~2=unavailable",
        "commit:before=crash",
        "commit:call=unavailable",
        "commit:call=timed-out",
    ];
    for point in harmless {
        let report = selling(&replay(&format!("1.1/store.{point}")));
        assert_eq!((report.verdict(), report.reason()), (Verdict::RetryProof, None), "{point}: {report}");
    }
    // start 1, two statements 4 each, the commit 8, end 1, ack 1.
    assert_eq!(selling(&one_deviation()).runs(), 1 + 1 + 2 * 4 + 8 + 1 + 1);
}

#[test]
fn a_statement_whose_connection_is_lost_rolls_the_transaction_back() {
    let report = explore(&one_deviation().crashes(0).deliveries(0), &[("a", 1)], &[1], |p| {
        let (store, email) = (p.store(), p.email());
        p.handle(async move |_: u32| {
            let mut tx = store.transaction(Isolation::ReadCommitted).await;
            tx.put("a", &2).await?;
            if tx.put("b", &2).await.is_err() {
                // The job continues as if nothing had happened.
                let errors = (tx.get::<i64>("a").await.unwrap_err(), tx.commit().await.unwrap_err());
                assert_eq!(errors, (StoreError::RolledBack, StoreError::RolledBack));
                let _ = email.send(Email::new("ada", "lost")).await;
            } else {
                tx.commit().await?;
            }
            Ok::<_, StoreError>(())
        });
    });
    assert_row(&report, "a", "1", "1.1/store.put:call~2=unavailable");
}

#[test]
fn what_the_test_body_puts_is_a_given() {
    let report = Explore::new().name("test").deviations(1).run(async |world: &World| {
        let store = world.store();
        store.put("a", &Order { id: 1, paid: true }).await.unwrap();
        let mut tx = store.transaction(Isolation::Serializable).await;
        tx.incr("n", 3).await.unwrap();
        tx.commit().await.unwrap();
        world.process("worker", |p| {
            let store = p.store();
            p.handle(async move |_: u32| {
                assert!(store.get::<Order>("a").await?.is_some_and(|row| row.value.paid));
                Ok::<_, StoreError>(())
            });
        });
        world.enqueue(1_u32);
        world.settle().await;
        assert_eq!(store.get::<i64>("n").await.unwrap().map(|row| row.value), Some(3));
        assert_eq!(world.effects().iter().count(), 0);
    });
    assert_green(&report);
    assert_eq!(report.runs(), 1 + 8);
}

#[test]
fn a_part_of_the_store_can_be_left_out_and_what_has_a_time_to_live_is() {
    let exploring = |settings: &Explore, ignored: &'static [&'static str], ttl: bool| {
        settings.run(async move |world: &World| {
            ignored.iter().for_each(|path| world.ignore("store", path));
            world.process("worker", move |p| {
                let store = p.store();
                p.handle(async move |_: u32| {
                    let key = format!("order:{}", store.incr("attempts", 1).await?);
                    match ttl {
                        true => store.set_if_absent(key, &0, 60 * S).await.map(drop),
                        false => store.put(key, &0).await,
                    }
                });
            });
            world.enqueue(1_u32);
            world.settle().await;
        })
    };
    let settings = one_deviation().faults(0).deliveries(0);
    assert_green(&exploring(&settings, &["$.attempts"], true));
    let crash = "1.1/store.incr:happened=crash";
    let report = exploring(&replay(crash), &[], false);
    assert_row(&report, "attempts", "2", crash);
    assert_row(&report, "order:2", "0", crash);
    let report = exploring(&replay(crash), &["$.attempts", "$.order:1"], false);
    assert_row(&report, "order:2", "0", crash);
    assert_eq!(report.violations().len(), 1, "{report}");
}

#[test]
fn a_destructor_of_a_dead_process_changes_nothing() {
    struct Parting(Store);
    impl Drop for Parting {
        fn drop(&mut self) {
            let _ = self.0.put_blocking("parting", &1);
            let mut tx = self.0.transaction_blocking(Isolation::ReadCommitted);
            let _ = tx.put_blocking("parting", &2);
            let _ = tx.commit_blocking();
        }
    }
    let report = explore(&one_deviation().faults(0).deliveries(0), &[], &[1], |p| {
        let store = p.store();
        p.handle(async move |_: u32| {
            let parting = Parting(store.clone());
            store.put("a", &1).await?;
            std::mem::forget(parting);
            Ok::<_, StoreError>(())
        });
    });
    assert_green(&report);
}

#[test]
fn settings_are_the_tests() {
    let report = one_deviation().deviations(0).run(async |world: &World| {
        world.process("worker", |p| {
            let store = p.store();
            p.handle(async move |_: u32| {
                store.connections(1);
            });
        });
        world.enqueue(1_u32);
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::NothingTested, "{report}");
    has_line(
        report.reason().unwrap(),
        expect![
            "job#1 u32 is dead: panicked: settings of the service `store` belong to the test: change them through `world`, not through the handle of a process"
        ],
    );
}

#[test]
fn a_store_that_is_down_is_down_for_all_calls() {
    let report = one_deviation().deviations(0).run(async |world: &World| {
        world.store().behavior(Behavior::Unavailable);
        world.process("worker", |p| {
            let store = p.store();
            p.handle(async move |_: u32| {
                let (service, operation) = ("store".into(), "put".into());
                let down = StoreError::Service(ServiceError::Unavailable { service, operation });
                assert_eq!(store.put("a", &1).await, Err(down));
                let mut tx = store.transaction(Isolation::ReadCommitted).await;
                assert!(tx.put("a", &1).await.is_err());
                assert_eq!(
                    tx.commit().await.unwrap_err().to_string(),
                    "store.commit: the connection to the database is lost"
                );
            });
        });
        world.enqueue(1_u32);
        world.settle().await;
    });
    assert_green(&report);
}

#[test]
fn a_stale_read_is_a_replicas_and_only_where_asked_for() {
    let shipping = |stale: bool, in_transaction: bool| {
        one_deviation().crashes(0).deliveries(0).run(async move |world: &World| {
            if stale {
                world.store().explore_stale_reads();
            }
            world.process("worker", move |p| {
                let (store, parcels) = (p.store(), p.fulfillment());
                p.handle(async move |order: u32| {
                    store.put("paid", &true).await?;
                    let paid = if in_transaction {
                        let mut tx = store.transaction(Isolation::ReadCommitted).await;
                        tx.get::<bool>("paid").await?
                    } else {
                        store.get::<bool>("paid").await?
                    };
                    if paid.is_some() {
                        let parcel = retryproof::service::fulfillment::Shipment::of_order(order, "pr_1", 1);
                        parcels.request(parcel.address("here").key("key")).await?;
                    }
                    Ok::<_, StoreError>(())
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
        })
    };
    assert_green(&shipping(false, false));
    let report = shipping(true, false);
    let summary = "fulfillment.request never happened, expected once";
    assert!(
        report.violations().iter().any(|v| v.summary == summary
            && crate::support::comes_about_in(v, "test job#1.1/store.get:call=stale")),
        "{report}"
    );
    assert_green(&shipping(true, true));
}

#[test]
fn an_outage_of_the_store_ends() {
    let report = one_deviation().crashes(0).deliveries(0).run(async |world: &World| {
        world.store().explore_outages(100 * S);
        world.process("worker", |p| {
            let store = p.store();
            p.handle(async move |_: u32| store.put("a", &1).await);
        });
        world.enqueue(1_u32);
        world.settle().await;
    });
    assert_green(&report);
    assert_eq!(report.runs(), 1 + 5);
}

#[test]
fn merged_or_not_the_same_is_found() {
    let counting = |merge: bool| {
        let settings = Explore::new().name("test").deviations(2).faults(0).deliveries(0).merge(merge);
        explore(&settings, &[], &[1], |p| {
            let store = p.store();
            p.handle(async move |_: u32| {
                // A row that expires is in no outcome, but it determines what follows.
                if !store.set_if_absent("seen", &1, 3600 * S).await? && store.incr("n", 0).await? == 0 {
                    store.put("n", &1).await?;
                }
                Ok::<_, StoreError>(())
            });
        })
    };
    let (full, merged) = (counting(false), counting(true));
    assert!(merged.merged() > 0 && merged.runs() < full.runs(), "{merged}");
    let found = |report: &retryproof::Report| {
        let mut found: Vec<_> = report.violations().iter().map(|v| v.actual.clone()).collect();
        found.sort();
        found
    };
    assert_eq!(found(&full), found(&merged));
    assert!(!found(&full).is_empty(), "{full}");
}

/// Users store these types in their own structs, and await them in tokio tasks.
#[test]
fn handles_and_futures_may_go_from_thread_to_thread() {
    fn both<T: Send + Sync>(_: &T) {}
    fn send<T: Send>(value: T) -> T {
        value
    }
    let world = World::fake();
    let store = world.store();
    both(&store);
    drop(send(store.put("a", &1)));
    drop(send(store.get::<u32>("a")));
    let mut tx = store.transaction_blocking(Isolation::ReadCommitted);
    both(&tx);
    drop(send(tx.put("a", &1)));
    drop(send(store.transaction(Isolation::ReadCommitted)));
    drop(send(tx.commit()));
}
