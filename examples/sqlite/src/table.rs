//! A worker that polls a table of jobs: a loop of the shop, with a queue that the harness does not know.

use std::time::Duration;

use sqlx::{Error, Sqlite};

use retryproof_sqlx::Pool;

/// The table.
pub const TABLES: &str = "
    CREATE TABLE jobs (
        id INTEGER PRIMARY KEY, amount INTEGER NOT NULL,
        state TEXT NOT NULL DEFAULT 'new', lease_ends INTEGER NOT NULL DEFAULT 0
    )";

/// The precautions of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// Looks for a job, then takes it.
    LooksThenTakes,
    /// Looks and takes in one statement.
    TakesAtOnce,
    /// And its request has the number of the job as a key, so that it is not carried out twice.
    WithKey,
}

/// A job that was taken.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// The number of the job.
    pub id: i64,
    /// The amount to charge.
    pub cents: u64,
}

const POLL: Duration = Duration::from_secs(5);
const LEASE: i64 = 60;

/// Takes jobs and pays them in an endless loop. `now` is the time in seconds. `pay` charges the amount of a job, with
/// a key if it gets one.
///
/// # Errors
/// If the database fails.
/// When the database fails.
pub async fn work<E>(
    pool: Pool<Sqlite>,
    care: Care,
    now: impl Fn() -> i64,
    pay: impl AsyncFn(Taken, Option<String>) -> Result<(), E>,
) -> Result<(), Error> {
    loop {
        let Some(job) = take(&pool, care, now()).await? else {
            tokio::time::sleep(POLL).await;
            continue;
        };
        let key = (care == Care::WithKey).then(|| format!("job-{}", job.id));
        // A job that was not paid is taken again when its lease ends.
        if pay(job, key).await.is_ok() {
            sqlx::query("UPDATE jobs SET state = 'done' WHERE id = ?").bind(job.id).execute(&pool).await?;
        }
    }
}

async fn take(pool: &Pool<Sqlite>, care: Care, now: i64) -> Result<Option<Taken>, Error> {
    const FREE: &str = "SELECT id, amount FROM jobs \
        WHERE state = 'new' OR state = 'running' AND lease_ends <= ? ORDER BY id LIMIT 1";
    const TAKE: &str = "UPDATE jobs SET state = 'running', lease_ends = ? WHERE id = ?";
    const TAKE_AT_ONCE: &str = "UPDATE jobs SET state = 'running', lease_ends = ? WHERE id = ( \
        SELECT id FROM jobs WHERE state = 'new' OR state = 'running' AND lease_ends <= ? ORDER BY id LIMIT 1 \
        ) RETURNING id, amount";
    let found: Option<(i64, i64)> = match care {
        Care::LooksThenTakes => {
            let found = sqlx::query_as(FREE).bind(now).fetch_optional(pool).await?;
            if let Some((id, _)) = found {
                sqlx::query(TAKE).bind(now + LEASE).bind::<i64>(id).execute(pool).await?;
            }
            found
        }
        Care::TakesAtOnce | Care::WithKey => {
            sqlx::query_as(TAKE_AT_ONCE).bind(now + LEASE).bind(now).fetch_optional(pool).await?
        }
    };
    Ok(found.map(|(id, amount)| Taken { id, cents: amount.unsigned_abs() }))
}
