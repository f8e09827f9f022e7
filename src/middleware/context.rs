//! Request context, which travels from the caller that enqueues a job to the job, beside the payload.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::LocalKey;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tower_layer::Layer;
use tower_service::Service;

use crate::process::{NewJob, Perform};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Carries a thread-local, such as the tenant or the locale of a request, to the jobs that the request enqueues. It is
/// a layer around enqueue, which stores the value beside the payload, and around perform, which restores it. A process
/// that enqueues and performs jobs needs both.
///
/// The value is in the queue with the job, so a crash or a retry does not lose it. It belongs to an attempt, not to the
/// thread: it is only set while that attempt is polled, and attempts that overlap do not see each other's values. A job
/// without a value sees none.
///
///
/// ```
/// use std::cell::RefCell;
/// use retryproof::{World, middleware::RequestContext};
///
/// thread_local! {
///     static TENANT: RefCell<Option<String>> = const { RefCell::new(None) };
/// }
///
/// let world = World::fake();
/// let seen = world.durable("seen", Vec::<Option<String>>::new());
/// let tenant = RequestContext::of_thread_local("tenant", &TENANT);
/// world.enqueue_layer(tenant.clone());
/// world.process("worker", move |p| {
///     let seen = p.durable::<Vec<Option<String>>>("seen");
///     p.layer(tenant.clone());
///     p.handle(async move |_job: u32| seen.update(|seen| seen.push(TENANT.with_borrow(Clone::clone))));
/// });
/// TENANT.set(Some("acme".to_owned()));
/// world.enqueue(1_u32);
/// TENANT.set(None);
/// world.enqueue(2_u32);
/// world.drain_all().run().unwrap();
/// assert_eq!(seen.get(), [Some("acme".to_owned()), None]);
/// ```
pub struct RequestContext<T> {
    name: &'static str,
    slot: Slot<T>,
}

/// Replaces the value on the current thread, and returns the old one.
type Slot<T> = Arc<dyn Fn(Option<T>) -> Option<T> + Send + Sync>;

impl<T> Clone for RequestContext<T> {
    fn clone(&self) -> Self {
        Self { name: self.name, slot: self.slot.clone() }
    }
}

impl<T> fmt::Debug for RequestContext<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestContext").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<T: 'static> RequestContext<T> {
    /// Carries a value under this name. `replace` sets a value on the current thread and returns the old one, like
    /// [`RefCell::replace`]. It must not panic.
    pub fn new(name: &'static str, replace: impl Fn(Option<T>) -> Option<T> + Send + Sync + 'static) -> Self {
        Self { name, slot: Arc::new(replace) }
    }

    /// Carries a thread-local under this name.
    pub fn of_thread_local(name: &'static str, key: &'static LocalKey<RefCell<Option<T>>>) -> Self {
        Self::new(name, move |value| key.replace(value))
    }
}

impl<S, T> Layer<S> for RequestContext<T> {
    type Service = RequestContextService<S, T>;

    fn layer(&self, inner: S) -> RequestContextService<S, T> {
        RequestContextService { inner, context: self.clone() }
    }
}

/// The service of a [`RequestContext`].
pub struct RequestContextService<S, T> {
    inner: S,
    context: RequestContext<T>,
}

impl<S: Clone, T> Clone for RequestContextService<S, T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), context: self.context.clone() }
    }
}

impl<S: fmt::Debug, T> fmt::Debug for RequestContextService<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InContext").field("inner", &self.inner).field("context", &self.context).finish()
    }
}

impl<S, T> Service<Perform> for RequestContextService<S, T>
where
    S: Service<Perform, Error: Into<BoxError>>,
    T: DeserializeOwned + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = RequestContextFuture<S::Future, T>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Perform) -> Self::Future {
        let name = self.context.name;
        let carried = request.context.get(name).cloned();
        let (slot, own) = (self.context.slot.clone(), carried.clone());
        request.around_blocking(move |run| {
            // The value decoded before, so this cannot fail.
            let mut value = own.clone().and_then(|own| serde_json::from_value(own).ok());
            let outer = slot(value.take());
            let _in_place = ContextGuard { own: &mut value, outer, slot: &slot };
            run();
        });
        let carried = carried.map(serde_json::from_value).transpose();
        let (value, error) = match carried {
            Ok(value) => (value, None),
            Err(error) => (None, Some(format!("the request context `{name}` does not decode: {error}"))),
        };
        let mut future = RequestContextFuture { inner: None, value, error, context: self.context.clone() };
        if future.error.is_none() {
            let inner = future.within(|_| self.inner.call(request));
            future.inner = Some(Box::pin(inner));
        }
        future
    }
}

impl<S, T> Service<NewJob> for RequestContextService<S, T>
where
    S: Service<NewJob>,
    T: Serialize,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: NewJob) -> S::Future {
        let value = (self.context.slot)(None);
        let carried = value.as_ref().map(|value| serde_json::to_value(value).unwrap_or(Value::Null));
        (self.context.slot)(value);
        request.context.extend(carried.map(|carried| (self.context.name.to_owned(), carried)));
        self.inner.call(request)
    }
}

/// The future of [`RequestContextService`] around perform.
pub struct RequestContextFuture<F, T> {
    inner: Option<Pin<Box<F>>>,
    /// The attempt's own value, while it is not set.
    value: Option<T>,
    /// The error of decoding the value.
    error: Option<String>,
    context: RequestContext<T>,
}

impl<F, T> fmt::Debug for RequestContextFuture<F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithContext").field("context", &self.context).finish_non_exhaustive()
    }
}

/// Restores the previous value, no matter how the code in between ends.
struct ContextGuard<'f, T> {
    own: &'f mut Option<T>,
    outer: Option<T>,
    slot: &'f Slot<T>,
}

impl<T> Drop for ContextGuard<'_, T> {
    fn drop(&mut self) {
        // A value that the attempt itself has set stays with the attempt.
        *self.own = (self.slot)(self.outer.take());
    }
}

impl<F, T> RequestContextFuture<F, T> {
    /// Runs `code` with the attempt's value set.
    fn within<R>(&mut self, code: impl FnOnce(&mut Option<Pin<Box<F>>>) -> R) -> R {
        let outer = (self.context.slot)(self.value.take());
        let _in_place = ContextGuard { own: &mut self.value, outer, slot: &self.context.slot };
        code(&mut self.inner)
    }
}

// The future is boxed, and the other parts are only moved while they are not borrowed.
impl<F, T> Unpin for RequestContextFuture<F, T> {}

impl<F, T, R, E> Future for RequestContextFuture<F, T>
where
    F: Future<Output = Result<R, E>>,
    E: Into<BoxError>,
{
    type Output = Result<R, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Err(error.into()));
        }
        self.within(|inner| {
            let running = inner.as_mut().expect("a future that has ended is not polled again");
            let polled = running.as_mut().poll(cx);
            if polled.is_ready() {
                *inner = None;
            }
            polled.map_err(Into::into)
        })
    }
}

impl<F, T> Drop for RequestContextFuture<F, T> {
    fn drop(&mut self) {
        if self.inner.is_some() {
            self.within(|inner| *inner = None);
        }
    }
}
