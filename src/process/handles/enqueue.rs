//! Layers around enqueue, and the requests that go through them.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::future::{Future, ready};
use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use serde_json::Value;
use tower_layer::Layer;
use tower_service::Service;

use super::pending::{EnqueueError, EnqueueResult, PendingJob, without_waiting};
use crate::engine::link::Link;
use crate::engine::state::{DedupKey, IncomingJob, Keys, Shared, lock};
use crate::process::Process;
use crate::search::choice::{Name, Place};
use crate::system::job::{Conflict, JobId, JobKey, JobOverrides, kind_of};

/// The error of a layer, boxed as in tower.
type BoxError = Box<dyn Error + Send + Sync>;

/// A request to enqueue a job. It goes through the layers into the queue.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewJob {
    /// The path of the job's type.
    pub kind: &'static str,
    /// The payload as JSON. Layers may change it.
    pub payload: String,
    /// The delay until the job is ready.
    pub delay: Duration,
    /// Data in addition to the payload. Layers around perform can read it
    /// ([`Perform::context`](crate::middleware::Perform::context)).
    pub context: BTreeMap<String, Value>,
    /// A key under which the job is accepted once.
    once: Option<DedupKey>,
    /// Settings that override those of its kind.
    more: Option<Box<JobOverrides>>,
    pub(in crate::process) place: Place,
    /// If this is set, the request is collected here instead of being enqueued.
    stage: Option<Stage>,
}

impl NewJob {
    /// Makes a request for a job of the kind of `J` whose payload is JSON already, for
    /// [`JobQueue::enqueue_new`](crate::JobQueue::enqueue_new).
    #[track_caller]
    pub fn encoded<J: 'static>(payload: String) -> Self {
        Self::of_kind(kind_of::<J>(), payload, Place::caller())
    }

    /// Makes a request for a job with a name and a raw payload, like that of another queue's client.
    /// [`Process::handle_raw`](crate::Process::handle_raw) handles it. See [`JobKey`] for an example.
    #[track_caller]
    pub fn named(kind: impl Into<Name>, payload: impl Into<String>) -> Self {
        Self::of_kind(kind.into().as_str(), payload.into(), Place::caller())
    }

    fn of_kind(kind: &'static str, payload: String, place: Place) -> Self {
        let (delay, context) = (Duration::ZERO, BTreeMap::new());
        Self { kind, payload, delay, context, once: None, more: None, place, stage: None }
    }

    /// Sets the place that the report shows for the enqueue. For adapters, whose own code is of no interest there.
    pub fn called_at(mut self, location: &'static Location<'static>) -> Self {
        self.place = Place::of(location);
        self
    }

    /// Accepts the job only if no job of its kind was ever accepted under this key, whether that job has ended or not.
    /// A later job is dropped ([`Conflict::Drop`]), and its caller gets the id of the first, or it is refused
    /// ([`Conflict::Raise`]).
    ///
    /// # Panics
    /// Panics with any other [`Conflict`], because a job that has ended cannot be replaced or waited for.
    pub fn deduplicate(mut self, key: impl Into<String>, on_conflict: Conflict) -> Self {
        assert!(
            matches!(on_conflict, Conflict::Drop | Conflict::Raise),
            "a second job under a key is dropped or refused; use `Conflict::Drop` or `Conflict::Raise`"
        );
        let refused = on_conflict == Conflict::Raise;
        self.once = Some(DedupKey { key: key.into().into_boxed_str(), refused });
        self
    }

    fn more(&mut self) -> &mut JobOverrides {
        self.more.get_or_insert_default()
    }

    /// Allows only one job with this key at a time, regardless of its kind. This bypasses the locks of unique jobs.
    pub fn key(mut self, key: JobKey) -> Self {
        self.more().key = Some(key);
        self
    }

    /// Sets the number of retries of this job, regardless of its kind
    /// ([`HandlerOptions::max_retries`](crate::HandlerOptions::max_retries)).
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.more().max_retries = Some(retries);
        self
    }

    /// Runs only one job with this name at a time, regardless of their kinds: from the time at which a worker takes it
    /// until its attempt or its lease ends. A job that waits for a retry lets the others run first.
    pub fn serial(mut self, name: impl Into<Box<str>>) -> Self {
        self.more().serial = Some(name.into());
        self
    }
}

/// Requests that came through the layers and will be enqueued together.
type Stage = Arc<Mutex<Vec<NewJob>>>;

/// The service that a layer around enqueue wraps: the inner layers, and finally the queue. It is always ready.
pub struct EnqueueService {
    inner: Box<dyn Stack + Send>,
}

/// The future of an [`EnqueueService`].
pub struct EnqueueServiceFuture {
    inner: EnqueueResult,
}

