//! Enqueues a job: takes the lock of a unique job, and assigns its stream.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Shared, State};
use crate::engine::steps::Resource;
use crate::search::choice::Actor;
use crate::system::job::{
    Conflict, JobError, JobId, JobOverrides, JobState, KeyOf, LockKind, LockTaken, Unique,
};
use crate::system::queue::{HeldLock, LockKey, LockOwner};
use crate::system::timeline::{EventKind, LockEvent};

/// The keys of a job. They are computed before anything is locked, because key functions are user code.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys {
    lock: Option<Box<str>>,
    pub(super) stream: Option<Box<str>>,
    pub(crate) once: Option<DedupKey>,
}

/// A key that the enqueuing code gives to a job, and what happens to a second job of that kind with it.
#[derive(Clone, Debug)]
pub(crate) struct DedupKey {
    pub(crate) key: Box<str>,
    /// Whether the second job is rejected. Otherwise it is dropped.
    pub(crate) refused: bool,
}

/// A job to enqueue.
#[derive(Clone, Debug, Default)]
pub(crate) struct IncomingJob {
    pub(crate) kind: &'static str,
    pub(crate) payload: String,
    /// Zero means that it is ready immediately.
    pub(crate) delay: Duration,
    pub(crate) keys: Keys,
    /// The data beside its payload, as JSON.
    pub(crate) context: Option<Box<str>>,
    /// Options that override those of its kind.
    pub(crate) more: Option<Box<JobOverrides>>,
    /// Jobs with the same name run one at a time.
    pub(crate) serial: Option<Box<str>>,
}

/// The result of enqueuing a job.
#[derive(Debug)]
pub(crate) enum EnqueueOutcome {
    /// The job is in the queue: its number and id.
    Accepted(u32, JobId),
    /// The job was dropped. This is the id of the existing job.
    Duplicate(JobId),
    /// The job was rejected.
    Rejected(LockTaken),
    /// The enqueuing process died in between.
    Crashed,
}

impl Shared {
    /// The keys of a job. Costs nothing if no kind has any.
    pub(crate) fn keys(&self, kind: &str, payload: &str) -> Keys {
        if !self.keyed.load(Ordering::Relaxed) {
            return Keys::default();
        }
        let (unique, stream) = {
            let options = self.state().options(kind);
            (options.unique, options.stream)
        };
        let at_enqueue = unique.filter(|unique| unique.lock.is_taken_at_enqueue());
        let lock = at_enqueue.and_then(|unique| (unique.key)(payload));
        Keys { lock, stream: stream.and_then(|stream| stream(payload)), once: None }
    }
}

impl State {
    /// Enqueues a job unless its key or its lock prevents that. `dies` is called between taking the lock and
    /// enqueuing.
    pub(crate) fn enqueue(
        &mut self,
        mut incoming: IncomingJob,
        dies: &mut dyn FnMut(&mut State) -> bool,
    ) -> EnqueueOutcome {
        // The contents of the queue matter even if no job is added.
        self.touch(Resource::Queue, true);
        incoming.kind = self.old_kind(incoming.kind);
        let context = incoming.context.take();
        let enqueued = self.enqueue_deduplicated(incoming, dies);
        if let (Some(context), &EnqueueOutcome::Accepted(job, _)) = (context, &enqueued) {
            self.queue.job_mut(job).extras().context = Some(context);
        }
        enqueued
    }

    fn enqueue_deduplicated(
        &mut self,
        mut incoming: IncomingJob,
        dies: &mut dyn FnMut(&mut State) -> bool,
    ) -> EnqueueOutcome {
        let Some(once) = incoming.keys.once.take() else { return self.enqueue_past_lock(incoming, dies) };
        let refused = self.refuses(incoming.kind, Some(&once));
        let key = (incoming.kind, once.key);
        if let Some(&(job, id)) = self.queue.keyed.get(&key) {
            let then = if once.refused { Conflict::Raise } else { Conflict::Drop };
            let event = LockEvent::Conflict { holder: format!("job#{job}"), then };
            self.note(|| EventKind::Lock { key: key.1.into_string(), event });
            return refused.map_or(EnqueueOutcome::Duplicate(id), EnqueueOutcome::Rejected);
        }
        let enqueued = self.enqueue_past_lock(incoming, dies);
        if let EnqueueOutcome::Accepted(job, id) = enqueued {
            self.queue.keyed.insert(key, (job, id));
        }
        enqueued
    }

    /// The reason why a job with this key is rejected, if it is.
    pub(crate) fn refuses(&mut self, kind: &'static str, once: Option<&DedupKey>) -> Option<LockTaken> {
        let DedupKey { key, .. } = once.filter(|once| once.refused)?;
        self.touch(Resource::Queue, false);
        let (job, _) = self.queue.keyed.get(&(kind, key.clone()))?;
        Some(LockTaken { kind: kind.to_owned(), key: key.to_string(), holder: format!("job#{job}") })
    }

