//! A worker of graphile_worker, as a process of the world runs it.

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
use retryproof::{Backoff, Clock, JobError, JobFailure, Process, RawAttempt};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::database;
use crate::row;
use crate::spec::MAX_ATTEMPTS;

/// How long a job waits after its attempt number `attempts` (from 1) has failed: `exp(least(attempts, 10))` seconds, to
/// the microsecond, as Postgres computes it.
pub fn backoff(attempts: u32) -> Duration {
    let seconds = f64::from(attempts.min(10)).exp();
    Duration::from_micros((seconds * 1e6).round() as u64)
}

/// Whether a payload decodes into what the task takes, or what serde says.
type Decodes = fn(&Value) -> Result<(), String>;

/// A task, and how its payloads are looked at beforehand, where that is known.
struct Task {
    definition: JobDefinition,
    decodes: Option<Decodes>,
    /// Where it is defined.
    place: &'static Location<'static>,
}

/// A worker: which tasks it runs, and what its handlers find in their context. Built as `graphile_worker`'s
/// `WorkerOptions` are, and with the same names.
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
    /// A worker that has no task yet.
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

    /// Runs the jobs of these tasks. One that is defined twice is run as the last of its definitions says.
    ///
    /// What a payload decodes into is not known here: one that does not decode fails as the handler does.
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

    /// Puts something into the context of each job (`ctx.get_ext::<T>()`). What is built in the boot closure dies with the
    /// process.
    pub fn add_extension<T: Clone + Send + Sync + fmt::Debug + 'static>(mut self, value: T) -> Self {
        self.extensions.insert(value);
        self
    }

    /// The schema that `ctx.schema()` tells. `graphile_worker` unless told.
    pub fn schema(self, schema: impl Into<Schema>) -> Self {
        Self { schema: schema.into(), ..self }
    }

    /// How many jobs run at once. As many as the process has slots ([`Process::slots`]) unless told.
    ///
    /// # Panics
    /// When it is none.
    pub fn concurrency(self, jobs: usize) -> Self {
        assert!(jobs > 0, "Concurrency must be greater than 0");
        Self { concurrency: Some(jobs), ..self }
    }

    /// What `ctx.use_local_time()` tells. A job that is added without a time is then given that of the real clock, which
    /// is now in the world, too.
    pub fn use_local_time(self, value: bool) -> Self {
        Self { use_local_time: value, ..self }
    }

    /// Has a process run this worker's jobs.
    ///
    /// # Panics
    /// When no task is defined, or the process has a handler for one already.
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

/// What all tasks of a worker share.
struct Common {
    clock: Clock,
    schema: Schema,
    worker_id: String,
    extensions: ReadOnlyExtensions,
    details: SharedTaskDetails,
    use_local_time: bool,
}

/// A task, as a process runs it.
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
