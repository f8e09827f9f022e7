//! What can be counted in a world, as on Sidekiq's dashboard.

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
    /// Jobs that are ready to be taken.
    pub enqueued: usize,
    /// Jobs that are ready, but for those before them in their streams.
    pub blocked: usize,
    /// Jobs that wait for their time.
    pub scheduled: usize,
    /// Jobs that wait to be tried again.
    pub retries: usize,
    /// Jobs whose worker died, that wait for their lease to end.
    pub leased: usize,
    /// Jobs in the dead set.
    pub dead: usize,
    /// Attempts that ended, well or not.
    pub processed: u64,
    /// Those that failed.
    pub failed: u64,
    /// Slots in which a job runs now.
    pub busy: usize,
    /// Slots of all living processes.
    pub slots: usize,
    /// How long the first job of each queue has been ready; of queues in which one is.
    pub latency: BTreeMap<Name, Duration>,
    /// Busy slot time by available slot time, in virtual time; 0 while no time has passed. A slot whose attempt waits
    /// for the lock of a unique job is busy, but not used.
    pub utilisation: f64,
}

impl World {
    /// What can be counted now.
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
