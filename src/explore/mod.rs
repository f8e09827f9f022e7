//! Which scenario next. Knows choices and their records, nothing of jobs and worlds.

mod exhaustive;

pub(crate) use exhaustive::{Bounds, Exhaustive};
