//! `std::sync` outside of a model, loom's inside of one: decided where a value is made.
//!
//! The names are the standard library's, and so is what they do; so code under test swaps one `use` for the other:
//!
//! ```ignore
//! #[cfg(test)]
//! use retryproof::{sync, thread};
//! #[cfg(not(test))]
//! use std::{sync, thread};
//! ```
//!
//! See [`Model`](crate::Model) for statics, and for what is not modelled.

mod arc;
pub mod atomic;
mod condvar;
mod mutex;
mod once;
mod rwlock;

pub mod mpsc;

pub use self::arc::Arc;
pub use self::condvar::{Condvar, WaitTimeoutResult};
pub use self::mutex::{Mutex, MutexGuard};
pub use self::once::{LazyLock, Once, OnceLock};
pub use self::rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
#[doc(no_inline)]
pub use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};
