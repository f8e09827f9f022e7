//! Scenarios per second, for `BENCHMARKS.md`:
//!
//! ```console
//! $ cargo test --release -p retryproof-redis --test redis_wire -- --ignored --nocapture rates
//! ```

#![expect(clippy::print_stdout, reason = "it is the purpose")]
#![expect(clippy::disallowed_methods, reason = "it measures real time")]

use std::time::Instant;

use redis::{Client, Pipeline, RedisResult};
use retryproof::{Explore, Report, World};
use retryproof_redis::WorldExt;

use crate::is_own_server;

/// Notes that an order is paid, once.
fn payment(order: u32) -> Pipeline {
    let mut payment = redis::pipe();
    payment.atomic().cmd("SADD").arg("paid").arg(order).cmd("LREM").arg("todo").arg(1).arg(order);
    payment.cmd("INCRBY").arg("payments").arg(0);
    payment
}

async fn pay(url: &str, order: u32) -> RedisResult<()> {
    let mut connection = Client::open(url)?.get_multiplexed_async_connection().await?;
    let _: Option<String> = redis::cmd("GET").arg("customer:1").query_async(&mut connection).await?;
    redis::cmd("SETNX").arg(format!("seen:{order}")).arg("me").exec_async(&mut connection).await?;
    payment(order).exec_async(&mut connection).await
}

fn pay_blocking(url: &str, order: u32) -> RedisResult<()> {
    let mut connection = Client::open(url)?.get_connection()?;
    let _: Option<String> = redis::cmd("GET").arg("customer:1").query(&mut connection)?;
    redis::cmd("SETNX").arg(format!("seen:{order}")).arg("me").exec(&mut connection)?;
    payment(order).exec(&mut connection)
}

fn explored(is_blocking: bool) -> Report {
    Explore::new().name("rates").run(async |world: &World| {
        let redis = world.redis();
        // Thirty keys, which are compared.
        let mut begin: Vec<String> = vec!["MSET".to_owned()];
        (1..=29).for_each(|n| begin.extend([format!("customer:{n}"), "ann".to_owned()]));
        redis.run(&begin);
        redis.run(&["LPUSH", "todo", "1", "2"]);
        world.process("worker", move |p| {
            let url = redis.url(p);
            match is_blocking {
                true => drop(p.handle_blocking(move |order: u32| pay_blocking(&url, order))),
                false => drop(p.handle(async move |order: u32| pay(&url, order).await)),
            }
        });
        world.enqueue(1_u32);
        world.settle().await;
    })
}

#[test]
#[ignore = "nightly: it measures, which takes a minute"]
fn rates() {
    if !is_own_server() {
        return;
    }
    for (name, is_blocking) in [("multiplexed", false), ("blocking", true)] {
        let mut rates = Vec::new();
        for _ in 0..5 {
            let began = Instant::now();
            let report = explored(is_blocking);
            assert!(report.is_retryproof(), "{report}");
            rates.push((report.runs() as f64 / began.elapsed().as_secs_f64()) as u64);
        }
        rates.sort_unstable();
        println!("{name}: {} scenarios/s ({} to {})", rates[2], rates[0], rates[4]);
    }
}
