//! The threads for blocking handlers: one for each slot of an incarnation. At most one of them runs at a time.
//!
//! A thread runs between two *points* (a call or a line) while the executor waits. At a point the thread hands the
//! turn back and sleeps until its next turn. To the executor a blocking attempt is therefore like an async one:
//! something that is polled. Thread-locals stay with the slot, as in production, and end with its incarnation.
//!
//! A thread may also wait for something that the harness does not know, such as a `Mutex` of the standard library
//! that another slot holds. Then the thread *is asleep*. The others run until it wakes. After that it waits for its
//! turn before it does anything visible.
//!
//! A thread may also wait for the reply to a request that it has sent over a socket of the run. That is a point, too:
//! the executor sees the request arrive while it waits for the thread.

mod baton;

pub(crate) use baton::{Arrivals, Progress, SlotOwner, SlotTask, StopUnwind};

use baton::{Baton, BatonState, CHECKS, stand_still};

use crate::engine::procfs::ThreadFolder;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;

/// The number of checks of sleeping threads before the run is considered deadlocked: about half a second.
const CHECKS_AT_END: u32 = 1_500;
/// The number of these checks between two signs of life for the watchdog.
const CHECKS_PER_SIGN: u32 = 250;

/// The side of this thread, while it works for a slot.
struct SlotThread {
    baton: Arc<Baton>,
    /// The waker for the thing that it waits for. Only set during its turn, because a holder of the waker may wake
    /// from outside.
    waker: RefCell<Option<Waker>>,
    whose: Box<dyn SlotOwner>,
}

thread_local! {
    static HERE: RefCell<Option<Rc<SlotThread>>> = const { RefCell::new(None) };
    /// Whether there is one. Checked at every call. It has no destructor, so this is a plain read.
    static IS_HERE: Cell<bool> = const { Cell::new(false) };
    /// The baton of this thread, if it is a thread of a slot. It stays until the thread ends.
    static OWN: RefCell<Option<Arc<Baton>>> = const { RefCell::new(None) };
    static IS_SLOT: Cell<bool> = const { Cell::new(false) };
}

/// Parks this thread forever if it was left behind.
fn stand_still_if_left() {
    let is_left = |own: &Option<Arc<Baton>>| {
        own.as_ref().is_some_and(|baton| matches!(*baton.lock(), BatonState::LeftBehind))
    };
    if OWN.try_with(|own| own.try_borrow().is_ok_and(|own| is_left(&own))).unwrap_or(false) {
        stand_still()
    }
}

fn set_here(here: Option<Rc<SlotThread>>) {
    IS_HERE.set(here.is_some());
    HERE.set(here);
}

fn here() -> Option<Rc<SlotThread>> {
    if !IS_HERE.get() {
        return None;
    }
    HERE.try_with(|here| here.try_borrow().ok().and_then(|here| here.clone())).ok().flatten()
}

/// Reports whether this is a slot's thread that may wait for its turn. An unwinding thread may not, because it cannot
/// be stopped.
pub(crate) fn on_slot_thread() -> bool {
    IS_HERE.get() && !std::thread::panicking()
}

/// Waits for the turn before anything visible if this thread was asleep. Does nothing on any other thread.
///
/// # Errors
/// If the thread must unwind.
pub(crate) fn await_turn() -> Result<(), StopUnwind> {
    let Some(here) = here().filter(|_| !std::thread::panicking()) else {
        if IS_SLOT.get() {
            stand_still_if_left();
        }
        return Ok(());
    };
    let mut turn = here.baton.lock();
    if let BatonState::LeftBehind = *turn {
        drop(turn);
        stand_still();
    }
    let (BatonState::Asleep { stopped } | BatonState::Calls { stopped }) = *turn else { return Ok(()) };
    if stopped {
        *turn = BatonState::Running;
        return Err(StopUnwind);
    }
    // Under the same lock: the executor may be about to give this thread its turn, because the reply has been sent. It
    // would then find the thread at a point that it was never woken for.
    here.wait_from(turn)
}

