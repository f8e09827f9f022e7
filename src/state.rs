//! What a run knows, behind one lock: choices, time, ledger, queue. All rooms below speak to the world through it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake as WakeTrait, Waker};
use std::time::Duration;

use crate::choice::{Actor, Choice, Chooser, Deviation, Kind, Label, Name, Options, Place, Site};
use crate::clock::{TaskId, TimerId, VirtualClock, Wake};
use crate::effect::{Digits, Ledger, fingerprint};
use crate::job::{Delivery, JobId, RetryPolicy};
use crate::queue::Queue;
use crate::service::Directory;
use crate::timeline::{Timeline, What};

/// The options of a kind of job, as given where it is handled.
#[derive(Clone, Debug, Default)]
pub(crate) struct KindOptions {
    pub(crate) retry: RetryPolicy,
    pub(crate) delivery: Delivery,
}

/// What may go wrong in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Everything that the plan says.
    Rough,
    /// Nothing, but jobs are taken one at a time in the order that the plan says.
    Serial,
}

/// Why a run can go no further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stuck {
    /// More happened than a run may hold.
    #[error("{steps} steps and no end: {who} goes on for ever, or longer than `Explore::max_steps` allows")]
    StepLimit {
        /// How many.
        steps: u64,
        /// Whose turn it was.
        who: String,
    },
    /// Everything waits and no timer is set.
    #[error("deadlock: nothing can go on and no timer is set; {}", waiting.join("; "))]
    Deadlock {
        /// Who waits, and where it called last.
        waiting: Vec<String>,
    },
}

/// The part of a run behind the lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) chooser: Chooser,
    pub(crate) weather: Weather,
    /// Set while nothing may go wrong: drains.
    pub(crate) calm: bool,
    /// The service that is there to be told of failures, if a process has one.
    pub(crate) told_of_failures: Option<Name>,
    /// Whether timers and retries may come late: the settings ask for it, or something in the world expires.
    pub(crate) delays: bool,
    pub(crate) clock: VirtualClock,
    pub(crate) ledger: Ledger,
    pub(crate) queue: Queue,
    /// The options of each kind of job that is handled. They are few: a map would allocate more than all of them.
    kinds: Vec<(&'static str, KindOptions)>,
    pub(crate) timeline: Timeline,
    /// Who runs now, and as which task of the executor.
    pub(crate) actor: Actor,
    pub(crate) task: Option<(TaskId, usize)>,
    seed: u64,
    draws: BTreeMap<Actor, u64>,
    steps: u64,
    max_steps: u64,
    /// Crash points met by code under test, where something could go wrong.
    pub(crate) crash_points: u64,
    /// Whether an attempt has begun while another one was under way.
    pub(crate) overlapped: bool,
    pub(crate) stuck: Option<Stuck>,
}

/// How late what comes late is: after keys have expired and locks have timed out.
const LATE: Duration = Duration::from_secs(3 * 86_400);

const LIVE_OR_CRASH: Options = Options::Named(&["live", "crash"]);

impl State {
    pub(crate) fn new(
        chooser: Chooser,
        weather: Weather,
        timeline: Timeline,
        seed: u64,
        max_steps: u64,
    ) -> Self {
        Self {
            chooser,
            weather,
            calm: false,
            told_of_failures: None,
            delays: false,
            clock: VirtualClock::default(),
            ledger: Ledger::default(),
            queue: Queue::default(),
            kinds: Vec::new(),
            timeline,
            actor: Actor::Test,
            task: None,
            seed,
            draws: BTreeMap::new(),
            steps: 0,
            // Every choice is a step, so that no choice is past what a deviation can name.
            max_steps: max_steps.min(Deviation::MAX_CHOICES as u64 - 1),
            crash_points: 0,
            overlapped: false,
            stuck: None,
        }
    }

