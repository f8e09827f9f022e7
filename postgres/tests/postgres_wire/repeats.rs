//! The same report each time, and nothing left behind.

use std::fs;

use retryproof::{Explore, World};
use retryproof_postgres::{Postgres, WorldExt};

use crate::{is_available, pool};

/// Other tests do not use its databases.
static ALONE: Postgres = Postgres::schema("CREATE TABLE orders (id bigint PRIMARY KEY, state text NOT NULL)");

/// The example, whose report must be the same each time: two processes, PostgreSQL, and a service over HTTP.
#[path = "../../examples/postgres_worker.rs"]
#[allow(dead_code, reason = "its main function is not run")]
mod worker;

fn the_report_is_the_same(times: u32) {
    if !is_available() {
        return;
    }
    let explored = || {
        let (naive, keyed) = (worker::explore("without_keys", false), worker::explore("with_keys", true));
        assert!(!naive.is_retryproof() && keyed.is_retryproof(), "{naive}{keyed}");
        format!("{naive}{keyed}")
    };
    let first = explored();
    for time in 1..times {
        assert_eq!(explored(), first, "the {time}th time");
    }
}

#[test]
fn the_report_of_the_example_is_the_same_each_time() {
    the_report_is_the_same(3);
}

#[test]
#[ignore = "nightly: a hundred explorations take minutes"]
fn the_report_of_the_example_is_the_same_a_hundred_times() {
    the_report_is_the_same(100);
}

/// The open files and the threads of this program.
fn open() -> (usize, usize) {
    let count = |folder| fs::read_dir(folder).map_or(0, Iterator::count);
    (count("/proc/self/fd"), count("/proc/self/task"))
}

fn scenarios_leave_nothing(runs: u64) {
    if !is_available() {
        return;
    }
    let mut seen = Vec::new();
    for _ in 0..3 {
        let report = Explore::new().name("leaks").deviations(1).random(runs).run(async |world: &World| {
            let db = world.postgres(&ALONE);
            db.execute("INSERT INTO orders VALUES (6, 'new')");
            world.process("worker", move |p| {
                let pool = pool(&db.url(p), 2);
                p.handle(async move |_: u32| {
                    sqlx::query("UPDATE orders SET state = 'paid'").execute(&pool).await.map(drop)
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
        });
        assert!(report.is_retryproof(), "{report}");
        let world = World::fake();
        let db = world.postgres(&ALONE);
        let backends = "pg_stat_activity WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()";
        assert_eq!(db.count(backends), 0);
        drop(world);
        seen.push((open(), db.count("pg_stat_activity WHERE datname = current_database()")));
    }
    // The first exploration makes the backends that the others use again.
    let (_, backends) = seen[1];
    assert_eq!(seen[2].1, backends, "{seen:?}");
    assert!(backends < 20, "{seen:?}");
}

#[test]
fn scenarios_leave_no_backends() {
    scenarios_leave_nothing(20);
}

#[test]
#[ignore = "nightly: ten thousand scenarios take minutes"]
fn ten_thousand_scenarios_leave_nothing() {
    let before = open();
    scenarios_leave_nothing(3_400);
    let after = open();
    // The connections to the server, warm or of the test's own, and the thread of the sockets.
    assert!(after.0 <= before.0 + 40 && after.1 <= before.1 + 2, "{before:?} {after:?}");
}
