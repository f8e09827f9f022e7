//! Enqueues a job that overrides options of its kind: in one step, even if another job has its key.

use super::{EnqueueOutcome, IncomingJob, State};
use crate::system::job::{Conflict, JobId, JobKey, JobOverrides, JobState, KeyMode};
use crate::system::queue::{HeldLock, LockOwner};
use crate::system::timeline::{EventKind, LockEvent};

impl State {
    /// Enqueues the job. The locks of unique jobs do not apply to it.
    pub(super) fn enqueue_with_overrides(
        &mut self,
        more: JobOverrides,
        mut incoming: IncomingJob,
    ) -> EnqueueOutcome {
        let JobOverrides { max_retries, key, serial } = more;
        incoming.serial = serial;
        let former = key.as_ref().and_then(|key| self.queue.with_key(&key.key));
        let (job, id) = match (key, former) {
            (None, _) => self.push_job(incoming),
            (Some(key), None) => self.enqueue_keyed(key, incoming),
            (Some(key), Some((former, id))) => {
                self.note_key(&key, former, id);
                let state = self.queue.job(former).state;
                match key.mode {
                    KeyMode::Leave => return EnqueueOutcome::Duplicate(id),
                    _ if state.is_waiting() && state != JobState::Leased => {
                        self.turn_into(former, &key, incoming);
                        (former, id)
                    }
                    _ => {
                        self.queue.supersede(former);
                        self.enqueue_keyed(key, incoming)
                    }
                }
            }
        };
        self.queue.job_mut(job).extras().max_retries = max_retries;
        EnqueueOutcome::Accepted(job, id)
    }

    fn enqueue_keyed(&mut self, key: JobKey, incoming: IncomingJob) -> (u32, JobId) {
        let (job, id) = self.push_job(incoming);
        self.queue.give_key(key.key, job, id);
        (job, id)
    }

    /// Turns a waiting job into the new one.
    fn turn_into(&mut self, former: u32, key: &JobKey, incoming: IncomingJob) {
        let IncomingJob { kind, payload, delay, serial, .. } = incoming;
        let now = self.clock.now();
        let job = self.queue.job(former);
        let keeps_its_time = key.mode == KeyMode::KeepTime && job.failures() == 0;
        let due = match job.state {
            _ if !keeps_its_time => now.saturating_add(delay),
            JobState::Scheduled => job.at,
            _ => now,
        };
        let payload = match key.merge {
            Some(merge) => merge(&job.payload, &payload),
            None => payload,
        };
        let (shown, later) = (payload.clone(), (due > now).then_some(due));
        self.note(|| EventKind::Enqueued { job: former, kind, payload: shown, due: later });
        self.queue.turn_into(former, kind, payload, serial);
        self.queue.wait_as_new(former, due, now);
    }

    /// Records that another job has the key.
    fn note_key(&mut self, key: &JobKey, former: u32, id: JobId) {
        let holder = self.holder(HeldLock { owner: LockOwner::Job(former), id: Some(id), expires: None });
        let then = match key.mode {
            KeyMode::Leave => Conflict::Drop,
            KeyMode::Replace | KeyMode::KeepTime => Conflict::Replace,
        };
        self.note(|| EventKind::Lock {
            key: key.key.to_string(),
            event: LockEvent::Conflict { holder, then },
        });
    }
}
