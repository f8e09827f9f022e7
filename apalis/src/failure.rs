//! Why a task failed, and what becomes of its job.

use std::fmt;
use std::time::Duration;

use apalis_core::error::{AbortError, BoxDynError, DeferredError, RetryAfterError};
use apalis_core::task::status::Status;
use retryproof::{Decision, FailedAttempt};

/// Why a task failed: the error that came out of the worker's layers, and what it says of the job.
///
/// Hooks of the process ([`on_error`](retryproof::Process::on_error), [`decide`](retryproof::HandlerOptions::decide))
/// find it by [`FailedAttempt::downcast_ref`].
#[derive(Debug)]
pub struct TaskError {
    error: BoxDynError,
    decision: Decision,
}

impl TaskError {
    pub(crate) fn new(error: BoxDynError, decision: Decision) -> Self {
        Self { error, decision }
    }

    /// The error as it came out of the layers: downcast it to find [`AbortError`], or one of the code's own.
    pub fn error(&self) -> &BoxDynError {
        &self.error
    }

    /// What becomes of the job by the error alone.
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

/// What becomes of a failed job, by apalis' rules. It is what [`run_worker`](crate::ProcessExt::run_worker) sets for
/// [`decide`](retryproof::HandlerOptions::decide); whoever sets another one asks this where it has no opinion.
///
/// * [`AbortError`]: to the dead set at once.
/// * [`RetryAfterError`]: tried again after precisely that time, unless its retries are used up.
/// * [`DeferredError`]: again at once; it uses up no retry.
/// * Any other error, and a panic: what the options say; to the dead set, if the task has a
///   [`max_attempts`](apalis_core::task::builder::TaskBuilder::max_attempts) of its own, and has had so many.
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
///         // Here nobody looks after a dead set.
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

/// What becomes of a task, by what came out of the worker and by what the worker noted of the handler.
///
/// apalis' databases write down the latter: an `AbortError` that a layer turns into something else kills the task all the
/// same.
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
