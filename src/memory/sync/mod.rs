//! `std::sync` outside a model, loom's types inside. The choice is made when a value is created.
//!
//! The names and the behavior are those of the standard library, so code under test swaps one `use` for the other:
//!
//! ```ignore
//! #[cfg(test)]
//! use retryproof::{sync, thread};
//! #[cfg(not(test))]
//! use std::{sync, thread};
//! ```
//!
//! See [`Model`](crate::model::Model) for statics and for limitations.

mod arc;
pub mod atomic;
mod mutex;
mod condvar;
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
