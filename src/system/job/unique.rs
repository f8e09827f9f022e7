//! Unique jobs: which lock a job takes, for how long, by which key, and what happens if the lock is taken.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{JobError, kind_of};

/// Maps a payload to a key, as JSON, or to `None` if the job has no key.
pub(crate) type KeyOf = Arc<dyn Fn(&str) -> Option<Box<str>> + Send + Sync>;

/// Turns a function of jobs into one of payloads. A payload that does not decode has no key, because the job does not
/// run anyway.
pub(crate) fn key_of<J, K>(key: impl Fn(&J) -> Option<K> + Send + Sync + 'static) -> KeyOf
where
    J: DeserializeOwned + 'static,
    K: Serialize,
{
    Arc::new(move |payload| {
        let key = key(&serde_json::from_str(payload).ok()?)?;
        let text = serde_json::to_string(&key);
        let text = text.unwrap_or_else(|error| {
            panic!("the key of a {} cannot be written as JSON: {error}", kind_of::<J>())
        });
        Some(text.into())
    })
}

/// The time during which a job holds its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockKind {
    UntilExecuting,
    UntilExecuted,
    UntilExpired,
    WhileExecuting,
    UntilAndWhileExecuting,
}

impl LockKind {
    /// Reports whether the lock is taken when the job is enqueued.
    pub(crate) fn is_taken_at_enqueue(self) -> bool {
        self != LockKind::WhileExecuting
    }

    /// Reports whether a lock is taken when an attempt begins, and released when it ends.
    pub(crate) fn is_taken_to_run(self) -> bool {
        matches!(self, LockKind::WhileExecuting | LockKind::UntilAndWhileExecuting)
    }
}

/// The fate of a job if another job holds its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Conflict {
    /// The job is dropped. The enqueuing call returns the id of the existing job.
    Drop,
    /// The enqueuing call fails with [`EnqueueError::Locked`](crate::job::EnqueueError::Locked). An attempt fails with
    /// [`LockTaken`] and is retried like any other failure.
    Raise,
    /// The job goes to the dead set. This is not a failure, so death handlers are not called.
    Reject,
    /// The job replaces the other one. If the other one waits, it is withdrawn. If it runs, it loses its lock. Not
    /// available for a lock that is taken when an attempt begins.
    Replace,
    /// The job goes to the back of the queue and tries again after this time.
    Reschedule(Duration),
    /// The attempt waits in its slot until the lock is released or expires. Only for a lock that is taken when an
    /// attempt begins. A job whose process died keeps its lock, and needs a slot to run again and release it: if the
    /// attempts that wait for it fill all slots and the lock has no time to live, the world is stuck.
    Wait,
}

/// Makes the jobs of a kind unique. Each key has a lock. The lock has an owner (the job) and may have a time to live.
///
/// The key is computed from the job. `None` means that this job has no key and takes no lock. Keys of different kinds
/// are different. Locks are durable: if a process dies, its lock stays until its time to live is over. Without a time
/// to live it stays forever, unless its job is redelivered and releases it.
///
/// ```
/// use std::time::Duration;
/// use retryproof::{Conflict, Unique, World};
///
/// #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// struct Refresh {
///     feed: u32,
///     forced: bool,
/// }
///
/// let world = World::fake();
/// world.process("worker", |p| {
///     let key = |job: &Refresh| (!job.forced).then_some(job.feed);
///     let hour = Duration::from_secs(3_600);
///     p.handle(async |_: Refresh| ()).unique(Unique::until_executed(key).ttl(hour).on_conflict(Conflict::Drop));
/// });
/// let first = world.enqueue(Refresh { feed: 1, forced: false });
/// assert_eq!(world.enqueue(Refresh { feed: 1, forced: false }), first);
/// world.enqueue(Refresh { feed: 2, forced: false });
/// world.enqueue(Refresh { feed: 1, forced: true });
/// assert_eq!(world.jobs::<Refresh>().len(), 3);
/// ```
#[derive(Clone)]
#[must_use = "pass it to `p.handle(…).unique(…)`"]
pub struct Unique {
    pub(crate) lock: LockKind,
    /// The kind from whose jobs the key is computed.
    pub(crate) of: &'static str,
    pub(crate) key: KeyOf,
    pub(crate) ttl: Option<Duration>,
    pub(crate) on_conflict: Conflict,
    pub(crate) when_busy: Conflict,
    /// Whether only the owner can release the lock.
    pub(crate) owned: bool,
}

impl fmt::Debug for Unique {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unique")
            .field("lock", &self.lock)
            .field("of", &self.of)
            .field("ttl", &self.ttl)
            .field("on_conflict", &self.on_conflict)
            .field("when_busy", &self.when_busy)
            .finish_non_exhaustive()
    }
}

