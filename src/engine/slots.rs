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

use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

/// The time before the executor checks whether a thread is asleep, and the number of checks that must agree.
const LOOK_AFTER: Duration = Duration::from_micros(300);
const CHECKS: u32 = 3;
/// The number of checks if the system does not show whether a thread is asleep.
const CHECKS_WITHOUT_PROCFS: u32 = 200;
/// The number of times that the executor looks for a request of the thread before it pauses between looks, and the
/// length of a pause.
const REQUEST_SPINS: u32 = 100;
const REQUEST_PAUSE: Duration = Duration::from_micros(30);
/// The number of checks that a thread gets to unwind after the watchdog gave up.
const LOOKS_GIVEN_UP: u32 = 100;
/// The number of checks of sleeping threads before the run is considered deadlocked: about half a second.
const CHECKS_AT_END: u32 = 1_500;

/// The code for a thread.
pub(crate) struct SlotTask {
    pub(crate) work: Box<dyn FnOnce() + Send>,
    pub(crate) whose: Box<dyn SlotOwner>,
}

/// The owner of the code on a thread. The thread itself asks it, because handing the turn over and back takes longer
/// than most steps.
pub(crate) trait SlotOwner: Send {
    /// At a point: reports whether the code continues immediately. Otherwise another task has the turn.
    fn goes_on(&self) -> bool;
    /// Reports whether the code must not continue.
    fn is_dead(&self) -> bool;
}

/// The holder of the turn.
enum BatonState {
    /// The executor. The thread has nothing to do.
    Idle,
    /// The executor. The slot was given to code that has not begun.
    Taken,
    Begin(SlotTask, Waker),
    /// The thread, between two points.
    Running,
    /// The executor. The thread is at a point.
    Waits,
    Go(Waker),
    /// The thread, which must unwind from its point.
    Stop,
    /// Nobody. The thread waits for something else. If `stopped`, it must unwind from its next point.
    Asleep {
        stopped: bool,
    },
    /// Nobody. The thread waits for the reply to a request. If `stopped`, it must unwind from its next point.
    Calls {
        stopped: bool,
    },
    /// The thread must end.
    Quit,
    /// Nobody's turn: the thread hangs and is left behind. At its next call it parks forever.
    LeftBehind,
}

/// The shared state of a thread and the executor.
struct Baton {
    turn: Mutex<BatonState>,
    handed: Condvar,
    /// The number of points that the thread has passed without handing the turn over.
    points: AtomicU32,
    /// The file in which the system shows what the thread does.
    status: OnceLock<Option<PathBuf>>,
    /// Whether the executor no longer waits for threads: see [`Sleepers::give_up`].
    given_up: Arc<AtomicBool>,
}

impl fmt::Debug for Baton {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Baton").finish_non_exhaustive()
    }
}

/// The progress of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Ended,
    /// It is at a point.
    Waits,
    /// It waits for the reply to a request that it has sent.
    Calls,
    /// It waits for something that the harness does not know.
    Asleep,
    /// It hangs and is left behind.
    LeftBehind,
}

/// Reports whether the thread that the executor waits for has sent a request. `None` if no request can come.
pub(crate) type Arrivals<'a> = Option<&'a dyn Fn() -> bool>;

impl Baton {
    fn new(given_up: Arc<AtomicBool>) -> Arc<Self> {
        let (turn, handed, status) = (Mutex::new(BatonState::Idle), Condvar::new(), OnceLock::new());
        Arc::new(Self { turn, handed, points: AtomicU32::new(0), status, given_up })
    }

