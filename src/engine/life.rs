//! One life of a process: an incarnation, from its boot to its crash. All handles carry it.
//!
//! Whether an attempt died is read from here, never from a panic's payload: code under test may swallow or replace
//! that. While a dead incarnation is being torn down its destructors run, and what they ask for is
//! answered from throw-away copies.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::thread;

use crash_points::Point as CodePoint;

use crate::engine::slots;
use crate::engine::state::{Shared, State, lock};
use crate::search::choice::{Actor, Ending, Line, Name, Place, Point, Site};

/// An incarnation of a process.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) process: Name,
    /// The place of the process among the processes of the world.
    pub(crate) index: usize,
    /// From 1.
    pub(crate) incarnation: u32,
    pub(crate) shared: Arc<Shared>,
    dead: AtomicBool,
    tearing_down: AtomicBool,
    /// Code of it blocks the thread of the executor: who waits for an answer from elsewhere waits in vain for the
    /// executor.
    blocked: AtomicBool,
    /// It is being stopped: it takes no more jobs, and those that run may end.
    stopping: AtomicBool,
    /// Its time to stop is over: whatever runs is interrupted.
    overrun: AtomicBool,
    /// Who waits for the sign to stop.
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

    /// Gives the sign to stop. Who waits for it is to be woken while nothing is locked.
    #[must_use = "who waits for the sign is to be woken"]
    pub(crate) fn stop(&self) -> Vec<Waker> {
        self.stopping.store(true, Ordering::Relaxed);
        std::mem::take(&mut *lock(&self.listening))
    }

    /// Wakes this one when the sign to stop is given.
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

    /// Whether what runs is interrupted: its time to stop is over.
    pub(crate) fn has_overrun(&self) -> bool {
        self.overrun.load(Ordering::Relaxed)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    pub(crate) fn die(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    /// Whether this incarnation does not go on: what unwinds now is its end, and no panic of the job's.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_dead() || self.has_overrun()
    }

    /// Whether destructors are running of what has died: the incarnation is being taken apart, or this thread unwinds
    /// from its crash.
    pub(crate) fn is_tearing_down(&self) -> bool {
        self.tearing_down.load(Ordering::Relaxed) || self.is_dead() && thread::panicking()
    }

    /// Runs code that blocks the thread of the executor.
    pub(crate) fn blocked<R>(&self, code: impl FnOnce() -> R) -> R {
        struct Former<'a>(&'a AtomicBool, bool);
        impl Drop for Former<'_> {
            fn drop(&mut self) {
                self.0.store(self.1, Ordering::Relaxed);
            }
        }
        let _former = Former(&self.blocked, self.blocked.swap(true, Ordering::Relaxed));
        code()
    }

    /// Whether nothing but its blocking code runs.
    #[cfg(feature = "wire")]
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    pub(crate) fn set_tearing_down(&self, tearing_down: bool) {
        self.tearing_down.store(tearing_down, Ordering::Relaxed);
    }

    /// Has `code` done in the name of whoever runs on this thread: on a thread of the executor's the attempt under way,
    /// elsewhere the process.
    pub(crate) fn as_caller<R>(&self, state: &mut State, code: impl FnOnce(&mut State) -> R) -> R {
        if IS_LIVED.get() {
            return code(state);
        }
        state.as_actor(Actor::Process(self.process), code)
    }

    /// A crash point of this incarnation. True: it has died, here.
    pub(crate) fn crashes(&self, state: &mut State, site: Site, point: Point, place: Option<Place>) -> bool {
        // A destructor that runs while a panic unwinds cannot unwind itself: that would abort.
        if thread::panicking() {
            return false;
        }
        let waits = matches!(site, Site::Call { .. } | Site::Wait(_));
        if state.deploys && waits && matches!(state.actor(), Actor::Attempt { .. }) {
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

    /// The point before a line of a `#[crash_points]` function. False: nothing goes on behind it. To unwind is left to
    /// the caller, who holds nothing that is to be put back: each thing held makes unwinding dearer.
    fn passes(&self, point: CodePoint) -> bool {
        if thread::panicking() || self.tearing_down.load(Ordering::Relaxed) {
            return true;
        }
        if slots::arrive().is_err() || self.is_dead() {
            return false;
        }
        let line = Line { function: point.function, ordinal: point.ordinal };
        let (site, place) = (Site::Line(line), line.place());
        let mut state = self.shared.state();
        let passes = self.as_caller(&mut state, |state| {
            state.timeline.called_from(state.actor(), place, site);
            !self.crashes(state, site, Point::Line, Some(place)) && !state.search.is_stuck()
        });
        let others =
            passes && state.may_switch() && (self.shared.woken.any() || state.queue.ready_count() > 0);
        if !others || !slots::is_here() {
            return passes;
        }
        state.at_line = true;
        drop(state);
        slots::give_way().is_ok()
    }
}

/// Who runs on a thread that others run on before and after: one of tokio's for blocking tasks.
pub(crate) type Owner = Arc<Mutex<Option<Arc<Life>>>>;

thread_local! {
    static CURRENT: RefCell<Option<Arc<Life>>> = const { RefCell::new(None) };
    /// Whether there is a current one. Asked at every choice, and without a destructor it is a plain read.
    static IS_LIVED: Cell<bool> = const { Cell::new(false) };
    static OWNER: RefCell<Option<Owner>> = const { RefCell::new(None) };
}

/// Puts things back as they were, however the code in between ends.
struct Former {
    life: Option<Arc<Life>>,
    listener: Option<crash_points::Listener>,
}

impl Drop for Former {
    fn drop(&mut self) {
        IS_LIVED.set(self.life.is_some());
        CURRENT.set(self.life.take());
        crash_points::listen(self.listener);
    }
}

/// Runs `code` as the code of this incarnation: what it does on this thread is done by it. Nothing can go wrong at the
/// lines that it passes.
pub(crate) fn run_as<R>(life: &Arc<Life>, code: impl FnOnce() -> R) -> R {
    with_listener(life, None, code)
}

/// Runs `code` as the code of this incarnation, which may die at each line that it passes.
pub(crate) fn run_as_crashable<R>(life: &Arc<Life>, code: impl FnOnce() -> R) -> R {
    with_listener(life, Some(pass), code)
}

fn with_listener<R>(
    life: &Arc<Life>,
    listener: Option<crash_points::Listener>,
    code: impl FnOnce() -> R,
) -> R {
    let listener = crash_points::listen(listener);
    let _former = Former { life: CURRENT.replace(Some(life.clone())), listener };
    IS_LIVED.set(true);
    code()
}

fn pass(point: CodePoint) {
    if !CURRENT.with_borrow(|life| life.as_ref().is_none_or(|life| life.passes(point))) {
        unwind()
    }
}

/// From here on this thread belongs to whoever owns it at the time.
#[cfg(feature = "tokio")]
pub(crate) fn lend_thread(owner: Owner) {
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

/// Whether the code that runs on this thread belongs to any incarnation.
pub(crate) fn is_inside() -> bool {
    CURRENT.with_borrow(Option::is_some) || owner_of_thread().is_some()
}

/// Whether the code that runs on this thread belongs to an incarnation that is dead: what it does must not show.
pub(crate) fn is_dead_here() -> bool {
    let current = CURRENT.with_borrow(|life| life.as_ref().map(|life| life.is_dead()));
    current.unwrap_or_else(|| owner_of_thread().is_some_and(|life| life.is_dead()))
}

/// What a blocking call unwinds with when its process dies. It is not a panic: no message, no hook.
#[derive(Debug)]
pub(crate) struct Died;

/// Unwinds to where the attempt is polled.
pub(crate) fn unwind() -> ! {
    std::panic::resume_unwind(Box::new(Died))
}
