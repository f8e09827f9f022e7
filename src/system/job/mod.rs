//! A job: its payload, its kind, the options of its kind, and when it is tried again.

mod history;
mod ordered;
mod raw;
mod request;
mod retry;
mod unique;

mod failure;

pub use ordered::Ordered;
pub use raw::JobKey;
pub use unique::{Conflict, LockTaken, Unique};

pub use failure::{Failed, JobFailure};
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

/// The kind of a job is its type's path.
pub(crate) fn kind_of<J: 'static>() -> &'static str {
    std::any::type_name::<J>()
}

/// `CompleteOrder` of `shop::jobs::CompleteOrder`.
pub(crate) fn short_kind(kind: &str) -> &str {
    // Of a tuple, a slice or a reference the last path is only a part.
    if !kind.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
        return kind;
    }
    let head = kind.split('<').next().unwrap_or(kind);
    &kind[head.rfind("::").map_or(0, |at| at + 2)..]
}

/// A job as it lies in the queue.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Job {
    /// In the order in which jobs came into the world, from 1.
    pub(crate) number: u32,
    /// Attempts started so far.
    pub(crate) attempts: u32,
    pub(crate) kind: &'static str,
    /// JSON.
    pub(crate) payload: Box<str>,
    pub(crate) id: JobId,
    /// What has gone wrong with it, if anything has, and what it carries beside its payload.
    pub(crate) extras: Option<Box<JobExtras>>,
    /// When it is due, or since when it has been ready.
    pub(crate) at: Duration,
    /// Its place among those that are ready or due at the same time.
    pub(crate) turn: u64,
    /// The job that enqueued it; 0: none did.
    pub(crate) parent: u32,
    /// The first in the chain of parents: itself, if it has none.
    pub(crate) root: u32,
    /// How long the chain of parents is.
    pub(crate) depth: u32,
    pub(crate) state: JobState,
    /// It is dead because it could not be run at all.
    pub(crate) could_not_run: bool,
    /// How often the queue has it to hand out: 1, and one more for each delivery that is to come again.
    pub(crate) copies: u8,
    pub(crate) history: History,
}

/// What few jobs have: what has gone wrong with it, and what it carries beside its payload.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct JobExtras {
    /// Attempts that ended with an error.
    pub(crate) failures: u32,
    /// The last error.
    pub(crate) error: Option<String>,
    /// When it first failed.
    pub(crate) since: Option<Duration>,
    /// How often it came to the dead set or was given up, and how often death handlers were to hear of it and did.
    pub(crate) deaths: u32,
    pub(crate) deaths_told: u32,
    /// How often it was interrupted, which is no failure.
    pub(crate) interruptions: u32,
    /// It is in the dead set because another job had its lock, which is no failure either.
    pub(crate) rejected: bool,
    /// What enqueue layers have given it on its way, as a JSON object.
    pub(crate) context: Option<Box<str>>,
    /// How far an iterable job has come, as JSON.
    pub(crate) cursor: Option<Box<str>>,
    /// How often it is tried again, if that is its own affair and not its kind's.
    pub(crate) max_retries: Option<u32>,
    /// Another job has its key now: it is not tried again.
    pub(crate) superseded: bool,
    /// The payload with which it came, if it was turned into another one since.
    pub(crate) came_as: Option<Box<str>>,
    /// It is a call by a client, and what that does.
    pub(crate) request: Option<Box<Request>>,
}

impl Job {
    /// Attempts that ended with an error.
    pub(crate) fn failures(&self) -> u32 {
        self.extras.as_ref().map_or(0, |extras| extras.failures)
    }

    /// The last error.
    pub(crate) fn error(&self) -> Option<&str> {
        self.extras.as_ref().and_then(|extras| extras.error.as_deref())
    }

    /// What it carries beside its payload.
    pub(crate) fn context(&self) -> Option<&str> {
        self.extras.as_ref().and_then(|extras| extras.context.as_deref())
    }

    /// How far it has come, if it is an iterable job.
    pub(crate) fn cursor(&self) -> Option<&str> {
        self.extras.as_ref().and_then(|extras| extras.cursor.as_deref())
    }

    /// The payload with which it came into the world.
    pub(crate) fn came_as(&self) -> &str {
        self.extras.as_ref().and_then(|extras| extras.came_as.as_deref()).unwrap_or(&self.payload)
    }

    pub(crate) fn extras(&mut self) -> &mut JobExtras {
        self.extras.get_or_insert_default()
    }
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
    /// Ready, but not the first of its stream: it waits for those before it.
    Blocked,
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
    /// It failed and was given up without a place in the dead set.
    Discarded,
    /// The test cleared it out of the queue.
    Cleared,
    /// It was in the dead set until that grew past its limits.
    Forgotten,
    /// It was about to run, and another job had its lock: dropped.
    Dropped,
    /// Another job with the same lock came, and took its place.
    Replaced,
}

impl JobState {
    /// Whether there is a time at which the job is ready.
    pub(crate) fn waits_for_its_time(self) -> bool {
        matches!(self, Self::Scheduled | Self::Retrying | Self::Leased)
    }

    /// Whether the queue still has the job: it waits, or it runs.
    pub(crate) fn is_under_way(self) -> bool {
        self.is_waiting() || self == Self::Running
    }

    /// Whether the job waits to be run.
    pub(crate) fn is_waiting(self) -> bool {
        matches!(self, Self::Ready | Self::Blocked) || self.waits_for_its_time()
    }
}

/// A job to be looked at, in a test or a report.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct JobView {
    /// In the order in which jobs came into the world, from 1.
    pub number: u32,
    /// The id that whoever enqueued it was told: the same at each of its deliveries, and in every run.
    #[serde(skip)]
    pub id: JobId,
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
    /// When it is due, since the world began, if it waits for its time.
    pub due: Option<Duration>,
    /// What the layers around its enqueue have put beside its payload, as a JSON object.
    pub context: Option<String>,
    /// How far it has come, as JSON, if it is an iterable job that has saved its cursor.
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

/// The id of an enqueued job: derived from its content, so the same in every run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// What a handler may answer: nothing, or a `Result` whose error can be shown.
pub trait JobResult {
    /// The error's text, if it failed.
    ///
    /// # Errors
    /// The attempt failed; the text is what the retry set and the report show.
    fn into_result(self) -> Result<(), JobFailure>;
}

impl JobResult for () {
    fn into_result(self) -> Result<(), JobFailure> {
        Ok(())
    }
}

/// What never returns, as `loop {}` does: the type `!`, which has no name of its own in stable Rust, but is the output of
/// a function type that may be written.
pub trait Returns {
    /// What it returns.
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
    /// A process handles its kind, but no process serves the queue it lies in.
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
    /// It met a lock that names no owner, so that nobody can tell whether it will ever be given back.
    #[error(
        "job#{job} {kind} meets the lock {key}, whose field `owner` is missing: nobody can tell whether it will ever be given back; delete that lock, and have each one name its owner"
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
