//! A worker of a program, unchanged: it takes orders from a list in Redis, and notes them as shipped.
//!
//! ```console
//! $ cargo run -p retryproof-redis --example redis_queue
//! ```
//!
//! You will see two reports. A worker that pops an order and dies has lost it (RP0032). A worker that moves it to a second
//! list, and takes what is left there when it starts, loses none: every scenario ends well. The program fails unless it
//! comes out so. It needs Redis or Valkey, or a server in `REDIS_URL`.

#![expect(clippy::print_stdout, reason = "it is the example's purpose")]

use retryproof::{Explore, Report, World};
use retryproof_redis::{WorldExt, is_available};

/// The program under test. It knows nothing of the harness.
mod program {
    use std::time::Duration;

    use redis::aio::ConnectionManager;
    use redis::{AsyncCommands, Client, Direction, RedisResult};

    pub(crate) async fn order(redis_url: &str, order: u32) -> RedisResult<()> {
        let mut redis = Client::open(redis_url)?.get_multiplexed_async_connection().await?;
        redis.lpush("orders", order).await
    }

    pub(crate) async fn run_worker_until_stopped(redis_url: String, is_reliable: bool) {
        loop {
            if let Err(error) = ship_orders(&redis_url, is_reliable).await {
                eprintln!("{error}");
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn ship_orders(redis_url: &str, is_reliable: bool) -> RedisResult<()> {
        let mut redis = ConnectionManager::new(Client::open(redis_url)?).await?;
        if is_reliable {
            // Left behind by a worker that died.
            while redis.rpoplpush::<_, _, Option<u32>>("shipping", "orders").await?.is_some() {}
        }
        loop {
            let order: u32 = match is_reliable {
                true => redis.blmove("orders", "shipping", Direction::Right, Direction::Left, 0.0).await?,
                false => redis.brpop::<_, (String, u32)>("orders", 0.0).await?.1,
            };
            redis.sadd::<_, _, ()>("shipped", order).await?;
            if is_reliable {
                redis.lrem::<_, _, ()>("shipping", 1, order).await?;
            }
        }
    }
}

pub(crate) fn explore(name: &str, is_reliable: bool) -> Report {
    Explore::new().name(name).deviations(1).run(async |world: &World| {
        // An empty server for each scenario. All its keys are compared with those of the fault-free run.
        let redis = world.redis();
        let of_worker = redis.clone();
        world.process("worker", move |p| {
            p.spawn("shipping", program::run_worker_until_stopped(of_worker.url(p), is_reliable));
        });
        world.process("web", move |p| {
            let url = redis.url(p);
            p.handle(async move |order: u32| program::order(&url, order).await);
        });
        world.enqueue(1_u32);
        world.enqueue(2_u32);
        world.settle().await;
    })
}

fn main() {
    if !is_available() {
        return;
    }
    let (popped, moved) = (explore("pop", false), explore("move", true));
    println!("{popped}\n\n{moved}");
    assert!(!popped.is_retryproof() && moved.is_retryproof());
}
