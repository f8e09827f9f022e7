//! Counts of a world, like those on Sidekiq's dashboard.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::World;
use crate::search::choice::Name;
use crate::system::job::JobState;

/// Counts of a world.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// The number of jobs that are ready to run.
    pub enqueued: usize,
    /// The number of jobs that are ready, but wait for earlier jobs of their streams.
    pub blocked: usize,
    /// The number of jobs that wait for their time.
    pub scheduled: usize,
    /// The number of jobs that wait for a retry.
    pub retries: usize,
    /// The number of jobs whose worker crashed, and that wait for their lease to end.
    pub leased: usize,
    /// The number of jobs in the dead set.
    pub dead: usize,
    /// The number of attempts that ended, well or not.
    pub processed: u64,
    /// The number of attempts that failed.
    pub failed: u64,
    /// The number of slots that run a job now.
    pub busy: usize,
    /// The number of slots of all running processes.
    pub slots: usize,
    /// How long the first job of each queue has been ready, for queues with ready jobs.
    pub latency: BTreeMap<Name, Duration>,
    /// The share of the available slot time that was busy, in virtual time. 0 while no time has passed. A slot whose
    /// attempt waits for the lock of a unique job is busy, but not used.
    pub utilisation: f64,
}

impl World {
    /// Returns the present counts.
    pub fn stats(&self) -> Stats {
        let state = self.shared.state();
        let (now, counts) = (state.clock.now(), state.queue.counts());
        let mut stats = Stats {
            enqueued: state.queue.ready_count(),
            blocked: state.queue.blocked_count(),
            dead: state.queue.dead().len(),
            processed: counts.processed,
            failed: counts.failed,
            busy: state.usage.busy,
            slots: state.usage.slots,
            utilisation: state.usage.utilisation(),
            ..Stats::default()
        };
        for (_, job) in state.queue.timed() {
            match state.queue.job(job).state {
                JobState::Scheduled => stats.scheduled += 1,
                JobState::Retrying => stats.retries += 1,
                _ => stats.leased += 1,
            }
        }
        for head in state.queue.heads() {
            let waited = now - state.queue.job(head.job).at;
            let latency = stats.latency.entry(state.queue_of(head.kind)).or_default();
            *latency = waited.max(*latency);
        }
        stats
    }
}
