//! What a job may have by itself that others have by their kind, or not at all.

/// From the payload of a job that waits, and that of the one which takes its place, to the payload that it then has.
type Merge = fn(&str, &str) -> String;

/// What one job has, and its kind does not say.
#[derive(Clone, Debug, Default)]
pub(crate) struct JobOverrides {
    pub(crate) max_retries: Option<u32>,
    pub(crate) key: Option<JobKey>,
    pub(crate) serial: Option<Box<str>>,
}

/// A key under which there is one job at a time, as a table of jobs has it by a unique column: it is looked up and the job
/// put in in one step, so that there is no moment in between in which to die.
///
/// It guards only as long as the job is there: one that has ended well is gone, and its key with it.
/// ([`NewJob::deduplicate`](crate::NewJob::deduplicate) is for ever.)
///
/// ```
/// use std::time::Duration;
/// use retryproof::{NewJob, JobKey, RawAttempt, World};
///
/// let world = World::fake();
/// world.process("worker", |p| {
///     p.handle_raw("send_mail", async |attempt: RawAttempt| assert_eq!(attempt.job.payload, "\"you\""));
/// });
/// let mail = |to| NewJob::named("send_mail", format!("\"{to}\"")).key(JobKey::replacing("mail"));
/// let mut first = mail("me");
/// first.delay = Duration::from_secs(60);
/// let first = world.enqueue_new(first);
/// // The job that waits is this one from now on.
/// assert_eq!(world.enqueue_new(mail("you")), first);
/// assert_eq!(world.drain_all().run().unwrap().succeeded, 1);
/// ```
#[derive(Clone, Debug)]
pub struct JobKey {
    pub(crate) key: Box<str>,
    pub(crate) mode: KeyMode,
    pub(crate) merge: Option<Merge>,
}

/// What becomes of the job that has the key already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyMode {
    Replace,
    KeepTime,
    Leave,
}

impl JobKey {
    fn new(key: impl Into<Box<str>>, mode: KeyMode) -> Self {
        Self { key: key.into(), mode, merge: None }
    }

    /// One that waits is turned into the new job, time and all, and has not failed yet. One that runs loses the key, and is
    /// tried no more: the new job stands beside it. So does it beside a dead one.
    pub fn replacing(key: impl Into<Box<str>>) -> Self {
        Self::new(key, KeyMode::Replace)
    }

    /// As [`JobKey::replacing`], but one that waits for its first attempt keeps its time.
    pub fn keeping_time(key: impl Into<Box<str>>) -> Self {
        Self::new(key, KeyMode::KeepTime)
    }

    /// The new job is dropped, whether the one that is there waits, runs or is dead.
    pub fn leaving(key: impl Into<Box<str>>) -> Self {
        Self::new(key, KeyMode::Leave)
    }

    /// How the payload of a job that is turned into a new one is made of both: of the one that it has and of the new one,
    /// in this order. The new one alone, unless told.
    #[must_use]
    pub fn merging(self, merge: fn(&str, &str) -> String) -> Self {
        Self { merge: Some(merge), ..self }
    }
}
