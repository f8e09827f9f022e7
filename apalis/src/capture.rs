//! Takes the service of a worker out of the worker that apalis has assembled.
//!
//! apalis wraps a worker's layers around its handler when the worker begins to run, and lets the backend add an
//! outermost layer of its own. The layer of a [`WorldStorage`](crate::WorldStorage) adds no behavior: it keeps the
//! service that it wraps.

use std::any::Any;
use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt;
use std::future::{Future, Pending, pending};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use apalis_core::error::BoxDynError;
use apalis_core::task::Task;
use apalis_core::worker::context::WorkerContext;
use tower_layer::Layer;
use tower_service::Service;

thread_local! {
    /// The values that were kept during a [`capture`].
    static KEPT: RefCell<Option<Vec<Box<dyn Any>>>> = const { RefCell::new(None) };
}

/// A call of a worker's service.
pub(crate) type Calling = Pin<Box<dyn Future<Output = Result<(), BoxDynError>>>>;

/// A worker's layers and handler, without their types. All tasks share one stack, as in a running worker, so a
/// layer's counters and limits apply to all of them.
pub(crate) trait Stack<Args> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxDynError>>;
    fn call(&mut self, task: Task<Args>) -> Calling;
}

struct Layered<S>(S);

impl<S, Args> Stack<Args> for Layered<S>
where
    S: Service<Task<Args>, Error: Into<BoxDynError>, Future: 'static>,
{
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, task: Task<Args>) -> Calling {
        let calling = self.0.call(task);
        Box::pin(async move { calling.await.map(drop).map_err(Into::into) })
    }
}

/// The parts that were kept of a worker.
pub(crate) struct Captured<Args> {
    pub(crate) stack: Box<dyn Stack<Args>>,
    pub(crate) worker: WorkerContext,
}

/// Returns the values that were kept while `build` ran, in order.
pub(crate) fn capture<Args: 'static, R>(build: impl FnOnce() -> R) -> (Option<Captured<Args>>, R) {
    let former = KEPT.replace(Some(Vec::new()));
    let built = build();
    let kept = KEPT.replace(former).unwrap_or_default();
    let captured = kept.into_iter().find_map(|kept| kept.downcast::<Captured<Args>>().ok());
    (captured.map(|captured| *captured), built)
}

/// The layer of a [`WorldStorage`](crate::WorldStorage). It keeps the worker's service for the process that runs it.
/// It appears in a worker's type, and has no other use.
pub struct Capture<Args> {
    worker: WorkerContext,
    args: PhantomData<fn(Args)>,
}

impl<Args> Capture<Args> {
    pub(crate) fn new(worker: WorkerContext) -> Self {
        Self { worker, args: PhantomData }
    }
}

impl<Args> fmt::Debug for Capture<Args> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture").field("worker", &self.worker.name()).finish_non_exhaustive()
    }
}

impl<S, Args> Layer<S> for Capture<Args>
where
    S: Service<Task<Args>, Error: Into<BoxDynError>, Future: 'static> + 'static,
    Args: 'static,
{
    type Service = Elsewhere;

    fn layer(&self, service: S) -> Elsewhere {
        let captured: Captured<Args> =
            Captured { stack: Box::new(Layered(service)), worker: self.worker.clone() };
        KEPT.with_borrow_mut(|kept| kept.as_mut().map(|kept| kept.push(Box::new(captured))));
        Elsewhere { _private: () }
    }
}

/// The placeholder for a worker's service. The process owns the service, so no task arrives here.
#[derive(Debug)]
pub struct Elsewhere {
    _private: (),
}

impl<Request> Service<Request> for Elsewhere {
    type Response = ();
    type Error = Infallible;
    type Future = Pending<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request) -> Self::Future {
        pending()
    }
}
