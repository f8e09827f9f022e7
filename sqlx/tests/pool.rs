//! Statements of every form, connections, and transactions that end in every way, on the wrapped pool.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use futures_util::TryStreamExt;
use retryproof::{Explore, External, Report, Verdict, World};
use retryproof_sqlx::Pool;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{Connection, Error, Executor, Row, Sqlite, SqliteConnection};

/// A database in memory. It is gone when all connections are closed.
struct Database {
    options: SqliteConnectOptions,
    external: External,
    own: RefCell<SqliteConnection>,
}

impl Database {
    fn new(world: &World) -> Rc<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("/pool-{}", MADE.fetch_add(1, Ordering::Relaxed));
        let options = SqliteConnectOptions::new().filename(name).vfs("memdb");
        let external = world.external("db");
        let mut own = external.block_on(SqliteConnection::connect_with(&options)).unwrap();
        let tables = "CREATE TABLE stock (pieces INTEGER NOT NULL); INSERT INTO stock VALUES (10)";
        external.block_on(own.execute(tables)).unwrap();
        Rc::new(Self { options, external, own: RefCell::new(own) })
    }

    fn pieces(&self) -> Vec<i64> {
        let query = sqlx::query_scalar("SELECT pieces FROM stock ORDER BY pieces");
        self.external.block_on(query.fetch_all(&mut *self.own.borrow_mut())).unwrap()
    }

    fn pool(&self, external: External) -> Pool<Sqlite> {
        let options = SqlitePoolOptions::new().max_lifetime(None).idle_timeout(None);
        Pool::new(options.connect_lazy_with(self.options.clone()), external)
    }
}

async fn every_form(pool: &Pool<Sqlite>) -> Result<(), Error> {
    // On the pool itself.
    pool.execute("INSERT INTO stock VALUES (1)").await?;
    let done = sqlx::query("INSERT INTO stock VALUES (?), (?)").bind(2).bind(3).execute(pool).await?;
    assert_eq!(done.rows_affected(), 2);
    let one: i64 = sqlx::query_scalar("SELECT min(pieces) FROM stock").fetch_one(pool).await?;
    let none = sqlx::query("SELECT pieces FROM stock WHERE pieces = 77").fetch_optional(pool).await?;
    assert_eq!((one, none.is_none()), (1, true));
    let all = sqlx::query("SELECT pieces FROM stock ORDER BY pieces").fetch_all(pool).await?;
    let all: Vec<i64> = all.iter().map(|row| row.get(0)).collect();
    assert_eq!(all, [1, 2, 3, 10]);
    let mut rows = sqlx::query_scalar::<_, i64>("SELECT pieces FROM stock ORDER BY pieces").fetch(pool);
    assert_eq!(rows.try_next().await?, Some(1));
    drop(rows);
    let told = pool.describe("SELECT pieces FROM stock").await?;
    assert_eq!(told.columns.len(), 1);
    // Errors of the database are passed on.
    let wrong = sqlx::query("SELECT nothing FROM stock").execute(pool).await;
    assert!(matches!(wrong, Err(Error::Database(_))), "{wrong:?}");
    // On a connection of it.
    let mut connection = pool.acquire().await?;
    sqlx::query("INSERT INTO stock VALUES (4)").execute(&mut *connection).await?;
    drop(connection);
    // In transactions: uncommitted rows are gone.
    let mut tx = pool.begin().await?;
    tx.execute("INSERT INTO stock VALUES (5)").await?;
    tx.commit().await?;
    let mut tx = pool.begin().await?;
    tx.execute("INSERT INTO stock VALUES (6)").await?;
    tx.rollback().await?;
    let mut tx = pool.begin().await?;
    tx.execute("INSERT INTO stock VALUES (7)").await?;
    drop(tx);
    // The pool of sqlx is still available.
    assert!(pool.inner().size() > 0);
    Ok(())
}

