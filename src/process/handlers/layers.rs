//! Layers around perform, and the attempts that go through them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use send_wrapper::SendWrapper;
use serde_json::Value;
use tower_layer::Layer;
use tower_service::Service;

use super::attempt::{Attempt, Handler, Wrappers};
use crate::engine::link::Link;
use crate::engine::panics;
use crate::system::job::{JobError, JobFailure, JobView, short_kind};

/// The error of a layer, boxed as in tower.
pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// An attempt on its way through the layers to its handler.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Perform {
    /// The job, as the queue has it. The handler decodes [`payload`](JobView::payload), which layers may change.
    pub job: JobView,
    /// The data that the layers around enqueue added to the payload.
    pub context: BTreeMap<String, Value>,
    pub(super) around: Wrappers,
    pub(super) link: Link,
}

impl Perform {
    /// Runs the code of a blocking handler inside `around`, on the thread of its slot, for layers that set up or clear
    /// something on a thread. `around` must call its argument once, and must be ready for an unwind out of it. The
    /// first one added is the outermost. This does nothing to async handlers.
    pub fn around_blocking(&mut self, around: impl Fn(&mut dyn FnMut()) + Send + Sync + 'static) {
        self.around.push(around);
    }

    /// Says that the attempt keeps values in thread-locals. A second delivery then never goes to a fresh copy of its
    /// process, because all processes of a world share a thread, and the copy would see these values. The report says
    /// so. [`ClearThreadLocals`](crate::middleware::ClearThreadLocals) calls this.
    pub fn keeps_thread_locals(&self) {
        if let Some(life) = self.link.life() {
            self.link.shared().state().note_thread_locals(life.process);
        }
    }

    /// Returns a handle that tells, after an attempt failed, whether another attempt will follow.
    pub fn retries(&self) -> Retries {
        Retries { link: self.link.clone(), job: self.job.number }
    }
}

/// The remaining retries of a job.
#[derive(Clone, Debug)]
pub struct Retries {
    link: Link,
    job: u32,
}

impl Retries {
    /// Whether a failure now is final, because the job will not be retried. A decision of
    /// [`decide`](crate::HandlerOptions::decide) comes later, and is not known here.
    pub fn are_used_up(&self) -> bool {
        let state = self.link.shared().state();
        let job = state.queue.job(self.job);
        let now = state.clock.now();
        let since = job.extras.as_ref().and_then(|extras| extras.since).unwrap_or(now);
        state.retry_policy(self.job).is_exhausted(job.failures(), now - since)
    }
}

/// The service that a layer around perform wraps: the inner layers, and finally the handler.
///
/// It is always ready, and can be cloned. Each attempt has a clone of the whole stack. It is `Send` so that any layer
/// fits, although it stays on its thread.
pub struct PerformService {
    inner: SendWrapper<Box<dyn Stack>>,
}

/// The future of a [`PerformService`].
pub struct PerformFuture {
    inner: SendWrapper<Attempt>,
}

impl fmt::Debug for PerformService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerformService").finish_non_exhaustive()
    }
}

impl fmt::Debug for PerformFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerformFuture").finish_non_exhaustive()
    }
}

impl Clone for PerformService {
    fn clone(&self) -> Self {
        Self { inner: SendWrapper::new(self.inner.cloned()) }
    }
}

impl Service<Perform> for PerformService {
    type Response = ();
    type Error = JobFailure;
    type Future = PerformFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), JobFailure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Perform) -> PerformFuture {
        PerformFuture { inner: SendWrapper::new(self.inner.call(request)) }
    }
}

impl Future for PerformFuture {
    type Output = Result<(), JobFailure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.inner.as_mut().poll(cx)
    }
}

/// A service around perform, without its type.
pub(super) trait Stack {
    fn cloned(&self) -> Box<dyn Stack>;
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), JobFailure>>;
    fn call(&mut self, request: Perform) -> Attempt;
}

/// A layer around a stack, without its type.
pub(in crate::process) type WrapPerform = Box<dyn Fn(PerformService) -> PerformService>;

struct Layered<S>(S);

