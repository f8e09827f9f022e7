//! Jobs with a key: at most one job for each key at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Queue;
use crate::system::job::{JobId, JobState};

/// The last job that was enqueued under each key, and its id.
pub(super) type ByKey = BTreeMap<Box<str>, (u32, JobId)>;

impl Queue {
    /// The job that has this key, as long as it exists. A job that succeeded does not exist any more.
    pub(crate) fn with_key(&self, key: &str) -> Option<(u32, JobId)> {
        let &(number, id) = self.by_key.get(key)?;
        let state = self.job(number).state;
        let is_there = state.is_waiting() || matches!(state, JobState::Running | JobState::Dead);
        is_there.then_some((number, id))
    }

    /// Gives the key to the job.
    pub(crate) fn give_key(&mut self, key: Box<str>, number: u32, id: JobId) {
        self.by_key.insert(key, (number, id));
    }

    /// Turns a waiting job into another one. It keeps its number and its id.
    pub(crate) fn turn_into(
        &mut self,
        number: u32,
        kind: &'static str,
        payload: String,
        serial: Option<Box<str>>,
    ) {
        self.withdraw(number);
        self.leave_stream(number);
        self.streams.forget(number);
        if let Some(name) = serial {
            self.streams.assign_serial(number, name);
        }
        let job = self.job_mut(number);
        let former = std::mem::replace(&mut job.payload, payload.into_boxed_str());
        job.kind = kind;
        let extras = job.extras();
        extras.came_as.get_or_insert(former);
        (extras.failures, extras.error, extras.since) = (0, None, None);
    }

    /// A job that was withdrawn waits again, like a new job.
    pub(crate) fn wait_as_new(&mut self, number: u32, due: Duration, now: Duration) {
        self.job_mut(number).history.due = due.max(now);
        if due <= now {
            self.set_ready(number, now);
        } else {
            self.wait(number, due, JobState::Scheduled);
        }
    }

    /// Another job has taken the key. If this job has already begun, it is not retried.
    pub(crate) fn supersede(&mut self, number: u32) {
        match self.job(number).state {
            JobState::Leased => self.give_up(number, JobState::Replaced),
            JobState::Running => {
                let job = self.job_mut(number);
                job.extras().superseded = true;
                job.copies = 1;
            }
            _ => {}
        }
    }

    /// Reports whether a job that would wait again is over instead because another job has its key.
    pub(super) fn is_over_instead(&mut self, number: u32) -> bool {
        let job = self.job_mut(number);
        if !job.extras.as_ref().is_some_and(|extras| extras.superseded) {
            return false;
        }
        job.state = JobState::Replaced;
        self.over(number);
        true
    }
}
