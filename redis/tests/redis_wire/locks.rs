//! Keys that expire, on the world's clock.

use std::time::Duration;

use redis::{AsyncCommands, Client};
use retryproof::{Explore, Report, World};
use retryproof_redis::WorldExt;

use crate::{Error, assert_green, assert_red, is_own_server};

/// Sells a piece, if the lock still belongs to the job.
const SELL: &str =
    "if redis.call('get', KEYS[1]) ~= ARGV[1] then return redis.error_reply('STALE the lock is lost') end
    return redis.call('set', KEYS[2], ARGV[2])";
const RELEASE: &str =
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0";

async fn sell(url: String, job: u32, is_fenced: bool) -> Result<(), Error> {
    let mut connection = Client::open(url)?.get_multiplexed_async_connection().await?;
    let mut take = redis::cmd("SET");
    take.arg("lock:stock").arg(job).arg("NX").arg("PX").arg(30_000);
    while take.query_async::<Option<String>>(&mut connection).await?.is_none() {
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    let left: i64 = connection.get("stock").await?;
    match is_fenced {
        true => {
            let script = redis::Script::new(SELL);
            let mut sale = script.key("lock:stock");
            sale.key("stock").arg(job).arg(left - 1).invoke_async::<()>(&mut connection).await?;
        }
        false => connection.set::<_, _, ()>("stock", left - 1).await?,
    }
    redis::Script::new(RELEASE).key("lock:stock").arg(job).invoke_async::<()>(&mut connection).await?;
    Ok(())
}

fn selling(is_fenced: bool) -> Report {
    let explore = Explore::new().name("selling").deviations(1).crashes(0).faults(0).deliveries(0);
    explore.run(async |world: &World| {
        let redis = world.redis();
        redis.run(&["SET", "stock", "10"]);
        for name in ["one", "two"] {
            let redis = redis.clone();
            world.process(name, move |p| {
                let url = redis.url(p);
                p.slots(1);
                p.handle(async move |job: u32| sell(url.clone(), job, is_fenced).await);
            });
        }
        world.enqueue(1_u32);
        world.enqueue(2_u32);
        world.settle().await;
    })
}

#[test]
fn a_lock_expires_while_its_owner_stalls() {
    if !is_own_server() {
        return;
    }
    let report = selling(false);
    assert_red(&report, &["redis.get-stock:stall="]);
    // A part: the rest of the report says how it came about.
    assert!(report.to_string().contains("redis.stock is \"9\", expected \"8\""), "{report}");
    assert_green(&selling(true));
}

/// A lock without a time to live is left behind by a worker that dies.
fn left_behind(expires: bool) -> Report {
    let explore = Explore::new().name("left-behind").deviations(1).faults(0).deliveries(0);
    explore.run(async |world: &World| {
        let redis = world.redis();
        world.process("worker", move |p| {
            let url = redis.url(p);
            p.handle(async move |job: u32| -> Result<(), Error> {
                let mut connection = Client::open(url.clone())?.get_multiplexed_async_connection().await?;
                let mut take = redis::cmd("SET");
                take.arg("lock:daily").arg(job).arg("NX");
                if expires {
                    take.arg("EX").arg(10);
                }
                if take.query_async::<Option<String>>(&mut connection).await?.is_none() {
                    return Err("somebody else has the lock".into());
                }
                connection.sadd::<_, _, ()>("done", job).await?;
                connection.del::<_, ()>("lock:daily").await?;
                Ok(())
            });
        });
        world.enqueue(1_u32);
        world.settle().await;
    })
}

#[test]
fn a_lock_that_never_expires_is_left_behind_by_a_worker_that_dies() {
    if !is_own_server() {
        return;
    }
    assert_red(&left_behind(false), &["redis.set-lock:daily:happened=crash"]);
    assert_green(&left_behind(true));
}

#[test]
fn keys_expire_on_the_clock_of_the_world_and_waits_end_on_it() {
    if !is_own_server() {
        return;
    }
    let world = World::fake();
    let redis = world.redis();
    let of_boot = redis.clone();
    world.process("worker", move |p| {
        let url = of_boot.url(p);
        p.handle(async move |_: u32| -> Result<(), Error> {
            let mut connection = Client::open(url.clone())?.get_multiplexed_async_connection().await?;
            connection.set_ex::<_, _, ()>("session", "ann", 3_600).await?;
            let began = tokio::time::Instant::now();
            let popped: Option<(String, String)> = connection.blpop("nothing", 600.0).await?;
            assert_eq!((popped, began.elapsed()), (None, Duration::from_secs(600)));
            let left: i64 = connection.ttl("session").await?;
            assert_eq!(left, 3_000);
            tokio::time::sleep(Duration::from_secs(2_999)).await;
            assert!(connection.exists::<_, bool>("session").await?);
            tokio::time::sleep(Duration::from_millis(1_001)).await;
            assert!(!connection.exists::<_, bool>("session").await?);
            connection.set::<_, _, ()>("done", "yes").await?;
            Ok(())
        });
    });
    world.enqueue(6_u32);
    world.drain_all().run().unwrap();
    // The test sees the same time.
    redis.run(&["SET", "short", "1", "EX", "5"]);
    world.advance(Duration::from_secs(6));
    assert_eq!(redis.run(&["EXISTS", "short"]), 0);
    assert_eq!(redis.run(&["GET", "done"]), "yes");
    assert_eq!(world.now(), Duration::from_millis(3_606_001));
}
