//! The world's queue as an apalis backend, into which tasks are pushed.

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use apalis_core::backend::codec::Codec;
use apalis_core::backend::finalize::Durable;
use apalis_core::backend::future::BoxSyncFuture;
use apalis_core::backend::{Backend, BackendConfig, WireFormatBackend};
use apalis_core::task::task_id::RandomId;
use apalis_core::task::{ExecutionContext, Task};
use apalis_core::worker::context::WorkerContext;
use futures_sink::Sink;
use futures_util::{FutureExt, TryFutureExt};
use retryproof::job::{EnqueueError, NewJob};
use retryproof::{Clock, Conflict, JobQueue, Process};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::capture::Capture;
use crate::carried::Carried;
use crate::wall_clock;

/// Arguments as JSON, as in apalis' databases.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonCodec;

impl<T: Serialize + DeserializeOwned> Codec<T> for JsonCodec {
    type Error = serde_json::Error;
    type Compact = Vec<u8>;

    fn encode(&self, value: &T) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(value)
    }

    fn decode(&self, text: &Vec<u8>) -> Result<T, serde_json::Error> {
        serde_json::from_slice(text)
    }
}

/// The reason why a task was not pushed, or may not have been.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The queue rejected the task, or did not answer.
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
    /// The arguments, encoded by the caller, are not JSON.
    #[error(
        "a task's arguments are no JSON: {0}; push what serde_json has written, or push the arguments themselves"
    )]
    NotJson(serde_json::Error),
    /// A worker was run directly. Its process must run it.
    #[error(
        "a worker on a `WorldStorage` is run by its process: give it to `p.run_worker(…)` instead of running it"
    )]
    RunByHand,
}

/// The options of a request to the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    location: &'static Location<'static>,
    /// The Unix time in seconds at which the world began, if it has dates.
    epoch: Option<u64>,
    on_duplicate: Conflict,
}

impl Terms {
    pub(crate) fn new(location: &'static Location<'static>) -> Self {
        Self { location, epoch: None, on_duplicate: Conflict::Drop }
    }

    /// `now` is the time of the world.
    pub(crate) fn request<Args: 'static>(
        self,
        payload: String,
        pushed: &ExecutionContext,
        now: Duration,
    ) -> NewJob {
        let mut request = NewJob::encoded::<Args>(payload).called_at(self.location);
        if let Some(run_at) = pushed.run_at() {
            request.delay = match self.epoch {
                None => Duration::from_secs(run_at.saturating_sub(wall_clock::second())),
                Some(epoch) => Duration::from_secs(run_at.saturating_sub(epoch)).saturating_sub(now),
            };
        }
        Carried::of(pushed, pushed.run_at().filter(|_| self.epoch.is_some())).put_into(&mut request);
        match (pushed.idempotency_key(), pushed.task_id()) {
            (Some(key), _) => request.deduplicate(key, self.on_duplicate),
            // In databases the id is the primary key.
            (None, Some(id)) => request.deduplicate(format!("id {id}"), Conflict::Raise),
            (None, None) => request,
        }
    }
}

/// The world's queue as an apalis backend for tasks of one type: an apalis
/// [`TaskSink`](apalis_core::backend::TaskSink) for one incarnation of a process, and the backend for building
/// workers.
///
/// Tasks that are pushed together (`push_bulk`, `push_stream`, `push_all`) are enqueued together or not at all. A
/// pushed task enters the queue when it is flushed, which all these methods do. Until then it dies with the process.
///
/// ```
/// use apalis_core::backend::TaskSink;
/// use apalis_core::task::data::Data;
/// use apalis_core::worker::builder::WorkerBuilder;
/// use retryproof::World;
/// use retryproof_apalis::{ProcessExt, TaskSinkError, StorageError, WorldStorage};
///
/// async fn order(order: u32, mails: Data<WorldStorage<String>>) -> Result<(), TaskSinkError<StorageError>> {
///     mails.0.clone().push(format!("confirm {order}")).await
/// }
///
/// let world = World::fake();
/// world.process("worker", |p| {
///     let worker = WorkerBuilder::new("orders").backend(p.storage::<u32>()).data(p.storage::<String>()).build(order);
///     p.run_worker(worker);
///     p.handle(async |_mail: String| ());
/// });
/// world.enqueue(6_u32);
/// world.perform_one::<u32>().unwrap();
/// world.assert_enqueued(|mail: &String| mail == "confirm 6");
/// ```
pub struct WorldStorage<Args> {
    queue: JobQueue,
    clock: Clock,
    terms: Terms,
    pushed: Vec<NewJob>,
    flushing: Option<BoxSyncFuture<Result<(), EnqueueError>>>,
    codec: JsonCodec,
    args: PhantomData<fn() -> Args>,
}

