//! A single run: its state, its incarnations, the threads and runtimes that they use, and the external systems.

pub(crate) mod procfs;
pub(crate) mod simulation;
pub(crate) mod externals;
pub(crate) mod slots;
pub(crate) mod steps;
pub(crate) mod external_calls;
pub(crate) mod durables;
pub(crate) mod state;
pub(crate) mod life;
pub(crate) mod panics;
pub(crate) mod link;
pub(crate) mod call;
pub(crate) mod runtime;
