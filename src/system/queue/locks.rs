//! The locks of unique jobs. They are durable: after a crash they stay until their time to live is over.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::system::clock::Wake;
use crate::system::job::JobId;

/// The key of a lock: its kind, its text, and whether it is for waiting or for running jobs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LockKey {
    pub(crate) kind: &'static str,
    pub(crate) to_run: bool,
    pub(crate) key: Box<str>,
}

/// The owner of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LockOwner {
    Job(u32),
    /// A job that never entered the queue because the process that enqueued it died in between.
    NeverCame,
    /// A given that names an owner outside of this world.
    Stranger,
    /// A given that names no owner.
    Missing,
}

/// A lock that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HeldLock {
    pub(crate) owner: LockOwner,
    /// The id of the job, if there is one.
    pub(crate) id: Option<JobId>,
    /// The end of its time to live. `None` means never.
    pub(crate) expires: Option<Duration>,
}

/// All locks of a world.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    held: BTreeMap<LockKey, HeldLock>,
    /// Locks that are released when their job is over, at the latest. The key says whether the lock is one for
    /// running.
    of_job: BTreeMap<(u32, bool), LockKey>,
    /// Jobs that were put back without the lock that they should have taken at the enqueue.
    unlocked_jobs: BTreeSet<u32>,
    /// Attempts that wait for a lock, and how to wake them. They die with their process and are not part of the
    /// durable state.
    waiting: BTreeMap<LockKey, Vec<(u32, Wake)>>,
    /// The attempts to wake because the job that had the lock is over.
    to_wake: Vec<Wake>,
}

impl Hash for Locks {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.held, &self.of_job, &self.unlocked_jobs).hash(state);
    }
}

impl Locks {
    /// Reports whether there has never been a lock. Then the other checks can be skipped.
    pub(crate) fn is_unused(&self) -> bool {
        self.held.is_empty() && self.of_job.is_empty() && self.unlocked_jobs.is_empty()
    }

    /// The lock, if it is taken.
    pub(crate) fn get(&mut self, key: &LockKey, now: Duration) -> Option<HeldLock> {
        let held = *self.held.get(key)?;
        if held.expires.is_some_and(|expires| expires <= now) {
            self.held.remove(key);
            return None;
        }
        Some(held)
    }

    /// Gives the lock to `held`, regardless of the previous owner.
    pub(crate) fn put(&mut self, key: LockKey, held: HeldLock) {
        self.held.insert(key, held);
    }

    /// Binds the lock to the job that took it at the enqueue. If `until_over`, the job releases it when it is over.
    pub(crate) fn bind(&mut self, key: LockKey, held: HeldLock, until_over: bool) {
        if let (LockOwner::Job(job), true) = (held.owner, until_over) {
            self.will_give_back(job, key.clone());
        }
        self.put(key, held);
    }

    /// Records that a job releases this lock when it is over, at the latest.
    pub(crate) fn will_give_back(&mut self, job: u32, key: LockKey) {
        self.of_job.insert((job, key.to_run), key);
    }

    /// Takes the lock for a running job, or returns its holder. A job that already has the lock renews it.
    pub(crate) fn take(&mut self, key: &LockKey, wanted: HeldLock, now: Duration) -> Result<(), HeldLock> {
        match self.get(key, now) {
            Some(held) if held.owner != wanted.owner => Err(held),
            _ => {
                self.bind(key.clone(), wanted, key.to_run);
                Ok(())
            }
        }
    }

    /// Releases the lock. Returns whether it was held, and the attempts to wake. If `owned`, only the owner can
    /// release it.
    pub(crate) fn give_back(&mut self, key: &LockKey, job: u32, owned: bool) -> (bool, Vec<Wake>) {
        self.of_job.remove(&(job, key.to_run));
        let is_its = self.held.get(key).is_some_and(|held| !owned || held.owner == LockOwner::Job(job));
        if !is_its {
            return (false, Vec::new());
        }
        self.held.remove(key);
        (true, self.waiting_for(key))
    }

    fn waiting_for(&mut self, key: &LockKey) -> Vec<Wake> {
        let waiting = self.waiting.get_mut(key).map(std::mem::take).unwrap_or_default();
        waiting.into_iter().map(|(_, wake)| wake).collect()
    }

    /// The lock that a job took at the enqueue and has not released.
    pub(crate) fn of_job(&self, job: u32) -> Option<&LockKey> {
        self.of_job.get(&(job, false))
    }

    /// A job is over, so it has no locks any more.
    pub(crate) fn over(&mut self, job: u32) {
        self.unlocked_jobs.remove(&job);
        for to_run in [false, true] {
            let Some(key) = self.of_job.remove(&(job, to_run)) else { continue };
            if self.held.get(&key).is_some_and(|held| held.owner == LockOwner::Job(job)) {
                self.held.remove(&key);
                let woken = self.waiting_for(&key);
                self.to_wake.extend(woken);
            }
        }
    }

    /// Returns the attempts that waited for a lock whose job is over.
    pub(crate) fn take_woken(&mut self) -> Vec<Wake> {
        std::mem::take(&mut self.to_wake)
    }

