//! The reasons why a run cannot continue.

use std::time::Duration;

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
    /// The attempts of a job take longer than its lease, each time.
    #[error(
        "{times} attempts of job#{job} {kind} took longer than its lease of {lease:?}, and no end: set a longer `.lease(…)`, extend it during the work (`extend_lease`), or limit the deliveries (`.max_receives(…)`)"
    )]
    LeaseTooShort {
        /// The number of the job.
        job: u32,
        /// Its kind.
        kind: String,
        /// The lease.
        lease: Duration,
        /// The number of attempts.
        times: u32,
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
    /// The check has more jobs than the steps of a run are enough for.
    #[error(
        "this check is too large: {done} of {jobs} jobs were done after {steps} steps, the limit of `Explore::max_steps`; check fewer jobs at once, or set `max_steps({enough})`"
    )]
    TooLarge {
        /// The number of steps.
        steps: u64,
        /// The number of jobs that were done by then.
        done: usize,
        /// The number of all jobs.
        jobs: usize,
        /// A limit that is enough, by extrapolation.
        enough: u64,
    },
    /// Code under test hangs: it blocks its thread, or loops without a call or an await.
    #[error(
        "{who} hangs: it made no step for {time:?} of real time, so it blocks its thread, or loops without a call or an await; {last}. Give the wait a timeout; in an async handler, hold no lock of the standard library across an await, and move blocking code to `handle_blocking`"
    )]
    Unresponsive {
        /// The job, process or test body whose code hangs.
        who: String,
        /// The last call before that, in words.
        last: String,
        /// The timeout ([`Explore::watchdog`](crate::Explore::watchdog)).
        time: Duration,
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
            Self::LeaseTooShort { .. } => "lease too short",
            Self::Deadlock { .. } | Self::Locked { .. } => "deadlock",
            Self::Unanswerable { .. } => "unanswerable",
            Self::TooLarge { .. } => "too large",
            Self::Unresponsive { .. } => "unresponsive",
        }
    }
}
