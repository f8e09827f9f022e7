//! Reports failures, and transient ones only when a job dies of them.

use std::error::Error;
use std::fmt::{self, Display};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tower_layer::Layer;
use tower_service::Service;

use crate::process::{Clock, Perform, Process};
use crate::system::job::JobFailure;
use crate::system::service::error_tracker::Notification;

type BoxError = Box<dyn Error + Send + Sync>;

type Performing = Pin<Box<dyn Future<Output = Result<(), JobFailure>>>>;

/// Marks failures as transient: a retry usually resolves them, so nobody needs to know about them while the job is
/// retried. A layer around perform, for one kind of job, for a whole process, or both.
///
/// ```
/// use retryproof::{ServiceError, middleware::Transient};
///
/// let transient = Transient::new()
///     .error_if(|error: &ServiceError| !matches!(error, ServiceError::Refused { .. }))
///     .text("connection reset");
/// ```
#[derive(Clone, Default)]
pub struct Transient {
    tests: Rc<Vec<Test>>,
}

/// Returns whether a failure is transient.
type Test = Rc<dyn Fn(&JobFailure) -> bool>;

impl fmt::Debug for Transient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transient").field("tests", &self.tests.len()).finish()
    }
}

impl Transient {
    /// Makes a layer that marks no failures.
    pub fn new() -> Self {
        Self::default()
    }

    /// Marks all errors of this type, including boxed ones and sources of other errors ([`JobFailure::find`]).
    #[must_use]
    pub fn error<E: Error + 'static>(self) -> Self {
        self.error_if::<E>(|_| true)
    }

    /// Marks errors of this type for which `is_transient` returns true.
    #[must_use]
    pub fn error_if<E: Error + 'static>(self, is_transient: impl Fn(&E) -> bool + 'static) -> Self {
        self.failure(move |failure| failure.find().is_some_and(&is_transient))
    }

    /// Marks failures whose text contains `part`.
    #[must_use]
    pub fn text(self, part: impl Into<String>) -> Self {
        let part = part.into();
        self.failure(move |failure| failure.text().contains(&part))
    }

    /// Marks failures for which `is_transient` returns true.
    #[must_use]
    pub fn failure(mut self, is_transient: impl Fn(&JobFailure) -> bool + 'static) -> Self {
        Rc::make_mut(&mut self.tests).push(Rc::new(is_transient));
        self
    }

    fn mark(&self, failure: JobFailure) -> JobFailure {
        match self.tests.iter().any(|is_transient| is_transient(&failure)) {
            true => failure.transient(),
            false => failure,
        }
    }
}

impl<S> Layer<S> for Transient {
    type Service = TransientFailures<S>;

    fn layer(&self, inner: S) -> TransientFailures<S> {
        TransientFailures { inner, transient: self.clone() }
    }
}

/// The service of [`Transient`].
#[derive(Clone, Debug)]
pub struct TransientFailures<S> {
    inner: S,
    transient: Transient,
}

impl<S> Service<Perform> for TransientFailures<S>
where
    S: Service<Perform, Error: Into<BoxError>, Future: 'static>,
{
    type Response = ();
    type Error = JobFailure;
    type Future = Performing;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), JobFailure>> {
        self.inner.poll_ready(cx).map_err(|error| self.transient.mark(JobFailure::new(error.into())))
    }

    fn call(&mut self, request: Perform) -> Performing {
        let (performing, transient) = (self.inner.call(request), self.transient.clone());
        Box::pin(async move {
            performing.await.map(drop).map_err(|error| transient.mark(JobFailure::new(error.into())))
        })
    }
}

/// Reports failed attempts. A [transient](Transient) failure is only reported if it is the job's last one, because its
/// retries are used up. Any other failure is reported at once. This layer belongs outside of those that mark failures.
///
/// It reports before the queue records the failure, so if the process crashes in between, the attempt is repeated. If
/// the report fails, it tries five more times over about a minute, and then gives up.
///
/// A job that is not retried because of a decision of [`decide`](crate::HandlerOptions::decide) should not fail
/// with a transient error. Other errors are reported at once.
///
/// ```
/// use retryproof::middleware::{ReportFailures, Transient};
/// use retryproof::service::payments::Charge;
/// use retryproof::{ServiceError, World};
///
/// retryproof::check(async |world: &World| {
///     world.process("worker", |p| {
///         let payments = p.payments();
///         p.layer(ReportFailures::new(p)).layer(Transient::new().error::<ServiceError>());
///         p.handle(async move |order: u32| {
///             payments.charge(Charge::of_order(order, 500).key(format!("order-{order}"))).await
///         });
///     });
///     world.enqueue(6_u32);
///     world.settle().await;
/// });
/// ```
#[derive(Clone)]
pub struct ReportFailures {
    tell: Tell,
    clock: Clock,
}

type Tell = Rc<dyn Fn(Notification) -> Pin<Box<dyn Future<Output = Result<(), String>>>>>;

impl fmt::Debug for ReportFailures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReportFailures").finish_non_exhaustive()
    }
}

impl ReportFailures {
    /// Makes a layer that reports to the error tracker.
    pub fn new(p: &Process) -> Self {
        let catcher = p.error_tracker();
        Self::by(p, async move |notification| catcher.notify(notification).await)
    }

    /// Makes a layer that reports elsewhere, to a custom pager, for example.
    pub fn by<T, E: Display>(
        p: &Process,
        tell: impl AsyncFn(Notification) -> Result<T, E> + Clone + 'static,
    ) -> Self {
        let tell = move |notification| {
            let tell = tell.clone();
            Box::pin(async move { tell(notification).await.map(drop).map_err(|error| error.to_string()) })
                as Pin<Box<dyn Future<Output = _>>>
        };
        Self { tell: Rc::new(tell), clock: p.clock() }
    }

    async fn tell_of(&self, failure: &JobFailure) {
        let notification = Notification::new(failure.error_type(), failure.text());
        for seconds in [2, 4, 8, 16, 32] {
            if (self.tell)(notification.clone()).await.is_ok() {
                return;
            }
            self.clock.sleep(Duration::from_secs(seconds)).await;
        }
        let _ = (self.tell)(notification).await;
    }
}

impl<S> Layer<S> for ReportFailures {
    type Service = ReportFailuresService<S>;

    fn layer(&self, inner: S) -> ReportFailuresService<S> {
        ReportFailuresService { inner, layer: self.clone() }
    }
}

/// The service of [`ReportFailures`].
#[derive(Clone, Debug)]
pub struct ReportFailuresService<S> {
    inner: S,
    layer: ReportFailures,
}

impl<S> Service<Perform> for ReportFailuresService<S>
where
    S: Service<Perform, Error: Into<BoxError>, Future: 'static>,
{
    type Response = ();
    type Error = JobFailure;
    type Future = Performing;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), JobFailure>> {
        self.inner.poll_ready(cx).map_err(|error| JobFailure::new(error.into()))
    }

    fn call(&mut self, request: Perform) -> Performing {
        let (retries, layer) = (request.retries(), self.layer.clone());
        let performing = self.inner.call(request);
        Box::pin(async move {
            let Err(error) = performing.await else { return Ok(()) };
            let failure = JobFailure::new(error.into());
            let passes = failure.is_transient() && !retries.are_used_up();
            if !passes && !failure.is_interruption() {
                layer.tell_of(&failure).await;
            }
            Err(failure)
        })
    }
}
