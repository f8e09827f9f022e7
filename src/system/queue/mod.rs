//! The queue: ready jobs, jobs that wait for a time, and dead jobs. It does not know handlers.
//!
//! The queue is durable: it survives every crash. A job that a worker has taken is leased. If the worker dies, the
//! job is redelivered when the lease ends.

mod dead;
mod keyed;
mod lanes;
mod leases;
mod locks;
mod streams;

pub(crate) use lanes::Head;
pub(crate) use locks::{HeldLock, LockKey, LockOwner};

use std::collections::BTreeMap;
use std::time::Duration;

use crate::system::effect::{Fingerprint, Occurrences};
use crate::system::job::{Delivery, History, Job, JobId, JobState};
use dead::DeadSet;
use keyed::ByKey;
use lanes::Lanes;
use locks::Locks;
use streams::Streams;

/// The time between the death of a worker and the redelivery of its job (the visibility timeout).
pub(crate) const LEASE: Duration = Duration::from_secs(60);

/// Jobs that were put at the front have turns below this one.
const FIRST_TURN: u64 = 1 << 32;

/// All jobs of a world, and the state of each.
#[derive(Debug, Default, Hash)]
pub(crate) struct Queue {
    jobs: Vec<Job>,
    ready: Lanes,
    /// Scheduled, retrying and leased jobs, by the time at which they become ready.
    timed: BTreeMap<(Duration, u64), u32>,
    turns: u64,
    /// The number of events in the lives of jobs so far.
    ticks: u32,
    /// The latest time that the queue was given.
    now: Duration,
    /// The number of times that a job was put at the front.
    fronts: u64,
    dead: DeadSet,
    /// The occurrences of each content, from which ids derive.
    seen: Occurrences,
    counts: Counts,
    /// For each root, the number of its descendants that have an ancestor of the same kind.
    families: BTreeMap<u32, u32>,
    pub(crate) locks: Locks,
    /// The jobs that were enqueued under their own key: one for each kind and key.
    pub(crate) keyed: BTreeMap<(&'static str, Box<str>), (u32, JobId)>,
    streams: Streams,
    by_key: ByKey,
    /// The leases that were set: when they end, and of which attempt they are.
    leases: BTreeMap<u32, (Duration, u32)>,
    /// How often an attempt of a job has outlived such a lease.
    outlived: BTreeMap<u32, u32>,
    /// The number of jobs that wait for the jobs before them in their streams.
    blocked: usize,
}

/// Counters since the world began.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(crate) struct Counts {
    /// Attempts that ended, successfully or not.
    pub(crate) processed: u64,
    /// Attempts that failed.
    pub(crate) failed: u64,
    /// Jobs that succeeded.
    pub(crate) done: u64,
}

/// A job to enqueue.
#[derive(Debug)]
pub(crate) struct New {
    pub(crate) kind: &'static str,
    pub(crate) payload: String,
    /// If this is not in the future, the job is ready immediately.
    pub(crate) due: Duration,
    /// The job whose attempt enqueues it, or 0 if no job does.
    pub(crate) parent: u32,
    /// The key of its stream, if it has one.
    pub(crate) stream: Option<Box<str>>,
    /// Jobs with the same name run one at a time.
    pub(crate) serial: Option<Box<str>>,
}

impl Queue {
    /// Adds a new job.
    pub(crate) fn enqueue(&mut self, new: New, now: Duration) -> (u32, JobId) {
        let New { kind, payload, due, parent, stream, serial } = new;
        let number = self.jobs.len() as u32 + 1;
        let content = Fingerprint::of(&[kind, &payload]);
        let occurrence = self.seen.next(content.digest());
        let id = JobId::nth(content, occurrence);
        let (root, depth) = match parent {
            0 => (number, 0),
            parent => (self.job(parent).root, self.job(parent).depth + 1),
        };
        self.jobs.push(Job {
            number,
            attempts: 0,
            kind,
            payload: payload.into_boxed_str(),
            id,
            extras: None,
            at: now,
            turn: 0,
            parent,
            root,
            depth,
            state: JobState::Ready,
            could_not_run: false,
            copies: 1,
            history: History { born_at: now, due: due.max(now), ..History::default() },
        });
        if let Some(key) = stream {
            self.streams.assign(number, kind, key);
        }
        if let Some(name) = serial {
            self.streams.assign_serial(number, name);
        }
        self.wait_as_new(number, due, now);
        (number, id)
    }

