//! The threads for blocking tasks that code under test has asked its runtime for (`spawn_blocking`).

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::{Shared, lock};
use crate::engine::procfs::{Activity, ThreadFolder};

/// The number of looks in a row that must find all threads at rest.
const CALM: u32 = 3;
/// The number of looks without a pause, and the length of a pause.
const SPINS: u32 = 50;
const PAUSE: Duration = Duration::from_micros(50);
/// The number of looks after which a thread that stays busy, or in a system call, is no longer waited for: about one
/// second, and about a tenth of one.
const MOST_LOOKS: u32 = 10_000;
const MOST_LOOKS_IN_SYSTEM_CALL: u32 = 1_000;

/// The threads for blocking tasks of one run.
#[derive(Debug, Default)]
pub(crate) struct PoolThreads {
    /// The number of threads that were asked for. Usually none is.
    asked: AtomicUsize,
    /// Those that have started, with the folder in which the system shows each, if it does.
    started: Mutex<Vec<Option<ThreadFolder>>>,
    /// Whether one of them never comes to rest.
    are_restless: AtomicBool,
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

    #[cfg(feature = "tokio")]
    pub(crate) fn start(&self) {
        lock(&self.started).push(ThreadFolder::here());
    }

    /// Waits until no thread has anything to do.
    fn rest(&self) {
        let (mut calm, mut in_system_call) = (0, 0);
        for look in 0..MOST_LOOKS {
            match self.activity() {
                None => return,
                Some(Activity::Asleep | Activity::Gone) => calm += 1,
                Some(Activity::InSystemCall) => (calm, in_system_call) = (0, in_system_call + 1),
                Some(Activity::Busy) => calm = 0,
            }
            if calm == CALM {
                return;
            }
            if in_system_call > MOST_LOOKS_IN_SYSTEM_CALL {
                break;
            }
            match look < SPINS {
                true => std::thread::yield_now(),
                false => std::thread::park_timeout(PAUSE),
            }
        }
        self.are_restless.store(true, Ordering::Relaxed);
    }

    /// The activity of the busiest one. `None` if the system does not show it.
    fn activity(&self) -> Option<Activity> {
        let started = lock(&self.started);
        let mut all = Activity::Asleep;
        for thread in &*started {
            match thread.as_ref()?.activity() {
                Activity::Busy => return Some(Activity::Busy),
                Activity::InSystemCall => all = Activity::InSystemCall,
                Activity::Asleep | Activity::Gone => {}
            }
        }
        let missing = started.len() < self.asked.load(Ordering::SeqCst);
        Some(if missing { Activity::Busy } else { all })
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

    /// Waits until blocking tasks of code under test have ended, or wait for something. So their results are there
    /// before anything else happens, in the order in which the tasks were spawned. Blocking tasks that may wait for
    /// an external system are left alone, because the executor serves them.
    pub(crate) fn rest_threads(&self) {
        let threads = &self.threads;
        if !threads.any() || threads.are_restless.load(Ordering::Relaxed) {
            return;
        }
        if !self.externals.have_wires() && !self.externals.have_calls() {
            threads.rest();
        }
    }
}
