//! A worker's service, taken out of the worker when apalis has put it together.
//!
//! apalis puts a worker's layers around its handler where the worker begins to run, and has the backend add a layer of its
//! own on the outside. That of a [`WorldStorage`](crate::WorldStorage) adds nothing: it keeps what it is put around.

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
    /// What was kept while somebody asked for it.
    static KEPT: RefCell<Option<Vec<Box<dyn Any>>>> = const { RefCell::new(None) };
}

/// A call of a worker's service.
pub(crate) type Calling = Pin<Box<dyn Future<Output = Result<(), BoxDynError>>>>;

/// A worker's layers and handler, whatever their types. There is one for all tasks, as in a worker that runs: what a layer
/// counts or limits, it does for all of them.
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

/// What was kept of a worker.
pub(crate) struct Captured<Args> {
    pub(crate) stack: Box<dyn Stack<Args>>,
    pub(crate) worker: WorkerContext,
}

/// What was kept while `build` ran, first things first.
pub(crate) fn capture<Args: 'static, R>(build: impl FnOnce() -> R) -> (Option<Captured<Args>>, R) {
    let former = KEPT.replace(Some(Vec::new()));
    let built = build();
    let kept = KEPT.replace(former).unwrap_or_default();
    let captured = kept.into_iter().find_map(|kept| kept.downcast::<Captured<Args>>().ok());
    (captured.map(|captured| *captured), built)
}

/// The layer of a [`WorldStorage`](crate::WorldStorage): it keeps the worker's service for the process that runs it. It is
/// named in a worker's type, and is of no use by itself.
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

/// What stands in a worker where its service was: the service is the process's now, and no task comes here.
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
