//! A worker that polls a table of jobs: a loop of the shop's own, and no queue that the harness knows anything of.

use std::time::Duration;

use sqlx::{Error, Sqlite};

use retryproof_sqlx::Pool;

/// The table.
pub const TABLES: &str = "
    CREATE TABLE jobs (
        id INTEGER PRIMARY KEY, amount INTEGER NOT NULL,
        state TEXT NOT NULL DEFAULT 'new', lease_ends INTEGER NOT NULL DEFAULT 0
    )";

/// How the worker does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// It looks for a job, then takes it.
    LooksThenTakes,
    /// It looks and takes in one statement.
    TakesAtOnce,
    /// And what it asks for bears the number of the job, so that it is not done twice.
    WithKey,
}

/// A job as it is taken.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// Its number.
    pub id: i64,
    /// How much is to be charged.
    pub cents: u64,
}

const POLL: Duration = Duration::from_secs(5);
const LEASE: i64 = 60;

/// Takes jobs and has them paid, for ever. `now` is the time in seconds; `pay` charges what a job says, under a key if it is
/// given one.
///
/// # Errors
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
        // One that was not paid comes again when its lease ends.
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
