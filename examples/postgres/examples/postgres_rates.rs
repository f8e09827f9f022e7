//! Measures scenarios per second of one job on PostgreSQL: on the wire (unmodified sqlx, and unmodified `postgres` in a
//! blocking handler), and with a pool that is wrapped by hand. The figures are in `BENCHMARKS.md`.
//!
//! ```console
//! $ cargo run --release -p retryproof-wrapped-postgres --example postgres_rates
//! ```
//!
//! With `DATABASE_URL`, the wire makes a new backend for each client; if the user is no superuser, tables are truncated.

#![expect(clippy::print_stdout, reason = "it is the example's purpose")]
#![expect(clippy::disallowed_methods, reason = "it measures real time")]

use std::time::Instant;

use retryproof::{Explore, Report, World};
use retryproof_postgres::{Postgres, WorldExt, is_available};
use retryproof_wrapped_postgres::database::Database;
use retryproof_wrapped_postgres::server::Server;
use sqlx::postgres::PgPoolOptions;

/// Ten tables, of which a scenario changes three.
macro_rules! tables {
    () => {
        "CREATE TABLE customers (id bigint PRIMARY KEY, name text NOT NULL);
        CREATE TABLE products (id bigint PRIMARY KEY, name text NOT NULL, cents bigint NOT NULL);
        CREATE TABLE stock (product bigint PRIMARY KEY REFERENCES products (id), pieces bigint NOT NULL);
        CREATE TABLE orders (id bigint PRIMARY KEY, customer bigint NOT NULL, state text NOT NULL, cents bigint NOT NULL);
        CREATE TABLE lines (id bigserial PRIMARY KEY, order_id bigint NOT NULL REFERENCES orders (id), pieces int);
        CREATE TABLE receipts (id bigserial PRIMARY KEY, order_id bigint NOT NULL REFERENCES orders (id),
            at timestamptz NOT NULL DEFAULT now());
        CREATE TABLE audit (id bigserial PRIMARY KEY, text text NOT NULL);
        CREATE TABLE coupons (code text PRIMARY KEY, cents bigint NOT NULL);
        CREATE TABLE addresses (id bigserial PRIMARY KEY, customer bigint NOT NULL, city text NOT NULL);
        CREATE TABLE settings (name text PRIMARY KEY, value jsonb NOT NULL);
        CREATE INDEX ON orders (state); CREATE INDEX ON receipts (order_id); CREATE INDEX ON audit (text);"
    };
}

macro_rules! rows {
    () => {
        "INSERT INTO customers SELECT n, 'ann' FROM generate_series(1, 10) n;
        INSERT INTO products SELECT n, 'tea', 100 FROM generate_series(1, 10) n;
        INSERT INTO stock SELECT n, 10 FROM generate_series(1, 10) n;
        INSERT INTO orders SELECT n, 1, 'new', 2598 FROM generate_series(1, 10) n;
        INSERT INTO lines (order_id, pieces) SELECT n, 1 FROM generate_series(1, 10) n;
        INSERT INTO audit (text) SELECT 'made' FROM generate_series(1, 10) n;
        INSERT INTO addresses (customer, city) SELECT 1, 'Oslo' FROM generate_series(1, 10) n;"
    };
}

static SHOP: Postgres = Postgres::schema(concat!(tables!(), rows!()));

const SELECT: &str = "SELECT state FROM orders WHERE id = $1 FOR UPDATE";
const UPDATE: &str = "UPDATE orders SET state = 'paid' WHERE id = $1";
const RECEIPT: &str = "INSERT INTO receipts (order_id) VALUES ($1)";
const AUDIT: &str = "INSERT INTO audit (text) VALUES ('paid')";

/// The job, for a pool with the methods of sqlx.
macro_rules! pay {
    ($pool:expr, $order:expr) => {{
        let mut tx = $pool.begin().await?;
        let state: String = sqlx::query_scalar(SELECT).bind($order).fetch_one(&mut *tx).await?;
        if state == "new" {
            sqlx::query(UPDATE).bind($order).execute(&mut *tx).await?;
            sqlx::query(RECEIPT).bind($order).execute(&mut *tx).await?;
            sqlx::query(AUDIT).execute(&mut *tx).await?;
        }
        tx.commit().await
    }};
}

fn pay_blocking(url: &str, order: i64) -> Result<(), postgres::Error> {
    let mut client = postgres::Client::connect(url, postgres::NoTls)?;
    let mut tx = client.transaction()?;
    let state: String = tx.query_one(SELECT, &[&order])?.get(0);
    if state == "new" {
        tx.execute(UPDATE, &[&order])?;
        tx.execute(RECEIPT, &[&order])?;
        tx.execute(AUDIT, &[])?;
    }
    tx.commit()
}

fn explore(deviations: usize) -> Explore {
    Explore::new().name("pay").deviations(deviations).deliveries(0).preemptions(0)
}

fn on_the_wire(deviations: usize, is_blocking: bool) -> Report {
    explore(deviations).run(async |world: &World| {
        let db = world.postgres(&SHOP);
        world.process("worker", move |p| {
            let url = db.url(p);
            if is_blocking {
                p.handle_blocking(move |order: i64| pay_blocking(&url, order));
                return;
            }
            let pool = PgPoolOptions::new().max_connections(1).connect_lazy(&url).expect("a URL");
            p.handle(async move |order: i64| pay!(pool, order));
        });
        world.enqueue(6_i64);
        world.settle().await;
    })
}

fn wrapped(database: &Database, deviations: usize) -> Report {
    explore(deviations).run(async |world: &World| {
        let external = database.start(world, rows!());
        // The other measurements compare ten tables, and this one compares the table that matters.
        let looks = database.clone();
        world
            .observe("orders", move || external.block_on(looks.clone().rows("SELECT id, state FROM orders")));
        let theirs = database.clone();
        world.process("worker", move |p| {
            let pool = theirs.pool(p, 1);
            p.handle(async move |order: i64| pay!(pool, order));
        });
        world.enqueue(6_i64);
        world.settle().await;
    })
}

fn measure(name: &str, run: impl Fn(usize) -> Report) {
    run(1);
    let mut rates = Vec::new();
    for _ in 0..5 {
        let (began, mut runs) = (Instant::now(), 0);
        while runs < 200 {
            let report = run(2);
            assert!(report.is_retryproof(), "{report}");
            runs += report.runs();
        }
        rates.push(runs as f64 / began.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    let [least, .., most] = rates[..] else { return };
    println!("{name}: {:.0} scenarios/s (median of 5; {least:.0} to {most:.0})", rates[2]);
}

fn main() {
    if !is_available() {
        return;
    }
    measure("sqlx on the wire", |deviations| on_the_wire(deviations, false));
    measure("postgres (blocking) on the wire", |deviations| on_the_wire(deviations, true));
    let Some(server) = Server::shared() else { return };
    let database = Database::new(server, tables!());
    measure("sqlx with a wrapped pool", |deviations| wrapped(&database, deviations));
    database.drop(&World::fake().external("db"));
}