    /// Records that the job is in the queue without the lock that it should have.
    pub(crate) fn mark_unlocked(&mut self, job: u32) {
        self.unlocked_jobs.insert(job);
    }

    /// Reports whether the job needs a lock before it runs.
    pub(crate) fn is_unlocked(&self, job: u32) -> bool {
        self.unlocked_jobs.contains(&job)
    }

    pub(crate) fn clear_unlocked(&mut self, job: u32) {
        self.unlocked_jobs.remove(&job);
    }

    /// Registers the attempt of a job to be woken when the lock is released, in the order of registration.
    pub(crate) fn wait(&mut self, key: &LockKey, job: u32, wake: Wake) {
        let waiting = self.waiting.entry(key.clone()).or_default();
        match waiting.iter_mut().find(|(known, _)| *known == job) {
            Some((_, known)) => *known = wake,
            None => waiting.push((job, wake)),
        }
    }

    pub(crate) fn wait_no_more(&mut self, key: &LockKey, job: u32) {
        if let Some(waiting) = self.waiting.get_mut(key) {
            waiting.retain(|(known, _)| *known != job);
            if waiting.is_empty() {
                self.waiting.remove(key);
            }
        }
    }

    /// The lock that an attempt of a job waits for, if it is taken.
    pub(crate) fn awaited_by(&self, job: u32) -> Option<(&LockKey, HeldLock)> {
        let waits = |waiting: &[(u32, Wake)]| waiting.iter().any(|&(known, _)| known == job);
        let (key, _) = self.waiting.iter().find(|(_, waiting)| waits(waiting))?;
        self.held.get(key).map(|held| (key, *held))
    }

    /// When the next lock expires.
    pub(crate) fn next_expiry(&self, now: Duration) -> Option<Duration> {
        self.held(now).filter_map(|(_, held)| held.expires).min()
    }

    /// The locks that are held now.
    pub(crate) fn held(&self, now: Duration) -> impl Iterator<Item = (&LockKey, HeldLock)> {
        self.held
            .iter()
            .filter(move |(_, held)| held.expires.is_none_or(|expires| expires > now))
            .map(|(key, held)| (key, *held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::clock::TaskId;

    const S: Duration = Duration::from_secs(1);

    fn key() -> LockKey {
        LockKey { kind: "k", to_run: false, key: "1".into() }
    }

    fn of(job: u32, expires: Option<Duration>) -> HeldLock {
        HeldLock { owner: LockOwner::Job(job), id: None, expires }
    }

    #[test]
    fn a_lock_is_one_jobs_until_it_gives_it_back_or_its_time_is_over() {
        let mut locks = Locks::default();
        assert_eq!(locks.take(&key(), of(1, Some(5 * S)), S), Ok(()));
        assert_eq!(locks.take(&key(), of(2, None), S), Err(of(1, Some(5 * S))));
        assert_eq!(locks.take(&key(), of(1, Some(6 * S)), 2 * S), Ok(()), "its owner keeps it");
        assert!(!locks.give_back(&key(), 2, true).0, "not its owner");
        assert_eq!(locks.take(&key(), of(2, None), 6 * S), Ok(()), "its time is over");
        assert!(!locks.give_back(&key(), 1, true).0);
        assert!(locks.give_back(&key(), 1, false).0, "a lock that knows no owner");
        assert_eq!(locks.get(&key(), 6 * S), None);
    }

    #[test]
    fn a_job_that_is_over_has_no_lock_and_leaves_that_of_another_alone() {
        let mut locks = Locks::default();
        locks.bind(key(), of(1, None), true);
        locks.bind(key(), of(2, None), true);
        locks.over(1);
        assert_eq!(locks.get(&key(), S), Some(of(2, None)));
        locks.over(2);
        assert_eq!(locks.get(&key(), S), None);
        let to_run = LockKey { to_run: true, ..key() };
        locks.take(&to_run, of(2, None), S).unwrap();
        locks.wait(&to_run, 4, Wake::Task(TaskId { slot: 4, turn: 0 }));
        locks.over(2);
        assert_eq!((locks.get(&to_run, S), locks.take_woken().len()), (None, 1));
        locks.bind(key(), of(3, None), false);
        locks.over(3);
        assert_eq!(locks.get(&key(), S), Some(of(3, None)), "until it expires");
    }

    #[test]
    fn who_waits_is_woken_in_order() {
        let mut locks = Locks::default();
        locks.take(&key(), of(1, None), S).unwrap();
        for slot in [7, 5, 9] {
            locks.wait(&key(), slot, Wake::Task(TaskId { slot, turn: 0 }));
        }
        locks.wait_no_more(&key(), 5);
        assert_eq!(locks.awaited_by(9), Some((&key(), of(1, None))));
        let (_, woken) = locks.give_back(&key(), 1, true);
        let slot = |wake| if let Wake::Task(task) = wake { task.slot } else { 0 };
        assert_eq!(woken.into_iter().map(slot).collect::<Vec<_>>(), [7, 9]);
        assert_eq!(locks.awaited_by(9), None);
    }
}
