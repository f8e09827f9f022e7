//! Unique jobs: which lock a job takes, for how long, by which key, and what becomes of one that finds it taken.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{JobError, kind_of};

/// From a payload to a key, as JSON; none where the job has none.
pub(crate) type KeyOf = Arc<dyn Fn(&str) -> Option<Box<str>> + Send + Sync>;

/// A function over jobs as one over payloads. A payload that does not decode has no key: the job is not run anyway.
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

/// While a job holds the lock, what is kept out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockKind {
    UntilExecuting,
    UntilExecuted,
    UntilExpired,
    WhileExecuting,
    UntilAndWhileExecuting,
}

impl LockKind {
    /// Whether it is taken when the job is enqueued.
    pub(crate) fn is_taken_at_enqueue(self) -> bool {
        self != LockKind::WhileExecuting
    }

    /// Whether one is taken when an attempt begins, and given back when it ends.
    pub(crate) fn is_taken_to_run(self) -> bool {
        matches!(self, LockKind::WhileExecuting | LockKind::UntilAndWhileExecuting)
    }
}

/// What becomes of a job that finds its lock taken by another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Conflict {
    /// It is dropped. Who enqueues it gets the id of the job that is there already.
    Drop,
    /// Who enqueues it gets [`EnqueueError::Locked`](crate::EnqueueError::Locked); an attempt fails with [`LockTaken`],
    /// and is tried again like any that fails.
    Raise,
    /// It goes to the dead set. It has not failed: death handlers do not hear of it.
    Reject,
    /// It takes the place of the other one, which is withdrawn if it still waits, and loses its lock if it runs. Not for
    /// a lock that is taken to run.
    Replace,
    /// It goes to the back of the queue, and tries again after this time.
    Reschedule(Duration),
    /// The attempt waits in its slot until the lock is given back or expires. Only for a lock that is taken to run.
    Wait,
}

/// Makes jobs of a kind unique: a lock for each key, which has an owner, the job, and may have a time to live.
///
/// The key is computed from the job; `None` means that this job has no key, and so no lock. Keys of different kinds are
/// different. Locks are durable: that of a process which dies stays until its time to live is over, and without one for
/// ever, unless its job comes again and gives it back.
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
    /// Whether only its owner gives a lock back.
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

    /// From its enqueue until it first begins to run: one waits at a time. A second one may come in while the first
    /// runs, or waits to be tried again.
    pub fn until_executing<J, K>(key: impl Fn(&J) -> Option<K> + Send + Sync + 'static) -> Self
    where
        J: DeserializeOwned + 'static,
        K: Serialize,
    {
        Self::new(LockKind::UntilExecuting, key)
    }

    /// From its enqueue until it is over: it ended well, is dead or was given up. A retry keeps the lock.
    pub fn until_executed<J, K>(key: impl Fn(&J) -> Option<K> + Send + Sync + 'static) -> Self
    where
        J: DeserializeOwned + 'static,
        K: Serialize,
    {
        Self::new(LockKind::UntilExecuted, key)
    }

    /// From its enqueue for so long, whatever becomes of it: at most one in that time.
    pub fn until_expired<J, K>(ttl: Duration, key: impl Fn(&J) -> Option<K> + Send + Sync + 'static) -> Self
    where
        J: DeserializeOwned + 'static,
        K: Serialize,
    {
        Self::new(LockKind::UntilExpired, key).ttl(ttl)
    }

    /// While an attempt runs: any number may wait, one runs at a time. Unless told, the others wait in their slots
    /// ([`Conflict::Wait`]), which keeps other jobs out of these; [`Conflict::Reschedule`] does not.
    pub fn while_executing<J, K>(key: impl Fn(&J) -> Option<K> + Send + Sync + 'static) -> Self
    where
        J: DeserializeOwned + 'static,
        K: Serialize,
    {
        Self::new(LockKind::WhileExecuting, key)
    }

    /// Both [`Unique::until_executing`] and [`Unique::while_executing`]: one waits and one runs at a time.
    pub fn until_and_while_executing<J, K>(key: impl Fn(&J) -> Option<K> + Send + Sync + 'static) -> Self
    where
        J: DeserializeOwned + 'static,
        K: Serialize,
    {
        Self::new(LockKind::UntilAndWhileExecuting, key)
    }

    /// How long a lock lives that nobody gives back, in virtual time: from when the job is due, or the attempt began. For
    /// ever unless told, and then a lock that a crash has left behind keeps others out for ever.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// What becomes of a job that finds the lock taken: when it is enqueued, or where the lock is only taken to run, when
    /// it is about to. Unless told it is dropped ([`Conflict::Drop`]), or waits to run ([`Conflict::Wait`]).
    pub fn on_conflict(mut self, conflict: Conflict) -> Self {
        match self.lock {
            LockKind::WhileExecuting => self.when_busy = conflict,
            _ => self.on_conflict = conflict,
        }
        self
    }

    /// What becomes of a job that is about to run and finds that another one runs. [`Conflict::Wait`] unless told.
    pub fn when_busy(mut self, conflict: Conflict) -> Self {
        self.when_busy = conflict;
        self
    }

    /// Models the faulty lock that knows no owner: whoever ends gives back whatever lock is there, one that never got it
    /// among them. For tests of what comes of that.
    pub fn without_owner(mut self) -> Self {
        self.owned = false;
        self
    }

    /// What makes no sense in it, if anything does.
    pub(crate) fn mistake(&self, kind: &str) -> Option<String> {
        let (at_enqueue, to_run) = (self.lock.is_taken_at_enqueue(), self.lock.is_taken_to_run());
        if self.of != kind {
            return Some(format!("computes its key from a {}; give it a function over a {kind}", self.of));
        }
        if self.ttl == Some(Duration::ZERO) {
            return Some("has a time to live of nothing; give it one, or none at all".to_owned());
        }
        if at_enqueue && self.on_conflict == Conflict::Wait {
            return Some(
                "waits when it is enqueued, where there is no slot to wait in; use another `Conflict`"
                    .to_owned(),
            );
        }
        if to_run && self.when_busy == Conflict::Replace {
            return Some("replaces a job that runs; use another `Conflict` for `when_busy`".to_owned());
        }
        if !to_run && self.when_busy != Conflict::Wait {
            return Some(
                "says what happens `when_busy`, but its lock is not taken to run; use `on_conflict`"
                    .to_owned(),
            );
        }
        None
    }
}

/// A job found its lock taken by another one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {kind} holds the lock {key} already: {holder}")]
#[non_exhaustive]
pub struct LockTaken {
    /// The kind of both jobs.
    pub kind: String,
    /// The key of the lock, as JSON.
    pub key: String,
    /// Who holds it, in words: `job#1, running`.
    pub holder: String,
}

/// What becomes of an attempt that a lock has kept out.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    Drop,
    Reject(LockTaken),
    PutBack(Duration, LockTaken),
    CannotRun(JobError),
}
