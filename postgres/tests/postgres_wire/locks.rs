//! Jobs that wait for each other in the database, and what a dead process leaves behind there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use retryproof::{Explore, Report, World};
use retryproof_postgres::{Postgres, WorldExt};
use sqlx::{Error, PgPool};

use crate::{assert_green, assert_red, backends, is_available, is_own_server, overtaking, pool};

static COUNTERS: Postgres =
    Postgres::schema("CREATE TABLE counters (id bigint PRIMARY KEY, n bigint NOT NULL)");

/// A job in each of two processes.
fn two(
    explore: &Explore,
    job: impl AsyncFn(PgPool, i64) -> Result<(), Error> + Clone + Sync + 'static,
) -> Report {
    explore.run(async |world: &World| {
        let db = world.postgres(&COUNTERS);
        db.execute("INSERT INTO counters VALUES (1, 0), (2, 0)");
        for name in ["one", "two"] {
            let (db, job) = (db.clone(), job.clone());
            world.process(name, move |p| {
                let (pool, job) = (pool(&db.url(p), 1), job.clone());
                p.slots(1);
                p.handle(async move |number: i64| job(pool.clone(), number).await);
            });
        }
        world.enqueue(1_i64);
        world.enqueue(2_i64);
        world.settle().await;
        assert_eq!(backends(&db, "AND state LIKE 'idle in transaction%'"), 0, "a transaction is open");
    })
}

async fn count(pool: &PgPool, select: &str) -> Result<(), Error> {
    let mut tx = pool.begin().await?;
    let n: i64 = sqlx::query_scalar(select).fetch_one(&mut *tx).await?;
    sqlx::query("UPDATE counters SET n = $1 WHERE id = 1").bind(n + 1).execute(&mut *tx).await?;
    tx.commit().await
}

#[test]
fn an_update_is_lost_without_a_row_lock_and_with_one_the_other_job_waits() {
    if !is_available() {
        return;
    }
    let explored = |select: &'static str| {
        two(&overtaking("count"), async move |pool: PgPool, _| count(&pool, select).await)
    };
    let report = explored("SELECT n FROM counters WHERE id = 1");
    assert_red(&report, &["db.select-counters:next=other"]);
    assert_green(&explored("SELECT n FROM counters WHERE id = 1 FOR UPDATE"));
}

/// Takes both rows, in the order of the job's number or always in the same order.
async fn take_both(pool: &PgPool, number: i64, is_sorted: bool) -> Result<(), Error> {
    let first = if is_sorted { 1 } else { number };
    let mut tx = pool.begin().await?;
    for id in [first, 3 - first] {
        sqlx::query("UPDATE counters SET n = n + 1 WHERE id = $1").bind(id).execute(&mut *tx).await?;
    }
    tx.commit().await
}

/// Gives up on a deadlock, instead of trying again.
async fn give_up(pool: PgPool, number: i64, is_sorted: bool) -> Result<(), Error> {
    match take_both(&pool, number, is_sorted).await {
        Err(Error::Database(error)) if error.code().as_deref() == Some("40P01") => Ok(()),
        other => other,
    }
}

#[test]
fn a_deadlock_hits_the_same_job_each_time_and_is_no_matter_for_one_that_is_retried() {
    if !is_own_server() {
        return;
    }
    let explored = || two(&overtaking("both"), async |pool, number| give_up(pool, number, false).await);
    let report = explored();
    assert_red(&report, &["db.update-counters:next=other"]);
    let first = report.to_string();
    for _ in 0..10 {
        assert_eq!(explored().to_string(), first);
    }
    assert_green(&two(&overtaking("both"), async |pool, number| give_up(pool, number, true).await));
    assert_green(&two(&overtaking("both"), async |pool: PgPool, number| {
        take_both(&pool, number, false).await
    }));
}

