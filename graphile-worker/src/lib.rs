//! [graphile_worker]'s task handlers under [`retryproof`]: crashed at every await, their replies lost, their jobs delivered
//! twice and overtaken, and retried in virtual time as graphile_worker retries them. Without a Postgres, and with no change
//! to a handler.
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
//! /// What handlers reach the outside by: an extension, in production as here.
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
//! // The second attempt cannot tell that the first one has sent it.
//! assert_eq!(report.verdict(), Verdict::Violated);
//! ```
//!
//! # What it does
//!
//! * [`GraphileWorker`] has the names of `WorkerOptions` (`define_job`, `define_jobs`, `add_extension`, …) and runs the
//!   handlers in a [`Process`](retryproof::Process). Their context has the job, the payload, the extensions, and a database
//!   that is the world's queue.
//! * `ctx.add_job(…)`, `ctx.utils()` and all that goes through them put jobs into that queue: one call, at which the process
//!   may die before, after, or before it hears of it, and at which the database may be gone. [`database`] is the same for code
//!   of a process that is no handler, [`AddJobs`] for the test.
//! * `run_at`, `max_attempts`, `job_key` with its three modes, and `queue_name` are graphile_worker's: a job that waits is
//!   replaced in place (arrays are joined), one that runs loses its key and is not tried again, a key is looked up and
//!   its job put in in one step; of a named queue one job runs at a time, and one that waits to be tried again lets the others
//!   go first.
//! * A failed job waits `exp(least(attempts, 10))` seconds ([`backoff`]), and is dead after `max_attempts`, 25 unless told.
//!
//! **A key guards only as long as its job is there.** A job that adds another one for at once, by a key, and dies before it
//! is done, adds it again after the other one has ended: that is found here, as it happens in production. A job for later
//! is still there.
//!
//! # Time
//!
//! A world begins with the year 2000 ([`date`]). A `run_at` that is computed from the job (`ctx.job().run_at()`,
//! `locked_at()`) is taken as it is. One from 2020 on was computed from the real clock (`Utc::now()`): what is taken is how
//! long it is until then, in whole seconds, rounded up.
//!
//! # Limitations
//!
//! * A job whose worker died comes again after retryproof's lease of a minute, and has used up no attempt: as with
//!   graphile_worker's recovery (`WorkerRecoveryConfig`) switched on. It is off by default, and such a job then stays locked
//!   until somebody unlocks it.
//! * `complete_jobs`, `permanently_fail_jobs`, `reschedule_jobs`, `remove_job`, transactions
//!   (`utils.with_executor(…)`, `database.begin()`) and statements of one's own are not modelled: they are errors that say
//!   so. Handlers with tables of their own take their database from an extension, not by `ctx.pg_pool()`, and call it through
//!   [`Process::external`](retryproof::Process::external).
//! * A job that is added in one transaction with rows of one's own cannot be shown; graphile_worker's own worker against a
//!   real Postgres can, as a loop of the process ([`Process::spawn`](retryproof::Process::spawn)).
//! * `priority` and `flags` are handed on and decide nothing: who goes first is explored. Lifecycle hooks, cron, the local
//!   queue and batchers are not run. `revision` is 0, and `updated_at` when the attempt began.
//! * Of a batch ([`define_batch_job`](GraphileWorker::define_batch_job)) that fails for some items all are tried again.
//! * A payload that does not decode is a violation at once, where `define_job` tells what it decodes into, and not
//!   25 failures.
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

/// The test's side: jobs that are there before anything goes wrong, added as by `WorkerUtils`.
pub trait AddJobs {
    /// Adds a job.
    ///
    /// # Panics
    /// When it cannot be written as JSON, or the table would not hold what `spec` says.
    #[track_caller]
    fn add_job<T: TaskHandler>(&self, task: T, spec: JobSpec) -> JobId {
        self.add_raw_job(T::IDENTIFIER, task, spec)
    }

    /// Adds a job with a batch of items.
    ///
    /// # Panics
    /// As [`AddJobs::add_job`].
    #[track_caller]
    fn add_batch_job<T: BatchTaskHandler>(&self, items: Vec<T>, spec: JobSpec) -> JobId {
        self.add_raw_job(T::IDENTIFIER, items, spec)
    }

    /// Adds a job for whichever handler has this identifier.
    ///
    /// # Panics
    /// As [`AddJobs::add_job`].
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
