//! A process: the unit that crashes. What its boot closure builds dies with it and is built anew when it restarts.

#[cfg(test)]
mod by_hand;
#[cfg(test)]
mod call_table;
mod handlers;
mod handles;

pub use handlers::handler::HandlerOptions;
pub use handlers::layers::{Perform, PerformFuture, PerformService, Retries};
pub use handlers::raw::RawAttempt;
pub use handles::bulk::EnqueueBulkFuture;
pub use handles::client::{Call, Client, TypedCall};
pub use handles::clock::{Clock, Pause};
pub use handles::durable::Durable;
pub use handles::enqueue::{EnqueueService, EnqueueServiceFuture, NewJob};
pub use handles::external::{BlockingExternalCall, External, ExternalCall, ExternalFault};
pub use handles::pending::{EnqueueError, EnqueueFuture};
pub use handles::queue::JobQueue;
pub use handles::rng::Rng;
pub use handles::stop::{StopSignal, Stopping};
pub use handles::store::{Begin, Sequence, Store, StoreCall, Transaction};

use handlers::blocking::Blocking;
use handlers::{hooks, layers, queues};
use handles::stop;

pub(crate) use crate::engine::link::Link;
pub(crate) use handlers::attempt::Attempt;
pub(crate) use handlers::handler::Registration;
pub(crate) use handlers::queues::Order;
pub(crate) use handles::durable::Observation;
pub(crate) use handles::enqueue::{EnqueueLayers, JobParts, incoming};
pub(crate) use handles::store::hang_up;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::engine::life::Life;
use crate::engine::slots::Slots;
use crate::search::choice::{Name, Place};
use crate::system::job::{JobResult, kind_of};
use crate::system::service::Service;
use crate::system::service::email::EmailService;
use crate::system::service::error_tracker::ErrorTracker;
use crate::system::service::fulfillment::Fulfillment;
use crate::system::service::payments::Payments;

/// How many jobs a process runs at once, unless told.
const SLOTS: usize = 5;

/// The code's side of the world: what a boot closure builds its jobs from.
///
/// Every handle it gives out carries this incarnation. Once the process is dead, its handles do nothing more: async
/// calls never complete, blocking calls unwind.
///
/// ```
/// use retryproof::World;
/// use retryproof::service::payments::Charge;
///
/// retryproof::check(async |world: &World| {
///     world.process("worker", |p| {
///         // What is built here dies with the process, and is built again when it restarts.
///         let (payments, store) = (p.payments(), p.store());
///         p.slots(2).handle(async move |order: u32| {
///             payments.charge(Charge::of_order(order, 500).key(format!("order-{order}"))).await?;
///             store.put(format!("paid:{order}"), &true).await
///         });
///     });
///     world.enqueue(6_u32);
///     world.settle().await;
/// });
/// ```
pub struct Process {
    link: Link,
    handlers: RefCell<Vec<Registration>>,
    slots: RefCell<usize>,
    queues: RefCell<queues::QueueSelection>,
    hooks: RefCell<hooks::Hooks>,
    spawned: RefCell<Vec<(Name, Attempt)>>,
    threads: Slots,
    layers: RefCell<layers::Layers>,
    enqueue_layers: RefCell<EnqueueLayers>,
    /// Whether the queue was given out, with the layers that there were.
    gave_queue: Cell<bool>,
    grace: Cell<Duration>,
    uses_store: Cell<bool>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.name())
            .field("incarnation", &self.incarnation())
            .finish()
    }
}

impl Process {
    pub(crate) fn new(life: Arc<Life>) -> Self {
        let (handlers, slots) = (RefCell::new(Vec::new()), RefCell::new(SLOTS));
        let link = Link::Process(life);
        Self {
            link,
            handlers,
            slots,
            queues: RefCell::default(),
            hooks: RefCell::default(),
            spawned: RefCell::default(),
            threads: Slots::default(),
            layers: RefCell::default(),
            enqueue_layers: RefCell::default(),
            gave_queue: Cell::new(false),
            uses_store: Cell::new(false),
            grace: Cell::new(stop::GRACE),
        }
    }

