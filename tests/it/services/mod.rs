//! The services: each row of `docs/spec/services.md` (answers, faults, settings), and a service of the test's own.

mod answers;
mod faults;
mod keys;
mod custom_services;
mod coverage_table;
mod error_tracking;

use crate::support::{assert_green, assert_violated, one_deviation};
