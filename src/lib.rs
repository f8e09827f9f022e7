//! Crashes your background jobs at every await, loses their replies, delivers them twice, lets workers overtake each
//! other, and proves that their effects still happen exactly once.
//!
//! A dev-dependency. A test describes a small world: a queue, worker processes, the external services that jobs call,
//! and the jobs to run. The test harness runs that world again and again. In each run something else goes wrong, and
//! the harness checks that the outcome is one that a fault-free run could have had.
//!
//! # A job that fails
//!
//! ```
//! #[retryproof::test]
//! async fn orders_are_paid_once(world: &World) {
//!     world.process("worker", |p| {
//!         let (payments, parcels) = (p.payments(), p.fulfillment());
//!         p.handle(async move |job: CompleteOrder| {
//!             payments.charge(Charge::of_order(job.order_id, 2_598)).await?;
//!             parcels.request(Shipment::of_order(job.order_id, "pr_3", 1).address("1 Main St")).await
//!         });
//!     });
//!     world.enqueue(CompleteOrder { order_id: 6 });
//!     world.settle().await;
//! }
//! ```
//!
//! The test has no assertion. `cargo test` prints:
//!
//! ```text
#![doc = include_str!("../docs/report.txt")]
//! ```
//!
//! # The fix
//!
//! The second attempt charges the order again because it cannot know that the first attempt already did. With an
//! idempotency key that is the same on every attempt, the service recognizes the second charge:
//!
//! ```ignore
//! p.handle(async move |job: CompleteOrder| {
//!     let key = format!("order-{}", job.order_id);
//!     payments.charge(Charge::of_order(job.order_id, 2_598).key(&key)).await?;
//!     parcels.request(Shipment::of_order(job.order_id, "pr_3", 1).address("1 Main St").key(&key)).await
//! });
//! ```
//!
//! The key comes from the job. A key that comes from the time, the attempt or a random number differs on each
//! attempt. The harness finds that, too:
//!
//! ```
//! use retryproof::{Explore, Verdict, World, service::payments::Charge};
//!
//! let charging = |key: fn(u32, u64) -> String| {
//!     Explore::new().deviations(1).run(async move |world: &World| {
//!         world.process("worker", move |p| {
//!             let (payments, rng) = (p.payments(), p.rng());
//!             p.handle(async move |order: u32| {
//!                 payments.charge(Charge::of_order(order, 500).key(key(order, rng.next_u64()))).await
//!             });
//!         });
//!         world.enqueue(6_u32);
//!         world.settle().await;
//!     })
//! };
//! assert_eq!(charging(|order, _| format!("order-{order}")).verdict(), Verdict::RetryProof);
//! assert_eq!(charging(|_, random| format!("{random}")).verdict(), Verdict::Violated);
//! ```
//!
//! # The words
//!
//! * **Job, attempt**: a job is any type that serde can serialize and deserialize. Its kind is the path of its type.
//!   Each time a worker takes a job is an attempt.
//! * **Process**: the unit that crashes. Everything that its boot closure builds dies with it and is built again when
//!   it restarts. Each start is a new *incarnation*.
//! * **Durable**: survives a crash: the queue, the services, the [`Store`], [`World::durable`].
//! * **Effect**: a change to the outside world that a customer could notice: a charge, an email, a parcel. A read is
//!   not an effect.
//! * **Given** (setup): what the test body itself does through `world.…`. It has no faults and no crash points, and
//!   no oracle checks it, but it is part of the state.
//! * **Choice**: a point at which the world could go on in more than one way. Option 0 is the ordinary course. Any
//!   other option is a *deviation*.
//! * **Scenario**: the name of a run: its deviations. The *reference run* has no deviations.
//! * **Oracle**: decides whether an outcome is expected. An unexpected outcome is a *violation*.
//! * **Replay**: runs one scenario again. Copy the line that the report prints: `RETRYPROOF_REPLAY='…' cargo test`.
//!
//! # The map
//!
//! Start with [`macro@test`], or with [`check`] if you cannot use an attribute. [`Explore`] has the settings. The root has the
//! names that most tests need; the modules have the others.
//!
//! * *Tests*: a [`World`] has processes and services, takes jobs, and states each [`Guarantee`]. [`World::fake`] and
//!   [`World::inline`] are worlds for ordinary tests, in which nothing goes wrong.
//! * *The code under test*: a [`Process`] gives out handles. A [`Client`] calls a [`Service`] and fails with a
//!   [`ServiceError`]. The [`Store`] is the shared database and fails with a [`StoreError`]. A [`JobQueue`] enqueues jobs, a
//!   [`Clock`] waits, and an [`Rng`] draws random numbers. A [`Durable`] value survives crashes. An [`External`] makes each
//!   call to a real database or cache a place to crash.
//! * *Handlers*: [`HandlerOptions`], [`Backoff`], [`Delivery`], a [`Decision`] by the error, locks that make jobs
//!   [`Unique`] and resolve a [`Conflict`], and jobs that are [`Ordered`].
//! * *Results*: a [`Report`] has a [`Verdict`]. Each [`Violation`] has a [`Code`] and the [`Scenario`] to replay.
//! * [`job`]: what a handler returns ([`JobResult`](job::JobResult), [`JobFailure`](job::JobFailure),
//!   [`JobError`](job::JobError)); arguments of callbacks ([`FailedAttempt`](job::FailedAttempt),
//!   [`StopSignal`](job::StopSignal), [`BackoffFunction`](job::BackoffFunction)); views of jobs
//!   ([`JobView`](job::JobView), [`JobState`](job::JobState), [`JobId`](job::JobId), [`Jobs`](job::Jobs)) and of the queue
//!   ([`QueueView`](job::QueueView), [`Stats`](job::Stats), [`LockView`](job::LockView)); a job with all its options
//!   ([`NewJob`](job::NewJob)); a web request, which no queue delivers again ([`ClientRequest`](job::ClientRequest)); errors and summaries ([`EnqueueError`](job::EnqueueError),
//!   [`LeaseError`](job::LeaseError), [`LockTaken`](job::LockTaken), [`DrainError`](job::DrainError), [`Drained`](job::Drained)).
//! * [`report`]: [`Effects`](report::Effects) and each [`Effect`](report::Effect); the
//!   [`Oracle`](report::Oracle) of a violation; [`DeviationKind`](report::DeviationKind);
//!   [`Warning`](report::Warning); [`Timeline`](report::Timeline) and [`TimelineEvent`](report::TimelineEvent); the map by
//!   line ([`LineMap`](report::LineMap), [`FunctionMap`](report::FunctionMap), [`PointMap`](report::PointMap),
//!   [`LineCrash`](report::LineCrash)); [`Stuck`](report::Stuck) jobs; [`ScenarioError`](report::ScenarioError); and
//!   [`Name`](report::Name), a text that is free to copy.
//! * [`rules`]: what a test accepts ([`EffectRules`](rules::EffectRules), [`ProcessRules`](rules::ProcessRules)).
//! * [`service`]: the built-in services, and the parts of your own. A single [`function`](service::function) is enough.
//! * [`store`]: [`Transaction`](store::Transaction), [`Isolation`](store::Isolation), [`Row`](store::Row),
//!   [`Sequence`](store::Sequence).
//! * [`external`]: [`ExternalCall`](external::ExternalCall), [`BlockingExternalCall`](external::BlockingExternalCall), and
//!   [`ExternalFault`](external::ExternalFault).
//! * [`notifier`]: [`Notifier`](notifier::Notifier) and [`Listener`](notifier::Listener).
//! * [`partition`]: [`Partition`](partition::Partition), its [`Message`](partition::Message)s, and
//!   [`PartitionError`](partition::PartitionError).
//! * [`middleware`]: `tower` layers around each attempt ([`Perform`](middleware::Perform),
//!   [`PerformService`](middleware::PerformService), [`PerformFuture`](middleware::PerformFuture),
//!   [`Retries`](middleware::Retries)) and around each enqueue ([`EnqueueService`](middleware::EnqueueService),
//!   [`EnqueueServiceFuture`](middleware::EnqueueServiceFuture)), with ready-made ones.
//! * [`adapter`]: what an adapter of a job library needs ([`JobKey`](adapter::JobKey),
//!   [`RawAttempt`](adapter::RawAttempt)), and what a crate needs that simulates the operating system:
//!   [`simulate_operating_system`](adapter::simulate_operating_system), [`is_in_run`](adapter::is_in_run),
//!   [`in_this_run`](adapter::in_this_run), [`time_of_day`](adapter::time_of_day),
//!   [`beginning_of_time`](adapter::beginning_of_time), [`random_bytes`](adapter::random_bytes),
//!   [`note_connection_to`](adapter::note_connection_to),
//!   [`expect_connections_to`](adapter::expect_connections_to).
//! * [`future`]: the futures that calls return ([`Call`](future::Call), [`TypedCall`](future::TypedCall),
//!   [`StoreCall`](future::StoreCall), [`Begin`](future::Begin), [`EnqueueFuture`](future::EnqueueFuture),
//!   [`EnqueueBulkFuture`](future::EnqueueBulkFuture), [`LeaseExtension`](future::LeaseExtension), [`NextNotification`](future::NextNotification), [`Notify`](future::Notify), [`Pause`](future::Pause), [`Stopping`](future::Stopping),
//!   [`Drain`](future::Drain), [`Settle`](future::Settle), [`SettleUntil`](future::SettleUntil)).
#![cfg_attr(
    feature = "http",
    doc = "* [`http`]: services on a real port ([`Http`](http::Http)), and HTTP APIs"
)]
#![cfg_attr(feature = "http", doc = "  ([`Upstream`](http::Upstream)) with stubs ([`Route`](http::Route),")]
#![cfg_attr(feature = "http", doc = "  [`get`](http::get()), [`post`](http::post()), [`put`](http::put()),")]
#![cfg_attr(feature = "http", doc = "  [`patch`](http::patch()), [`delete`](http::delete()),")]
#![cfg_attr(feature = "http", doc = "  [`StubCall`](http::StubCall)) and answers")]
#![cfg_attr(feature = "http", doc = "  ([`UpstreamResponse`](http::UpstreamResponse),")]
#![cfg_attr(feature = "http", doc = "  [`UpstreamBody`](http::UpstreamBody)).")]
#![cfg_attr(feature = "smtp", doc = "* [`smtp`]: a mail server on a real port ([`Smtp`](smtp::Smtp)).")]
#![cfg_attr(feature = "wire", doc = "* [`wire`]: any other protocol; see [`adding_a_protocol`].")]
#![cfg_attr(feature = "loom", doc = "* [`model()`](crate::model()) runs a closure in every order of its")]
#![cfg_attr(feature = "loom", doc = "  threads' accesses to memory. The module has the settings")]
#![cfg_attr(feature = "loom", doc = "  ([`Model`](model::Model)) and the results")]
#![cfg_attr(feature = "loom", doc = "  ([`ModelReport`](model::ModelReport),")]
#![cfg_attr(feature = "loom", doc = "  [`ModelStep`](model::ModelStep),")]
#![cfg_attr(feature = "loom", doc = "  [`ModelError`](model::ModelError)). Code under test takes part with")]
#![cfg_attr(feature = "loom", doc = "  [`sync`], [`thread`] and [`thread_local!`].")]
#![cfg_attr(feature = "proptest", doc = "* [`proptest`]: properties of workloads and scenarios.")]
#![cfg_attr(feature = "tracing", doc = "* [`tracing`]: what the failing scenario logs, in its timeline.")]
//!
//! # Reading on
//!
//! * The [guide](https://github.com/retryproof/retryproof/blob/main/guide/src/SUMMARY.md), from a first test to CI.
//! * [`cookbook`]: techniques that make jobs repeatable, each with its limits.
//! * [`violations`]: the meaning of each code in a report, with the smallest job that shows it.
//! * [`limits`]: what the harness does not see, and what it does not explore.
//! * [`tools`]: polling attempts by hand and scripted sockets (`tokio-test`), snapshots (`insta`), workers of job
//!   libraries.
//!
//! # Design
//!
//! A run is the happy path plus a short list of deviations. Run 0 takes option 0 everywhere. Each of its children
//! takes one other option at one of the choices that run 0 recorded. The children of a scenario are the deviations
//! *after its last one*, taken from its own record. This names each run exactly once even though a deviation changes
//! which choices come later, and it needs no model of the job. Runs with fewer deviations come first, so the first
//! failure is already a smallest one.
//!
//! Time is virtual: it does not advance while any task can run, then jumps to the next timer. Ids derive from
//! content, so an extra effect does not change the ids of later effects. The reference run is repeated at the start
//! and at the end. If the repetitions differ, the code itself is nondeterministic.
//!
//! A crash at an await drops the attempt's future while its process is marked dead. A crash at a line or in a
//! blocking call unwinds to the place that polls the attempt, without a panic message. A dead process does nothing
//! more: its async calls never complete, and the calls of its destructors are answered from throw-away copies.
//!
//! The harness compares the outcome of a run (a multiset of effects, the durable and observed state, and the end of
//! each job) with the reference run and with every other one-at-a-time order of the same jobs. So a lost effect is a
//! violation, and a harmless reordering is not.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