    fn enqueue_past_lock(
        &mut self,
        mut incoming: IncomingJob,
        dies: &mut dyn FnMut(&mut State) -> bool,
    ) -> EnqueueOutcome {
        if let Some(more) = incoming.more.take() {
            return self.enqueue_with_overrides(*more, incoming);
        }
        let kind = incoming.kind;
        let Some(key) = incoming.keys.lock.take() else { return self.enqueue_unlocked(incoming) };
        let Some(unique) = self.options(kind).unique else { return self.enqueue_unlocked(incoming) };
        let lock = LockKey { kind, to_run: false, key };
        let now = self.clock.now();
        let Some(held) = self.queue.locks.get(&lock, now) else {
            return self.lock_and_enqueue(&unique, lock, incoming, dies);
        };
        let hands_over = match (held.owner, self.actor) {
            (LockOwner::Job(owner), Actor::Attempt { job, .. }) => {
                owner == job && unique.lock != LockKind::UntilExpired
            }
            _ => false,
        };
        if hands_over {
            // The lock stays with its owner until the new job exists and can hold it. If the process dies in between,
            // the former owner still has it.
            if dies(self) {
                return EnqueueOutcome::Crashed;
            }
            return self.enqueue_with(&unique, lock, incoming);
        }
        self.conflict(&unique, lock, held, incoming, dies)
    }

    fn enqueue_unlocked(&mut self, incoming: IncomingJob) -> EnqueueOutcome {
        let (job, id) = self.push_job(incoming);
        EnqueueOutcome::Accepted(job, id)
    }

    /// Enqueues a job that has a lock.
    fn enqueue_with(&mut self, unique: &Unique, lock: LockKey, incoming: IncomingJob) -> EnqueueOutcome {
        let expires = self.expiry(unique, &incoming);
        expires.iter().for_each(|_| self.record.note_expiring());
        let (job, id) = self.push_job(incoming);
        let held = HeldLock { owner: LockOwner::Job(job), id: Some(id), expires };
        self.queue.locks.bind(lock, held, unique.lock != LockKind::UntilExpired);
        EnqueueOutcome::Accepted(job, id)
    }

    /// The time to live of a lock starts when its job is due.
    fn expiry(&self, unique: &Unique, incoming: &IncomingJob) -> Option<Duration> {
        unique.ttl.map(|ttl| self.clock.now().saturating_add(incoming.delay).saturating_add(ttl))
    }

    /// Takes the lock, then enqueues: two steps, between which the process may die.
    fn lock_and_enqueue(
        &mut self,
        unique: &Unique,
        lock: LockKey,
        incoming: IncomingJob,
        dies: &mut dyn FnMut(&mut State) -> bool,
    ) -> EnqueueOutcome {
        let expires = self.expiry(unique, &incoming);
        self.queue.locks.put(lock.clone(), HeldLock { owner: LockOwner::NeverCame, id: None, expires });
        self.note(|| EventKind::Lock { key: lock.key.to_string(), event: LockEvent::Taken });
        if dies(self) {
            return EnqueueOutcome::Crashed;
        }
        self.enqueue_with(unique, lock, incoming)
    }

    /// Handles a lock that another job holds.
    fn conflict(
        &mut self,
        unique: &Unique,
        lock: LockKey,
        held: HeldLock,
        mut incoming: IncomingJob,
        dies: &mut dyn FnMut(&mut State) -> bool,
    ) -> EnqueueOutcome {
        if held.owner == LockOwner::Missing {
            let (job, id) = self.push_job(incoming);
            self.bury_unowned(job, &lock);
            return EnqueueOutcome::Accepted(job, id);
        }
        let then = unique.on_conflict;
        let taken = self.lock_taken(&lock, held);
        self.note(|| EventKind::Lock {
            key: lock.key.to_string(),
            event: LockEvent::Conflict { holder: taken.holder.clone(), then },
        });
        match then {
            Conflict::Drop => EnqueueOutcome::Duplicate(
                held.id.unwrap_or_else(|| JobId::first(lock.kind, &incoming.payload)),
            ),
            Conflict::Raise => EnqueueOutcome::Rejected(taken),
            Conflict::Reject => {
                let (job, id) = self.push_job(incoming);
                let now = self.clock.now();
                self.queue.reject(job, now, taken.to_string());
                EnqueueOutcome::Accepted(job, id)
            }
            Conflict::Replace => {
                if let LockOwner::Job(former) = held.owner {
                    if self.queue.job(former).state.is_waiting() {
                        self.queue.give_up(former, JobState::Replaced);
                    }
                }
                self.lock_and_enqueue(unique, lock, incoming, dies)
            }
            Conflict::Wait => unreachable!("refused where it was asked for"),
            Conflict::Reschedule(wait) => {
                // It waits in the queue, so it takes no slot.
                incoming.delay = incoming.delay.max(wait);
                let (job, id) = self.push_job(incoming);
                self.queue.locks.mark_unlocked(job);
                EnqueueOutcome::Accepted(job, id)
            }
        }
    }

