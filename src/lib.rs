//! Crashes your background jobs at every await, loses their replies, delivers them twice, lets workers overtake each
//! other, and proves that their effects still happen exactly once.
//!
//! A dev-dependency. A test describes a small world (a queue, worker processes, the outside services that jobs call)
//! and the jobs to run in it. The harness runs that world again and again, each time with something else going wrong,
//! and checks that the outcome is always one that could have come about with nothing going wrong.
//!
//! # A job that fails
//!
//! ```
//! #[retryproof::test]
//! async fn an_order_is_paid_and_shipped_once(world: &World) {
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
//! There is no assertion in it. This is what `cargo test` says:
//!
//! ```text
#![doc = include_str!("../docs/report.txt")]
//! ```
//!
//! # The fix
//!
//! The order is charged again because the second attempt cannot tell that the first one got as far as that. With an
//! idempotency key that is the same in every attempt the service can:
//!
//! ```ignore
//! p.handle(async move |job: CompleteOrder| {
//!     let key = format!("order-{}", job.order_id);
//!     payments.charge(Charge::of_order(job.order_id, 2_598).key(&key)).await?;
//!     parcels.request(Shipment::of_order(job.order_id, "pr_3", 1).address("1 Main St").key(&key)).await
//! });
//! ```
//!
//! The key comes from the job. One from the time, the attempt or a random number is another one each time, and the
//! harness finds that, too:
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
//! * **Job, attempt**: a job is any type that serde can write and read; its kind is its type's path. Each time that a
//!   worker takes it is an attempt.
//! * **Process**: the unit that crashes. What its boot closure builds dies with it and is built anew when it
//!   restarts: a new *incarnation*.
//! * **Durable**: what outlives a crash: the queue, the services, the [`Store`], [`World::durable`].
//! * **Effect**: something done to the outside that a customer could notice: a charge, an email, a parcel. A read is
//!   none.
//! * **Given**: what the test body itself does through `world.…`: no faults, no crash points, no oracle, but part of
//!   the state.
//! * **Choice**: what the world does not determine by itself. Option 0 is the ordinary course; any other is a
//!   *deviation*.
//! * **Scenario**: a run's name: its deviations. The one without any is the *reference run*.
//! * **Oracle**: says whether an outcome is an expected one. What it finds is a *violation*.
//! * **Replay**: one scenario, run again from the line that the report prints, by `RETRYPROOF_REPLAY='…' cargo test`.
//!
//! # The map
//!
//! Start with [`macro@test`], or [`check`] where an attribute is in the way; [`Explore`] has the settings.
//!
//! * *The test's side*: [`World`], its [`Guarantee`]s, what else a test accepts ([`Allowed`], [`Hosted`], [`Jobs`]), what it lets be looked at ([`Effects`], [`Effect`],
//!   [`JobView`], [`JobState`], [`JobId`], [`QueueView`], [`Stats`]). Jobs run in a [`Drain`], which says what came of it
//!   ([`Drained`]) or how it failed ([`DrainError`]), or as in production ([`Settle`], [`SettleUntil`]).
//!   [`World::fake`] and [`World::inline`] are worlds for ordinary tests, in which nothing goes wrong.
//! * *The code's side*: [`Process`] and the handles it gives out. [`Client`] reaches a [`service`], its calls are
//!   [`Call`]s and [`TypedCall`]s and fail with a [`ServiceError`]. The [`Store`] is the shared database, with [`Sequence`]s: its calls are
//!   [`StoreCall`]s, its [`Transaction`]s [`Begin`], and they fail with a [`StoreError`]. [`JobQueue`] enqueues
//!   ([`EnqueueFuture`], [`EnqueueBulkFuture`], [`EnqueueError`]), [`Clock`] waits ([`Pause`]), [`Rng`] draws, a
//!   [`StopSignal`] tells that the process is to stop ([`Stopping`]). [`Durable`] is the test's and the code's.
//! * *What is really outside* (a database, a cache, a table of jobs of the user's own): [`World::outside`] sets it up,
//!   [`Process::outside`] calls it. An [`Outside`] makes each [`OutsideCall`] or [`BlockingOutsideCall`] a place to crash
//!   and to fail ([`OutsideFault`]); loops of the code's own are [`spawn`](Process::spawn)ed.
//! * *Handlers*: what they may answer ([`JobResult`], [`JobFailure`]), their options ([`HandlerOptions`], [`Backoff`],
//!   [`BackoffFunction`], [`Delivery`]), locks that make jobs unique ([`Unique`], [`Conflict`], [`LockTaken`],
//!   [`LockView`]) and the order in which they run ([`Ordered`]), who hears of a failed attempt ([`Failed`]) and what
//!   is decided by its error ([`Decision`]), and why a job could not be run ([`JobError`]). A call by a client that no
//!   queue hands out again is a [`ClientRequest`].
//! * *Queues of others*: what an adapter needs. An [`Enqueue`] may be known by its name, and may have a [`JobKey`];
//!   [`Process::handle_raw`] handles it, and is given a [`RawAttempt`].
//! * *Middleware*: any `tower::Layer` around each attempt ([`Process::layer`], [`HandlerOptions::layer`]: a
//!   [`Perform`] goes through it into the [`PerformService`], a [`PerformFuture`]; [`Retries`] tells whether a failure
//!   is the last) and around each enqueue ([`Process::enqueue_layer`]: an [`Enqueue`] goes into the
//!   [`EnqueueService`], an [`EnqueueServiceFuture`]). Ready ones are in [`middleware`].
//! * *What comes out*: a [`Report`] with its [`Verdict`], each [`Violation`] with its [`Code`], the [`Oracle`] that found it and
//!   its [`Scenario`] ([`ScenarioError`] where a text is none), the [`Kind`]s of deviations, who got [`Stuck`]. A
//!   [`Warning`] is about what works and is asking for trouble. [`Report::by_line`] is the map of the jobs
//!   ([`LineMap`], [`FunctionMap`], [`PointMap`], [`LineCrash`]): what a crash at each line leaves behind;
//!   [`Report::timeline`] what happened in the run that is shown ([`Timeline`], [`TimelineEvent`]). A [`Name`]
//!   is a text that costs nothing to copy.
//! * *Services*: [`Service`] is what the built-in ones are written with. [`World::service`] puts in one of one's own,
//!   which may be a single [`function`](service::function). With the feature `http` they stand behind a real port,
//!   too
#![cfg_attr(feature = "http", doc = "  ([`Http`])")]
//!   for clients that speak HTTP
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
//! * *With other crates*: features for what a test suite has beside this crate
#![cfg_attr(feature = "proptest", doc = "  ([`proptest`]: properties of workloads and scenarios)")]
#![cfg_attr(feature = "tracing", doc = "  ([`tracing`]: what the failing scenario logs, in its timeline)")]
//!   .
//!
//! # Reading on
//!
//! * [`cookbook`]: techniques that make jobs repeatable, each with what it does not protect against.
//! * [`violations`]: what each code of a report means, with a smallest job that is condemned for it.
//! * [`tools`]: attempts polled by hand and sockets written down beforehand (`tokio-test`), snapshots (`insta`), workers of
//!   job libraries.
//!
//! # Limitations
//!
//! * What does not go through the handles of a process, [`World::durable`] or a timer is not seen. Crashes fall on
//!   the awaits of those calls and before the statements of functions with `#[crash_points]` (of the crate
//!   `crash-points`), not between any two other lines; a tokio timer is no crash point. [`Clock::yield_now`] is one,
//!   wherever it is wanted.
//! * Workers overtake each other ([`Kind::Schedule`]) at the awaits of those calls and of the [`Clock`]'s waits; what
//!   lies between two of them is one step. A blocking handler is overtaken at its calls, and at the lines of its
//!   `#[crash_points]` functions; that it waits for a lock of the standard library is seen on Linux, and guessed elsewhere.
//! * The [`Store`] is a model: rows under keys, as PostgreSQL isolates them, not the queries of a database. Who blocks
//!   (`put_blocking`, …) and would have to wait for a row is [`Verdict::Stuck`], outside of `handle_blocking`.
//! * Stale reads, outages, search lag, keys that expire, timers that come days late ([`Kind::Delay`]) and deploys are
//!   explored where the test asks for them ([`Client::stale_reads`] and its neighbours, [`Explore::delays`],
//!   [`World::deploys`]).
//! * A unique job that is enqueued before any process has said that its kind is unique takes no lock. Its lock and its
//!   place in the queue are two steps, as over Redis; one transaction that does both has no window in which to die.
//! * Over sockets (features `http` and `wire`) calls from `spawn_blocking`, and from tokio tasks between two steps of an
//!   attempt, are served when nothing else can go on. A client that blocks is waited for in `handle_blocking` and
//!   `spawn_blocking`; anywhere else each call takes a second of real time. Such a client's own timeout runs in real
//!   time: where no answer comes, its connection is reset instead. It is not stopped when its process dies at a call; its
//!   connection is reset. A request or a reply of which only a part is sent, or read, before the code waits for something
//!   else, is waited for in vain for half a second of real time, and a request that has not come whole after five seconds
//!   is cut off. Ports differ from run to run; a failure's text has them as `worker.localhost`.
//! * Other sockets, database drivers and other threads are waited for inside of a call to the [`Outside`], and in
//!   `tokio::task::spawn_blocking`. Anywhere else the paused clock runs on to the next timer, and without one the run is
//!   [`Verdict::Stuck`].
//! * A database's own clock (`now()` in SQL) is the real one: leases and the like are to be given the time as an argument.
//!   Who waits in one for a lock is known by [`Outside::waits`]; without it, and for a connection of a pool that is
//!   exhausted, by nothing but the real time that has passed. Which of two transactions a database has die of a deadlock
//!   is its own affair, and may differ from run to run.
//! * Threads of a job's own and statics outlive a crash, and all async handlers of a world run on one thread. A loop that neither awaits
//!   nor calls cannot be stopped.
//! * `tokio::select!` without `biased;`, a `HashMap`'s order and random ids differ from run to run. What shows of it
//!   is [`Verdict::Nondeterministic`].
//! * Samples past the bound ([`Explore::random`], [`Explore::pct`]) prove nothing. Who goes on is drawn among the
//!   tasks that could at the time; so PCT's probability is about those choices, not about instructions.
//! * With [`Explore::threads`] the body is run on several threads at once: what it reaches beyond its world must bear
//!   that.
//! * Memory that threads share is no part of a scenario, and crashes are no part of a model (feature `loom`): a model has
//!   up to five threads, and sees what they do to its own types.
//! * A build with `panic = "abort"` is refused: a job that panics, and a crash at a line or in a blocking handler, need
//!   unwinding. `cargo test` always unwinds.
//!
//! # Design
//!
//! A run is the happy path plus a short list of deviations. Run 0 takes option 0 everywhere. Its children take one
//! other option at one of the choices that it recorded; the children of a scenario are the deviations *after its last
//! one*, taken from its own record. That names each run exactly once even though a deviation changes which choices
//! come later, and needs no model of the job. Runs with fewer deviations come first, so the first failure is already
//! a smallest one.
//!
//! Time is virtual: it stands still while anything can go on, then jumps to the next timer. Ids derive from content,
//! so that an extra effect does not move those of later ones. The reference run is run again at the start and at the
//! end: a difference is the code's own nondeterminism.
//!
//! A crash at an await drops the attempt's future while its process is marked dead; a crash at a line or in a
//! blocking call unwinds to where the attempt is polled, without a panic's message. A dead process does nothing more:
//! its async calls never complete, and what its destructors ask for is answered from throw-away copies.
//!
//! The outcome of a run is compared, as a multiset of effects, the durable and observed state, and the end of each
//! job, with the reference run and with every other one-at-a-time order of the same jobs. So a lost effect is a
//! violation, and a harmless reordering is none.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

