//! The services: each row of `docs/spec/services.md` (answers, faults, settings), and custom services.

mod answers;
mod faults;
mod keys;
mod custom_services;
mod coverage_table;
mod error_tracking;

use crate::support::{assert_green, assert_violated, one_deviation};