// The pages with code, except those below. Other pages are only linked.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../guide/src/first-test.md")]
    mod first_test {}
    #[doc = include_str!("../guide/src/correct.md")]
    mod correct {}
    #[doc = include_str!("../guide/src/system.md")]
    mod system {}
    #[doc = include_str!("../guide/src/stack.md")]
    mod stack {}
    #[doc = include_str!("../guide/src/crash-points.md")]
    mod crash_points {}
    #[doc = include_str!("../guide/src/faq.md")]
    mod faq {}
}

// Chapters of the guide that are also pages here, since docs.rs shows them without a site of our own. Their links to
// other chapters are defined twice: of two definitions, the first one counts.
#[doc = "[Violations]: crate::violations"]
#[doc = ""]
#[doc = include_str!("../guide/src/cookbook.md")]
pub mod cookbook {}

#[doc = "[cookbook]: crate::cookbook"]
#[doc = ""]
#[doc = include_str!("../guide/src/violations.md")]
pub mod violations {}

#[doc = "[system]: https://github.com/retryproof/retryproof/blob/main/guide/src/system.md"]
#[doc = ""]
#[doc = include_str!("../guide/src/tools.md")]
pub mod tools {}

#[doc = "[explored]: https://github.com/retryproof/retryproof/blob/main/guide/src/explored.md"]
#[doc = ""]
#[doc = include_str!("../guide/src/limits.md")]
pub mod limits {}