    /// Counts one step. False when the run has had too many.
    pub(crate) fn step(&mut self) -> bool {
        self.steps += 1;
        if self.steps > self.max_steps && self.stuck.is_none() {
            let last = self.timeline.last_actor().filter(|_| self.actor == Actor::Test);
            let who = last.unwrap_or(self.actor).to_string();
            self.stuck = Some(Stuck::StepLimit { steps: self.max_steps, who });
        }
        self.stuck.is_none()
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// Decides whether, and how, the ordinary course is left here.
    pub(crate) fn deviate(
        &mut self,
        kind: Kind,
        site: Site,
        point: &'static str,
        options: Options,
        place: Option<Place>,
    ) -> usize {
        if self.calm || self.weather == Weather::Serial || !self.step() {
            return 0;
        }
        let label = Label { actor: self.actor, site, point };
        let taken = self.chooser.choose(kind, label, options);
        if taken != 0 && self.timeline.is_recording() {
            let choice = Choice { kind, label, options, taken: taken as u32 };
            // A point without a call of its own is shown at the call before it.
            let place = place.or_else(|| self.timeline.last_call(self.actor).map(|(place, _)| place));
            self.note(|| What::Deviated { choice, place });
        }
        taken
    }

    /// A crash point. True: the process dies here.
    pub(crate) fn crashes(&mut self, site: Site, point: &'static str, place: Option<Place>) -> bool {
        self.crash_points += u64::from(!self.calm);
        self.deviate(Kind::Crash, site, point, LIVE_OR_CRASH, place) != 0
    }

    /// A timer or a retry is set: by how much it comes late.
    pub(crate) fn lateness(&mut self, site: Site, point: &'static str, place: Option<Place>) -> Duration {
        const PUNCTUAL_OR_LATE: Options = Options::Named(&["on-time", "days-late"]);
        match self.delays && self.deviate(Kind::Delay, site, point, PUNCTUAL_OR_LATE, place) != 0 {
            true => LATE,
            false => Duration::ZERO,
        }
    }

    /// The worker of a job died: the job comes back when its lease ends, or later.
    pub(crate) fn worker_died(&mut self, actor: Actor, delivery: Delivery) {
        let Actor::Attempt { job, .. } = actor else { return };
        let former = std::mem::replace(&mut self.actor, actor);
        let late = match delivery {
            Delivery::AtLeastOnce => self.lateness(Site::Attempt, "lease", None),
            Delivery::AtMostOnce => Duration::ZERO,
        };
        self.actor = former;
        let from = self.clock.now().saturating_add(late);
        self.queue.worker_died(job, delivery, from);
    }

    /// Which of the waiting jobs is taken next, where jobs are taken one at a time in any order.
    pub(crate) fn pick(&mut self, candidates: usize) -> usize {
        if candidates < 2 || !self.step() {
            return 0;
        }
        let label = Label { actor: Actor::Test, site: Site::Queue, point: "pick" };
        self.chooser.choose(
            Kind::Schedule,
            label,
            Options::Counted(candidates.min(Deviation::MAX_OPTIONS) as u32),
        )
    }

    pub(crate) fn note(&mut self, what: impl FnOnce() -> What) {
        self.timeline.push(self.clock.now(), self.actor, what);
    }

    /// Takes a job into the queue.
    pub(crate) fn enqueue(&mut self, kind: &'static str, payload: String, delay: Duration) -> JobId {
        let now = self.clock.now();
        let due = now.saturating_add(delay);
        if self.timeline.is_recording() {
            let (job, payload) = (self.queue.jobs().len() as u32 + 1, payload.clone());
            let due = (due > now).then_some(due);
            self.note(|| What::Enqueued { job, kind, payload, due });
        }
        self.queue.enqueue(kind, payload, now, due)
    }

    pub(crate) fn options(&self, kind: &str) -> KindOptions {
        let known = self.kinds.iter().find(|(known, _)| *known == kind);
        known.map_or_else(KindOptions::default, |(_, options)| options.clone())
    }

    /// The options of a kind, to be set.
    pub(crate) fn options_mut(&mut self, kind: &'static str) -> &mut KindOptions {
        let place = self.kinds.iter().position(|(known, _)| *known == kind).unwrap_or_else(|| {
            self.kinds.push((kind, KindOptions::default()));
            self.kinds.len() - 1
        });
        &mut self.kinds[place].1
    }

    /// A random number. Each attempt draws from a row of its own, so that what one draws does not move what another
    /// one does.
    pub(crate) fn draw(&mut self) -> u64 {
        let drawn = self.draws.entry(self.actor).or_insert(0);
        *drawn += 1;
        fingerprint(&[&self.seed.to_string(), &self.actor.to_string(), &drawn.to_string()])
    }

    /// How much was drawn from the rows that may be drawn from again: no attempt comes twice, but a process does.
    pub(crate) fn draws_to_come(&self) -> impl Iterator<Item = (Actor, u64)> + '_ {
        let again = self.draws.iter().filter(|(actor, _)| !matches!(actor, Actor::Attempt { .. }));
        again.map(|(actor, drawn)| (*actor, *drawn))
    }

    /// The jitter of the backoff after a failure of a job: the same in every run with this seed.
    pub(crate) fn jitter(&self, job: u32, failure: u32) -> u64 {
        let numbers = [self.seed, u64::from(job), u64::from(failure)].map(Digits::of);
        fingerprint(&[numbers[0].text(), "backoff", numbers[1].text(), numbers[2].text()])
    }
}

