//! The points and faults of statements.

use sqlx::{Error, PgPool};

use crate::{assert_green, assert_red, is_available, one_deviation, with_pool};

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
    // The fault-free run, each statement unreachable or its reply lost.
    assert_eq!(report.runs(), 5, "{report}");
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
    assert_eq!(faults.runs(), 1 + 1 + 1 + 2, "{faults}");
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
