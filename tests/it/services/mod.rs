//! The services: each row of `docs/spec/services.md` (answers, faults, settings), and custom services.

mod answers;
mod faults;
mod keys;
mod own;
mod rows;
mod told;

use crate::support::{assert_green, assert_violated, one_deviation};
