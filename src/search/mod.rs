//! The search: choices, scenarios, and the order of scenarios. It does not know jobs or worlds.

pub(crate) mod digest;
pub(crate) mod choice;
pub(crate) mod input;
pub(crate) mod scenario;
pub(crate) mod explore;