/// Lets other tasks run, and waits for the next turn. On a thread that is not a slot's, returns immediately.
///
/// # Errors
/// If the thread must unwind.
pub(crate) fn yield_turn() -> Result<(), StopUnwind> {
    let Some(here) = here().filter(|_| !std::thread::panicking()) else { return Ok(()) };
    if let Some(waker) = here.waker.take() {
        waker.wake();
    }
    here.wait()
}

/// Runs a future to its end, from blocking code on a slot's thread. While the future waits, the thread waits for its
/// turn.
///
/// # Errors
/// If the thread must unwind.
pub(crate) fn block_on<F: Future>(future: F) -> Result<F::Output, StopUnwind> {
    let here = here().expect("it is asked only where there is a slot");
    let mut future = pin!(future);
    loop {
        await_turn()?;
        let waker = here.waker.borrow().clone().expect("it is this thread's turn");
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Ok(output);
        }
        drop(waker);
        // A thread that fell asleep on its way here runs beside others.
        let is_its_turn = matches!(*here.baton.lock(), BatonState::Running);
        if is_its_turn && here.whose.is_dead() {
            return Err(stopped());
        }
        if !is_its_turn || !here.goes_on() {
            here.wait()?;
        }
    }
}

/// This thread unwinds, and its destructors must not wait.
fn stopped() -> StopUnwind {
    set_here(None);
    StopUnwind
}

impl SlotThread {
    /// Reports whether it continues immediately after a point because nothing else can run.
    fn goes_on(&self) -> bool {
        let goes_on = self.whose.goes_on();
        if goes_on {
            self.baton.points.fetch_add(1, Ordering::Relaxed);
        }
        goes_on
    }

    fn wait(&self) -> Result<(), StopUnwind> {
        self.wait_from(self.baton.lock())
    }

    fn wait_from(&self, turn: MutexGuard<'_, BatonState>) -> Result<(), StopUnwind> {
        self.waker.take();
        let waker = self.baton.yield_turn(turn).map_err(|_| stopped())?;
        *self.waker.borrow_mut() = Some(waker);
        Ok(())
    }
}

/// The loop of a thread, as long as there is work.
fn serve(baton: &Arc<Baton>) {
    OWN.set(Some(baton.clone()));
    IS_SLOT.set(true);
    let _ = baton.folder.set(ThreadFolder::of_slot());
    let mut turn = baton.lock();
    loop {
        match std::mem::replace(&mut *turn, BatonState::Running) {
            BatonState::Begin(SlotTask { work, whose }, waker) => {
                drop(turn);
                let here =
                    Rc::new(SlotThread { baton: baton.clone(), waker: RefCell::new(Some(waker)), whose });
                set_here(Some(here.clone()));
                work();
                set_here(None);
                if let BatonState::LeftBehind = *baton.lock() {
                    return;
                }
                if here.whose.is_dead() {
                    baton.hand(baton.lock(), BatonState::Quit);
                    return;
                }
                baton.hand(baton.lock(), BatonState::Idle);
                turn = baton.lock();
                continue;
            }
            BatonState::Quit => {
                *turn = BatonState::Quit;
                return;
            }
            other => *turn = other,
        }
        turn = baton.handed.wait(turn).unwrap_or_else(PoisonError::into_inner);
    }
}

/// The thread of a slot.
struct Slot {
    baton: Arc<Baton>,
    thread: JoinHandle<()>,
}

/// The threads of the slots of one incarnation. They are started when they are needed.
#[derive(Clone, Default)]
pub(crate) struct Slots(Rc<RefCell<Vec<Slot>>>);

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Slots").field(&self.0.borrow().len()).finish()
    }
}

impl Slots {
    /// Takes the first free slot for this work. `welcome` is called once on each thread. Nothing runs before the
    /// first [`SlotWork::resume`].
    pub(crate) fn begin(
        &self,
        name: impl FnOnce(usize) -> String,
        welcome: impl FnOnce() + Send + 'static,
        code: SlotTask,
        sleepers: &Arc<Sleepers>,
    ) -> SlotWork {
        let mut slots = self.0.borrow_mut();
        let free = slots.iter().find(|slot| matches!(*slot.baton.lock(), BatonState::Idle));
        let baton = match free {
            Some(slot) => slot.baton.clone(),
            None => {
                let baton = Baton::new(sleepers.given_up.clone());
                let own = baton.clone();
                let thread = std::thread::Builder::new().name(name(slots.len())).spawn(move || {
                    welcome();
                    serve(&own);
                });
                let thread = thread.unwrap_or_else(|error| {
                    panic!("the system cannot start a thread for a slot ({error}); give the process fewer `slots`")
                });
                slots.push(Slot { baton: baton.clone(), thread });
                baton
            }
        };
        *baton.lock() = BatonState::Taken;
        SlotWork { baton, code: Some(code), has_ended: false, calls: None, sleepers: sleepers.clone() }
    }

