//! An independent judge of retryproof.
//!
//! Random small programs are judged twice: by retryproof, as the body of a test ([`harness`]), and by a definition of
//! correctness that enumerates every run within the bound and every order of the jobs ([`judge`], on [`machine`]). The
//! two must agree on every program. Do not read retryproof's own judge before you change this one.

#![expect(missing_docs, reason = "names that say it, for the tests of this crate alone")]

pub mod program;
pub mod value;
pub mod store;
pub mod script;
pub mod choice;
pub mod machine;
pub mod judge;
pub mod harness;
pub mod generate;
pub mod compare;