    /// A job needs a lock without an owner, so it is unknown whether the lock will ever be released.
    fn bury_unowned(&mut self, job: u32, lock: &LockKey) {
        let error = self.unowned(job, lock).to_string();
        let now = self.clock.now();
        self.note(|| EventKind::Failed { error: error.clone(), retry_at: None });
        self.queue.give_up(job, JobState::Dead);
        self.queue.bury_unrun(job, now, error);
        // It never reached a process whose death handlers could be called.
        self.queue.job_mut(job).extras().deaths_told += 1;
    }

    pub(crate) fn unowned(&self, job: u32, lock: &LockKey) -> JobError {
        JobError::LockWithoutOwner { job, kind: lock.kind.to_owned(), key: lock.key.to_string() }
    }

    /// The reason why a lock blocks a job.
    pub(crate) fn lock_taken(&self, lock: &LockKey, held: HeldLock) -> LockTaken {
        let (kind, key) = (lock.kind.to_owned(), lock.key.to_string());
        LockTaken { kind, key, holder: self.holder(held) }
    }

    /// Describes the holder of a lock.
    pub(crate) fn holder(&self, held: HeldLock) -> String {
        let until = match held.expires {
            Some(expires) => format!("expires at {}", crate::system::clock::Moment(expires)),
            None => "never expires".to_owned(),
        };
        match held.owner {
            LockOwner::Job(job) => {
                let state = match self.queue.job(job).state {
                    JobState::Running => "runs",
                    JobState::Lost => "was lost when its worker crashed",
                    state if state.is_waiting() => "waits",
                    _ => "is over",
                };
                format!("job#{job}, which {state}; it {until}")
            }
            LockOwner::NeverCame => {
                format!("a job that never entered the queue because its enqueuing process died; it {until}")
            }
            LockOwner::Stranger => format!("an owner outside of this world; it {until}"),
            LockOwner::Missing => format!("nobody; it {until}"),
        }
    }

    /// The locks that will never be released: they do not expire, and their jobs are gone.
    pub(crate) fn left_locks(&self) -> Vec<(LockKey, String)> {
        if self.queue.locks.is_unused() {
            return Vec::new();
        }
        let now = self.clock.now();
        let gone = |held: HeldLock| match held.owner {
            LockOwner::NeverCame => true,
            LockOwner::Job(job) => {
                let state = self.queue.job(job).state;
                !state.is_waiting() && state != JobState::Running
            }
            LockOwner::Stranger | LockOwner::Missing => false,
        };
        let left = self.queue.locks.held(now).filter(|&(_, held)| held.expires.is_none() && gone(held));
        left.map(|(lock, held)| (lock.clone(), self.holder(held))).collect()
    }

    /// The lock that an attempt of a job waits for, in readable form.
    pub(crate) fn awaited_lock(&self, job: u32) -> Option<String> {
        let (lock, held) = self.queue.locks.awaited_by(job)?;
        Some(format!("the lock {}, held by {}", lock.key, self.holder(held)))
    }

    /// A job that was put back without the lock of its enqueue now has the lock.
    pub(crate) fn has_its_lock(&mut self, job: u32, lock: &LockKey, kind: LockKind) {
        self.queue.locks.clear_unlocked(job);
        if kind != LockKind::UntilExpired {
            self.queue.locks.will_give_back(job, lock.clone());
        }
    }

    /// The lock for a job that is about to run.
    pub(crate) fn held_by(&self, job: u32, ttl: Option<Duration>) -> HeldLock {
        let expires = ttl.map(|ttl| self.clock.now().saturating_add(ttl));
        HeldLock { owner: LockOwner::Job(job), id: None, expires }
    }
}

/// Sets the lock of a kind. From here on the keys of its jobs are computed.
pub(crate) fn has_keys(shared: &Shared, kind: &'static str, unique: Arc<Unique>) {
    shared.keyed.store(true, Ordering::Relaxed);
    shared.state().options_mut(kind).unique = Some(unique);
}

/// Sets the order of a kind: by key, or none.
pub(crate) fn has_order(shared: &Shared, kind: &'static str, key: Option<KeyOf>) {
    shared.keyed.store(true, Ordering::Relaxed);
    shared.state().options_mut(kind).stream = key;
}