    #[cfg(feature = "wire")]
    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    fn life(&self) -> &Life {
        self.link.life().expect("a process has an incarnation")
    }

    /// The name of the process.
    pub fn name(&self) -> Name {
        self.life().process
    }

    /// Which incarnation this is, from 1: how often the process was booted.
    pub fn incarnation(&self) -> u32 {
        self.life().incarnation
    }

    /// Handles the jobs of one kind: that of the type which the handler takes.
    ///
    /// A handler answers nothing, or a `Result`; an error, or a panic, is a failure of the attempt, which is tried
    /// again after its backoff.
    ///
    /// # Panics
    /// When the kind is handled twice in one process.
    #[track_caller]
    pub fn handle<J, R, F>(&self, handler: F) -> HandlerOptions<'_>
    where
        J: DeserializeOwned + 'static,
        R: JobResult + 'static,
        F: AsyncFn(J) -> R + 'static,
    {
        self.register(Registration::asynchronous::<J, R, F>(kind_of::<J>(), Place::caller(), handler))
    }

    /// Handles the jobs of one kind with a function that blocks: its calls are the handles' blocking forms
    /// (`charge_blocking`, …), and a crash at one of them unwinds.
    ///
    /// Each slot of the process has a thread of its own for such jobs, from the first one on until the process ends:
    /// what a job leaves in a thread-local, the next one on the slot finds. One thread runs at a time. Others may go on in
    /// its place at each call, and at each line of a `#[crash_points]` function. One that waits for a lock of the standard
    /// library, which another slot holds, is waited for; when all wait so, the run is stuck, and the report says for whom.
    ///
    /// What goes to the thread and back is `Send`: an error such as `Box<dyn Error + Send + Sync>`, not `Box<dyn Error>`.
    ///
    /// An attempt whose future is dropped before its end (by a layer that has had enough) unwinds from its next call or
    /// line.
    ///
    /// # Panics
    /// When the kind is handled twice in one process.
    #[track_caller]
    pub fn handle_blocking<J, R, F>(&self, handler: F) -> HandlerOptions<'_>
    where
        J: DeserializeOwned + Send + 'static,
        R: JobResult + Send + 'static,
        F: Fn(J) -> R + Send + Sync + 'static,
    {
        let handler = Blocking::new(self.link.clone(), self.threads.clone(), handler);
        self.register(Registration::new(kind_of::<J>(), Place::caller(), Rc::new(handler)))
    }

