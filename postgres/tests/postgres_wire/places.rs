//! The points and faults of statements.

use retryproof::{Explore, External, Verdict, World};
use retryproof_postgres::WorldExt;
use sqlx::{Error, PgPool};

use crate::{SHOP, assert_green, assert_red, is_available, one_deviation, pool, with_pool};

/// Pays in two statements, each of which lasts by itself.
async fn pay_in_two(pool: PgPool) -> Result<(), Error> {
    sqlx::query("INSERT INTO receipts (order_id) VALUES (6)").execute(&pool).await?;
    sqlx::query("UPDATE orders SET state = 'paid' WHERE id = 6").execute(&pool).await?;
    Ok(())
}

/// Pays in a transaction. A reply of the commit may be lost, so it looks first.
async fn pay_once(pool: PgPool) -> Result<(), Error> {
    let mut tx = pool.begin().await?;
    let state: String =
        sqlx::query_scalar("SELECT state FROM orders WHERE id = 6 FOR UPDATE").fetch_one(&mut *tx).await?;
    if state == "new" {
        sqlx::query("INSERT INTO receipts (order_id) VALUES (6)").execute(&mut *tx).await?;
        sqlx::query("UPDATE orders SET state = 'paid' WHERE id = 6").execute(&mut *tx).await?;
    }
    tx.commit().await
}

/// The same, without looking.
async fn pay_blindly(pool: PgPool) -> Result<(), Error> {
    let mut tx = pool.begin().await?;
    sqlx::query("INSERT INTO receipts (order_id) VALUES (6)").execute(&mut *tx).await?;
    sqlx::query("UPDATE orders SET state = 'paid' WHERE id = 6").execute(&mut *tx).await?;
    tx.commit().await
}

#[test]
fn a_statement_of_its_own_has_all_points_and_both_faults() {
    if !is_available() {
        return;
    }
    let report = with_pool(&one_deviation("two").crashes(0).deliveries(0), pay_in_two);
    assert_red(&report, &["db.insert-receipts:call=reply-lost"]);
    let crashes = with_pool(&one_deviation("two").faults(0).deliveries(0), pay_in_two);
    assert_red(&crashes, &["db.insert-receipts:happened=crash"]);
    // The fault-free run; each statement unreachable, its reply lost, or refused by a server that shuts down.
    assert_eq!(report.runs(), 1 + 3 + 3, "{report}");
    // Three points each, and the beginning and the end of the attempt.
    assert_eq!(crashes.runs(), 1 + 3 + 3 + 2, "{crashes}");
}

#[test]
fn statements_of_a_transaction_have_one_point_and_one_fault_and_the_commit_has_all() {
    if !is_available() {
        return;
    }
    let faults = with_pool(&one_deviation("blindly").crashes(0).deliveries(0), pay_blindly);
    assert_red(&faults, &["db.commit:call=reply-lost"]);
    assert_eq!(faults.violations().len(), 1, "{faults}");
    // The first statement has only added a row, for which nobody waits, so there is no deadlock.
    assert_eq!(faults.runs(), 1 + 1 + 1 + 3, "{faults}");
    let crashes = with_pool(&one_deviation("blindly").faults(0).deliveries(0), pay_blindly);
    assert_red(&crashes, &["db.commit:happened=crash"]);
    assert_eq!(crashes.runs(), 1 + 1 + 1 + 3 + 2, "{crashes}");
}

#[test]
fn a_transaction_that_looks_first_passes() {
    if !is_available() {
        return;
    }
    assert_green(&with_pool(&one_deviation("once"), pay_once));
    assert_green(&with_pool(&one_deviation("once").deviations(2), pay_once));
}

/// Takes a number from a sequence, which a rollback does not give back, and fails if there is a gap.
async fn number_without_gaps(pool: PgPool) -> Result<(), Error> {
    let mut tx = pool.begin().await?;
    let number: i64 = sqlx::query_scalar("SELECT nextval('receipts_id_seq')").fetch_one(&mut *tx).await?;
    sqlx::query("UPDATE orders SET cents = $1 WHERE id = 6").bind(number).execute(&mut *tx).await?;
    tx.commit().await
}

