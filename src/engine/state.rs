//! The state of a run, behind one lock: choices, time, ledger, queue. All modules below use the world through it.

mod actor;
mod failing;
mod flights;
mod intake;
mod keyed;
mod kinds;
mod pool;
mod record;
mod reliable;
mod stalls;
mod stuck;
mod search;
mod bounds;
mod woken;
mod stride;
mod touched;

pub use stuck::Stuck;

pub(crate) use bounds::Glimpse;
pub(crate) use flights::{CalledAs, Flight};
pub(crate) use intake::{DedupKey, EnqueueOutcome, IncomingJob, Keys, has_keys, has_order};
#[cfg(feature = "proptest")]
pub(crate) use kinds::DEFAULT_QUEUE;
pub(crate) use kinds::KindOptions;
pub(crate) use record::{Culprit, RunRecord};
pub(crate) use reliable::ReliableProcesses;
pub(crate) use search::{Mode, RunSearch};
pub(crate) use stride::{AfterStep, Overtaking, Stride, StrideChecks, Strides};
pub(crate) use woken::{TaskWaker, WakeQueue};

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use self::failing::Failing;
use self::flights::Flights;
use self::pool::PoolThreads;
use crate::engine::durables::Durables;
use crate::engine::external_calls::ExternalCalls;
use crate::engine::externals::Externals;
use crate::engine::simulation;
use crate::engine::slots::Sleepers;
use crate::engine::steps::{Resource, Steps};
use crate::search::choice::{
    Actor, Chooser, Deviation, DeviationKind, Ending, Fault, FaultSet, Label, Name, Options, Place, Point,
    Site,
};
use crate::search::input::Inputs;
use crate::system::clock::{TaskId, TimerId, VirtualClock, Wake};
use crate::system::connections::Connections;
use crate::system::effect::{Digits, Ledger, fingerprint};
use crate::system::generated::Generated;
use crate::system::hygiene::Hygiene;
use crate::system::job::{Delivery, JobId};
use crate::system::queue::{Head, New, Queue};
use crate::system::script::Script;
use crate::system::service::{Directory, STORE};
use crate::system::timeline::{EventKind, Timeline};

/// The failures of a world besides the usual ones, and the processes in which nothing fails.
#[derive(Debug, Default)]
pub(crate) struct WorldSettings {
    /// Whether timers and retries may be late: the settings ask for it, or something in the world expires.
    pub(crate) delays: bool,
    /// Processes in which nothing goes wrong.
    pub(crate) reliable: ReliableProcesses,
    /// Whether the queue may lose jobs that it has accepted.
    pub(crate) loses_jobs: bool,
    /// Whether a job may crash every worker that takes it.
    pub(crate) has_poison: bool,
    /// Whether a process may be stopped for a deploy at any wait.
    pub(crate) deploys: bool,
}

/// The part of a run behind the lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) search: RunSearch,
    /// The answers of the environment.
    pub(crate) inputs: Inputs,
    /// The settings of this world, by the test and the exploration.
    pub(crate) world: WorldSettings,
    /// The jobs that crash every worker that takes them.
    poison: BTreeSet<u32>,
    /// The code whose panic ended the run, if it was not the test body.
    pub(crate) culprit: Option<Culprit>,
    pub(crate) clock: VirtualClock,
    pub(crate) ledger: Ledger,
    pub(crate) queue: Queue,
    /// The options of each kind of job that has a handler. There are few kinds, and a map would allocate more.
    kinds: Vec<(&'static str, KindOptions)>,
    pub(crate) usage: Usage,
    /// Connections to the store.
    pub(crate) connections: Connections,
    /// In inline mode: the jobs to begin, and the tasks that wait for them.
    pub(crate) inline: Option<Inline>,
    /// The call that has failed last.
    failing: Failing,
    /// The calls that are under way.
    flights: Flights,
    /// The processes whose attempts keep values in thread-locals.
    thread_locals: BTreeSet<Name>,
    /// The kinds of processes with another version: a kind whose type has the same name in another module is the same.
    versioned_kinds: Vec<&'static str>,
    /// The time until which a loop stalls.
    stands_still_until: Duration,
    /// A buffer for the heads of the queue.
    pub(crate) heads: Vec<Head>,
    /// The count of numbers drawn for workers that looked for a job.
    pub(crate) fetches: u64,
    pub(crate) timeline: Timeline,
    /// The current actor: see [`State::as_actor`] and [`Shared::acting`].
    actor: Actor,
    /// The current task of the executor, and the address of its waker.
    task: Option<(TaskId, usize)>,
    /// The process that is torn down now, and the attempt that died with it.
    pub(crate) ending: Option<(Name, Actor)>,
    /// The number of jobs that the test body has enqueued.
    given_jobs: usize,
    /// Whether the task has yielded at a line and not at a call.
    pub(crate) at_line: bool,
    /// The things that each step touches, if equivalent orders of independent steps are explored only once.
    pub(crate) steps_taken: Option<Box<Steps>>,
    seed: u64,
    draws: BTreeMap<Actor, u64>,
    /// The generated values that were handed out: random numbers, numbers of sequences.
    pub(crate) generated: Generated,
    /// The order of jobs that run one at a time, if it is not a choice.
    pub(crate) script: Option<Box<Script>>,
    /// Notes for the judge of the run.
    pub(crate) record: RunRecord,
}

