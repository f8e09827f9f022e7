//! A job: its payload, its kind, the options of its kind, and when it is tried again.

use std::fmt::{Debug, Display};
use std::time::Duration;

use serde::Serialize;

use crate::effect::{Digits, Fingerprint, hex};

/// The kind of a job is its type's path.
pub(crate) fn kind_of<J: 'static>() -> &'static str {
    std::any::type_name::<J>()
}

/// `CompleteOrder` of `shop::jobs::CompleteOrder`.
pub(crate) fn short_kind(kind: &str) -> &str {
    let head = kind.split('<').next().unwrap_or(kind);
    &kind[head.rfind("::").map_or(0, |at| at + 2)..]
}

/// A job as it lies in the queue.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Job {
    /// In the order in which jobs came into the world, from 1.
    pub(crate) number: u32,
    pub(crate) kind: &'static str,
    /// JSON.
    pub(crate) payload: String,
    /// Attempts started so far.
    pub(crate) attempts: u32,
    /// Attempts that ended with an error.
    pub(crate) failures: u32,
    /// The last error.
    pub(crate) error: Option<String>,
    pub(crate) state: JobState,
    /// How often the queue has it to hand out: 1, and one more for each delivery that is to come again.
    pub(crate) copies: u32,
    /// It is dead because it could not be run at all.
    pub(crate) could_not_run: bool,
}

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum JobState {
    /// In a queue, ready to be taken.
    Ready,
    /// In the scheduled set, until its time comes.
    Scheduled,
    /// In the retry set, until its backoff is over.
    Retrying,
    /// Taken by a worker.
    Running,
    /// Its worker died; it waits for its lease to end.
    Leased,
    /// Ended well.
    Done,
    /// In the dead set: it failed too often, or could not be run at all.
    Dead,
    /// It failed in a drain, which retries nothing.
    Popped,
    /// Its worker died and the queue had already forgotten it (at-most-once delivery).
    Lost,
}

/// A job to be looked at, in a test or a report.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct JobView {
    /// In the order in which jobs came into the world, from 1.
    pub number: u32,
    /// The path of its type, or the name given where it is handled.
    pub kind: &'static str,
    /// What it carries, as JSON.
    pub payload: String,
    /// Where it is.
    pub state: JobState,
    /// Attempts started so far.
    pub attempts: u32,
    /// Attempts that ended with an error.
    pub failures: u32,
    /// The last error.
    pub error: Option<String>,
}

impl From<&Job> for JobView {
    fn from(job: &Job) -> Self {
        Self {
            number: job.number,
            kind: job.kind,
            payload: job.payload.clone(),
            state: job.state,
            attempts: job.attempts,
            failures: job.failures,
            error: job.error.clone(),
        }
    }
}

/// The id of an enqueued job: derived from its content, so the same in every run.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(u64);

impl JobId {
    /// The id of the first job with this content.
    pub(crate) fn first(kind: &str, payload: &str) -> Self {
        Self::nth(Fingerprint::of(&[kind, payload]), 0)
    }

    /// The id of a job before which so many came with the same kind and payload.
    pub(crate) fn nth(content: Fingerprint, occurrence: u32) -> Self {
        Self(content.and(Digits::of(u64::from(occurrence)).text()).digest())
    }

    fn text(&self) -> String {
        hex("", self.0, 16)
    }
}

impl Debug for JobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("JobId").field(&self.text()).finish()
    }
}

impl Serialize for JobId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl Display for JobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text())
    }
}

/// Whether a job whose worker dies is handed out again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// Leased, acknowledged when it ends, handed out again when the lease ends without.
    #[default]
    AtLeastOnce,
    /// Popped before it runs, and gone if the process dies.
    AtMostOnce,
}

/// How long a failed job waits before it is tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backoff {
    /// Sidekiq's: after failure *n* (from 0) `n⁴ + 15` seconds and up to `10·(n+1)` seconds of jitter.
    #[default]
    Sidekiq,
    /// The same each time.
    Constant(Duration),
}

impl Backoff {
    /// The wait after failure number `failure`, counted from 0. `jitter` is a number drawn for this failure.
    pub(crate) fn after(&self, failure: u32, jitter: u64) -> Duration {
        match self {
            Backoff::Constant(wait) => *wait,
            Backoff::Sidekiq => {
                let n = u64::from(failure);
                Duration::from_secs(n.saturating_pow(4).saturating_add(15) + jitter % (10 * (n + 1)))
            }
        }
    }
}

/// How often a failed job is tried again, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RetryPolicy {
    pub(crate) max_retries: u32,
    pub(crate) backoff: Backoff,
}

impl Default for RetryPolicy {
    /// Sidekiq's: 25 retries over about 20 days.
    fn default() -> Self {
        Self { max_retries: 25, backoff: Backoff::default() }
    }
}

/// What a handler may answer: nothing, or a `Result` whose error can be shown.
pub trait JobResult {
    /// The error's text, if it failed.
    ///
    /// # Errors
    /// The attempt failed; the text is what the retry set and the report show.
    fn into_result(self) -> Result<(), String>;
}

impl JobResult for () {
    fn into_result(self) -> Result<(), String> {
        Ok(())
    }
}

impl<T, E: Display> JobResult for Result<T, E> {
    fn into_result(self) -> Result<(), String> {
        // `{:#}`: anyhow and its like show the chain of causes.
        self.map(drop).map_err(|error| format!("{error:#}"))
    }
}

/// Why a job could not be run at all. It goes to the dead set with this reason; nothing else is disturbed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// No process handles its kind.
    #[error("job#{job} {kind} has no handler; register one with `p.handle(async |job: {short}| …)` in a process, or name its kind there with `.name(\"{kind}\")`", short = short_kind(kind))]
    NoHandler {
        /// The job's number.
        job: u32,
        /// Its kind.
        kind: String,
    },
    /// Its payload does not decode into the type that the handler takes.
    #[error("job#{job} {kind} does not decode: {reason}; its payload is {payload}")]
    Undecodable {
        /// The job's number.
        job: u32,
        /// Its kind.
        kind: String,
        /// What serde says, with the field.
        reason: String,
        /// The payload, as JSON.
        payload: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sidekiqs_backoff() {
        let wait = |failure, jitter| Backoff::Sidekiq.after(failure, jitter).as_secs();
        assert_eq!((wait(0, 0), wait(0, 9), wait(0, 10)), (15, 24, 15));
        assert_eq!((wait(3, 0), wait(24, 0)), (81 + 15, 331_776 + 15));
        let days: u64 = (0..25).map(|failure| wait(failure, 0)).sum::<u64>() / 86_400;
        assert_eq!(days, 20);
    }

    #[test]
    fn kinds_are_shortened_for_people() {
        assert_eq!(short_kind("shop::jobs::CompleteOrder"), "CompleteOrder");
        assert_eq!(short_kind("u32"), "u32");
        assert_eq!(short_kind("a::Wrapper<b::Inner>"), "Wrapper<b::Inner>");
    }
}
