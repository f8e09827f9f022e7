//! The handles of the code under test: services, the queue, the store, time, external systems. Each handle belongs to
//! one incarnation of a process, and dies with it.

pub(in crate::process) mod client;
mod calls;
#[cfg(feature = "wire")]
mod carry;
pub(in crate::process) mod clock;
pub(in crate::process) mod durable;
pub(in crate::process) mod external;
pub(in crate::process) mod pending;
pub(in crate::process) mod enqueue;
pub(in crate::process) mod queue;
pub(in crate::process) mod bulk;
pub(in crate::process) mod lease;
pub(in crate::process) mod notifier;
pub(in crate::process) mod partition;
pub(in crate::process) mod rng;
mod settings;
pub(in crate::process) mod stop;
pub(in crate::process) mod store;
