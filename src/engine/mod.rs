//! One run under way: what it knows, which incarnations live in it, the threads and runtimes that they run on, and what is
//! really outside of it.

pub(crate) mod externals;
pub(crate) mod slots;
pub(crate) mod steps;
pub(crate) mod external_calls;
pub(crate) mod state;
pub(crate) mod life;
pub(crate) mod panics;
pub(crate) mod link;
pub(crate) mod call;
pub(crate) mod runtime;
