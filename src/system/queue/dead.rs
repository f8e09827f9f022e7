//! The dead set and its limits.

use std::collections::VecDeque;
use std::time::Duration;

/// The maximum number of jobs in the dead set, as in Sidekiq.
pub(crate) const MOST_DEAD: usize = 10_000;
/// The time that a job stays in the dead set, as in Sidekiq.
pub(crate) const DEAD_FOR: Duration = Duration::from_secs(180 * 86_400);

/// Jobs that failed too often, in the order in which they died.
#[derive(Debug, Default, Hash)]
pub(crate) struct DeadSet {
    jobs: VecDeque<(Duration, u32)>,
}

impl DeadSet {
    /// Adds a job, and returns the jobs that are removed because of the limits.
    pub(crate) fn push(&mut self, now: Duration, job: u32) -> Vec<u32> {
        self.jobs.push_back((now, job));
        let mut forgotten = Vec::new();
        while let Some(&(died, oldest)) = self.jobs.front() {
            if self.jobs.len() <= MOST_DEAD && now - died <= DEAD_FOR {
                break;
            }
            self.jobs.pop_front();
            forgotten.push(oldest);
        }
        forgotten
    }

    /// Removes a job. Returns false if it is not there.
    pub(crate) fn remove(&mut self, job: u32) -> bool {
        let at = self.jobs.iter().position(|&(_, dead)| dead == job);
        at.is_some_and(|at| self.jobs.remove(at).is_some())
    }

    pub(crate) fn jobs(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        self.jobs.iter().map(|&(_, job)| job)
    }
}
