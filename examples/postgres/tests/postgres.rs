//! Jobs on a real PostgreSQL: bugs that only show there are found, correct code passes, and no matter what happens to
//! the server, the next scenario starts clean.
//!
//! A part: the rest of these texts is the server's or the driver's, or has a path.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use retryproof::service::email::Email;
use retryproof::{Explore, Report, Verdict, World};
use retryproof_sqlite::pipeline::{self, InMemory, complete};
use retryproof_sqlx::Pool;
use retryproof_wrapped_postgres::database::Database;
use retryproof_wrapped_postgres::server::Server;
use sqlx::{Error, Postgres};

const COUNTER: &str = "CREATE TABLE counters (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)";

/// No failures and no crashes: jobs only overtake each other.
fn overtaking(name: &str) -> Explore {
    Explore::new().name(name).deviations(2).crashes(0).faults(0).deliveries(0)
}

fn first(report: &Report) -> String {
    report.violations()[0].scenario.to_string()
}

/// Two jobs, each of which increments a counter.
fn counting(server: &Server, select: &'static str) -> Report {
    let database = Database::new(server, COUNTER);
    let report = overtaking("counting").run(async |world: &World| {
        let external = database.start(world, "INSERT INTO counters VALUES (1, 0)");
        let theirs = database.clone();
        world.process("worker", move |p| {
            let pool = theirs.pool(p, 2);
            p.handle(async move |_: u32| {
                let mut tx = pool.begin().await?;
                let n: i64 = sqlx::query_scalar(select).fetch_one(&mut *tx).await?;
                sqlx::query("UPDATE counters SET n = $1").bind(n + 1).execute(&mut *tx).await?;
                tx.commit().await
            });
        });
        let (looks, looked) = (database.clone(), external.clone());
        world.observe("n", move || looked.block_on(looks.clone().rows("SELECT n, '' FROM counters")));
        world.enqueue(1_u32);
        world.enqueue(2_u32);
        world.settle().await;
        external.block_on(database.clone().nothing_is_open());
    });
    database.drop(&World::fake().external("db"));
    report
}

#[test]
fn an_update_is_lost_at_read_committed_and_not_under_a_row_lock() {
    let Some(server) = Server::shared() else { return };
    let report = counting(server, "SELECT n FROM counters WHERE id = 1");
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert!(first(&report).contains("db.select-counters:next=other"), "{report}");
    // The second job waits for the row, and the first one continues in the meantime.
    let report = counting(server, "SELECT n FROM counters WHERE id = 1 FOR UPDATE");
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    assert!(report.runs() > 5, "{report}");
    let again = counting(server, "SELECT n FROM counters WHERE id = 1 FOR UPDATE");
    assert_eq!(report.to_string(), again.to_string());
}

const JOBS: &str = "CREATE TABLE jobs (id BIGINT PRIMARY KEY, state TEXT NOT NULL DEFAULT 'new')";

/// Takes one job and runs it while the transaction is open, like code that a timer starts.
async fn do_one(pool: Pool<Postgres>, take: &'static str) -> Result<(), Error> {
    let mut tx = pool.begin().await?;
    let taken: Option<i64> = sqlx::query_scalar(take).fetch_optional(&mut *tx).await?;
    if let Some(id) = taken {
        tokio::time::sleep(Duration::from_secs(10)).await;
        sqlx::query("UPDATE jobs SET state = 'done' WHERE id = $1").bind(id).execute(&mut *tx).await?;
    }
    tx.commit().await
}

/// As many workers as there are jobs in the table.
fn working(server: &Server, take: &'static str) -> Report {
    let database = Database::new(server, JOBS);
    let report = overtaking("working").deviations(1).run(async |world: &World| {
        let external = database.start(world, "INSERT INTO jobs VALUES (1), (2)");
        for number in 0..2 {
            let theirs = database.clone();
            world.process(format!("worker-{number}"), move |p| {
                p.spawn("once", do_one(theirs.pool(p, 1), take))
            });
        }
        let (looks, looked) = (database.clone(), external.clone());
        world.observe("jobs", move || {
            looked.block_on(looks.clone().rows("SELECT id, state FROM jobs ORDER BY id"))
        });
        let all_done = |_: &World| {
            let left = database.clone().rows("SELECT id, state FROM jobs WHERE state <> 'done'");
            external.block_on(left).is_empty()
        };
        assert!(world.settle_until(all_done).await, "a job was left");
        let seconds = world.now().as_secs();
        assert!(seconds <= 11, "two workers took {seconds} s for two jobs of 10 s");
    });
    database.drop(&World::fake().external("db"));
    report
}

