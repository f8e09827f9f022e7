//! The threads for blocking tasks that code under test has asked its runtime for (`spawn_blocking`). Each has one task,
//! or those behind it, and ends with it. A thread begins only when the code that asked for it rests, and only one runs
//! at a time. So the tasks run in the order in which they were spawned, however fast each of them is.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::{Shared, lock};
use crate::engine::procfs::{Activity, ThreadFolder};

/// The number of looks in a row that must find a thread asleep.
const CALM: u32 = 3;
/// The number of looks without a pause, and the length of a pause.
const SPINS: u32 = 50;
const PAUSE: Duration = Duration::from_micros(50);
/// The number of looks after which a thread that stays busy is no longer waited for, nor any other: about one second.
const MOST_LOOKS: u32 = 10_000;
/// The same for a thread in a system call: about a tenth of a second.
const MOST_LOOKS_IN_SYSTEM_CALL: u32 = 1_000;
/// The time after which a thread begins although the code that asked for it does not rest: it may wait for the thread.
const PATIENCE: Duration = Duration::from_secs(1);

/// The threads for blocking tasks of one run.
#[derive(Debug, Default)]
pub(crate) struct PoolThreads {
    /// The number of threads that were asked for. Usually none is.
    asked: AtomicUsize,
    gate: Mutex<Gate>,
    moved: Condvar,
    /// Whether one of them never comes to rest. From then on, they begin at once.
    are_restless: AtomicBool,
}

#[derive(Debug, Default)]
struct Gate {
    /// The number of threads that have come to the gate.
    arrived: usize,
    /// The number of those that wait there.
    waiting: usize,
    /// How many of them may pass.
    permits: usize,
    /// Those that have passed, and may not have ended.
    running: Vec<ThreadFolder>,
}

impl PoolThreads {
    /// Reports whether there are any.
    pub(crate) fn any(&self) -> bool {
        self.asked.load(Ordering::Relaxed) > 0
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn ask(&self) {
        self.asked.fetch_add(1, Ordering::SeqCst);
    }

    /// Called on a thread that begins: waits until it may.
    #[cfg(feature = "tokio")]
    fn arrive(&self, is_awaited: bool) {
        let folder = ThreadFolder::here();
        let mut gate = lock(&self.gate);
        gate.arrived += 1;
        let Some(folder) = folder.filter(|_| is_awaited) else { return };
        gate.waiting += 1;
        self.moved.notify_all();
        let stays = |gate: &mut Gate| gate.permits == 0 && !self.are_restless.load(Ordering::Relaxed);
        let (mut gate, _) =
            self.moved.wait_timeout_while(gate, PATIENCE, stays).unwrap_or_else(PoisonError::into_inner);
        gate.waiting -= 1;
        gate.permits = gate.permits.saturating_sub(1);
        gate.running.push(folder);
        self.moved.notify_all();
    }

    /// Lets all threads that wait begin, because their runtime is gone.
    #[cfg(feature = "tokio")]
    pub(crate) fn dismiss(&self) {
        let mut gate = lock(&self.gate);
        gate.permits = gate.waiting;
        self.moved.notify_all();
    }

    /// Lets the threads run one after the other, until each has ended or waits for something.
    fn rest(&self) {
        loop {
            if !self.come_to_rest() {
                self.are_restless.store(true, Ordering::Relaxed);
                self.moved.notify_all();
                return;
            }
            let mut gate = lock(&self.gate);
            if gate.waiting == 0 && gate.arrived == self.asked.load(Ordering::SeqCst) {
                return;
            }
            gate.permits = usize::from(gate.waiting > 0);
            self.moved.notify_all();
            // Until it has passed, or a thread that was asked for has arrived.
            let (arrived, passes) = (gate.arrived, gate.permits > 0);
            let stays = |gate: &mut Gate| if passes { gate.permits > 0 } else { gate.arrived == arrived };
            let waited = self.moved.wait_timeout_while(gate, PATIENCE, stays);
            if waited.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
                self.are_restless.store(true, Ordering::Relaxed);
                return;
            }
        }
    }

    /// Waits until no thread that has begun is busy. Returns false if one stays busy.
    fn come_to_rest(&self) -> bool {
        let (mut calm, mut in_system_call) = (0, 0);
        for look in 0..MOST_LOOKS {
            match self.activity() {
                Activity::Gone => return true,
                Activity::Asleep => calm += 1,
                Activity::InSystemCall => (calm, in_system_call) = (0, in_system_call + 1),
                Activity::Busy => calm = 0,
            }
            if calm == CALM {
                return true;
            }
            if in_system_call > MOST_LOOKS_IN_SYSTEM_CALL {
                return false;
            }
            match look < SPINS {
                true => std::thread::yield_now(),
                false => std::thread::park_timeout(PAUSE),
            }
        }
        false
    }

    /// The activity of the busiest thread.
    fn activity(&self) -> Activity {
        let mut all = Activity::Gone;
        lock(&self.gate).running.retain(|thread| {
            let activity = thread.activity();
            all = all.max(activity);
            activity != Activity::Gone
        });
        all
    }
}

impl Shared {
    /// A task is polled. `is_divided`: somebody else than the world has its waker, a timer of tokio's mostly.
    pub(crate) fn divide_caller(&self, is_divided: bool) {
        self.is_divided.store(is_divided, Ordering::Relaxed);
    }

    /// Whether the task that is polled waits for something besides its calls: it may go on without their replies. When
    /// threads let go of a waker is a matter of real time.
    pub(crate) fn is_caller_divided(&self) -> bool {
        self.is_divided.load(Ordering::Relaxed) && !self.threads.any()
    }

    /// Whether the executor waits for blocking tasks of code under test. Those that may wait for an external system are
    /// left alone, because the executor serves them.
    fn awaits_threads(&self) -> bool {
        let is_restless = self.threads.are_restless.load(Ordering::Relaxed);
        !is_restless && !self.externals.have_wires() && !self.externals.have_calls()
    }

    /// A thread for blocking tasks begins, and waits for its turn.
    #[cfg(feature = "tokio")]
    pub(crate) fn begin_thread(&self) {
        self.threads.arrive(self.awaits_threads());
    }

    /// Waits until the blocking tasks of code under test have ended, or wait for something. Their results are there
    /// before anything else happens.
    pub(crate) fn rest_threads(&self) {
        if self.threads.any() && self.awaits_threads() {
            self.threads.rest();
        }
    }
}
