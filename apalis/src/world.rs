//! Pushes tasks from the test body.

use std::panic::Location;

use apalis_core::task::Task;
use retryproof::World;
use retryproof::job::JobId;
use serde::Serialize;

use crate::storage::Terms;

/// The methods that apalis adds to a [`World`].
pub trait WorldExt {
    /// Pushes a task from `TaskBuilder`, in place of production code that is not a job: a web server, a cron. It
    /// bypasses the layers around the test body's enqueues. If a task has only arguments, you can also
    /// [enqueue](World::enqueue) it.
    ///
    /// ```
    /// use apalis_core::task::builder::TaskBuilder;
    /// use apalis_core::task::metadata::MetadataStore;
    /// use apalis_core::worker::builder::WorkerBuilder;
    /// use retryproof::World;
    /// use retryproof_apalis::{ProcessExt, WorldExt};
    ///
    /// async fn greet(_name: String, metadata: MetadataStore) -> Result<(), String> {
    ///     Err(format!("no greeting in {}", &metadata["locale"]))
    /// }
    ///
    /// let world = World::fake();
    /// world.process("worker", |p| {
    ///     p.run_worker(WorkerBuilder::new("greeter").backend(p.storage()).build(greet));
    /// });
    /// let locale = [("locale", "de")].into_iter().collect();
    /// world.push_task(TaskBuilder::new("Ada".to_owned()).with_metadata(locale).run_in_minutes(5).build());
    /// assert_eq!(world.queue().to_string(), "job#1 String \"Ada\": scheduled, due t+300s\n");
    /// world.advance(std::time::Duration::from_secs(300));
    /// assert_eq!(world.drain_all().run().unwrap_err().to_string(), "job#1 alloc::string::String failed: no greeting in de");
    /// ```
    ///
    /// # Panics
    /// If its arguments cannot be serialized as JSON, or if another task has its id.
    #[track_caller]
    fn push_task<Args: Serialize + 'static>(&self, task: Task<Args>) -> JobId;
}

impl WorldExt for World {
    #[track_caller]
    fn push_task<Args: Serialize + 'static>(&self, task: Task<Args>) -> JobId {
        let (args, pushed) = task.take();
        let payload = match serde_json::to_string(&args) {
            Ok(payload) => payload,
            Err(error) => panic!(
                "{} cannot be pushed: it cannot be written as JSON: {error}",
                std::any::type_name::<Args>()
            ),
        };
        self.enqueue_new(Terms::new(Location::caller()).request::<Args>(payload, &pushed, self.now()))
    }
}