    /// Returns the progress of the thread if the executor need not wait any longer. `looks` is the number of checks so far.
    fn has_come(&self, turn: &mut BatonState, looks: u32) -> Option<Progress> {
        match turn {
            BatonState::Idle | BatonState::Taken | BatonState::Quit => Some(Progress::Ended),
            BatonState::Waits => Some(Progress::Waits),
            BatonState::LeftBehind => Some(Progress::LeftBehind),
            _ if looks > LOOKS_GIVEN_UP && self.given_up.load(Ordering::Relaxed) => {
                *turn = BatonState::LeftBehind;
                Some(Progress::LeftBehind)
            }
            _ => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BatonState> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand(&self, mut turn: MutexGuard<'_, BatonState>, to: BatonState) {
        *turn = to;
        drop(turn);
        self.handed.notify_all();
    }

    /// Gives the thread its turn, and waits until it reaches its next point.
    fn give(&self, to: BatonState, arrivals: Arrivals<'_>) -> Progress {
        self.hand(self.lock(), to);
        self.come_to_point(arrivals)
    }

    /// Waits until the thread reaches its next point.
    fn come_to_point(&self, arrivals: Arrivals<'_>) -> Progress {
        match arrivals {
            Some(has_come) => self.wait_or_serve(has_come),
            None => self.wait(CHECKS),
        }
    }

    /// Waits for the thread to reach a point, or for a request from it. A thread that has sent a request waits for
    /// the reply, so real time does not decide which of the two is seen.
    fn wait_or_serve(&self, has_come: &dyn Fn() -> bool) -> Progress {
        let mut turn = self.lock();
        for looks in 0_u32.. {
            if let Some(progress) = self.has_come(&mut turn, looks) {
                return progress;
            }
            drop(turn);
            if has_come() {
                turn = self.lock();
                if matches!(*turn, BatonState::Running) {
                    *turn = BatonState::Calls { stopped: false };
                    return Progress::Calls;
                }
                continue;
            }
            if looks < REQUEST_SPINS {
                std::thread::yield_now();
                turn = self.lock();
                continue;
            }
            if looks % 10 == 0 && self.is_asleep() != Some(false) {
                // It may be asleep for good. Requests that it sends after waking are seen later.
                match self.wait_asleep(has_come) {
                    Some(progress) => return progress,
                    None => {
                        turn = self.lock();
                        continue;
                    }
                }
            }
            let waited = self.handed.wait_timeout(self.lock(), REQUEST_PAUSE);
            (turn, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        unreachable!("a thread comes to a point before numbers end")
    }

    /// The thread seems to be asleep. Checks it as often as any other thread, and looks for a request between the
    /// checks.
    fn wait_asleep(&self, has_come: &dyn Fn() -> bool) -> Option<Progress> {
        let most = if self.is_asleep().is_some() { CHECKS } else { CHECKS_WITHOUT_PROCFS };
        for _ in 0..most {
            let turn = self.lock();
            let (turn, late) =
                self.handed.wait_timeout(turn, LOOK_AFTER).unwrap_or_else(PoisonError::into_inner);
            let is_running = matches!(*turn, BatonState::Running | BatonState::Asleep { .. });
            drop(turn);
            if !late.timed_out() || !is_running || self.is_asleep() == Some(false) || has_come() {
                return None;
            }
        }
        let mut turn = self.lock();
        if let BatonState::Running = *turn {
            *turn = BatonState::Asleep { stopped: false };
        }
        matches!(*turn, BatonState::Asleep { .. }).then_some(Progress::Asleep)
    }

    /// Waits for the thread to reach a point. `looks` is the number of checks after which the thread is considered
    /// asleep.
    fn wait(&self, looks: u32) -> Progress {
        let mut turn = self.lock();
        let (mut asleep, mut passed, mut looks_so_far) = (0, 0, 0);
        loop {
            if let Some(progress) = self.has_come(&mut turn, looks_so_far) {
                return progress;
            }
            let (again, late) =
                self.handed.wait_timeout(turn, LOOK_AFTER).unwrap_or_else(PoisonError::into_inner);
            turn = again;
            if !late.timed_out() {
                continue;
            }
            looks_so_far = looks_so_far.saturating_add(1);
            // Checked without a lock: a thread that waits for this very lock would seem to be asleep.
            drop(turn);
            let is_asleep = self.is_asleep();
            turn = self.lock();
            let most = match is_asleep {
                _ if !matches!(*turn, BatonState::Running | BatonState::Asleep { .. }) => continue,
                Some(true) => looks,
                Some(false) => {
                    asleep = 0;
                    continue;
                }
                None => looks.max(CHECKS_WITHOUT_PROCFS),
            };
            let points = self.points.load(Ordering::Relaxed);
            asleep = if std::mem::replace(&mut passed, points) == points { asleep + 1 } else { 1 };
            if asleep >= most {
                if let BatonState::Running = *turn {
                    *turn = BatonState::Asleep { stopped: false };
                }
                return Progress::Asleep;
            }
        }
    }

    /// Reports whether a sleeping thread is still asleep. A woken thread is seen to be awake before it runs. A thread
    /// that has reached a point sleeps, too, but its state says so.
    fn sleeps_on(&self) -> bool {
        self.is_asleep() == Some(true) && matches!(*self.lock(), BatonState::Asleep { .. })
    }

    /// Reports whether the thread waits for a lock or similar. `None` if the system does not show it.
    fn is_asleep(&self) -> Option<bool> {
        let path = self.status.get()?.as_ref()?;
        let doing = std::fs::read_to_string(path).ok()?;
        let call = doing.split(' ').next()?.trim();
        Some(FUTEX.is_some_and(|futex| call.parse() == Ok(futex)))
    }

    /// On the thread: hands the turn back and waits for the next one. Returns an error if the thread must unwind.
    fn yield_turn(&self) -> Result<Waker, StopUnwind> {
        let turn = self.lock();
        if let BatonState::LeftBehind = *turn {
            drop(turn);
            stand_still();
        }
        self.hand(turn, BatonState::Waits);
        let mut turn = self.lock();
        loop {
            match std::mem::replace(&mut *turn, BatonState::Running) {
                BatonState::Go(waker) => return Ok(waker),
                BatonState::Stop => return Err(StopUnwind),
                other => *turn = other,
            }
            turn = self.handed.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The number of the system call in which a thread waits for a lock.
const FUTEX: Option<i64> = match () {
    () if cfg!(all(target_os = "linux", target_arch = "x86_64")) => Some(202),
    () if cfg!(all(target_os = "linux", target_arch = "aarch64")) => Some(98),
    () => None,
};

/// The order to a thread without an owner: it must unwind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StopUnwind;

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

/// Parks a thread that was left behind forever, because nothing can end it.
fn stand_still() -> ! {
    loop {
        std::thread::park();
    }
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
    drop(turn);
    here.wait()
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
        self.waker.take();
        let waker = self.baton.yield_turn().map_err(|_| stopped())?;
        *self.waker.borrow_mut() = Some(waker);
        Ok(())
    }
}

/// The loop of a thread, as long as there is work.
fn serve(baton: &Arc<Baton>) {
    let path = std::fs::read_link("/proc/thread-self").ok();
    OWN.set(Some(baton.clone()));
    IS_SLOT.set(true);
    let _ = baton.status.set(path.map(|path| PathBuf::from("/proc").join(path).join("syscall")));
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
    pub(crate) fn resume(&mut self, waker: &Waker, arrivals: Arrivals<'_>) -> Progress {
        self.sleepers.hear(self.calls.take());
        let progress = match self.code.take() {
            Some(code) => self.baton.give(BatonState::Begin(code, waker.clone()), arrivals),
            None => {
                let turn = self.baton.lock();
                match *turn {
                    BatonState::Waits => {
                        drop(turn);
                        self.baton.give(BatonState::Go(waker.clone()), arrivals)
                    }
                    // The reply has been sent and wakes the thread, which may reach a point or end at any moment. Its
                    // message must not be overwritten, so the lock is held throughout.
                    BatonState::Calls { .. } => {
                        self.baton.hand(turn, BatonState::Running);
                        self.baton.come_to_point(arrivals)
                    }
                    BatonState::Idle => Progress::Ended,
                    BatonState::LeftBehind => Progress::LeftBehind,
                    _ => Progress::Asleep,
                }
            }
        };
        match progress {
            Progress::Asleep => self.sleepers.add(&self.baton, waker),
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
                self.baton.give(BatonState::Stop, None);
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

/// The threads that are asleep, in the order in which they fell asleep.
#[derive(Debug, Default)]
pub(crate) struct Sleepers {
    count: AtomicUsize,
    asleep: Mutex<Vec<(Arc<Baton>, Waker)>>,
    /// The threads that wait for the reply to a request.
    calling: Mutex<Vec<Waker>>,
    /// Whether the executor no longer waits for threads, because one of them hangs.
    given_up: Arc<AtomicBool>,
    /// The names of the threads that were left behind.
    left: Mutex<Vec<String>>,
}

impl Sleepers {
    fn lock(&self) -> MutexGuard<'_, Vec<(Arc<Baton>, Waker)>> {
        self.asleep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, baton: &Arc<Baton>, waker: &Waker) {
        let mut asleep = self.lock();
        if !asleep.iter().any(|(known, _)| Arc::ptr_eq(known, baton)) {
            asleep.push((baton.clone(), waker.clone()));
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
            asleep.retain(|(known, _)| !Arc::ptr_eq(known, baton));
            self.count.store(asleep.len(), Ordering::Relaxed);
        }
    }

    /// Reports whether any thread is asleep.
    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Reports whether the thread of this waker's task is asleep.
    pub(crate) fn has(&self, waker: &Waker) -> bool {
        self.any() && self.lock().iter().any(|(_, known)| known.will_wake(waker))
    }

    /// Wakes the threads whose wait has ended, after they have reached their next point, because the executor waits
    /// for threads that are awake. Returns whether there was one.
    pub(crate) fn have_woken(&self) -> bool {
        self.look(CHECKS)
    }

    fn look(&self, looks: u32) -> bool {
        if !self.any() {
            return false;
        }
        let mut woke = Vec::new();
        let mut asleep = self.lock();
        asleep.retain(|(baton, waker)| {
            let sleeps = (looks == CHECKS && baton.sleeps_on()) || baton.wait(looks) == Progress::Asleep;
            if !sleeps {
                woke.push(waker.clone());
            }
            sleeps
        });
        self.count.store(asleep.len(), Ordering::Relaxed);
        drop(asleep);
        woke.iter().for_each(Waker::wake_by_ref);
        !woke.is_empty()
    }

    /// Called when nothing else can run. Reports whether one of the sleeping threads wakes soon.
    pub(crate) fn wake_at_last(&self) -> bool {
        self.look(CHECKS_AT_END)
    }
}
