//! Watches explorations from another thread: whether their runs make progress, and whether the time is up.
//!
//! A run is watched by the steps that it counts anyway, so being watched costs it nothing. Real time decides only what
//! becomes of a run that makes no step for as long as the watchdog waits, and of one during which the time of the
//! exploration ends. A run that makes steps never sees the watchdog.

use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::outside::real_time;
use crate::engine::state::{Glimpse, Shared, lock};
use crate::search::choice::Plan;
use crate::search::input::Assignment;

/// How often a run is looked at. Looks are counted, not time: while the whole program stands still (a debugger, a laptop
/// that sleeps) nobody looks.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
const LOOKS: u32 = 100;
/// How long a run may take to end once it was told to; and how long the next one without progress is waited for.
const AGAIN: Duration = Duration::from_secs(1);

/// A run, as it is seen from another thread.
#[derive(Clone, Debug)]
pub(crate) struct WatchedRun {
    pub(crate) shared: Arc<Shared>,
    pub(crate) plan: Plan,
    pub(crate) inputs: Arc<Assignment>,
    /// Whether it ends when the time of the exploration is up.
    pub(crate) is_timed: bool,
    /// Whether the plan alone says how it goes.
    pub(crate) is_planned: bool,
}

/// The runs of one thread, one after the other.
#[derive(Debug, Default)]
struct Pulse(Mutex<Beats>);

#[derive(Debug, Default)]
struct Beats {
    /// How often a run has begun or ended, and how many of those that were begun are explored.
    turns: u64,
    runs: u64,
    run: Option<WatchedRun>,
    /// The thread waits for an exploration that its run has begun.
    is_suspended: bool,
    /// What was seen last, and in how many looks since nothing has changed.
    seen: (u64, u64),
    looks: u32,
    /// In how many looks the run has not ended although it was told to.
    told: Option<u32>,
}

impl Beats {
    /// How far the run has come. Nothing is told while somebody is at its state.
    fn look(&mut self) -> bool {
        let Some(run) = self.run.as_ref().filter(|_| !self.is_suspended) else {
            (self.looks, self.told) = (0, None);
            return false;
        };
        let Some(state) = run.shared.try_state() else { return self.stands_still() };
        // Whoever has been told to end makes no progress.
        let steps =
            if state.search.is_stuck() { u64::MAX } else { state.steps() + run.shared.externals.moves() };
        drop(state);
        if std::mem::replace(&mut self.seen, (self.turns, steps)) == (self.turns, steps) {
            return self.stands_still();
        }
        (self.looks, self.told) = (0, None);
        false
    }

    fn stands_still(&mut self) -> bool {
        self.looks += 1;
        true
    }
}

/// All threads of one exploration.
#[derive(Debug)]
pub(crate) struct Pulses {
    /// How long, in real time, a run may go without a step.
    watchdog: Duration,
    /// Nobody goes on after a run that does not come back: it need not be told to end.
    is_last: bool,
    threads: Mutex<Vec<Arc<Pulse>>>,
    /// When the time of the exploration is up.
    deadline: Mutex<Option<Instant>>,
    /// A run did not come back.
    has_fired: Mutex<bool>,
    is_over: Mutex<bool>,
    over: Condvar,
}

/// A thread that does not come back although its run was told to end.
#[derive(Debug)]
pub(crate) struct Hung {
    pub(crate) run: WatchedRun,
    /// Where it is, unless somebody is at its state all the time.
    pub(crate) glimpse: Option<Glimpse>,
    /// How many runs of this thread were explored, this one among them.
    pub(crate) runs: u64,
}

thread_local! {
    /// The exploration that this thread has a part in.
    static HERE: RefCell<Option<(Arc<Pulses>, Arc<Pulse>)>> = const { RefCell::new(None) };
}

/// This thread has a part in an exploration until this is dropped.
#[must_use = "it lasts until it is dropped"]
pub(crate) struct Joined(Option<(Arc<Pulses>, Arc<Pulse>)>);

impl Drop for Joined {
    fn drop(&mut self) {
        if let Some((pulses, pulse)) = HERE.replace(self.0.take()) {
            lock(&pulses.threads).retain(|known| !Arc::ptr_eq(known, &pulse));
        }
    }
}

/// From here on the runs of this thread are watched.
pub(crate) fn join(pulses: &Arc<Pulses>) -> Joined {
    let pulse = Arc::<Pulse>::default();
    lock(&pulses.threads).push(pulse.clone());
    Joined(HERE.replace(Some((pulses.clone(), pulse))))
}

/// The exploration that this thread has a part in.
pub(crate) fn here() -> Option<Arc<Pulses>> {
    HERE.with_borrow(|here| here.as_ref().map(|(pulses, _)| pulses.clone()))
}

/// A run is under way on this thread until this is dropped.
#[must_use = "it lasts until it is dropped"]
pub(crate) struct Beating(Option<(Arc<Pulse>, Option<WatchedRun>)>);