impl<Args> fmt::Debug for WorldStorage<Args> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let args = std::any::type_name::<Args>();
        f.debug_struct("WorldStorage")
            .field("args", &args)
            .field("pushed", &self.pushed.len())
            .finish_non_exhaustive()
    }
}

impl<Args> Clone for WorldStorage<Args> {
    /// Another handle of the same queue, without pushed tasks.
    fn clone(&self) -> Self {
        let Self { terms, codec, .. } = *self;
        let (queue, clock) = (self.queue.clone(), self.clock.clone());
        let (pushed, flushing, args) = (Vec::new(), None, PhantomData);
        Self { queue, clock, terms, pushed, flushing, codec, args }
    }
}

impl<Args: 'static> WorldStorage<Args> {
    pub(crate) fn new(process: &Process, location: &'static Location<'static>) -> Self {
        let (queue, clock) = (process.queue(), process.clock());
        let (pushed, flushing, args) = (Vec::new(), None, PhantomData);
        Self { queue, clock, terms: Terms::new(location), pushed, flushing, codec: JsonCodec, args }
    }

    /// Interprets the times of tasks (`run_at_timestamp`, `run_at_time`) by a clock that showed this Unix time in
    /// seconds when the world began and that advances with the world ([`Process::clock`]).
    ///
    /// Without it they are times of the wall clock, and only the difference to the present counts: `run_after`,
    /// `run_in_seconds` and similar methods, which read the wall clock, wait that long in virtual time, in whole
    /// seconds. A fixed date (`run_at_timestamp(1_900_000_000)`) gets closer each second, so it is the same in every
    /// run only with this setting.
    #[must_use = "the storage itself stays as it is"]
    pub fn epoch(mut self, unix_seconds: u64) -> Self {
        self.terms.epoch = Some(unix_seconds);
        self
    }

    /// Rejects a task whose idempotency key another task has or had ([`EnqueueError::Locked`]), as apalis-postgres
    /// does. By default it is dropped silently, as in apalis-sqlite and `MemoryStorage`.
    #[must_use = "the storage itself stays as it is"]
    pub fn refuse_duplicates(mut self) -> Self {
        self.terms.on_duplicate = Conflict::Raise;
        self
    }
}

impl<Args: 'static> Sink<Task<Vec<u8>>> for WorldStorage<Args> {
    type Error = StorageError;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), StorageError>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(mut self: Pin<&mut Self>, task: Task<Vec<u8>>) -> Result<(), StorageError> {
        let (args, pushed) = task.take();
        let _: IgnoredAny = serde_json::from_slice(&args).map_err(StorageError::NotJson)?;
        let payload = String::from_utf8(args).expect("JSON is UTF-8");
        let request = self.terms.request::<Args>(payload, &pushed, self.clock.now());
        self.pushed.push(request);
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), StorageError>> {
        let this = &mut *self;
        if this.flushing.is_none() {
            let mut pushed = std::mem::take(&mut this.pushed);
            let flushing = match pushed.len() {
                0 => return Poll::Ready(Ok(())),
                1 => this.queue.enqueue_new(pushed.remove(0)).map_ok(drop).boxed(),
                _ => this.queue.enqueue_new_bulk::<Args>(pushed).map_ok(drop).boxed(),
            };
            this.flushing = Some(flushing.into());
        }
        let flushing = this.flushing.as_mut().expect("it was put there");
        let flushed = std::task::ready!(flushing.poll_unpin(cx));
        this.flushing = None;
        Poll::Ready(flushed.map_err(StorageError::Enqueue))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), StorageError>> {
        self.poll_flush(cx)
    }
}

impl<Args> Backend for WorldStorage<Args> {
    type Task = Task<Vec<u8>>;
    type Error = StorageError;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), StorageError>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        _: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Task<Vec<u8>>, StorageError>>> {
        Poll::Ready(Some(Err(StorageError::RunByHand)))
    }

    fn poll_close(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), StorageError>> {
        Poll::Ready(Ok(()))
    }
}

impl<Args> BackendConfig for WorldStorage<Args> {
    type Args = Args;
    type Id = RandomId;
    type Kind = Durable;
    type Config = ();
    type Layer = Capture<Args>;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, worker: &mut WorkerContext) -> Capture<Args> {
        Capture::new(worker.clone())
    }
}

impl<Args> WireFormatBackend for WorldStorage<Args> {
    type Codec = JsonCodec;
    type Compact = Vec<u8>;

    fn codec(&self) -> &JsonCodec {
        &self.codec
    }
}
