//! Options that a single job may override.

/// Maps the payloads of the waiting job and of the job that replaces it to the payload of the result.
type Merge = fn(&str, &str) -> String;

/// Options of one job that its kind does not have.
#[derive(Clone, Debug, Default)]
pub(crate) struct JobOverrides {
    pub(crate) max_retries: Option<u32>,
    pub(crate) key: Option<JobKey>,
    pub(crate) serial: Option<Box<str>>,
}

/// A key that at most one job has at a time, like a unique column in a table of jobs. The look-up and the insertion
/// are one step, so there is no window for a crash between them.
///
/// The key protects only as long as the job exists. A job that succeeds is removed, and its key with it.
/// ([`NewJob::deduplicate`](crate::job::NewJob::deduplicate) never expires.)
///
/// ```
/// use std::time::Duration;
/// use retryproof::adapter::{JobKey, RawAttempt};
/// use retryproof::job::NewJob;
/// use retryproof::World;
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

/// The fate of the job that already has the key.
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

    /// A waiting job becomes the new job, including its time, and its failures are reset. A running job loses the key
    /// and is not retried; the new job is added beside it. The new job is also added beside a dead one.
    pub fn replacing(key: impl Into<Box<str>>) -> Self {
        Self::new(key, KeyMode::Replace)
    }

    /// Like [`JobKey::replacing`], but a job that waits for its first attempt keeps its time.
    pub fn keeping_time(key: impl Into<Box<str>>) -> Self {
        Self::new(key, KeyMode::KeepTime)
    }

    /// Drops the new job if a job with the key waits, runs or is dead.
    pub fn leaving(key: impl Into<Box<str>>) -> Self {
        Self::new(key, KeyMode::Leave)
    }

    /// Sets how the payloads of the existing and the new job (in this order) are merged when a job is replaced.
    /// Defaults to the new payload.
    #[must_use]
    pub fn merging(self, merge: fn(&str, &str) -> String) -> Self {
        Self { merge: Some(merge), ..self }
    }
}