    /// Ends the threads: they have unwound, or do so now. A thread that waits for something that never comes is left
    /// behind.
    pub(crate) fn end(&self, sleepers: &Sleepers) {
        let slots = self.0.take();
        for slot in slots {
            match slot.baton.wait(CHECKS * 4) {
                Progress::Ended => {
                    slot.baton.hand(slot.baton.lock(), BatonState::Quit);
                    let _ = slot.thread.join();
                }
                Progress::LeftBehind => sleepers.leave(slot.thread.thread().name().unwrap_or_default()),
                Progress::Waits | Progress::Calls | Progress::Asleep => {}
            }
        }
    }
}

/// Work on the thread of a slot.
pub(crate) struct SlotWork {
    baton: Arc<Baton>,
    code: Option<SlotTask>,
    has_ended: bool,
    /// The task to wake when the reply to its request arrives.
    calls: Option<Waker>,
    sleepers: Arc<Sleepers>,
}

impl fmt::Debug for SlotWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("has_ended", &self.has_ended).finish_non_exhaustive()
    }
}

impl SlotWork {
    /// Runs the thread until its next point, in the name of the task that `waker` wakes.
    pub(crate) fn resume(&mut self, waker: &Waker, arrivals: Arrivals) -> Progress {
        self.sleepers.hear(self.calls.take());
        let progress = match self.code.take() {
            Some(code) => self.baton.give(BatonState::Begin(code, waker.clone()), &arrivals),
            None => {
                let turn = self.baton.lock();
                match *turn {
                    BatonState::Waits => {
                        drop(turn);
                        self.baton.give(BatonState::Go(waker.clone()), &arrivals)
                    }
                    // The reply has been sent and wakes the thread, which may reach a point or end at any moment. Its
                    // message must not be overwritten, so the lock is held throughout.
                    BatonState::Calls { .. } => {
                        self.baton.hand(turn, BatonState::Running);
                        self.baton.come_to_point(&arrivals, CHECKS)
                    }
                    BatonState::Idle => Progress::Ended,
                    BatonState::LeftBehind => Progress::LeftBehind,
                    _ => Progress::Asleep,
                }
            }
        };
        match progress {
            Progress::Asleep => self.sleepers.add(&self.baton, waker, arrivals),
            Progress::Ended => self.has_ended = true,
            Progress::Calls => {
                self.sleepers.call(waker);
                self.calls = Some(waker.clone());
            }
            Progress::Waits | Progress::LeftBehind => {}
        }
        self.sleepers.have_woken();
        progress
    }
}

impl Drop for SlotWork {
    fn drop(&mut self) {
        self.sleepers.hear(self.calls.take());
        if self.has_ended {
            return;
        }
        let mut turn = self.baton.lock();
        match &mut *turn {
            BatonState::Taken => *turn = BatonState::Idle,
            BatonState::Waits => {
                drop(turn);
                self.baton.give(BatonState::Stop, &None);
                if let BatonState::Asleep { stopped } = &mut *self.baton.lock() {
                    *stopped = true;
                }
            }
            BatonState::Asleep { stopped } | BatonState::Calls { stopped } => *stopped = true,
            _ => {}
        }
        self.sleepers.forget(&self.baton);
        self.sleepers.have_woken();
    }
}

/// A thread that is asleep.
#[derive(Clone)]
struct Sleeper {
    baton: Arc<Baton>,
    /// Wakes its task.
    waker: Waker,
    arrivals: Arrivals,
}

impl fmt::Debug for Sleeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleeper").finish_non_exhaustive()
    }
}

impl Sleeper {
    /// Waits for the thread, if it is awake, until it reaches a point or sends a request. Returns whether it sleeps on.
    fn sleeps_on(&self) -> bool {
        self.baton.sleeps_on() || self.is_asleep_after(CHECKS)
    }

