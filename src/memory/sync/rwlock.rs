//! A lock that one thread holds to write, or several hold to read.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{self as outside, LockResult, PoisonError, TryLockError, TryLockResult};

use loom::sync as inside;

use super::super::execution::{Execution, LoomType};
use super::super::step::OperationText;
use crate::search::choice::Place;

/// `std::sync::RwLock` outside a model, loom's type inside.
pub struct RwLock<T: ?Sized> {
    model: LoomType<inside::RwLock<()>>,
    data: outside::RwLock<T>,
}

/// The methods that are common to both ways of holding the lock.
macro_rules! hold {
    ($guard:ident, $lock:ident, $try_lock:ident, $what:literal) => {
        #[doc = concat!("The lock, held to ", $what, ", until this is dropped.")]
        #[must_use = "without it the lock is released immediately"]
        pub struct $guard<'a, T: ?Sized> {
            lock: &'a RwLock<T>,
            data: Option<outside::$guard<'a, T>>,
            model: Option<inside::$guard<'a, ()>>,
        }

        impl<T: ?Sized> RwLock<T> {
            #[doc = concat!("Waits until it can be held to ", $what, ", and takes it.")]
            ///
            /// # Errors
            /// The guard, if a thread panicked while it held the lock to write.
            #[track_caller]
            pub fn $lock(&self) -> LockResult<$guard<'_, T>> {
                let at = Place::caller();
                let guard = |data, model| $guard { lock: self, data: Some(data), model };
                let mut model = None;
                if let Some(asked) = self.model.asked("RwLock") {
                    let said = OperationText::Call { method: stringify!($lock), result: None };
                    model = asked.act(at, said.clone(), |loom| loom.$lock(), |_| Some(said)).ok();
                    asked.execution.hold(asked.shared, at);
                }
                match self.data.$lock() {
                    Ok(data) => Ok(guard(data, model)),
                    Err(error) => Err(PoisonError::new(guard(error.into_inner(), model))),
                }
            }

            #[doc = concat!("Takes it to ", $what, ", if no other thread prevents that.")]
            ///
            /// # Errors
            /// If another thread prevents that, or the guard if a thread panicked while it held the lock to write.
            #[track_caller]
            pub fn $try_lock(&self) -> TryLockResult<$guard<'_, T>> {
                let at = Place::caller();
                let guard = |data, model| $guard { lock: self, data: Some(data), model };
                let mut model = None;
                if let Some(asked) = self.model.asked("RwLock") {
                    let said = |result| OperationText::Call { method: stringify!($try_lock), result };
                    let told = |held: &TryLockResult<_>| {
                        Some(said(Some(if held.is_ok() { "taken" } else { "held by another" })))
                    };
                    match asked.act(at, said(None), |loom| loom.$try_lock(), told) {
                        Ok(held) => model = Some(held),
                        Err(_) => return Err(TryLockError::WouldBlock),
                    }
                    asked.execution.hold(asked.shared, at);
                }
                match self.data.$try_lock() {
                    Ok(data) => Ok(guard(data, model)),
                    Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
                    Err(TryLockError::Poisoned(error)) => {
                        Err(PoisonError::new(guard(error.into_inner(), model)).into())
                    }
                }
            }
        }

        impl<T: ?Sized> Deref for $guard<'_, T> {
            type Target = T;

            fn deref(&self) -> &T {
                self.data.as_ref().expect("a guard has the data for as long as it can be reached")
            }
        }

        impl<T: ?Sized> Drop for $guard<'_, T> {
            fn drop(&mut self) {
                self.data = None;
                let Some(model) = self.model.take() else { return };
                match Execution::current() {
                    Some(execution) if !execution.is_broken() => {
                        drop(model);
                        if let Some(asked) = self.lock.model.asked("RwLock") {
                            asked.execution.let_go(asked.shared);
                        }
                    }
                    _ => std::mem::forget(model),
                }
            }
        }

        impl<T: ?Sized + fmt::Debug> fmt::Debug for $guard<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }
    };
}

hold!(RwLockReadGuard, read, try_read, "read");
hold!(RwLockWriteGuard, write, try_write, "write");

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.data.as_mut().expect("a guard has the data for as long as it can be reached")
    }
}

impl<T> RwLock<T> {
    /// Makes a lock that holds a value. Not `const`: a static is a [`LazyLock`](super::LazyLock).
    #[track_caller]
    pub fn new(value: T) -> Self {
        Self { model: LoomType::new("RwLock", || inside::RwLock::new(())), data: outside::RwLock::new(value) }
    }

    /// Takes the value out.
    ///
    /// # Errors
    /// The value, if a thread panicked while it held the lock to write.
    pub fn into_inner(self) -> LockResult<T> {
        self.data.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Returns the value. No other thread can have the lock.
    ///
    /// # Errors
    /// The value, if a thread panicked while it held the lock to write.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.data.get_mut()
    }

    /// Reports whether a thread panicked while it held the lock to write.
    pub fn is_poisoned(&self) -> bool {
        self.data.is_poisoned()
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Execution::current() {
            Some(_) => f.write_str("RwLock(…)"),
            None => self.data.fmt(f),
        }
    }
}

impl<T: Default> Default for RwLock<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    #[track_caller]
    fn from(value: T) -> Self {
        Self::new(value)
    }
}
