//! Who was woken, and how.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake as WakeTrait, Waker};

use super::lock;
use crate::clock::TaskId;

/// Tasks that were woken, and who drives tokio meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Woken {
    tasks: Mutex<VecDeque<TaskId>>,
    /// How many they are: mostly none, and then the lock is not taken.
    count: AtomicUsize,
    driver: Mutex<Option<Waker>>,
    died: AtomicBool,
    /// A timer was set or a job enqueued while somebody drives tokio: how long to wait must be thought over.
    stirred: AtomicBool,
}

impl Woken {
    pub(crate) fn push(&self, task: TaskId) {
        let mut tasks = lock(&self.tasks);
        tasks.push_back(task);
        self.count.store(tasks.len(), Ordering::Release);
        drop(tasks);
        self.call_driver();
    }

    /// Whether anybody was woken.
    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// Looks at all that were woken, in that order.
    pub(crate) fn each(&self, mut look: impl FnMut(TaskId)) {
        if self.any() {
            lock(&self.tasks).iter().copied().for_each(&mut look);
        }
    }

    /// Forgets those that `stays` does not want.
    pub(crate) fn retain(&self, mut stays: impl FnMut(TaskId) -> bool) {
        if self.any() {
            let mut tasks = lock(&self.tasks);
            tasks.retain(|task| stays(*task));
            self.count.store(tasks.len(), Ordering::Release);
        }
    }

    pub(crate) fn pop(&self) -> Option<TaskId> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut tasks = lock(&self.tasks);
        let first = tasks.pop_front();
        self.count.store(tasks.len(), Ordering::Release);
        first
    }

    /// Says that a process died outside of any attempt.
    pub(crate) fn process_died(&self) {
        self.died.store(true, Ordering::Relaxed);
        self.call_driver();
    }

    pub(crate) fn take_died(&self) -> bool {
        self.died.load(Ordering::Relaxed) && self.died.swap(false, Ordering::Relaxed)
    }

    /// Says that the next moment at which something happens may be another one now.
    pub(crate) fn stir(&self) {
        self.stirred.store(true, Ordering::Relaxed);
        self.call_driver();
    }

    /// Whether the executor has something to do.
    pub(crate) fn is_called_for(&self) -> bool {
        let flags = [&self.died, &self.stirred];
        flags.iter().any(|flag| flag.load(Ordering::Relaxed)) || !lock(&self.tasks).is_empty()
    }

    /// The executor is about to think over how long to wait.
    pub(crate) fn settle_down(&self) {
        self.stirred.store(false, Ordering::Relaxed);
    }

    pub(crate) fn set_driver(&self, waker: Option<Waker>) {
        *lock(&self.driver) = waker;
    }

    fn call_driver(&self) {
        if let Some(driver) = &*lock(&self.driver) {
            driver.wake_by_ref();
        }
    }
}

/// Wakes one task of the executor.
#[derive(Debug)]
pub(crate) struct TaskWaker {
    pub(crate) task: TaskId,
    /// Bits: running now, woken.
    flags: AtomicU64,
    woken: Arc<Woken>,
}

const RUNNING: u64 = 1;
const WOKEN: u64 = 2;

impl TaskWaker {
    pub(crate) fn new(task: TaskId, woken: Arc<Woken>) -> Arc<Self> {
        Arc::new(Self { task, flags: AtomicU64::new(0), woken })
    }

    /// From here on waking only leaves a mark: the task that runs goes on running.
    pub(crate) fn begin(&self) {
        self.flags.store(RUNNING, Ordering::Relaxed);
    }

    /// Whether the task was woken since [`TaskWaker::begin`].
    pub(crate) fn end(&self) -> bool {
        self.flags.swap(0, Ordering::SeqCst) & WOKEN != 0
    }
}

impl WakeTrait for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let before = self.flags.fetch_or(WOKEN, Ordering::SeqCst);
        if before & (RUNNING | WOKEN) == 0 {
            self.woken.push(self.task);
        }
    }
}
