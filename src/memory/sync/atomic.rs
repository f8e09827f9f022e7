//! `std::sync::atomic` outside a model, loom's types inside.
//!
//! Inside, a load may return any value that the memory model allows, not only the last one that was stored, so an
//! ordering that is too weak is noticed. All threads see `SeqCst` accesses in one order. `new` is not `const`, so a
//! static is a [`LazyLock`](super::LazyLock).

#[doc(no_inline)]
pub use std::sync::atomic::Ordering;

use std::fmt;
use std::sync::atomic as outside;

use loom::sync::atomic as inside;

use super::super::execution::{Execution, LoomType};
use super::super::step::{OperationText, ThreadStep, Value};
use crate::search::choice::Place;

/// The description of a method of an atomic, without the result.
fn said<const V: usize, const O: usize>(
    method: &'static str,
    values: [Value; V],
    orderings: [Ordering; O],
) -> OperationText {
    let values = [values.first().copied(), values.get(1).copied()];
    let orderings = [orderings.first().copied(), orderings.get(1).copied()];
    OperationText::Atomic { method, values, orderings, result: None }
}

/// Adds the result.
fn with(said: OperationText, came: Result<Value, Value>) -> Option<OperationText> {
    match said {
        OperationText::Atomic { method, values, orderings, .. } => {
            Some(OperationText::Atomic { method, values, orderings, result: Some(came) })
        }
        other => Some(other),
    }
}

/// An access with this ordering. Loom treats `SeqCst` as `AcqRel`, so it would reject correct code that relies on one
/// order of accesses for all threads. Its `SeqCst` fences are in one order, so there is one before the access and one
/// after it.
fn ordered<R>(order: Ordering, access: impl FnOnce() -> R) -> R {
    if order != Ordering::SeqCst {
        return access();
    }
    inside::fence(Ordering::SeqCst);
    let result = access();
    inside::fence(Ordering::SeqCst);
    result
}

/// `std::sync::atomic::fence`, or that of loom.
#[track_caller]
pub fn fence(order: Ordering) {
    let at = Place::caller();
    match Execution::current() {
        None => outside::fence(order),
        Some(execution) if !execution.is_live() => {}
        Some(execution) => {
            let (thread, said) = (execution.thread(), OperationText::Fence(order));
            let about = ThreadStep { thread, at, shared: None, said: said.clone() };
            execution.act(about, || inside::fence(order), |()| Some(said));
        }
    }
}

