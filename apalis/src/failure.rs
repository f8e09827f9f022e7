//! The error of a task, and the decision about its job.

use std::fmt;
use std::time::Duration;

use apalis_core::error::{AbortError, BoxDynError, DeferredError, RetryAfterError};
use apalis_core::task::status::Status;
use retryproof::Decision;
use retryproof::job::FailedAttempt;

/// The error of a task, as it came out of the worker's layers, with the decision about the job.
///
/// Hooks of the process ([`on_error`](retryproof::Process::on_error),
/// [`decide`](retryproof::HandlerOptions::decide)) get it with [`FailedAttempt::downcast_ref`].
#[derive(Debug)]
pub struct TaskError {
    error: BoxDynError,
    decision: Decision,
}

impl TaskError {
    pub(crate) fn new(error: BoxDynError, decision: Decision) -> Self {
        Self { error, decision }
    }

    /// The error as it came out of the layers. Downcast it to find [`AbortError`] or an error of your own.
    pub fn error(&self) -> &BoxDynError {
        &self.error
    }

    /// The decision about the job, based on the error alone.
    pub fn decision(&self) -> Decision {
        self.decision
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl std::error::Error for TaskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// Decides about a failed job by apalis' rules. [`run_worker`](crate::ProcessExt::run_worker) uses it for
/// [`decide`](retryproof::HandlerOptions::decide). If you set your own callback, call this for the errors
/// that you do not handle.
///
/// * [`AbortError`]: moves the job to the dead set immediately.
/// * [`RetryAfterError`]: retries it after exactly that time, unless its retries are used up.
/// * [`DeferredError`]: runs it again immediately, without using up a retry.
/// * Any other error, and a panic: follows the options. If the task has its own
///   [`max_attempts`](apalis_core::task::builder::TaskBuilder::max_attempts) and has used them up, moves it to the
///   dead set.
///
/// ```
/// use apalis_core::error::AbortError;
/// use apalis_core::worker::builder::WorkerBuilder;
/// use retryproof::{Decision, World};
/// use retryproof_apalis::{ProcessExt, decision};
///
/// async fn charge(_order: u32) -> Result<(), AbortError> {
///     Err(AbortError::new("no such order"))
/// }
///
/// let world = World::fake();
/// world.process("worker", |p| {
///     let worker = WorkerBuilder::new("orders").backend(p.storage::<u32>()).build(charge);
///     p.run_worker(worker).decide(|failed| match decision(failed) {
/// // This shop does not use a dead set.
///         Decision::Kill => Decision::Discard,
///         other => other,
///     });
/// });
/// world.enqueue(6_u32);
/// assert_eq!(world.drain_all().run().unwrap().discarded, 1);
/// ```
pub fn decision(failed: &FailedAttempt<'_>) -> Decision {
    failed.downcast_ref::<TaskError>().map_or(Decision::Retry, TaskError::decision)
}

/// Decides about a task by the error that came out of the worker and by the status that the worker recorded.
///
/// apalis' databases store the status: an `AbortError` still kills the task if a layer turns it into another error.
pub(crate) fn by_error(error: &BoxDynError, status: &Status, attempts_used_up: bool) -> Decision {
    if error.is::<AbortError>() || *status == Status::Killed {
        return Decision::Kill;
    }
    if let Some(after) = error.downcast_ref::<RetryAfterError>() {
        return if attempts_used_up { Decision::Kill } else { Decision::RetryAfter(after.get_duration()) };
    }
    if error.is::<DeferredError>() {
        return Decision::Snooze(Duration::ZERO);
    }
    if attempts_used_up { Decision::Kill } else { Decision::Retry }
}
