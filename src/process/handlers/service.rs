//! Any `tower::Service` as a handler.

use std::future::poll_fn;

use serde::de::DeserializeOwned;
use tower_service::Service;

use super::handler::HandlerOptions;
use crate::process::Process;

impl Process {
    /// Registers a [`tower::Service`](Service) as the handler for the jobs of one kind. Each attempt gets a clone of
    /// it, waits until the clone is ready, and calls it with the job. The response is dropped. An error fails the
    /// attempt.
    ///
    /// ```
    /// use retryproof::World;
    /// use tower::{ServiceBuilder, service_fn};
    ///
    /// let world = World::fake();
    /// world.process("worker", |p| {
    ///     let service = service_fn(async |age: u32| age.checked_sub(18).ok_or("too young"));
    ///     p.handle_service::<u32, _>(ServiceBuilder::new().concurrency_limit(2).service(service));
    /// });
    /// world.enqueue_bulk([20_u32, 7]);
    /// assert_eq!(world.drain_all().run().unwrap_err().to_string(), "job#2 u32 failed: too young");
    /// ```
    ///
    /// # Panics
    /// Panics if the process already has a handler for this kind.
    #[track_caller]
    pub fn handle_service<J, S>(&self, service: S) -> HandlerOptions<'_>
    where
        J: DeserializeOwned + 'static,
        S: Service<J, Error: std::fmt::Display + 'static> + Clone + 'static,
    {
        self.handle::<J, Result<(), S::Error>, _>(async move |job: J| {
            // The readiness belongs to this clone only.
            let mut service = service.clone();
            poll_fn(|cx| service.poll_ready(cx)).await?;
            service.call(job).await.map(drop)
        })
    }
}
