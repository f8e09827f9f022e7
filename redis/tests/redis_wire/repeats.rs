//! The same report each time, and nothing left behind.

use std::fs;
use std::sync::Mutex;

use redis::{AsyncCommands, Client};
use retryproof::{Explore, World};
use retryproof_redis::WorldExt;

use crate::{Error, is_available, is_own_server};

/// The example, whose report must be the same each time.
#[path = "../../examples/redis_queue.rs"]
#[allow(dead_code, reason = "its main function is not run")]
mod queue;

fn the_report_is_the_same(times: u32) {
    if !is_available() {
        return;
    }
    let explored = || {
        let (naive, reliable) = (queue::explore("pop", false), queue::explore("move", true));
        assert!(!naive.is_retryproof() && reliable.is_retryproof(), "{naive}{reliable}");
        format!("{naive}{reliable}")
    };
    let first = explored();
    for time in 1..times {
        assert_eq!(explored(), first, "the {time}th time");
    }
}

#[test]
fn the_report_of_the_example_is_the_same_each_time() {
    the_report_is_the_same(5);
}

#[test]
#[ignore = "nightly: a hundred explorations take a minute"]
fn the_report_of_the_example_is_the_same_a_hundred_times() {
    the_report_is_the_same(100);
}

/// The open files and the threads of this program.
fn open() -> (usize, usize) {
    let count = |folder| fs::read_dir(folder).map_or(0, Iterator::count);
    (count("/proc/self/fd"), count("/proc/self/task"))
}

fn scenarios_leave_nothing(runs: u64) -> Vec<u64> {
    let seen = Mutex::new(Vec::new());
    for _ in 0..3 {
        let report = Explore::new().name("leaks").deviations(1).random(runs).run(async |world: &World| {
            let redis = world.redis();
            // The test's own connection is one of them.
            let clients = redis.run(&["INFO", "clients"]);
            let count = |line: &str| line.strip_prefix("connected_clients:")?.trim().parse::<u64>().ok();
            seen.lock().unwrap().extend(clients.as_str().unwrap_or_default().lines().find_map(count));
            world.process("worker", move |p| {
                let url = redis.url(p);
                p.handle(async move |n: u32| -> Result<(), Error> {
                    let mut connection =
                        Client::open(url.clone())?.get_multiplexed_async_connection().await?;
                    connection.blpop::<_, ()>("nothing", 5.0).await?;
                    Ok(connection.set("n", n).await?)
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
        });
        assert!(report.is_retryproof(), "{report}");
    }
    seen.into_inner().unwrap()
}

#[test]
fn scenarios_leave_no_clients() {
    if !is_own_server() {
        return;
    }
    let seen = scenarios_leave_nothing(20);
    assert!(seen.len() > 60 && seen.iter().all(|clients| *clients < 10), "{seen:?}");
}

#[test]
#[ignore = "nightly: ten thousand scenarios take a minute"]
fn ten_thousand_scenarios_leave_nothing() {
    if !is_own_server() {
        return;
    }
    let before = open();
    scenarios_leave_nothing(3_400);
    let after = open();
    // The connections to the server, warm or of the test's own, and the thread of the sockets.
    assert!(after.0 <= before.0 + 40 && after.1 <= before.1 + 2, "{before:?} {after:?}");
}
