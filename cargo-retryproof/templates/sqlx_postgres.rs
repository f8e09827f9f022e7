//! A first test with retryproof, sqlx and PostgreSQL. The job is wrong on purpose: run `cargo retryproof test`, and read the
//! report. `DATABASE_URL` names the server; without it, an installed PostgreSQL is started.

use retryproof::World;
use retryproof_postgres::{Postgres, WorldExt};
use sqlx::PgPool;

/// The tables. Use your migrations: `sqlx::migrate!().run(&pool).await`.
static SHOP: Postgres = Postgres::migrated(|url| {
    Box::pin(async move {
        let pool = PgPool::connect(&url).await?;
        sqlx::query("CREATE TABLE stock (pieces BIGINT NOT NULL)").execute(&pool).await?;
        Ok(())
    })
});

/// Your job. Only the URL of the database differs from production.
async fn ship(pool: &PgPool, _order: i32) -> Result<(), sqlx::Error> {
    // To mend it, note the order in the same transaction, in a table with a unique key, and stop if it is there already.
    sqlx::query("UPDATE stock SET pieces = pieces - 1").execute(pool).await.map(drop)
}

#[retryproof::test]
async fn orders_are_shipped_once(world: &World) {
    let db = world.postgres(&SHOP);
    db.execute("INSERT INTO stock VALUES (10)");
    // What `main` of your worker does: it builds clients, and registers handlers.
    world.process("worker", move |p| {
        let pool = PgPool::connect_lazy(&db.url(p)).unwrap();
        p.handle(async move |order: i32| ship(&pool, order).await);
    });
    world.enqueue(6_i32);
    world.settle().await;
}
