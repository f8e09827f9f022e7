//! The pipeline on an external system (in memory and on SQLite) and on the world's own store: a failure of a call
//! exists in all three, under different names, and has the same result.

use std::rc::Rc;
use std::sync::Mutex;

use retryproof::{Explore, Report, Verdict, World};
use retryproof_sqlite::memory::{self, Memory, Template};
use retryproof_sqlite::pipeline::{Found, InMemory, InSqlite, InStore, TABLES, complete};
use retryproof_sqlx::Pool;

#[derive(Clone, Copy, Debug, PartialEq)]
enum On {
    List,
    Sqlx,
    Store,
}

/// The end of a run: its effects with their ids, and the order's row.
type End = (Vec<String>, String);

struct Came {
    verdict: Verdict,
    violations: usize,
    runs: u64,
    /// Whether the run reached all deviations.
    fits: bool,
    ends: Vec<End>,
}

/// The run with these deviations, or all runs of one exploration.
fn came_of(on: On, careful: bool, scenario: Option<&str>) -> Came {
    let (ends, template) = (Mutex::new(Vec::new()), template());
    let explore = Explore::new().name("pipeline").deviations(1);
    let explore = match scenario {
        Some(scenario) => explore.replay(format!("pipeline {}", named(on, scenario))),
        None => explore,
    };
    let report: Report = explore.run(async |world: &World| {
        let end = match on {
            On::List => in_memory(world, careful).await,
            On::Sqlx => in_sqlite(world, careful, &template).await,
            On::Store => in_store(world, careful).await,
        };
        let effects = world.effects();
        let effects =
            effects.iter().map(|e| format!("{} {} {:?} {}", e.name(), e.id, e.key, e.body)).collect();
        ends.lock().unwrap().push((effects, end));
    });
    let (violations, fits) =
        (report.violations().len(), !report.to_string().contains("no longer fits the code"));
    Came {
        verdict: report.verdict(),
        violations,
        runs: report.runs(),
        fits,
        ends: ends.into_inner().unwrap(),
    }
}

fn template() -> Template {
    Template::new(&format!("{TABLES}; INSERT INTO orders (id, cents) VALUES (6, 2598)"))
}

async fn in_memory(world: &World, careful: bool) -> String {
    let rows = world.durable("orders", vec![(6, 2598, "placed".to_owned())]);
    let kept = rows.clone();
    world.process("worker", move |p| {
        let orders = InMemory { rows: kept.clone(), external: p.external("db") };
        let (payments, parcels) = (p.payments(), p.fulfillment());
        p.handle(async move |order: i64| complete(&orders, &payments, &parcels, order, careful).await);
    });
    world.enqueue(6_i64);
    world.settle().await;
    rows.get().remove(0).2
}

async fn in_sqlite(world: &World, careful: bool, template: &Template) -> String {
    let database: Rc<Memory> = Rc::new(template.copy());
    let name = database.name().to_owned();
    world.process("worker", move |p| {
        let orders = InSqlite(Pool::new(memory::pool(&name), p.external("db")));
        let (payments, parcels) = (p.payments(), p.fulfillment());
        p.handle(async move |order: i64| complete(&orders, &payments, &parcels, order, careful).await);
    });
    let seen = database.clone();
    world.observe("orders", move || seen.rows("SELECT id, state FROM orders"));
    world.enqueue(6_i64);
    world.settle().await;
    database.rows("SELECT id, state FROM orders").remove(0).1
}

async fn in_store(world: &World, careful: bool) -> String {
    let store = world.store();
    store.put(InStore::key(6), &(2598_i64, "placed")).await.expect("a given");
    world.process("worker", move |p| {
        let orders = InStore(p.store());
        let (payments, parcels) = (p.payments(), p.fulfillment());
        p.handle(async move |order: i64| {
            complete(&Found::new(&orders), &payments, &parcels, order, careful).await
        });
    });
    world.enqueue(6_i64);
    world.settle().await;
    let row = store.get::<(i64, String)>(InStore::key(6)).await.expect("a look");
    row.expect("it is there").value.1
}

/// The same deviation under the other system's name. An external system has one way of being unreachable, the store
/// has several.
fn named(on: On, scenario: &str) -> String {
    match on {
        On::List | On::Sqlx => scenario.to_owned(),
        On::Store => scenario
            .replace("db.select-orders", "store.get")
            .replace("db.update-orders", "store.compare_and_set")
            .replace("=unreachable", "=unavailable"),
    }
}

