//! The world, from the test's side.

mod assertions;
mod drains;
mod inputs;
mod jobs;
mod locks;
mod ordinary;
mod partition;
mod external;
mod queue;
mod request;
mod shutdown;
mod stats;
mod terms;

pub use drains::{Drain, Settle, SettleUntil};
pub use locks::LockView;
pub use queue::QueueView;
pub use request::ClientRequest;
pub use stats::Stats;
pub(crate) use terms::{ComparisonRules, JobTerm, names};
pub use terms::{EffectRules, Jobs, ProcessRules};

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::engine::runtime::Pool;
use crate::engine::state::Shared;
use crate::executor::Executor;
use crate::executor::watch::CrashWatch;
use crate::process::{Client, Durable, EnqueueLayers, Link, Observation, Process, Rng, Store};
use crate::search::choice::Name;
use crate::system::clock::Moment;
use crate::system::effect::Effects;
use crate::system::exact_json;
use crate::system::service::Service;
use crate::system::service::email::EmailService;
use crate::system::service::error_tracker::ErrorTracker;
use crate::system::service::fulfillment::Fulfillment;
use crate::system::service::payments::Payments;

/// How many times an effect may happen.
///
/// ```
/// use retryproof::service::email::Email;
/// use retryproof::{Explore, Guarantee, Report, World};
///
/// let sending = |guarantee: Guarantee| -> Report {
///     Explore::new().deviations(1).run(async move |world: &World| {
///         world.allow("email.send", guarantee); // this service takes no idempotency key
///         world.process("worker", |p| {
///             let email = p.email();
///             p.handle(async move |to: String| email.send(Email::new(to, "welcome")).await);
///         });
///         world.enqueue("ada@example.com".to_owned());
///         world.settle().await;
///     })
/// };
/// assert!(!sending(Guarantee::ExactlyOnce).is_retryproof());
/// let report = sending(Guarantee::AtLeastOnce);
/// assert!(report.is_retryproof() && report.to_string().contains("email.send may be repeated"));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Guarantee {
    /// As often as in the fault-free run.
    #[default]
    ExactlyOnce,
    /// At least as often as in the fault-free run.
    AtLeastOnce,
    /// At most as often as in the fault-free run.
    AtMostOnce,
    /// Any number of times.
    Unchecked,
    /// A number of times in a range, if it happens at all in the fault-free run. See [`Guarantee::between`].
    Between {
        /// The minimum number of times.
        least: u32,
        /// The maximum number of times.
        most: u32,
    },
}

impl Guarantee {
    /// Each job that makes the effect makes it at least `least` and at most `most` times: a webhook that is posted up
    /// to five times until it answers, for example.
    ///
    /// ```
    /// use retryproof::service::email::Email;
    /// use retryproof::{Explore, Guarantee, World};
    ///
    /// let explore = |guarantee: Guarantee| {
    ///     Explore::new().deviations(1).crashes(0).deliveries(0).run(async move |world: &World| {
    ///         world.allow("email.send", guarantee);
    ///         world.process("worker", |p| {
    ///             let email = p.email();
    ///             p.handle(async move |to: String| {
    ///                 for _ in 0..5 {
    ///                     if email.send(Email::new(to.clone(), "hook")).await.is_ok() {
    ///                         return Ok(());
    ///                     }
    ///                 }
    ///                 Err("no answer")
    ///             });
    ///         });
    ///         world.enqueue("ada@example.com".to_owned());
    ///         world.settle().await;
    ///     })
    /// };
    /// assert!(!explore(Guarantee::ExactlyOnce).is_retryproof());
    /// assert!(explore(Guarantee::between(1, 5)).is_retryproof());
    /// ```
    ///
    /// # Panics
    /// Panics if `least` is greater than `most`, or if `most` is 0.
    #[track_caller]
    pub const fn between(least: u32, most: u32) -> Self {
        assert!(
            least <= most && most > 0,
            "`Guarantee::between(least, most)`: the first number must not be greater than the second, and the second must be at least 1"
        );
        Guarantee::Between { least, most }
    }

    /// Whether the effect may be missing although the fault-free run has it.
    pub(crate) fn may_lack(self) -> bool {
        matches!(self, Guarantee::AtMostOnce | Guarantee::Unchecked | Guarantee::Between { least: 0, .. })
    }
}

