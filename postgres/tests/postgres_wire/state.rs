//! A clean database for each scenario, and the comparison of all tables at its end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use retryproof::{Explore, Report, Verdict, World};
use retryproof_postgres::{Postgres, WorldExt};
use sqlx::{Error, PgPool};

use crate::{SHOP, assert_green, assert_red, is_available, is_own_server, one_deviation, pool};

/// With rows that the migrations insert.
static SEEDED: Postgres = Postgres::schema(
    "CREATE TABLE kinds (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL,
        length int GENERATED ALWAYS AS (length(name)) STORED);
    CREATE TABLE items (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), kind_id bigint NOT NULL REFERENCES kinds (id),
        price numeric(20, 4) NOT NULL DEFAULT 1.50, made date NOT NULL DEFAULT current_date, note text);
    INSERT INTO kinds (name) VALUES ('book'), ('pen')",
);

fn explored(job: impl AsyncFn(PgPool) -> Result<(), Error> + Clone + Sync + 'static) -> Report {
    one_deviation("seeded").run(async |world: &World| {
        let db = world.postgres(&SEEDED);
        assert_eq!(db.count("kinds"), 2, "the rows of the migrations are there");
        assert_eq!(db.count("items"), 0, "the rows of the last scenario are gone");
        assert_eq!(db.query("SELECT id, name, length FROM kinds ORDER BY id")[1][2].as_deref(), Some("3"));
        let job = job.clone();
        world.process("worker", move |p| {
            let (pool, job) = (pool(&db.url(p), 2), job.clone());
            p.handle(async move |_: u32| job(pool.clone()).await);
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}

/// Adds a kind and an item of it, in one transaction, unless they are there.
async fn add_once(pool: PgPool) -> Result<(), Error> {
    let mut tx = pool.begin().await?;
    sqlx::query("LOCK TABLE items").execute(&mut *tx).await?;
    let known: i64 =
        sqlx::query_scalar("SELECT count(*) FROM items WHERE note = 'mine'").fetch_one(&mut *tx).await?;
    if known == 0 {
        // Two numbers of the sequence are lost if the transaction is rolled back.
        let kind: i64 = sqlx::query_scalar("INSERT INTO kinds (name) VALUES ('cup') RETURNING id")
            .fetch_one(&mut *tx)
            .await?;
        sqlx::query("INSERT INTO items (kind_id, note) VALUES ($1, 'mine')")
            .bind(kind)
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM kinds WHERE name = 'pen'").execute(&mut *tx).await?;
    }
    tx.commit().await
}

#[test]
fn generated_ids_and_times_do_not_count_and_everything_else_does() {
    if !is_available() {
        return;
    }
    assert_green(&explored(add_once));
    // A job that refers to the wrong row when it is retried.
    let report = explored(async |pool: PgPool| {
        let mut tx = pool.begin().await?;
        let kinds: Vec<i64> =
            sqlx::query_scalar("SELECT id FROM kinds ORDER BY id").fetch_all(&mut *tx).await?;
        let known: i64 = sqlx::query_scalar("SELECT count(*) FROM items").fetch_one(&mut *tx).await?;
        let kind = if known == 0 { kinds[0] } else { kinds[1] };
        sqlx::query("DELETE FROM items").execute(&mut *tx).await?;
        sqlx::query("INSERT INTO items (kind_id) VALUES ($1)").bind(kind).execute(&mut *tx).await?;
        tx.commit().await
    });
    assert_red(&report, &["db.commit:call=reply-lost"]);
}

#[test]
fn a_scenario_that_changes_tables_leaves_nothing_behind() {
    if !is_available() {
        return;
    }
    let report = explored(async |pool: PgPool| {
        sqlx::query("ALTER TABLE items ADD COLUMN IF NOT EXISTS more text").execute(&pool).await?;
        sqlx::query("DROP TABLE IF EXISTS nothing").execute(&pool).await.map(drop)
    });
    assert_green(&report);
}

#[test]
fn a_column_that_is_left_out_does_not_count() {
    if !is_available() {
        return;
    }
    let explored = |is_ignored: bool| {
        one_deviation("ignored").run(async |world: &World| {
            let db = world.postgres(&SHOP);
            db.execute("INSERT INTO orders VALUES (6, 0)");
            if is_ignored {
                db.ignore("orders.cents");
            }
            world.process("worker", move |p| {
                let pool = pool(&db.url(p), 2);
                p.handle(async move |_: u32| {
                    sqlx::query("UPDATE orders SET cents = cents + 1").execute(&pool).await.map(drop)
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
        })
    };
    assert_red(&explored(false), &["db.update-orders:call=reply-lost"]);
    assert_green(&explored(true));
}

#[test]
#[should_panic(expected = "there is no column `orders.price` that is compared")]
fn a_column_that_is_not_there_cannot_be_left_out() {
    if !is_available() {
        panic!("there is no column `orders.price` that is compared");
    }
    World::fake().postgres(&SHOP).ignore("orders.price");
}

/// A trigger, partitions, and a table that inherits from another one.
static ODD: Postgres = Postgres::schema(
    "CREATE TABLE orders (id bigint PRIMARY KEY);
    CREATE TABLE outbox (order_id bigint NOT NULL);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO outbox VALUES (NEW.id); RETURN NEW; END $$;
    CREATE TRIGGER note AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION note();
    CREATE TABLE days (day int NOT NULL, hits int NOT NULL) PARTITION BY LIST (day);
    CREATE TABLE days_1 PARTITION OF days FOR VALUES IN (1);
    CREATE TABLE days_2 PARTITION OF days FOR VALUES IN (2);
    CREATE TABLE base (hits int NOT NULL);
    CREATE TABLE derived (more int) INHERITS (base);
    CREATE TABLE letters (s text NOT NULL, hits int NOT NULL);
    INSERT INTO days VALUES (1, 0), (2, 0);
    INSERT INTO derived VALUES (0, 0);
    INSERT INTO letters VALUES ('a', 0)",
);

#[test]
fn the_rows_that_a_test_inserts_have_their_triggers() {
    if !is_available() {
        return;
    }
    // The second time, the rows of the first time have been removed without them.
    for _ in 0..2 {
        let world = World::fake();
        let db = world.postgres(&ODD);
        db.execute("INSERT INTO orders VALUES (6)");
        assert_eq!(db.query("SELECT order_id FROM outbox"), [[Some("6".to_owned())]]);
    }
}

#[test]
fn tables_of_every_kind_are_compared_and_put_back_once() {
    if !is_available() {
        return;
    }
    for table in ["days", "derived", "letters"] {
        let explored = |statement: String| {
            one_deviation("odd").run(async |world: &World| {
                let db = world.postgres(&ODD);
                for (table, rows) in [("days", 2), ("base", 1), ("derived", 1), ("letters", 1)] {
                    assert_eq!(db.count(&format!("{table} WHERE hits = 0")), rows, "{table}");
                }
                let statement = statement.clone();
                world.process("worker", move |p| {
                    let (pool, statement) = (pool(&db.url(p), 2), statement.clone());
                    p.handle(async move |_: u32| sqlx::query(&statement).execute(&pool).await.map(drop));
                });
                world.enqueue(6_u32);
                world.settle().await;
            })
        };
        let lost = format!("db.update-{table}:call=reply-lost");
        assert_red(&explored(format!("UPDATE {table} SET hits = hits + 1")), &[&lost]);
        assert_green(&explored(format!("UPDATE {table} SET hits = 1")));
    }
}

/// Other tests do not use its databases.
static HELD: Postgres = Postgres::schema("CREATE TABLE held (hits int); INSERT INTO held VALUES (0)");

#[test]
#[should_panic(expected = "a job has an open transaction that holds the lock")]
fn a_statement_of_the_test_that_waits_for_a_job_says_so() {
    if !is_available() {
        panic!("a job has an open transaction that holds the lock");
    }
    let world = World::fake();
    let db = world.postgres(&HELD);
    let url = db.direct_url();
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
        let mut tx = client.transaction().unwrap();
        tx.execute("UPDATE held SET hits = 1", &[]).unwrap();
        ready.send(()).unwrap();
        std::thread::park_timeout(std::time::Duration::from_secs(30));
    });
    is_ready.recv().unwrap();
    db.execute("UPDATE held SET hits = 2");
}

/// Ids that are generated in other ways, and columns that are computed from them.
static NUMBERED: Postgres = Postgres::schema(
    "CREATE FUNCTION uuid_v7() RETURNS uuid LANGUAGE sql VOLATILE AS $$
        SELECT (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')
            || '7' || substr(md5(random()::text), 1, 19))::uuid $$;
    CREATE DOMAIN moment AS timestamptz DEFAULT now() NOT NULL;
    CREATE DOMAIN key AS uuid DEFAULT gen_random_uuid();
    CREATE DOMAIN narrow_key AS key CHECK (VALUE IS NOT NULL);
    CREATE TABLE orders (id uuid PRIMARY KEY DEFAULT uuid_v7(), token text NOT NULL DEFAULT md5(random()::text),
        secret narrow_key, number bigserial, code text GENERATED ALWAYS AS ('ORD-' || number) STORED, made moment,
        note text NOT NULL);
    CREATE TABLE lines (order_id uuid NOT NULL REFERENCES orders (id), pieces int NOT NULL)",
);

#[test]
fn ids_and_times_of_every_kind_do_not_count() {
    if !is_available() {
        return;
    }
    let explored = |is_careful: bool| {
        one_deviation("numbered").deliveries(0).run(async |world: &World| {
            let db = world.postgres(&NUMBERED);
            world.process("worker", move |p| {
                let pool = pool(&db.url(p), 2);
                p.handle(async move |_: u32| {
                    let mut tx = pool.begin().await?;
                    let known: i64 =
                        sqlx::query_scalar("SELECT count(*) FROM orders").fetch_one(&mut *tx).await?;
                    if known == 0 || !is_careful {
                        let add = "WITH made AS (INSERT INTO orders (note) VALUES ('mine') RETURNING id)
                            INSERT INTO lines SELECT id, 3 FROM made";
                        sqlx::query(add).execute(&mut *tx).await?;
                    }
                    tx.commit().await
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
        })
    };
    assert_red(&explored(false), &["db.commit:call=reply-lost"]);
    assert_green(&explored(true));
}

/// Other tests do not use its databases.
static VIEWED: Postgres = Postgres::schema(
    "CREATE TABLE orders (id bigint PRIMARY KEY);
    CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS n FROM orders;
    CREATE FUNCTION renew() RETURNS void LANGUAGE sql AS 'REFRESH MATERIALIZED VIEW totals'",
);

#[test]
fn what_a_job_makes_besides_rows_is_gone_in_the_next_scenario() {
    if !is_available() {
        return;
    }
    for made in [
        "SELECT * INTO copies FROM orders",
        "WITH known AS (SELECT * FROM orders) SELECT * INTO copies FROM known",
        "CREATE TABLE copies AS SELECT * FROM orders",
        "CREATE MATERIALIZED VIEW copies AS SELECT * FROM orders",
        "PREPARE copy AS SELECT * FROM orders; CREATE TABLE copies AS EXECUTE copy",
        "INSERT INTO orders VALUES (6); REFRESH MATERIALIZED VIEW totals",
        "INSERT INTO orders VALUES (6); SELECT renew()",
    ] {
        let report =
            one_deviation("made").crashes(0).deliveries(0).keep_going().run(async |world: &World| {
                let db = world.postgres(&VIEWED);
                let tables =
                    "SELECT count(*) FROM pg_class WHERE relname = 'copies' UNION ALL SELECT n FROM totals";
                assert_eq!(db.query(tables), [[Some("0".to_owned())], [Some("0".to_owned())]], "{made}");
                world.process("worker", move |p| {
                    let pool = pool(&db.url(p), 2);
                    // It is not repeatable, which does not matter here.
                    p.handle(async move |_: u32| {
                        let _ = sqlx::raw_sql(made).execute(&pool).await;
                        Ok::<_, Error>(())
                    });
                });
                world.enqueue(6_u32);
                world.settle().await;
            });
        assert!(report.runs() > 2, "{report}");
        assert!(!report.to_string().contains("assertion"), "{made}: {report}");
    }
}

static LEASED: Postgres = Postgres::schema(
    "CREATE TABLE tasks (id bigint PRIMARY KEY, leased_until timestamptz NOT NULL DEFAULT 'epoch', done int NOT NULL DEFAULT 0);
    INSERT INTO tasks VALUES (1)",
);

/// A worker with a lease by the server's clock. It polls every minute.
async fn work(pool: PgPool, lease: &'static str) -> Result<(), Error> {
    loop {
        let take = format!(
            "UPDATE tasks SET leased_until = now() + interval '{lease}'
                WHERE leased_until <= now() AND done = 0 RETURNING id"
        );
        if let Ok(Some(id)) = sqlx::query_scalar::<_, i64>(&take).fetch_optional(&pool).await {
            // The work takes a while.
            tokio::time::sleep(Duration::from_secs(30)).await;
            let _ =
                sqlx::query("UPDATE tasks SET done = done + 1 WHERE id = $1").bind(id).execute(&pool).await;
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
}

#[test]
fn the_servers_clock_is_the_worlds() {
    if !is_own_server() || cfg!(not(all(target_os = "linux", target_env = "gnu"))) {
        return;
    }
    let explored = |lease: &'static str| {
        let explore = Explore::new().name("leases").deviations(1).faults(0);
        explore.run(async |world: &World| {
            let db = world.postgres(&LEASED);
            for name in ["one", "two"] {
                let db = db.clone();
                world.process(name, move |p| p.spawn("worker", work(pool(&db.url(p), 1), lease)));
            }
            let long = Duration::from_secs(3_600);
            let done = || db.count("tasks WHERE done > 0") == 1;
            world.settle_until(|world| world.now() > long || done()).await;
            // A worker that has taken the task as well is done by then.
            let later = world.now() + Duration::from_secs(120);
            world.settle_until(|world| world.now() > later).await;
        })
    };
    // A dead worker's lease ends, and a task whose lease is shorter than its work is done twice.
    let report = explored("10 seconds");
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert_green(&explored("5 minutes"));
}

#[test]
fn a_statement_sees_the_time_of_its_world_and_still_times_out() {
    if !is_own_server() || cfg!(not(all(target_os = "linux", target_env = "gnu"))) {
        return;
    }
    let world = World::fake();
    let db = world.postgres(&SHOP);
    db.execute("INSERT INTO orders VALUES (6, 0); INSERT INTO receipts (order_id) VALUES (6)");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let of_boot = seen.clone();
    world.process("worker", move |p| {
        let (pool, seen) = (pool(&db.url(p), 1), of_boot.clone());
        p.handle(async move |_: u32| {
            let now = "SELECT extract(epoch FROM clock_timestamp())::bigint";
            let before: i64 = sqlx::query_scalar(now).fetch_one(&pool).await?;
            tokio::time::sleep(Duration::from_secs(86_400)).await;
            let after: i64 = sqlx::query_scalar(now).fetch_one(&pool).await?;
            // It does not move between two statements, and goes on in one that waits.
            let paused =
                "WITH a AS (SELECT clock_timestamp() AS t), b AS MATERIALIZED (SELECT pg_sleep(0.2) FROM a)
                SELECT (extract(epoch FROM clock_timestamp() - a.t) * 1000)::bigint FROM a, b";
            let paused: i64 = sqlx::query_scalar(paused).fetch_one(&pool).await?;
            let mut connection = pool.acquire().await?;
            sqlx::raw_sql("SET statement_timeout = 50").execute(&mut *connection).await?;
            let ended = sqlx::query("SELECT pg_sleep(20)").execute(&mut *connection).await;
            let busy = "SELECT count(*) FROM generate_series(1, 1000000000)";
            let busy = sqlx::query(busy).execute(&mut *connection).await;
            let inserted = "SELECT extract(epoch FROM now() - at)::bigint FROM receipts";
            assert_eq!(sqlx::query_scalar::<_, i64>(inserted).fetch_one(&mut *connection).await?, 86_400);
            seen.lock().unwrap().push((after - before, paused >= 150, ended.is_err(), busy.is_err()));
            Ok::<_, Error>(())
        });
    });
    world.enqueue(6_u32);
    world.drain_all().run().unwrap();
    assert_eq!(*seen.lock().unwrap(), [(86_400, true, true, true)]);
}
