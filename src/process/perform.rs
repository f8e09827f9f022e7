//! Layers around perform: what goes through them, and how they are put together.

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

use super::Process;
use super::blocking::Around;
use super::handler::{Attempt, Handler, HandlerOptions, Registered, Start};
use super::unique::guarded;
use crate::engine::link::Link;
use crate::engine::panics;
use crate::system::job::{JobError, JobFailure, JobView};

/// An error of whatever layer, boxed as tower's layers do.
type BoxError = Box<dyn Error + Send + Sync>;

/// An attempt on its way through the layers to its handler.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Perform {
    /// The job, as the queue has it. The handler decodes [`payload`](JobView::payload), as the layers leave it.
    pub job: JobView,
    /// What the layers around its enqueue have put beside its payload.
    pub context: BTreeMap<String, Value>,
    around: Around,
    link: Link,
}

impl Perform {
    /// Has the code of a blocking handler run inside of `around`, on the thread of its slot: for what a layer puts in place
    /// on a thread, or clears away there. It is to call what it is given, once, and must be ready for that to unwind. Of
    /// several, the one that was added first is the outermost. To async handlers it does nothing.
    pub fn around_blocking(&mut self, around: impl Fn(&mut dyn FnMut()) + Send + Sync + 'static) {
        self.around.push(around);
    }

    /// Asks, after an attempt has failed, whether there is another one to come.
    pub fn retries(&self) -> Retries {
        Retries { link: self.link.clone(), job: self.job.number }
    }
}

/// The retries of the job that is performed.
#[derive(Clone, Debug)]
pub struct Retries {
    link: Link,
    job: u32,
}

impl Retries {
    /// Whether a failure now is the last: the job is then tried no more. What
    /// [`on_failure`](HandlerOptions::on_failure) decides is decided later, and not known here.
    pub fn are_used_up(&self) -> bool {
        let state = self.link.shared().state();
        let job = state.queue.job(self.job);
        let now = state.clock.now();
        let since = job.trouble.as_ref().and_then(|trouble| trouble.since).unwrap_or(now);
        state.retry_policy(self.job).is_exhausted(job.failures(), now - since)
    }
}

/// What a layer around perform wraps: the layers inside it, and at last the handler.
///
/// It is always ready, and may be cloned; each attempt has a clone of the whole stack. It is `Send` so that any layer
/// fits; what it runs stays on its thread all the same.
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

/// A service of whatever type around perform.
trait Stack {
    fn cloned(&self) -> Box<dyn Stack>;
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), JobFailure>>;
    fn call(&mut self, request: Perform) -> Attempt;
}

/// A layer around a stack, whatever its type.
pub(super) type WrapPerform = Box<dyn Fn(PerformService) -> PerformService>;

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

/// The innermost service of one kind: its handler.
#[derive(Clone)]
struct Innermost(Rc<dyn Handler>);

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
                // To the layers a panic is a failure like any other. A crash is none: it goes on unwinding.
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

/// The stacks of all kinds that a process handles: what the layers around all of them wrap.
#[derive(Clone)]
struct Router(Rc<Vec<(Vec<&'static str>, PerformService)>>);

impl Stack for Router {
    fn cloned(&self) -> Box<dyn Stack> {
        Box::new(self.clone())
    }

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), JobFailure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Perform) -> Attempt {
        let stack = self.0.iter().find(|(kinds, _)| kinds.contains(&request.job.kind));
        let (_, stack) = stack.expect("a layer leaves the kind of a job as it is");
        attempt(stack.clone(), request)
    }
}

/// Waits until the service is ready, then calls it.
fn attempt(mut service: PerformService, request: Perform) -> Attempt {
    Box::pin(async move {
        std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
        service.call(request).await
    })
}

/// Layers and what they make of the service that they are put around, once they have.
#[derive(Default)]
pub(super) struct Layers {
    layers: Vec<WrapPerform>,
    built: RefCell<Option<PerformService>>,
}

