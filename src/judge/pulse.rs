//! The watchdog of an exploration: another thread checks that its runs make progress, and stops them when the time is up.
//!
//! The watchdog reads the steps that a run counts anyway, so it costs the run nothing. Real time decides only two things:
//! the end of a run that makes no step for the whole timeout, and the end of a run during which `max_time` passes. A run
//! that makes steps never sees the watchdog.

use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::external_calls::real_time;
use crate::engine::state::{Glimpse, Shared, lock};
use crate::search::choice::Plan;
use crate::search::input::Assignment;

/// The interval between two checks of a run. The watchdog counts checks and not time: while the whole program is stopped
/// (by a debugger, on a sleeping laptop), nothing is counted.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
const LOOKS: u32 = 100;
/// The time that a run gets to end after the watchdog stopped it.
const GRACE: Duration = Duration::from_secs(1);
/// The timeout for runs after one that hangs, which are run to show it: enough to look up the places of its calls.
const AGAIN: Duration = Duration::from_secs(2);

/// A run, as another thread sees it.
#[derive(Clone, Debug)]
pub(crate) struct WatchedRun {
    pub(crate) shared: Arc<Shared>,
    pub(crate) plan: Plan,
    pub(crate) inputs: Arc<Assignment>,
    /// Whether the run stops when the time of the exploration is up.
    pub(crate) is_timed: bool,
    /// Whether the plan alone determines the run.
    pub(crate) is_planned: bool,
}

/// The progress of the runs of one thread.
#[derive(Debug, Default)]
struct Pulse(Mutex<Beats>);

#[derive(Debug, Default)]
struct Beats {
    /// The number of beginnings and ends of runs, and the number of explored runs that have begun.
    turns: u64,
    runs: u64,
    run: Option<WatchedRun>,
    /// Whether the thread waits for an exploration that its run has started.
    is_suspended: bool,
    /// The turns and steps at the last check, and the number of checks since they last changed.
    seen: (u64, u64),
    looks: u32,
    /// The number of checks since the watchdog ended the run, if it did.
    told: Option<u32>,
}

impl Beats {
    /// Checks the run, and returns whether it makes no progress. While its state is locked, it makes no progress.
    fn look(&mut self) -> bool {
        let Some(run) = self.run.as_ref().filter(|_| !self.is_suspended) else {
            (self.looks, self.told) = (0, None);
            return false;
        };
        let Some(state) = run.shared.try_state() else { return self.stalls() };
        // A run that the watchdog ended makes no progress.
        let waits = run.shared.externals.moves() + run.shared.sleepers.waits();
        let steps = if state.search.is_stuck() { u64::MAX } else { state.steps() + waits };
        drop(state);
        if std::mem::replace(&mut self.seen, (self.turns, steps)) == (self.turns, steps) {
            return self.stalls();
        }
        (self.looks, self.told) = (0, None);
        false
    }

    fn stalls(&mut self) -> bool {
        self.looks += 1;
        true
    }
}

/// All threads of one exploration.
#[derive(Debug)]
pub(crate) struct Pulses {
    /// The real time that a run may take without a step.
    watchdog: Duration,
    /// Whether nothing continues after a run that hangs, so that the watchdog need not end it.
    is_last: bool,
    threads: Mutex<Vec<Arc<Pulse>>>,
    /// The end of the exploration's time.
    deadline: Mutex<Option<Instant>>,
    /// Whether a run hung.
    has_fired: Mutex<bool>,
    is_over: Mutex<bool>,
    over: Condvar,
}

/// A thread that hangs although the watchdog ended its run.
#[derive(Debug)]
pub(crate) struct Hung {
    pub(crate) run: WatchedRun,
    /// The state of the run, if it could be read.
    pub(crate) glimpse: Option<Glimpse>,
    /// The number of explored runs of this thread, including this one.
    pub(crate) runs: u64,
}

thread_local! {
    /// The exploration of this thread.
    static HERE: RefCell<Option<(Arc<Pulses>, Arc<Pulse>)>> = const { RefCell::new(None) };
}

