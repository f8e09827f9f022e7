//! The threads on which blocking handlers run: one for each slot of an incarnation, and one of all of them at a time.
//!
//! A thread runs between two *points* of it (a call, a line) while the executor waits. At a point it hands the turn
//! back and sleeps until it is its turn again. So a blocking attempt is to the executor what an async one is: something
//! that is polled. Thread-locals stay with the slot, as in production, and end with its incarnation.
//!
//! What a thread may also do is wait for something that the harness does not know: a `Mutex` of the standard library
//! that another slot holds. Then it *is asleep*: the others go on until it wakes, and then it waits for its turn before
//! it does anything that shows.
//!
//! A thread may also wait for the reply to a request that it has sent over a socket of the run's. That is a point, too:
//! the executor sees the request arrive while it waits for the thread.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long the executor waits before it looks whether a thread is asleep, and how often it must seem so.
const LOOK_AFTER: Duration = Duration::from_micros(300);
const CHECKS: u32 = 3;
/// Where it cannot be seen whether a thread sleeps, it is taken to after so many looks.
const CHECKS_WITHOUT_PROCFS: u32 = 200;
/// How often the executor looks for a request that the thread has sent, before it pauses between looks, and how long it
/// pauses.
const REQUEST_SPINS: u32 = 100;
const REQUEST_PAUSE: Duration = Duration::from_micros(30);
/// How often those that sleep are looked at before nothing is taken to wake them any more: about half a second.
const CHECKS_AT_END: u32 = 1_500;

/// What runs on a thread.
pub(crate) struct SlotTask {
    pub(crate) work: Box<dyn FnOnce() + Send>,
    pub(crate) whose: Box<dyn SlotOwner>,
}

/// Whose code it is that runs on a thread. Asked there: to hand the turn over and back takes longer than most steps.
pub(crate) trait SlotOwner: Send {
    /// At a point: whether it goes on at once. Otherwise it is somebody else's turn.
    fn goes_on(&self) -> bool;
    /// Whether nothing of it is to go on any more.
    fn is_dead(&self) -> bool;
}

/// Whose turn it is.
enum BatonState {
    /// The executor's: the thread has nothing to do.
    Idle,
    /// The executor's: the slot was given to somebody who has not begun.
    Taken,
    Begin(SlotTask, Waker),
    /// The thread's, between two points.
    Running,
    /// The executor's: the thread is at a point.
    Waits,
    Go(Waker),
    /// The thread is to unwind from its point.
    Stop,
    /// Nobody's: the thread waits for something else. `stopped`: it is to unwind from its next point.
    Asleep {
        stopped: bool,
    },
    /// Nobody's: the thread waits for the reply to a request. `stopped`: it is to unwind from its next point.
    Calls {
        stopped: bool,
    },
    /// The thread is to end.
    Quit,
}

/// What one thread and the executor hand to each other.
struct Baton {
    turn: Mutex<BatonState>,
    handed: Condvar,
    /// How many points the thread has passed without handing it over.
    points: AtomicU32,
    /// Where the system tells what the thread does.
    status: OnceLock<Option<PathBuf>>,
}

impl fmt::Debug for Baton {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Baton").finish_non_exhaustive()
    }
}

/// Where a thread has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Ended,
    /// It is at a point.
    Waits,
    /// It waits for the reply to a request that it has sent.
    Calls,
    /// It waits for something that the harness does not know.
    Asleep,
}

/// Says whether the thread that the executor waits for has sent a request. `None` if no request can come.
pub(crate) type Arrivals<'a> = Option<&'a dyn Fn() -> bool>;

impl Baton {
    fn new() -> Arc<Self> {
        let (turn, handed, status) = (Mutex::new(BatonState::Idle), Condvar::new(), OnceLock::new());
        Arc::new(Self { turn, handed, points: AtomicU32::new(0), status })
    }

