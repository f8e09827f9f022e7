//! Any `tower::Service` as a handler.

use std::future::poll_fn;

use serde::de::DeserializeOwned;
use tower_service::Service;

use super::handler::HandlerOptions;
use crate::process::Process;

impl Process {
    /// Handles the jobs of one kind with a [`tower::Service`](Service): each attempt has a clone of it, waits until that
    /// is ready, and calls it with the job. The response is dropped; an error is a failure of the attempt.
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
    /// When the kind is handled twice in one process.
    #[track_caller]
    pub fn handle_service<J, S>(&self, service: S) -> HandlerOptions<'_>
    where
        J: DeserializeOwned + 'static,
        S: Service<J, Error: std::fmt::Display + 'static> + Clone + 'static,
    {
        self.handle::<J, Result<(), S::Error>, _>(async move |job: J| {
            // What is ready is this clone, and no other.
            let mut service = service.clone();
            poll_fn(|cx| service.poll_ready(cx)).await?;
            service.call(job).await.map(drop)
        })
    }
}