impl ComparisonRules {
    /// Lists what the test checks in addition to outcomes, and what it allows. Each term is one of the two.
    pub(crate) fn checked_and_excused(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let Self {
            allowed,
            items,
            ignored,
            ignored_effects,
            ignored_payloads,
            jobs,
            reliable,
            in_order,
            invariants,
            warnings_denied,
        } = self;
        let in_order = in_order.iter().map(|effects| format!("effects_in_order({effects:?})"));
        let invariants = invariants.iter().map(|name| format!("invariant({:?})", name.as_str()));
        let denied = warnings_denied.then(|| "deny_warnings".to_owned());
        let checked = denied.into_iter().chain(in_order).chain(invariants).collect();
        let allowed = allowed.iter().filter(|(_, guarantee)| *guarantee != Guarantee::ExactlyOnce);
        let allowed = allowed.map(|(effect, guarantee)| format!("allow({effect:?}, {guarantee:?})"));
        let of = |what: &str, on: &str, path: &dyn fmt::Display| format!("{what}({on:?}, \"{path}\")");
        let ignored = ignored.iter().map(|(name, path)| of("ignore", name.as_str(), path));
        let effects = ignored_effects.iter().map(|(name, path)| of("ignore_effect", name, path));
        let payloads = ignored_payloads.iter().map(|(kind, path)| of("ignore_payload", kind, path));
        let items = items.iter().map(|(name, path)| of("as_items", name, path));
        let jobs = jobs.iter().map(|(kind, term)| format!("jobs::<{kind}>() may {term:?}"));
        let reliable = reliable.iter().map(|name| format!("process({:?}) is reliable", name.as_str()));
        let excused = allowed.chain(ignored).chain(effects).chain(payloads).chain(items).chain(jobs);
        (checked, excused.chain(reliable).collect())
    }
}

/// A small world: a queue, worker processes, and the services that they call. Each run has its own.
///
/// Everything that the test body does through it is setup: it has no faults and no crash points, and no oracle checks
/// it, but it is part of the state.
///
/// ```
/// use retryproof::World;
///
/// // A test describes it in its body. This one is for an ordinary test, without injected failures.
/// let world = World::fake();
/// let counted = world.durable("counted", 0_u32);
/// world.process("worker", |p| {
///     let counted = p.durable::<u32>("counted");
///     p.handle(async move |by: u32| counted.update(|counted| *counted += by));
/// });
/// world.enqueue(2_u32);
/// world.enqueue(3_u32);
/// assert_eq!(world.drain_all().run().unwrap().succeeded, 2);
/// assert_eq!(counted.get(), 5);
/// ```
pub struct World {
    shared: Arc<Shared>,
    executor: Rc<RefCell<Executor>>,
    observed: Rc<RefCell<Vec<Observation>>>,
    terms: Rc<RefCell<ComparisonRules>>,
    enqueue_layers: EnqueueLayers,
    /// Whether this is a view of another world, which ends when that one does.
    is_view: bool,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("now", &format_args!("{}", Moment(self.now()))).finish_non_exhaustive()
    }
}

impl World {
    pub(crate) fn new(shared: Arc<Shared>, pool: Pool, watch: CrashWatch) -> Self {
        let executor = Executor::new(shared.clone(), pool, watch);
        let observed = executor.observed.clone();
        Self {
            shared,
            executor: Rc::new(RefCell::new(executor)),
            observed,
            terms: Rc::default(),
            enqueue_layers: EnqueueLayers::default(),
            is_view: false,
        }
    }