/// The lateness of a late timer: after keys have expired and locks have timed out.
const LATE: Duration = Duration::from_secs(3 * 86_400);

/// The usage of the slots of all processes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) busy: usize,
    /// Busy slots in which an attempt waits for a lock and does no work.
    pub(crate) waiting: usize,
    pub(crate) slots: usize,
    /// The time of busy slots and of all slots, in nanoseconds.
    busy_time: u128,
    slot_time: u128,
}

impl Usage {
    fn pass(&mut self, time: Duration) {
        self.busy_time += time.as_nanos() * (self.busy - self.waiting) as u128;
        self.slot_time += time.as_nanos() * self.slots as u128;
    }

    /// The time of busy slots divided by the time of all slots, or 0 if no time has passed.
    pub(crate) fn utilisation(&self) -> f64 {
        if self.slot_time == 0 { 0.0 } else { self.busy_time as f64 / self.slot_time as f64 }
    }
}

/// Inline mode.
#[derive(Debug, Default)]
pub(crate) struct Inline {
    pub(crate) begins: VecDeque<u32>,
    waits: BTreeMap<u32, Waker>,
}

impl Inline {
    /// Begins a job as soon as the task that enqueued it waits.
    pub(crate) fn begin(&mut self, job: u32) {
        self.begins.push_back(job);
    }

    pub(crate) fn wait(&mut self, job: u32, cx: &Context<'_>) {
        self.waits.insert(job, cx.waker().clone());
    }
}

impl State {
    pub(crate) fn new(chooser: Chooser, mode: Mode, timeline: Timeline, seed: u64, max_steps: u64) -> Self {
        Self {
            search: RunSearch::new(chooser, mode, max_steps),
            inputs: Inputs::default(),
            world: WorldSettings::default(),
            poison: BTreeSet::new(),
            culprit: None,
            clock: VirtualClock::default(),
            ledger: Ledger::default(),
            queue: Queue::default(),
            kinds: Vec::new(),
            usage: Usage::default(),
            connections: Connections::default(),
            inline: None,
            failing: Failing::default(),
            flights: Flights::default(),
            thread_locals: BTreeSet::new(),
            versioned_kinds: Vec::new(),
            stands_still_until: Duration::ZERO,
            heads: Vec::new(),
            fetches: 0,
            timeline,
            actor: Actor::Test,
            task: None,
            ending: None,
            given_jobs: 0,
            at_line: false,
            steps_taken: None,
            seed,
            draws: BTreeMap::new(),
            generated: Generated::default(),
            script: None,
            record: RunRecord::default(),
        }
    }

    /// Counts one step. Returns false if the run has had too many.
    pub(crate) fn step(&mut self) -> bool {
        self.search.steps += 1;
        if self.search.steps > self.search.max_steps && !self.search.is_stuck() {
            self.reach_step_limit();
        }
        !self.search.is_stuck()
    }

    /// Reports whether the next task is a choice.
    pub(crate) fn may_switch(&self) -> bool {
        self.search.may_deviate()
    }

    pub(crate) fn steps(&self) -> u64 {
        self.search.steps
    }

