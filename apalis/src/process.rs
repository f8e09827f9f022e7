//! A process that runs apalis workers.

use std::cell::Cell;
use std::future::Future;
use std::future::poll_fn;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::error::{BoxDynError, WorkerError};
use apalis_core::task::Task;
use apalis_core::worker::Worker;
use apalis_core::worker::builder::WorkerBuilder;
use apalis_core::worker::context::WorkerContext;
use apalis_core::worker::event::Event;
use apalis_core::worker::lifecycle::LifecycleService;
use futures_util::Stream;
use futures_util::lock::Mutex;
use retryproof::middleware::Perform;
use retryproof::{Decision, HandlerOptions, Process};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower_layer::Layer;
use tower_service::Service;

use crate::capture::{Calling, Captured, Stack, capture};
use crate::carried::Delivery;
use crate::failure::{TaskError, by_error, decision};
use crate::storage::WorldStorage;
use crate::wall_clock;

/// The methods that apalis adds to a [`Process`].
pub trait ProcessExt {
    /// Returns the world's queue as an apalis backend, for building workers and for pushing tasks.
    ///
    /// As with [`Process::queue`], add enqueue layers before calling it.
    fn storage<Args: 'static>(&self) -> WorldStorage<Args>;

    /// Runs an apalis worker with its layers and its data. Call it in place of `worker.run().await`.
    ///
    /// The options are those of any handler. [`decision`] decides about a failed task, unless you set another
    /// [`decide`](HandlerOptions::decide).
    ///
    /// ```
    /// use apalis_core::error::{BoxDynError, WorkerError};
    /// use apalis_core::task::{attempt::Attempt, data::Data};
    /// use apalis_core::worker::builder::WorkerBuilder;
    /// use retryproof::World;
    /// use retryproof::service::payments::{Charge, Payments};
    /// use retryproof_apalis::ProcessExt;
    ///
    /// type Shop = retryproof::Client<Payments>;
    ///
    /// async fn pay(order: u32, _attempt: Attempt, payments: Data<Shop>) -> Result<(), BoxDynError> {
    ///     payments.charge(Charge::of_order(order, 500).key(format!("order-{order}"))).await?;
    ///     Ok(())
    /// }
    ///
    /// retryproof::check(async |world: &World| {
    ///     world.process("worker", |p| {
    ///         let worker = WorkerBuilder::new("orders").backend(p.storage()).data(p.payments()).build(pay);
    ///         p.run_worker(worker);
    ///     });
    ///     world.enqueue(6_u32);
    ///     world.settle().await;
    /// });
    /// ```
    ///
    /// # Panics
    /// If the worker's backend is not a [`storage`](ProcessExt::storage) of this crate, or if the type of its tasks
    /// has a handler already.
    #[track_caller]
    fn run_worker<W: RunWorker>(&self, worker: W) -> HandlerOptions<'_>;

    /// Runs a worker with this service as its handler: `task_fn(f)`, or a stack of your own. The worker has the name
    /// of the process.
    ///
    /// Add layers that read the attempt, such as apalis' retry policies, to a worker and not to its handler, because
    /// an attempt is counted between the two.
    ///
    /// ```
    /// use apalis_core::task::{task_fn::task_fn, task_id::TaskId};
    /// use retryproof::World;
    /// use retryproof_apalis::ProcessExt;
    ///
    /// async fn note(_order: u32, id: TaskId) -> Result<(), String> {
    ///     Err(format!("no {id}"))
    /// }
    ///
    /// let world = World::fake();
    /// world.process("worker", |p| drop(p.handle_task::<u32, _>(task_fn(note))));
    /// let id = world.enqueue(6_u32);
    /// let error = world.drain_all().run().unwrap_err();
    /// assert_eq!(error.to_string(), format!("job#1 u32 failed: no {id}"));
    /// ```
    ///
    /// # Panics
    /// If the type of its tasks has a handler already.
    #[track_caller]
    fn handle_task<Args, S>(&self, service: S) -> HandlerOptions<'_>
    where
        Args: Serialize + DeserializeOwned + Send + Unpin + 'static,
        S: Service<Task<Args>> + Send + 'static,
        S::Response: Send + Sync + 'static,
        S::Error: Into<BoxDynError>,
        S::Future: Send + 'static;
}

impl ProcessExt for Process {
    #[track_caller]
    fn storage<Args: 'static>(&self) -> WorldStorage<Args> {
        WorldStorage::new(self, Location::caller())
    }

    #[track_caller]
    fn run_worker<W: RunWorker>(&self, worker: W) -> HandlerOptions<'_> {
        let (captured, mut events) = capture::<W::Args, _>(|| worker.events());
        let Some(captured) = captured else {
            panic!(
                "process `{}` was given a worker that is not built on its queue; build it on `p.storage()`",
                self.name()
            )
        };
        // The first event reports that the worker has begun. The others would come from fetching tasks, which the
        // process does.
        match events.as_mut().poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Err(error))) => {
                panic!(
                    "the worker `{}` cannot begin: {error}; build it where the process boots",
                    captured.worker.name()
                )
            }
            _ => drop(events),
        }
        serve(self, captured)
    }

    #[track_caller]
    fn handle_task<Args, S>(&self, service: S) -> HandlerOptions<'_>
    where
        Args: Serialize + DeserializeOwned + Send + Unpin + 'static,
        S: Service<Task<Args>> + Send + 'static,
        S::Response: Send + Sync + 'static,
        S::Error: Into<BoxDynError>,
        S::Future: Send + 'static,
    {
        self.run_worker(
            WorkerBuilder::new(self.name().as_str()).backend(self.storage::<Args>()).build(service),
        )
    }
}