    /// Returns a view of the same world, for conditions and invariants. The executor drops all views when the run ends.
    fn view(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            executor: self.executor.clone(),
            observed: self.observed.clone(),
            terms: self.terms.clone(),
            enqueue_layers: self.enqueue_layers.clone(),
            is_view: true,
        }
    }

    pub(crate) fn link(&self) -> Link {
        Link::Test(self.shared.clone())
    }

    /// Adds a worker process. `boot` is called now, and again after every crash: what it builds dies with the process.
    ///
    /// # Panics
    /// Panics if there is already a process with this name.
    #[track_caller]
    pub fn process(&self, name: impl Into<Name>, boot: impl Fn(&Process) + 'static) -> ProcessRules<'_> {
        let name = name.into();
        self.executor.borrow_mut().add(name, Box::new(boot));
        self.hosted(name)
    }

    /// Registers state that survives every crash, in place of a database. It is compared when the run ends. A process reaches
    /// it by its name ([`Process::durable`]).
    ///
    /// # Panics
    /// Panics if the name is taken.
    #[track_caller]
    pub fn durable<T>(&self, name: impl Into<Name>, value: T) -> Durable<T>
    where
        T: Serialize + Clone + Send + 'static,
    {
        let durable = Durable::new(self.shared.clone(), name.into(), value);
        self.add_observed(durable.observed());
        durable
    }

    /// Registers state that is read when the run ends, and compared: the rows of a database, for example.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    ///
    /// retryproof::check(async |world: &retryproof::World| {
    ///     let database = Rc::new(Cell::new(0)); // your own, created anew in each run
    ///     world.observe("stock", {
    ///         let database = database.clone();
    ///         move || database.get()
    ///     });
    ///     world.process("worker", move |p| {
    ///         let database = database.clone();
    ///         p.handle(async move |stock: u32| database.set(stock));
    ///     });
    ///     world.enqueue(7_u32);
    ///     world.settle().await;
    /// });
    /// ```
    ///
    /// # Panics
    /// Panics if the name is taken.
    #[track_caller]
    pub fn observe<T: Serialize>(&self, name: impl Into<Name>, look: impl Fn() -> T + 'static) {
        let look = Box::new(move || exact_json::text(&look()));
        self.add_observed(Observation { name: name.into(), look });
    }

    #[track_caller]
    fn add_observed(&self, new: Observation) {
        let mut observed = self.observed.borrow_mut();
        assert!(
            observed.iter().all(|known| known.name != new.name),
            "the state `{}` was registered twice; give each durable or observed state its own name",
            new.name
        );
        observed.push(new);
    }

    /// Excludes a part of a durable or observed state from the comparison: times, versions, random ids.
    ///
    /// A path is `$`, then `.name`, `[3]`, `[*]`, `.*` or `..name` (at any depth): `$[*].updated_at`. A name may end
    /// with `*`: `$.tx:*` is every row whose key begins with `tx:`. For effects there is
    /// [`ignore_effect`](World::ignore_effect), and for payloads [`Jobs::ignore`].
    ///
    /// ```
    /// retryproof::check(async |world: &retryproof::World| {
    ///     world.ignore("store", "$.order.paid_at"); // it is later after a retry
    ///     world.process("worker", |p| {
    ///         let (store, clock) = (p.store(), p.clock());
    ///         p.handle(async move |_order: u32| {
    ///             store.put("order", &serde_json::json!({"paid": true, "paid_at": clock.now().as_secs()})).await
    ///         });
    ///     });
    ///     world.enqueue(6_u32);
    ///     world.settle().await;
    /// });
    /// ```
    ///
    /// # Panics
    /// Panics if the path does not parse. If there is no state with this name, or if the path names nothing in any run,
    /// the verdict is [`Verdict::Incomplete`](crate::Verdict::Incomplete).
    #[track_caller]
    pub fn ignore(&self, name: impl Into<Name>, path: &str) {
        let path = path.parse().unwrap_or_else(|error| panic!("{error}"));
        self.terms.borrow_mut().ignored.push((name.into(), path));
    }

    /// Turns warnings ([`Report::warnings`](crate::Report::warnings)) into violations: an external call or an enqueue
    /// inside a transaction of the store, and a connection pool smaller than the slots of its process.
    pub fn deny_warnings(&self) {
        self.terms.borrow_mut().warnings_denied = true;
    }

    /// Returns the effects so far, including those of the test's setup.
    pub fn effects(&self) -> Effects {
        Effects::new(self.shared.state().ledger.effects().to_vec())
    }

    /// Returns the time since the world began.
    pub fn now(&self) -> Duration {
        self.shared.state().clock.now()
    }

    /// Returns a source of random numbers that are the same in every run.
    pub fn rng(&self) -> Rng {
        Rng::new(self.link())
    }

    /// Returns the test's client for the payment service, for setup and to read it.
    pub fn payments(&self) -> Client<Payments> {
        Client::built_in(self.link())
    }

    /// Returns the test's client for the email service, for setup and to read it.
    pub fn email(&self) -> Client<EmailService> {
        Client::built_in(self.link())
    }

    /// Returns the test's client for the fulfillment service, for setup and to read it.
    pub fn fulfillment(&self) -> Client<Fulfillment> {
        Client::built_in(self.link())
    }

    /// Returns the test's client for the error tracker, for setup and to read it.
    pub fn error_tracker(&self) -> Client<ErrorTracker> {
        Client::built_in(self.link())
    }

    /// Returns the test's handle for the shared database, for setup and settings, and to read it. The store exists if
    /// anything uses it, and then its rows are compared when the run ends, under the name `store`.
    pub fn store(&self) -> Store {
        Store::new(self.link())
    }

    /// Registers a custom service. It has the same faults, ledger and crash points as the built-in services. Returns the test's
    /// client, for setup and settings, and to read it. A process reaches the service with [`Process::client`] and this
    /// client, or by the name with [`Process::service`].
    ///
    /// One function is enough ([`function`](crate::service::function)), and any [`Service`] works.
    ///
    /// # Panics
    /// Panics if there is already a service with this name.
    pub fn service<S: Service>(&self, name: impl Into<Name>, service: S) -> Client<S> {
        let name = name.into();
        let faulty = self.shared.services.add(name, service).unwrap_or_else(|error| panic!("{error}"));
        Client::new(self.link(), name, faulty)
    }

    /// Crashes a process, like a power cut. It restarts after a second, and the jobs that it ran are redelivered when
    /// their leases end.
    ///
    /// # Panics
    /// Panics if there is no process with this name.
    pub fn crash(&self, process: &str) {
        self.executor.borrow_mut().crash(process);
    }

    pub(crate) fn executor(&self) -> std::cell::RefMut<'_, Executor> {
        self.executor.borrow_mut()
    }

    pub(crate) fn take_terms(&self) -> ComparisonRules {
        self.terms.take()
    }

    /// Returns the observed states as JSON.
    ///
    /// # Errors
    /// Returns the name and the error of a state that cannot be written as JSON.
    pub(crate) fn look(&self) -> Result<Vec<(Name, String)>, (Name, serde_json::Error)> {
        let observed = self.observed.borrow();
        let states =
            observed.iter().map(|o| (o.look)().map(|json| (o.name, json)).map_err(|error| (o.name, error)));
        states.chain(self.shared.services.stored().map(Ok)).collect()
    }
}
