//! A lock that at most one thread holds.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{self as outside, LockResult, PoisonError, TryLockError, TryLockResult};

use loom::sync as inside;

use super::super::execution::{Execution, LoomType};
use super::super::step::OperationText;
use crate::search::choice::Place;

/// `std::sync::Mutex` outside a model, loom's type inside.
pub struct Mutex<T: ?Sized> {
    /// Inside a model, loom decides which thread holds the lock. The data is behind a lock of the standard library in
    /// any case.
    model: LoomType<inside::Mutex<()>>,
    kind: &'static str,
    data: outside::Mutex<T>,
}

/// A held lock. Dropping it releases the lock.
#[must_use = "without it the lock is released immediately"]
pub struct MutexGuard<'a, T: ?Sized> {
    pub(super) mutex: &'a Mutex<T>,
    /// Released first.
    pub(super) data: Option<outside::MutexGuard<'a, T>>,
    pub(super) model: Option<inside::MutexGuard<'a, ()>>,
}

pub(super) const LOCK: OperationText = OperationText::Call { method: "lock", result: None };

impl<T> Mutex<T> {
    /// Makes a mutex that holds a value. Not `const`: a static is a [`LazyLock`](super::LazyLock).
    #[track_caller]
    pub fn new(value: T) -> Self {
        Self::of_kind("Mutex", value)
    }

    /// Makes the lock of another type.
    #[track_caller]
    pub(super) fn of_kind(kind: &'static str, value: T) -> Self {
        Self { model: LoomType::new(kind, || inside::Mutex::new(())), kind, data: outside::Mutex::new(value) }
    }

    /// Takes the value out.
    ///
    /// # Errors
    /// The value, if a thread panicked while it held the lock.
    pub fn into_inner(self) -> LockResult<T> {
        self.data.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits for the lock and takes it.
    ///
    /// # Errors
    /// The guard, if a thread panicked while it held the lock.
    #[track_caller]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let at = Place::caller();
        let Some(asked) = self.model.asked(self.kind) else {
            return self.guard(None, self.data.lock());
        };
        let held = asked.act(at, LOCK, |loom| loom.lock(), |_| Some(LOCK));
        asked.execution.hold(asked.shared, at);
        self.guard(held.ok(), self.data.lock())
    }

    /// Takes the lock if no thread holds it.
    ///
    /// # Errors
    /// If a thread holds it, or the guard if a thread panicked while it held the lock.
    #[track_caller]
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        let at = Place::caller();
        let Some(asked) = self.model.asked(self.kind) else {
            return match self.data.try_lock() {
                Ok(data) => Ok(MutexGuard { mutex: self, data: Some(data), model: None }),
                Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
                Err(TryLockError::Poisoned(error)) => {
                    let data = Some(error.into_inner());
                    Err(PoisonError::new(MutexGuard { mutex: self, data, model: None }).into())
                }
            };
        };
        let about = |result| OperationText::Call { method: "try_lock", result };
        let held = asked.act(
            at,
            about(None),
            |loom| loom.try_lock(),
            |held| Some(about(Some(if held.is_ok() { "taken" } else { "held by another" }))),
        );
        match held {
            Ok(held) => {
                asked.execution.hold(asked.shared, at);
                Ok(self.guard(Some(held), self.data.lock())?)
            }
            Err(_) => Err(TryLockError::WouldBlock),
        }
    }

    fn guard<'a>(
        &'a self,
        model: Option<inside::MutexGuard<'a, ()>>,
        data: LockResult<outside::MutexGuard<'a, T>>,
    ) -> LockResult<MutexGuard<'a, T>> {
        let guard = |data, model| MutexGuard { mutex: self, data: Some(data), model };
        match data {
            Ok(data) => Ok(guard(data, model)),
            Err(error) => Err(PoisonError::new(guard(error.into_inner(), model))),
        }
    }

    /// Returns the value. No other thread can have the lock.
    ///
    /// # Errors
    /// The value, if a thread panicked while it held the lock.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.data.get_mut()
    }

    /// Reports whether a thread panicked while it held the lock.
    pub fn is_poisoned(&self) -> bool {
        self.data.is_poisoned()
    }

    /// Clears the poisoned state.
    pub fn clear_poison(&self) {
        self.data.clear_poison();
    }

    pub(super) fn take_again(&self) -> LockResult<outside::MutexGuard<'_, T>> {
        self.data.lock()
    }

    pub(super) fn is_held_again(&self, at: Place) {
        if let Some(asked) = self.model.asked(self.kind) {
            asked.execution.hold(asked.shared, at);
        }
    }

    pub(super) fn is_let_go(&self) {
        if let Some(asked) = self.model.asked(self.kind) {
            asked.execution.let_go(asked.shared);
        }
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.data.as_ref().expect("a guard has the data for as long as it can be reached")
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.data.as_mut().expect("a guard has the data for as long as it can be reached")
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[track_caller]
    fn drop(&mut self) {
        self.data = None;
        let Some(model) = self.model.take() else { return };
        match Execution::current() {
            // Another thread cannot run at a release, so the lock is also released during an unwind.
            Some(execution) if !execution.is_broken() => {
                drop(model);
                if execution.is_live() {
                    self.mutex.is_let_go();
                }
            }
            _ => std::mem::forget(model),
        }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the value, because reading it would be an operation.
        match Execution::current() {
            Some(_) => f.write_str("Mutex(…)"),
            None => self.data.fmt(f),
        }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Default> Default for Mutex<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    #[track_caller]
    fn from(value: T) -> Self {
        Self::new(value)
    }
}
