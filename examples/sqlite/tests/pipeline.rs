//! The pipeline on SQLite, with sqlx and with rusqlite, and in memory: the same failures have the same results.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Mutex;

use retryproof::{Explore, Report, Verdict, World};
use retryproof_sqlite::memory::{self, Memory};
use retryproof_sqlite::pipeline::{InMemory, InSqlite, TABLES, complete, complete_blocking};
use retryproof_sqlx::Pool;

#[derive(Clone, Copy, Debug, PartialEq)]
enum On {
    Sqlx,
    Rusqlite,
    List,
}

/// The end of a run: its effects and the order's row.
type Ends = Vec<(Vec<String>, Vec<(i64, String)>)>;

fn sqlx_worker(world: &World, name: &str, careful: bool) {
    let name = name.to_owned();
    world.process("worker", move |p| {
        let orders = InSqlite(Pool::new(memory::pool(&name), p.external("db")));
        let (payments, parcels) = (p.payments(), p.fulfillment());
        p.handle(async move |order: i64| complete(&orders, &payments, &parcels, order, careful).await);
    });
}

fn rusqlite_worker(world: &World, name: &str, careful: bool) {
    let name = name.to_owned();
    world.process("worker", move |p| {
        let (orders, external) = (Mutex::new(memory::open(&name)), p.external("db"));
        let (payments, parcels) = (p.payments(), p.fulfillment());
        p.handle_blocking(move |order: i64| {
            complete_blocking(&orders, &external, &payments, &parcels, order, careful)
        });
    });
}

fn explored(on: On, careful: bool, [deviations, deliveries]: [usize; 2], ends: &Mutex<Ends>) -> Report {
    Explore::new().name("pipeline").deviations(deviations).deliveries(deliveries).run(
        async move |world: &World| {
            let database = Rc::new(Memory::new(TABLES));
            database.connection.execute_batch("INSERT INTO orders (id, cents) VALUES (6, 2598)").unwrap();
            let look: Box<dyn Fn() -> Vec<(i64, String)>> = match on {
                On::List => {
                    let rows = world.durable("rows", vec![(6, 2598, "placed".to_owned())]);
                    let seen = rows.clone();
                    world.process("worker", move |p| {
                        let orders = InMemory { rows: rows.clone(), external: p.external("db") };
                        let (payments, parcels) = (p.payments(), p.fulfillment());
                        p.handle(async move |order: i64| {
                            complete(&orders, &payments, &parcels, order, careful).await
                        });
                    });
                    Box::new(move || seen.get().into_iter().map(|row| (row.0, row.2)).collect())
                }
                On::Sqlx | On::Rusqlite => {
                    let worker = if on == On::Sqlx { sqlx_worker } else { rusqlite_worker };
                    worker(world, database.name(), careful);
                    Box::new(move || database.rows("SELECT id, state FROM orders"))
                }
            };
            let look = Rc::new(look);
            let seen = look.clone();
            world.observe("orders", move || seen());
            world.enqueue(6_i64);
            world.settle().await;
            let effects =
                world.effects().iter().map(|effect| format!("{} {}", effect.name(), effect.body)).collect();
            ends.lock().unwrap().push((effects, look()));
        },
    )
}

#[test]
fn a_pipeline_with_keys_is_retry_proof_on_sqlite() {
    for on in [On::Sqlx, On::Rusqlite] {
        let report = explored(on, true, [1, 1], &Mutex::default());
        assert_eq!(report.verdict(), Verdict::RetryProof, "{on:?}: {report}");
    }
}

#[test]
fn the_same_goes_wrong_in_memory_and_on_sqlite_and_the_same_comes_of_it() {
    for careful in [false, true] {
        let came_of_it = |on, bounds| {
            let ends = Mutex::default();
            let report = explored(on, careful, bounds, &ends);
            let scenarios: BTreeSet<_> =
                report.violations().iter().map(|found| found.scenario.to_string()).collect();
            assert!(report.runs() > 20, "{report}");
            assert_eq!(report.verdict(), if careful { Verdict::RetryProof } else { Verdict::Violated });
            (report.runs(), scenarios, ends.into_inner().unwrap())
        };
        assert_eq!(came_of_it(On::List, [1, 1]), came_of_it(On::Sqlx, [1, 1]));
        // A blocking handler does not stall, because it has no awaits.
        assert_eq!(came_of_it(On::List, [2, 0]), came_of_it(On::Rusqlite, [2, 0]));
    }
}
