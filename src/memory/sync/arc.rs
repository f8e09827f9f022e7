//! Shared ownership.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync as outside;

use loom::sync as inside;

use super::super::error::ModelError;
use super::super::execution::Execution;
use super::super::step::{OperationText, ThreadStep};
use crate::search::choice::Place;

/// `std::sync::Arc` outside a model. Inside, the order of drops is explored, and a value that is never dropped is a
/// failure.
///
/// `Arc<dyn Trait>`, `Weak` and methods on `self: Arc<Self>` need the standard library's type. It works in a model,
/// too, but changes of its count are not operations there.
pub struct Arc<T: ?Sized> {
    outside: Option<outside::Arc<T>>,
    inside: Option<inside::Arc<T>>,
    /// The execution that made it.
    execution: u64,
}

/// Makes loom carry out an operation that may let another thread run. Records it if `is_told`.
fn act<R>(at: Place, said: &'static str, is_told: bool, act: impl FnOnce() -> R) -> R {
    let Some(execution) = Execution::current() else { return act() };
    let about = ThreadStep { thread: execution.thread(), at, shared: None, said: OperationText::Plain(said) };
    execution.act(about, act, |_| is_told.then_some(OperationText::Plain(said)))
}

impl<T> Arc<T> {
    /// Makes an `Arc` that holds a value.
    #[track_caller]
    pub fn new(value: T) -> Self {
        match Execution::current().filter(|execution| execution.is_live()) {
            None => Self { outside: Some(outside::Arc::new(value)), inside: None, execution: 0 },
            Some(execution) => {
                Self { outside: None, inside: Some(inside::Arc::new(value)), execution: execution.id() }
            }
        }
    }

    /// Returns the value if it has no other owner.
    ///
    /// # Errors
    /// The `Arc` itself, if it has another owner.
    #[track_caller]
    pub fn try_unwrap(mut this: Self) -> Result<T, Self> {
        let at = Place::caller();
        let execution = this.execution;
        if let Some(outside) = this.outside.take() {
            let back = |outside| Self { outside: Some(outside), inside: None, execution };
            return outside::Arc::try_unwrap(outside).map_err(back);
        }
        if !this.is_asked() {
            return Err(this);
        }
        let inside = this.inside.take().expect("it is one of the two until it is dropped");
        let back = |inside| Self { outside: None, inside: Some(inside), execution };
        act(at, "Arc::try_unwrap", true, || inside::Arc::try_unwrap(inside)).map_err(back)
    }

    /// Returns the value if this was its last owner.
    #[track_caller]
    pub fn into_inner(this: Self) -> Option<T> {
        Self::try_unwrap(this).ok()
    }
}

impl<T: ?Sized> Arc<T> {
    /// Reports whether loom must be called because its execution is still running.
    fn is_asked(&self) -> bool {
        let asked = |execution: &Execution| execution.is_live() && execution.id() == self.execution;
        self.inside.is_some() && Execution::current().is_some_and(|execution| asked(&execution))
    }

    /// Returns the value if it has no other owner.
    #[track_caller]
    pub fn get_mut(this: &mut Self) -> Option<&mut T> {
        let (at, is_asked) = (Place::caller(), this.is_asked());
        match (&mut this.outside, &mut this.inside) {
            (Some(outside), _) => outside::Arc::get_mut(outside),
            (_, Some(inside)) if is_asked => act(at, "Arc::get_mut", true, || inside::Arc::get_mut(inside)),
            _ => None,
        }
    }

    /// The number of owners.
    #[track_caller]
    pub fn strong_count(this: &Self) -> usize {
        let at = Place::caller();
        match (&this.outside, &this.inside) {
            (Some(outside), _) => outside::Arc::strong_count(outside),
            (_, Some(inside)) if this.is_asked() => {
                act(at, "Arc::strong_count", true, || inside::Arc::strong_count(inside))
            }
            _ => 1,
        }
    }

    /// Reports whether two point to the same value.
    pub fn ptr_eq(this: &Self, other: &Self) -> bool {
        std::ptr::addr_eq(&raw const **this, &raw const **other)
    }
}

impl<T: ?Sized> Deref for Arc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match (&self.outside, &self.inside) {
            (Some(outside), _) => outside,
            (_, Some(inside)) => inside,
            (None, None) => unreachable!("it is one of the two until it is dropped"),
        }
    }
}

impl<T: ?Sized> Clone for Arc<T> {
    #[track_caller]
    fn clone(&self) -> Self {
        let at = Place::caller();
        let inside = self.inside.as_ref().map(|inside| {
            let live = self.is_asked();
            assert!(live, "{}", ModelError::Escaped { kind: "Arc", made: "another execution".to_owned() });
            act(at, "Arc::clone", false, || inside.clone())
        });
        Self { outside: self.outside.clone(), inside, execution: self.execution }
    }
}

impl<T: ?Sized> Drop for Arc<T> {
    #[track_caller]
    fn drop(&mut self) {
        let at = Place::caller();
        let is_asked = self.is_asked();
        match self.inside.take() {
            Some(inside) if is_asked => act(at, "Arc::drop", false, || drop(inside)),
            // The execution is over, or a panic is unwinding: the value is leaked.
            Some(inside) => std::mem::forget(inside),
            None => {}
        }
    }
}

impl<T: ?Sized> AsRef<T> for Arc<T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T: ?Sized> Borrow<T> for Arc<T> {
    fn borrow(&self) -> &T {
        self
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Arc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for Arc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + PartialEq> PartialEq for Arc<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: ?Sized + Eq> Eq for Arc<T> {}

impl<T: ?Sized + PartialOrd> PartialOrd for Arc<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (**self).partial_cmp(&**other)
    }
}

impl<T: ?Sized + Ord> Ord for Arc<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (**self).cmp(&**other)
    }
}

impl<T: ?Sized + Hash> Hash for Arc<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: Default> Default for Arc<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for Arc<T> {
    #[track_caller]
    fn from(value: T) -> Self {
        Self::new(value)
    }
}