/// Handles the tasks of a worker.
#[track_caller]
fn serve<Args: DeserializeOwned + 'static>(
    process: &Process,
    captured: Captured<Args>,
) -> HandlerOptions<'_> {
    let Captured { stack, worker } = captured;
    let stack = Rc::new(Mutex::new(stack));
    let delivered = Delivered::default();
    let handler = {
        let delivered = delivered.clone();
        async move |args: Args| {
            let delivery = delivered.take().expect("the layer around the handler puts it there at each poll");
            attempt(&stack, &worker, delivery, args).await
        }
    };
    process.handle::<Args, _, _>(handler).layer(DeliveredLayer(delivered)).decide(decision)
}

/// One attempt of a task.
async fn attempt<Args>(
    stack: &Mutex<Box<dyn Stack<Args>>>,
    worker: &WorkerContext,
    delivery: Delivery,
    args: Args,
) -> Result<(), TaskError> {
    let most = delivery.carried.max_attempts;
    let task = delivery.task(args, worker);
    let (status, attempts) = (task.raw_status().clone(), task.raw_attempt().clone());
    let failed = |error: BoxDynError| {
        let used_up = most.is_some_and(|most| attempts.current() >= most);
        let decision = by_error(&error, &status.load(), used_up);
        TaskError::new(error, decision)
    };
    let mut calling = {
        // One after another: a ready service is ready for only one call.
        let mut stack = stack.lock().await;
        poll_fn(|cx| match put_back(worker) {
            Some(error) => Poll::Ready(Err(error)),
            None => stack.poll_ready(cx).map_err(failed),
        })
        .await?;
        wall_clock::steady();
        stack.call(task)
    };
    poll_fn(|cx| {
        wall_clock::steady();
        calling.as_mut().poll(cx)
    })
    .await
    .map_err(failed)
}

/// If a worker is paused or stopped, the queue gets the task back, with this delay.
fn put_back(worker: &WorkerContext) -> Option<TaskError> {
    let (how, wait) = match worker {
        worker if worker.is_shutting_down() => ("stopped", Duration::from_secs(60)),
        worker if worker.is_paused() => ("paused", Duration::from_secs(1)),
        _ => return None,
    };
    let error = format!("the worker `{}` is {how} and takes no task", worker.name());
    Some(TaskError::new(error.into(), Decision::Snooze(wait)))
}

/// A worker of apalis that a process can run: any worker with the bounds of `Worker::run`.
pub trait RunWorker {
    /// The arguments of its tasks.
    type Args: DeserializeOwned + 'static;

    /// The events of the worker, when it runs.
    fn events(self) -> Events;
}

/// The events of a worker.
pub type Events = Pin<Box<dyn Stream<Item = Result<Event, WorkerError>>>>;

impl<Args, FB, S, M> RunWorker for Worker<Args, FB, S, M>
where
    Args: Send + 'static,
    FB: BackendConfig + Backend<Task = Task<FB::Args>> + Send + Unpin + 'static,
    FB::Args: DeserializeOwned + Send + 'static,
    FB::Error: Into<BoxDynError> + Send + 'static,
    S: Service<Task<FB::Args>> + Send + 'static,
    M: Layer<LifecycleService<S>> + 'static,
    FB::Layer: Layer<M::Service>,
    Outermost<FB, S, M>: Service<Task<FB::Args>> + Send + 'static,
    <Outermost<FB, S, M> as Service<Task<FB::Args>>>::Future: Send,
    <Outermost<FB, S, M> as Service<Task<FB::Args>>>::Error: Into<BoxDynError> + Send + Sync + 'static,
    <Outermost<FB, S, M> as Service<Task<FB::Args>>>::Response: Send + Sync + 'static,
{
    type Args = FB::Args;

    fn events(self) -> Events {
        Box::pin(self.stream())
    }
}

/// The service of a worker: the backend's layer around the worker's layers around its handler.
type Outermost<FB, S, M> =
    <<FB as BackendConfig>::Layer as Layer<<M as Layer<LifecycleService<S>>>::Service>>::Service;

/// The delivery that is being polled, on its way from the layer around a handler into the handler.
type Delivered = Rc<Cell<Option<Delivery>>>;

/// Gives the handler the data that is not in the job's arguments.
#[derive(Clone)]
struct DeliveredLayer(Delivered);

#[derive(Clone)]
struct DeliveredService<S> {
    inner: S,
    delivered: Delivered,
}

impl<S> Layer<S> for DeliveredLayer {
    type Service = DeliveredService<S>;

    fn layer(&self, inner: S) -> DeliveredService<S> {
        DeliveredService { inner, delivered: self.0.clone() }
    }
}

impl<S> Service<Perform> for DeliveredService<S>
where
    S: Service<Perform, Error: Into<BoxDynError>, Future: 'static>,
{
    type Response = ();
    type Error = BoxDynError;
    type Future = Calling;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Perform) -> Calling {
        let delivery = Delivery::of(&request);
        let calling = self.inner.call(request);
        let delivered = self.delivered.clone();
        Box::pin(async move {
            let mut own = Some(delivery?);
            let mut calling = pin!(calling);
            // Layers in between may wait, so the handler may begin in any poll.
            poll_fn(|cx| {
                delivered.set(own.take());
                let polled = calling.as_mut().poll(cx);
                own = delivered.take();
                polled.map(|ended| ended.map(drop).map_err(Into::into))
            })
            .await
        })
    }
}