    /// Decides whether and how the run leaves the ordinary course here.
    pub(crate) fn deviate(
        &mut self,
        kind: DeviationKind,
        site: Site,
        point: Point,
        options: Options,
        place: Option<Place>,
    ) -> usize {
        let is_still = self.is_loop_still(self.actor);
        if !self.search.may_deviate() || self.is_reliable(kind) || is_still || !self.step() {
            return 0;
        }
        let label = Label { actor: self.actor, site, point };
        let taken = self.search.chooser.choose(kind, label, options);
        if taken != 0 {
            self.note_deviation(place, None);
        }
        taken
    }

    /// Records the latest deviation. `instead` is the task that runs, if the choice was about that.
    fn note_deviation(&mut self, place: Option<Place>, instead: Option<Actor>) {
        let choice = *self.search.choices().last().expect("a choice was taken");
        self.record.note_deviated_at(self.timeline.called_at(choice.label.actor));
        if !self.timeline.is_recording() {
            return;
        }
        // A point without a call of its own is shown at the call before it.
        let by = choice.label.actor;
        let place = place.or_else(|| self.timeline.last_call(by).map(|(place, _)| place));
        self.timeline.push(self.clock.now(), by, || EventKind::Deviated { choice, place, instead });
    }

    fn meet_crash_point(&mut self) {
        if !self.search.are_faults_suspended() {
            self.record.note_crash_point();
        }
    }

    /// A crash point. Returns true if the process dies here.
    pub(crate) fn crashes(&mut self, site: Site, point: Point, place: Option<Place>) -> bool {
        self.meet_crash_point();
        self.deviate(DeviationKind::Crash, site, point, Options::Crash, place) != 0
    }

    /// A crash point at a wait, with deploys.
    pub(crate) fn ends(&mut self, site: Site, point: Point, place: Option<Place>) -> Ending {
        self.meet_crash_point();
        Ending::at_option(self.deviate(DeviationKind::Crash, site, point, Options::Ending, place))
    }

    /// Draws the result of a call: success, or one of `faults`.
    pub(crate) fn draw_fault(
        &mut self,
        kind: DeviationKind,
        site: Site,
        faults: FaultSet,
        place: Place,
    ) -> Option<Fault> {
        let by = (self.actor, site);
        if let Some(fault) = self.failing.goes_on_at(by).filter(|_| self.search.may_deviate()) {
            return Some(fault);
        }
        let faults = self.failing.lasting(by).map_or(faults, |lasting| faults.with(lasting));
        let taken = self.deviate(kind, site, Point::Call, Options::Faults(faults), Some(place));
        let fault = faults.at_option(taken)?;
        self.failing.begins(by, fault);
        Some(fault.once())
    }

    /// Draws the lateness of a timer or a retry.
    pub(crate) fn lateness(&mut self, site: Site, point: Point, place: Option<Place>) -> Duration {
        let matters = self.world.delays || self.ledger.expiries.are_used();
        match matters && self.deviate(DeviationKind::Delay, site, point, Options::Lateness, place) != 0 {
            true => LATE,
            false => Duration::ZERO,
        }
    }

    /// The worker of a job died: the job is redelivered when its lease ends, or later.
    pub(crate) fn worker_died(&mut self, actor: Actor, delivery: Delivery) {
        let Actor::Attempt { job, .. } = actor else { return };
        let late = match delivery {
            Delivery::AtLeastOnce => {
                self.as_actor(actor, |state| state.lateness(Site::Attempt, Point::Lease, None))
            }
            Delivery::AtMostOnce => Duration::ZERO,
        };
        let from = self.clock.now().saturating_add(late);
        self.queue.worker_died(job, delivery, from);
    }

    /// Draws the next of the waiting jobs, if jobs are taken one at a time in any order.
    pub(crate) fn pick(&mut self, candidates: usize) -> usize {
        if candidates < 2 || !self.step() {
            return 0;
        }
        let label = Label { actor: Actor::Test, site: Site::Queue, point: Point::Pick };
        if candidates > Deviation::MAX_OPTIONS {
            self.record.note_crowd();
        }
        let taken = self.search.chooser.choose(
            DeviationKind::Preemption,
            label,
            Options::Counted(candidates.min(Deviation::MAX_OPTIONS) as u32),
        );
        if taken != 0 {
            self.record.note_deviated_at(None);
        }
        taken
    }

