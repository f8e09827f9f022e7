//! A worker of graphile_worker, which a process of the world runs.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use graphile_worker_ctx::{SharedTaskDetails, TaskDetails, WorkerContext};
use graphile_worker_database::{Database, Schema};
use graphile_worker_extensions::{Extensions, ReadOnlyExtensions};
use graphile_worker_task_handler::{
    BatchTaskHandler, JobDefinition, TaskHandler, TaskHandlerFn, TaskHandlerOutcome,
};
use retryproof::adapter::RawAttempt;
use retryproof::job::{JobError, JobFailure};
use retryproof::{Backoff, Clock, Process};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::database;
use crate::row;
use crate::spec::MAX_ATTEMPTS;

/// The time that a job waits after its attempt number `attempts` (from 1) has failed: `exp(least(attempts, 10))`
/// seconds, to the microsecond, as Postgres computes it.
pub fn backoff(attempts: u32) -> Duration {
    let seconds = f64::from(attempts.min(10)).exp();
    Duration::from_micros((seconds * 1e6).round() as u64)
}

/// Checks whether a payload decodes into the type of the task. Returns serde's message if it does not.
type Decodes = fn(&Value) -> Result<(), String>;

/// A task, and the check of its payloads, if the type is known.
struct Task {
    definition: JobDefinition,
    decodes: Option<Decodes>,
    /// The place of its definition.
    place: &'static Location<'static>,
}

/// A worker: its tasks, and the context of its handlers. The builder has the same names as `graphile_worker`'s
/// `WorkerOptions`.
#[must_use = "call `run`"]
pub struct GraphileWorker {
    tasks: Vec<Task>,
    extensions: Extensions,
    schema: Schema,
    concurrency: Option<usize>,
    use_local_time: bool,
}

impl fmt::Debug for GraphileWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let identifiers: Vec<_> = self.tasks.iter().map(|task| task.definition.identifier()).collect();
        f.debug_struct("GraphileWorker").field("identifiers", &identifiers).finish_non_exhaustive()
    }
}

impl Default for GraphileWorker {
    fn default() -> Self {
        Self::new()
    }
}

impl GraphileWorker {
    /// Makes a worker without tasks.
    pub fn new() -> Self {
        let (tasks, extensions, schema) = (Vec::new(), Extensions::default(), Schema::default());
        Self { tasks, extensions, schema, concurrency: None, use_local_time: false }
    }

    /// Runs the jobs of this task.
    #[track_caller]
    pub fn define_job<T: TaskHandler>(self) -> Self {
        self.define(T::definition(), Some(decode::<T>), Location::caller())
    }

    /// Runs the batch jobs of this task.
    #[track_caller]
    pub fn define_batch_job<T: BatchTaskHandler>(self) -> Self {
        self.define(T::definition(), Some(decode::<Vec<T>>), Location::caller())
    }

    /// Runs the jobs of these tasks. If a task is defined twice, the last definition counts.
    ///
    /// The type of a payload is not known here. A payload that does not decode fails when its handler does.
    #[track_caller]
    pub fn define_jobs(self, definitions: impl IntoIterator<Item = JobDefinition>) -> Self {
        let place = Location::caller();
        definitions.into_iter().fold(self, |worker, definition| worker.define(definition, None, place))
    }

    fn define(
        mut self,
        definition: JobDefinition,
        decodes: Option<Decodes>,
        place: &'static Location<'static>,
    ) -> Self {
        self.tasks.retain(|known| known.definition.identifier() != definition.identifier());
        self.tasks.push(Task { definition, decodes, place });
        self
    }

    /// Adds a value to the context of each job (`ctx.get_ext::<T>()`). A value that the boot closure makes dies with
    /// the process.
    pub fn add_extension<T: Clone + Send + Sync + fmt::Debug + 'static>(mut self, value: T) -> Self {
        self.extensions.insert(value);
        self
    }

    /// Sets the result of `ctx.schema()`. Defaults to `graphile_worker`.
    pub fn schema(self, schema: impl Into<Schema>) -> Self {
        Self { schema: schema.into(), ..self }
    }

    /// Sets the number of jobs that run at the same time. Defaults to the number of slots of the process
    /// ([`Process::slots`]).
    ///
    /// # Panics
    /// If it is 0.
    pub fn concurrency(self, jobs: usize) -> Self {
        assert!(jobs > 0, "Concurrency must be greater than 0");
        Self { concurrency: Some(jobs), ..self }
    }

    /// Sets the result of `ctx.use_local_time()`. A job that is added without a time then gets the time of the real
    /// clock, which counts as now in the world.
    pub fn use_local_time(self, value: bool) -> Self {
        Self { use_local_time: value, ..self }
    }

    /// Makes a process run this worker's jobs.
    ///
    /// # Panics
    /// If no task is defined, or if the process already has a handler for one of them.
    #[track_caller]
    pub fn run(self, p: &Process) {
        assert!(
            !self.tasks.is_empty(),
            "the worker in process `{}` has no task; add one by `define_job::<T>()`",
            p.name()
        );
        if let Some(jobs) = self.concurrency {
            p.slots(jobs);
        }
        let mut details = TaskDetails::new();
        for identifier in self.tasks.iter().map(|task| task.definition.identifier()) {
            details.insert(row::small_id(identifier), identifier.to_owned());
        }
        let shared = Arc::new(Common {
            clock: p.clock(),
            schema: self.schema,
            worker_id: format!("{}-{}", p.name(), p.incarnation()),
            extensions: self.extensions.into(),
            details: details.into(),
            use_local_time: self.use_local_time,
        });
        for Task { definition, decodes, place } in self.tasks {
            let (identifier, handler) = definition.into_parts();
            let (common, database) = (shared.clone(), database::of(p, place));
            let running = Running { common, database, handler, decodes };
            p.handle_raw(identifier, async move |attempt: RawAttempt| running.run(&attempt).await)
                .max_retries(u32::from(MAX_ATTEMPTS.unsigned_abs()) - 1)
                .backoff(Backoff::function(|failure| backoff(failure + 1)));
        }
    }
}

fn decode<T: DeserializeOwned>(payload: &Value) -> Result<(), String> {
    T::deserialize(payload).map(drop).map_err(|error| error.to_string())
}

/// The part that all tasks of a worker share.
struct Common {
    clock: Clock,
    schema: Schema,
    worker_id: String,
    extensions: ReadOnlyExtensions,
    details: SharedTaskDetails,
    use_local_time: bool,
}

/// A task in a process.
struct Running {
    common: Arc<Common>,
    database: Database,
    handler: TaskHandlerFn,
    decodes: Option<Decodes>,
}

impl Running {
    async fn run(&self, attempt: &RawAttempt) -> Result<(), JobFailure> {
        let Common { clock, schema, worker_id, extensions, details, use_local_time } = &*self.common;
        let job = row::seen(attempt, clock.now(), worker_id);
        if let Some(Err(reason)) = self.decodes.map(|decodes| decodes(job.payload())) {
            let (kind, payload) = (attempt.job.kind.to_owned(), attempt.job.payload.clone());
            let error = JobError::Undecodable { job: attempt.job.number, kind, reason, payload };
            return Err(JobFailure::cannot_run(&error));
        }
        let context = WorkerContext::from_shared_job(
            Arc::new(job),
            self.database.clone(),
            schema.clone(),
            worker_id.clone(),
            extensions.clone(),
            details.clone(),
            *use_local_time,
        );
        match (self.handler)(context).await {
            TaskHandlerOutcome::Complete => Ok(()),
            TaskHandlerOutcome::Failed { error, .. } => Err(JobFailure::new(error)),
        }
    }
}
