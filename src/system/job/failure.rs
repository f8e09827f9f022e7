//! The reason why an attempt failed, for hooks and layers.

use std::any::{Any, type_name};
use std::error::Error;
use std::fmt::{self, Display};

use send_wrapper::SendWrapper;

use super::{JobError, JobView, Refusal, short_kind};

/// The reason why an attempt failed: the text, and the error itself.
///
/// This is an error that may move to any thread, so layers can box it as they do. The job's own error is available
/// only on the thread that created it.
pub struct JobFailure {
    pub(crate) text: String,
    error: Source,
    /// The path of the error's type.
    error_type: &'static str,
    pub(crate) transient: bool,
    pub(crate) cause: Cause,
}

/// The ways in which an attempt ends that are represented as a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The job's own error, a panic, or the error of a layer.
    Error,
    /// The payload does not decode, so the job could not run.
    NotRun,
    /// The process is stopping, and the job has stopped itself. This is not a failure.
    Interrupted,
}

/// An error of any type, which stays on its thread.
struct Source(Option<SendWrapper<Box<dyn Any>>>);

impl Source {
    fn get(&self) -> Option<&dyn Any> {
        self.0.as_ref().filter(|error| error.valid()).map(|error| &***error)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // On another thread the error can neither be inspected nor dropped.
        if let Some(stranded) = self.0.take().filter(|error| !error.valid()) {
            std::mem::forget(stranded);
        }
    }
}

impl fmt::Debug for JobFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JobFailure").field(&self.text).finish()
    }
}

impl Display for JobFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for JobFailure {}

impl JobFailure {
    /// Makes a failure from an error. If the error is a failure, or a box around one, returns that failure.
    pub fn new<E: Display + 'static>(error: E) -> Self {
        // `{:#}`: anyhow and similar crates show the chain of causes.
        let text = format!("{error:#}");
        let error: Box<dyn Any> = Box::new(error);
        let error = match error.downcast::<Self>() {
            Ok(failure) => return *failure,
            Err(error) => error,
        };
        let error = match error.downcast::<Box<dyn Error + Send + Sync>>() {
            Ok(boxed) => match boxed.downcast::<Self>() {
                Ok(failure) => return *failure,
                Err(other) => Box::new(other),
            },
            Err(error) => error,
        };
        let source = Source(Some(SendWrapper::new(error)));
        Self { error: source, error_type: type_name::<E>(), ..Self::of_text(text) }
    }

    /// Not a failure: another job holds the lock, so the attempt does not run.
    pub(crate) fn refused(refusal: Refusal) -> Self {
        let error = Source(Some(SendWrapper::new(Box::new(refusal))));
        Self { error, ..Self::of_text(String::new()) }
    }

    /// The fate of an attempt that did not run because of a lock.
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        self.downcast_ref()
    }

    /// The failure for a panic.
    pub(crate) fn of_panic(text: impl Display) -> Self {
        Self::of_text(format!("panicked: {text}"))
    }

    /// A failure that has only a text: a panic.
    fn of_text(text: String) -> Self {
        Self { text, error: Source(None), error_type: "panic", transient: false, cause: Cause::Error }
    }

    /// Makes a failure for a job that cannot run. The job goes to the dead set with this reason, without retries, and
    /// this is a violation. For handlers that decode payloads themselves
    /// ([`Process::handle_raw`](crate::Process::handle_raw)).
    pub fn cannot_run(error: &JobError) -> Self {
        Self::not_run(error.to_string())
    }

    /// The failure for a payload that does not decode.
    fn not_run(text: String) -> Self {
        Self { cause: Cause::NotRun, error_type: "JobError", ..Self::of_text(text) }
    }

    /// The job has stopped itself because its process is stopping.
    pub(crate) fn interrupted() -> Self {
        let text = "interrupted: its process is being stopped".to_owned();
        Self { cause: Cause::Interrupted, ..Self::of_text(text) }
    }

    /// The text of the error.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The name of the error's type without its path. An error tracker groups by it. `panic` for a panic.
    pub fn error_type(&self) -> &'static str {
        short_kind(self.error_type)
    }

    /// Returns the error itself, if it has this type. A panic has no error.
    pub fn downcast_ref<E: 'static>(&self) -> Option<&E> {
        self.error.get()?.downcast_ref()
    }

    /// Returns the error of this type: the failure's own error, a boxed error, or one in the chain of sources of a
    /// boxed error.
    pub fn find<E: Error + 'static>(&self) -> Option<&E> {
        let boxed = self.downcast_ref::<Box<dyn Error + Send + Sync>>().map(|error| &**error as &dyn Error);
        let mut next = boxed.or_else(|| self.downcast_ref::<Box<dyn Error>>().map(|error| &**error));
        let own = self.downcast_ref();
        while let (None, Some(error)) = (own, next) {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            next = error.source();
        }
        own
    }

    /// Reports whether the failure is declared transient, so nobody must be notified.
    pub fn is_transient(&self) -> bool {
        self.transient
    }

    /// Declares the failure transient: nobody must be notified as long as the job is retried.
    #[must_use]
    pub fn transient(self) -> Self {
        Self { transient: true, ..self }
    }

    /// Reports whether the job has stopped itself because its process is stopping. This is not a failure: the job is
    /// redelivered, and no retry is used up.
    pub fn is_interruption(&self) -> bool {
        self.cause == Cause::Interrupted
    }
}

