//! Crash your background jobs at every await. Prove that they still happen exactly once.

// The rooms, in the order in which data flows: each knows only those above it (tests/tidy.rs).
mod choice;
mod scenario;
mod explore;
mod clock;
mod effect;
mod job;
mod queue;
mod timeline;
pub mod service;
mod state;
mod life;
mod panics;
mod runtime;
mod process;
mod watch;
mod executor;
mod json_path;
mod world;
mod run;
mod oracle;
mod report;
mod check;

pub use check::{Explore, check};
pub use choice::{Kind, Name};
pub use effect::{Effect, Effects};
pub use executor::DrainError;
pub use job::{Backoff, Delivery, JobError, JobId, JobResult, JobState, JobView};
pub use oracle::Oracle;
pub use process::{
    Call, Client, Clock, Durable, EnqueueError, EnqueueFuture, HandlerOptions, JobQueue, Pause, Process, Rng,
    TypedCall,
};
pub use report::{FunctionMap, LineCrash, LineMap, PointMap, Report, Verdict, Violation};
pub use retryproof_macros::test;
pub use scenario::{Scenario, ScenarioError};
pub use service::{Service, ServiceError};
pub use state::Stuck;
pub use world::{Guarantee, World};

/// The name under which libtest knows a test: its path without the crate.
#[doc(hidden)]
pub fn __test_name(module: &str, function: &str) -> String {
    match module.split_once("::") {
        Some((_, module)) => format!("{module}::{function}"),
        None => function.to_owned(),
    }
}
