//! Problems of the database lead to a verdict that names them, and the next scenario starts clean.
//!
//! A part: the rest of these texts is the server's or the driver's, or has a path.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use retryproof::{Explore, Report, Verdict, World};
use retryproof_sqlite::memory::{self, Memory};
use retryproof_sqlx::Pool;
use sqlx::Error;

const COUNTER: &str =
    "CREATE TABLE counters (id INTEGER PRIMARY KEY, n INTEGER NOT NULL); INSERT INTO counters VALUES (1, 0)";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Wrong {
    Nothing,
    /// An unknown connection holds the database's lock.
    Locked,
    /// The table vanishes in the middle.
    Gone,
    LeavesOpen,
    WantsTwo,
}

fn explored(tables: &'static str, wrong: Wrong, most: u32) -> Report {
    let runs = AtomicU32::new(0);
    Explore::new().name("wrong").deviations(1).run(async |world: &World| {
        let database = Rc::new(Memory::new(tables));
        let external = world.external("db");
        external.block_timeout(Duration::from_millis(400));
        memory::closes(&external, database.name());
        let done = world.durable("done", BTreeSet::new());
        let name = database.name().to_owned();
        world.process("worker", move |p| {
            let pool = Pool::new(memory::pool_of(&name, most), p.external("db"));
            let done = done.clone();
            p.handle(async move |job: u32| {
                let mut tx = pool.begin().await?;
                sqlx::query("UPDATE counters SET n = 1").execute(&mut *tx).await?;
                if wrong == Wrong::WantsTwo {
                    // A second connection while it holds the first.
                    sqlx::query("SELECT 1 FROM counters").execute(&pool).await?;
                }
                done.update(|done| done.insert(job));
                match wrong {
                    Wrong::LeavesOpen => std::mem::forget(tx),
                    _ => tx.commit().await?,
                }
                Ok::<_, Error>(())
            });
        });
        world.enqueue(1_u32);
        let number = runs.fetch_add(1, Ordering::Relaxed);
        match wrong {
            Wrong::Locked if number == 4 => database.connection.execute_batch("BEGIN IMMEDIATE").unwrap(),
            Wrong::Gone if number == 4 => database.connection.execute_batch("DROP TABLE counters").unwrap(),
            _ => {}
        }
        world.settle().await;
        if number != 4 {
            // The scenarios before and after are not affected.
            database.nothing_is_open();
            assert_eq!(database.rows("SELECT n, '' FROM counters"), [(1, String::new())]);
        }
    })
}

#[test]
fn a_database_that_somebody_else_has_locked_or_dropped_is_a_verdict_that_says_so() {
    for (wrong, says) in [(Wrong::Locked, "database is locked"), (Wrong::Gone, "no such table: counters")] {
        let report = explored(COUNTER, wrong, 4);
        // Not retry-proof, or, as far as the harness can see, not deterministic, because the table was there the
        // first time.
        assert!(
            matches!(report.verdict(), Verdict::Violated | Verdict::Nondeterministic),
            "{wrong:?}: {report}"
        );
        let is_fickle = report.verdict() == Verdict::Nondeterministic;
        assert!(is_fickle || report.to_string().contains(says), "{wrong:?}: {report}");
        // All other scenarios passed.
        assert!(report.violations().len() < 2, "{wrong:?}: {report}");
    }
    let report = explored(COUNTER, Wrong::Nothing, 4);
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
}

#[test]
fn what_a_dead_process_has_locked_is_free_before_it_restarts() {
    // If the database were busy, the job would fail and be retried: more runs, and different ones each time.
    let [one, other] = [(); 2].map(|()| explored(COUNTER, Wrong::Nothing, 4));
    assert_eq!(one.verdict(), Verdict::RetryProof, "{one}");
    assert_eq!(one.to_string(), other.to_string());
}

#[test]
fn tables_that_cannot_be_made_a_transaction_left_open_and_a_pool_that_is_exhausted_are_told() {
    let report = explored("CREATE TABLE counters OF NOTHING", Wrong::Nothing, 4);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert!(report.to_string().contains("the tables cannot be made: near \"OF\": syntax error"), "{report}");
    let report = explored(COUNTER, Wrong::LeavesOpen, 4);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert!(report.to_string().contains("a transaction was left open: database is locked"), "{report}");
    let report = explored(COUNTER, Wrong::WantsTwo, 1);
    assert_eq!(report.verdict(), Verdict::Stuck, "{report}");
    let text = report.to_string();
    assert!(text.contains("for `db.select-counters`, which waits for a connection, or a lock"), "{text}");
}