// Only the guide's pages with code of their own: the others include a page that is tested here.
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

#[doc = include_str!("../docs/cookbook.md")]
pub mod cookbook {}

#[doc = include_str!("../docs/violations.md")]
pub mod violations {}

#[doc = include_str!("../docs/tools.md")]
pub mod tools {}

#[cfg(feature = "wire")]
#[doc = include_str!("../docs/adding-a-protocol.md")]
pub mod adding_a_protocol {}

// The rooms, in the order in which data flows: each knows only those above it (tests/tidy.rs).
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
    Begin, BlockingOutsideCall, Call, Client, Clock, Durable, Enqueue, EnqueueBulkFuture, EnqueueError,
    EnqueueFuture, EnqueueService, EnqueueServiceFuture, HandlerOptions, JobQueue, Outside, OutsideCall,
    OutsideFault, Pause, Perform, PerformFuture, PerformService, Process, RawAttempt, Retries, Rng, Sequence,
    StopSignal, Stopping, Store, StoreCall, Transaction, TypedCall,
};
/// Makes an `async fn(world: &World)` into a test that explores it, and fails with the report unless it is
/// retry-proof.
///
/// The arguments are settings of [`Explore`]: `deviations`, `crashes`, `faults`, `deliveries`, `switches`, `delays`,
/// `max_runs`, `max_time`, `max_steps`, `seed`, `random`, `threads`, `merge`, each with a value; `pct` and `shard`, each
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
pub use search::choice::{Kind, Name};
pub use search::scenario::{Scenario, ScenarioError};
pub use system::effect::{Effect, Effects};
pub use system::job::{
    Backoff, BackoffFunction, Conflict, Decision, Delivery, Failed, JobError, JobFailure, JobId, JobKey,
    JobResult, JobState, JobView, LockTaken, Ordered, Unique,
};
#[doc(inline)]
pub use system::service;
pub use system::service::{Service, ServiceError, StoreError};
pub use world::{
    Allowed, ClientRequest, Drain, Guarantee, Hosted, Jobs, LockView, QueueView, Settle, SettleUntil, Stats,
    World,
};

/// The name under which libtest knows a test: its path without the crate.
#[doc(hidden)]
pub fn __test_name(module: &str, function: &str) -> String {
    match module.split_once("::") {
        Some((_, module)) => format!("{module}::{function}"),
        None => function.to_owned(),
    }
}