    /// The id that a job with this content will have after `before` more jobs with the same content.
    pub(crate) fn id_to_come(&self, kind: &str, payload: &str, before: u32) -> JobId {
        let content = Fingerprint::of(&[kind, payload]);
        let occurrence = self.seen.count(content.digest()) + before;
        JobId::nth(content, occurrence)
    }

    pub(crate) fn job(&self, number: u32) -> &Job {
        &self.jobs[number as usize - 1]
    }

    pub(crate) fn job_mut(&mut self, number: u32) -> &mut Job {
        &mut self.jobs[number as usize - 1]
    }

    pub(crate) fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// Ready jobs, the next one first. The cost grows with the number of jobs.
    pub(crate) fn ready(&self) -> Vec<u32> {
        self.ready.in_order()
    }

    pub(crate) fn ready_count(&self) -> usize {
        self.ready.len()
    }

    /// The number of jobs that would be ready without the jobs before them in their streams.
    pub(crate) fn blocked_count(&self) -> usize {
        self.blocked
    }

    /// The first ready job of each kind.
    pub(crate) fn heads(&self) -> impl Iterator<Item = Head> + '_ {
        self.ready.heads()
    }

    /// Jobs that wait for a time, the next one first.
    pub(crate) fn timed(&self) -> impl ExactSizeIterator<Item = (Duration, u32)> + '_ {
        self.timed.iter().map(|((due, _), number)| (*due, *number))
    }

    /// The dead jobs, in the order in which they died.
    pub(crate) fn dead(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        self.dead.jobs()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// The time at which the next waiting job becomes ready.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        let timed = self.timed.first_key_value().map(|((due, _), _)| *due);
        timed.into_iter().chain(self.next_lease_end()).min()
    }

    /// Makes the jobs that are due ready. Returns the attempts whose leases have ended.
    pub(crate) fn promote(&mut self, now: Duration) -> Vec<(u32, u32)> {
        self.now = now;
        let ended = self.end_leases(now);
        while let Some(first) = self.timed.first_entry() {
            if first.key().0 > now {
                break;
            }
            let number = first.remove();
            let due = self.job(number).at;
            self.set_ready(number, due);
        }
        ended
    }

    fn next_turn(&mut self) -> u64 {
        self.turns += 1;
        FIRST_TURN + self.turns
    }

    fn set_ready(&mut self, number: u32, since: Duration) {
        if self.is_over_instead(number) {
            return;
        }
        let turn = self.next_turn();
        let job = self.job_mut(number);
        (job.state, job.at, job.turn) = (JobState::Ready, since, turn);
        let kind = job.kind;
        if !self.streams.is_unused() && !self.streams.join(number) {
            self.job_mut(number).state = JobState::Blocked;
            self.blocked += 1;
            return;
        }
        self.ready.push(kind, turn, number);
    }

    /// The job leaves its stream and no longer blocks other jobs.
    fn leave_stream(&mut self, number: u32) {
        if self.streams.is_unused() {
            return;
        }
        let Some(next) = self.streams.leave(number) else { return };
        if self.job(next).state == JobState::Blocked {
            self.blocked -= 1;
            self.set_ready(next, self.job(next).at);
        }
    }

    /// The jobs that would be ready if the jobs before them in their serial streams waited for a retry.
    pub(crate) fn held_up(&self) -> impl Iterator<Item = u32> + '_ {
        let jobs = if self.blocked == 0 { &[][..] } else { &self.jobs };
        let blocked = jobs.iter().filter(|job| job.state == JobState::Blocked).map(|job| job.number);
        blocked.filter(|number| self.streams.lets_others_go_first(*number))
    }

    /// Reports whether the streams would let a waiting job run if it were due, and no other job ran.
    pub(crate) fn may_come_next(&self, number: u32) -> bool {
        // A serial stream only keeps jobs from running at the same time: one that waits for a retry is overtaken.
        if self.streams.lets_others_go_first(number) {
            return true;
        }
        // Jobs that are due join their stream one after the other.
        let is_before = |&(_, other): &(Duration, u32)| self.streams.are_together(number, other);
        self.streams.is_unused()
            || self.streams.is_its_turn(number)
                && self
                    .timed()
                    .find(is_before)
                    .is_none_or(|(_, first)| first == number || !self.job(number).state.waits_for_its_time())
    }

    fn wait(&mut self, number: u32, due: Duration, state: JobState) {
        if self.is_over_instead(number) {
            return;
        }
        let turn = self.next_turn();
        let job = self.job_mut(number);
        (job.state, job.at, job.turn) = (state, due, turn);
        self.timed.insert((due, turn), number);
    }

    /// Removes a waiting job from its place.
    fn withdraw(&mut self, number: u32) {
        let job = self.job(number);
        let (kind, at, turn) = (job.kind, job.at, job.turn);
        match job.state {
            JobState::Ready => drop(self.ready.remove(kind, turn)),
            JobState::Scheduled | JobState::Retrying | JobState::Leased => {
                self.timed.remove(&(at, turn));
            }
            JobState::Blocked => self.blocked -= 1,
            _ => {}
        }
    }

    /// Leases a waiting job, and counts an attempt.
    pub(crate) fn take(&mut self, number: u32) {
        self.withdraw(number);
        if !self.streams.is_unused() {
            self.streams.join(number);
        }
        let job = self.job_mut(number);
        job.state = JobState::Running;
        job.attempts += 1;
    }

    /// Undoes `take` for a job that did not begin. The job goes to the back.
    pub(crate) fn untake(&mut self, number: u32, now: Duration) {
        self.job_mut(number).attempts -= 1;
        self.set_ready(number, now);
    }

    fn tick(&mut self) -> u32 {
        self.ticks += 1;
        self.ticks
    }

    /// Records that an attempt of the job begins.
    pub(crate) fn begins(&mut self, number: u32, now: Duration) {
        self.now = now;
        if self.job(number).history.began == 0 {
            let began = self.tick();
            let history = &mut self.job_mut(number).history;
            (history.began, history.began_at) = (began, now);
        }
    }

    /// Records that the job succeeded.
    pub(crate) fn acknowledge(&mut self, number: u32, now: Duration) {
        self.counts.processed += 1;
        self.counts.done += 1;
        let succeeded = self.tick();
        let job = self.job_mut(number);
        job.history.succeeded = succeeded;
        job.copies -= 1;
        job.state = JobState::Done;
        if job.copies > 0 {
            self.set_ready(number, now);
        } else {
            self.over(number);
        }
    }

    fn ends(&mut self, number: u32) {
        let (ended, now) = (self.tick(), self.now);
        let history = &mut self.job_mut(number).history;
        (history.ended, history.ended_at) = (ended, now);
    }

    /// The job is over, unless a person retries it by hand.
    fn over(&mut self, number: u32) {
        self.ends(number);
        if !self.locks.is_unused() {
            self.locks.over(number);
        }
        self.leave_stream(number);
    }

    /// The job succeeded, but the queue did not learn of it and will deliver the job again.
    pub(crate) fn deliver_again(&mut self, number: u32) {
        self.job_mut(number).copies += 1;
    }

    /// Counts a failure.
    pub(crate) fn note_failure(&mut self, number: u32, now: Duration, error: String) {
        self.counts.processed += 1;
        self.counts.failed += 1;
        let extras = self.job_mut(number).extras();
        extras.failures += 1;
        extras.error = Some(error);
        extras.since.get_or_insert(now);
    }

    /// Retries the job at `due`.
    pub(crate) fn retry(&mut self, number: u32, due: Duration) {
        self.wait(number, due, JobState::Retrying);
        if self.streams.lets_others_go_first(number) {
            self.leave_stream(number);
        }
    }

    /// Runs the job again at `due`. Its attempt was not a failure.
    pub(crate) fn put_back(&mut self, number: u32, now: Duration, due: Duration) {
        self.job_mut(number).extras().interruptions += 1;
        if due <= now {
            self.set_ready(number, now);
        } else {
            self.wait(number, due, JobState::Scheduled);
        }
    }

    /// Makes an interrupted job the next one to run. Its attempt was not a failure.
    pub(crate) fn put_back_first(&mut self, number: u32, now: Duration) {
        self.fronts += 1;
        let turn = FIRST_TURN - self.fronts;
        let job = self.job_mut(number);
        job.extras().interruptions += 1;
        (job.state, job.at, job.turn) = (JobState::Ready, now, turn);
        let kind = job.kind;
        self.ready.push_first(kind, turn, number);
    }

    /// Moves the job to the dead set.
    pub(crate) fn bury(&mut self, number: u32, now: Duration) {
        let job = self.job_mut(number);
        job.state = JobState::Dead;
        job.extras().deaths += 1;
        self.lay_with_the_dead(number, now);
    }

    fn lay_with_the_dead(&mut self, number: u32, now: Duration) {
        for forgotten in self.dead.push(now, number) {
            self.job_mut(forgotten).state = JobState::Forgotten;
        }
        self.over(number);
    }

    /// Moves the job to the dead set because another job has its lock. This is not a failure, and nobody is notified.
    pub(crate) fn reject(&mut self, number: u32, now: Duration, reason: String) {
        self.withdraw(number);
        let job = self.job_mut(number);
        job.state = JobState::Dead;
        let extras = job.extras();
        (extras.error, extras.rejected) = (Some(reason), true);
        self.lay_with_the_dead(number, now);
    }

    /// Moves a job that could not run to the dead set, with the reason.
    pub(crate) fn bury_unrun(&mut self, number: u32, now: Duration, reason: String) {
        self.note_failure(number, now, reason);
        self.job_mut(number).could_not_run = true;
        self.bury(number, now);
    }

    /// Ends the job regardless of its state: it was popped by a drain, discarded or cleared.
    pub(crate) fn give_up(&mut self, number: u32, state: JobState) {
        self.withdraw(number);
        self.job_mut(number).state = state;
        self.over(number);
    }

    /// Moves a job from the dead set to the ready jobs. Returns false if it is not there.
    pub(crate) fn retry_dead(&mut self, number: u32, now: Duration) -> bool {
        let was_dead = self.dead.remove(number);
        if was_dead {
            self.job_mut(number).history.ended = 0;
            self.set_ready(number, now);
        }
        was_dead
    }

    /// Removes and returns all jobs, when the world ends.
    pub(crate) fn take_jobs(&mut self) -> Vec<Job> {
        std::mem::take(&mut self.jobs)
    }

    /// Records that the worker of a running job died at `now`.
    pub(crate) fn worker_died(&mut self, number: u32, delivery: Delivery, now: Duration) {
        match delivery {
            Delivery::AtLeastOnce => {
                let over = self.lease_end(number).unwrap_or(now.saturating_add(LEASE)).max(now);
                self.wait(number, over, JobState::Leased);
            }
            Delivery::AtMostOnce => {
                self.job_mut(number).state = JobState::Lost;
                self.ends(number);
                self.leave_stream(number);
            }
        }
    }

    /// The worker of a running job stalls past its lease. The job is redelivered when the lease ends. Returns that
    /// time.
    pub(crate) fn lease_runs_out(&mut self, number: u32, now: Duration) -> Duration {
        let over = self.lease_end(number).unwrap_or(now.saturating_add(LEASE));
        self.wait(number, over, JobState::Leased);
        over
    }

    /// Reports whether this attempt still holds the lease of its job.
    pub(crate) fn is_held_by(&self, number: u32, attempt: u32) -> bool {
        let job = self.job(number);
        job.state == JobState::Running && job.attempts == attempt
    }

    /// Reports whether no job is ready and no job waits for a time.
    pub(crate) fn is_idle(&self) -> bool {
        self.ready.len() == 0 && self.timed.is_empty()
    }

    /// Counts a job that has an ancestor of its own kind. Returns the number of such jobs with the same root.
    pub(crate) fn count_in_family(&mut self, number: u32) -> u32 {
        let (kind, mut parent) = (self.job(number).kind, self.job(number).parent);
        while parent != 0 && self.job(parent).kind != kind {
            parent = self.job(parent).parent;
        }
        if parent == 0 {
            return 0;
        }
        let size = self.families.entry(self.job(number).root).or_insert(0);
        *size += 1;
        *size
    }

    /// The kinds on the way from a job to its ancestors until a kind repeats: the cycle in which jobs enqueue jobs.
    pub(crate) fn cycle(&self, number: u32) -> Vec<&'static str> {
        let mut kinds = vec![self.job(number).kind];
        let mut parent = self.job(number).parent;
        while parent != 0 {
            let kind = self.job(parent).kind;
            kinds.push(kind);
            if kinds[0] == kind {
                break;
            }
            parent = self.job(parent).parent;
        }
        kinds.reverse();
        kinds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn enqueue(queue: &mut Queue, payload: &str, due: Duration) -> JobId {
        let new = New { kind: "k", payload: payload.to_owned(), due, parent: 0, stream: None, serial: None };
        queue.enqueue(new, Duration::ZERO).1
    }

    fn take(queue: &mut Queue) -> Option<u32> {
        let job = queue.heads().next()?.job;
        queue.take(job);
        Some(job)
    }

    #[test]
    fn jobs_become_ready_in_the_order_of_their_time() {
        let mut queue = Queue::default();
        enqueue(&mut queue, "late", 9 * S);
        enqueue(&mut queue, "soon", 2 * S);
        enqueue(&mut queue, "now", Duration::ZERO);
        assert_eq!(take(&mut queue), Some(3));
        assert_eq!(take(&mut queue), None);
        queue.promote(10 * S);
        assert_eq!((take(&mut queue), take(&mut queue), take(&mut queue)), (Some(2), Some(1), None));
    }

    #[test]
    fn a_job_whose_worker_died_comes_back_when_the_lease_ends() {
        let mut queue = Queue::default();
        enqueue(&mut queue, "x", Duration::ZERO);
        let job = take(&mut queue).unwrap();
        queue.worker_died(job, Delivery::AtLeastOnce, 5 * S);
        queue.promote(5 * S + LEASE - S);
        assert_eq!(take(&mut queue), None);
        queue.promote(5 * S + LEASE);
        assert_eq!(take(&mut queue), Some(job));
        assert_eq!(queue.job(job).attempts, 2);
        queue.worker_died(job, Delivery::AtMostOnce, 5 * S);
        assert!(queue.is_idle());
        assert_eq!(queue.job(job).state, JobState::Lost);
    }

    #[test]
    fn of_a_stream_the_first_may_come_next_and_of_those_that_are_scheduled_the_one_that_is_due_first() {
        let mut queue = Queue::default();
        for (due, stream) in [(0, "s"), (5, "s"), (3, "s"), (9, "t")] {
            let (payload, stream) = (String::new(), Some(stream.into()));
            let new = New { kind: "k", payload, due: due * S, parent: 0, stream, serial: None };
            queue.enqueue(new, Duration::ZERO);
        }
        let may = |queue: &Queue| (1..=4).filter(|&job| queue.may_come_next(job)).collect::<Vec<_>>();
        assert_eq!(may(&queue), [1, 4]);
        queue.give_up(1, JobState::Cleared);
        assert_eq!(may(&queue)[1..], [3, 4]);
        // A job that is taken early stands in its stream from then on, even while it waits for a retry.
        queue.take(3);
        queue.retry(3, 30 * S);
        assert_eq!(may(&queue), [4]);
        queue.promote(5 * S);
        assert_eq!(may(&queue), [3, 4]);
    }

    #[test]
    fn ids_derive_from_content_and_occurrence() {
        let mut one = Queue::default();
        let mut other = Queue::default();
        let a = enqueue(&mut one, "a", S);
        let b = enqueue(&mut one, "b", S);
        enqueue(&mut other, "extra", S);
        assert_eq!(enqueue(&mut other, "b", S), b);
        assert_eq!(enqueue(&mut other, "a", S), a);
        assert_ne!(enqueue(&mut other, "a", S), a);
    }
}