#[test]
fn a_lock_of_a_dead_process_is_gone_before_anybody_goes_on() {
    if !is_available() {
        return;
    }
    let explore = Explore::new().name("dead").deviations(2).faults(0).deliveries(0);
    let report = two(&explore, async |pool: PgPool, number| {
        let mut tx = pool.begin().await?;
        // Without waiting: a lock that a dead process left behind would show as an error.
        let n: Option<i64> =
            sqlx::query_scalar("SELECT n FROM counters WHERE id = $1 FOR UPDATE SKIP LOCKED")
                .bind(number)
                .fetch_optional(&mut *tx)
                .await?;
        assert!(n.is_some(), "the row is locked, and nobody else takes this one");
        tokio::time::sleep(Duration::from_secs(1)).await;
        sqlx::query("UPDATE counters SET n = 1 WHERE id = $1").bind(number).execute(&mut *tx).await?;
        tx.commit().await
    });
    assert_green(&report);
}

#[test]
fn a_process_that_dies_while_it_waits_for_a_lock_does_not_go_on() {
    if !is_available() {
        return;
    }
    // The second job waits for the first one's row, and its process dies while it waits. Its statement must not happen
    // when the row is free, because nobody is there to commit it.
    let explore = Explore::new().name("waits").deviations(2).faults(0).deliveries(0);
    let report = two(&explore, async |pool: PgPool, number: i64| {
        let mut tx = pool.begin().await?;
        let done: i64 =
            sqlx::query_scalar("SELECT n FROM counters WHERE id = 1 FOR UPDATE").fetch_one(&mut *tx).await?;
        if done & number == 0 {
            sqlx::query("UPDATE counters SET n = n + $1 WHERE id = 1").bind(number).execute(&mut *tx).await?;
        }
        tx.commit().await
    });
    assert_green(&report);
}