/// The methods that all atomics have.
macro_rules! atomic {
    ($name:ident $(<$t:ident>)?, $value:ty, $what:literal) => {
        #[doc = concat!("`std::sync::atomic::", stringify!($name), "` outside of a model, ", $what, " of loom's inside of one.")]
        pub struct $name $(<$t>)? {
            model: LoomType<inside::$name $(<$t>)?>,
            outside: outside::$name $(<$t>)?,
        }

        impl$(<$t>)? $name $(<$t>)? {
            /// Makes an atomic that holds a value.
            #[track_caller]
            pub fn new(value: $value) -> Self {
                let model = LoomType::new(stringify!($name), || inside::$name::new(value));
                Self { model, outside: outside::$name::new(value) }
            }

            /// Returns the value.
            #[track_caller]
            pub fn load(&self, order: Ordering) -> $value {
                let at = Place::caller();
                let Some(asked) = self.model.asked(stringify!($name)) else { return self.outside.load(order) };
                let about = said("load", [], [order]);
                asked.act(at, about.clone(), |loom| ordered(order, || loom.load(order)), |came| with(about, Ok((*came).into())))
            }

            /// Stores a value.
            #[track_caller]
            pub fn store(&self, value: $value, order: Ordering) {
                let at = Place::caller();
                let Some(asked) = self.model.asked(stringify!($name)) else {
                    return self.outside.store(value, order);
                };
                let about = said("store", [value.into()], [order]);
                asked.act(at, about.clone(), |loom| ordered(order, || loom.store(value, order)), |()| Some(about));
            }

            /// Stores a value, and returns the former one.
            #[track_caller]
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                let at = Place::caller();
                let Some(asked) = self.model.asked(stringify!($name)) else {
                    return self.outside.swap(value, order);
                };
                let about = said("swap", [value.into()], [order]);
                let act = |loom: &inside::$name $(<$t>)?| ordered(order, || loom.swap(value, order));
                asked.act(at, about.clone(), act, |came| with(about, Ok((*came).into())))
            }

            /// Stores `new` if the value is `current`. Returns the former value.
            ///
            /// # Errors
            /// The value, if it is not `current`.
            #[track_caller]
            pub fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                let at = Place::caller();
                let Some(asked) = self.model.asked(stringify!($name)) else {
                    return self.outside.compare_exchange(current, new, success, failure);
                };
                let about = said("compare_exchange", [current.into(), new.into()], [success, failure]);
                let act = |loom: &inside::$name $(<$t>)?| {
                    ordered(success, || loom.compare_exchange(current, new, success, failure))
                };
                asked.act(at, about.clone(), act, |came| {
                    with(about, came.map(Value::from).map_err(Value::from))
                })
            }

            /// Like [`compare_exchange`](Self::compare_exchange), but may fail spuriously outside a model.
            ///
            /// # Errors
            /// The value, if it is not `current`, or spuriously outside a model.
            #[track_caller]
            pub fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                match self.model.asked(stringify!($name)) {
                    Some(_) => self.compare_exchange(current, new, success, failure),
                    None => self.outside.compare_exchange_weak(current, new, success, failure),
                }
            }

            /// Replaces the value with the result of `change`, unless that is `None`. Tries again if another thread
            /// changes the value in between. Returns the former value.
            ///
            /// # Errors
            /// The value, if `change` returns `None`.
            #[track_caller]
            pub fn fetch_update(
                &self,
                set_order: Ordering,
                fetch_order: Ordering,
                mut change: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                let mut held = self.load(fetch_order);
                while let Some(next) = change(held) {
                    match self.compare_exchange_weak(held, next, set_order, fetch_order) {
                        Ok(before) => return Ok(before),
                        Err(now) => held = now,
                    }
                }
                Err(held)
            }

            /// Takes the value out.
            pub fn into_inner(self) -> $value {
                match self.model.into_loom() {
                    Some(loom) => loom.into_inner(),
                    None => self.outside.into_inner(),
                }
            }
        }

        impl$(<$t>)? From<$value> for $name $(<$t>)? {
            #[track_caller]
            fn from(value: $value) -> Self {
                Self::new(value)
            }
        }

        impl$(<$t>)? fmt::Debug for $name $(<$t>)? {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // Reading the value would be an operation.
                match Execution::current() {
                    Some(_) => f.write_str(concat!(stringify!($name), "(…)")),
                    None => self.outside.fmt(f),
                }
            }
        }
    };
}

/// Methods that change the value and return the former one.
macro_rules! changes {
    ($name:ident, $value:ty: $($method:ident, $doc:literal;)*) => {
        impl $name {
            $(
                #[doc = concat!($doc, " Returns the former value.")]
                #[track_caller]
                pub fn $method(&self, value: $value, order: Ordering) -> $value {
                    let at = Place::caller();
                    let Some(asked) = self.model.asked(stringify!($name)) else {
                        return self.outside.$method(value, order);
                    };
                    let about = said(stringify!($method), [value.into()], [order]);
                    let act = |loom: &inside::$name| ordered(order, || loom.$method(value, order));
                    asked.act(at, about.clone(), act, |came| with(about, Ok((*came).into())))
                }
            )*
        }

        impl Default for $name {
            #[track_caller]
            fn default() -> Self {
                Self::new(Default::default())
            }
        }
    };
}

macro_rules! integers {
    ($($name:ident $value:ty),*) => {
        $(
            atomic!($name, $value, "that");
            changes!($name, $value:
                fetch_add, "Adds, wrapping around.";
                fetch_sub, "Subtracts, wrapping around.";
                fetch_and, "Bitwise and.";
                fetch_nand, "Bitwise nand.";
                fetch_or, "Bitwise or.";
                fetch_xor, "Bitwise exclusive or.";
                fetch_max, "The greater one.";
                fetch_min, "The lesser one.";
            );
        )*
    };
}

integers!(AtomicU8 u8, AtomicU16 u16, AtomicU32 u32, AtomicUsize usize);
integers!(AtomicI8 i8, AtomicI16 i16, AtomicI32 i32, AtomicIsize isize);
#[cfg(target_pointer_width = "64")]
integers!(AtomicU64 u64, AtomicI64 i64);

atomic!(AtomicBool, bool, "that");
changes!(AtomicBool, bool:
    fetch_and, "And.";
    fetch_nand, "Nand.";
    fetch_or, "Or.";
    fetch_xor, "Exclusive or.";
);

atomic!(AtomicPtr<T>, *mut T, "that");

impl<T> Default for AtomicPtr<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new(std::ptr::null_mut())
    }
}
