//! Handlers of all kinds, and what surrounds their attempts.

pub(in crate::process) mod attempt;
pub(in crate::process) mod blocking;
pub(in crate::process) mod layers;
pub(in crate::process) mod handler;
pub(in crate::process) mod hooks;
mod iterable;
mod locks;
mod ordered;
mod perform;
pub(in crate::process) mod queues;
pub(in crate::process) mod raw;
mod service;
mod unique;