    fn lock(&self) -> MutexGuard<'_, BatonState> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand(&self, mut turn: MutexGuard<'_, BatonState>, to: BatonState) {
        *turn = to;
        drop(turn);
        self.handed.notify_all();
    }

    /// Gives the thread its turn, and waits until it has come to its next point.
    fn give(&self, to: BatonState, arrivals: Arrivals<'_>) -> Progress {
        self.hand(self.lock(), to);
        self.come_to_point(arrivals)
    }

    /// Waits until the thread has come to its next point.
    fn come_to_point(&self, arrivals: Arrivals<'_>) -> Progress {
        match arrivals {
            Some(has_come) => self.wait_or_serve(has_come),
            None => self.wait(CHECKS),
        }
    }

    /// Waits for the thread to come to a point, or for a request from it. A thread that has sent one waits for the reply,
    /// so real time does not decide which of the two is seen.
    fn wait_or_serve(&self, has_come: &dyn Fn() -> bool) -> Progress {
        let mut turn = self.lock();
        for looks in 0_u32.. {
            match *turn {
                BatonState::Idle | BatonState::Taken | BatonState::Quit => return Progress::Ended,
                BatonState::Waits => return Progress::Waits,
                _ => {}
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
                // It may be asleep for good: what it sends after that arrives when it has woken.
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

    /// The thread seems to be asleep: looked at as often as any other, between looks for a request.
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

    /// Waits for the thread to come to a point. `looks`: how often it must seem to be asleep to be taken for that.
    fn wait(&self, looks: u32) -> Progress {
        let mut turn = self.lock();
        let (mut asleep, mut passed) = (0, 0);
        loop {
            match *turn {
                BatonState::Idle | BatonState::Taken | BatonState::Quit => return Progress::Ended,
                BatonState::Waits => return Progress::Waits,
                _ => {}
            }
            let (again, late) =
                self.handed.wait_timeout(turn, LOOK_AFTER).unwrap_or_else(PoisonError::into_inner);
            turn = again;
            if !late.timed_out() {
                continue;
            }
            // Looked at while nothing is locked: a thread that waits for this very lock would seem to be asleep.
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

    /// Whether a thread that was asleep is so still. One that was woken is seen to be awake before it runs; one that has
    /// arrived sleeps, too, but it says so.
    fn sleeps_on(&self) -> bool {
        self.is_asleep() == Some(true) && matches!(*self.lock(), BatonState::Asleep { .. })
    }

    /// Whether the thread waits for a lock, or the like. None where the system does not tell.
    fn is_asleep(&self) -> Option<bool> {
        let path = self.status.get()?.as_ref()?;
        let doing = std::fs::read_to_string(path).ok()?;
        let call = doing.split(' ').next()?.trim();
        Some(FUTEX.is_some_and(|futex| call.parse() == Ok(futex)))
    }

    /// On the thread: hands the turn back, and waits for the next. Err: it is to unwind.
    fn yield_turn(&self) -> Result<Waker, StopUnwind> {
        self.hand(self.lock(), BatonState::Waits);
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

/// What a thread that belongs to nobody any more is to do: unwind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StopUnwind;

/// This thread's own side, while it is a slot's and at work.
struct SlotThread {
    baton: Arc<Baton>,
    /// Who is woken by what it waits for; only while it is its turn, since whoever holds one may wake from outside.
    waker: RefCell<Option<Waker>>,
    whose: Box<dyn SlotOwner>,
}

thread_local! {
    static HERE: RefCell<Option<Rc<SlotThread>>> = const { RefCell::new(None) };
    /// Whether there is one. Asked at every call, and without a destructor it is a plain read.
    static IS_HERE: Cell<bool> = const { Cell::new(false) };
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

/// Whether this thread is a slot's that may wait for its turn: not while it unwinds, since nothing can stop it then.
pub(crate) fn on_slot_thread() -> bool {
    IS_HERE.get() && !std::thread::panicking()
}

/// Before anything that shows: whoever was asleep waits for its turn. On any other thread it does nothing.
///
/// # Errors
/// When the thread is to unwind.
pub(crate) fn await_turn() -> Result<(), StopUnwind> {
    let Some(here) = here().filter(|_| !std::thread::panicking()) else { return Ok(()) };
    let mut turn = here.baton.lock();
    let (BatonState::Asleep { stopped } | BatonState::Calls { stopped }) = *turn else { return Ok(()) };
    if stopped {
        *turn = BatonState::Running;
        return Err(StopUnwind);
    }
    drop(turn);
    here.wait()
}

/// Has others go on who can, and waits for the next turn. Whoever is no slot goes on.
///
/// # Errors
/// When the thread is to unwind.
pub(crate) fn yield_turn() -> Result<(), StopUnwind> {
    let Some(here) = here().filter(|_| !std::thread::panicking()) else { return Ok(()) };
    if let Some(waker) = here.waker.take() {
        waker.wake();
    }
    here.wait()
}

/// Runs a future to its end, from code that blocks on a slot's thread: what waits, waits for its turn.
///
/// # Errors
/// When the thread is to unwind.
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
        // One that fell asleep on its way here runs beside others.
        let is_its_turn = matches!(*here.baton.lock(), BatonState::Running);
        if is_its_turn && here.whose.is_dead() {
            return Err(stopped());
        }
        if !is_its_turn || !here.goes_on() {
            here.wait()?;
        }
    }
}

/// This thread unwinds, and its destructors wait for nobody.
fn stopped() -> StopUnwind {
    set_here(None);
    StopUnwind
}

impl SlotThread {
    /// Whether it goes on at once, after a point: nobody else could.
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

/// What a thread does as long as there is work.
fn serve(baton: &Arc<Baton>) {
    let path = std::fs::read_link("/proc/thread-self").ok();
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

/// A thread of a slot.
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
    /// Takes the first slot that is free for this work; `welcome` is called once on each thread. Nothing runs before the
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
                let baton = Baton::new();
                let own = baton.clone();
                let thread = std::thread::Builder::new().name(name(slots.len())).spawn(move || {
                    welcome();
                    serve(&own);
                });
                let thread = thread.unwrap_or_else(|error| {
                    panic!("the system starts no thread for a slot ({error}); give the process fewer `slots`")
                });
                slots.push(Slot { baton: baton.clone(), thread });
                baton
            }
        };
        *baton.lock() = BatonState::Taken;
        SlotWork { baton, code: Some(code), has_ended: false, calls: None, sleepers: sleepers.clone() }
    }

    /// Ends the threads: they have unwound, or do so now. One that waits for what nobody gives is left behind.
    pub(crate) fn end(&self) {
        let slots = self.0.take();
        for slot in slots {
            if slot.baton.wait(CHECKS * 4) == Progress::Ended {
                slot.baton.hand(slot.baton.lock(), BatonState::Quit);
                let _ = slot.thread.join();
            }
        }
    }
}

/// Work under way on the thread of a slot.
pub(crate) struct SlotWork {
    baton: Arc<Baton>,
    code: Option<SlotTask>,
    has_ended: bool,
    /// Who is woken when the reply to its request is there.
    calls: Option<Waker>,
    sleepers: Arc<Sleepers>,
}

impl fmt::Debug for SlotWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("has_ended", &self.has_ended).finish_non_exhaustive()
    }
}

impl SlotWork {
    /// Has the thread go on to its next point, in the name of whoever `waker` wakes.
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
                    // The reply has been sent and wakes the thread, which may come to a point, or end, at any moment: what it
                    // says then must not be overwritten, so nobody lets go of the lock in between.
                    BatonState::Calls { .. } => {
                        self.baton.hand(turn, BatonState::Running);
                        self.baton.come_to_point(arrivals)
                    }
                    BatonState::Idle => Progress::Ended,
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
            Progress::Waits => {}
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
    /// Those that wait for the reply to a request.
    calling: Mutex<Vec<Waker>>,
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

    /// What the thread has called for is there.
    fn hear(&self, waker: Option<Waker>) {
        if let Some(waker) = waker {
            self.calling().retain(|known| !known.will_wake(&waker));
        }
    }

    /// Whether the thread of the task that this waker wakes waits for the reply to a request.
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

    /// Whether anybody is asleep.
    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Whether the task that this waker wakes is.
    pub(crate) fn has(&self, waker: &Waker) -> bool {
        self.any() && self.lock().iter().any(|(_, known)| known.will_wake(waker))
    }

    /// Wakes those that what they slept for has come to, after they have arrived at their next point: whoever is awake is
    /// waited for. True if there was one.
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

    /// Nobody else goes on: whether one of those asleep will, before long.
    pub(crate) fn wake_at_last(&self) -> bool {
        self.look(CHECKS_AT_END)
    }
}
