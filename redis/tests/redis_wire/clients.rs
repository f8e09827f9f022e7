//! The same job with clients that know nothing of each other.

use std::sync::Arc;

use redis::{AsyncCommands, Client, Commands};
use retryproof::{Report, World};
use retryproof_redis::WorldExt;

use crate::{Error, assert_green, assert_red, is_available, one_deviation, with_url};

/// Counts a job only once: a set has the jobs that were counted.
const ONCE: &str = "if redis.call('sadd', KEYS[1], ARGV[1]) == 1 then return redis.call('incr', KEYS[2]) end";

async fn count_multiplexed(url: String, job: u32, is_careful: bool) -> Result<(), Error> {
    let mut connection = Client::open(url)?.get_multiplexed_async_connection().await?;
    match is_careful {
        true => {
            redis::Script::new(ONCE)
                .key("counted")
                .key("visits")
                .arg(job)
                .invoke_async(&mut connection)
                .await?
        }
        false => connection.incr("visits", 1).await?,
    }
    Ok(())
}

fn count_blocking(url: &str, job: u32, is_careful: bool) -> Result<(), Error> {
    let mut connection = Client::open(url)?.get_connection()?;
    match is_careful {
        true => redis::Script::new(ONCE).key("counted").key("visits").arg(job).invoke(&mut connection)?,
        false => connection.incr("visits", 1)?,
    }
    Ok(())
}

#[test]
fn a_count_is_counted_twice_if_its_reply_is_lost() {
    if !is_available() {
        return;
    }
    let explored = |is_careful: bool| {
        with_url(&one_deviation("count"), [1], async move |url, job| {
            count_multiplexed(url, job, is_careful).await
        })
    };
    assert_red(&explored(false), &["redis.incrby-visits:call=reply-lost"]);
    assert_green(&explored(true));
}

fn blocking(is_careful: bool) -> Report {
    one_deviation("blocking").run(async |world: &World| {
        let redis = world.redis();
        world.process("worker", move |p| {
            let url = redis.url(p);
            p.handle_blocking(move |job: u32| count_blocking(&url, job, is_careful));
        });
        world.enqueue(1_u32);
        world.settle().await;
    })
}

#[test]
fn a_blocking_client_has_the_same_calls() {
    if !is_available() {
        return;
    }
    assert_red(&blocking(false), &["redis.incrby-visits:call=reply-lost"]);
    assert_green(&blocking(true));
}

/// The connection is made at boot, and kept.
fn kept(is_managed: bool) -> Report {
    one_deviation("kept").crashes(0).run(async |world: &World| {
        let redis = world.redis();
        world.process("worker", move |p| {
            let client = Client::open(redis.url(p)).unwrap();
            let kept = Arc::new(tokio::sync::OnceCell::new());
            let managed = Arc::new(tokio::sync::OnceCell::new());
            p.handle(async move |job: u32| {
                let mut add = redis::cmd("SADD");
                add.arg("counted").arg(job);
                match is_managed {
                    true => {
                        let managed = managed.get_or_try_init(|| client.get_connection_manager()).await?;
                        add.exec_async(&mut managed.clone()).await
                    }
                    false => {
                        let kept = kept.get_or_try_init(|| client.get_multiplexed_async_connection()).await?;
                        add.exec_async(&mut kept.clone()).await
                    }
                }
            });
        });
        world.enqueue(1_u32);
        world.settle().await;
    })
}

#[test]
fn a_connection_that_is_kept_is_of_no_use_after_it_has_broken() {
    if !is_available() {
        return;
    }
    assert_red(&kept(false), &["redis.sadd-counted:call="]);
    assert_green(&kept(true));
}

fn pooled(is_careful: bool) -> Report {
    // Nothing keeps two deliveries from reading first.
    one_deviation("pooled").deliveries(0).run(async |world: &World| {
        let redis = world.redis();
        world.process("worker", move |p| {
            let config = deadpool_redis::Config::from_url(redis.url(p));
            let pool = config.create_pool(Some(deadpool_redis::Runtime::Tokio1)).unwrap();
            p.handle(async move |job: u32| -> Result<(), Error> {
                let mut connection = pool.get().await?;
                if connection.sismember("done", job).await? {
                    return Ok(());
                }
                let mut both = redis::pipe();
                both.sadd("done", job).ignore().incr("total", 10).ignore();
                if is_careful {
                    both.atomic();
                }
                both.exec_async(&mut connection).await?;
                Ok(())
            });
        });
        world.enqueue(1_u32);
        world.settle().await;
    })
}

#[test]
fn a_pipeline_is_as_many_calls_as_commands_and_a_transaction_is_one() {
    if !is_available() {
        return;
    }
    assert_red(&pooled(false), &["redis.sadd-done:call=reply-lost"]);
    let report = pooled(true);
    assert_green(&report);
    // The fault-free run; before the attempt a crash, and one after it; of the read a crash, and no answer; of the
    // transaction three crashes, and two faults.
    assert_eq!(report.runs(), 1 + 2 + 2 + 5, "{report}");
}
