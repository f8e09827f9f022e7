//! Workers that wait for elements of lists and entries of streams.

use std::time::Duration;

use redis::streams::{StreamAutoClaimOptions, StreamAutoClaimReply, StreamReadOptions, StreamReadReply};
use redis::{AsyncCommands, Client, Direction};
use retryproof::{Explore, Report, World};
use retryproof_redis::{Redis, WorldExt};

use crate::{Error, assert_green, assert_red, is_available, is_own_server, one_deviation};

/// Works until the connection breaks, and then again.
async fn again(mut work: impl AsyncFnMut() -> Result<(), Error>) {
    while let Err(_error) = work().await {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn work(url: &str, is_reliable: bool) -> Result<(), Error> {
    let mut connection = Client::open(url)?.get_multiplexed_async_connection().await?;
    if is_reliable {
        // What a worker that died has left behind.
        while connection.rpoplpush::<_, _, Option<String>>("working", "jobs").await?.is_some() {}
    }
    loop {
        let job: String = match is_reliable {
            true => connection.blmove("jobs", "working", Direction::Right, Direction::Left, 0.0).await?,
            false => connection.brpop::<_, (String, String)>("jobs", 0.0).await?.1,
        };
        connection.sadd::<_, _, ()>("done", &job).await?;
        if is_reliable {
            connection.lrem::<_, _, ()>("working", 1, &job).await?;
        }
    }
}

fn working(explore: &Explore, is_reliable: bool) -> Report {
    explore.run(async |world: &World| {
        let redis = world.redis();
        let of_boot = redis.clone();
        world.process("worker", move |p| {
            let url = of_boot.url(p);
            p.spawn("work", async move { again(async || work(&url, is_reliable).await).await });
        });
        let of_web = redis.clone();
        world.process("web", move |p| {
            let url = of_web.url(p);
            p.handle(async move |job: u32| -> Result<(), Error> {
                let mut connection = Client::open(url.clone())?.get_multiplexed_async_connection().await?;
                connection.lpush::<_, _, ()>("jobs", format!("job {job}")).await?;
                Ok(())
            });
        });
        world.enqueue(1_u32);
        world.enqueue(2_u32);
        world.settle().await;
    })
}

#[test]
fn a_worker_that_dies_with_what_it_has_popped_loses_it() {
    if !is_available() {
        return;
    }
    let crashes = one_deviation("working").faults(0);
    let report = working(&crashes, false);
    assert_red(&report, &["redis.brpop-jobs:happened=crash"]);
    // A part: the line that has sent the command, which the report marks.
    assert!(report.to_string().contains("connection.brpop::<_, (String, String)>"), "{report}");
    // The reply of a pop may be lost while it waits, too.
    assert_red(&working(&one_deviation("working"), false), &["redis.brpop-jobs:call=reply-lost"]);
    assert_green(&working(&one_deviation("working"), true));
}

#[test]
fn a_worker_that_waits_gets_what_the_test_pushes() {
    if !is_available() {
        return;
    }
    let world = World::fake();
    let redis = world.redis();
    let of_boot = redis.clone();
    world.process("worker", move |p| {
        let url = of_boot.url(p);
        p.spawn("work", async move { again(async || work(&url, true).await).await });
    });
    for job in ["one", "two"] {
        world.settle().run();
        redis.run(&["LPUSH", "jobs", job]);
    }
    world.settle().run();
    assert_eq!(redis.run(&["SCARD", "done"]), 2);
}

/// Takes entries of a stream, also those that another consumer has had for a minute.
async fn consume(url: &str, name: &str, acknowledges_first: bool) -> Result<(), Error> {
    let mut connection = Client::open(url)?.get_multiplexed_async_connection().await?;
    let created: Result<(), _> = connection.xgroup_create_mkstream("jobs", "workers", "0").await;
    created.or_else(|error| if error.code() == Some("BUSYGROUP") { Ok(()) } else { Err(error) })?;
    loop {
        let one = StreamAutoClaimOptions::default().count(1);
        let claimed: StreamAutoClaimReply =
            connection.xautoclaim_options("jobs", "workers", name, 60_000, "0", one).await?;
        let mut entries = claimed.claimed;
        if entries.is_empty() {
            let next = StreamReadOptions::default().group("workers", name).count(1).block(20_000);
            let read: Option<StreamReadReply> = connection.xread_options(&["jobs"], &[">"], &next).await?;
            entries.extend(read.into_iter().flat_map(|read| read.keys).flat_map(|key| key.ids));
        }
        for entry in entries {
            let job: String = entry.get("job").ok_or("an entry has a job")?;
            if acknowledges_first {
                connection.xack::<_, _, _, ()>("jobs", "workers", &[&entry.id]).await?;
            }
            connection.sadd::<_, _, ()>("done", &job).await?;
            if !acknowledges_first {
                connection.xack::<_, _, _, ()>("jobs", "workers", &[&entry.id]).await?;
            }
        }
    }
}

fn has_all(redis: &Redis) -> bool {
    let pending = redis.run(&["XPENDING", "jobs", "workers"]);
    redis.run(&["SCARD", "done"]) == 2 && pending[0] == 0
}

fn consuming(acknowledges_first: bool) -> Report {
    one_deviation("consuming").run(async |world: &World| {
        let redis = world.redis();
        redis.run(&["XGROUP", "CREATE", "jobs", "workers", "0", "MKSTREAM"]);
        for job in ["pay", "mail"] {
            redis.run(&["XADD", "jobs", "*", "job", job]);
        }
        for name in ["one", "two"] {
            let redis = redis.clone();
            world.process(name, move |p| {
                let url = redis.url(p);
                p.spawn("consume", async move {
                    again(async || consume(&url, name, acknowledges_first).await).await;
                });
            });
        }
        // An entry that is lost would be waited for without end.
        world.settle_until(|world| has_all(&redis) || world.now() > Duration::from_secs(300)).await;
    })
}

#[test]
fn an_entry_that_is_acknowledged_before_the_work_is_lost_with_its_consumer() {
    if !is_own_server() {
        return;
    }
    assert_red(&consuming(true), &["redis.xack-jobs:call=reply-lost"]);
    assert_green(&consuming(false));
}
