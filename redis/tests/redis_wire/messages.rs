//! Messages reach those that listen, and nobody else.

use std::time::Duration;

use futures_util::StreamExt;
use redis::{AsyncCommands, Client};
use retryproof::{Report, World};
use retryproof_redis::WorldExt;

use crate::{Error, assert_green, assert_red, is_available, one_deviation};

async fn listen(url: &str, looks_back: bool) -> Result<(), Error> {
    let client = Client::open(url)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let mut pubsub = client.get_async_pubsub().await?;
    pubsub.subscribe("orders").await?;
    if looks_back {
        // What was published while nobody listened.
        for order in connection.smembers::<_, Vec<String>>("published").await? {
            connection.sadd::<_, _, ()>("seen", order).await?;
        }
    }
    let mut messages = pubsub.into_on_message();
    while let Some(message) = messages.next().await {
        connection.sadd::<_, _, ()>("seen", message.get_payload::<String>()?).await?;
    }
    Err("the connection has ended".into())
}

fn listening(looks_back: bool, is_resp3: bool) -> Report {
    one_deviation("listening").run(async |world: &World| {
        let redis = world.redis();
        let of_boot = redis.clone();
        world.process("worker", move |p| {
            let url = of_boot.url(p) + if is_resp3 { "?protocol=resp3" } else { "" };
            p.spawn("listen", async move {
                while let Err(_error) = listen(&url, looks_back).await {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            });
        });
        world.process("web", move |p| {
            let url = redis.url(p);
            p.handle(async move |order: u32| -> Result<(), Error> {
                let mut connection = Client::open(url.clone())?.get_multiplexed_async_connection().await?;
                connection.sadd::<_, _, ()>("published", order).await?;
                connection.publish::<_, _, ()>("orders", order).await?;
                Ok(())
            });
        });
        world.enqueue(1_u32);
        world.enqueue(2_u32);
        world.settle().await;
    })
}

#[test]
fn a_message_that_nobody_hears_is_lost() {
    if !is_available() {
        return;
    }
    for is_resp3 in [false, true] {
        assert_red(&listening(false, is_resp3), &["redis.sadd-seen:"]);
        assert_green(&listening(true, is_resp3));
    }
}
