//! The same job, with drivers that know nothing of each other: sqlx is in the other modules.

use retryproof::{Report, World};
use retryproof_postgres::WorldExt;

use crate::{SHOP, assert_green, assert_red, is_available, one_deviation};

const SELECT: &str = "SELECT state FROM orders WHERE id = $1 FOR UPDATE";
const INSERT: &str = "INSERT INTO receipts (order_id) VALUES ($1)";
const UPDATE: &str = "UPDATE orders SET state = 'paid' WHERE id = $1";

async fn pay_with_tokio_postgres(url: &str, is_careful: bool) -> Result<(), tokio_postgres::Error> {
    let (mut client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    let tx = client.transaction().await?;
    let row = tx.query_one(SELECT, &[&6_i64]).await?;
    if !is_careful || row.get::<_, &str>(0) == "new" {
        tx.execute(INSERT, &[&6_i64]).await?;
        tx.execute(UPDATE, &[&6_i64]).await?;
    }
    tx.commit().await
}

fn pay_with_postgres(url: &str, is_careful: bool) -> Result<(), postgres::Error> {
    let mut client = postgres::Client::connect(url, postgres::NoTls)?;
    let mut tx = client.transaction()?;
    let row = tx.query_one(SELECT, &[&6_i64])?;
    if !is_careful || row.get::<_, &str>(0) == "new" {
        tx.execute(INSERT, &[&6_i64])?;
        tx.execute(UPDATE, &[&6_i64])?;
    }
    tx.commit()
}

fn explored(is_blocking: bool, is_careful: bool) -> Report {
    one_deviation("drivers").run(async |world: &World| {
        let db = world.postgres(&SHOP);
        db.execute("INSERT INTO orders VALUES (6, 2598)");
        world.process("worker", move |p| {
            let url = db.url(p);
            match is_blocking {
                true => drop(p.handle_blocking(move |_: u32| pay_with_postgres(&url, is_careful))),
                false => drop(p.handle(async move |_: u32| pay_with_tokio_postgres(&url, is_careful).await)),
            }
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}

#[test]
fn tokio_postgres_has_the_calls_of_sqlx() {
    if !is_available() {
        return;
    }
    assert_red(&explored(false, false), &["db.commit:call=reply-lost"]);
    assert_green(&explored(false, true));
}

#[test]
fn a_blocking_driver_has_them_as_well() {
    if !is_available() {
        return;
    }
    assert_red(&explored(true, false), &["db.commit:call=reply-lost"]);
    assert_green(&explored(true, true));
}