impl<S> Stack for Layered<S>
where
    S: Service<Perform, Error: Into<BoxError>, Future: 'static> + Clone + 'static,
{
    fn cloned(&self) -> Box<dyn Stack> {
        Box::new(Self(self.0.clone()))
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), JobFailure>> {
        self.0.poll_ready(cx).map_err(|error| JobFailure::new(error.into()))
    }

    fn call(&mut self, request: Perform) -> Attempt {
        let performing = self.0.call(request);
        Box::pin(async move { performing.await.map(drop).map_err(|error| JobFailure::new(error.into())) })
    }
}

/// The innermost service of one kind, which is its handler.
#[derive(Clone)]
pub(super) struct Innermost(pub(super) Rc<dyn Handler>);

impl Stack for Innermost {
    fn cloned(&self) -> Box<dyn Stack> {
        Box::new(self.clone())
    }

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), JobFailure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Perform) -> Attempt {
        let handler = self.0.clone();
        Box::pin(async move {
            let Perform { job, around, link, .. } = request;
            let mut attempt = match handler.start(job.number, &job.payload, around) {
                Ok(attempt) => attempt,
                Err(error) => {
                    let (kind, reason, payload) = (job.kind.to_owned(), error.to_string(), job.payload);
                    let error = JobError::Undecodable { job: job.number, kind, reason, payload };
                    return Err(JobFailure::cannot_run(&error));
                }
            };
            std::future::poll_fn(|cx| {
                // A panic is a failure to the layers. A crash is not, and continues unwinding.
                match catch_unwind(AssertUnwindSafe(|| attempt.as_mut().poll(cx))) {
                    Ok(polled) => polled,
                    Err(payload) if link.life().is_some_and(|life| life.is_ending()) => {
                        resume_unwind(payload)
                    }
                    Err(payload) => Poll::Ready(Err(JobFailure::of_panic(panics::text(&*payload)))),
                }
            })
            .await
        })
    }
}

/// Routes to the stacks of all kinds that a process handles. The process's layers wrap this service.
#[derive(Clone)]
pub(super) struct Router(pub(super) Rc<Vec<(Vec<&'static str>, PerformService)>>);

impl Stack for Router {
    fn cloned(&self) -> Box<dyn Stack> {
        Box::new(self.clone())
    }

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), JobFailure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Perform) -> Attempt {
        let stack = self.0.iter().find(|(kinds, _)| kinds.contains(&request.job.kind));
        let is_version =
            |kinds: &[&str]| kinds.iter().any(|kind| short_kind(kind) == short_kind(request.job.kind));
        let (_, stack) = stack
            .or_else(|| self.0.iter().find(|(kinds, _)| is_version(kinds)))
            .expect("a layer must not change the kind of a job");
        attempt(stack.clone(), request)
    }
}

/// Waits until the service is ready, and calls it.
pub(super) fn attempt(mut service: PerformService, request: Perform) -> Attempt {
    Box::pin(async move {
        std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
        service.call(request).await
    })
}

/// Layers, and the service that they made, once they have made it.
#[derive(Default)]
pub(in crate::process) struct Layers {
    layers: Vec<WrapPerform>,
    built: RefCell<Option<PerformService>>,
}

impl Layers {
    pub(in crate::process) fn push<L>(&mut self, layer: L)
    where
        L: Layer<PerformService> + 'static,
        L::Service: Service<Perform, Error: Into<BoxError>, Future: 'static> + Clone + 'static,
    {
        self.layers.push(Box::new(move |inner| service(Layered(layer.layer(inner)))));
    }

    pub(in crate::process) fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Returns the layers around `innermost`, with the first one added on the outside.
    pub(super) fn around(&self, innermost: impl FnOnce() -> PerformService) -> PerformService {
        let mut built = self.built.borrow_mut();
        let built = built.get_or_insert_with(|| self.layers.iter().rev().fold(innermost(), |s, l| l(s)));
        built.clone()
    }
}

pub(super) fn service(stack: impl Stack + 'static) -> PerformService {
    PerformService { inner: SendWrapper::new(Box::new(stack)) }
}