/// Tasks that were woken, and who drives tokio meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Woken {
    tasks: Mutex<VecDeque<TaskId>>,
    /// How many they are: mostly none, and then the lock is not taken.
    count: AtomicUsize,
    driver: Mutex<Option<Waker>>,
    died: AtomicBool,
    /// A timer was set or a job enqueued while somebody drives tokio: how long to wait must be thought over.
    stirred: AtomicBool,
}

impl Woken {
    pub(crate) fn push(&self, task: TaskId) {
        let mut tasks = lock(&self.tasks);
        tasks.push_back(task);
        self.count.store(tasks.len(), Ordering::Release);
        drop(tasks);
        self.call_driver();
    }

    pub(crate) fn pop(&self) -> Option<TaskId> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut tasks = lock(&self.tasks);
        let first = tasks.pop_front();
        self.count.store(tasks.len(), Ordering::Release);
        first
    }

    /// Says that a process died outside of any attempt.
    pub(crate) fn process_died(&self) {
        self.died.store(true, Ordering::Relaxed);
        self.call_driver();
    }

    pub(crate) fn take_died(&self) -> bool {
        self.died.load(Ordering::Relaxed) && self.died.swap(false, Ordering::Relaxed)
    }

    /// Says that the next moment at which something happens may be another one now.
    pub(crate) fn stir(&self) {
        self.stirred.store(true, Ordering::Relaxed);
        self.call_driver();
    }

    /// Whether the executor has something to do.
    pub(crate) fn is_called_for(&self) -> bool {
        let flags = [&self.died, &self.stirred];
        flags.iter().any(|flag| flag.load(Ordering::Relaxed)) || !lock(&self.tasks).is_empty()
    }

    /// The executor is about to think over how long to wait.
    pub(crate) fn settle_down(&self) {
        self.stirred.store(false, Ordering::Relaxed);
    }

    pub(crate) fn set_driver(&self, waker: Option<Waker>) {
        *lock(&self.driver) = waker;
    }

    fn call_driver(&self) {
        if let Some(driver) = &*lock(&self.driver) {
            driver.wake_by_ref();
        }
    }
}

/// Wakes one task of the executor.
#[derive(Debug)]
pub(crate) struct TaskWaker {
    pub(crate) task: TaskId,
    /// Bits: running now, woken.
    flags: AtomicU64,
    woken: Arc<Woken>,
}

const RUNNING: u64 = 1;
const WOKEN: u64 = 2;

impl TaskWaker {
    pub(crate) fn new(task: TaskId, woken: Arc<Woken>) -> Arc<Self> {
        Arc::new(Self { task, flags: AtomicU64::new(0), woken })
    }

    /// From here on waking only leaves a mark: the task that runs goes on running.
    pub(crate) fn begin(&self) {
        self.flags.store(RUNNING, Ordering::Relaxed);
    }

    /// Whether the task was woken since [`TaskWaker::begin`].
    pub(crate) fn end(&self) -> bool {
        self.flags.swap(0, Ordering::SeqCst) & WOKEN != 0
    }
}

impl WakeTrait for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let before = self.flags.fetch_or(WOKEN, Ordering::SeqCst);
        if before & (RUNNING | WOKEN) == 0 {
            self.woken.push(self.task);
        }
    }
}

/// What all handles of a world share.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) woken: Arc<Woken>,
    pub(crate) services: Directory,
}

impl Shared {
    pub(crate) fn new(state: State) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(state), woken: Arc::default(), services: Directory::default() })
    }

    /// The state, unless somebody is at it.
    pub(crate) fn try_state(&self) -> Option<MutexGuard<'_, State>> {
        self.state.try_lock().ok()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Sets a timer for whoever polls: a task of the executor is woken by number, anybody else by their waker.
    pub(crate) fn set_timer(&self, state: &mut State, at: Duration, cx: &Context<'_>) -> TimerId {
        let wake = match state.task {
            Some((task, waker)) if cx.waker().data().addr() == waker => Wake::Task(task),
            _ => {
                self.woken.stir();
                Wake::Waker(cx.waker().clone())
            }
        };
        state.clock.set(at, wake)
    }

    /// Goes forward in time and wakes whoever waited for it.
    pub(crate) fn advance(&self, to: Duration) {
        let mut state = self.state();
        state.clock.advance(to);
        let now = state.clock.now();
        debug_assert!(now >= to, "time does not go back");
        state.queue.promote(now);
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

/// Locks; what a panic left behind is as good as anything else here, since no user code runs under these locks.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The service and operation of a call, as a site.
pub(crate) fn call_site(service: Name, operation: Name) -> Site {
    Site::Call { service, operation }
}