    /// The next attempt of a job.
    pub(crate) fn attempt_to_come(&self, job: u32) -> Actor {
        Actor::Attempt { job, attempt: self.queue.job(job).attempts + 1 }
    }

    /// Which of several processes takes a job; the first is the one that does where nothing unusual happens. `actor`: the
    /// attempt that will begin. Returns the place of the one that does.
    pub(crate) fn taken_by(&mut self, actor: Actor, processes: &[Name]) -> usize {
        if processes.len() < 2 || !self.search.may_deviate() || !self.step() {
            return 0;
        }
        let processes = &processes[..processes.len().min(Deviation::MAX_OPTIONS)];
        let label = Label { actor, site: Site::Attempt, point: Point::Take };
        let options = Options::Others(processes.len() as u32 - 1);
        let taken = self.search.chooser.choose(DeviationKind::Preemption, label, options);
        if taken != 0 {
            self.note_deviation(None, Some(Actor::Process(processes[taken])));
        }
        taken
    }

    /// Called after a step of an attempt. Returns true if its worker stalls past the lease.
    pub(crate) fn lease_runs_out(&mut self) -> bool {
        let site = self.last_site(self.actor);
        self.deviate(DeviationKind::Delivery, site, Point::Pause, Options::Lease, None) != 0
    }

    /// Draws the next task. The first candidate is the one that runs in the ordinary course. Returns an index.
    pub(crate) fn switch(&mut self, candidates: &[Actor]) -> usize {
        if !self.step() || candidates.iter().all(|actor| self.is_loop_still(*actor)) {
            return 0;
        }
        let label = Label { actor: candidates[0], site: self.last_site(candidates[0]), point: Point::Next };
        if candidates.len() > Deviation::MAX_OPTIONS {
            self.record.note_crowd();
        }
        let candidates = &candidates[..candidates.len().min(Deviation::MAX_OPTIONS)];
        let taken = self.search.chooser.choose_task(label, candidates);
        if taken != 0 {
            self.record.note_overlap();
            self.note_deviation(None, Some(candidates[taken]));
        }
        taken
    }

    /// The site of the last call of `actor`, if no other actor has called since.
    fn last_site(&self, actor: Actor) -> Site {
        self.timeline.last_call(actor).map_or(Site::Attempt, |(_, site)| site)
    }

    /// Records an external call, which should not happen while a transaction is open.
    #[inline]
    pub(crate) fn calls_outside(&mut self, service: Name, operation: Name, place: Place) {
        let in_store =
            self.connections.in_transaction_since(self.actor).filter(|_| service.as_str() != STORE);
        let opened = in_store.or_else(|| self.connections.in_outside_transaction(self.actor, Some(service)));
        if let Some(opened) = opened {
            self.record.note_hygiene(Hygiene::ExternalCall { service, operation, place, opened });
        }
    }

    pub(crate) fn note(&mut self, what: impl FnOnce() -> EventKind) {
        self.timeline.push(self.clock.now(), self.actor, what);
    }

    /// Adds a job to the queue.
    fn push_job(&mut self, incoming: IncomingJob) -> (u32, JobId) {
        self.touch(Resource::Queue, true);
        let IncomingJob { kind, payload, delay, keys: Keys { stream, .. }, serial, .. } = incoming;
        let now = self.clock.now();
        let due = now.saturating_add(delay);
        if self.timeline.is_recording() {
            let (job, payload) = (self.queue.jobs().len() as u32 + 1, payload.clone());
            let due = (due > now).then_some(due);
            self.note(|| EventKind::Enqueued { job, kind, payload, due });
        }
        let parent = if let Actor::Attempt { job, .. } = self.actor { job } else { 0 };
        self.given_jobs += usize::from(self.actor == Actor::Test);
        let (job, id) = self.queue.enqueue(New { kind, payload, due, parent, stream, serial }, now);
        self.bound_family(job);
        (job, id)
    }

    /// Puts back a job that was taken but not begun.
    pub(crate) fn untake(&mut self, job: u32) {
        let now = self.clock.now();
        self.queue.untake(job, now);
    }

    /// An attempt has ended. An ordinary test may run for as long as jobs end.
    pub(crate) fn job_ended(&mut self) {
        self.search.last_end = self.search.steps;
        if self.search.mode() == Mode::Plain {
            self.search.steps = 0;
        }
    }

