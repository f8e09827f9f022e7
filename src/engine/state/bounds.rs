//! What would go on for ever is stopped, and named.

use std::time::Duration;

use super::{Mode, State};
use crate::system::job::short_kind;

/// How long a chain of jobs that enqueue jobs may be: past it, it is taken for one that never ends.
const LONGEST_CHAIN: u32 = 1_000;

/// How many jobs may come of one job whose kind was among those before them already. Fewer where each run must be short.
const LARGEST_FAMILY: u32 = 10_000;
const LARGEST_EXPLORED_FAMILY: u32 = 1_000;

/// How often a job may be put back for later.
const MOST_PUT_BACK: u32 = 1_000;

/// Why a run can go no further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stuck {
    /// JobOverrides happened than a run may hold.
    #[error("{steps} steps and no end: {who} goes on for ever, or longer than `Explore::max_steps` allows")]
    StepLimit {
        /// How many.
        steps: u64,
        /// Whose turn it was.
        who: String,
    },
    /// Jobs enqueue jobs without end.
    #[error("{depth} jobs in a row were each enqueued by the one before, and no end: {}; stop the chain, or run one step of it with `drain_all().recursive(false)` or `perform_one`", cycle.join(" → "))]
    Endless {
        /// How long the chain has become.
        depth: u32,
        /// The kinds of the jobs in it, from one to the next of the same kind.
        cycle: Vec<String>,
    },
    /// Jobs enqueue more jobs of their own kind than ever end.
    #[error("{size} jobs came of job#{root}, each below one of its own kind, and no end: {}; stop the growth, or run a part of it with `drain_all().limit(…)` or `perform_one`", cycle.join(" → "))]
    Growing {
        /// The job that began it.
        root: u32,
        /// How many have come of it.
        size: u32,
        /// The kinds from one of them to the next of the same kind.
        cycle: Vec<String>,
    },
    /// A job is put back for later without end.
    #[error(
        "job#{job} {kind} was put back {times} times, and no end: {why}; let it end, fail, or be discarded some time"
    )]
    PutBack {
        /// The number of the job.
        job: u32,
        /// Its kind.
        kind: String,
        /// How often.
        times: u32,
        /// What put it back the last time.
        why: String,
    },
    /// Everything waits and no timer is set.
    #[error("deadlock: nothing can go on and no timer is set; {}", waiting.join("; "))]
    Deadlock {
        /// Who waits, and where it called last.
        waiting: Vec<String>,
    },
    /// A destructor calls to the outside while its process dies, and nobody has stated what it is to be given.
    #[error(
        "a destructor of {who} calls {call} at {place} while its process dies, and it is not stated what it gets: state it with `fails_as`"
    )]
    Unanswerable {
        /// Whose destructor.
        who: String,
        /// `db.unlock`
        call: String,
        /// Where it is called.
        place: String,
    },
    /// Threads of blocking handlers wait for locks of their own. They cannot be ended: they are left behind.
    #[error("deadlock: nothing can go on and no timer is set; {}", waiting.join("; "))]
    Locked {
        /// Who waits, for whom, and where it was last.
        waiting: Vec<String>,
    },
}

impl Stuck {
    /// Which sort it is, by a name that stays the same.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::StepLimit { .. } => "for ever",
            Self::Endless { .. } => "endless",
            Self::Growing { .. } => "growing",
            Self::PutBack { .. } => "put back",
            Self::Deadlock { .. } | Self::Locked { .. } => "deadlock",
            Self::Unanswerable { .. } => "unanswerable",
        }
    }
}

impl State {
    /// A job has come into the queue: whether the jobs that enqueue one another ever end.
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

    /// An attempt was interrupted, which is no failure: the job is the next one to be taken. A request was cut off.
    pub(crate) fn interrupted(&mut self, job: u32) {
        let now = self.clock.now();
        match self.queue.job(job).request() {
            None => self.queue.put_back_first(job, now),
            Some(_) => self.queue.worker_died(job, self.delivery(job), now),
        }
    }

    /// The job comes again at `due`; its attempt was no failure. `why`, in words.
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
