//! The same job, with drivers that know nothing of each other: sqlx is in the other modules.

use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use retryproof::{Report, World};
use retryproof_postgres::WorldExt;

use crate::{SHOP, assert_green, assert_red, is_available, is_own_server, one_deviation};

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

/// Runs programs of PostgreSQL itself, which use libpq, in a job. Returns the output of each, or its error.
fn programs(
    runs: impl Fn(&str) -> Vec<(&'static str, Vec<String>)> + Clone + Send + Sync + 'static,
) -> Vec<String> {
    let world = World::fake();
    let db = world.postgres(&SHOP);
    db.execute("INSERT INTO orders VALUES (6, 2598), (7, 1000)");
    let outputs = Arc::new(Mutex::new(Vec::new()));
    let of_boot = outputs.clone();
    world.process("worker", move |p| {
        let (url, runs, outputs) = (db.url(p), runs.clone(), of_boot.clone());
        p.handle_blocking(move |_: u32| {
            for (program, arguments) in runs(&url) {
                let mut command = Command::new(program);
                command.args(arguments).env_remove("PGSSLMODE").env("LC_ALL", "C").stdin(Stdio::null());
                let Output { stdout, stderr, .. } =
                    command.output().expect("a client is installed with the server");
                let text = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
                outputs.lock().unwrap().push(text);
            }
        });
    });
    world.enqueue(6_u32);
    world.drain_all().run().unwrap();
    let outputs = outputs.lock().unwrap();
    outputs.clone()
}

fn psql(url: &str, commands: &[&str]) -> (&'static str, Vec<String>) {
    let mut arguments: Vec<String> = ["-X", "-A", "-t", url].map(str::to_owned).to_vec();
    arguments.extend(commands.iter().flat_map(|command| ["-c".to_owned(), (*command).to_owned()]));
    ("psql", arguments)
}

#[test]
fn libpq_is_a_client_like_any_other() {
    if !is_own_server() {
        return;
    }
    let copied = "COPY (SELECT cents FROM orders ORDER BY 1) TO STDOUT";
    let outputs = programs(move |url| {
        vec![
            psql(url, &["BEGIN", "UPDATE orders SET cents = 1 WHERE id = 7", "COMMIT", copied]),
            psql(url, &["\\d orders", "LISTEN paid", "NOTIFY paid, 'six'", "SELECT 1"]),
            ("pg_dump", vec!["--data-only".to_owned(), "--table=orders".to_owned(), url.to_owned()]),
        ]
    });
    assert!(outputs[0].ends_with("COMMIT\n1\n2598\n"), "{outputs:?}");
    assert!(
        outputs[1].contains("cents|bigint") && outputs[1].contains("\"paid\" with payload \"six\""),
        "{outputs:?}"
    );
    assert!(outputs[2].contains("COPY public.orders") && outputs[2].contains("6\t2598\tnew"), "{outputs:?}");
}

#[test]
fn a_client_that_demands_tls_says_that_there_is_none() {
    if !is_own_server() {
        return;
    }
    let outputs = programs(|url| {
        let with = |mode: &str| url.replace("sslmode=disable", &format!("sslmode={mode}"));
        vec![psql(&with("require"), &["SELECT 1"]), psql(&with("prefer"), &["SELECT 41 + 1"])]
    });
    // A part: before it stand the address and the port.
    assert!(outputs[0].contains("server does not support SSL, but SSL was required"), "{outputs:?}");
    assert_eq!(outputs[1], "42\n");
}