    /// Draws a number for a worker that looks for a job.
    pub(crate) fn draw_fetch(&mut self) -> u64 {
        self.fetches += 1;
        fingerprint(&[&self.seed.to_string(), "fetch", &self.fetches.to_string()])
    }

    /// Draws a random number. Each attempt has its own stream, so that the draws of one do not change those of
    /// another.
    pub(crate) fn draw(&mut self) -> u64 {
        if !matches!(self.actor, Actor::Attempt { .. } | Actor::Task(_)) {
            self.touch(Resource::Everything, true);
        }
        let drawn = self.draws.entry(self.actor).or_insert(0);
        *drawn += 1;
        fingerprint(&[&self.seed.to_string(), &self.actor.to_string(), &drawn.to_string()])
    }

    /// The number of draws from the streams that may be used again. An attempt never repeats, but a process does.
    pub(crate) fn draws_to_come(&self) -> impl Iterator<Item = (Actor, u64)> + '_ {
        let again = self.draws.iter().filter(|(actor, _)| !matches!(actor, Actor::Attempt { .. }));
        again.map(|(actor, drawn)| (*actor, *drawn))
    }

    /// All values that were handed out so far, including the ids of effects and jobs.
    pub(crate) fn handed_out(&self) -> Generated {
        let mut all = self.generated.clone();
        self.ledger.effects().iter().for_each(|effect| all.text(&effect.id));
        self.queue.jobs().iter().for_each(|job| all.text(&job.id.to_string()));
        all
    }

    /// The jobs that have drawn random numbers.
    pub(crate) fn drawing(&self) -> impl Iterator<Item = u32> + '_ {
        self.draws.keys().filter_map(|actor| match actor {
            Actor::Attempt { job, .. } => Some(*job),
            Actor::Test | Actor::Process(_) | Actor::Task(_) => None,
        })
    }

    /// The jitter of the backoff after a failure of a job. It is the same in every run with this seed.
    pub(crate) fn jitter(&self, job: u32, failure: u32) -> u64 {
        let numbers = [self.seed, u64::from(job), u64::from(failure)].map(Digits::of);
        fingerprint(&[numbers[0].text(), "backoff", numbers[1].text(), numbers[2].text()])
    }
}

/// The part that all handles of a world share.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) woken: Arc<WakeQueue>,
    /// Threads of slots that wait for something that the harness does not know.
    pub(crate) sleepers: Arc<Sleepers>,
    /// The task that is being polled, for the thread of its code.
    pub(crate) strides: Strides,
    /// Whether a process may be about to stop.
    pub(crate) stopping: AtomicBool,
    pub(crate) services: Directory,
    pub(crate) durables: Durables,
    /// Whether any kind of job has keys. Usually none has, and then the checks are skipped.
    keyed: AtomicBool,
    /// The external systems: sockets that lead into the run, databases that its jobs call.
    pub(crate) externals: Externals,
    /// Whether the executor runs jobs.
    is_at_work: AtomicBool,
    /// Whether the things that each step touches are recorded.
    reduces: AtomicBool,
    /// Whether the task that is polled waits for something besides its calls.
    is_divided: AtomicBool,
    /// The threads for blocking tasks of code under test.
    pub(crate) threads: PoolThreads,
    /// The state at the beginning of the last call to a service, in a run that is shown.
    glimpsed: Mutex<Option<Glimpse>>,
    /// The handling of log lines of code under test.
    #[cfg(feature = "tracing")]
    log: Log,
}

/// The handling of log lines of code under test.
#[cfg(feature = "tracing")]
#[derive(Clone, Debug)]
pub(crate) enum Log {
    /// The world of an ordinary test: log lines go where they would go without this crate.
    Passes,
    /// One of thousands of runs: log lines are dropped.
    Dropped,
    /// A run that is shown: log lines go into the timeline.
    Shown(Arc<crate::system::timeline::SideNotes>),
}

/// Marks the executor as running jobs until this is dropped.
pub(crate) struct ExecutorGuard(Arc<Shared>);

impl Drop for ExecutorGuard {
    fn drop(&mut self) {
        self.0.is_at_work.store(false, Ordering::Relaxed);
    }
}

