//! Stops runs that would never end, and says why.

use std::time::Duration;

use super::stuck::Stuck;
use super::{Mode, Shared, State, lock};
use crate::search::choice::{Actor, Choice, DeviationSpec, Place, Site};
use crate::system::job::{JobState, short_kind};
use crate::system::timeline::Event;

/// The number of attempts of a job that may outlive its lease in a run.
const MOST_OUTLIVED_LEASES: u32 = 50;

/// The maximum length of a chain of jobs that enqueue jobs. A longer chain is considered endless.
const LONGEST_CHAIN: u32 = 1_000;

/// The maximum number of descendants of one job that have an ancestor of the same kind. Lower if each run must be
/// short.
const LARGEST_FAMILY: u32 = 10_000;
const LARGEST_EXPLORED_FAMILY: u32 = 1_000;

/// The number of jobs from which a check may be too large.
const MANY: usize = 100;

/// The maximum number of times that a job may be put back.
const MOST_PUT_BACK: u32 = 1_000;

/// A run that hangs, as another thread sees it.
#[derive(Clone, Debug)]
pub(crate) struct Glimpse {
    pub(crate) choices: Vec<Choice>,
    pub(crate) inputs: Vec<DeviationSpec>,
    pub(crate) events: Vec<Event>,
    pub(crate) stuck: Stuck,
}

impl Shared {
    /// Returns the current state of the run. While a service answers, this is the state at the beginning of the call.
    pub(crate) fn glimpse(&self, time: Duration) -> Option<Glimpse> {
        match self.try_state() {
            Some(state) => Some(state.glimpse(time)),
            None => lock(&self.glimpsed).clone().map(|glimpse| glimpse.after(time)),
        }
    }

    /// Keeps the state before a service answers: the service is code of the test and may hang while the state is locked.
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
    /// An attempt has outlived its lease. The run is stuck if that happens again and again.
    pub(super) fn outlives_lease(&mut self, job: u32) {
        let times = self.queue.outlived_leases(job);
        if let Some(lease) = self.lease(job).filter(|_| times >= MOST_OUTLIVED_LEASES) {
            let kind = short_kind(self.queue.job(job).kind).to_owned();
            self.search.get_stuck(Stuck::LeaseTooShort { job, kind, lease, times });
        }
    }

    /// Decides whether the run has too many steps because something loops, or because there is too much to do.
    pub(super) fn reach_step_limit(&mut self) {
        let (steps, jobs) = (self.search.max_steps, self.queue.jobs().len());
        let done = self.queue.jobs().iter().filter(|job| job.state == JobState::Done).count();
        let since_last = self.search.steps - self.search.last_end;
        // An endless loop keeps other jobs from ending, or the test has few jobs.
        if done >= MANY && self.given_jobs >= MANY && since_last < steps / 10 {
            let enough = 2 * steps * jobs as u64 / done as u64;
            let enough = enough.next_multiple_of(1_000);
            return self.search.get_stuck(Stuck::TooLarge { steps, done, jobs, enough });
        }
        let last = self.timeline.last_actor().filter(|_| self.actor() == Actor::Test);
        let who = last.unwrap_or(self.actor()).to_string();
        self.search.get_stuck(Stuck::StepLimit { steps, who });
    }

    /// Returns the current state of the run.
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

    /// Describes the code that runs now, and its last call.
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
            (Some(own), _) => format!("its last call was {}", call(own)),
            (None, Some((by, others))) => format!("the last call before was {by}'s {}", call(others)),
            (None, None) => "there was no call before".to_owned(),
        };
        Stuck::Unresponsive { who, last, time }
    }

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

    /// An attempt was interrupted, which is no failure: the job is the next one to be taken. A request was cut off.
    pub(crate) fn interrupted(&mut self, job: u32) {
        let now = self.clock.now();
        match self.queue.job(job).request() {
            None => self.queue.put_back_first(job, now),
            Some(_) => self.queue.worker_died(job, self.delivery(job), now),
        }
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
