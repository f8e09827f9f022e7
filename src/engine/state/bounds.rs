//! Stops runs that would never end, and says why.

use std::time::Duration;

use super::{Mode, State};
use crate::system::job::short_kind;

/// The maximum length of a chain of jobs that enqueue jobs. A longer chain is considered endless.
const LONGEST_CHAIN: u32 = 1_000;

/// The maximum number of descendants of one job that have an ancestor of the same kind. Lower if each run must be
/// short.
const LARGEST_FAMILY: u32 = 10_000;
const LARGEST_EXPLORED_FAMILY: u32 = 1_000;

/// The maximum number of times that a job may be put back.
const MOST_PUT_BACK: u32 = 1_000;

/// The reason why a run cannot continue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stuck {
    /// The run took more steps than allowed.
    #[error("{steps} steps and no end: {who} runs forever, or longer than `Explore::max_steps` allows")]
    StepLimit {
        /// The number of steps.
        steps: u64,
        /// The actor of the last step.
        who: String,
    },
    /// Jobs enqueue jobs without end.
    #[error("{depth} jobs in a row were each enqueued by the one before, and no end: {}; stop the chain, or run one step of it with `drain_all().recursive(false)` or `perform_one`", cycle.join(" → "))]
    Endless {
        /// The length of the chain.
        depth: u32,
        /// The kinds of the jobs in it, up to the next of the same kind.
        cycle: Vec<String>,
    },
    /// Jobs enqueue jobs of their own kind faster than jobs end.
    #[error("{size} jobs descend from job#{root}, each below one of its own kind, and no end: {}; stop the growth, or run a part of it with `drain_all().limit(…)` or `perform_one`", cycle.join(" → "))]
    Growing {
        /// The first job.
        root: u32,
        /// The number of its descendants.
        size: u32,
        /// The kinds from one of them to the next of the same kind.
        cycle: Vec<String>,
    },
    /// A job is put back for later without end.
    #[error(
        "job#{job} {kind} was put back {times} times, and no end: {why}; let it end, fail, or be discarded eventually"
    )]
    PutBack {
        /// The number of the job.
        job: u32,
        /// Its kind.
        kind: String,
        /// The number of times.
        times: u32,
        /// The last reason.
        why: String,
    },
    /// Every task waits, and no timer is set.
    #[error("deadlock: nothing can go on and no timer is set; {}", waiting.join("; "))]
    Deadlock {
        /// The waiting tasks, each with the place of its last call.
        waiting: Vec<String>,
    },
    /// A destructor makes an external call while its process dies, and the test defines no answer.
    #[error(
        "a destructor of {who} calls {call} at {place} while its process dies, and has no answer defined: define one with `on_fault`"
    )]
    Unanswerable {
        /// The owner of the destructor.
        who: String,
        /// `db.unlock`
        call: String,
        /// The place of the call.
        place: String,
    },
    /// Threads of blocking handlers wait for locks of their own. They cannot be ended, so they are left behind.
    #[error("deadlock: nothing can go on and no timer is set; {}", waiting.join("; "))]
    Locked {
        /// The waiting threads, each with its last place and the thread that it waits for.
        waiting: Vec<String>,
    },
}

impl Stuck {
    /// A stable name for this reason.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::StepLimit { .. } => "forever",
            Self::Endless { .. } => "endless",
            Self::Growing { .. } => "growing",
            Self::PutBack { .. } => "put back",
            Self::Deadlock { .. } | Self::Locked { .. } => "deadlock",
            Self::Unanswerable { .. } => "unanswerable",
        }
    }
}

impl State {
    /// A job has entered the queue. Checks whether jobs enqueue each other without end.
    pub(super) fn bound_family(&mut self, job: u32) {
        let coming = self.queue.job(job);
        let (depth, root) = (coming.depth, coming.root);
        if depth == 0 || self.search.is_stuck() {
            return;
        }
        let size = self.queue.count_in_family(job);
        let most = if self.search.mode() == Mode::Plain { LARGEST_FAMILY } else { LARGEST_EXPLORED_FAMILY };
        if depth < LONGEST_CHAIN && size <= most {
            return;
        }
        let cycle = self.queue.cycle(job).into_iter().map(str::to_owned).collect();
        self.search.get_stuck(match depth {
            LONGEST_CHAIN.. => Stuck::Endless { depth, cycle },
            _ => Stuck::Growing { root, size, cycle },
        });
    }

    /// Runs the job again at `due`. Its attempt was not a failure. `why` is the reason in readable form.
    pub(crate) fn put_back(&mut self, job: u32, due: Duration, why: impl FnOnce() -> String) {
        let now = self.clock.now();
        self.queue.put_back(job, now, due);
        let put_back = self.queue.job(job);
        let times = put_back.extras.as_ref().map_or(0, |extras| extras.interruptions);
        if times >= MOST_PUT_BACK && !self.search.is_stuck() {
            let kind = short_kind(put_back.kind).to_owned();
            self.search.get_stuck(Stuck::PutBack { job, kind, times, why: why() });
        }
    }
}
