//! The world as a test body sees it.

mod assertions;
mod drains;
mod inputs;
mod jobs;
mod locks;
mod ordinary;
mod outside;
mod queue;
mod shutdown;
mod stats;

pub use drains::{Drain, Settle, SettleUntil};
pub use locks::LockView;
pub use queue::QueueView;
pub use stats::Stats;

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::engine::runtime::Pool;
use crate::engine::state::Shared;
use crate::executor::Executor;
use crate::executor::watch::Watch;
use crate::process::{Client, Durable, EnqueueLayers, Link, Observed, Process, Rng, Store};
use crate::search::choice::Name;
use crate::system::clock::Moment;
use crate::system::effect::Effects;
use crate::system::service::Service;
use crate::system::service::email::EmailService;
use crate::system::service::error_catcher::ErrorCatcher;
use crate::system::service::fulfillment::Fulfillment;
use crate::system::service::payments::Payments;

/// How often an effect may happen.
///
/// ```
/// use retryproof::service::email::Email;
/// use retryproof::{Explore, Guarantee, Report, World};
///
/// let sending = |guarantee: Guarantee| -> Report {
///     Explore::new().deviations(1).run(async move |world: &World| {
///         world.allow("email.send", guarantee); // a service that knows no idempotency key
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
    /// As often as in a run in which nothing goes wrong.
    #[default]
    ExactlyOnce,
    /// As often or oftener.
    AtLeastOnce,
    /// As often or less.
    AtMostOnce,
    /// However often.
    Unchecked,
}

/// What the test has said about the comparison of outcomes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// `service` or `service.operation`, and its guarantee.
    pub(crate) allowed: Vec<(String, Guarantee)>,
    /// Parts of observed states that are not compared: the name of the state, a path.
    pub(crate) ignored: Vec<(Name, crate::system::json_path::JsonPath)>,
    /// Kinds of jobs that may give up when they have done a part of what they do.
    pub(crate) half_way: Vec<&'static str>,
    /// Whether what is asking for trouble is a violation.
    pub(crate) warnings_denied: bool,
}

/// A small world: a queue, worker processes, the services they call. One is made for each run.
///
/// What the test body does through it are *givens*: no faults, no crash points, no oracle, but part of the state.
///
/// ```
/// use retryproof::World;
///
/// // A test describes it in its body; this one is for an ordinary test, in which nothing goes wrong.
/// let world = World::fake();
/// let counted = world.durable("counted", 0_u32);
/// world.process("worker", {
///     let counted = counted.clone();
///     move |p| {
///         let counted = counted.clone();
///         p.handle(async move |by: u32| counted.update(|counted| *counted += by));
///     }
/// });
/// world.enqueue(2_u32);
/// world.enqueue(3_u32);
/// assert_eq!(world.drain_all().run().unwrap().succeeded, 2);
/// assert_eq!(counted.get(), 5);
/// ```
pub struct World {
    shared: Arc<Shared>,
    executor: RefCell<Executor>,
    observed: Rc<RefCell<Vec<Observed>>>,
    terms: RefCell<Terms>,
    enqueue_layers: RefCell<EnqueueLayers>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("now", &format_args!("{}", Moment(self.now()))).finish_non_exhaustive()
    }
}

impl World {
    pub(crate) fn new(shared: Arc<Shared>, pool: Pool, watch: Watch) -> Self {
        let executor = Executor::new(shared.clone(), pool, watch);
        let observed = executor.observed.clone();
        Self {
            shared,
            executor: RefCell::new(executor),
            observed,
            terms: RefCell::default(),
            enqueue_layers: RefCell::default(),
        }
    }

    pub(crate) fn link(&self) -> Link {
        Link::Test(self.shared.clone())
    }

    /// Adds a worker process. `boot` is called now, and again after every crash: what it builds dies with the process.
    ///
    /// # Panics
    /// When there is a process of that name already.
    #[track_caller]
    pub fn process(&self, name: impl Into<Name>, boot: impl Fn(&Process) + 'static) {
        self.executor.borrow_mut().add(name.into(), Box::new(boot));
    }

    /// Holds state that outlives every crash, in place of a database. It is compared when the run ends.
    ///
    /// # Panics
    /// When the name is taken.
    #[track_caller]
    pub fn durable<T>(&self, name: impl Into<Name>, value: T) -> Durable<T>
    where
        T: Serialize + Clone + Send + 'static,
    {
        let durable = Durable::new(self.shared.clone(), name.into(), value);
        self.add_observed(durable.observed());
        durable
    }

    /// Has state looked at when the run ends, and compared: rows of a database, say.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    ///
    /// retryproof::check(async |world: &retryproof::World| {
    ///     let database = Rc::new(Cell::new(0)); // yours, and made anew in each run
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
    /// When the name is taken.
    #[track_caller]
    pub fn observe<T: Serialize>(&self, name: impl Into<Name>, look: impl Fn() -> T + 'static) {
        let look = Box::new(move || serde_json::to_string(&look()));
        self.add_observed(Observed { name: name.into(), look });
    }

    #[track_caller]
    fn add_observed(&self, new: Observed) {
        let mut observed = self.observed.borrow_mut();
        assert!(
            observed.iter().all(|known| known.name != new.name),
            "the state `{}` was named twice; give each durable or observed state a name of its own",
            new.name
        );
        observed.push(new);
    }

