//! The services: each row of `docs/spec/services.md` (answers, faults, settings), and a service of the test's own.

mod answers;
mod faults;
mod keys;
mod own;
mod rows;
mod told;

use crate::support::{assert_green, assert_violated, one_deviation};
