//! A job to add: the parameters of `add_job` and `add_jobs`, and the resulting request to the world's queue.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use graphile_worker_database::{DbError, DbParams, DbValue};
use graphile_worker_job_spec::JobSpec;
use retryproof::adapter::JobKey;
use retryproof::job::NewJob;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The default number of attempts of a job, as in the column `max_attempts`.
pub(crate) const MAX_ATTEMPTS: i16 = 25;

/// The key of the data beside the payload in the world's queue.
pub(crate) const BESIDE: &str = "graphile_worker";

/// The time at which a world begins.
const BEGINNING: i64 = 946_684_800; // 2000-01-01T00:00:00Z
/// A later time comes from a real clock.
const REAL: i64 = 1_577_836_800; // 2020-01-01T00:00:00Z

/// The date at this time since the world began. A world begins with the year 2000.
pub fn date(since_the_world_began: Duration) -> DateTime<Utc> {
    let beginning = Utc.timestamp_opt(BEGINNING, 0).single().expect("it is a date");
    let since = TimeDelta::from_std(since_the_world_began).unwrap_or(TimeDelta::MAX);
    beginning.checked_add_signed(since).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// The time from now until then.
fn wait_until(run_at: DateTime<Utc>, now: Duration) -> Duration {
    let is_real = run_at.timestamp() >= REAL;
    let now = if is_real { Utc::now() } else { date(now) };
    let wait = (run_at - now).to_std().unwrap_or_default();
    match is_real {
        // Some of it has passed since it was computed, a little more or less each time.
        true => Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)),
        false => wait,
    }
}

/// The fate of the job that already has the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum KeyMode {
    #[default]
    Replace,
    PreserveRunAt,
    UnsafeDedupe,
}

/// A job to add.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Added {
    pub(crate) identifier: String,
    pub(crate) payload: Value,
    pub(crate) queue_name: Option<String>,
    pub(crate) run_at: Option<DateTime<Utc>>,
    pub(crate) max_attempts: Option<i32>,
    pub(crate) job_key: Option<String>,
    pub(crate) priority: Option<i32>,
    pub(crate) flags: Option<Vec<String>>,
    #[serde(skip)]
    pub(crate) mode: KeyMode,
}

/// The data beside the payload in the world's queue.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Beside {
    pub(crate) queue_name: Option<String>,
    pub(crate) max_attempts: i16,
    pub(crate) key: Option<String>,
    pub(crate) priority: i16,
    pub(crate) flags: Option<Value>,
    /// The time at which it was added, and the time at which it must run, since the world began.
    pub(crate) created_at: Duration,
    pub(crate) run_at: Duration,
}

impl Added {
    /// The job of `add_job`.
    pub(crate) fn one(params: &DbParams) -> Result<Self, DbError> {
        use DbValue::{I32Opt, Json, Text, TextArrayOpt, TextOpt, TimestampTzOpt};
        let [
            Text(identifier),
            Json(payload),
            TextOpt(queue_name),
            TimestampTzOpt(run_at),
            I32Opt(max_attempts),
            TextOpt(job_key),
            I32Opt(priority),
            TextArrayOpt(flags),
            TextOpt(mode),
        ] = params.values()
        else {
            return Err(unexpected("add_job", params));
        };
        Ok(Self {
            identifier: identifier.clone(),
            payload: payload.clone(),
            queue_name: queue_name.clone(),
            run_at: *run_at,
            max_attempts: *max_attempts,
            job_key: job_key.clone(),
            priority: *priority,
            flags: flags.clone(),
            mode: mode_of(mode.as_deref())?,
        })
    }

    /// The jobs of `add_jobs`.
    pub(crate) fn many(params: &DbParams) -> Result<Vec<Self>, DbError> {
        let [DbValue::Json(specs), DbValue::Bool(keeps_run_at)] = params.values() else {
            return Err(unexpected("add_jobs", params));
        };
        let mode = if *keeps_run_at { KeyMode::PreserveRunAt } else { KeyMode::Replace };
        let many = Vec::<Self>::deserialize(specs)
            .map_err(|error| DbError::new(format!("the jobs of `add_jobs` do not decode: {error}")))?;
        let with_payload = |mut added: Self| {
            if added.payload.is_null() {
                added.payload = json!({});
            }
            Self { mode, ..added }
        };
        Ok(many.into_iter().map(with_payload).collect())
    }

    /// The job that the test itself adds.
    pub(crate) fn given(identifier: &str, payload: Value, spec: &JobSpec) -> Result<Self, DbError> {
        Ok(Self {
            identifier: identifier.to_owned(),
            payload,
            queue_name: spec.queue_name.clone(),
            run_at: spec.run_at,
            max_attempts: spec.max_attempts.map(i32::from),
            job_key: spec.job_key.clone(),
            priority: spec.priority.map(i32::from),
            flags: spec.flags.clone(),
            mode: mode_of(spec.job_key_mode.as_ref().map(ToString::to_string).as_deref())?,
        })
    }