    fn is_asleep_after(&self, looks: u32) -> bool {
        self.baton.come_to_point(&self.arrivals, looks) == Progress::Asleep
    }
}

/// The threads that are asleep, in the order in which they fell asleep.
#[derive(Debug, Default)]
pub(crate) struct Sleepers {
    count: AtomicUsize,
    asleep: Mutex<Vec<Sleeper>>,
    /// The threads that wait for the reply to a request.
    calling: Mutex<Vec<Waker>>,
    /// The number of times that the executor has waited for a thread, when nothing else could run.
    waits: AtomicU64,
    /// Whether the executor no longer waits for threads, because one of them hangs.
    given_up: Arc<AtomicBool>,
    /// The names of the threads that were left behind.
    left: Mutex<Vec<String>>,
}

impl Sleepers {
    fn lock(&self) -> MutexGuard<'_, Vec<Sleeper>> {
        self.asleep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, baton: &Arc<Baton>, waker: &Waker, arrivals: Arrivals) {
        let mut asleep = self.lock();
        if !asleep.iter().any(|known| Arc::ptr_eq(&known.baton, baton)) {
            asleep.push(Sleeper { baton: baton.clone(), waker: waker.clone(), arrivals });
        }
        self.count.store(asleep.len(), Ordering::Relaxed);
    }

    fn calling(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.calling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, waker: &Waker) {
        self.calling().push(waker.clone());
    }

    /// Stops waiting for threads, because one of them hangs. Threads that wait for their turn still unwind.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    fn leave(&self, name: &str) {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).push(name.to_owned());
    }

    /// Takes the names of the threads that were left behind.
    pub(crate) fn left(&self) -> Vec<String> {
        std::mem::take(&mut self.left.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The reply that the thread waited for has arrived.
    fn hear(&self, waker: Option<Waker>) {
        if let Some(waker) = waker {
            self.calling().retain(|known| !known.will_wake(&waker));
        }
    }

    /// Reports whether the thread of this waker's task waits for the reply to a request.
    pub(crate) fn are_called_by(&self, waker: &Waker) -> bool {
        self.calling().iter().any(|known| known.will_wake(waker))
    }

    fn forget(&self, baton: &Arc<Baton>) {
        if self.any() {
            let mut asleep = self.lock();
            asleep.retain(|known| !Arc::ptr_eq(&known.baton, baton));
            self.count.store(asleep.len(), Ordering::Relaxed);
        }
    }

    /// Reports whether any thread is asleep.
    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Reports whether the thread of this waker's task is asleep.
    pub(crate) fn has(&self, waker: &Waker) -> bool {
        self.any() && self.lock().iter().any(|known| known.waker.will_wake(waker))
    }

    /// Wakes the threads whose wait has ended, after they have reached their next point, because the executor waits
    /// for threads that are awake. Returns whether there was one.
    pub(crate) fn have_woken(&self) -> bool {
        self.look(false)
    }

    fn look(&self, at_end: bool) -> bool {
        if !self.any() {
            return false;
        }
        let mut woke = self.lock().clone();
        // Not under the lock, because sockets move meanwhile.
        woke.retain(|sleeper| match at_end {
            false => !sleeper.sleeps_on(),
            true => !self.sleeps_to_the_end(sleeper),
        });
        woke.iter().for_each(|sleeper| self.forget(&sleeper.baton));
        woke.iter().for_each(|sleeper| sleeper.waker.wake_by_ref());
        !woke.is_empty()
    }

    /// Called when nothing else can run. Reports whether one of the sleeping threads wakes soon.
    pub(crate) fn wake_at_last(&self) -> bool {
        self.look(true)
    }

    fn sleeps_to_the_end(&self, sleeper: &Sleeper) -> bool {
        (0..CHECKS_AT_END / CHECKS_PER_SIGN).all(|_| {
            self.waits.fetch_add(1, Ordering::Relaxed);
            sleeper.is_asleep_after(CHECKS_PER_SIGN)
        })
    }

    /// The number of times that the executor has waited for a thread, when nothing else could run. These waits are
    /// limited, so a run that grows this number makes progress.
    pub(crate) fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }
}
