//! Inactive points. They are reached only if the attribute was built with `enabled` and this crate without, which
//! cargo does if the dependencies of a build script ask for the feature.

use crate::Function;

/// Does nothing.
#[inline(always)]
pub fn hit(_: &'static Function, _: u32) {}