impl Unique {
    fn new<J, K>(lock: LockKind, key: impl Fn(&J) -> Option<K> + Send + Sync + 'static) -> Self
    where
        J: DeserializeOwned + 'static,
        K: Serialize,
    {
        let (of, key) = (kind_of::<J>(), key_of(key));
        let (on_conflict, when_busy) = (Conflict::Drop, Conflict::Wait);
        Self { lock, of, key, ttl: None, on_conflict, when_busy, owned: true }
    }

    /// Holds the lock from the enqueue until the first attempt begins: at most one job waits. A second one may be
    /// enqueued while the first one runs or waits for a retry.
    pub fn until_executing<J, K>(key: impl Fn(&J) -> Option<K> + Send + Sync + 'static) -> Self
    where
        J: DeserializeOwned + 'static,
        K: Serialize,
    {
        Self::new(LockKind::UntilExecuting, key)
    }

    /// Holds the lock from the enqueue until the job is over: it succeeded, is dead or was given up. A retry keeps
    /// the lock.
    pub fn until_executed<J, K>(key: impl Fn(&J) -> Option<K> + Send + Sync + 'static) -> Self
    where
        J: DeserializeOwned + 'static,
        K: Serialize,
    {
        Self::new(LockKind::UntilExecuted, key)
    }

    /// Holds the lock from the enqueue for this time, regardless of what happens to the job: at most one job in that
    /// time.
    pub fn until_expired<J, K>(ttl: Duration, key: impl Fn(&J) -> Option<K> + Send + Sync + 'static) -> Self
    where
        J: DeserializeOwned + 'static,
        K: Serialize,
    {
        Self::new(LockKind::UntilExpired, key).ttl(ttl)
    }

    /// Holds the lock while an attempt runs: any number of jobs may wait, and one runs at a time. By default the
    /// others wait in their slots ([`Conflict::Wait`]), so these slots cannot run other jobs.
    /// [`Conflict::Reschedule`] does not block slots.
    pub fn while_executing<J, K>(key: impl Fn(&J) -> Option<K> + Send + Sync + 'static) -> Self
    where
        J: DeserializeOwned + 'static,
        K: Serialize,
    {
        Self::new(LockKind::WhileExecuting, key)
    }

    /// Both [`Unique::until_executing`] and [`Unique::while_executing`]: one job waits and one runs at a time.
    pub fn until_and_while_executing<J, K>(key: impl Fn(&J) -> Option<K> + Send + Sync + 'static) -> Self
    where
        J: DeserializeOwned + 'static,
        K: Serialize,
    {
        Self::new(LockKind::UntilAndWhileExecuting, key)
    }

    /// Sets the time to live of a lock that is not released, in virtual time. It starts when the job is due or the
    /// attempt begins. Defaults to no limit, so a lock that a crash leaves behind blocks other jobs forever.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Sets what happens to a job if the lock is taken when it is enqueued. For a lock that is taken only when an
    /// attempt begins, sets what happens then. Defaults to [`Conflict::Drop`] at the enqueue and to
    /// [`Conflict::Wait`] when an attempt begins.
    pub fn on_conflict(mut self, conflict: Conflict) -> Self {
        match self.lock {
            LockKind::WhileExecuting => self.when_busy = conflict,
            _ => self.on_conflict = conflict,
        }
        self
    }

    /// Sets what happens to a job that is about to run while another one runs. Defaults to [`Conflict::Wait`].
    pub fn when_busy(mut self, conflict: Conflict) -> Self {
        self.when_busy = conflict;
        self
    }

    /// Models a faulty lock that has no owner: any job that ends releases it, even a job that never got it. For tests
    /// of the consequences.
    pub fn without_owner(mut self) -> Self {
        self.owned = false;
        self
    }

    /// Describes what is wrong with the options, if anything is.
    pub(crate) fn mistake(&self, kind: &str) -> Option<String> {
        let (at_enqueue, to_run) = (self.lock.is_taken_at_enqueue(), self.lock.is_taken_to_run());
        if self.of != kind {
            return Some(format!("computes its key from a {}; give it a function over a {kind}", self.of));
        }
        if self.ttl == Some(Duration::ZERO) {
            return Some("has a time to live of zero; make it longer, or leave it out".to_owned());
        }
        if at_enqueue && self.on_conflict == Conflict::Wait {
            return Some(
                "waits at the enqueue, where there is no slot to wait in; use another `Conflict`".to_owned(),
            );
        }
        if to_run && self.when_busy == Conflict::Replace {
            return Some("replaces a running job; use another `Conflict` for `when_busy`".to_owned());
        }
        if !to_run && self.when_busy != Conflict::Wait {
            return Some(
                "sets `when_busy`, but its lock is not taken when an attempt begins; use `on_conflict`"
                    .to_owned(),
            );
        }
        None
    }
}

/// Another job holds the lock.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {kind} holds the lock {key} already: {holder}")]
#[non_exhaustive]
pub struct LockTaken {
    /// The kind of both jobs.
    pub kind: String,
    /// The key of the lock, as JSON.
    pub key: String,
    /// The holder: `job#1, running`.
    pub holder: String,
}

/// The fate of an attempt that did not run because of a lock.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    Drop,
    Reject(LockTaken),
    PutBack(Duration, LockTaken),
    CannotRun(JobError),
}