    /// The data beside the payload.
    pub(crate) fn beside(&self, now: Duration) -> Result<Beside, DbError> {
        let small = |what: &str, number: i32| {
            i16::try_from(number).map_err(|_| {
                DbError::with_code(format!("{what} {number} is out of range: smallint"), "22003")
            })
        };
        let max_attempts = small("max_attempts", self.max_attempts.unwrap_or(MAX_ATTEMPTS.into()))?;
        if max_attempts < 1 {
            return Err(DbError::with_code("a job must have at least 1 for max_attempts", "23514"));
        }
        let flags = self.flags.as_ref().filter(|flags| !flags.is_empty());
        let wait = self.run_at.map_or(Duration::ZERO, |run_at| wait_until(run_at, now));
        Ok(Beside {
            queue_name: self.queue_name.clone(),
            max_attempts,
            key: self.job_key.clone(),
            priority: small("priority", self.priority.unwrap_or(0))?,
            flags: flags.map(|flags| flags.iter().map(|flag| (flag.clone(), Value::Bool(true))).collect()),
            created_at: now,
            run_at: now.saturating_add(wait),
        })
    }

    /// The request to the world's queue.
    pub(crate) fn into_request(self, beside: &Beside) -> NewJob {
        let mut job = NewJob::named(self.identifier, self.payload.to_string())
            .max_retries(u32::from(beside.max_attempts.unsigned_abs()) - 1);
        job.delay = beside.run_at - beside.created_at;
        job.context.insert(BESIDE.to_owned(), json!(beside));
        if let Some(name) = self.queue_name {
            job = job.serial(name);
        }
        if let Some(key) = self.job_key {
            let key = match self.mode {
                KeyMode::Replace => JobKey::replacing(key),
                KeyMode::PreserveRunAt => JobKey::keeping_time(key),
                KeyMode::UnsafeDedupe => JobKey::leaving(key),
            };
            job = job.key(key.merging(merged));
        }
        job
    }
}

/// Joins two arrays. Otherwise returns the new payload.
fn merged(former: &str, new: &str) -> String {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
    match (parsed(former), parsed(new)) {
        (Some(Value::Array(former)), Some(Value::Array(new))) => {
            Value::Array(former.into_iter().chain(new).collect()).to_string()
        }
        _ => new.to_owned(),
    }
}

fn mode_of(mode: Option<&str>) -> Result<KeyMode, DbError> {
    match mode {
        None | Some("replace") => Ok(KeyMode::Replace),
        Some("preserve_run_at") => Ok(KeyMode::PreserveRunAt),
        Some("unsafe_dedupe") => Ok(KeyMode::UnsafeDedupe),
        Some(other) => Err(DbError::with_code(format!("Invalid job_key_mode value: {other}"), "GWBKM")),
    }
}

fn unexpected(statement: &str, params: &DbParams) -> DbError {
    DbError::new(format!(
        "`{statement}` has other parameters than graphile_worker 0.14 gives it: {:?}; use the version of \
         retryproof-graphile-worker that goes with your graphile_worker",
        params.values()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn times_are_those_of_the_world_or_those_of_a_real_clock() {
        let now = 2 * HOUR;
        assert_eq!(wait_until(date(now + HOUR), now), HOUR);
        assert_eq!(wait_until(date(HOUR), now), Duration::ZERO);
        assert_eq!(wait_until(Utc::now() + HOUR, now), HOUR);
        assert_eq!(wait_until(Utc::now(), now), Duration::ZERO);
        assert_eq!(date(HOUR).to_rfc3339(), "2000-01-01T01:00:00+00:00");
    }

    #[test]
    fn arrays_are_put_one_behind_the_other_and_nothing_else_is() {
        assert_eq!(merged("[1]", "[2,3]"), "[1,2,3]");
        assert_eq!(merged("{\"a\":1}", "{\"b\":2}"), "{\"b\":2}");
        assert_eq!(merged("[1]", "{}"), "{}");
    }

    #[test]
    fn numbers_that_the_table_does_not_hold_are_refused() {
        let added = |max_attempts| Added { max_attempts: Some(max_attempts), ..Added::default() };
        let text = |max_attempts| added(max_attempts).beside(Duration::ZERO).unwrap_err().to_string();
        assert_eq!(text(0), "a job must have at least 1 for max_attempts");
        assert_eq!(text(40_000), "max_attempts 40000 is out of range: smallint");
        assert_eq!(added(3).beside(Duration::ZERO).unwrap().max_attempts, 3);
    }
}
