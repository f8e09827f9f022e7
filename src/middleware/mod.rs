//! Layers for the stacks around perform and around enqueue ([`Process::layer`](crate::Process::layer),
//! [`HandlerOptions::layer`](crate::HandlerOptions::layer), [`Process::enqueue_layer`](crate::Process::enqueue_layer)).
//! They use only what custom layers have, too.
//!
//! * [`ReportFailures`] reports failures to the error tracker, and [`Transient`] failures only when the job dies of
//!   them.
//! * [`RequestContext`] carries a tenant or a locale from the caller to the job.
//! * [`ClearThreadLocals`] clears thread-locals before the next job on the same thread.
//!
//! # A custom layer
//!
//! ```
//! use std::task::{Context, Poll};
//! use retryproof::middleware::Perform;
//! use retryproof::{Durable, World};
//! use tower::{Layer, Service};
//!
//! #[derive(Clone)]
//! struct Traced<S> {
//!     inner: S,
//!     log: Durable<Vec<String>>,
//! }
//!
//! impl<S: Service<Perform>> Service<Perform> for Traced<S> {
//!     type Response = S::Response;
//!     type Error = S::Error;
//!     type Future = S::Future;
//!
//!     fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
//!         self.inner.poll_ready(cx)
//!     }
//!
//!     fn call(&mut self, request: Perform) -> S::Future {
//!         let line = format!("{} {}, attempt {}", request.job.kind, request.job.payload, request.job.attempts);
//!         self.log.update(|log| log.push(line));
//!         self.inner.call(request)
//!     }
//! }
//!
//! let world = World::fake();
//! let log = world.durable("log", Vec::<String>::new());
//! world.process("worker", |p| {
//!     let log = p.durable::<Vec<String>>("log");
//!     p.layer(tower::layer::layer_fn(move |inner| Traced { inner, log: log.clone() }));
//!     p.handle(async |_job: u32| ());
//! });
//! world.enqueue(7_u32);
//! world.drain_all().run().unwrap();
//! assert_eq!(log.get(), ["u32 7, attempt 1"]);
//! ```

mod context;
mod failures;
mod thread_locals;

pub use crate::process::{
    EnqueueService, EnqueueServiceFuture, Perform, PerformFuture, PerformService, Retries,
};
pub use context::{RequestContext, RequestContextFuture, RequestContextService};
pub use failures::{ReportFailures, ReportFailuresService, Transient, TransientFailures};
pub use thread_locals::{ClearThreadLocals, ClearThreadLocalsFuture, ClearThreadLocalsService};
