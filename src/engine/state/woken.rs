//! The tasks that were woken.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
#[cfg(not(all(test, feature = "loom")))]
use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};
use std::task::{Wake as WakeTrait, Waker};

#[cfg(all(test, feature = "loom"))]
use crate::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};
use crate::system::clock::TaskId;

#[track_caller]
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The tasks that were woken, and the task that drives tokio.
#[derive(Debug, Default)]
pub(crate) struct WakeQueue {
    tasks: Mutex<VecDeque<TaskId>>,
    /// Their number. Usually it is 0, and then the lock is not taken.
    count: AtomicUsize,
    driver: Mutex<Option<Waker>>,
    died: AtomicBool,
    /// The number of wakes of tasks that were not running.
    wakes: AtomicUsize,
    /// Whether a timer was set or a job enqueued while tokio is driven. The length of the wait must then be computed
    /// again.
    stirred: AtomicBool,
}

impl WakeQueue {
    pub(crate) fn push(&self, task: TaskId) {
        let mut tasks = lock(&self.tasks);
        tasks.push_back(task);
        self.wakes.fetch_add(1, Ordering::Relaxed);
        self.count.store(tasks.len(), Ordering::Release);
        drop(tasks);
        self.call_driver();
    }

    /// The number of wakes of tasks that were not running.
    pub(crate) fn wakes(&self) -> usize {
        self.wakes.load(Ordering::Relaxed)
    }

    /// Reports whether any task was woken.
    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// Reports whether this task was woken.
    pub(crate) fn contains(&self, task: TaskId) -> bool {
        self.any() && lock(&self.tasks).contains(&task)
    }

    /// Visits all woken tasks, in order.
    pub(crate) fn each(&self, mut look: impl FnMut(TaskId)) {
        if self.any() {
            lock(&self.tasks).iter().copied().for_each(&mut look);
        }
    }

    /// Removes the tasks that `stays` rejects.
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

    /// Records that a process died outside of any attempt.
    pub(crate) fn process_died(&self) {
        self.died.store(true, Ordering::Relaxed);
        self.call_driver();
    }

    pub(crate) fn take_died(&self) -> bool {
        self.died.load(Ordering::Relaxed) && self.died.swap(false, Ordering::Relaxed)
    }

    /// Records that the next event may come at another time now.
    pub(crate) fn note_progress(&self) {
        self.stirred.store(true, Ordering::Relaxed);
        self.call_driver();
    }

    /// Reports whether the executor has something to do.
    pub(crate) fn is_called_for(&self) -> bool {
        let flags = [&self.died, &self.stirred];
        flags.iter().any(|flag| flag.load(Ordering::Relaxed)) || !lock(&self.tasks).is_empty()
    }

    /// The executor is about to compute the length of its wait.
    pub(crate) fn clear_progress(&self) {
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
    woken: Arc<WakeQueue>,
}

const RUNNING: u64 = 1;
const WOKEN: u64 = 2;

impl TaskWaker {
    pub(crate) fn new(task: TaskId, woken: Arc<WakeQueue>) -> Arc<Self> {
        Arc::new(Self { task, flags: AtomicU64::new(0), woken })
    }

    /// From here on waking only sets a flag, because the running task continues.
    pub(crate) fn begin(&self) {
        self.flags.store(RUNNING, Ordering::Relaxed);
    }

    /// Reports whether the task was woken since [`TaskWaker::begin`].
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

#[cfg(all(test, feature = "loom"))]
mod modelled {
    use super::*;
    use crate::thread;

    const TASK: TaskId = TaskId { slot: 0, turn: 0 };

    /// A task waits for something, and another thread provides it and wakes the task. No matter when it is woken, the
    /// task is polled again: it continues immediately, or is in the list, or has seen the value.
    #[test]
    fn a_task_that_another_thread_wakes_is_polled_again() {
        crate::model(|| {
            let woken = Arc::new(WakeQueue::default());
            let waker = TaskWaker::new(TASK, woken.clone());
            let is_there = Arc::new(AtomicBool::new(false));
            let (brings, wakes) = (is_there.clone(), waker.clone());
            waker.begin();
            let other = thread::spawn(move || {
                brings.store(true, Ordering::Release);
                wakes.wake();
            });
            let has_seen = is_there.load(Ordering::Acquire);
            let goes_on = waker.end();
            other.join().unwrap();
            let listed = woken.pop();
            assert!(has_seen || goes_on || listed == Some(TASK), "it waits forever");
            assert!(!(goes_on && listed.is_some()), "polled twice for one wake");
            assert!(!woken.any() && woken.pop().is_none());
        });
    }

    /// The thread that drives tokio sleeps until it is called. It has checked before, and every later event calls it.
    #[test]
    fn whoever_drives_is_called() {
        for call in [|woken: &WakeQueue| woken.push(TASK), WakeQueue::process_died, WakeQueue::note_progress]
        {
            crate::model(move || {
                let woken = Arc::new(WakeQueue::default());
                let driver = TaskWaker::new(TASK, Arc::default());
                let calls = woken.clone();
                let other = thread::spawn(move || call(&calls));
                woken.set_driver(Some(driver.clone().into()));
                let looks_again = woken.is_called_for();
                other.join().unwrap();
                assert!(looks_again || driver.end(), "it sleeps forever");
            });
        }
    }

    /// Two threads wake two tasks. No wake is lost, and the count beside the list is correct.
    #[test]
    fn two_that_are_woken_at_once_are_both_listed() {
        crate::model(|| {
            let woken = Arc::new(WakeQueue::default());
            let wakes = woken.clone();
            let other = thread::spawn(move || wakes.push(TASK));
            woken.push(TaskId { turn: 1, ..TASK });
            let first = woken.pop();
            other.join().unwrap();
            assert!(first.is_some());
            assert!(woken.any());
            assert!(woken.pop().is_some() && woken.pop().is_none());
        });
    }
}