/// This thread belongs to an exploration until this value is dropped.
#[must_use = "it lasts until it is dropped"]
pub(crate) struct Joined(Option<(Arc<Pulses>, Arc<Pulse>)>);

impl Drop for Joined {
    fn drop(&mut self) {
        if let Some((pulses, pulse)) = HERE.replace(self.0.take()) {
            lock(&pulses.threads).retain(|known| !Arc::ptr_eq(known, &pulse));
        }
    }
}

/// Watches the runs of this thread from now on.
pub(crate) fn join(pulses: &Arc<Pulses>) -> Joined {
    let pulse = Arc::<Pulse>::default();
    lock(&pulses.threads).push(pulse.clone());
    Joined(HERE.replace(Some((pulses.clone(), pulse))))
}

/// Returns a function for a thread that runs a scenario for this one, which waits meanwhile. The watchdog takes both for the
/// same.
pub(crate) fn lend() -> impl FnOnce() -> Lent + Send + 'static {
    let here = HERE.with_borrow(Clone::clone);
    move || {
        HERE.set(here);
        Lent
    }
}

/// This thread runs a scenario for another one until this value is dropped.
#[must_use = "it lasts until it is dropped"]
pub(crate) struct Lent;

impl Drop for Lent {
    fn drop(&mut self) {
        HERE.take();
    }
}

/// Returns the exploration of this thread.
pub(crate) fn here() -> Option<Arc<Pulses>> {
    HERE.with_borrow(|here| here.as_ref().map(|(pulses, _)| pulses.clone()))
}

/// A run is in progress on this thread until this value is dropped.
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

/// Starts to watch a run on this thread.
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

/// Waits for an exploration that the run on this thread has started. The watchdog does not count this wait.
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

    /// Returns a watchdog for the run that shows a hang again. Its timeout is shorter.
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

    /// Stops runs at this time, unless they make no progress, in which case the watchdog decides.
    pub(crate) fn end_at(&self, deadline: Option<Instant>) {
        *lock(&self.deadline) = deadline;
    }

    /// Whether a run hung.
    pub(crate) fn has_fired(&self) -> bool {
        *lock(&self.has_fired)
    }

    /// Ends the watch: the exploration is over.
    pub(crate) fn end(&self) {
        *lock(&self.is_over) = true;
        self.over.notify_all();
    }

    /// Watches until the exploration is over. Returns the first thread that hangs.
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
        if self.has_fired() { AGAIN } else { self.watchdog }
    }

    fn pause(&self) -> Duration {
        (self.patience() / LOOKS).clamp(Duration::from_millis(1), LONGEST_PAUSE)
    }

    /// The number of checks in a time.
    fn looks(&self, time: Duration) -> u32 {
        u32::try_from(time.as_nanos().div_ceil(self.pause().as_nanos())).unwrap_or(u32::MAX)
    }

    fn look(&self, mut beats: MutexGuard<'_, Beats>) -> Option<Hung> {
        let stalls = beats.look();
        let run = beats.run.clone()?;
        let is_late = lock(&self.deadline).is_some_and(|deadline| real_time() >= deadline);
        if is_late && run.is_timed && beats.looks < 2 {
            if let Some(mut state) = run.shared.try_state() {
                state.search.run_out_of_time();
            }
            run.shared.woken.note_progress();
        }
        if !stalls || beats.looks < self.looks(self.patience()) {
            return None;
        }
        match &mut beats.told {
            None if !self.is_last => {
                *lock(&self.has_fired) = true;
                beats.told = Some(0);
                run.tell_to_end(self.watchdog);
                None
            }
            Some(looks) if *looks < self.looks(self.watchdog.min(GRACE)) => {
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
    /// Ends the run at its next step, if it makes one, and stops waiting for the threads of slots.
    fn tell_to_end(&self, watchdog: Duration) {
        if let Some(mut state) = self.shared.try_state() {
            let why = state.unresponsive(watchdog);
            state.search.get_stuck(why);
        }
        self.shared.sleepers.give_up();
        self.shared.woken.note_progress();
    }
}
