//! Jobs on a real Redis: a counter, and a lock.
//!
//! A part: the rest of these texts is the server's or the driver's, or has a path.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use redis::{RedisResult, Value};
use retryproof::{Explore, Report, Verdict, World};
use retryproof_wrapped_redis::{Connection, Server};

/// Each exploration has its own keys, so that tests may share the server.
fn clear(server: &Server, prefix: &str) {
    let mut connection = server.connect();
    let keys: Vec<String> = redis::cmd("KEYS").arg(format!("{prefix}:*")).query(&mut connection).unwrap();
    if !keys.is_empty() {
        let _: i64 = redis::cmd("DEL").arg(keys).query(&mut connection).unwrap();
    }
}

fn counted(server: &Server, prefix: &str) -> Option<i64> {
    redis::cmd("GET").arg(format!("{prefix}:n")).query(&mut server.connect()).unwrap()
}

/// Two jobs that count. There are no failures, the jobs only overtake each other.
fn counting(server: &'static Server, prefix: &'static str, atomic: bool) -> Report {
    let report =
        Explore::new().name("counting").crashes(0).faults(0).deliveries(0).run(async move |world: &World| {
            clear(server, prefix);
            world.process("worker", move |p| {
                let connection = Connection::new(server.client(), p.external("redis"));
                p.handle(async move |_: u32| {
                    let (mut connection, key) = (connection.clone(), format!("{prefix}:n"));
                    if atomic {
                        return redis::cmd("INCR").arg(key).exec_async(&mut connection).await;
                    }
                    let n: Option<i64> = redis::cmd("GET").arg(&key).query_async(&mut connection).await?;
                    redis::cmd("SET").arg(&key).arg(n.unwrap_or(0) + 1).exec_async(&mut connection).await
                });
            });
            world.observe("n", move || counted(server, prefix));
            world.enqueue(1_u32);
            world.enqueue(2_u32);
            world.settle().await;
        });
    clear(server, prefix);
    report
}

#[test]
fn an_update_is_lost_by_get_and_set_and_none_by_incr() {
    let Some(server) = Server::shared() else { return };
    let report = counting(server, "lost", false);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    let scenario = report.violations()[0].scenario.to_string();
    assert_eq!(scenario, "counting job#1.1/redis.get:next=other", "{report}");
    let report = counting(server, "kept", true);
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    assert!(report.runs() > 3, "{report}");
}

/// Releases the lock if it still belongs to its owner.
const GIVE_BACK: &str =
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0";

/// Three jobs with one lock, each of which records that it is inside. The first is so slow that its lock expires.
fn locking(server: &'static Server, prefix: &'static str, owned: bool) -> Report {
    let report =
        Explore::new().name("locking").crashes(0).faults(0).deliveries(0).run(async move |world: &World| {
            clear(server, prefix);
            let inside = world.durable("inside", BTreeMap::<u32, u32>::new());
            let noted = inside.clone();
            world.process("worker", move |p| {
                let (clock, inside) = (p.clock(), noted.clone());
                let connection = Connection::new(server.client(), p.external("redis"));
                p.handle(async move |job: u32| {
                    let mut connection = connection.clone();
                    let key = format!("{prefix}:lock");
                    let take =
                        redis::cmd("SET").arg(&key).arg(job).arg("NX").arg("PX").arg(600_000).to_owned();
                    let taken: Value = take.query_async(&mut connection).await?;
                    if taken == Value::Nil {
                        return Err("somebody else has the lock".to_owned().into());
                    }
                    inside.update(|inside| *inside.entry(job).or_default() += 1);
                    if job == 1 {
                        // Redis has its own clock, so the test does what Redis would do after ten minutes.
                        redis::cmd("DEL").arg(&key).exec(&mut server.connect())?;
                        clock.yield_now().await;
                    } else {
                        clock.sleep(Duration::from_secs(1)).await;
                    }
                    inside.update(|inside| *inside.entry(job).or_default() -= 1);
                    let given: RedisResult<i64> = if owned {
                        redis::cmd("EVAL")
                            .arg(GIVE_BACK)
                            .arg(1)
                            .arg(&key)
                            .arg(job)
                            .query_async(&mut connection)
                            .await
                    } else {
                        redis::cmd("DEL").arg(&key).query_async(&mut connection).await
                    };
                    given
                        .map(|_| ())
                        .map_err(|error| -> Box<dyn std::error::Error + Send + Sync> { error.into() })
                });
            });
            let at_once = inside.clone();
            // A job whose lock has expired does not count.
            world.invariant("one has the lock", move |_| {
                let inside: Vec<_> =
                    at_once.get().into_iter().filter(|(job, n)| *job != 1 && *n > 0).collect();
                assert!(inside.len() < 2, "two have the lock: {inside:?}");
            });
            for job in 1..=3_u32 {
                world.enqueue(job);
            }
            world.settle().await;
        });
    clear(server, prefix);
    report
}

#[test]
fn a_lock_without_an_owner_is_given_back_by_one_whose_time_was_over() {
    let Some(server) = Server::shared() else { return };
    let report = locking(server, "anyones", false);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert!(report.to_string().contains("two have the lock"), "{report}");
    let report = locking(server, "owned", true);
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
}

/// A job that counts. In the fifth scenario the server vanishes before the job runs, if `vanishes`.
fn vanishing(server: &Server, vanishes: bool) -> Report {
    let runs = AtomicU32::new(0);
    Explore::new().name("vanishing").deviations(1).run(async |world: &World| {
        if let Ok(mut connection) = server.client().get_connection() {
            let _: () = redis::cmd("FLUSHALL").query(&mut connection).unwrap();
        }
        let client = server.client();
        world.process("worker", move |p| {
            let connection = Connection::new(client.clone(), p.external("redis"));
            p.handle(async move |n: u32| {
                redis::cmd("SET").arg("n").arg(n).exec_async(&mut connection.clone()).await
            });
        });
        let client = server.client();
        world.observe("n", move || match client.get_connection() {
            Ok(mut connection) => redis::cmd("GET").arg("n").query(&mut connection).unwrap(),
            Err(_) => Some("Redis cannot be reached".to_owned()),
        });
        world.enqueue(6_u32);
        if vanishes && runs.fetch_add(1, Ordering::Relaxed) == 4 {
            server.vanish();
        }
        world.settle().await;
    })
}

#[test]
fn a_server_that_goes_away_is_a_verdict_that_says_so_and_the_next_one_starts_clean() {
    if Server::shared().is_none() {
        return;
    }
    let Some(server) = Server::of_its_own() else { return };
    let report = vanishing(&server, true);
    // Not retry-proof, or, as far as the harness can see, not deterministic, because the server was there the first
    // time.
    assert!(matches!(report.verdict(), Verdict::Violated | Verdict::Nondeterministic), "{report}");
    let text = report.to_string();
    assert!(text.contains("Redis cannot be reached") || text.contains("No such file"), "{text}");
    let Some(server) = Server::of_its_own() else { return };
    let report = vanishing(&server, false);
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    assert!(report.runs() > 5, "{report}");
}
