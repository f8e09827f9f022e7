//! A job: its payload, its kind, the options of its kind, and its retries.

mod history;
mod raw;
mod request;
mod retry;
mod unique;
mod ordered;
mod failure;

pub use ordered::Ordered;
pub use raw::JobKey;
pub use unique::{Conflict, LockTaken, Unique};

pub use failure::{FailedAttempt, JobFailure};
pub use retry::{Backoff, BackoffFunction, Decision};

pub(crate) use failure::Cause;
pub(crate) use history::History;
pub(crate) use raw::{JobOverrides, KeyMode};
pub(crate) use request::{CLIENT_PAUSE, Request};
pub(crate) use retry::RetryPolicy;
pub(crate) use unique::{KeyOf, LockKind, Refusal};

use std::fmt::{Debug, Display};
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::system::effect::{Digits, Fingerprint, hex};

/// The kind of a job is the path of its type.
pub(crate) fn kind_of<J: 'static>() -> &'static str {
    std::any::type_name::<J>()
}

/// Shortens `shop::jobs::CompleteOrder` to `CompleteOrder`.
pub(crate) fn short_kind(kind: &str) -> &str {
    // For a tuple, a slice or a reference the last path is only a part of the type.
    if !kind.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
        return kind;
    }
    let head = kind.split('<').next().unwrap_or(kind);
    &kind[head.rfind("::").map_or(0, |at| at + 2)..]
}

/// A job in the queue.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Job {
    /// The position in the order in which jobs entered the world, from 1.
    pub(crate) number: u32,
    /// The number of attempts started so far.
    pub(crate) attempts: u32,
    pub(crate) kind: &'static str,
    /// JSON.
    pub(crate) payload: Box<str>,
    pub(crate) id: JobId,
    /// Data about failures and data beside the payload, if there is any.
    pub(crate) extras: Option<Box<JobExtras>>,
    /// The time at which it is due, or since which it has been ready.
    pub(crate) at: Duration,
    /// Its position among the jobs that are ready or due at the same time.
    pub(crate) turn: u64,
    /// The job that enqueued it, or 0 if no job did.
    pub(crate) parent: u32,
    /// The first job in the chain of parents: itself, if it has no parent.
    pub(crate) root: u32,
    /// The length of the chain of parents.
    pub(crate) depth: u32,
    pub(crate) state: JobState,
    /// Whether it is dead because it could not run.
    pub(crate) could_not_run: bool,
    /// The number of deliveries that the queue has left: 1, plus one for each redelivery.
    pub(crate) copies: u8,
    pub(crate) history: History,
}

/// Data that few jobs have: about failures, and beside the payload.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct JobExtras {
    /// The number of attempts that ended with an error.
    pub(crate) failures: u32,
    /// The last error.
    pub(crate) error: Option<String>,
    /// The time of the first failure.
    pub(crate) since: Option<Duration>,
    /// The number of times that the job became dead or was given up, and the number of times that death handlers were
    /// notified.
    pub(crate) deaths: u32,
    pub(crate) deaths_told: u32,
    /// The number of interruptions, which are not failures.
    pub(crate) interruptions: u32,
    /// Whether it is in the dead set because another job had its lock. This is not a failure either.
    pub(crate) rejected: bool,
    /// Data that enqueue layers have attached, as a JSON object.
    pub(crate) context: Option<Box<str>>,
    /// The progress of an iterable job, as JSON.
    pub(crate) cursor: Option<Box<str>>,
    /// The maximum number of retries, if the job has its own limit.
    pub(crate) max_retries: Option<u32>,
    /// Whether another job has taken over its key. Then it is not retried.
    pub(crate) superseded: bool,
    /// The original payload, if it has been replaced since.
    pub(crate) came_as: Option<Box<str>>,
    /// It is a call by a client, and what that does.
    pub(crate) request: Option<Box<Request>>,
}

impl Job {
    /// The number of attempts that ended with an error.
    pub(crate) fn failures(&self) -> u32 {
        self.extras.as_ref().map_or(0, |extras| extras.failures)
    }

