//! A job as a row of graphile_worker's table, and as a value for handlers.

use std::time::Duration;

use chrono::{DateTime, Utc};
use graphile_worker_database::{DbCell, DbRow, row_mapping};
use graphile_worker_job::{DbJob, DbJobData, Job};
use retryproof::adapter::RawAttempt;
use retryproof::job::JobId;
use serde_json::Value;

use crate::spec::{BESIDE, Beside, MAX_ATTEMPTS, date};

/// A number for a text that is the same in each run (FNV-1a, Fowler, Noll and Vo, 1991).
pub(crate) fn small_id(text: &str) -> i32 {
    let hash =
        text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash >> 1) as i32
}

/// The number of a job. Like its id it derives from the content, so additional jobs do not change it.
fn number(id: JobId) -> i64 {
    let digits = u64::from_str_radix(&id.to_string(), 16).expect("an id is a hexadecimal number");
    (digits >> 1) as i64
}

/// The row of a job that was just added.
pub(crate) fn of_job(id: JobId, identifier: &str, payload: Value, beside: &Beside) -> DbRow {
    let text = |text: &Option<String>| text.clone().map_or(DbCell::Null, DbCell::Text);
    let time = |at: Duration| DbCell::TimestampTz(date(at));
    let queue = beside.queue_name.as_deref().map_or(DbCell::Null, |name| DbCell::I32(small_id(name)));
    row_mapping::cells([
        ("id", DbCell::I64(number(id))),
        ("job_queue_id", queue),
        ("payload", DbCell::Json(payload)),
        ("priority", DbCell::I16(beside.priority)),
        ("run_at", time(beside.run_at)),
        ("attempts", DbCell::I16(0)),
        ("max_attempts", DbCell::I16(beside.max_attempts)),
        ("last_error", DbCell::Null),
        ("created_at", time(beside.created_at)),
        ("updated_at", time(beside.created_at)),
        ("key", text(&beside.key)),
        ("revision", DbCell::I32(0)),
        ("locked_at", DbCell::Null),
        ("locked_by", DbCell::Null),
        ("flags", beside.flags.clone().map_or(DbCell::Null, DbCell::Json)),
        ("task_id", DbCell::I32(small_id(identifier))),
    ])
}

/// The job as its handler sees it.
pub(crate) fn seen(attempt: &RawAttempt, now: Duration, worker: &str) -> Job {
    let beside = attempt.context.get(BESIDE).and_then(|value| serde_json::from_value(value.clone()).ok());
    // A job that was enqueued directly has no data beside its payload.
    let beside =
        beside.unwrap_or_else(|| Beside { max_attempts: MAX_ATTEMPTS, run_at: now, ..Beside::default() });
    let identifier = attempt.job.kind;
    // A payload that is not JSON becomes a string that does not decode.
    let payload = &attempt.job.payload;
    let payload = serde_json::from_str(payload).unwrap_or_else(|_| Value::String(payload.clone()));
    let now: DateTime<Utc> = date(now);
    let job = DbJobData {
        id: number(attempt.job.id),
        job_queue_id: beside.queue_name.as_deref().map(small_id),
        payload,
        priority: beside.priority,
        run_at: date(beside.run_at),
        attempts: i16::try_from(attempt.job.failures + 1).unwrap_or(i16::MAX),
        max_attempts: beside.max_attempts,
        last_error: attempt.job.error.clone(),
        created_at: date(beside.created_at),
        updated_at: now,
        key: beside.key,
        revision: 0,
        locked_at: Some(now),
        locked_by: Some(worker.to_owned()),
        flags: beside.flags,
        task_id: small_id(identifier),
    };
    Job::from_db_job(DbJob::from_data(job), identifier.to_owned())
}
