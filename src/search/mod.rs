//! The search: choices, scenarios, and which scenario comes next. It knows no jobs and no worlds.

pub(crate) mod digest;
pub(crate) mod choice;
pub(crate) mod input;
pub(crate) mod scenario;
pub(crate) mod explore;