    /// The last error.
    pub(crate) fn error(&self) -> Option<&str> {
        self.extras.as_ref().and_then(|extras| extras.error.as_deref())
    }

    /// The data beside its payload.
    pub(crate) fn context(&self) -> Option<&str> {
        self.extras.as_ref().and_then(|extras| extras.context.as_deref())
    }

    /// The progress of an iterable job.
    pub(crate) fn cursor(&self) -> Option<&str> {
        self.extras.as_ref().and_then(|extras| extras.cursor.as_deref())
    }

    /// The original payload.
    pub(crate) fn came_as(&self) -> &str {
        self.extras.as_ref().and_then(|extras| extras.came_as.as_deref()).unwrap_or(&self.payload)
    }

    pub(crate) fn extras(&mut self) -> &mut JobExtras {
        self.extras.get_or_insert_default()
    }
}

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum JobState {
    /// In a queue, ready for a worker.
    Ready,
    /// In the scheduled set until it is due.
    Scheduled,
    /// In the retry set until its backoff has passed.
    Retrying,
    /// Ready, but not the first of its stream. It waits for the jobs before it.
    Blocked,
    /// A worker runs it.
    Running,
    /// Its worker died. It waits for its lease to end.
    Leased,
    /// Succeeded.
    Done,
    /// In the dead set: it failed too often or could not run.
    Dead,
    /// It failed in a drain, which does not retry.
    Popped,
    /// Its worker died after the queue had already removed it (at-most-once delivery).
    Lost,
    /// It failed and was given up, without a place in the dead set.
    Discarded,
    /// The test cleared it from the queue.
    Cleared,
    /// It was in the dead set until the set exceeded its limits.
    Forgotten,
    /// It was dropped because another job had its lock when it was about to run.
    Dropped,
    /// Another job with the same lock replaced it.
    Replaced,
}

impl JobState {
    /// Reports whether the job becomes ready at a known time.
    pub(crate) fn waits_for_its_time(self) -> bool {
        matches!(self, Self::Scheduled | Self::Retrying | Self::Leased)
    }

    /// Whether the queue still has the job: it waits, or it runs.
    pub(crate) fn is_under_way(self) -> bool {
        self.is_waiting() || self == Self::Running
    }

    /// Reports whether the job waits to run.
    pub(crate) fn is_waiting(self) -> bool {
        matches!(self, Self::Ready | Self::Blocked) || self.waits_for_its_time()
    }
}

/// A snapshot of a job, for a test or a report.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct JobView {
    /// The position in the order in which jobs entered the world, from 1.
    pub number: u32,
    /// The id that the enqueuing call returned. It is the same at each delivery and in every run.
    #[serde(skip)]
    pub id: JobId,
    /// The path of its type, or the name under which its handler is registered.
    pub kind: &'static str,
    /// The payload, as JSON.
    pub payload: String,
    /// The state of the job.
    pub state: JobState,
    /// The number of attempts started so far.
    pub attempts: u32,
    /// The number of attempts that ended with an error.
    pub failures: u32,
    /// The last error.
    pub error: Option<String>,
    /// The time since the world began at which it is due, if it waits for a time.
    pub due: Option<Duration>,
    /// Data that enqueue layers have attached beside the payload, as a JSON object.
    pub context: Option<String>,
    /// The progress of an iterable job that has saved its cursor, as JSON.
    pub cursor: Option<String>,
}

impl From<&Job> for JobView {
    fn from(job: &Job) -> Self {
        Self {
            number: job.number,
            id: job.id,
            kind: job.kind,
            payload: job.payload.to_string(),
            state: job.state,
            attempts: job.attempts,
            failures: job.failures(),
            error: job.error().map(str::to_owned),
            due: job.state.waits_for_its_time().then_some(job.at),
            context: job.context().map(str::to_owned),
            cursor: job.cursor().map(str::to_owned),
        }
    }
}

/// The id of an enqueued job. It derives from the content, so it is the same in every run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(u64);

impl JobId {
    /// The id of the first job with this content.
    pub(crate) fn first(kind: &str, payload: &str) -> Self {
        Self::nth(Fingerprint::of(&[kind, payload]), 0)
    }