#[test]
fn statements_of_every_form_do_what_they_do_on_sqlxs_own_pool() {
    let world = World::fake();
    let database = Database::new(&world);
    let (done, came) = mpsc::channel();
    let of_process = database.clone();
    world.process("worker", move |p| {
        let (pool, done) = (of_process.pool(p.external("db")), done.clone());
        p.handle(async move |(): ()| done.send(every_form(&pool).await.map_err(|error| error.to_string())))
            .discard_on_failure();
    });
    world.enqueue(());
    world.settle().run();
    assert_eq!(came.recv(), Ok(Ok(())));
    assert_eq!(database.pieces(), [1, 2, 3, 4, 5, 10]);
}

/// The way in which the job takes a piece from the stock.
#[derive(Clone, Copy, Debug)]
enum Takes {
    OnThePool,
    OnAConnection,
    InATransaction,
    /// Only if there are ten pieces, so only once.
    Once,
    ItBack,
}

async fn take(pool: &Pool<Sqlite>, takes: Takes) -> Result<(), Error> {
    const TAKE: &str = "UPDATE stock SET pieces = pieces - 1";
    match takes {
        Takes::OnThePool => {
            _ = pool.execute(TAKE).await?;
        }
        Takes::OnAConnection => {
            _ = pool.acquire().await?.execute(TAKE).await?;
        }
        Takes::Once => {
            _ = pool.execute("UPDATE stock SET pieces = 9 WHERE pieces = 10").await?;
        }
        Takes::InATransaction | Takes::ItBack => {
            let mut tx = pool.begin().await?;
            tx.execute(TAKE).await?;
            match takes {
                Takes::ItBack => tx.rollback().await?,
                _ => tx.commit().await?,
            }
        }
    }
    Ok(())
}

/// Each fault separately.
fn explored(takes: Takes) -> Report {
    Explore::new().name("stock").deviations(1).crashes(0).deliveries(0).run(async move |world: &World| {
        let database = Database::new(world);
        let (seen, of_process) = (database.clone(), database.clone());
        world.observe("stock", move || seen.pieces());
        world.process("worker", move |p| {
            let pool = of_process.pool(p.external("db"));
            p.handle(async move |(): ()| take(&pool, takes).await);
        });
        world.enqueue(());
        world.settle().await;
    })
}

#[test]
fn a_reply_that_is_lost_is_found_where_it_does_harm_and_nowhere_else() {
    // A statement that writes can be unreachable, or lose its reply. A statement in a transaction, `begin`, `acquire`
    // and `rollback` can only be unreachable, because a lost connection undoes them. With the reference run:
    for (takes, runs, lost) in [
        (Takes::OnThePool, 1 + 2, Some("update-stock")),
        (Takes::OnAConnection, 1 + 1 + 2, Some("update-stock")),
        (Takes::InATransaction, 1 + 1 + 1 + 2, Some("commit")),
        (Takes::Once, 1 + 2, None),
        (Takes::ItBack, 1 + 1 + 1 + 1, None),
    ] {
        let report = explored(takes);
        let found: Vec<_> = report.violations().iter().map(|found| found.scenario.to_string()).collect();
        let expected: Vec<_> =
            lost.iter().map(|call| format!("stock job#1.1/db.{call}:call=reply-lost")).collect();
        assert_eq!(found, expected, "{takes:?}: {report}");
        assert_eq!(report.verdict(), if lost.is_some() { Verdict::Violated } else { Verdict::RetryProof });
        assert_eq!(report.runs(), runs, "{takes:?}: {report}");
    }
}

#[test]
fn a_job_sees_a_lost_connection() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let scenario = "stock job#1.1/db.update-stock:call=reply-lost";
    let report = Explore::new().name("stock").replay(scenario).run(async |world: &World| {
        let (database, seen) = (Database::new(world), seen.clone());
        let of_process = database.clone();
        world.observe("stock", move || database.pieces());
        world.process("worker", move |p| {
            let (pool, seen) = (of_process.pool(p.external("db")), seen.clone());
            p.handle(async move |(): ()| {
                let taken = take(&pool, Takes::Once).await;
                if let Err(Error::Io(error)) = &taken {
                    seen.lock().unwrap().push(error.kind());
                }
                taken
            });
        });
        world.enqueue(());
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    let seen = seen.lock().unwrap();
    assert!(!seen.is_empty() && seen.iter().all(|kind| *kind == ErrorKind::ConnectionReset), "{seen:?}");
}