#[test]
fn a_statement_that_waits_for_its_own_process_does_not_happen_when_that_dies() {
    if !is_available() {
        return;
    }
    // One connection holds the row, and a statement on another one, outside of a transaction, waits for it.
    let world = World::fake();
    let db = world.postgres(&COUNTERS);
    db.execute("INSERT INTO counters VALUES (1, 0)");
    let (of_boot, began) = (db.clone(), Arc::new(AtomicU32::new(0)));
    let of_jobs = began.clone();
    world.process("one", move |p| {
        let (pool, began) = (pool(&of_boot.url(p), 2), of_jobs.clone());
        p.slots(2);
        p.spawn("clock", async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        p.handle(async move |seconds: u64| {
            if began.fetch_add(1, Ordering::Relaxed) >= 2 {
                return Ok(());
            }
            if seconds == 0 {
                let mut tx = pool.begin().await?;
                sqlx::query("UPDATE counters SET n = 1").execute(&mut *tx).await?;
                tokio::time::sleep(Duration::from_secs(100)).await;
                return tx.commit().await;
            }
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            sqlx::query("UPDATE counters SET n = n + 10").execute(&pool).await.map(drop)
        });
    });
    world.enqueue(0_u64);
    world.enqueue(2_u64);
    assert!(world.settle_until(|world| world.now() >= Duration::from_secs(5)).run());
    assert_eq!(began.load(Ordering::Relaxed), 2);
    assert_eq!(backends(&db, "AND wait_event_type = 'Lock'"), 1, "the statement waits");
    world.crash("one");
    assert_eq!(db.count("counters WHERE n = 0"), 1);
}

/// One job holds something for a minute, and the other one does something that waits for it.
#[track_caller]
fn holding(held: &'static str, waits: impl AsyncFn(PgPool) -> Result<(), Error> + Clone + 'static) {
    let world = World::fake();
    let db = world.postgres(&COUNTERS);
    db.execute("INSERT INTO counters VALUES (1, 0), (2, 0)");
    let (begun, done) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    for name in ["one", "two"] {
        let (db, waits, begun, done) = (db.clone(), waits.clone(), begun.clone(), done.clone());
        world.process(name, move |p| {
            let (pool, waits) = (pool(&db.url(p), 1), waits.clone());
            let (begun, done) = (begun.clone(), done.clone());
            p.slots(1);
            p.handle(async move |number: i64| {
                if number == 2 {
                    begun.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    waits(pool.clone()).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                let mut tx = pool.begin().await?;
                sqlx::query(held).execute(&mut *tx).await?;
                tokio::time::sleep(Duration::from_secs(60)).await;
                tx.commit().await
            });
        });
    }
    world.enqueue(1_i64);
    world.enqueue(2_i64);
    world.settle().run();
    // A failed assertion in a job would be a retry.
    assert_eq!((begun.load(Ordering::Relaxed), done.load(Ordering::Relaxed)), (1, 1));
}

const HELD: &str = "UPDATE counters SET n = 5 WHERE id = 1";

#[test]
fn a_wait_ends_at_the_limit_of_the_client_in_virtual_time() {
    if !is_available() {
        return;
    }
    for (setting, code) in [("lock_timeout", "55P03"), ("statement_timeout", "57014")] {
        for (seconds, is_refused) in [(30, true), (90, false)] {
            holding(HELD, async move |pool: PgPool| {
                let mut connection = pool.acquire().await?;
                sqlx::raw_sql(&format!("SET {setting} = '{seconds}s'")).execute(&mut *connection).await?;
                let began = tokio::time::Instant::now();
                let update = "UPDATE counters SET n = n + 1 WHERE id = 1";
                let updated = sqlx::query(update).execute(&mut *connection).await;
                let refused = match &updated {
                    Err(Error::Database(error)) => error.code().map(|code| code.into_owned()),
                    _ => None,
                };
                assert_eq!(refused.as_deref(), is_refused.then_some(code), "{updated:?}");
                // The other one goes on after a minute.
                assert_eq!(began.elapsed().as_secs(), if is_refused { 30 } else { 59 });
                // The connection is still good.
                sqlx::query("UPDATE counters SET n = 1 WHERE id = 2")
                    .execute(&mut *connection)
                    .await
                    .map(drop)
            });
        }
    }
}

#[test]
fn a_client_may_choose_which_messages_it_gets_and_is_still_seen_to_wait() {
    if !is_available() {
        return;
    }
    for choice in
        ["SET client_min_messages = 'error'", "SELECT set_config('client_min_messages', 'error', false)"]
    {
        holding(HELD, async move |pool: PgPool| {
            let mut connection = pool.acquire().await?;
            sqlx::raw_sql(choice).execute(&mut *connection).await?;
            let update = "UPDATE counters SET n = n + 1 WHERE id = 1 RETURNING n";
            let n: i64 = sqlx::query_scalar(update).fetch_one(&mut *connection).await?;
            assert_eq!(n, 6);
            Ok(())
        });
    }
}

#[test]
fn a_client_gets_the_messages_that_it_wants_and_no_others() {
    if !is_available() {
        return;
    }
    let notices = |url: String| -> Result<Vec<String>, postgres::Error> {
        let (sender, notices) = std::sync::mpsc::channel();
        let mut config: postgres::Config = url.parse()?;
        config.notice_callback(move |notice| sender.send(notice.severity().to_owned()).unwrap());
        let mut client = config.connect(postgres::NoTls)?;
        client.batch_execute("DO $$BEGIN RAISE LOG 'a'; RAISE NOTICE 'b'; RAISE WARNING 'c'; END$$")?;
        Ok(notices.try_iter().collect())
    };
    for (options, expected) in [
        ("", &["NOTICE", "WARNING"][..]),
        ("&options=-c%20client_min_messages%3Dlog", &["LOG", "NOTICE", "WARNING"]),
        ("&options=-cclient_min_messages%3Dwarning", &["WARNING"]),
        ("&options=--client-min-messages%3Derror", &[]),
    ] {
        let world = World::fake();
        let db = world.postgres(&COUNTERS);
        let of_boot = db.clone();
        world.process("one", move |p| {
            let url = format!("{}{options}", of_boot.url(p));
            p.handle_blocking(move |_: u32| {
                assert_eq!(notices(url.clone())?, expected, "{options}");
                Ok::<_, postgres::Error>(())
            });
        });
        world.enqueue(6_u32);
        world.drain_all().run().unwrap();
    }
}

#[test]
fn a_request_to_cancel_ends_the_wait_that_it_is_meant_for() {
    if !is_available() {
        return;
    }
    let world = World::fake();
    let db = world.postgres(&COUNTERS);
    db.execute("INSERT INTO counters VALUES (1, 0)");
    let of_boot = db.clone();
    world.process("one", move |p| {
        let url = of_boot.url(p);
        p.handle(async move |_: u32| {
            let (holder, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
            tokio::spawn(connection);
            let (waiter, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
            tokio::spawn(connection);
            // One that comes when nothing is under way has no effect on the next statement.
            waiter.cancel_token().cancel_query(tokio_postgres::NoTls).await?;
            waiter.batch_execute("SELECT 1").await?;
            holder.batch_execute("BEGIN; UPDATE counters SET n = 1").await?;
            let canceled = tokio::time::timeout(
                Duration::from_secs(3),
                waiter.batch_execute("UPDATE counters SET n = n + 10"),
            );
            assert!(canceled.await.is_err(), "nobody else ends it");
            waiter.cancel_token().cancel_query(tokio_postgres::NoTls).await?;
            // The connection is in step again.
            let row = waiter.query_one("SELECT n FROM counters", &[]).await?;
            assert_eq!(row.get::<_, i64>(0), 0);
            holder.batch_execute("COMMIT").await
        });
    });
    world.enqueue(6_u32);
    world.drain_all().run().unwrap();
    assert_eq!(db.count("counters WHERE n = 1"), 1);
}

#[test]
fn a_copy_may_wait_for_a_lock() {
    if !is_available() {
        return;
    }
    holding("LOCK TABLE counters", async move |pool: PgPool| {
        let mut connection = pool.acquire().await?;
        let mut copy = connection.copy_in_raw("COPY counters FROM STDIN").await?;
        copy.send(&b"3\t0\n"[..]).await?;
        assert_eq!(copy.finish().await?, 1);
        let n: i64 = sqlx::query_scalar("SELECT count(*) FROM counters").fetch_one(&mut *connection).await?;
        assert_eq!(n, 3);
        Ok(())
    });
}

#[test]
fn a_boot_that_waits_for_another_process_is_named() {
    if !is_available() {
        return;
    }
    let report = Explore::new().name("boot").deviations(0).run(async |world: &World| {
        let db = world.postgres(&COUNTERS);
        db.execute("INSERT INTO counters VALUES (1, 0)");
        let of_holder = db.clone();
        world.process("holder", move |p| {
            let pool = pool(&of_holder.url(p), 1);
            p.handle(async move |_: u32| {
                let mut tx = pool.begin().await?;
                sqlx::query("UPDATE counters SET n = 1").execute(&mut *tx).await?;
                tokio::time::sleep(Duration::from_secs(60)).await;
                tx.commit().await
            });
        });
        world.enqueue(6_u32);
        assert!(world.settle_until(|world| world.now() >= Duration::from_secs(5)).await);
        world.process("late", move |p| {
            let mut client = postgres::Client::connect(&db.url(p), postgres::NoTls).unwrap();
            let _ = client.execute("UPDATE counters SET n = 2", &[]);
        });
        world.settle().await;
    });
    let text = report.to_string();
    // A part: between them stands the place of the call.
    assert!(text.contains("the boot of late waits"), "{text}");
    // A part, for the same reason.
    assert!(text.contains("nothing else runs while a process boots"), "{text}");
}