/// A failed attempt, as passed to error handlers and
/// [`HandlerOptions::decide`](crate::HandlerOptions::decide).
#[derive(Debug)]
#[non_exhaustive]
pub struct FailedAttempt<'a> {
    /// The job. Its `failures` do not include this one.
    pub job: JobView,
    /// The text of the error.
    pub error: &'a str,
    /// Whether a layer has declared the failure transient ([`Transient`](crate::middleware::Transient)).
    pub transient: bool,
    pub(crate) source: Option<&'a dyn Any>,
}

impl fmt::Display for FailedAttempt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", short_kind(self.job.kind), self.error)
    }
}

impl<'a> FailedAttempt<'a> {
    pub(crate) fn of(failure: &'a JobFailure, job: JobView) -> Self {
        Self { job, error: &failure.text, transient: failure.transient, source: failure.error.get() }
    }

    /// Returns the error itself, if it has this type. A panic has no error. An error that a layer has boxed is a
    /// `Box<dyn Error + Send + Sync>`.
    pub fn downcast_ref<E: 'static>(&self) -> Option<&E> {
        self.source.and_then(|source| source.downcast_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Boxed = Box<dyn Error + Send + Sync>;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::num::ParseIntError);

    fn outer() -> Outer {
        Outer("x".parse::<u32>().expect_err("x is no number"))
    }

    #[test]
    fn a_failure_in_a_failure_is_that_failure() {
        let failure = JobFailure::new(JobFailure::new("late").transient());
        assert_eq!((failure.text(), failure.is_transient()), ("late", true));
        let boxed: Boxed = Box::new(failure);
        let failure = JobFailure::new(boxed);
        assert_eq!((failure.downcast_ref::<&str>(), failure.is_transient()), (Some(&"late"), true));
    }

    #[test]
    fn errors_are_found_in_boxes_and_behind_others() {
        let own = JobFailure::new(outer());
        assert!(own.find::<Outer>().is_some() && own.downcast_ref::<Outer>().is_some());
        let boxed = JobFailure::new(Box::new(outer()) as Boxed);
        assert!(boxed.find::<Outer>().is_some() && boxed.find::<std::num::ParseIntError>().is_some());
        assert!(boxed.find::<fmt::Error>().is_none());
        assert!(JobFailure::new(Box::new(outer()) as Box<dyn Error>).find::<Outer>().is_some());
    }

    #[test]
    fn on_another_thread_the_text_is_there_and_the_error_is_not() {
        let failure = JobFailure::new(std::rc::Rc::new("mine"));
        let there = std::thread::spawn(move || (failure.text().to_owned(), failure.error.get().is_some()));
        assert_eq!(there.join().unwrap(), ("mine".to_owned(), false));
    }

    #[test]
    fn types_are_named_without_their_path() {
        assert_eq!(JobFailure::new(outer()).error_type(), "Outer");
        assert_eq!(JobFailure::of_text(String::new()).error_type(), "panic");
    }
}