impl Layers {
    pub(super) fn push<L>(&mut self, layer: L)
    where
        L: Layer<PerformService> + 'static,
        L::Service: Service<Perform, Error: Into<BoxError>, Future: 'static> + Clone + 'static,
    {
        self.layers.push(Box::new(move |inner| service(Layered(layer.layer(inner)))));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// The layers around `innermost`, the first one added on the outside.
    fn around(&self, innermost: impl FnOnce() -> PerformService) -> PerformService {
        let mut built = self.built.borrow_mut();
        let built = built.get_or_insert_with(|| self.layers.iter().rev().fold(innermost(), |s, l| l(s)));
        built.clone()
    }
}

fn service(stack: impl Stack + 'static) -> PerformService {
    PerformService { inner: SendWrapper::new(Box::new(stack)) }
}

impl Process {
    /// Puts a [`tower::Layer`](Layer) around each attempt of every kind of job that this process performs. Layers of one
    /// kind ([`HandlerOptions::layer`]) lie inside of it; of several, the first one added is the outermost.
    ///
    /// The layer's service has an attempt ([`Perform`]) for request and nothing for response; its error becomes the
    /// failure of the attempt. Each attempt has a clone of the stack, waits until that is ready, then calls it. It is
    /// the same in `check`, in drains, in fake and in inline mode.
    ///
    #[cfg_attr(feature = "tokio", doc = "```")]
    #[cfg_attr(not(feature = "tokio"), doc = "```ignore")]
    /// use std::time::Duration;
    /// use retryproof::World;
    /// use tower::timeout::TimeoutLayer;
    ///
    /// let world = World::fake();
    /// world.process("worker", |p| {
    ///     let clock = p.clock();
    ///     p.layer(TimeoutLayer::new(Duration::from_secs(10)));
    ///     p.handle(async move |seconds: u64| clock.sleep(Duration::from_secs(seconds)).await);
    /// });
    /// world.enqueue(60_u64);
    /// assert_eq!(world.drain_all().run().unwrap_err().to_string(), "job#1 u64 failed: request timed out");
    /// ```
    pub fn layer<L>(&self, layer: L) -> &Self
    where
        L: Layer<PerformService> + 'static,
        L::Service: Service<Perform, Error: Into<BoxError>, Future: 'static> + Clone + 'static,
    {
        self.layers.borrow_mut().push(layer);
        self
    }

    /// Begins an attempt of a job, inside of the layers that there are around it.
    pub(crate) fn start(&self, job: u32, kind: &str, payload: &str) -> Option<Start> {
        let (handlers, layers) = (self.handlers.borrow(), self.layers.borrow());
        let registered = handlers.iter().find(|handler| handler.handles(kind))?;
        if layers.is_empty() && registered.layers.is_empty() {
            let begun = registered.handler.clone().start(job, payload, Around::default());
            return Some((begun.map(|run| self.past_locks(registered, payload, run)), registered.place));
        }
        let stack_of = |registered: &Registered| {
            registered.layers.around(|| service(Innermost(registered.handler.clone())))
        };
        let stack = if layers.is_empty() {
            stack_of(registered)
        } else {
            layers.around(|| {
                let stacks = handlers.iter().map(|registered| (registered.kinds(), stack_of(registered)));
                service(Router(Rc::new(stacks.collect())))
            })
        };
        let run = attempt(stack, self.request(job, payload));
        Some((Ok(self.past_locks(registered, payload, run)), registered.place))
    }

    /// The locks of a unique job lie outside of all layers: those see what runs.
    fn past_locks(&self, registered: &Registered, payload: &str, run: Attempt) -> Attempt {
        match &registered.unique {
            None => run,
            Some(unique) => guarded(&self.link, unique, payload, registered.place, run),
        }
    }

    fn request(&self, job: u32, payload: &str) -> Perform {
        let state = self.link.shared().state();
        let job = state.queue.job(job);
        let context = job.context().and_then(|context| serde_json::from_str(context).ok());
        // The queue has lent the payload.
        let view = JobView { payload: payload.to_owned(), ..JobView::from(job) };
        let (context, around) = (context.unwrap_or_default(), Around::default());
        Perform { job: view, context, around, link: self.link.clone() }
    }
}

impl HandlerOptions<'_> {
    /// Puts a [`tower::Layer`](Layer) around each attempt of this kind. See [`Process::layer`].
    pub fn layer<L>(self, layer: L) -> Self
    where
        L: Layer<PerformService> + 'static,
        L::Service: Service<Perform, Error: Into<BoxError>, Future: 'static> + Clone + 'static,
    {
        self.process.handlers.borrow_mut()[self.index].layers.push(layer);
        self
    }
}