#[test]
fn without_skip_locked_a_worker_waits_for_another_ones_job_though_there_is_one_for_it() {
    let Some(server) = Server::shared() else { return };
    let locks = "SELECT id FROM jobs WHERE state = 'new' ORDER BY id LIMIT 1 FOR UPDATE";
    let report = working(server, locks);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert!(report.to_string().contains("two workers took 20 s for two jobs of 10 s"), "{report}");
    let report =
        working(server, "SELECT id FROM jobs WHERE state = 'new' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED");
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Place(i64);

#[derive(serde::Serialize, serde::Deserialize)]
struct SendReceipt(i64);

const RECEIPTS: &str =
    "CREATE TABLE orders (id BIGINT PRIMARY KEY); CREATE TABLE receipts (id BIGINT PRIMARY KEY)";

/// A job that places an order and enqueues another job, inside its transaction or after it.
fn enqueuing(server: &Server, inside: bool) -> Report {
    let database = Database::new(server, RECEIPTS);
    let report = overtaking("enqueuing").run(async |world: &World| {
        database.start(world, "SELECT 1");
        let theirs = database.clone();
        world.process("worker", move |p| {
            let (pool, queue) = (theirs.pool(p, 2), p.queue());
            p.handle(async move |Place(id): Place| {
                let mut tx = pool.begin().await?;
                sqlx::query("INSERT INTO orders VALUES ($1)").bind(id).execute(&mut *tx).await?;
                if inside {
                    queue.enqueue(SendReceipt(id)).await.expect("nothing fails");
                }
                tx.commit().await?;
                if !inside {
                    queue.enqueue(SendReceipt(id)).await.expect("nothing fails");
                }
                Ok::<_, Error>(())
            });
            let (pool, email) = (theirs.pool(p, 2), p.email());
            p.handle(async move |SendReceipt(id): SendReceipt| {
                let found =
                    sqlx::query("SELECT id FROM orders WHERE id = $1").bind(id).fetch_optional(&pool).await?;
                // Otherwise the job concludes that the order was canceled.
                if found.is_some() {
                    email.send(Email::new("a@example.com", "receipt")).await.expect("nothing fails");
                }
                Ok::<_, Error>(())
            });
        });
        world.enqueue(Place(6));
        world.settle().await;
    });
    database.drop(&World::fake().external("db"));
    report
}

#[test]
fn a_job_enqueued_in_a_transaction_runs_before_the_commit() {
    let Some(server) = Server::shared() else { return };
    let report = enqueuing(server, true);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert!(first(&report).contains("queue.enqueue:next=other"), "{report}");
    assert_eq!(enqueuing(server, false).verdict(), Verdict::RetryProof);
}

#[test]
fn a_unique_violation_that_is_meant_is_none_of_the_harness() {
    let Some(server) = Server::shared() else { return };
    let database = Database::new(server, RECEIPTS);
    let report = Explore::new().name("meant").deviations(1).run(async |world: &World| {
        let external = database.start(world, "SELECT 1");
        let theirs = database.clone();
        world.process("worker", move |p| {
            let pool = theirs.pool(p, 2);
            p.handle(async move |id: i64| {
                let noted = sqlx::query("INSERT INTO receipts VALUES ($1)").bind(id).execute(&pool).await;
                match noted {
                    Err(Error::Database(error)) if error.is_unique_violation() => Ok(()),
                    other => other.map(|_| ()),
                }
            });
        });
        let (looks, looked) = (database.clone(), external.clone());
        world.observe("receipts", move || looked.block_on(looks.clone().rows("SELECT id, '' FROM receipts")));
        world.enqueue(6_i64);
        world.enqueue(6_i64);
        world.settle().await;
    });
    database.drop(&World::fake().external("db"));
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
}

/// Orders in PostgreSQL.
#[derive(Clone, Debug)]
struct InPostgres(Pool<Postgres>);

impl InPostgres {
    fn pool(&self) -> &Pool<Postgres> {
        &self.0
    }
}

retryproof_sqlite::orders_in!(InPostgres);

type Ends = Vec<(Vec<String>, Vec<(i64, String)>)>;

/// The pipeline of `examples/sqlite`, in PostgreSQL or in memory. Returns the report, the scenarios found, and the
/// end of each run.
fn completing(database: Option<&Database>, careful: bool) -> (Report, BTreeSet<String>, Ends) {
    let ends = Mutex::new(Ends::new());
    let report = Explore::new().name("pipeline").deviations(1).run(async |world: &World| {
        let external = world.external("db");
        if let Some(database) = database {
            database.start(world, "INSERT INTO orders (id, cents) VALUES (6, 2598)");
            let theirs = database.clone();
            world.process("worker", move |p| {
                let orders = InPostgres(theirs.pool(p, 2));
                let (payments, parcels) = (p.payments(), p.fulfillment());
                p.handle(async move |order: i64| {
                    complete(&orders, &payments, &parcels, order, careful).await
                });
            });
        }
        let rows = world.durable("rows", vec![(6, 2598, "placed".to_owned())]);
        if database.is_none() {
            let rows = rows.clone();
            world.process("worker", move |p| {
                let orders = InMemory { rows: rows.clone(), external: p.external("db") };
                let (payments, parcels) = (p.payments(), p.fulfillment());
                p.handle(async move |order: i64| {
                    complete(&orders, &payments, &parcels, order, careful).await
                });
            });
        }
        world.enqueue(6_i64);
        world.settle().await;
        let effects =
            world.effects().iter().map(|effect| format!("{} {}", effect.name(), effect.body)).collect();
        let rows = match database.cloned() {
            Some(database) => external.block_on(database.rows("SELECT id, state FROM orders")),
            None => rows.get().into_iter().map(|row| (row.0, row.2)).collect(),
        };
        ends.lock().unwrap().push((effects, rows));
    });
    let scenarios = report.violations().iter().map(|found| found.scenario.to_string()).collect();
    (report, scenarios, ends.into_inner().unwrap())
}

#[test]
fn the_same_goes_wrong_in_memory_and_on_postgres_and_the_same_comes_of_it() {
    let Some(server) = Server::shared() else { return };
    for careful in [false, true] {
        let database = Database::new(server, pipeline::TABLES);
        let (real, list) = (completing(Some(&database), careful), completing(None, careful));
        database.drop(&World::fake().external("db"));
        assert_eq!(
            real.0.verdict(),
            if careful { Verdict::RetryProof } else { Verdict::Violated },
            "{}",
            real.0
        );
        assert_eq!((real.0.runs(), real.1, real.2), (list.0.runs(), list.1, list.2));
    }
}

#[test]
fn a_server_that_goes_away_is_a_verdict_that_says_so_and_the_next_scenario_starts_clean() {
    if Server::shared().is_none() {
        return;
    }
    let Some(server) = Server::of_its_own() else { return };
    let (database, runs) = (Database::new(&server, COUNTER), AtomicU32::new(0));
    let explore = |vanishes: bool| {
        Explore::new().name("vanishing").deviations(1).run(async |world: &World| {
            let external = database.start(world, "INSERT INTO counters VALUES (1, 0)");
            let theirs = database.clone();
            world.process("worker", move |p| {
                let pool = theirs.pool(p, 1);
                p.handle(async move |_: u32| {
                    sqlx::query("UPDATE counters SET n = 1").execute(&pool).await.map(|_| ())
                });
            });
            let (looks, looked) = (database.clone(), external.clone());
            world.observe("n", move || looked.block_on(looks.clone().rows("SELECT n, '' FROM counters")));
            world.enqueue(1_u32);
            if vanishes && runs.fetch_add(1, Ordering::Relaxed) == 4 {
                server.vanish();
            }
            world.settle().await;
        })
    };
    let report = explore(true);
    // Not retry-proof, or, as far as the harness can see, not deterministic, because the database was there the first
    // time.
    assert!(matches!(report.verdict(), Verdict::Violated | Verdict::Nondeterministic), "{report}");
    let text = report.to_string();
    assert!(text.contains("the database cannot be "), "{text}");
    server.come_back();
    let report = explore(false);
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
}

/// One job that mistreats its connections.
fn mistreating(server: &Server, tables: &'static str, most: u32, leaks: bool, both: bool) -> Report {
    let database = Database::new(server, tables);
    let report = overtaking("mistreating").run(async |world: &World| {
        let external = database.start(world, "INSERT INTO counters VALUES (1, 0)");
        // Longer than connecting takes, even on a busy machine.
        external.block_timeout(Duration::from_millis(400));
        let done = world.durable("done", BTreeSet::new());
        let theirs = database.clone();
        world.process("worker", move |p| {
            let (pool, done) = (theirs.pool(p, most), done.clone());
            p.handle(async move |job: u32| {
                let mut tx = pool.begin().await?;
                sqlx::query("UPDATE counters SET n = n + 1").execute(&mut *tx).await?;
                if both {
                    // A second connection while it holds the first.
                    sqlx::query("SELECT 1 FROM counters").execute(&pool).await?;
                }
                done.update(|done| done.insert(job));
                match leaks {
                    true => std::mem::forget(tx),
                    false => tx.commit().await?,
                }
                Ok::<_, Error>(())
            });
        });
        world.enqueue(1_u32);
        if !leaks {
            world.enqueue(2_u32);
        }
        world.settle().await;
        external.block_on(database.clone().nothing_is_open());
    });
    database.drop(&World::fake().external("db"));
    report
}

#[test]
fn what_is_wrong_with_the_database_is_a_verdict_that_says_so() {
    let Some(server) = Server::shared() else { return };
    let report = mistreating(server, COUNTER, 2, true, false);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert!(
        report.to_string().contains("a transaction was left open, after worker#1: UPDATE counters"),
        "{report}"
    );
    let report = mistreating(server, "CREATE TABLE counters (id SERIAL OF NOTHING)", 2, false, false);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert!(
        report.to_string().contains("the tables cannot be made: error returned from database"),
        "{report}"
    );
    // Each job holds one connection and needs a second, so one job alone exhausts a pool of one.
    let report = mistreating(server, COUNTER, 1, false, true);
    assert_eq!(report.verdict(), Verdict::Stuck, "{report}");
    let text = report.to_string();
    assert!(text.contains("for `db.select-counters`, which waits for a connection, or a lock"), "{text}");
    // One after the other they can share one connection.
    let report = mistreating(server, COUNTER, 1, false, false);
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
}
