//! What would go on for ever is stopped, and named.

use std::time::Duration;

use super::{Mode, Shared, State, lock};
use crate::search::choice::{Actor, Choice, Place, Site, Wanted};
use crate::system::job::{JobState, short_kind};
use crate::system::timeline::Event;

/// How long a chain of jobs that enqueue jobs may be: past it, it is taken for one that never ends.
const LONGEST_CHAIN: u32 = 1_000;

/// How many jobs may come of one job whose kind was among those before them already. Fewer where each run must be short.
const LARGEST_FAMILY: u32 = 10_000;
const LARGEST_EXPLORED_FAMILY: u32 = 1_000;

/// So many jobs that a test enqueues, and that are done, are a large check.
const MANY: usize = 100;

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
    /// More correct jobs than the steps of a run are enough for.
    #[error(
        "{done} of {jobs} jobs were done after {steps} steps, which is all that `Explore::max_steps` allows: this check is too large; check fewer jobs at once, or set `max_steps({enough})`"
    )]
    TooLarge {
        /// How many steps.
        steps: u64,
        /// The jobs that were done by then.
        done: usize,
        /// The jobs there are.
        jobs: usize,
        /// A limit that would do.
        enough: u64,
    },
    /// Code under test does not come back: it blocks its thread, or runs for ever without a call or an await.
    #[error(
        "{who} did not come back for {time:?} of real time: it blocks its thread, or goes on for ever without a call or an await; {last}. Give what it waits for a timeout; in an async handler, hold no lock of the standard library over an await, and leave what blocks to `handle_blocking`"
    )]
    Unresponsive {
        /// Whose code it is.
        who: String,
        /// The last call before that, whose and where, in words.
        last: String,
        /// How long it was waited for ([`Explore::watchdog`](crate::Explore::watchdog)).
        time: Duration,
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
            Self::TooLarge { .. } => "too large",
            Self::Unresponsive { .. } => "unresponsive",
        }
    }
}

/// A run that does not come to its end, as it was seen from another thread.
#[derive(Clone, Debug)]
pub(crate) struct Glimpse {
    pub(crate) choices: Vec<Choice>,
    pub(crate) inputs: Vec<Wanted>,
    pub(crate) events: Vec<Event>,
    pub(crate) stuck: Stuck,
}

impl Shared {
    /// Where the run is. If somebody is at its state (a service that answers), where it was when that began.
    pub(crate) fn glimpse(&self, time: Duration) -> Option<Glimpse> {
        match self.try_state() {
            Some(state) => Some(state.glimpse(time)),
            None => lock(&self.glimpsed).clone().map(|glimpse| glimpse.after(time)),
        }
    }

    /// A service is about to answer, which is code of the test's: if it does not come back, this is where it was.
    pub(crate) fn leave_glimpse(&self, state: &State) {
        *lock(&self.glimpsed) = Some(state.glimpse(Duration::ZERO));
    }
}

impl Glimpse {
    fn after(mut self, waited: Duration) -> Self {
        if let Stuck::Unresponsive { time, .. } = &mut self.stuck {
            *time = waited;
        }
        self
    }
}

impl State {
    /// The run has had more steps than it may have: because somebody goes on for ever, or because of all that there is to do.
    pub(super) fn reach_step_limit(&mut self) {
        let (steps, jobs) = (self.search.max_steps, self.queue.jobs().len());
        let done = self.queue.jobs().iter().filter(|job| job.state == JobState::Done).count();
        let since_last = self.search.steps - self.search.last_end;
        // Whoever goes on for ever keeps others from ending, or there are few jobs of the test's.
        if done >= MANY && self.given_jobs >= MANY && since_last < steps / 10 {
            let enough = 2 * steps * jobs as u64 / done as u64;
            let enough = enough.next_multiple_of(1_000);
            return self.search.get_stuck(Stuck::TooLarge { steps, done, jobs, enough });
        }
        let last = self.timeline.last_actor().filter(|_| self.actor() == Actor::Test);
        let who = last.unwrap_or(self.actor()).to_string();
        self.search.get_stuck(Stuck::StepLimit { steps, who });
    }

    /// Where the run is, for whoever cannot wait for its end.
    pub(super) fn glimpse(&self, time: Duration) -> Glimpse {
        Glimpse {
            choices: self.search.choices().to_vec(),
            inputs: self.inputs.words(),
            events: self.timeline.events().to_vec(),
            stuck: match self.search.stuck() {
                Some(stuck) if !self.search.is_out_of_time() => stuck.clone(),
                _ => self.unresponsive(time),
            },
        }
    }

    /// Whose code runs now, and where it called last.
    pub(crate) fn unresponsive(&self, time: Duration) -> Stuck {
        let actor = match self.actor() {
            Actor::Test => self.ending.map_or(Actor::Test, |(_, attempt)| attempt),
            actor => actor,
        };
        let kind = |job: u32| short_kind(self.queue.job(job).kind);
        let who = match (self.ending, actor) {
            (Some((process, Actor::Attempt { .. })), _) => {
                format!("a destructor of `{process}` (it died in {actor})")
            }
            (Some((process, _)), _) => format!("a destructor of `{process}`"),
            (None, Actor::Test) => "the test body".to_owned(),
            (None, Actor::Process(process)) => format!("the process `{process}`"),
            (None, Actor::Task(name)) => format!("the task `{name}`"),
            (None, Actor::Attempt { job, .. }) => format!("{actor} {}", kind(job)),
        };
        let call = |(place, site): (Place, Site)| match site {
            Site::Call { service, operation } => format!("`{service}.{operation}` at {place}"),
            _ => format!("at {place}"),
        };
        let own = self.timeline.last_call(actor).or_else(|| self.timeline.called_at(actor));
        let others = || self.timeline.last_actor().and_then(|by| Some((by, self.timeline.last_call(by)?)));
        let last = match (own, others()) {
            (Some(own), _) => format!("it called last {}", call(own)),
            (None, Some((by, others))) => format!("the last call before was {by}'s {}", call(others)),
            (None, None) => "nobody had called before".to_owned(),
        };
        Stuck::Unresponsive { who, last, time }
    }

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
