//! The state that is compared, and the one with which each scenario begins.

use std::sync::atomic::{AtomicU32, Ordering};

use redis::{AsyncCommands, Client};
use retryproof::{Explore, Report, Verdict, World};
use retryproof_redis::WorldExt;

use crate::{Error, assert_green, assert_red, is_available, is_own_server, one_deviation, with_url};

async fn count(url: String, is_atomic: bool) -> Result<(), Error> {
    let mut connection = Client::open(url)?.get_multiplexed_async_connection().await?;
    if is_atomic {
        return Ok(connection.incr("visits", 1).await?);
    }
    let visits: Option<u32> = connection.get("visits").await?;
    Ok(connection.set("visits", visits.unwrap_or(0) + 1).await?)
}

#[test]
fn a_count_is_lost_between_get_and_set() {
    if !is_available() {
        return;
    }
    let explore = Explore::new().name("counting").deviations(2).crashes(0).faults(0).deliveries(0);
    let explored = |is_atomic| with_url(&explore, [1, 2], async move |url, _| count(url, is_atomic).await);
    assert_red(&explored(false), &["redis.visits is \"1\", expected \"2\"", "redis.get-visits:next=other"]);
    // Each thread has its own servers.
    let threaded = with_url(&explore.clone().threads(2), [1, 2], async move |url, _| count(url, false).await);
    assert_eq!(threaded.to_string(), explored(false).to_string());
    let atomic = explored(true);
    assert!(atomic.is_retryproof() && atomic.runs() > 3, "{atomic}");
}

/// Writes something of each kind, with the same outcome however often it runs.
async fn fill(url: String, is_sloppy: bool) -> Result<(), Error> {
    let mut connection = Client::open(url)?.get_multiplexed_async_connection().await?;
    connection.set::<_, _, ()>("text", b"\xff\n").await?;
    connection.hset::<_, _, _, ()>("hash", "a", 1).await?;
    connection.zadd::<_, _, _, ()>("zset", "member", 1.5).await?;
    if is_sloppy {
        // After a crash, the entry is there twice.
        return Ok(connection.xadd("log", "*", &[("event", "filled")]).await?);
    }
    // The time to live is not compared, and the id of the entry is one that the server makes.
    connection.set_ex::<_, _, ()>("soon", "gone", 60).await?;
    let once =
        "if redis.call('exists', KEYS[1]) == 0 then redis.call('xadd', KEYS[1], '*', 'event', 'filled') end";
    Ok(redis::Script::new(once).key("log").invoke_async(&mut connection).await?)
}

#[test]
fn every_kind_of_key_is_compared_and_generated_ids_are_not() {
    if !is_available() {
        return;
    }
    let explored =
        |is_sloppy| with_url(&one_deviation("fill"), [1], async move |url, _| fill(url, is_sloppy).await);
    assert_red(&explored(true), &["redis.log.stream", "redis.xadd-log:call=reply-lost"]);
    assert_green(&explored(false));
}

#[test]
fn a_key_that_expires_is_compared_where_the_test_asks_for_it() {
    if !is_own_server() {
        return;
    }
    let explored = |is_compared: bool| {
        one_deviation("session").faults(0).deliveries(0).run(async |world: &World| {
            let redis = world.redis();
            if is_compared {
                redis.compare_expiring("session:*");
            }
            world.process("worker", move |p| {
                let url = redis.url(p);
                p.handle(async move |user: u32| -> Result<(), Error> {
                    let mut connection =
                        Client::open(url.clone())?.get_multiplexed_async_connection().await?;
                    let key = format!("session:{user}");
                    // The one that finds it there does not make it live longer.
                    if !connection.exists::<_, bool>(&key).await? {
                        connection.set_ex::<_, _, ()>(&key, "ann", 3_600).await?;
                    }
                    Ok(connection.sadd("users", user).await?)
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
        })
    };
    assert_green(&explored(false));
    assert_red(&explored(true), &["redis.session:6.expires_in is", "redis.setex-session:6"]);
}

#[test]
fn each_scenario_begins_clean() {
    if !is_available() {
        return;
    }
    let begun = AtomicU32::new(0);
    let report = one_deviation("clean").run(async |world: &World| {
        let redis = world.redis();
        assert_eq!(redis.run(&["DBSIZE"]), 0);
        let known = redis.run(&["SCRIPT", "EXISTS", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"]);
        // The scripts of a server that is not our own belong to everybody.
        assert!(known[0] == 0 || !is_own_server());
        begun.fetch_add(1, Ordering::Relaxed);
        world.process("worker", move |p| {
            let url = redis.url(p);
            p.handle(async move |_: u32| -> Result<(), Error> {
                let client = Client::open(url.clone())?;
                let mut connection = client.get_multiplexed_async_connection().await?;
                if is_own_server() {
                    redis::cmd("SELECT").arg(3).exec_async(&mut connection).await?;
                }
                redis::cmd("EVAL").arg("return 1").arg(0).exec_async(&mut connection).await?;
                redis::cmd("MULTI").exec_async(&mut connection).await?;
                redis::cmd("EXEC").exec_async(&mut connection).await?;
                connection.set::<_, _, ()>("a", 1).await?;
                // What this leaves behind is not the next client's.
                redis::cmd("MULTI").exec_async(&mut connection).await?;
                Ok(())
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert_green(&report);
    assert!(begun.load(Ordering::Relaxed) > 5);
}

/// In one scenario, the server is ended before the job runs.
fn vanishing(vanishes: bool) -> Report {
    let runs = AtomicU32::new(0);
    one_deviation("vanishing").run(async |world: &World| {
        let redis = world.redis();
        let of_boot = redis.clone();
        world.process("worker", move |p| {
            let url = of_boot.url(p);
            p.handle(async move |n: u32| -> Result<(), Error> {
                let mut connection = Client::open(url.clone())?.get_multiplexed_async_connection().await?;
                Ok(connection.set("n", n).await?)
            });
        });
        world.enqueue(6_u32);
        if vanishes && runs.fetch_add(1, Ordering::Relaxed) == 4 {
            let client = Client::open(redis.direct_url()).unwrap();
            // It does not answer.
            let _ = redis::cmd("SHUTDOWN").arg("NOSAVE").exec(&mut client.get_connection().unwrap());
        }
        world.settle().await;
    })
}

#[test]
fn a_server_that_goes_away_is_a_verdict_that_says_so_and_the_next_one_starts_clean() {
    if !is_own_server() {
        return;
    }
    let report = vanishing(true);
    assert!(matches!(report.verdict(), Verdict::Violated | Verdict::Nondeterministic), "{report}");
    let text = report.to_string();
    // A part: the rest is the client's, or says how it came about.
    assert!(text.contains("the server has ended") || text.contains("broken pipe"), "{text}");
    assert_green(&vanishing(false));
}