    /// Leaves a part of a durable or observed state out of the comparison: times, versions, random ids.
    ///
    /// A path is `$`, then `.name`, `[3]`, `[*]`, `.*` or `..name` (at any depth): `$[*].updated_at`.
    ///
    /// ```
    /// retryproof::check(async |world: &retryproof::World| {
    ///     world.ignore("store", "$.order.paid_at"); // later, if it has to be tried again
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
    /// When the path does not parse.
    #[track_caller]
    pub fn ignore(&self, name: impl Into<Name>, path: &str) {
        let path = path.parse().unwrap_or_else(|error| panic!("{error}"));
        self.terms.borrow_mut().ignored.push((name.into(), path));
    }

    /// States a guarantee for an effect, `service.operation` or all those of a `service`. Exactly once unless told.
    pub fn allow(&self, effect: impl Into<String>, guarantee: Guarantee) {
        self.terms.borrow_mut().allowed.push((effect.into(), guarantee));
    }

    /// Lets a job of this kind give up half-way: when it ends dead or discarded, some of what it does may have happened and
    /// some not. By default it must be all or nothing.
    ///
    /// Only the effects and the state of that job are excused, and only if it gives up.
    pub fn may_stop_half_way<J: 'static>(&self) {
        self.terms.borrow_mut().half_way.push(crate::system::job::kind_of::<J>());
    }

    /// Makes a violation of what is a warning otherwise ([`Report::warnings`](crate::Report::warnings)): a call to the
    /// outside, or an enqueue, while a transaction of the store is open; a pool of connections smaller than the slots of
    /// its process.
    pub fn deny_warnings(&self) {
        self.terms.borrow_mut().warnings_denied = true;
    }

    /// Has `check` called after every step of every job. A panic in it is a violation.
    ///
    /// ```
    /// use retryproof::{Explore, Oracle, World};
    ///
    /// let report = Explore::new().run(async |world: &World| {
    ///     let (from, to) = (world.durable("from", 100_u32), world.durable("to", 0_u32));
    ///     world.always({
    ///         let (from, to) = (from.clone(), to.clone());
    ///         move || assert_eq!(from.get() + to.get(), 100, "money is neither made nor lost")
    ///     });
    ///     world.process("worker", move |p| {
    ///         let (from, to, clock) = (from.clone(), to.clone(), p.clock());
    ///         p.handle(async move |cents: u32| {
    ///             from.update(|from| *from -= cents);
    ///             clock.yield_now().await;
    ///             to.update(|to| *to += cents);
    ///         });
    ///     });
    ///     world.enqueue(30_u32);
    ///     world.settle().await;
    /// });
    /// assert_eq!(report.violations()[0].oracle, Oracle::Body);
    /// assert!(report.violations()[0].summary.contains("money is neither made nor lost"));
    /// ```
    pub fn always(&self, check: impl Fn() + 'static) {
        self.executor.borrow_mut().always.push(Box::new(check));
    }

    /// The effects so far, givens included.
    pub fn effects(&self) -> Effects {
        Effects::new(self.shared.state().ledger.effects().to_vec())
    }

    /// The time since the world began.
    pub fn now(&self) -> Duration {
        self.shared.state().clock.now()
    }

    /// Random numbers that are the same in every run.
    pub fn rng(&self) -> Rng {
        Rng::new(self.link())
    }

    /// The payment service, for givens and to look at.
    pub fn payments(&self) -> Client<Payments> {
        Client::new(self.link(), "payments".into(), self.shared.services.payments.clone())
    }

    /// The email service, for givens and to look at.
    pub fn email(&self) -> Client<EmailService> {
        Client::new(self.link(), "email".into(), self.shared.services.email.clone())
    }

    /// The fulfillment service, for givens and to look at.
    pub fn fulfillment(&self) -> Client<Fulfillment> {
        Client::new(self.link(), "fulfillment".into(), self.shared.services.fulfillment.clone())
    }

    /// The error catcher, for givens and to look at.
    pub fn error_catcher(&self) -> Client<ErrorCatcher> {
        Client::new(self.link(), "error_catcher".into(), self.shared.services.error_catcher())
    }

    /// The shared database, for givens, settings and to look at. It is there if anybody asks for it, and then its rows are
    /// compared when the run ends, under the name `store`.
    pub fn store(&self) -> Store {
        Store::new(self.link())
    }

    /// Puts in a service of the test's own. It has the same faults, ledger and crash points as the built-in ones; processes
    /// reach it by [`Process::service`]. What comes back is for givens, settings, and to look at.
    ///
    /// One function is enough ([`function`](crate::system::service::function)); any [`Service`] will do.
    ///
    /// # Panics
    /// When there is a service of that name already.
    pub fn service<S: Service>(&self, name: impl Into<Name>, service: S) -> Client<S> {
        let name = name.into();
        let door = self.shared.services.add(name, service).unwrap_or_else(|error| panic!("{error}"));
        Client::new(self.link(), name, door)
    }

    /// Kills a process, as a power cut would. It restarts after a second; the jobs that it ran come back when their
    /// leases end.
    ///
    /// # Panics
    /// When there is no process of that name.
    pub fn crash(&self, process: &str) {
        self.executor.borrow_mut().crash(process);
    }

    pub(crate) fn executor(&self) -> std::cell::RefMut<'_, Executor> {
        self.executor.borrow_mut()
    }

    pub(crate) fn take_terms(&self) -> Terms {
        self.terms.take()
    }

    /// The states under observation, as JSON.
    ///
    /// # Errors
    /// When one cannot be written as JSON: its name and why.
    pub(crate) fn look(&self) -> Result<Vec<(Name, String)>, (Name, serde_json::Error)> {
        let observed = self.observed.borrow();
        let states =
            observed.iter().map(|o| (o.look)().map(|json| (o.name, json)).map_err(|error| (o.name, error)));
        states.chain(self.shared.services.stored().map(Ok)).collect()
    }
}