impl fmt::Debug for EnqueueService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnqueueService").finish_non_exhaustive()
    }
}

impl fmt::Debug for EnqueueServiceFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnqueueServiceFuture").finish_non_exhaustive()
    }
}

impl Clone for EnqueueService {
    fn clone(&self) -> Self {
        Self { inner: self.inner.cloned() }
    }
}

impl Service<NewJob> for EnqueueService {
    type Response = JobId;
    type Error = EnqueueError;
    type Future = EnqueueServiceFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EnqueueError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: NewJob) -> EnqueueServiceFuture {
        EnqueueServiceFuture { inner: self.inner.call(request) }
    }
}

impl Future for EnqueueServiceFuture {
    type Output = Result<JobId, EnqueueError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.inner.as_mut().poll(cx)
    }
}

/// The kind, payload, delay and context of a job.
pub(crate) type JobParts = (&'static str, String, Duration, Option<Box<str>>);

/// Converts a request of the test body, which bypasses the layers.
pub(crate) fn incoming(request: NewJob, mut keys: Keys) -> IncomingJob {
    let PendingJob { kind, payload, delay, context, once, more, .. } = PendingJob::of(request);
    keys.once = once;
    IncomingJob { kind, payload, delay, keys, context, more, serial: None }
}

/// A service around enqueue, without its type.
trait Stack {
    fn cloned(&self) -> Box<dyn Stack + Send>;
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EnqueueError>>;
    fn call(&mut self, request: NewJob) -> EnqueueResult;
}

struct Layered<S>(S);

impl<S> Stack for Layered<S>
where
    S: Service<NewJob, Response = JobId, Error: Into<BoxError>, Future: Send + 'static>,
    S: Clone + Send + 'static,
{
    fn cloned(&self) -> Box<dyn Stack + Send> {
        Box::new(Self(self.0.clone()))
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EnqueueError>> {
        self.0.poll_ready(cx).map_err(|error| of_layer("a job", error.into()))
    }

    fn call(&mut self, request: NewJob) -> EnqueueResult {
        let kind = request.kind;
        let enqueueing = self.0.call(request);
        Box::pin(async move { enqueueing.await.map_err(|error| of_layer(kind, error.into())) })
    }
}

fn of_layer(kind: &str, error: BoxError) -> EnqueueError {
    match error.downcast() {
        Ok(error) => *error,
        Err(error) => EnqueueError::Layer { kind: kind.to_owned(), reason: error.to_string() },
    }
}

/// The innermost service, which is the queue.
#[derive(Clone)]
struct Innermost(Link);

impl Stack for Innermost {
    fn cloned(&self) -> Box<dyn Stack + Send> {
        Box::new(self.clone())
    }

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), EnqueueError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: NewJob) -> EnqueueResult {
        match request.stage.take() {
            None => Box::pin(PendingJob::of(request).enqueue(self.0.clone())),
            Some(stage) => {
                let mut staged = lock(&stage);
                let alike = |other: &&NewJob| other.kind == request.kind && other.payload == request.payload;
                let before = staged.iter().filter(alike).count() as u32;
                let id = self.0.shared().state().queue.id_to_come(request.kind, &request.payload, before);
                staged.push(request);
                Box::pin(ready(Ok(id)))
            }
        }
    }
}

type Wrap = Box<dyn Fn(EnqueueService) -> EnqueueService + Send>;

/// The layers around the enqueues of one process, or of the test body.
#[derive(Clone, Default)]
pub(crate) struct EnqueueLayers {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    layers: Vec<Wrap>,
    built: Option<EnqueueService>,
}

impl fmt::Debug for EnqueueLayers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EnqueueLayers").field(&lock(&self.inner).layers.len()).finish()
    }
}

