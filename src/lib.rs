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
//! Start with [`macro@test`], or with [`check`] if you cannot use an attribute. [`Explore`] has the settings.
//!
//! * *The test's side*: [`World`], its [`Guarantee`]s, what else a test accepts ([`EffectRules`], [`ProcessRules`], [`Jobs`]),
//!   and what a test can inspect ([`Effects`], [`Effect`], [`JobView`], [`JobState`], [`JobId`], [`QueueView`],
//!   [`Stats`]). Jobs run in a [`Drain`], which returns a summary ([`Drained`]) or an error ([`DrainError`]), or as
//!   in production ([`Settle`], [`SettleUntil`]). [`World::fake`] and [`World::inline`] are worlds for ordinary
//!   tests, in which nothing goes wrong.
//! * *The code's side*: [`Process`] and the handles it gives out. [`Client`] reaches a [`service`]. Its calls are
//!   [`Call`]s and [`TypedCall`]s and fail with a [`ServiceError`]. The [`Store`] is the shared database, with
//!   [`Sequence`]s. Its calls are [`StoreCall`]s, its [`Transaction`]s start with [`Begin`], and they fail with a
//!   [`StoreError`]. [`JobQueue`] enqueues ([`EnqueueFuture`], [`EnqueueBulkFuture`], [`EnqueueError`]) and extends
//!   the lease of an attempt ([`LeaseExtension`], [`LeaseError`]), [`Clock`]
//!   waits ([`Pause`]), [`Rng`] draws random numbers, and a [`StopSignal`] announces that the process must stop
//!   ([`Stopping`]). The test and the code share [`Durable`] values.
//! * *Systems outside the world* (a database, a cache, a table of jobs): [`World::external`] sets one up,
//!   [`Process::external`] calls it. An [`External`] makes each [`ExternalCall`] or [`BlockingExternalCall`] a place to
//!   crash and to fail ([`ExternalFault`]). The code's own loops are [`spawn`](Process::spawn)ed.
//! * *Handlers*: what they may return ([`JobResult`], [`JobFailure`]), their options ([`HandlerOptions`],
//!   [`Backoff`], [`BackoffFunction`], [`Delivery`]), locks that make jobs unique ([`Unique`], [`Conflict`],
//!   [`LockTaken`], [`LockView`]) and the order in which they run ([`Ordered`]), callbacks for a failed attempt
//!   ([`FailedAttempt`]), decisions by its error ([`Decision`]), and the reasons why a job could not run ([`JobError`]).
//! * *Adapters for other queues*: an [`NewJob`] may carry a name and a [`JobKey`]. [`Process::handle_raw`] handles
//!   it and receives a [`RawAttempt`].
//! * *Middleware*: any `tower::Layer` around each attempt ([`Process::layer`], [`HandlerOptions::layer`]: a
//!   [`Perform`] goes through it into the [`PerformService`], a [`PerformFuture`]; [`Retries`] tells whether a
//!   failure is the last) and around each enqueue ([`Process::enqueue_layer`]: an [`NewJob`] goes into the
//!   [`EnqueueService`], an [`EnqueueServiceFuture`]). [`middleware`] has ready-made layers.
//! * *Results*: a [`Report`] with its [`Verdict`], each [`Violation`] with its [`Code`], the [`Oracle`] that found it
//!   and its [`Scenario`] ([`ScenarioError`] if a text is not one), the [`DeviationKind`]s of deviations, and the jobs that
//!   are [`Stuck`]. A [`Warning`] is about code that works but is fragile. [`Report::by_line`] maps the jobs
//!   ([`LineMap`], [`FunctionMap`], [`PointMap`], [`LineCrash`]): it shows what a crash at each line leaves behind.
//!   [`Report::timeline`] shows what happened in the reported run ([`Timeline`], [`TimelineEvent`]). A [`Name`] is a
//!   text that is free to copy.
//! * *Services*: [`Service`] is the trait behind the built-in services. [`World::service`] registers a service of
//!   your own, which may be a single [`function`](service::function). With the feature `http` services are also
//!   reachable through a real port
#![cfg_attr(feature = "http", doc = "  ([`Http`])")]
//! for clients that speak HTTP
#![cfg_attr(
    feature = "wire",
    doc = "  , and with the feature `wire` for any other protocol ([`wire`], [`adding_a_protocol`])"
)]
//!   .
#![cfg_attr(feature = "loom", doc = "* *Memory that threads share* (feature `loom`): [`model`] runs")]
#![cfg_attr(feature = "loom", doc = "  a closure in every order of its threads' accesses, [`Model`] has")]
#![cfg_attr(feature = "loom", doc = "  the settings, and says how code under test takes part: by [`sync`],")]
#![cfg_attr(feature = "loom", doc = "  [`thread`] and [`thread_local!`]. What comes out is a")]
#![cfg_attr(feature = "loom", doc = "  [`ModelReport`], with [`ModelStep`]s; a [`ModelError`] is a model")]
#![cfg_attr(feature = "loom", doc = "  that is misused.")]
//! * *With other crates*: features for other tools in a test suite
#![cfg_attr(feature = "proptest", doc = "  ([`proptest`]: properties of workloads and scenarios)")]
#![cfg_attr(feature = "tracing", doc = "  ([`tracing`]: what the failing scenario logs, in its timeline)")]
//!   .
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
mod http;
#[cfg(feature = "loom")]
mod memory;
#[cfg(feature = "proptest")]
pub mod proptest;
#[cfg(feature = "tracing")]
pub mod tracing;

pub use engine::state::Stuck;
pub use executor::{DrainError, Drained};
#[cfg(feature = "http")]
pub use http::Http;
pub use judge::check::{Explore, check};
pub use judge::oracle::Oracle;
pub use judge::report::{
    Code, FunctionMap, LineCrash, LineMap, PointMap, Report, Timeline, TimelineEvent, Verdict, Violation,
    Warning,
};
#[cfg(feature = "loom")]
pub use memory::{Model, ModelError, ModelReport, ModelStep, model, sync, thread};
pub use process::{
    Begin, BlockingExternalCall, Call, Client, Clock, Durable, EnqueueBulkFuture, EnqueueError,
    EnqueueFuture, EnqueueService, EnqueueServiceFuture, External, ExternalCall, ExternalFault,
    HandlerOptions, JobQueue, LeaseError, LeaseExtension, NewJob, Pause, Perform, PerformFuture,
    PerformService, Process, RawAttempt, Retries, Rng, Sequence, StopSignal, Stopping, Store, StoreCall,
    Transaction, TypedCall,
};
/// Turns an `async fn(world: &World)` into a test that explores it. The test fails with the report unless the
/// function is retry-proof.
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
pub use search::choice::{DeviationKind, Name};
pub use search::scenario::{Scenario, ScenarioError};
pub use system::effect::{Effect, Effects};
pub use system::job::{
    Backoff, BackoffFunction, Conflict, Decision, Delivery, FailedAttempt, JobError, JobFailure, JobId,
    JobKey, JobResult, JobState, JobView, LockTaken, Ordered, Unique,
};
#[doc(inline)]
pub use system::service;
pub use system::service::{Service, ServiceError, StoreError};
pub use world::{
    Drain, EffectRules, Guarantee, Jobs, LockView, ProcessRules, QueueView, Settle, SettleUntil, Stats, World,
};

/// Returns the name under which libtest knows a test: its path without the crate.
#[doc(hidden)]
pub fn __test_name(module: &str, function: &str) -> String {
    match module.split_once("::") {
        Some((_, module)) => format!("{module}::{function}"),
        None => function.to_owned(),
    }
}
