//! The data of a task beside its arguments, on its way into the queue and out of it.

use std::collections::BTreeMap;

use apalis_core::backend::queue::Queue;
use apalis_core::task::builder::TaskBuilder;
use apalis_core::task::metadata::MetadataStore;
use apalis_core::task::status::Status;
use apalis_core::task::task_id::TaskId;
use apalis_core::task::{ExecutionContext, Task};
use apalis_core::worker::context::WorkerContext;
use retryproof::job::{JobView, NewJob};
use retryproof::middleware::Perform;
use serde::{Deserialize, Serialize};

/// The key in the context of a job.
const NAME: &str = "apalis";

/// The settings of the pushed task. They are in the queue with the job, so they survive every crash.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Carried {
    #[serde(skip_serializing_if = "Option::is_none")]
    task_id: Option<String>,
    /// A sorted map, because the order of apalis' map differs from run to run.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_attempts: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_at: Option<u64>,
}

impl Carried {
    /// `run_at` is in Unix seconds, if they mean the same in every run.
    pub(crate) fn of(pushed: &ExecutionContext, run_at: Option<u64>) -> Self {
        let metadata = pushed.metadata().iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        Self {
            task_id: pushed.task_id().map(ToString::to_string),
            metadata,
            max_attempts: pushed.max_attempts(),
            priority: pushed.priority(),
            idempotency_key: pushed.idempotency_key().map(str::to_owned),
            run_at,
        }
    }

    pub(crate) fn put_into(&self, request: &mut NewJob) {
        if *self != Self::default() {
            let carried = serde_json::to_value(self).expect("texts and numbers can be written as JSON");
            request.context.insert(NAME.to_owned(), carried);
        }
    }
}

/// A delivered job: the data for its handler beside its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) job: JobView,
    pub(crate) carried: Carried,
}

impl Delivery {
    /// # Errors
    /// If other code has used apalis' key in the context.
    pub(crate) fn of(perform: &Perform) -> Result<Self, serde_json::Error> {
        let carried = perform.context.get(NAME).map(Carried::deserialize).transpose()?;
        Ok(Self { job: perform.job.clone(), carried: carried.unwrap_or_default() })
    }

    /// Makes the task for a worker, as a backend does after fetching it.
    pub(crate) fn task<Args>(self, args: Args, worker: &WorkerContext) -> Task<Args> {
        let Self { job, carried } = self;
        let id = carried.task_id.unwrap_or_else(|| job.id.to_string());
        let mut task = TaskBuilder::new(args)
            .task_id(TaskId::from_string(id))
            // The worker itself counts this attempt when it is first polled.
            .attempt(job.attempts.saturating_sub(1) as usize)
            .status(Status::Queued)
            .queue(Queue::from(std::any::type_name::<Args>()))
            .lock_by(Some(worker.name().to_owned()))
            .with_metadata(carried.metadata.into_iter().collect::<MetadataStore>());
        if let Some(most) = carried.max_attempts {
            task = task.max_attempts(most);
        }
        if let Some(priority) = carried.priority {
            task = task.priority(priority);
        }
        if let Some(key) = carried.idempotency_key {
            task = task.idempotency_key(key);
        }
        if let Some(run_at) = carried.run_at {
            task = task.run_at_timestamp(run_at);
        }
        let mut task = task.build();
        task.inject_data(worker.clone());
        task
    }
}
