//! State that outlives every crash, held by the test in place of a database.

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

/// A value that outlives every crash, and is compared when a run ends.
///
/// An update is atomic: there is no crash point inside it, and a panic inside it leaves the value as it was. It is
/// never poisoned. A process that is dead cannot change it any more, its destructors included.
///
/// ```
/// use retryproof::{Code, Explore, World};
///
/// let report = Explore::new().deviations(1).run(async |world: &World| {
///     let (stock, paid) = (world.durable("stock", 10_u32), world.durable("paid", false));
///     world.process("worker", move |p| {
///         let (stock, paid, clock) = (stock.clone(), paid.clone(), p.clock());
///         p.handle(async move |_order: u32| {
///             stock.update(|stock| *stock -= 1);
///             clock.yield_now().await; // a place to die: the update has happened, and what follows has not
///             paid.set(true);
///         });
///     });
///     world.enqueue(6_u32);
///     world.settle().await;
/// });
/// assert_eq!(report.violations()[0].actual, "stock $ = 8");
/// ```
pub struct Durable<T> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    name: Name,
    value: Mutex<T>,
    shared: Arc<Shared>,
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
    pub(crate) fn new(shared: Arc<Shared>, name: Name, value: T) -> Self {
        Self { inner: Arc::new(Inner { name, value: Mutex::new(value), shared }) }
    }

    /// The value, held by this thread.
    ///
    /// # Panics
    /// When this thread holds it already: it would wait for itself for ever.
    #[track_caller]
    fn hold(&self, writes: bool) -> ValueGuard<'_, T> {
        if slots::await_turn().is_err() {
            life::unwind()
        }
        let at = Arc::as_ptr(&self.inner).addr();
        let again = HELD.with_borrow(|held| held.contains(&at));
        assert!(
            !again,
            "`{}` is asked for inside of its own `read` or `update`, which would wait for itself for ever; use what the closure is given",
            self.inner.name
        );
        self.inner.shared.touch(Resource::Value(self.inner.name), writes);
        let value = lock(&self.inner.value);
        HELD.with_borrow_mut(|held| held.push(at));
        ValueGuard { at, value }
    }

    /// A copy of the value.
    #[track_caller]
    pub fn get(&self) -> T {
        self.hold(false).clone()
    }

    /// Looks at the value. `inspect` must not come back to this same value: that panics.
    #[track_caller]
    pub fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.hold(false))
    }

    /// Changes the value, all at once. `change` must not come back to this same value: that panics.
    #[track_caller]
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let place = Place::caller();
        let mut value = self.hold(true);
        // The change is made to a copy: a panic in it, or a caller that is dead, leaves the value as it was.
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

    /// Puts another value in its place.
    #[track_caller]
    pub fn set(&self, value: T) {
        self.update(|held| *held = value);
    }
}

thread_local! {
    /// The values that this thread looks at or changes now, by their addresses.
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

/// Something whose state is taken down when a run ends.
pub(crate) struct Observation {
    pub(crate) name: Name,
    /// The state as JSON.
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
