//! The queue: what is ready, what waits for its time, what is dead. Knows nothing of handlers.
//!
//! The queue is durable: it outlives every crash. A job that a worker has taken is leased; when the worker dies, the
//! job comes back when the lease ends.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::effect::{Fingerprint, Occurrences};
use crate::job::{Delivery, Job, JobId, JobState};

/// How long after the death of its worker a leased job is handed out again (the visibility timeout).
pub(crate) const LEASE: Duration = Duration::from_secs(60);

/// All jobs of a world, and where each of them is.
#[derive(Debug, Default, Hash)]
pub(crate) struct Queue {
    jobs: Vec<Job>,
    ready: VecDeque<u32>,
    /// Scheduled, retrying and leased jobs, by the time at which they become ready.
    timed: BTreeMap<(Duration, u64), u32>,
    timed_so_far: u64,
    dead: Vec<u32>,
    /// Occurrences of each content, to derive ids from.
    seen: Occurrences,
}

impl Queue {
    /// Takes a new job in. `due` in the past or now: ready at once.
    pub(crate) fn enqueue(
        &mut self,
        kind: &'static str,
        payload: String,
        now: Duration,
        due: Duration,
    ) -> JobId {
        let number = self.jobs.len() as u32 + 1;
        let content = Fingerprint::of(&[kind, &payload]);
        let occurrence = self.seen.next(content.digest());
        let id = JobId::nth(content, occurrence);
        let state = JobState::Ready;
        let job = Job {
            number,
            kind,
            payload,
            attempts: 0,
            failures: 0,
            error: None,
            state,
            copies: 1,
            could_not_run: false,
        };
        self.jobs.push(job);
        if due <= now {
            self.ready.push_back(number);
        } else {
            self.wait(number, due, JobState::Scheduled);
        }
        id
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

    /// Ready jobs, the next one first.
    pub(crate) fn ready(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        self.ready.iter().copied()
    }

    /// Jobs that wait for their time, the next one first.
    pub(crate) fn timed(&self) -> impl ExactSizeIterator<Item = (Duration, u32)> + '_ {
        self.timed.iter().map(|((due, _), number)| (*due, *number))
    }

    pub(crate) fn dead(&self) -> &[u32] {
        &self.dead
    }

    /// When the next waiting job becomes ready.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.timed.first_key_value().map(|((due, _), _)| *due)
    }

    /// Makes ready what is due.
    pub(crate) fn promote(&mut self, now: Duration) {
        while let Some(first) = self.timed.first_entry() {
            if first.key().0 > now {
                break;
            }
            let number = first.remove();
            self.set_ready(number);
        }
    }

    fn set_ready(&mut self, number: u32) {
        self.job_mut(number).state = JobState::Ready;
        self.ready.push_back(number);
    }

    fn wait(&mut self, number: u32, due: Duration, state: JobState) {
        self.timed.insert((due, self.timed_so_far), number);
        self.timed_so_far += 1;
        self.job_mut(number).state = state;
    }

    /// The next ready job, leased to whoever asks. Its attempt is counted.
    pub(crate) fn take(&mut self) -> Option<u32> {
        let number = self.ready.pop_front()?;
        self.start(number);
        Some(number)
    }

    /// A certain ready or waiting job, whatever stands before it.
    pub(crate) fn take_out_of_turn(&mut self, number: u32) {
        if self.ready.front() == Some(&number) {
            self.ready.pop_front();
        } else {
            self.ready.retain(|&ready| ready != number);
            self.timed.retain(|_, &mut waiting| waiting != number);
        }
        self.start(number);
    }

    fn start(&mut self, number: u32) {
        let job = self.job_mut(number);
        job.state = JobState::Running;
        job.attempts += 1;
    }

    /// The job ended well.
    pub(crate) fn acknowledge(&mut self, number: u32) {
        let job = self.job_mut(number);
        job.copies -= 1;
        job.state = JobState::Done;
        if job.copies > 0 {
            self.set_ready(number);
        }
    }

    /// The job ended well, but the queue did not hear of it: it will hand it out once more.
    pub(crate) fn deliver_again(&mut self, number: u32) {
        self.job_mut(number).copies += 1;
    }

    /// The attempt failed; the job is tried again at `due`.
    pub(crate) fn retry(&mut self, number: u32, due: Duration, error: String) {
        let job = self.job_mut(number);
        job.failures += 1;
        job.error = Some(error);
        self.wait(number, due, JobState::Retrying);
    }

    /// The job goes to the dead set.
    pub(crate) fn bury(&mut self, number: u32, error: String) {
        let job = self.job_mut(number);
        job.failures += 1;
        job.error = Some(error);
        job.state = JobState::Dead;
        self.dead.push(number);
    }

    /// The attempt failed in a drain, which retries nothing: the job is popped.
    pub(crate) fn pop_failed(&mut self, number: u32, error: String) {
        let job = self.job_mut(number);
        job.failures += 1;
        job.error = Some(error);
        job.state = JobState::Popped;
    }

    /// All jobs, when the world ends.
    pub(crate) fn take_jobs(&mut self) -> Vec<Job> {
        std::mem::take(&mut self.jobs)
    }

    /// The worker of a running job died at `now`.
    pub(crate) fn worker_died(&mut self, number: u32, delivery: Delivery, now: Duration) {
        match delivery {
            Delivery::AtLeastOnce => self.wait(number, now + LEASE, JobState::Leased),
            Delivery::AtMostOnce => self.job_mut(number).state = JobState::Lost,
        }
    }

    /// Whether nothing is ready and nothing waits for its time.
    pub(crate) fn is_idle(&self) -> bool {
        self.ready.is_empty() && self.timed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn enqueue(queue: &mut Queue, payload: &str, due: Duration) -> JobId {
        queue.enqueue("k", payload.to_owned(), Duration::ZERO, due)
    }

    #[test]
    fn jobs_become_ready_in_the_order_of_their_time() {
        let mut queue = Queue::default();
        enqueue(&mut queue, "late", 9 * S);
        enqueue(&mut queue, "soon", 2 * S);
        enqueue(&mut queue, "now", Duration::ZERO);
        assert_eq!(queue.take(), Some(3));
        assert_eq!(queue.take(), None);
        queue.promote(10 * S);
        assert_eq!((queue.take(), queue.take(), queue.take()), (Some(2), Some(1), None));
    }

    #[test]
    fn a_job_whose_worker_died_comes_back_when_the_lease_ends() {
        let mut queue = Queue::default();
        enqueue(&mut queue, "x", Duration::ZERO);
        let job = queue.take().unwrap();
        queue.worker_died(job, Delivery::AtLeastOnce, 5 * S);
        queue.promote(5 * S + LEASE - S);
        assert_eq!(queue.take(), None);
        queue.promote(5 * S + LEASE);
        assert_eq!(queue.take(), Some(job));
        assert_eq!(queue.job(job).attempts, 2);
        queue.worker_died(job, Delivery::AtMostOnce, 5 * S);
        assert!(queue.is_idle());
        assert_eq!(queue.job(job).state, JobState::Lost);
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
