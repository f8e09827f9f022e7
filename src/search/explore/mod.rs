//! Chooses the next scenario. This module knows choices and their records, but no jobs or worlds.

mod shard;
mod parent;
mod exhaustive;
mod random;
mod pct;
mod shrink;

pub(crate) use exhaustive::{Exhaustive, PieceCursor};
pub(crate) use parent::Bounds;
pub(crate) use pct::PctRuns;
pub(crate) use random::RandomRuns;
pub(crate) use shard::{Share, ShareError};
pub(crate) use shrink::shrink;