    #[track_caller]
    fn register(&self, registered: Registration) -> HandlerOptions<'_> {
        let mut handlers = self.handlers.borrow_mut();
        assert!(
            handlers.iter().all(|known| known.kind != registered.kind),
            "process `{}` handles {} twice; each kind of job has one handler a process",
            self.name(),
            registered.kind,
        );
        self.link.shared().state().options_mut(registered.kind);
        handlers.push(registered);
        HandlerOptions::new(self, handlers.len() - 1)
    }

    /// Runs a loop of the code's own beside the handlers: a worker that polls a table of jobs, a relay, a scheduler. It is
    /// polled from the boot on, overtaken and crashed at its awaits like an attempt, and begun anew with each incarnation.
    /// When it ends with an error, or panics, the process dies of it, and restarts.
    ///
    /// [`World::settle`](crate::World::settle) waits for jobs of the world's queue alone. A loop that never ends is let
    /// run by [`World::settle_until`](crate::World::settle_until).
    ///
    /// ```
    /// use std::time::Duration;
    /// use retryproof::World;
    ///
    /// retryproof::check(async |world: &World| {
    ///     let orders = world.durable("orders", vec!["placed"; 2]);
    ///     let table = orders.clone();
    ///     world.process("worker", move |p| {
    ///         let (clock, table) = (p.clock(), table.clone());
    ///         p.spawn("poller", async move {
    ///             loop {
    ///                 table.update(|orders| orders.iter_mut().find(|order| **order == "placed").map(|order| *order = "shipped"));
    ///                 clock.sleep(Duration::from_secs(10)).await;
    ///             }
    ///         });
    ///     });
    ///     world.settle_until(|_| orders.read(|orders| orders.iter().all(|order| *order == "shipped"))).await;
    /// });
    /// ```
    ///
    /// # Panics
    /// When the process has a task of that name already.
    pub fn spawn<R: JobResult>(&self, name: impl Into<Name>, task: impl Future<Output = R> + 'static) {
        let name = Name::from(format!("{}/{}", self.name(), name.into()));
        let mut spawned = self.spawned.borrow_mut();
        assert!(
            spawned.iter().all(|(known, _)| *known != name),
            "the task `{name}` was spawned twice; give each task of a process a name of its own"
        );
        spawned.push((name, Box::pin(async move { task.await.into_result() })));
    }

    pub(crate) fn take_spawned(&self) -> Vec<(Name, Attempt)> {
        self.spawned.take()
    }

    /// How many jobs this process runs at once. 5 unless told.
    ///
    /// # Panics
    /// When it is none.
    pub fn slots(&self, slots: usize) -> &Self {
        assert!(slots > 0, "process `{}` needs at least one slot to run jobs in", self.name());
        *self.slots.borrow_mut() = slots;
        self
    }

    pub(crate) fn slot_count(&self) -> usize {
        *self.slots.borrow()
    }

    pub(crate) fn handles_kind(&self, kind: &str) -> bool {
        self.handlers.borrow().iter().any(|handler| handler.handles(kind))
    }

    /// The payment service, as this incarnation reaches it.
    pub fn payments(&self) -> Client<Payments> {
        Client::new(self.link.clone(), "payments".into(), self.link.shared().services.payments.clone())
    }

    /// The email service, as this incarnation reaches it.
    pub fn email(&self) -> Client<EmailService> {
        Client::new(self.link.clone(), "email".into(), self.link.shared().services.email.clone())
    }

    /// The fulfillment service, as this incarnation reaches it.
    pub fn fulfillment(&self) -> Client<Fulfillment> {
        Client::new(self.link.clone(), "fulfillment".into(), self.link.shared().services.fulfillment.clone())
    }

    /// The error tracker, as this incarnation reaches it. A job that ends dead must then have told it, once; one that is
    /// tried again must not.
    pub fn error_tracker(&self) -> Client<ErrorTracker> {
        Client::new(self.link.clone(), "error_tracker".into(), self.link.shared().services.error_tracker())
    }

    /// A service of the test's own, as this incarnation reaches it: the one that [`World::service`](crate::World::service)
    /// has put in under this name.
    ///
    /// # Panics
    /// When there is none of that name and type.
    #[track_caller]
    pub fn service<S: Service>(&self, name: impl Into<Name>) -> Client<S> {
        let name = name.into();
        // No closure: the panic would be in here, and not where it was asked for.
        let door = match self.link.shared().services.get(name) {
            Ok(door) => door,
            Err(error) => panic!("{error}"),
        };
        Client::new(self.link.clone(), name, door)
    }

    /// The shared database, as this incarnation reaches it.
    pub fn store(&self) -> Store {
        self.uses_store.set(true);
        Store::new(self.link.clone())
    }

    pub(crate) fn uses_store(&self) -> bool {
        self.uses_store.get()
    }

    /// The queue: jobs enqueue jobs through it.
    pub fn queue(&self) -> JobQueue {
        self.gave_queue.set(true);
        JobQueue::new(self.link.clone(), self.enqueue_layers.borrow().clone())
    }

    /// Virtual time.
    pub fn clock(&self) -> Clock {
        Clock::new(self.link.clone())
    }

    /// Random numbers that are the same in every run of the scenario.
    pub fn rng(&self) -> Rng {
        Rng::new(self.link.clone())
    }
}
