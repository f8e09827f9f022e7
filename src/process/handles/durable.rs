//! State that survives every crash. It belongs to the test, and stands for a database.

use std::any::type_name;
use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard};

use serde::Serialize;

use crate::engine::life;
use crate::engine::slots;
use crate::engine::state::{Shared, lock};
use crate::engine::steps::Resource;
use crate::search::choice::{Name, Place};
use crate::system::exact_json;
use crate::system::timeline::EventKind;

/// A value that survives every crash, and that is compared when a run ends.
///
/// An update is atomic: there is no crash point inside it, and a panic inside it leaves the value unchanged. The value
/// is never poisoned. A dead process, including its destructors, cannot change it any more.
///
/// ```
/// use retryproof::{Code, Explore, World};
///
/// let report = Explore::new().deviations(1).run(async |world: &World| {
///     world.durable("stock", 10_u32);
///     world.durable("paid", false);
///     world.process("worker", |p| {
///         let (stock, paid, clock) = (p.durable::<u32>("stock"), p.durable::<bool>("paid"), p.clock());
///         p.handle(async move |_order: u32| {
///             stock.update(|stock| *stock -= 1);
///             clock.yield_now().await; // a crash point: the update has happened, but not what follows
///             paid.set(true);
///         });
///     });
///     world.enqueue(6_u32);
///     world.settle().await;
/// });
/// assert_eq!(report.violations()[0].actual, "stock = 8");
/// ```
pub struct Durable<T> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    name: Name,
    value: Arc<Mutex<T>>,
    shared: Arc<Shared>,
}

/// Why a process has no such value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoDurable {
    #[error(
        "the test holds no value `{name}`; add it by `world.durable(\"{name}\", …)`, before `world.process(…)`"
    )]
    Unknown { name: Name },
    #[error("the value `{name}` is a {known}, and was asked for as a {wanted}")]
    OtherType { name: Name, known: &'static str, wanted: &'static str },
}

impl<T> Clone for Durable<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<T: fmt::Debug> fmt::Debug for Durable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durable").field("name", &self.inner.name).field("value", &self.inner.value).finish()
    }
}

impl<T: Clone> Durable<T> {
    /// A value that processes find by its name.
    pub(crate) fn new(shared: Arc<Shared>, name: Name, value: T) -> Self
    where
        T: Send + 'static,
    {
        let value = Arc::new(Mutex::new(value));
        shared.durables.add(name, value.clone());
        Self { inner: Arc::new(Inner { name, value, shared }) }
    }

    /// The value that has this name.
    ///
    /// # Errors
    /// If the test registered no durable value of this name and type.
    pub(crate) fn named(shared: Arc<Shared>, name: Name) -> Result<Self, NoDurable>
    where
        T: Send + 'static,
    {
        let Some((known, value)) = shared.durables.get(name) else { return Err(NoDurable::Unknown { name }) };
        let Ok(value) = value.downcast() else {
            return Err(NoDurable::OtherType { name, known, wanted: type_name::<T>() });
        };
        Ok(Self { inner: Arc::new(Inner { name, value, shared }) })
    }

    /// Locks the value for this thread.
    ///
    /// # Panics
    /// Panics if this thread has already locked the value, because it would wait for itself forever.
    #[track_caller]
    fn hold(&self, writes: bool) -> ValueGuard<'_, T> {
        if slots::await_turn().is_err() {
            life::unwind()
        }
        let at = Arc::as_ptr(&self.inner.value).addr();
        let again = HELD.with_borrow(|held| held.contains(&at));
        assert!(
            !again,
            "`{}` is used inside its own `read` or `update`, which would wait for itself forever; use the closure's argument",
            self.inner.name
        );
        self.inner.shared.touch(Resource::Value(self.inner.name), writes);
        let value = lock(&self.inner.value);
        HELD.with_borrow_mut(|held| held.push(at));
        ValueGuard { at, value }
    }

    /// Returns a copy of the value.
    #[track_caller]
    pub fn get(&self) -> T {
        self.hold(false).clone()
    }

    /// Reads the value. Panics if `inspect` uses this same value.
    #[track_caller]
    pub fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.hold(false))
    }

    /// Changes the value atomically. Panics if `change` uses this same value.
    #[track_caller]
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let place = Place::caller();
        let mut value = self.hold(true);
        // Change a copy, so that a panic or a dead caller leaves the value unchanged.
        let mut copy = value.clone();
        let result = change(&mut copy);
        if !life::is_dead_here() {
            *value = copy;
            let mut state = self.inner.shared.state();
            let name = self.inner.name;
            state.note(|| EventKind::Updated { name, place });
        }
        result
    }

    /// Replaces the value.
    #[track_caller]
    pub fn set(&self, value: T) {
        self.update(|held| *held = value);
    }
}

thread_local! {
    /// The addresses of the values that this thread has locked.
    static HELD: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

struct ValueGuard<'v, T> {
    at: usize,
    value: MutexGuard<'v, T>,
}

impl<T> Drop for ValueGuard<'_, T> {
    fn drop(&mut self) {
        HELD.with_borrow_mut(|held| held.retain(|&at| at != self.at));
    }
}

impl<T> Deref for ValueGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for ValueGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

/// A state that is recorded when a run ends.
pub(crate) struct Observation {
    pub(crate) name: Name,
    /// Returns the state as JSON.
    pub(crate) look: Box<dyn Fn() -> Result<String, serde_json::Error>>,
}

impl fmt::Debug for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<T: Serialize + Clone + Send + 'static> Durable<T> {
    pub(crate) fn observed(&self) -> Observation {
        let durable = self.clone();
        Observation { name: self.inner.name, look: Box::new(move || durable.read(exact_json::text)) }
    }
}
