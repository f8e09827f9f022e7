//! When things happened to a job in a run: what the orders of jobs are derived from that the run allows.

use std::hash::{Hash, Hasher};
use std::time::Duration;

/// When things happened to a job.
///
/// Ticks order the events of a run. They count from 1, no two events have the same one, and 0 means never. They are
/// needed besides the times, since most of a run happens at one moment of virtual time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct History {
    /// When it came into the world.
    pub(crate) born_at: Duration,
    /// When it was first due.
    pub(crate) due: Duration,
    /// The tick at which its first attempt began, and when that was.
    pub(crate) began: u32,
    pub(crate) began_at: Duration,
    /// The tick at which it was over, and when that was: the queue has nothing of it to hand out any more. An attempt may
    /// still be under way then, and what that does comes too late.
    pub(crate) ended: u32,
    pub(crate) ended_at: Duration,
    /// The tick at which it last ended well.
    pub(crate) succeeded: u32,
}

impl Hash for History {
    /// Runs that go on from one state are merged if the same events happened in the same order, whatever the times.
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.began, self.ended, self.succeeded).hash(state);
    }
}
