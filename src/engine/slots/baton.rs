//! The turn of one thread: held by the thread or by the executor, and handed over at points.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Duration;

use crate::engine::procfs::{Activity, ThreadFolder};

/// The time before the executor checks whether a thread is asleep, and the number of checks that must agree.
const LOOK_AFTER: Duration = Duration::from_micros(300);
pub(super) const CHECKS: u32 = 3;
/// The number of checks if the system does not show whether a thread is asleep.
const CHECKS_WITHOUT_PROCFS: u32 = 200;
/// The number of looks after which threads that the code on a slot has started are no longer waited for: about one
/// second.
const MOST_WAITS_FOR_CHILDREN: u32 = 800;
/// The number of times that the executor looks for a request of the thread before it pauses between looks, and the
/// length of a pause.
const REQUEST_SPINS: u32 = 100;
const REQUEST_PAUSE: Duration = Duration::from_micros(30);
/// The number of checks that a thread gets to unwind after the watchdog gave up.
const LOOKS_GIVEN_UP: u32 = 100;

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
pub(super) enum BatonState {
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
pub(super) struct Baton {
    pub(super) turn: Mutex<BatonState>,
    pub(super) handed: Condvar,
    /// The number of points that the thread has passed without handing the turn over.
    pub(super) points: AtomicU32,
    /// The folder in which the system shows what the thread does.
    pub(super) folder: OnceLock<Option<ThreadFolder>>,
    /// The number of looks that found the thread asleep while a thread that it had started was busy.
    pub(super) waits_for_children: AtomicU32,
    /// Whether its code had started threads when this one fell asleep.
    pub(super) has_children: AtomicBool,
    /// Whether the executor no longer waits for threads: see [`Sleepers::give_up`].
    pub(super) given_up: Arc<AtomicBool>,
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
pub(crate) type Arrivals = Option<Arc<dyn Fn() -> bool + Send + Sync>>;

impl Baton {
    pub(super) fn new(given_up: Arc<AtomicBool>) -> Arc<Self> {
        let (turn, handed, folder) = (Mutex::new(BatonState::Idle), Condvar::new(), OnceLock::new());
        let (points, waits_for_children) = (AtomicU32::new(0), AtomicU32::new(0));
        let has_children = AtomicBool::new(false);
        Arc::new(Self { turn, handed, points, folder, waits_for_children, has_children, given_up })
    }

    /// Returns the progress of the thread if the executor need not wait any longer. `looks` is the number of checks so far.
    pub(super) fn has_come(&self, turn: &mut BatonState, looks: u32) -> Option<Progress> {
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

    pub(super) fn lock(&self) -> MutexGuard<'_, BatonState> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hand(&self, mut turn: MutexGuard<'_, BatonState>, to: BatonState) {
        *turn = to;
        drop(turn);
        self.handed.notify_all();
    }

    /// Gives the thread its turn, and waits until it reaches its next point.
    pub(super) fn give(&self, to: BatonState, arrivals: &Arrivals) -> Progress {
        self.hand(self.lock(), to);
        self.come_to_point(arrivals, CHECKS)
    }

    /// Waits until the thread reaches its next point. `looks` is the number of checks after which it is considered asleep.
    pub(super) fn come_to_point(&self, arrivals: &Arrivals, looks: u32) -> Progress {
        match arrivals {
            Some(has_come) => self.wait_or_serve(&**has_come, looks),
            None => self.wait(looks),
        }
    }

    /// Waits for the thread to reach a point, or for a request from it. A thread that has sent a request waits for
    /// the reply, so real time does not decide which of the two is seen.
    fn wait_or_serve(&self, has_come: &dyn Fn() -> bool, asleep: u32) -> Progress {
        let mut turn = self.lock();
        for looks in 0_u32.. {
            if let Some(progress) = self.has_come(&mut turn, looks) {
                return progress;
            }
            drop(turn);
            if has_come() {
                turn = self.lock();
                // One that was asleep may have woken.
                let stopped = match *turn {
                    BatonState::Running => false,
                    BatonState::Asleep { stopped } => stopped,
                    _ => continue,
                };
                *turn = BatonState::Calls { stopped };
                return Progress::Calls;
            }
            if looks < REQUEST_SPINS {
                std::thread::yield_now();
                turn = self.lock();
                continue;
            }
            if looks % 10 == 0 && self.is_asleep() != Some(false) {
                // It may be asleep for good. The requests that it sends after waking are seen in `Sleepers::look`.
                match self.wait_asleep(has_come, asleep) {
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
    fn wait_asleep(&self, has_come: &dyn Fn() -> bool, looks: u32) -> Option<Progress> {
        let is_shown = self.is_asleep().is_some();
        let most = if is_shown { looks } else { looks.max(CHECKS_WITHOUT_PROCFS) };
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
        if is_shown && self.may_wait_for_child() {
            return None;
        }
        let mut turn = self.lock();
        if let BatonState::Running = *turn {
            *turn = BatonState::Asleep { stopped: false };
        }
        matches!(*turn, BatonState::Asleep { .. }).then_some(Progress::Asleep)
    }

    /// Waits for the thread to reach a point. `looks` is the number of checks after which the thread is considered
    /// asleep.
    pub(super) fn wait(&self, looks: u32) -> Progress {
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
                drop(turn);
                let may_wait_for_child = is_asleep.is_some() && self.may_wait_for_child();
                turn = self.lock();
                if may_wait_for_child || !matches!(*turn, BatonState::Running | BatonState::Asleep { .. }) {
                    asleep = 0;
                    continue;
                }
                if let BatonState::Running = *turn {
                    *turn = BatonState::Asleep { stopped: false };
                }
                return Progress::Asleep;
            }
        }
    }

    /// Reports whether a sleeping thread is still asleep. A woken thread is seen to be awake before it runs. A thread
    /// that has reached a point sleeps, too, but its state says so.
    pub(super) fn sleeps_on(&self) -> bool {
        self.is_asleep() == Some(true)
            && matches!(*self.lock(), BatonState::Asleep { .. })
            && !(self.has_children.load(Ordering::Relaxed) && self.may_wait_for_child())
    }

    /// Reports whether the thread waits for a lock or similar. `None` if the system does not show it.
    pub(super) fn is_asleep(&self) -> Option<bool> {
        let folder = self.folder.get()?.as_ref()?;
        Some(folder.activity() == Activity::Asleep)
    }

    /// The thread is asleep. Reports whether a thread that its code has started is busy: it may wait for that one, and
    /// not for another slot.
    fn may_wait_for_child(&self) -> bool {
        let folder = self.folder.get().and_then(Option::as_ref);
        let children = folder.and_then(ThreadFolder::activity_of_children);
        self.has_children.store(children.is_some(), Ordering::Relaxed);
        let is_busy = children == Some(Activity::Busy);
        // A child may have woken it, and ended since.
        let has_been_woken = self.is_asleep() == Some(false);
        let waits = is_busy && self.waits_for_children.load(Ordering::Relaxed) < MOST_WAITS_FOR_CHILDREN;
        if waits {
            self.waits_for_children.fetch_add(1, Ordering::Relaxed);
        }
        waits || has_been_woken
    }

    /// On the thread: hands the turn back and waits for the next one. Returns an error if the thread must unwind.
    pub(super) fn yield_turn(&self, turn: MutexGuard<'_, BatonState>) -> Result<Waker, StopUnwind> {
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

/// The order to a thread without an owner: it must unwind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StopUnwind;

/// Parks a thread that was left behind forever, because nothing can end it.
pub(super) fn stand_still() -> ! {
    loop {
        std::thread::park();
    }
}
