//! The times of a job's events in a run. The orders of jobs that a run allows are derived from them.

use std::hash::{Hash, Hasher};
use std::time::Duration;

/// The times of a job's events.
///
/// Ticks order the events of a run. They count from 1, each event has its own tick, and 0 means never. The times
/// alone are not enough, because most of a run happens at one moment of virtual time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct History {
    /// The time at which the job entered the world.
    pub(crate) born_at: Duration,
    /// The time at which the job was first due.
    pub(crate) due: Duration,
    /// The tick and the time at which its first attempt began.
    pub(crate) began: u32,
    pub(crate) began_at: Duration,
    /// The tick and the time at which the job was over: the queue will not deliver it again. An attempt may still be
    /// running then, but its effects come too late.
    pub(crate) ended: u32,
    pub(crate) ended_at: Duration,
    /// The tick at which it last succeeded.
    pub(crate) succeeded: u32,
}

impl Hash for History {
    /// Runs that continue from one state are merged if the same events happened in the same order, regardless of the
    /// times.
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.began, self.ended, self.succeeded).hash(state);
    }
}