impl EnqueueLayers {
    pub(crate) fn push<L>(&self, layer: L)
    where
        L: Layer<EnqueueService> + Send + 'static,
        L::Service: Service<NewJob, Response = JobId, Error: Into<BoxError>, Future: Send + 'static>,
        L::Service: Clone + Send + 'static,
    {
        let mut inner = lock(&self.inner);
        inner.layers.push(Box::new(move |s| EnqueueService { inner: Box::new(Layered(layer.layer(s))) }));
        inner.built = None;
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.inner).layers.is_empty()
    }

    /// Returns the layers around the queue, with the first one added on the outside, or `None` if there are no layers.
    pub(in crate::process) fn around(&self, link: &Link) -> Option<EnqueueService> {
        let mut inner = lock(&self.inner);
        let Inner { layers, built } = &mut *inner;
        if layers.is_empty() {
            return None;
        }
        let built = built.get_or_insert_with(|| {
            let queue = EnqueueService { inner: Box::new(Innermost(link.clone())) };
            layers.iter().rev().fold(queue, |s, l| l(s))
        });
        Some(built.clone())
    }

    /// Sends a job of the test body through the layers. Returns the requests that came out, and the id that the layers
    /// returned.
    ///
    /// # Errors
    /// Returns an error if a layer fails or waits.
    #[track_caller]
    pub(crate) fn send_given(
        &self,
        shared: &Arc<Shared>,
        kind: &'static str,
        payload: String,
        delay: Duration,
    ) -> Result<(JobId, Vec<JobParts>), EnqueueError> {
        let link = Link::Test(shared.clone());
        let stage = Stage::default();
        let place = Place::caller();
        let job = PendingJob { kind, payload, delay, at: None, context: None, once: None, more: None, place };
        let request = NewJob { stage: Some(stage.clone()), ..job.request(Duration::ZERO) };
        let service = self.around(&link).expect("the caller checked that there are layers");
        let id = run_blocking(kind, enqueue_through(service, request))?;
        let staged = std::mem::take(&mut *lock(&stage));
        let given = staged.into_iter().map(PendingJob::of).map(|p| (p.kind, p.payload, p.delay, p.context));
        Ok((id, given.collect()))
    }

    /// Drops the layers, because a layer may hold a handle that holds the layers.
    pub(crate) fn let_go(&self) {
        let former = std::mem::take(&mut *lock(&self.inner));
        drop(former);
    }
}

/// Sends a job through layers.
pub(in crate::process) fn enqueue_through(mut service: EnqueueService, request: NewJob) -> EnqueueResult {
    Box::pin(async move {
        std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
        service.call(request).await
    })
}

/// Sends jobs through layers one after another, and collects what comes out.
pub(in crate::process) async fn stage(
    service: EnqueueService,
    requests: Vec<NewJob>,
) -> Result<Vec<NewJob>, EnqueueError> {
    let stage = Stage::default();
    for request in requests {
        let request = NewJob { stage: Some(stage.clone()), ..request };
        enqueue_through(service.clone(), request).await?;
    }
    let staged = std::mem::take(&mut *lock(&stage));
    Ok(staged)
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs a future that only wakes itself to completion, from blocking code.
///
/// # Errors
/// Returns an error if the future waits for something else.
pub(in crate::process) fn run_blocking<T>(
    kind: &'static str,
    enqueueing: impl Future<Output = Result<T, EnqueueError>>,
) -> Result<T, EnqueueError> {
    let flag = Arc::new(Flag::default());
    let waker = Waker::from(flag.clone());
    let mut enqueueing = pin!(enqueueing);
    loop {
        match without_waiting(|| enqueueing.as_mut().poll(&mut Context::from_waker(&waker))) {
            Poll::Ready(result) => return result,
            Poll::Pending if flag.0.swap(false, Ordering::Relaxed) => {}
            Poll::Pending => return Err(EnqueueError::LayerWaits { kind: kind.to_owned() }),
        }
    }
}

impl PendingJob {
    /// Converts the job to the request that the layers get.
    pub(in crate::process) fn request(self, now: Duration) -> NewJob {
        let delay = self.delay(now);
        let PendingJob { kind, payload, context, once, more, place, .. } = self;
        let context = context.and_then(|context| serde_json::from_str(&context).ok()).unwrap_or_default();
        NewJob { kind, payload, delay, context, once, more, place, stage: None }
    }

    /// Converts the request that comes out of the layers.
    pub(in crate::process) fn of(request: NewJob) -> Self {
        let NewJob { kind, payload, delay, context, once, more, place, .. } = request;
        let context = match context.is_empty() {
            true => None,
            false => serde_json::to_string(&context).ok().map(String::into_boxed_str),
        };
        Self { kind, payload, delay, at: None, context, once, more, place }
    }
}

impl Process {
    /// Adds a [`tower::Layer`](Layer) around each job that this process enqueues through [`Process::queue`]. The first
    /// layer added is the outermost. This is the same in `check`, in drains, and in fake and inline mode.
    ///
    /// The request of the layer's service is the job ([`NewJob`]), and its response is the job's id. An error is
    /// returned to the caller. Handles are `Send`, so these services and their futures must be `Send`, too. The layer also
    /// applies to queues that the process handed out earlier.
    pub fn enqueue_layer<L>(&self, layer: L) -> &Self
    where
        L: Layer<EnqueueService> + Send + 'static,
        L::Service: Service<NewJob, Response = JobId, Error: Into<BoxError>, Future: Send + 'static>,
        L::Service: Clone + Send + 'static,
    {
        self.enqueue_layers.push(layer);
        self
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.enqueue_layers.let_go();
        self.threads.end(&self.link.shared().sleepers);
    }
}