async fn number_with_gaps(pool: PgPool) -> Result<(), Error> {
    let mut tx = pool.begin().await?;
    sqlx::query("SELECT nextval('receipts_id_seq')").execute(&mut *tx).await?;
    sqlx::query("UPDATE orders SET cents = 1 WHERE id = 6").execute(&mut *tx).await?;
    tx.commit().await
}

#[test]
fn a_sequence_keeps_its_points_in_a_transaction() {
    if !is_available() {
        return;
    }
    let report = with_pool(&one_deviation("gap"), number_without_gaps);
    assert_red(&report, &["db.select-nextval:"]);
    assert_green(&with_pool(&one_deviation("gap"), number_with_gaps));
}

/// Pays, and cancels the receipts in the same transaction: rows of two tables are locked.
async fn pay_and_cancel(pool: PgPool) -> Result<(), Error> {
    let mut tx = pool.begin().await?;
    // Rows that are locked already.
    sqlx::query("SELECT 1 FROM orders WHERE id = 6 FOR UPDATE").execute(&mut *tx).await?;
    sqlx::query("UPDATE orders SET state = 'paid' WHERE id = $1").bind(6_i64).execute(&mut *tx).await?;
    sqlx::query("DELETE FROM receipts WHERE order_id = 6").execute(&mut *tx).await?;
    tx.commit().await
}

/// Takes an error of the database that comes with a code for the last word.
async fn pay_or_give_up(pool: PgPool, is_patient: bool) -> Result<(), Error> {
    match pay_and_cancel(pool).await {
        Err(Error::Database(_)) if !is_patient => Ok(()),
        other => other,
    }
}

#[test]
fn a_job_that_gives_up_on_any_error_of_the_database_gives_up_on_deadlocks_and_restarts() {
    if !is_available() {
        return;
    }
    let explore = || one_deviation("patience").crashes(0).deliveries(0);
    let report = with_pool(&explore().keep_going(), async |pool: PgPool| pay_or_give_up(pool, false).await);
    assert_red(&report, &[":call="]);
    let paths = report.violations().iter().flat_map(|violation| &violation.paths);
    let ways: Vec<_> = paths.map(|path| path.scenario.to_string()).collect();
    for way in ["db.delete-receipts:call=conflict", "db.commit:call=shut-down"] {
        assert!(ways.iter().any(|found| found.contains(way)), "no {way} in {ways:?}");
    }
    // It waits for nobody there.
    assert!(!ways.iter().any(|found| found.contains("db.update-orders:call=conflict")), "{ways:?}");
    assert_green(&with_pool(&explore(), async |pool: PgPool| pay_or_give_up(pool, true).await));
}

#[test]
fn a_serializable_transaction_may_be_refused_at_each_statement_and_at_its_end() {
    if !is_available() {
        return;
    }
    let explored = |is_patient: bool| {
        with_pool(&one_deviation("serializable").crashes(0).deliveries(0), async move |pool: PgPool| {
            let mut tx = pool.begin_with("BEGIN ISOLATION LEVEL SERIALIZABLE").await?;
            sqlx::query("UPDATE orders SET state = 'paid' WHERE id = 6").execute(&mut *tx).await?;
            match tx.commit().await {
                Err(Error::Database(error)) if !is_patient && error.code().as_deref() == Some("40001") => {
                    Ok(())
                }
                other => other,
            }
        })
    };
    assert_red(&explored(false), &["db.commit:call=conflict"]);
    assert_green(&explored(true));
}

