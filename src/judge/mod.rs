//! The judge: runs scenarios, finds what is wrong with their outcomes, and reports it.

mod pulse;
pub(crate) mod run;
pub(crate) mod oracle;
pub(crate) mod report;
pub(crate) mod html;
pub(crate) mod check;
