//! Clears thread-locals before the next job on the same thread.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use crate::process::Perform;

/// Clears thread-locals after each attempt, no matter whether it ends well, with an error, or by a crash of its
/// process. A layer around perform.
///
/// It does not separate attempts that overlap. Use [`RequestContext`](super::RequestContext) for that. A process with
/// this layer has no fresh copies, to which second deliveries could go: see
/// [`Perform::keeps_thread_locals`](super::Perform::keeps_thread_locals).
///
/// ```
/// use std::cell::Cell;
/// use retryproof::{World, middleware::ClearThreadLocals};
///
/// thread_local! {
///     static UNIT: Cell<&'static str> = const { Cell::new("Celsius") };
/// }
///
/// let world = World::fake();
/// let shown = world.durable("shown", Vec::<&str>::new());
/// world.process("worker", |p| {
///     let shown = p.durable::<Vec<&str>>("shown");
///     p.layer(ClearThreadLocals::new(|| UNIT.set("Celsius")));
///     p.handle(async move |american: bool| {
///         if american {
///             UNIT.set("Fahrenheit");
///         }
///         shown.update(|shown| shown.push(UNIT.get()));
///     });
/// });
/// world.enqueue_bulk([true, false]);
/// world.drain_all().run().unwrap();
/// assert_eq!(shown.get(), ["Fahrenheit", "Celsius"]);
/// ```
#[derive(Clone)]
pub struct ClearThreadLocals {
    clear: Arc<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for ClearThreadLocals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClearThreadLocals").finish_non_exhaustive()
    }
}

impl ClearThreadLocals {
    /// Makes a layer that calls `clear` after each attempt, on its thread. `clear` must not panic.
    pub fn new(clear: impl Fn() + Send + Sync + 'static) -> Self {
        Self { clear: Arc::new(clear) }
    }
}

impl<S> Layer<S> for ClearThreadLocals {
    type Service = ClearThreadLocalsService<S>;

    fn layer(&self, inner: S) -> ClearThreadLocalsService<S> {
        ClearThreadLocalsService { inner, clear: self.clone() }
    }
}

/// The service of [`ClearThreadLocals`].
#[derive(Clone, Debug)]
pub struct ClearThreadLocalsService<S> {
    inner: S,
    clear: ClearThreadLocals,
}

impl<S: Service<Perform>> Service<Perform> for ClearThreadLocalsService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = ClearThreadLocalsFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Perform) -> Self::Future {
        request.keeps_thread_locals();
        let clear = self.clear.clear.clone();
        request.around_blocking(move |run| {
            let _clearing = ClearGuard(&*clear);
            run();
        });
        // Created before the call, so that it also clears if the call panics.
        let mut clearing = ClearThreadLocalsFuture { inner: None, clear: Some(self.clear.clone()) };
        clearing.inner = Some(Box::pin(self.inner.call(request)));
        clearing
    }
}

/// Clears on drop, no matter how the code in between ends.
struct ClearGuard<'c>(&'c dyn Fn());

impl Drop for ClearGuard<'_> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// The future of [`ClearThreadLocalsService`].
#[derive(Debug)]
pub struct ClearThreadLocalsFuture<F> {
    inner: Option<Pin<Box<F>>>,
    /// `None` if it has cleared.
    clear: Option<ClearThreadLocals>,
}

impl<F> ClearThreadLocalsFuture<F> {
    fn end(&mut self) {
        // Drop the future first, because its destructors may leave something behind.
        self.inner = None;
        if let Some(layer) = self.clear.take() {
            (layer.clear)();
        }
    }
}

impl<F: Future> Future for ClearThreadLocalsFuture<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let inner = self.inner.as_mut().expect("a future that has ended is not polled again");
        let polled = inner.as_mut().poll(cx);
        if polled.is_ready() {
            self.end();
        }
        polled
    }
}

impl<F> Drop for ClearThreadLocalsFuture<F> {
    fn drop(&mut self) {
        self.end();
    }
}
