//! Waiting for a notification of another thread.

use std::fmt;
use std::sync::{self as outside, LockResult, PoisonError};
use std::time::Duration;

use loom::sync as inside;

use super::super::execution::LoomType;
use super::super::step::OperationText;
use super::MutexGuard;
use crate::search::choice::Place;

/// `std::sync::Condvar` outside a model, loom's type inside. Inside, threads never wake spuriously, and time does not
/// advance: a thread that waits with a timeout waits until it is notified.
pub struct Condvar {
    model: LoomType<inside::Condvar>,
    outside: outside::Condvar,
}

/// Whether a wait ended because of its timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Reports whether the wait timed out. Always false inside a model.
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    /// Makes a condition variable. Not `const`: a static is a [`LazyLock`](super::LazyLock).
    #[track_caller]
    pub fn new() -> Self {
        Self { model: LoomType::new("Condvar", inside::Condvar::new), outside: outside::Condvar::new() }
    }

    /// Releases the lock, waits for a notification, and takes the lock again.
    ///
    /// # Errors
    /// The guard, if a thread panicked while it held the lock.
    #[track_caller]
    pub fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        let at = Place::caller();
        let mutex = guard.mutex;
        let Some(asked) = self.model.asked("Condvar") else {
            let data = guard.data.take().expect("a guard has the data for as long as it can be reached");
            let model = guard.model.take();
            let again = |data| MutexGuard { mutex, data: Some(data), model };
            return match self.outside.wait(data) {
                Ok(data) => Ok(again(data)),
                Err(error) => Err(PoisonError::new(again(error.into_inner()))),
            };
        };
        guard.data = None;
        let held = guard.model.take();
        mutex.is_let_go();
        let waits = OperationText::Call { method: "wait", result: None };
        asked.execution.note(at, Some(asked.shared), waits.clone());
        let woken = OperationText::Call { method: "wait", result: Some("notified") };
        let model = asked.act(at, waits, |loom| held.and_then(|held| loom.wait(held).ok()), |_| Some(woken));
        mutex.is_held_again(at);
        let again = |data| MutexGuard { mutex, data: Some(data), model };
        match mutex.take_again() {
            Ok(data) => Ok(again(data)),
            Err(error) => Err(PoisonError::new(again(error.into_inner()))),
        }
    }

    /// Waits as long as `condition` returns true.
    ///
    /// # Errors
    /// The guard, if a thread panicked while it held the lock.
    #[track_caller]
    pub fn wait_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<MutexGuard<'a, T>> {
        while condition(&mut guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// Waits for a notification, outside a model for at most `most`.
    ///
    /// # Errors
    /// The guard, if a thread panicked while it held the lock.
    #[track_caller]
    pub fn wait_timeout<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        most: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        if self.model.asked("Condvar").is_some() {
            let never = WaitTimeoutResult(false);
            return match self.wait(guard) {
                Ok(guard) => Ok((guard, never)),
                Err(error) => Err(PoisonError::new((error.into_inner(), never))),
            };
        }
        let (mutex, model) = (guard.mutex, guard.model.take());
        let data = guard.data.take().expect("a guard has the data for as long as it can be reached");
        let again = |(data, timeout): (_, outside::WaitTimeoutResult)| {
            (MutexGuard { mutex, data: Some(data), model }, WaitTimeoutResult(timeout.timed_out()))
        };
        match self.outside.wait_timeout(data, most) {
            Ok(waited) => Ok(again(waited)),
            Err(error) => Err(PoisonError::new(again(error.into_inner()))),
        }
    }

    /// Wakes one waiting thread.
    #[track_caller]
    pub fn notify_one(&self) {
        let at = Place::caller();
        let Some(asked) = self.model.asked("Condvar") else { return self.outside.notify_one() };
        let said = OperationText::Call { method: "notify_one", result: None };
        asked.act(at, said.clone(), |loom| loom.notify_one(), |()| Some(said));
    }

    /// Wakes all waiting threads.
    #[track_caller]
    pub fn notify_all(&self) {
        let at = Place::caller();
        let Some(asked) = self.model.asked("Condvar") else { return self.outside.notify_all() };
        let said = OperationText::Call { method: "notify_all", result: None };
        asked.act(at, said.clone(), |loom| loom.notify_all(), |()| Some(said));
    }
}

impl Default for Condvar {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Condvar(…)")
    }
}