    /// The id of a job that comes after `occurrence` jobs with the same kind and payload.
    pub(crate) fn nth(content: Fingerprint, occurrence: u32) -> Self {
        Self(content.and(Digits::of(u64::from(occurrence)).text()).digest())
    }

    fn text(self) -> String {
        hex("", self.0, 16)
    }
}

impl Debug for JobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("JobId").field(&self.text()).finish()
    }
}

impl Serialize for JobId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl Display for JobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text())
    }
}

/// Whether a job is redelivered when its worker dies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// The job is leased and acknowledged when it ends. If the lease ends first, the job is redelivered.
    #[default]
    AtLeastOnce,
    /// The job is removed from the queue before it runs, and is lost if the process dies.
    AtMostOnce,
}

/// The return type of a handler: `()`, or a `Result` whose error implements `Display`.
pub trait JobResult {
    /// Converts the return value.
    ///
    /// # Errors
    /// If the attempt failed. The retry set and the report show the text of the failure.
    fn into_result(self) -> Result<(), JobFailure>;
}

impl JobResult for () {
    fn into_result(self) -> Result<(), JobFailure> {
        Ok(())
    }
}

/// The return type of a function that never returns, such as `loop {}`: the type `!`. It has no name in stable Rust,
/// but it is the output of a function type that can be written.
pub trait Returns {
    /// The return type.
    type Output;
}

impl<T> Returns for fn() -> T {
    type Output = T;
}

impl JobResult for <fn() -> ! as Returns>::Output {
    fn into_result(self) -> Result<(), JobFailure> {
        match self {}
    }
}

impl<T, E: Display + 'static> JobResult for Result<T, E> {
    fn into_result(self) -> Result<(), JobFailure> {
        self.map(drop).map_err(JobFailure::new)
    }
}

/// The reason why a job could not run. The job goes to the dead set with this reason. Other jobs are not affected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// No process handles the kind.
    #[error("job#{job} {kind} has no handler; register one with `p.handle(async |job: {short}| …)` in a process, or name its kind there with `.name(\"{kind}\")`", short = short_kind(kind))]
    NoHandler {
        /// The job's number.
        job: u32,
        /// Its kind.
        kind: String,
    },
    /// A service calls back with a request that no process handles.
    #[error("the webhook {kind} of the service `{service}` (job#{job}) has no handler; register one with `p.handle(async |webhook: {short}| …)` in a process", short = short_kind(kind))]
    NobodyCalledBack {
        /// The number of the webhook.
        job: u32,
        /// Its kind.
        kind: String,
        /// The service.
        service: crate::search::choice::Name,
    },
    /// A process handles the kind, but no process serves the job's queue.
    #[error(
        "job#{job} {kind} lies in the queue `{queue}`, which no process serves; add it to the `p.queues([…])` of a process that handles this kind"
    )]
    NotServed {
        /// The job's number.
        job: u32,
        /// Its kind.
        kind: String,
        /// The queue of its kind.
        queue: crate::search::choice::Name,
    },
    /// The payload does not decode into the type that the handler takes.
    #[error("job#{job} {kind} does not decode: {reason}; its payload is {payload}")]
    Undecodable {
        /// The job's number.
        job: u32,
        /// Its kind.
        kind: String,
        /// The message of serde, with the field.
        reason: String,
        /// The payload, as JSON.
        payload: String,
    },
    /// The job needs a lock that names no owner, so it is unknown whether the lock will ever be released.
    #[error(
        "job#{job} {kind} meets the lock {key}, whose field `owner` is missing, so it may never be released; delete that lock, and name an owner in each lock"
    )]
    LockWithoutOwner {
        /// The job's number.
        job: u32,
        /// Its kind.
        kind: String,
        /// The key of the lock, as JSON.
        key: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_shortened_for_people() {
        assert_eq!(short_kind("shop::jobs::CompleteOrder"), "CompleteOrder");
        assert_eq!(short_kind("u32"), "u32");
        assert_eq!(short_kind("(alloc::string::String, u32)"), "(alloc::string::String, u32)");
        assert_eq!(short_kind("a::Wrapper<b::Inner>"), "Wrapper<b::Inner>");
    }
}
