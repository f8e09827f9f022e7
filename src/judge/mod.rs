//! The verdict: one scenario run to its outcome, what is wrong with it, how that is told, and the loop over all scenarios.

mod pulse;
pub(crate) mod run;
pub(crate) mod oracle;
pub(crate) mod report;
pub(crate) mod check;
