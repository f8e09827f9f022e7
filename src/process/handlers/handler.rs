//! Handlers, and their options.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::attempt::{Attempt, Handler, Wrappers};
use super::layers::Layers;
use crate::engine::state::{KindOptions, Shared};
use crate::process::Process;
use crate::search::choice::{Name, Place};
use crate::system::job::{
    Backoff, Decision, Delivery, FailedAttempt, JobResult, JobView, Unique, short_kind,
};

/// Decides what happens to a failed job.
pub(in crate::process) type Decide = Box<dyn Fn(&FailedAttempt<'_>) -> Decision>;

/// A hook that gets a job.
pub(in crate::process) type HearOfJob = Box<dyn Fn(&JobView)>;

struct Async<J, F> {
    handler: F,
    takes: PhantomData<fn(J)>,
}

impl<J, R, F> Handler for Async<J, F>
where
    J: DeserializeOwned + 'static,
    R: JobResult + 'static,
    F: AsyncFn(J) -> R + 'static,
{
    fn start(self: Rc<Self>, _: u32, payload: &str, _: Wrappers) -> Result<Attempt, serde_json::Error> {
        let job = serde_json::from_str(payload)?;
        Ok(Box::pin(async move { (self.handler)(job).await.into_result() }))
    }
}

/// A handler and the kind that it handles.
pub(crate) struct Registration {
    pub(crate) kind: &'static str,
    /// Another name that jobs of this kind may have.
    pub(crate) alias: Option<&'static str>,
    /// Whether it also handles a kind whose type has the same name in another module: another version of the type.
    pub(in crate::process) in_any_module: bool,
    pub(in crate::process) place: Place,
    pub(in crate::process) handler: Rc<dyn Handler>,
    pub(in crate::process) layers: Layers,
    pub(in crate::process) decide: Option<Decide>,
    pub(in crate::process) exhausted: Option<HearOfJob>,
    pub(in crate::process) unique: Option<Arc<Unique>>,
    /// For an iterable job: the number of items after which it saves its cursor.
    pub(in crate::process) save_every: Option<Rc<Cell<u32>>>,
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registered")
            .field("kind", &self.kind)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl Registration {
    pub(crate) fn asynchronous<J, R, F>(kind: &'static str, place: Place, handler: F) -> Self
    where
        J: DeserializeOwned + 'static,
        R: JobResult + 'static,
        F: AsyncFn(J) -> R + 'static,
    {
        Self::new(kind, place, Rc::new(Async { handler, takes: PhantomData::<fn(J)> }))
    }

    pub(in crate::process) fn new(kind: &'static str, place: Place, handler: Rc<dyn Handler>) -> Self {
        let layers = Layers::default();
        let (alias, decide, exhausted, unique, save_every) = (None, None, None, None, None);
        let in_any_module = false;
        Self { kind, alias, in_any_module, place, handler, layers, decide, exhausted, unique, save_every }
    }

    pub(crate) fn handles(&self, kind: &str) -> bool {
        let is_version = || self.in_any_module && short_kind(self.kind) == short_kind(kind);
        self.kind == kind || self.alias == Some(kind) || is_version()
    }

    /// Returns the names that the jobs may have.
    pub(in crate::process) fn kinds(&self) -> Vec<&'static str> {
        std::iter::once(self.kind).chain(self.alias).collect()
    }
}

/// The options of a kind of job.
///
/// ```
/// use std::time::Duration;
/// use retryproof::{Backoff, World};
///
/// retryproof::check(async |world: &World| {
///     world.durable("done", 0_u32);
///     world.process("worker", |p| {
///         let done = p.durable::<u32>("done");
///         p.handle(async move |_job: u32| done.set(1)).max_retries(3).backoff(Backoff::Constant(Duration::from_secs(5)));
///     });
///     world.enqueue(7_u32);
///     world.settle().await;
/// });
/// ```
#[derive(Debug)]
pub struct HandlerOptions<'p> {
    pub(in crate::process) process: &'p Process,
    pub(in crate::process) index: usize,
}

impl<'p> HandlerOptions<'p> {
    pub(in crate::process) fn new(process: &'p Process, index: usize) -> Self {
        Self { process, index }
    }

    pub(in crate::process) fn kind(&self) -> &'static str {
        self.process.handlers.borrow()[self.index].kind
    }

    pub(in crate::process) fn shared(&self) -> &Shared {
        self.process.link.shared()
    }

    pub(in crate::process) fn register(&self, change: impl FnOnce(&mut Registration)) {
        change(&mut self.process.handlers.borrow_mut()[self.index]);
    }

    pub(in crate::process) fn set(&self, change: impl FnOnce(&mut KindOptions)) {
        let registered = &self.process.handlers.borrow()[self.index];
        let mut state = self.process.link.shared().state();
        change(state.options_mut(registered.kind));
        if let Some(alias) = registered.alias {
            *state.options_mut(alias) = state.options(registered.kind);
        }
    }

    /// Also handles jobs with this name (see [`World::enqueue_raw`](crate::World::enqueue_raw)), as a program in
    /// another language, or an older version of this one, would enqueue them.
    pub fn name(self, kind: impl Into<Name>) -> Self {
        let kind = kind.into().as_str();
        self.process.handlers.borrow_mut()[self.index].alias = Some(kind);
        let mut state = self.process.link.shared().state();
        *state.options_mut(kind) = state.options(self.process.handlers.borrow()[self.index].kind);
        drop(state);
        self
    }

    /// Sets how many times a failed job is retried before it is moved to the dead set. Defaults to 25. With 0, the job
    /// is moved to the dead set at its first failure.
    pub fn max_retries(self, retries: u32) -> Self {
        self.set(|options| options.retry.max_retries = Some(retries));
        self
    }

    /// Sets how long a failed job waits before it is retried. Defaults to [`Backoff::Sidekiq`].
    pub fn backoff(self, backoff: Backoff) -> Self {
        self.set(|options| options.retry.backoff = backoff);
        self
    }

    /// Sets whether a job whose worker crashes is redelivered. Defaults to [`Delivery::AtLeastOnce`].
    pub fn delivery(self, delivery: Delivery) -> Self {
        self.set(|options| options.delivery = delivery);
        self
    }

    /// Sets the number of times that the queue delivers a job before it moves the job to the dead set, however its attempts
    /// end (SQS: `maxReceiveCount`). Without a limit, a job that crashes its workers is redelivered forever
    /// ([`World::explore_poison_jobs`](crate::World::explore_poison_jobs)).
    ///
    /// # Panics
    /// Panics if `receives` is 0.
    pub fn max_receives(self, receives: u32) -> Self {
        assert!(receives > 0, "a job that is never received never runs; `max_receives` needs at least 1");
        self.set(|options| options.max_receives = Some(receives));
        self
    }

    /// Sets how long a worker has a job from its receipt (SQS: the visibility timeout). When that time is over, the job is
    /// delivered again, although the attempt still runs, unless the attempt has extended its lease
    /// ([`JobQueue::extend_lease`](crate::JobQueue::extend_lease)). Unless set, a worker has its job for as long as it lives,
    /// and for a minute after that.
    ///
    /// # Panics
    /// Panics if `lease` is zero.
    pub fn lease(self, lease: Duration) -> Self {
        assert!(
            !lease.is_zero(),
            "a lease of no time is over before the job begins; give it at least a second"
        );
        self.set(|options| options.lease = Some(lease));
        self
    }

    /// Neither retries a failed job nor moves it to the dead set. Death handlers are called.
    pub fn discard_on_failure(self) -> Self {
        self.set(|options| options.retry.max_retries = None);
        self
    }

    /// Limits retries by the time since the first failure, instead of by their number.
    pub fn retry_for(self, most: Duration) -> Self {
        self.set(|options| options.retry.retry_for = Some(most));
        self
    }

    /// Sets the queue of the jobs of this kind. Defaults to `default`. See [`Process::queues`].
    pub fn queue(self, queue: impl Into<Name>) -> Self {
        let queue = queue.into();
        self.set(|options| options.queue = queue);
        self
    }

    /// Registers a function that decides by the error what happens to a failed job.
    ///
    /// ```
    /// use retryproof::job::JobState;
    /// use retryproof::{Decision, ServiceError, World};
    ///
    /// let world = World::fake();
    /// world.process("worker", |p| {
    ///     p.handle(async |age: u32| age.checked_sub(18).ok_or("too young")).decide(|failed| {
    ///         match failed.downcast_ref::<&str>() {
    ///             Some(&"too young") => Decision::Discard,
    ///             _ => Decision::Retry,
    ///         }
    ///     });
    /// });
    /// world.enqueue(7_u32);
    /// assert_eq!(world.drain_all().run().unwrap().discarded, 1);
    /// ```
    pub fn decide(self, decide: impl Fn(&FailedAttempt<'_>) -> Decision + 'static) -> Self {
        self.process.handlers.borrow_mut()[self.index].decide = Some(Box::new(decide));
        self
    }

    /// Registers a hook that is called when the retries of a job are used up, before it is moved to the dead set.
    pub fn on_exhausted(self, hear: impl Fn(&JobView) + 'static) -> Self {
        self.process.handlers.borrow_mut()[self.index].exhausted = Some(Box::new(hear));
        self
    }
}