/// All deviations of an attempt with an external system, written down by hand and compared with the number of
/// explored runs.
fn deviations(attempt: u32) -> Vec<String> {
    let read = ["before=crash", "call=unreachable", "replied=crash", "pause=past-lease"];
    let write = [
        "before=crash",
        "call=unreachable",
        "call=reply-lost",
        "happened=crash",
        "replied=crash",
        "pause=past-lease",
    ];
    let service = ["before=crash", "happened=crash", "replied=crash", "pause=past-lease"];
    let faults = ["unavailable", "reply-lost", "throttled", "timed-out", "timed-out-but-done"];
    let job = |what: &str| format!("job#1.{attempt}{what}");
    let mut all: Vec<_> = [":start=crash", ":end=crash", ":ack=again"].map(job).into();
    let again = |what: &str, times: &str| what.replace('=', &format!("{times}="));
    all.extend(read.map(|what| job(&format!("/db.select-orders:{what}"))));
    for times in ["", "~2"] {
        all.extend(write.map(|what| job(&format!("/db.update-orders:{}", again(what, times)))));
    }
    for called in ["payments.charge", "fulfillment.request"] {
        all.extend(service.map(|what| job(&format!("/{called}:{what}"))));
        all.extend(faults.map(|fault| job(&format!("/{called}:call={fault}"))));
    }
    all
}

fn the_same_comes_of(scenario: &str, careful: bool) -> Came {
    let [list, sqlx, store] = [On::List, On::Sqlx, On::Store].map(|on| came_of(on, careful, Some(scenario)));
    for (on, other) in [("SQLite", &sqlx), ("store", &store)] {
        let scenario = format!("{scenario} on {on}");
        assert_eq!(other.verdict, list.verdict, "{scenario}");
        assert_eq!(other.violations, list.violations, "{scenario}");
        assert_eq!(other.fits, list.fits, "{scenario}");
        assert_eq!(other.ends, list.ends, "{scenario}");
    }
    list
}

#[test]
fn each_deviation_comes_to_the_same_in_memory_on_sqlite_and_in_the_store() {
    for careful in [false, true] {
        let all = deviations(1);
        let mut violated = 0;
        for scenario in &all {
            let came = the_same_comes_of(scenario, careful);
            assert!(came.fits, "{scenario}");
            violated += usize::from(came.verdict == Verdict::Violated);
        }
        assert_eq!(violated > 0, !careful);
        // The list is complete: together with the ordinary run it is everything that is explored.
        let explored = came_of(On::Sqlx, careful, None);
        assert_eq!(explored.runs as usize, 1 + all.len());
        // The store can also time out: one more for its read, two more for each of its writes.
        let explored = came_of(On::Store, careful, None);
        assert_eq!(explored.runs as usize, 1 + all.len() + 1 + 2 * 2);
    }
}

#[test]
fn what_only_the_store_has_comes_to_the_same_as_what_the_door_has() {
    for careful in [false, true] {
        for (call, door, own) in [
            ("get:call", "unavailable", "timed-out"),
            ("compare_and_set:call", "unavailable", "timed-out"),
            ("compare_and_set:call", "reply-lost", "timed-out-but-done"),
            ("compare_and_set:call~2", "unavailable", "timed-out"),
            ("compare_and_set:call~2", "reply-lost", "timed-out-but-done"),
        ] {
            let came = |fault| came_of(On::Store, careful, Some(&format!("job#1.1/store.{call}={fault}")));
            let (expected, other) = (came(door), came(own));
            assert!(other.fits && expected.fits, "{call}={own}");
            assert_eq!((other.verdict, other.ends), (expected.verdict, expected.ends), "{call}={own}");
        }
    }
}

#[test]
fn two_deviations_come_to_the_same_in_memory_on_sqlite_and_in_the_store() {
    // One in each of the first two attempts. If the first attempt succeeds, there is no second one on any of the
    // systems.
    let mut fitting = 0;
    for one in deviations(1).iter().filter(|one| one.contains("/db.") || one.contains(":ack")) {
        for other in deviations(2).iter().filter(|other| other.contains("/db.")) {
            fitting += usize::from(the_same_comes_of(&format!("{one} {other}"), false).fits);
        }
    }
    assert!(fitting > 100, "{fitting}");
}
