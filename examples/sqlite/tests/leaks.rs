//! Ten thousand scenarios leave no open file, no thread and no database behind. Also prints the number of scenarios
//! per second.

use std::fs;
use std::io::Write;
use std::rc::Rc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use retryproof::{Explore, Report, Verdict, World};
use retryproof_sqlite::memory::{self, Template};
use retryproof_sqlite::pipeline::{InSqlite, TABLES, complete, complete_blocking};
use retryproof_sqlx::Pool;

fn explored(blocks: bool) -> Report {
    let template = Template::new(&format!("{TABLES}; INSERT INTO orders (id, cents) VALUES (6, 2598)"));
    Explore::new().name("pipeline").run(async |world: &World| {
        let database = Rc::new(template.copy());
        let name = database.name().to_owned();
        world.process("worker", move |p| {
            let (payments, parcels, external) = (p.payments(), p.fulfillment(), p.external("db"));
            if blocks {
                let orders = Mutex::new(memory::open(&name));
                p.handle_blocking(move |order: i64| {
                    complete_blocking(&orders, &external, &payments, &parcels, order, true)
                });
            } else {
                let orders = InSqlite(Pool::new(memory::pool(&name), external));
                p.handle(async move |order: i64| complete(&orders, &payments, &parcels, order, true).await);
            }
        });
        let seen = database.clone();
        world.observe("orders", move || seen.rows("SELECT id, state FROM orders"));
        world.enqueue(6_i64);
        world.settle().await;
    })
}

/// The number of open files and of threads.
fn held() -> [usize; 2] {
    ["/proc/self/fd", "/proc/self/task"].map(|folder| fs::read_dir(folder).map_or(0, Iterator::count))
}

#[expect(clippy::disallowed_methods, reason = "this measures")]
fn now() -> Instant {
    Instant::now()
}

fn leaves_nothing(most: u64, what: &str, blocks: bool) {
    // Values that are made once and kept are not a leak.
    explored(blocks);
    let before = held();
    let (began, mut runs) = (now(), 0);
    while runs < most {
        let report = explored(blocks);
        assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
        runs += report.runs();
    }
    let rate = runs as f64 / began.elapsed().as_secs_f64();
    let _ = writeln!(std::io::stderr(), "{what}: {runs} scenarios, {rate:.0} a second");
    // A connection of sqlx has its own thread, which ends soon after it is closed.
    let patience = now() + Duration::from_secs(5);
    while held().iter().zip(before).any(|(held, before)| *held > before) && now() < patience {
        std::thread::park_timeout(Duration::from_millis(10));
    }
    assert!(held().iter().zip(before).all(|(held, before)| *held <= before), "{before:?}, then {:?}", held());
}

/// One test at a time, because they count resources of the whole process.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn a_hundred_scenarios_leave_nothing_behind() {
    let _turn = TURN.lock();
    leaves_nothing(100, "rusqlite", true);
    leaves_nothing(100, "sqlx, SQLite", false);
}

#[test]
#[ignore = "nightly: takes a minute"]
fn ten_thousand_scenarios_leave_nothing_behind() {
    let _turn = TURN.lock();
    leaves_nothing(10_000, "rusqlite", true);
    leaves_nothing(10_000, "sqlx, SQLite", false);
}
