//! An incarnation of a process, from its boot to its crash. All handles carry it.
//!
//! This value decides whether an attempt died, never the payload of a panic, because code under test may swallow or
//! replace that. While a dead incarnation is torn down, its destructors run, and their calls are answered from
//! throw-away copies.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::thread;

use crash_points::Point as CodePoint;

use crate::engine::slots;
use crate::engine::state::{Shared, State, lock};
use crate::search::choice::{Actor, Ending, LinePoint, Name, Place, Point, Site};

/// An incarnation of a process.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) process: Name,
    /// The index of the process among the processes of the world.
    pub(crate) index: usize,
    /// Counted from 1.
    pub(crate) incarnation: u32,
    pub(crate) shared: Arc<Shared>,
    dead: AtomicBool,
    tearing_down: AtomicBool,
    /// Whether its code blocks the thread of the executor. Code that waits for an external answer must not wait for
    /// the executor then.
    blocked: AtomicBool,
    /// Whether it is stopping: it takes no more jobs, but running jobs may end.
    stopping: AtomicBool,
    /// Whether its grace period is over: everything that runs is interrupted.
    overrun: AtomicBool,
    /// The tasks that wait for the stop signal.
    listening: Mutex<Vec<Waker>>,
}

impl Life {
    pub(crate) fn new(shared: Arc<Shared>, process: Name, index: usize, incarnation: u32) -> Arc<Self> {
        let listening = Mutex::default();
        let [dead, tearing_down, blocked, stopping, overrun] = [const { AtomicBool::new(false) }; 5];
        Arc::new(Self {
            process,
            index,
            incarnation,
            shared,
            dead,
            tearing_down,
            blocked,
            stopping,
            overrun,
            listening,
        })
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Gives the stop signal. The caller must wake the returned tasks while nothing is locked.
    #[must_use = "wake the tasks that wait for the signal"]
    pub(crate) fn stop(&self) -> Vec<Waker> {
        self.stopping.store(true, Ordering::Relaxed);
        std::mem::take(&mut *lock(&self.listening))
    }

    /// Wakes this task when the stop signal is given.
    pub(crate) fn listen(&self, waker: &Waker) {
        let mut listening = lock(&self.listening);
        if !listening.iter().any(|known| known.will_wake(waker)) {
            listening.push(waker.clone());
        }
    }

    /// How many wakers of this task wait for the sign to stop.
    pub(crate) fn listens(&self, waker: &Waker) -> usize {
        lock(&self.listening).iter().filter(|known| known.will_wake(waker)).count()
    }

    /// Reports whether running code is interrupted because its grace period is over.
    pub(crate) fn has_overrun(&self) -> bool {
        self.overrun.load(Ordering::Relaxed)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    pub(crate) fn die(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    /// Reports whether this incarnation is ending. An unwind is then its end, not a panic of the job.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_dead() || self.has_overrun()
    }

    /// Reports whether destructors of dead code are running: the incarnation is being torn down, or this thread
    /// unwinds from its crash.
    pub(crate) fn is_tearing_down(&self) -> bool {
        self.tearing_down.load(Ordering::Relaxed) || self.is_dead() && thread::panicking()
    }

    /// Runs code that blocks the thread of the executor.
    pub(crate) fn blocked<R>(&self, code: impl FnOnce() -> R) -> R {
        struct RestoreGuard<'a>(&'a AtomicBool, bool);
        impl Drop for RestoreGuard<'_> {
            fn drop(&mut self) {
                self.0.store(self.1, Ordering::Relaxed);
            }
        }
        let _former = RestoreGuard(&self.blocked, self.blocked.swap(true, Ordering::Relaxed));
        code()
    }

    /// Reports whether only its blocking code runs.
    #[cfg(feature = "wire")]
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    pub(crate) fn set_tearing_down(&self, tearing_down: bool) {
        self.tearing_down.store(tearing_down, Ordering::Relaxed);
    }

    /// Runs `code` in the name of the code on this thread: on an executor's thread the current attempt, elsewhere the
    /// process.
    pub(crate) fn as_caller<R>(&self, state: &mut State, code: impl FnOnce(&mut State) -> R) -> R {
        if IS_LIVED.get() {
            return code(state);
        }
        state.as_actor(Actor::Process(self.process), code)
    }

    /// A crash point of this incarnation. Returns true if it died here.
    pub(crate) fn crashes(&self, state: &mut State, site: Site, point: Point, place: Option<Place>) -> bool {
        // A destructor that runs during an unwind cannot unwind itself, because that would abort.
        if thread::panicking() {
            return false;
        }
        let waits = matches!(site, Site::Call { .. } | Site::Wait(_));
        if state.world.deploys && waits && matches!(state.actor(), Actor::Attempt { .. }) {
            return match state.ends(site, point, place) {
                Ending::None => false,
                Ending::Crash => {
                    self.die();
                    true
                }
                Ending::Stop => {
                    self.stopping.store(true, Ordering::Relaxed);
                    self.shared.stopping.store(true, Ordering::Relaxed);
                    false
                }
                Ending::Interrupt => {
                    self.stopping.store(true, Ordering::Relaxed);
                    self.overrun.store(true, Ordering::Relaxed);
                    true
                }
            };
        }
        if !state.crashes(site, point, place) {
            return false;
        }
        self.die();
        if !matches!(state.actor(), Actor::Attempt { .. }) {
            self.shared.woken.process_died();
        }
        true
    }

