//! Which scenario next. Knows choices and their records, nothing of jobs and worlds.

mod exhaustive;
mod random;
mod pct;
mod shrink;

pub(crate) use exhaustive::{Bounds, Exhaustive};
pub(crate) use pct::PctRuns;
pub(crate) use random::RandomRuns;
pub(crate) use shrink::shrink;
