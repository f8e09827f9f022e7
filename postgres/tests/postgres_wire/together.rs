//! A job that uses PostgreSQL, Redis and an HTTP API at once, taken by two workers.

use redis::AsyncCommands;
use reqwest::Client;
use retryproof::http::post;
use retryproof::{Explore, Report, Verdict, World};
use retryproof_postgres::{Postgres, WorldExt};
use retryproof_redis::WorldExt as _;
use serde_json::json;
use sqlx::PgPool;

use crate::{is_available, pool};

static SHOP: Postgres = Postgres::schema("CREATE TABLE orders (id bigint PRIMARY KEY, state text NOT NULL)");

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The program's own job. It knows nothing of the test.
async fn pay(
    db: &PgPool,
    redis_url: &str,
    api: (&Client, &str),
    order: i64,
    is_keyed: bool,
) -> Result<(), Error> {
    let paid = sqlx::query_scalar("SELECT state = 'paid' FROM orders WHERE id = $1").bind(order);
    if paid.fetch_one(db).await? {
        return Ok(());
    }
    let (client, url) = api;
    let mut charge = client.post(format!("{url}/v1/charges")).json(&json!({ "order": order, "amount": 500 }));
    if is_keyed {
        charge = charge.header("Idempotency-Key", format!("order-{order}"));
    }
    charge.send().await?.error_for_status()?;
    let mut redis = redis::Client::open(redis_url)?.get_multiplexed_async_connection().await?;
    redis.sadd::<_, _, ()>("customers to thank", order).await?;
    sqlx::query("UPDATE orders SET state = 'paid' WHERE id = $1").bind(order).execute(db).await?;
    Ok(())
}

fn explore(name: &str, is_keyed: bool) -> Report {
    Explore::new().name(name).deviations(1).run(async move |world: &World| {
        let (db, redis, stripe) = (world.postgres(&SHOP), world.redis(), world.upstream("stripe"));
        db.execute("INSERT INTO orders VALUES (6, 'new'), (7, 'new')");
        stripe.stub(post("/v1/charges"), |call| json!({ "id": call.id("ch_") })).honor_idempotency_keys();
        for worker in ["worker-1", "worker-2"] {
            let (db, redis, stripe) = (db.clone(), redis.clone(), stripe.clone());
            world.process(worker, move |p| {
                let (db, redis, client, url) =
                    (pool(&db.url(p), 2), redis.url(p), Client::new(), stripe.url(p));
                p.handle(async move |order: i64| pay(&db, &redis, (&client, &url), order, is_keyed).await);
            });
        }
        world.enqueue(6_i64);
        world.enqueue(7_i64);
        world.settle().await;
    })
}

fn the_report_is_the_same(times: u32) {
    if !is_available() || !retryproof_redis::is_available() {
        return;
    }
    let explored = || {
        let (naive, keyed) = (explore("without_keys", false), explore("with_keys", true));
        assert_eq!(naive.verdict(), Verdict::Violated, "{naive}");
        assert_eq!(naive.violations()[0].summary, "stripe.POST/v1/charges happened twice, expected once");
        assert_eq!(keyed.verdict(), Verdict::RetryProof, "{keyed}");
        format!("{naive}{keyed}")
    };
    let first = explored();
    for time in 1..times {
        assert_eq!(explored(), first, "the {time}th time");
    }
}

#[test]
fn three_protocols_and_two_workers_have_one_report() {
    the_report_is_the_same(3);
}

#[test]
#[ignore = "nightly: a thousand explorations take half an hour"]
fn three_protocols_and_two_workers_have_one_report_a_thousand_times() {
    the_report_is_the_same(1_000);
}