    /// The crash point at the start of an attempt. Returns true if the process has died there.
    pub(crate) fn dies_at_start(&self, state: &mut State, job: u32) -> bool {
        match state.is_poison(job) {
            None => return self.crashes(state, Site::Attempt, Point::Start, None),
            Some(dies) if !dies => return false,
            Some(_) => {}
        }
        self.die();
        true
    }

    /// The point before a line of a `#[crash_points]` function. Returns false if nothing may run after it. The caller
    /// must unwind. It holds nothing that must be restored, because each such value makes unwinding more expensive.
    fn passes(&self, point: CodePoint) -> bool {
        if thread::panicking() || self.tearing_down.load(Ordering::Relaxed) {
            return true;
        }
        if slots::await_turn().is_err() || self.is_dead() {
            return false;
        }
        let line = LinePoint { function: point.function, ordinal: point.ordinal };
        let (site, place) = (Site::Line(line), line.place());
        let mut state = self.shared.state();
        let passes = self.as_caller(&mut state, |state| {
            state.timeline.called_from(state.actor(), place, site);
            !self.crashes(state, site, Point::Line, Some(place)) && !state.search.is_stuck()
        });
        let others =
            passes && state.may_switch() && (self.shared.woken.any() || state.queue.ready_count() > 0);
        if !others || !slots::on_slot_thread() {
            return passes;
        }
        state.at_line = true;
        drop(state);
        slots::yield_turn().is_ok()
    }
}

/// The incarnation that uses a shared thread, such as one of tokio's for blocking tasks.
pub(crate) type LifeSlot = Arc<Mutex<Option<Arc<Life>>>>;

thread_local! {
    static CURRENT: RefCell<Option<Arc<Life>>> = const { RefCell::new(None) };
    /// Whether there is a current one. Checked at every choice. It has no destructor, so this is a plain read.
    static IS_LIVED: Cell<bool> = const { Cell::new(false) };
    static OWNER: RefCell<Option<LifeSlot>> = const { RefCell::new(None) };
}

/// Restores the former values, no matter how the code in between ends.
struct RestoreGuard {
    life: Option<Arc<Life>>,
    listener: Option<crash_points::Listener>,
}

impl Drop for RestoreGuard {
    fn drop(&mut self) {
        IS_LIVED.set(self.life.is_some());
        CURRENT.set(self.life.take());
        crash_points::listen(self.listener);
    }
}

/// Runs `code` in the name of this incarnation. Nothing can go wrong at its lines.
pub(crate) fn run_as<R>(life: &Arc<Life>, code: impl FnOnce() -> R) -> R {
    with_listener(life, None, code)
}

/// Runs `code` in the name of this incarnation, which may die at each line.
pub(crate) fn run_as_crashable<R>(life: &Arc<Life>, code: impl FnOnce() -> R) -> R {
    with_listener(life, Some(pass), code)
}

fn with_listener<R>(
    life: &Arc<Life>,
    listener: Option<crash_points::Listener>,
    code: impl FnOnce() -> R,
) -> R {
    let listener = crash_points::listen(listener);
    let _former = RestoreGuard { life: CURRENT.replace(Some(life.clone())), listener };
    IS_LIVED.set(true);
    code()
}

fn pass(point: CodePoint) {
    if !CURRENT.with_borrow(|life| life.as_ref().is_none_or(|life| life.passes(point))) {
        unwind()
    }
}

/// Lends this thread to the incarnation that is its current owner.
#[cfg(feature = "tokio")]
pub(crate) fn lend_thread(owner: LifeSlot) {
    OWNER.set(Some(owner));
    crash_points::listen(Some(|point| {
        if owner_of_thread().is_some_and(|life| !life.passes(point)) {
            unwind()
        }
    }));
}

fn owner_of_thread() -> Option<Arc<Life>> {
    OWNER.with_borrow(|owner| owner.as_ref().and_then(|owner| lock(owner).clone()))
}

/// The incarnation that the code on this thread belongs to.
#[cfg(feature = "tracing")]
pub(crate) fn here() -> Option<Arc<Life>> {
    CURRENT.try_with(|life| life.borrow().clone()).ok().flatten().or_else(owner_of_thread)
}

/// Reports whether the code on this thread belongs to any incarnation.
pub(crate) fn is_inside() -> bool {
    CURRENT.with_borrow(Option::is_some) || owner_of_thread().is_some()
}

/// Reports whether the code on this thread belongs to a dead incarnation. Such code must have no visible effect.
pub(crate) fn is_dead_here() -> bool {
    let current = CURRENT.with_borrow(|life| life.as_ref().map(|life| life.is_dead()));
    current.unwrap_or_else(|| owner_of_thread().is_some_and(|life| life.is_dead()))
}

/// The payload of the unwind when a process dies in a blocking call. It is not a panic: no message, no hook.
#[derive(Debug)]
pub(crate) struct ProcessDeath;

/// Unwinds to the place that polls the attempt.
pub(crate) fn unwind() -> ! {
    std::panic::resume_unwind(Box::new(ProcessDeath))
}