#[cfg(feature = "wire")]
#[doc = include_str!("../docs/adding-a-protocol.md")]
pub mod adding_a_protocol {}

// The folders, in the order in which data flows. Each knows only those above it (tests/tidy).
mod search;
mod system;
mod engine;
mod process;
pub mod middleware;
mod executor;
mod world;
mod judge;
#[cfg(feature = "wire")]
pub mod wire;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "smtp")]
pub mod smtp;
#[cfg(feature = "loom")]
mod memory;
#[cfg(feature = "proptest")]
pub mod proptest;
#[cfg(feature = "tracing")]
pub mod tracing;

// At most 30 names stand here (tests/tidy): what a test suite writes daily. The rest is in modules by what it is for.
pub use judge::check::{Explore, check};
pub use judge::report::{Code, Report, Verdict, Violation};
#[cfg(feature = "loom")]
pub use memory::model;
pub use process::{Client, Clock, Durable, External, HandlerOptions, JobQueue, Process, Rng, Store};
/// Turns an `async fn(world: &World)` into a test that explores it. The test fails with the report unless the
/// function is retry-proof.
///
/// A body that returns a `Result` also fails the test if it returns an `Err`.
///
/// The arguments are settings of [`Explore`]: `deviations`, `crashes`, `faults`, `deliveries`, `preemptions`, `delays`,
/// `max_runs`, `max_assignments`, `max_time`, `max_steps`, `seed`, `random`, `threads`, `merge`, `reduce`, each with a value; `pct` and `shard`, each
/// with two (`pct = (3, 1_000)`); and `allow_incomplete`, `keep_regressions`, `ratchet`, `keep_going`, `stop_at_first`
/// without one. Other attributes of the function (`#[ignore]`, `#[should_panic]`) are kept.
///
/// ```
/// use retryproof::World;
///
/// #[retryproof::test(deviations = 3, crashes = 1, max_runs = 10_000)]
/// async fn orders_are_paid_once(world: &World) {
///     // …
///     world.settle().await;
/// }
/// ```
///
pub use retryproof_macros::test;
pub use search::scenario::Scenario;
pub use system::job::{Backoff, Conflict, Decision, Delivery, Ordered, Unique};
#[doc(inline)]
pub use system::service;
pub use system::service::{Service, ServiceError, StoreError};
pub use world::{Guarantee, World};

