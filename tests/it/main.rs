//! Tests of the public interface. Each folder is a subject. `cargo test --test it executor::` runs one.

#[path = "../support/mod.rs"]
mod support;

mod checks;
#[cfg(feature = "tokio")]
mod executor;
#[cfg(feature = "tokio")]
mod in_tokio;
mod judge;
mod lines;
#[cfg(feature = "tokio")]
mod external;
mod services;
mod snapshots;
mod store;
