//! rsmq_async 18.0.0, with redis-rs: messages that are hidden for a while when they are received, by the clock of the server.

use std::time::Duration;

use redis::{AsyncCommands, Client};
use retryproof::{Explore, Report, Verdict, World};
use retryproof_redis::{WorldExt, is_available};
use rsmq_async::{Rsmq, RsmqConnection};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// How the program under test takes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Care {
    /// `pop_message`, which deletes the message at once.
    Pops,
    /// `receive_message`, and `delete_message` after the work, which counts.
    Counts,
    /// The same, and the second charge of an order changes nothing.
    ChargesOnce,
}

async fn work(url: &str, care: Care) -> Result<(), Error> {
    let mut redis = Client::open(url)?.get_multiplexed_async_connection().await?;
    let mut queue = Rsmq::new_with_connection(redis.clone(), false, None).await?;
    loop {
        let received = match care {
            Care::Pops => queue.pop_message::<String>("orders").await?,
            Care::Counts | Care::ChargesOnce => queue.receive_message::<String>("orders", None).await?,
        };
        let Some(message) = received else {
            tokio::time::sleep(Duration::from_secs(10)).await;
            continue;
        };
        match care {
            Care::Counts => redis.hincr::<_, _, _, ()>("charges", &message.message, 1).await?,
            Care::Pops | Care::ChargesOnce => redis.hset::<_, _, _, ()>("charges", &message.message, 1).await?,
        }
        if care != Care::Pops {
            queue.delete_message("orders", &message.id).await?;
        }
    }
}

async fn run_worker(url: String, care: Care) {
    while let Err(_error) = work(&url, care).await {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn explored(care: Care) -> Report {
    Explore::new().name(format!("{care:?}")).deviations(1).run(async move |world: &World| {
        let redis = world.redis();
        // The queue counts what it has received, and keeps times.
        world.ignore("redis", "$.rsmq:orders:Q");
        world.ignore("redis", "$.rsmq:QUEUES");
        let (of_web, of_worker) = (redis.clone(), redis.clone());
        world
            .process("web", move |p| {
                let url = of_web.url(p);
                p.handle(async move |order: u32| -> Result<(), Error> {
                    let redis = Client::open(url.as_str())?.get_multiplexed_async_connection().await?;
                    let mut queue = Rsmq::new_with_connection(redis, false, None).await?;
                    queue.create_queue("orders", None, None, None).await?;
                    queue.send_message("orders", format!("order {order}"), None).await?;
                    Ok(())
                });
            })
            .reliable();
        world.process("worker", move |p| p.spawn("worker", run_worker(of_worker.url(p), care)));
        world.enqueue(6_u32);
        // A message that is lost would be waited for without end.
        let is_over = |world: &World| world.now() > Duration::from_secs(120);
        let is_done = || redis.run(&["HLEN", "charges"]) == 1 && redis.run(&["ZCARD", "rsmq:orders"]) == 0;
        world.settle_until(|world| is_done() || is_over(world)).await;
    })
}

#[track_caller]
fn assert_found(report: &Report, scenario: &str) {
    let paths = report.violations().iter().flat_map(|violation| &violation.paths);
    let found: Vec<_> = paths.map(|path| path.scenario.to_string()).collect();
    assert!(found.iter().any(|found| found.contains(scenario)), "no `{scenario}` in {found:#?}\n{report}");
}

#[test]
fn a_message_that_is_popped_is_lost_with_its_worker() {
    if !is_available() {
        return;
    }
    assert_found(&explored(Care::Pops), "redis.evalsha-rsmq:orders:call=reply-lost");
}

/// The message is visible again after thirty seconds on the clock of the server, which is the world's.
#[test]
fn a_message_is_received_again_if_it_is_not_deleted() {
    if !is_available() {
        return;
    }
    assert_found(&explored(Care::Counts), "redis.hincrby-charges:call=reply-lost");
    let report = explored(Care::ChargesOnce);
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
}