/// Pays, and then tries a statement that is refused, behind a savepoint.
async fn pay_with_a_savepoint(pool: PgPool, is_careful: bool) -> Result<(), Error> {
    let mut tx = pool.begin().await?;
    let state: String =
        sqlx::query_scalar("SELECT state FROM orders WHERE id = 6 FOR UPDATE").fetch_one(&mut *tx).await?;
    if !is_careful || state == "new" {
        sqlx::query("INSERT INTO receipts (order_id) VALUES (6)").execute(&mut *tx).await?;
        sqlx::query("UPDATE orders SET state = 'paid' WHERE id = 6").execute(&mut *tx).await?;
    }
    sqlx::query("SAVEPOINT before").execute(&mut *tx).await?;
    let refused = sqlx::query("INSERT INTO orders VALUES (6, 0)").execute(&mut *tx).await;
    assert!(refused.is_err());
    sqlx::query("ROLLBACK TO SAVEPOINT before").execute(&mut *tx).await?;
    tx.commit().await
}

#[test]
fn a_commit_after_a_rollback_to_a_savepoint_has_all_points() {
    if !is_available() {
        return;
    }
    let explored = |explore: Explore, is_careful: bool| {
        with_pool(&explore.deliveries(0), async move |pool: PgPool| {
            pay_with_a_savepoint(pool, is_careful).await
        })
    };
    let explore = || one_deviation("savepoint");
    assert_red(&explored(explore().crashes(0), false), &["db.commit:call=reply-lost"]);
    assert_red(&explored(explore().faults(0), false), &["db.commit:happened=crash"]);
    assert_green(&explored(explore(), true));
}

#[test]
fn a_statement_that_was_prepared_in_sql_is_a_call_when_it_is_executed() {
    if !is_available() {
        return;
    }
    let explored = |update: &'static str| {
        with_pool(&one_deviation("prepared").crashes(0).deliveries(0), async move |pool: PgPool| {
            let mut connection = pool.acquire().await?;
            sqlx::raw_sql(&format!("PREPARE pay (bigint) AS {update}")).execute(&mut *connection).await?;
            sqlx::raw_sql("PREPARE look AS SELECT 1 FROM orders").execute(&mut *connection).await?;
            sqlx::raw_sql("EXECUTE pay (6)").execute(&mut *connection).await?;
            sqlx::raw_sql("EXECUTE look").execute(&mut *connection).await?;
            sqlx::raw_sql("DEALLOCATE ALL").execute(&mut *connection).await.map(drop)
        })
    };
    let report = explored("UPDATE orders SET cents = cents + 1 WHERE id = $1");
    assert_red(&report, &["db.update-orders:call=reply-lost"]);
    // The fault-free run, three faults of the update, and one of the look.
    assert_eq!(report.runs(), 1 + 3 + 1, "{report}");
    let careful = explored("UPDATE orders SET cents = 1 WHERE id = $1");
    assert_eq!((careful.verdict(), careful.runs()), (Verdict::RetryProof, 5), "{careful}");
}

/// Sends an email before or after the commit.
async fn notify(pool: PgPool, mail: External, is_after: bool) -> Result<(), Error> {
    let email =
        || mail.call("send", async { Ok::<_, Error>(()) }).on_fault(|fault| Err(Error::Io(fault.into())));
    let mut tx = pool.begin().await?;
    sqlx::query("UPDATE orders SET state = 'paid' WHERE id = 6").execute(&mut *tx).await?;
    if !is_after {
        email().await?;
    }
    tx.commit().await?;
    if is_after {
        email().await?;
    }
    Ok(())
}

#[test]
fn a_call_to_the_outside_in_an_open_transaction_is_a_warning() {
    if !is_available() {
        return;
    }
    let explored = |is_after: bool| {
        one_deviation("notify").run(async |world: &World| {
            let db = world.postgres(&SHOP);
            db.execute("INSERT INTO orders VALUES (6, 2598)");
            world.process("worker", move |p| {
                let (pool, mail) = (pool(&db.url(p), 2), p.external("mail"));
                p.handle(async move |_: u32| notify(pool.clone(), mail.clone(), is_after).await);
            });
            world.enqueue(6_u32);
            world.settle().await;
        })
    };
    let (inside, after) = (explored(false), explored(true));
    let [warning] = inside.warnings() else { panic!("{inside}") };
    assert!(
        warning.summary.starts_with("mail.send is called while the transaction begun at "),
        "{warning:?}"
    );
    assert!(after.warnings().is_empty(), "{after}");
}