/// Jobs: the results of handlers, the ways a job can fail, and a test's views of jobs and of the queue.
pub mod job {
    pub use crate::executor::{DrainError, Drained};
    pub use crate::process::{EnqueueError, LeaseError, NewJob, StopSignal};
    pub use crate::system::job::{
        BackoffFunction, FailedAttempt, JobError, JobFailure, JobId, JobResult, JobState, JobView, LockTaken,
    };
    pub use crate::world::{ClientRequest, Jobs, LockView, QueueView, Stats};
}

/// The parts of a [`Report`], and the effects that a test can inspect.
pub mod report {
    pub use crate::engine::state::Stuck;
    pub use crate::judge::oracle::Oracle;
    pub use crate::judge::report::{
        FunctionMap, LineCrash, LineMap, PointMap, Timeline, TimelineEvent, Warning,
    };
    pub use crate::search::choice::{DeviationKind, Name};
    pub use crate::search::scenario::ScenarioError;
    pub use crate::system::effect::{Effect, Effects};
}

/// Rules for the comparison of outcomes, as [`World::allow`] and [`World::process`] return them.
pub mod rules {
    pub use crate::world::{EffectRules, ProcessRules};
}

/// The parts of the [`Store`], the shared database.
pub mod store {
    pub use crate::process::{Sequence, Transaction};
    pub use crate::system::service::store::{Isolation, Row};
}

