//! The services: each row of the table of answers, each fault, each setting, and a service of one's own.

mod answers;
mod faults;
mod keys;
mod own;
mod told;

use crate::support::{assert_green, assert_violated, one_deviation};
