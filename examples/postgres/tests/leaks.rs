//! Many scenarios on a real PostgreSQL leave no connection and no database behind. Also prints the number of
//! scenarios per second.

use std::io::Write;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use retryproof::{Explore, Verdict, World};
use retryproof_wrapped_postgres::database::{Database, Start};
use retryproof_wrapped_postgres::server::Server;

const LEFT: &str = "SELECT (SELECT count(*) FROM pg_stat_activity \
    WHERE datname IS NOT NULL AND pid <> pg_backend_pid()) + (SELECT count(*) FROM pg_database)";

#[expect(clippy::disallowed_methods, reason = "this measures")]
fn now() -> Instant {
    Instant::now()
}

fn left(server: &Server) -> i64 {
    World::fake().external("db").block_on(async {
        let mut connection = server.connect().await.expect("the server is there");
        sqlx::query_scalar(LEFT).fetch_one(&mut connection).await.expect("a number")
    })
}

/// Runs `most` scenarios on two threads, each with its own database. Prints the number per second.
fn explored(server: &Server, start: Start, most: u64) {
    let began = now();
    let runs: u64 = thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| explored_by_one(server, start, most / 2)));
        both.into_iter().map(|one| one.join().expect("it passes")).sum()
    });
    let rate = runs as f64 / began.elapsed().as_secs_f64();
    let _ = writeln!(std::io::stderr(), "sqlx, PostgreSQL, {start:?}: {runs} scenarios, {rate:.0} a second");
}

/// One test at a time, because they count resources of the whole process.
static TURN: Mutex<()> = Mutex::new(());

fn explored_by_one(server: &Server, start: Start, most: u64) -> u64 {
    let mut runs = 0;
    while runs < most {
        let tables = "CREATE TABLE counters (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)";
        let database = Database::new(server, tables).starts_by(start);
        let exploration = Explore::new().name("counting").deviations(if most < 100 { 1 } else { 2 });
        let report = exploration.run(async |world: &World| {
            let external = database.start(world, "INSERT INTO counters VALUES (1, 0)");
            let theirs = database.clone();
            world.process("worker", move |p| {
                // One for each slot, because an exhausted pool can only be detected by the time that it takes.
                let pool = theirs.pool(p, 5);
                p.handle(async move |n: i64| {
                    let mut tx = pool.begin().await?;
                    let find = "SELECT n FROM counters WHERE id = 1 FOR UPDATE";
                    let _: i64 = sqlx::query_scalar(find).fetch_one(&mut *tx).await?;
                    sqlx::query("UPDATE counters SET n = $1").bind(n).execute(&mut *tx).await?;
                    tx.commit().await
                });
            });
            let (looks, looked) = (database.clone(), external.clone());
            world.observe("n", move || looked.block_on(looks.clone().rows("SELECT n, '' FROM counters")));
            world.enqueue(6_i64);
            world.settle().await;
        });
        database.drop(&World::fake().external("db"));
        assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
        runs += report.runs();
    }
    runs
}

#[test]
fn a_hundred_scenarios_leave_nothing_behind() {
    let _turn = TURN.lock();
    let Some(server) = Server::of_its_own() else { return };
    let before = left(&server);
    explored(&server, Start::Truncation, 100);
    assert_eq!(left(&server), before);
}

#[test]
#[ignore = "nightly: takes minutes"]
fn ten_thousand_scenarios_leave_nothing_behind() {
    let _turn = TURN.lock();
    let Some(server) = Server::of_its_own() else { return };
    let before = left(&server);
    explored(&server, Start::Truncation, 10_000);
    // The other way, for comparison. A few scenarios are enough.
    explored(&server, Start::Template, 98);
    assert_eq!(left(&server), before);
}