/// Calls to a real system, as [`External`] makes them.
pub mod external {
    pub use crate::process::{BlockingExternalCall, ExternalCall, ExternalFault};
}

/// Partitions of a log, as Kafka has them ([`World::partition`]).
pub mod partition {
    pub use crate::process::{Message, Partition, PartitionError};
}

/// Notifications that reach only those that listen ([`World::notifier`]).
pub mod notifier {
    pub use crate::process::{Listener, Notifier};
}

/// Types for an adapter of a job library, beside [`job::NewJob`]: its jobs are known by a name and not by a type.
///
/// Its handlers are registered by [`Process::handle_raw`], and its jobs are enqueued by [`World::enqueue_new`] and
/// [`JobQueue::enqueue_new`].
///
/// The functions are for a crate that replaces functions of the C library, as `retryproof-determinism` does.
pub mod adapter {
    pub use crate::engine::simulation::{
        beginning_of_time, expect_connections_to, in_this_run, is_in_run, note_connection_to, random_bytes,
        simulate_operating_system, time_of_day,
    };
    pub use crate::process::RawAttempt;
    pub use crate::system::job::JobKey;
}

/// The futures that calls return. They have names so that a struct can hold one; most code only awaits them.
pub mod future {
    pub use crate::process::{
        Begin, Call, EnqueueBulkFuture, EnqueueFuture, LeaseExtension, NextNotification, Notify, Pause,
        Stopping, StoreCall, TypedCall,
    };
    pub use crate::world::{Drain, Settle, SettleUntil};
}

/// A model of code whose threads share memory: [`model()`](crate::model()) runs it in every order of their accesses.
#[cfg(feature = "loom")]
pub mod model {
    pub use crate::memory::{Model, ModelError, ModelReport, ModelStep};
}

#[cfg(feature = "loom")]
pub use memory::{sync, thread};

/// Fails a test whose body has returned an error.
#[doc(hidden)]
#[track_caller]
pub fn __passed<E: std::fmt::Debug>(result: Result<(), E>) {
    if let Err(error) = result {
        panic!("the test body returned an error: {error:?}");
    }
}

/// Returns the name under which libtest knows a test: its path without the crate.
#[doc(hidden)]
pub fn __test_name(module: &str, function: &str) -> String {
    match module.split_once("::") {
        Some((_, module)) => format!("{module}::{function}"),
        None => function.to_owned(),
    }
}