impl Drop for Beating {
    fn drop(&mut self) {
        if let Some((pulse, former)) = self.0.take() {
            let mut beats = lock(&pulse.0);
            beats.run = former;
            beats.turns += 1;
        }
    }
}

/// A run begins on this thread.
pub(crate) fn begin(run: impl FnOnce() -> WatchedRun) -> Beating {
    let pulse = HERE.with_borrow(|here| here.as_ref().map(|(_, pulse)| pulse.clone()));
    Beating(pulse.map(|pulse| {
        let mut beats = lock(&pulse.0);
        let run = run();
        beats.turns += 1;
        beats.runs += u64::from(run.is_timed);
        let former = beats.run.replace(run);
        drop(beats);
        (pulse, former)
    }))
}

/// Waits for an exploration that the run on this thread has begun: that is no standing still.
pub(crate) fn suspended<R>(wait: impl FnOnce() -> R) -> R {
    struct Former(Arc<Pulse>, bool);
    impl Drop for Former {
        fn drop(&mut self) {
            lock(&self.0.0).is_suspended = self.1;
        }
    }
    let pulse = HERE.with_borrow(|here| here.as_ref().map(|(_, pulse)| pulse.clone()));
    let _former = pulse.map(|pulse| {
        let former = std::mem::replace(&mut lock(&pulse.0).is_suspended, true);
        Former(pulse, former)
    });
    wait()
}

impl Pulses {
    pub(crate) fn new(watchdog: Duration) -> Arc<Self> {
        Arc::new(Self::watching(watchdog, false))
    }

    /// The same for showing once more what did not come back: for that it is not waited as long.
    pub(crate) fn again(&self) -> Arc<Self> {
        Arc::new(Self::watching(self.watchdog, true))
    }

    fn watching(watchdog: Duration, is_last: bool) -> Self {
        let (threads, deadline, is_over) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self {
            watchdog,
            is_last,
            threads,
            deadline,
            has_fired: is_last.into(),
            is_over,
            over: Condvar::new(),
        }
    }

    /// Runs end from then on, if it is not too soon to tell whether they make progress.
    pub(crate) fn end_at(&self, deadline: Option<Instant>) {
        *lock(&self.deadline) = deadline;
    }

    /// Whether a run did not come back.
    pub(crate) fn has_fired(&self) -> bool {
        *lock(&self.has_fired)
    }

    /// The exploration is over.
    pub(crate) fn end(&self) {
        *lock(&self.is_over) = true;
        self.over.notify_all();
    }

    /// Watches until the exploration is over. Returns the first thread that does not come back.
    pub(crate) fn watch(&self) -> Option<Hung> {
        let mut is_over = lock(&self.is_over);
        loop {
            if *is_over {
                return None;
            }
            (is_over, _) =
                self.over.wait_timeout(is_over, self.pause()).unwrap_or_else(PoisonError::into_inner);
            if *is_over {
                return None;
            }
            drop(is_over);
            let threads = lock(&self.threads).clone();
            if let Some(hung) = threads.iter().find_map(|pulse| self.look(lock(&pulse.0))) {
                return Some(hung);
            }
            is_over = lock(&self.is_over);
        }
    }

    fn patience(&self) -> Duration {
        if self.has_fired() { self.watchdog.min(AGAIN) } else { self.watchdog }
    }

    fn pause(&self) -> Duration {
        (self.patience() / LOOKS).clamp(Duration::from_millis(1), LONGEST_PAUSE)
    }

    /// How many looks a time takes.
    fn looks(&self, time: Duration) -> u32 {
        u32::try_from(time.as_nanos().div_ceil(self.pause().as_nanos())).unwrap_or(u32::MAX)
    }

    fn look(&self, mut beats: MutexGuard<'_, Beats>) -> Option<Hung> {
        let stands_still = beats.look();
        let Some(run) = beats.run.clone() else { return None };
        let is_late = lock(&self.deadline).is_some_and(|deadline| real_time() >= deadline);
        if is_late && run.is_timed && beats.looks < 2 {
            if let Some(mut state) = run.shared.try_state() {
                state.search.run_out_of_time();
            }
            run.shared.woken.stir();
        }
        if !stands_still || beats.looks < self.looks(self.patience()) {
            return None;
        }
        match &mut beats.told {
            None if !self.is_last => {
                *lock(&self.has_fired) = true;
                beats.told = Some(0);
                run.tell_to_end(self.watchdog);
                None
            }
            Some(looks) if *looks < self.looks(self.patience().min(AGAIN)) => {
                *looks += 1;
                run.tell_to_end(self.watchdog);
                None
            }
            _ => {
                let glimpse = run.shared.glimpse(self.watchdog);
                Some(Hung { run, glimpse, runs: beats.runs })
            }
        }
    }
}

impl WatchedRun {
    /// Ends the run at its next step, if it makes one. Threads of slots are not waited for any more.
    fn tell_to_end(&self, watchdog: Duration) {
        if let Some(mut state) = self.shared.try_state() {
            let why = state.unresponsive(watchdog);
            state.search.get_stuck(why);
        }
        self.shared.sleepers.give_up();
        self.shared.woken.stir();
    }
}
