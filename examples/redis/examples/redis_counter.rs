//! Two jobs that count in a real Redis.
//!
//! ```console
//! $ cargo run -p retryproof-wrapped-redis --example redis_counter
//! ```
//!
//! It starts a server of its own, if Redis is installed, or takes the one that `REDIS_URL` names.
//!
//! You will see three reports. `GET` and then `SET` loses a count when the jobs run at the same time. `INCR` does not, and
//! counts twice when its reply is lost. A script that counts each job once ends well in every scenario.

use std::io::{self, Write};

use redis::RedisResult;
use retryproof::{Explore, Report, World};
use retryproof_wrapped_redis::{Connection, Server};

const COUNTED: &str = "retryproof:counter:n";

/// Counts a job only once: a set contains the jobs that were counted.
const COUNT_ONCE: &str =
    "if redis.call('sadd', KEYS[1] .. ':by', ARGV[1]) == 1 then redis.call('incr', KEYS[1]) end";

#[derive(Clone, Copy, Debug)]
enum Care {
    /// Gets the number, then sets the next one.
    GetsThenSets,
    /// Increments atomically, but a job that loses the reply increments again.
    Increments,
    /// Increments atomically, once for each job.
    OnceAJob,
}

async fn count(mut connection: Connection, care: Care, job: u32) -> RedisResult<()> {
    match care {
        Care::GetsThenSets => {
            let n: Option<i64> = redis::cmd("GET").arg(COUNTED).query_async(&mut connection).await?;
            redis::cmd("SET").arg(COUNTED).arg(n.unwrap_or(0) + 1).exec_async(&mut connection).await
        }
        Care::Increments => redis::cmd("INCR").arg(COUNTED).exec_async(&mut connection).await,
        Care::OnceAJob => {
            let once = redis::cmd("EVAL").arg(COUNT_ONCE).arg(1).arg(COUNTED).arg(job).to_owned();
            once.exec_async(&mut connection).await
        }
    }
}

fn explored(server: &'static Server, care: Care) -> Report {
    Explore::new().name(format!("{care:?}")).deviations(1).run(async move |world: &World| {
        let mut own = server.connect();
        redis::cmd("DEL").arg(COUNTED).arg(format!("{COUNTED}:by")).exec(&mut own).expect("Redis is there");
        world.process("worker", move |p| {
            let connection = Connection::new(server.client(), p.external("redis"));
            p.handle(async move |job: u32| count(connection.clone(), care, job).await);
        });
        world.observe("n", move || -> Option<i64> {
            redis::cmd("GET").arg(COUNTED).query(&mut server.connect()).expect("Redis is there")
        });
        world.enqueue(1_u32);
        world.enqueue(2_u32);
        world.settle().await;
        redis::cmd("DEL").arg(format!("{COUNTED}:by")).exec(&mut own).expect("Redis is there");
    })
}

fn main() -> io::Result<()> {
    // Prints that it is skipped if there is no Redis, and fails if skipping is forbidden.
    let Some(server) = Server::shared() else { return Ok(()) };
    let mut out = io::stdout().lock();
    for care in [Care::GetsThenSets, Care::Increments, Care::OnceAJob] {
        writeln!(out, "{}\n", explored(server, care))?;
    }
    Ok(())
}
