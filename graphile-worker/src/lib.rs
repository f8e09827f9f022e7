#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc = include_str!("../README.md")]

mod spec;
mod row;
mod database;
mod worker;

pub use database::database;
pub use spec::date;
pub use worker::{GraphileWorker, backoff};

use graphile_worker_job_spec::JobSpec;
use graphile_worker_task_handler::{BatchTaskHandler, TaskHandler};
use retryproof::World;
use retryproof::job::JobId;
use serde::Serialize;

use spec::Added;

/// Adds jobs from the test, before anything goes wrong, like `WorkerUtils`.
pub trait AddJobs {
    /// Adds a job.
    ///
    /// # Panics
    /// If it cannot be serialized as JSON, or if the table would reject `spec`.
    #[track_caller]
    fn add_job<T: TaskHandler>(&self, task: T, spec: JobSpec) -> JobId {
        self.add_raw_job(T::IDENTIFIER, task, spec)
    }

    /// Adds a job with a batch of items.
    ///
    /// # Panics
    /// Like [`AddJobs::add_job`].
    #[track_caller]
    fn add_batch_job<T: BatchTaskHandler>(&self, items: Vec<T>, spec: JobSpec) -> JobId {
        self.add_raw_job(T::IDENTIFIER, items, spec)
    }

    /// Adds a job for the handler with this identifier.
    ///
    /// # Panics
    /// Like [`AddJobs::add_job`].
    #[track_caller]
    fn add_raw_job<P: Serialize>(&self, identifier: &str, payload: P, spec: JobSpec) -> JobId;
}

impl AddJobs for World {
    fn add_raw_job<P: Serialize>(&self, identifier: &str, payload: P, spec: JobSpec) -> JobId {
        let payload = serde_json::to_value(payload)
            .unwrap_or_else(|error| panic!("a job for `{identifier}` cannot be written as JSON: {error}"));
        let added = Added::given(identifier, payload, &spec);
        let beside = added.as_ref().map_err(Clone::clone).and_then(|added| added.beside(self.now()));
        match (added, beside) {
            (Ok(added), Ok(beside)) => self.enqueue_new(added.into_request(&beside)),
            (Err(error), _) | (_, Err(error)) => panic!("a job for `{identifier}` is not added: {error}"),
        }
    }
}
