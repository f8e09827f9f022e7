//! The locks of unique jobs, from the test's side.

use std::time::Duration;

use serde::Serialize;

use super::World;
use crate::system::job::kind_of;
use crate::system::queue::{HeldLock, LockKey, LockOwner};

/// A lock that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LockView {
    /// The kind of its jobs.
    pub kind: &'static str,
    /// The key, as JSON.
    pub key: String,
    /// Whether it was taken to run, and not when the job was enqueued.
    pub to_run: bool,
    /// The number of the job that holds it. `None` if that job was never enqueued, or is not a job of this world.
    pub owner: Option<u32>,
    /// When its time to live ends, since the world began. `None` if it never expires.
    pub expires: Option<Duration>,
}

impl World {
    /// Returns the locks of unique jobs that are held now, by kind and key.
    ///
    /// ```
    /// use retryproof::{Unique, World};
    ///
    /// let world = World::fake();
    /// world.process("worker", |p| {
    ///     p.handle(async |_: u32| ()).unique(Unique::until_executed(|job: &u32| Some(job % 10)));
    /// });
    /// world.enqueue(17_u32);
    /// let locks = world.locks();
    /// assert_eq!((locks.len(), locks[0].key.as_str(), locks[0].owner), (1, "7", Some(1)));
    /// world.drain_all().run().unwrap();
    /// assert!(world.locks().is_empty());
    /// ```
    pub fn locks(&self) -> Vec<LockView> {
        let state = self.shared.state();
        let now = state.clock.now();
        let view = |(lock, held): (&LockKey, HeldLock)| LockView {
            kind: lock.kind,
            key: lock.key.to_string(),
            to_run: lock.to_run,
            owner: match held.owner {
                LockOwner::Job(job) => Some(job),
                LockOwner::NeverCame | LockOwner::Stranger | LockOwner::Missing => None,
            },
            expires: held.expires,
        };
        state.queue.locks.held(now).map(view).collect()
    }

    /// Inserts a lock for the jobs of this kind, as an older version or another program may have left it behind. A
    /// lock without an owner is broken, and a job that meets it is moved to the dead set with
    /// [`JobError::LockWithoutOwner`](crate::job::JobError::LockWithoutOwner).
    ///
    /// # Panics
    /// Panics if no process that handles this kind has made it unique, or if the key cannot be written as JSON.
    pub fn put_lock<J: 'static>(&self, key: impl Serialize, owner: Option<&str>, ttl: Option<Duration>) {
        let kind = kind_of::<J>();
        let key = serde_json::to_string(&key);
        let key = key.unwrap_or_else(|error| panic!("a key of {kind} cannot be written as JSON: {error}"));
        let mut state = self.shared.state();
        let Some(unique) = state.options(kind).unique else {
            drop(state);
            panic!(
                "{kind} takes no lock; make it unique with `p.handle(…).unique(…)` before you insert a lock"
            );
        };
        let owner = owner.map_or(LockOwner::Missing, |_| LockOwner::Stranger);
        let expires = ttl.map(|ttl| state.clock.now().saturating_add(ttl));
        let lock = LockKey { kind, to_run: !unique.lock.is_taken_at_enqueue(), key: key.into() };
        state.queue.locks.put(lock, HeldLock { owner, id: None, expires });
    }
}
