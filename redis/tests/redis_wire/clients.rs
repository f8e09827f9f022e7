//! The same job with clients that know nothing of each other.

use redis::{AsyncCommands, Client, Commands};
use retryproof::{Report, World};
use retryproof_redis::WorldExt;

use crate::{Error, assert_green, assert_red, is_available, one_deviation, with_url};

/// Counts a job only once: a set has the jobs that were counted.
const ONCE: &str = "if redis.call('sadd', KEYS[1], ARGV[1]) == 1 then return redis.call('incr', KEYS[2]) end";

async fn count_multiplexed(url: String, job: u32, is_careful: bool) -> Result<(), Error> {
    let mut connection = Client::open(url)?.get_multiplexed_async_connection().await?;
    match is_careful {
        true => redis::Script::new(ONCE).key("counted").key("visits").arg(job).invoke_async(&mut connection).await?,
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
        with_url(&one_deviation("count"), [1], async move |url, job| count_multiplexed(url, job, is_careful).await)
    };
    assert_red(&explored(false), &["redis.incr-visits:call=reply-lost"]);
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
    assert_red(&blocking(false), &["redis.incr-visits:call=reply-lost"]);
    assert_green(&blocking(true));
}