impl Shared {
    pub(crate) fn new(state: State) -> Arc<Self> {
        let (woken, sleepers, services) = (Arc::default(), Arc::default(), Directory::default());
        let [keyed, stopping, is_at_work, is_divided] = [const { AtomicBool::new(false) }; 4];
        let reduces = AtomicBool::new(state.steps_taken.is_some());
        #[cfg(feature = "tracing")]
        let log = match state.search.mode() {
            Mode::Plain => Log::Passes,
            _ if state.timeline.is_recording() => Log::Shown(state.timeline.aside()),
            _ => Log::Dropped,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            woken,
            sleepers,
            strides: Strides::default(),
            services,
            durables: Durables::default(),
            keyed,
            stopping,
            externals: Externals::default(),
            is_at_work,
            reduces,
            is_divided,
            threads: PoolThreads::default(),
            glimpsed: Mutex::default(),
            #[cfg(feature = "tracing")]
            log,
        })
    }

    /// Reports whether any kind of job has keys, for locks or streams.
    pub(crate) fn are_keyed(&self) -> bool {
        self.keyed.load(Ordering::Relaxed)
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// The executor begins to run jobs.
    pub(crate) fn work(self: &Arc<Self>) -> ExecutorGuard {
        self.is_at_work.store(true, Ordering::Relaxed);
        ExecutorGuard(self.clone())
    }

    /// Reports whether the executor runs jobs. Then every caller is one of them.
    #[cfg(feature = "wire")]
    pub(crate) fn is_at_work(&self) -> bool {
        self.is_at_work.load(Ordering::Relaxed)
    }

    /// The external systems that the jobs call, such as databases and caches.
    pub(crate) fn external_calls(&self) -> Arc<ExternalCalls> {
        self.externals.get_or_add(Arc::default)
    }

    /// The state, unless it is locked.
    pub(crate) fn try_state(&self) -> Option<MutexGuard<'_, State>> {
        self.state.try_lock().ok()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Sets a timer for the polling task. A task of the executor is woken by its number, any other by its waker.
    pub(crate) fn set_timer(&self, state: &mut State, at: Duration, cx: &Context<'_>) -> TimerId {
        state.touch(Resource::Timers, true);
        let wake = self.wake_of(state, cx);
        if matches!(wake, Wake::Waker(_)) {
            self.woken.note_progress();
        }
        state.clock.set(at, wake)
    }

    /// Wakes tasks. Nothing may be locked.
    pub(crate) fn wake(&self, wakes: Vec<Wake>) {
        for wake in wakes {
            match wake {
                Wake::Task(task) => self.woken.push(task),
                Wake::Waker(waker) => waker.wake(),
            }
        }
    }

    /// Returns how to wake the polling task. For a task of the executor this leaves no trace at its waker.
    pub(crate) fn wake_of(&self, state: &State, cx: &Context<'_>) -> Wake {
        match state.task {
            Some((task, waker)) if cx.waker().data().addr() == waker => Wake::Task(task),
            _ => Wake::Waker(cx.waker().clone()),
        }
    }

    /// Wakes the task that waits for a job in inline mode, because an attempt of the job has ended.
    pub(crate) fn end_inline(&self, job: u32) {
        let waker = self.state().inline.as_mut().and_then(|inline| inline.waits.remove(&job));
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Advances time, and wakes the tasks whose time has come.
    pub(crate) fn advance(&self, to: Duration) {
        self.barrier();
        let mut state = self.state();
        let before = state.clock.now();
        state.clock.advance(to);
        let now = state.clock.now();
        simulation::advance(now);
        state.usage.pass(now - before);
        debug_assert!(now >= to, "time does not go back");
        for (job, attempt) in state.queue.promote(now) {
            let text =
                "its lease ends: the job is redelivered while this attempt is still running".to_owned();
            state.as_actor(Actor::Attempt { job, attempt }, |state| {
                state.note(|| EventKind::Remarked { text });
            });
            state.outlives_lease(job);
        }
        while let Some(wake) = state.clock.take_due() {
            match wake {
                Wake::Task(task) => self.woken.push(task),
                Wake::Waker(waker) => {
                    drop(state);
                    waker.wake();
                    state = self.state();
                }
            }
        }
    }
}

/// Locks a mutex and ignores poisoning. No user code runs under these locks, so a panic leaves the value intact.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The service and operation of a call, as a site.
pub(crate) fn call_site(service: Name, operation: Name) -> Site {
    Site::Call { service, operation }
}
