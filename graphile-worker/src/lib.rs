//! [graphile_worker]'s task handlers under [`retryproof`]: they are crashed at every await, their replies are lost,
//! their jobs are delivered twice and overtaken, and retried in virtual time as in graphile_worker. Without a
//! Postgres, and without changes to a handler.
//!
//! A dev-dependency, for graphile_worker 0.14.
//!
//! ```
//! use graphile_worker::{IntoTaskHandlerResult, JobSpec, TaskHandler, WorkerContext};
//! use retryproof::service::email::{Email, EmailService};
//! use retryproof::{Client, Explore, Verdict, World};
//! use retryproof_graphile_worker::{AddJobs, GraphileWorker};
//! use serde::{Deserialize, Serialize};
//!
//! The services of the handlers: an extension, in production as here.
//! #[derive(Clone, Debug)]
//! struct Mailer(Client<EmailService>);
//!
//! #[derive(Serialize, Deserialize)]
//! struct SendMail {
//!     to: String,
//! }
//!
//! impl TaskHandler for SendMail {
//!     const IDENTIFIER: &'static str = "send_mail";
//!
//!     async fn run(self, ctx: WorkerContext) -> impl IntoTaskHandlerResult {
//!         let mailer: &Mailer = ctx.get_ext().expect("the worker has it");
//!         mailer.0.send(Email::new(self.to, "welcome")).await.map(drop)
//!     }
//! }
//!
//! let report = Explore::new().deviations(1).run(async |world: &World| {
//!     world.process("worker", |p| {
//!         GraphileWorker::new().add_extension(Mailer(p.email())).define_job::<SendMail>().run(p);
//!     });
//!     world.add_job(SendMail { to: "ann@example.com".to_owned() }, JobSpec::default());
//!     world.settle().await;
//! });
//! The second attempt cannot know that the first one has sent it.
//! assert_eq!(report.verdict(), Verdict::Violated);
//! ```
//!
//! # What it does
//!
//! * [`GraphileWorker`] has the names of `WorkerOptions` (`define_job`, `define_jobs`, `add_extension`, …) and runs
//!   the handlers in a [`Process`](retryproof::Process). Their context has the job, the payload, the extensions, and
//!   a database that is the world's queue.
//! * `ctx.add_job(…)`, `ctx.utils()` and all methods based on them put jobs into that queue. Each is one call: the
//!   process may die before it, after it, or before it receives the reply, and the database may be unavailable.
//!   [`database`] is the same for code of a process outside of handlers, [`AddJobs`] for the test.
//! * `run_at`, `max_attempts`, `job_key` with its three modes, and `queue_name` work as in graphile_worker: a waiting
//!   job is replaced in place (arrays are joined), a running job loses its key and is not retried, and a key is
//!   looked up and its job inserted in one step. One job of a named queue runs at a time, and a job that waits for a
//!   retry lets the others go first.
//! * A failed job waits `exp(least(attempts, 10))` seconds ([`backoff`]), and is dead after `max_attempts`, which
//!   defaults to 25.
//!
//! **A key protects only as long as its job exists.** Assume that a job adds another one with a key, to run
//! immediately, and dies before it is done. It adds the other job again after that one has ended. This is found here,
//! as it happens in production. A job for later still exists at that time.
//!
//! # Time
//!
//! A world begins with the year 2000 ([`date`]). A `run_at` that is computed from the job (`ctx.job().run_at()`,
//! `locked_at()`) is used unchanged. A `run_at` from 2020 on was computed from the real clock (`Utc::now()`). In that
//! case the time until then counts, in whole seconds, rounded up.
//!
//! # Limitations
//!
//! * A job whose worker died is redelivered after retryproof's lease of a minute, without using up an attempt, as
//!   with graphile_worker's recovery (`WorkerRecoveryConfig`) switched on. It is off by default, and such a job then
//!   stays locked until a person unlocks it.
//! * `complete_jobs`, `permanently_fail_jobs`, `reschedule_jobs`, `remove_job`, transactions
//!   (`utils.with_executor(…)`, `database.begin()`) and your own statements are not modeled: they return errors that
//!   say so. Handlers with their own tables must take their database from an extension, not from `ctx.pg_pool()`, and
//!   call it through [`Process::external`](retryproof::Process::external).
//! * A job that is added in one transaction with your own rows cannot be tested with this crate. It can be tested
//!   with graphile_worker's own worker on a real Postgres, as a loop of the process
//!   ([`Process::spawn`](retryproof::Process::spawn)).
//! * `priority` and `flags` are passed on and have no effect: the order of jobs is explored. Lifecycle hooks, cron,
//!   the local queue and batchers do not run. `revision` is 0, and `updated_at` is the start of the attempt.
//! * If a batch ([`define_batch_job`](GraphileWorker::define_batch_job)) fails for some items, all items are retried.
//! * A payload that does not decode is an immediate violation if `define_job` names its type, and not 25 failures.
//!
//! [graphile_worker]: https://docs.rs/graphile_worker

mod database;
mod row;
mod spec;
mod worker;

pub use database::database;
pub use spec::date;
pub use worker::{GraphileWorker, backoff};

use graphile_worker_job_spec::JobSpec;
use graphile_worker_task_handler::{BatchTaskHandler, TaskHandler};
use retryproof::{JobId, World};
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
