//! A process, which is the unit that crashes. What its boot closure builds dies with it, and is rebuilt when it
//! restarts.

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
pub use handles::lease::{LeaseError, LeaseExtension};
pub use handles::notifier::{Listener, NextNotification, Notifier, Notify};
pub use handles::partition::{Message, Partition, PartitionError};
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

/// The default number of jobs that a process runs at once.
const SLOTS: usize = 5;

/// The world as the code under test sees it. A boot closure builds its jobs from this.
///
/// Every handle belongs to this incarnation of the process. Once the process is dead, its handles do nothing more:
/// async calls never complete, and blocking calls unwind.
///
/// ```
/// use retryproof::World;
/// use retryproof::service::payments::Charge;
///
/// retryproof::check(async |world: &World| {
///     world.process("worker", |p| {
///         // What is built here dies with the process, and is rebuilt when it restarts.
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
    enqueue_layers: EnqueueLayers,
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
            enqueue_layers: EnqueueLayers::default(),
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

    /// Returns the name of the process.
    pub fn name(&self) -> Name {
        self.life().process
    }

    /// Returns the number of this incarnation, which counts the boots of the process from 1.
    pub fn incarnation(&self) -> u32 {
        self.life().incarnation
    }

    /// Registers a handler for the jobs of one kind: the type that the handler takes.
    ///
    /// A handler returns nothing or a `Result`. If it returns an error or panics, the attempt failed, and the job is
    /// retried after its backoff.
    ///
    /// # Panics
    /// Panics if the process already has a handler for this kind.
    #[track_caller]
    pub fn handle<J, R, F>(&self, handler: F) -> HandlerOptions<'_>
    where
        J: DeserializeOwned + 'static,
        R: JobResult + 'static,
        F: AsyncFn(J) -> R + 'static,
    {
        self.register(Registration::asynchronous::<J, R, F>(kind_of::<J>(), Place::caller(), handler))
    }

    /// Registers a blocking handler for the jobs of one kind. It calls the blocking forms of the handles
    /// (`charge_blocking`, …), and a crash at one of these calls unwinds the stack.
    ///
    /// Each slot of the process has its own thread for such jobs, from the first job until the process ends, so a job
    /// finds what the previous job on the slot left in a thread-local. Only one thread runs at a time. Other threads
    /// may run instead at each call, and at each line of a `#[crash_points]` function. If a thread waits for a
    /// standard library lock that another slot holds, retryproof runs the other slots. If all threads wait, the run is
    /// stuck, and the report says what each waits for.
    ///
    /// Everything that goes to the thread and back must be `Send`: an error such as `Box<dyn Error + Send + Sync>`
    /// instead of `Box<dyn Error>`.
    ///
    /// If a layer drops the future of an attempt before its end, the attempt unwinds at its next call or line.
    ///
    /// # Panics
    /// Panics if the process already has a handler for this kind.
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
            "process `{}` handles {} twice; a process has one handler for each kind of job",
            self.name(),
            registered.kind,
        );
        self.link.shared().state().options_mut(registered.kind);
        handlers.push(registered);
        HandlerOptions::new(self, handlers.len() - 1)
    }

    /// Runs a background task beside the handlers: a worker that polls a table of jobs, a relay, a scheduler. The task
    /// starts at boot, and restarts with each incarnation. It can be preempted and crashed at its awaits, like an
    /// attempt. If it returns an error or panics, the process crashes and restarts.
    ///
    /// [`World::settle`](crate::World::settle) only waits for jobs of the world's queue. To run a task that never
    /// ends, use [`World::settle_until`](crate::World::settle_until).
    ///
    ///
    /// ```
    /// use std::time::Duration;
    /// use retryproof::World;
    ///
    /// retryproof::check(async |world: &World| {
    ///     let orders = world.durable("orders", vec!["placed"; 2]);
    ///     world.process("worker", |p| {
    ///         let (clock, table) = (p.clock(), p.durable::<Vec<&str>>("orders"));
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
    /// Panics if the process already has a task with this name.
    pub fn spawn<R: JobResult>(&self, name: impl Into<Name>, task: impl Future<Output = R> + 'static) {
        let name = Name::from(format!("{}/{}", self.name(), name.into()));
        let mut spawned = self.spawned.borrow_mut();
        assert!(
            spawned.iter().all(|(known, _)| *known != name),
            "the task `{name}` was spawned twice; give each task of a process a name of its own"
        );
        spawned.push((name, Box::pin(async move { task.await.into_result() })));
    }

    /// Enqueues a job at each multiple of `interval` since the world began, as a scheduler (cron) in each process does.
    /// `job` makes the request for the n-th time, from 1, or returns `None` to end the schedule. The scheduler tries an enqueue that fails again after a second.
    /// When its process restarts, it enqueues the last one again, because it does not know whether it did so before.
    ///
    /// If several processes have it, each of them enqueues the job, so the request needs a key
    /// ([`NewJob::deduplicate`]).
    ///
    /// ```
    /// use retryproof::job::NewJob;
    /// use retryproof::service::payments::Charge;
    /// use retryproof::{Conflict, Explore, World};
    /// use std::time::Duration;
    ///
    /// const DAY: Duration = Duration::from_secs(86_400);
    /// let report = Explore::new().deviations(1).run(async |world: &World| {
    ///     for node in ["node-1", "node-2"] {
    ///         world.process(node, |p| {
    ///             p.every("nightly", DAY, |night| {
    ///                 let report = NewJob::encoded::<u32>(night.to_string());
    ///                 // One night is enough for a test.
    ///                 (night == 1).then(|| report.deduplicate(format!("night-{night}"), Conflict::Drop))
    ///             });
    ///             let payments = p.payments();
    ///             p.handle(async move |night: u32| {
    ///                 payments.charge(Charge::of_order(night, 500).key(format!("night-{night}"))).await
    ///             });
    ///         });
    ///     }
    ///     world.settle_until(|world| !world.payments().records().is_empty()).await;
    /// });
    /// assert!(report.is_retryproof(), "{report}");
    /// ```
    ///
    /// # Panics
    /// Panics if `interval` is zero, or if the process already has a task with this name.
    pub fn every<R: Into<Option<NewJob>>>(
        &self,
        name: impl Into<Name>,
        interval: Duration,
        job: impl Fn(u64) -> R + 'static,
    ) {
        assert!(!interval.is_zero(), "a scheduler needs an interval; give it at least a second");
        let (clock, queue) = (self.clock(), self.queue());
        self.spawn(name, async move {
            let passed = clock.now().as_nanos() / interval.as_nanos();
            for nth in u64::try_from(passed).unwrap_or(u64::MAX).max(1).. {
                let due = interval.saturating_mul(u32::try_from(nth).unwrap_or(u32::MAX));
                let wait = due.saturating_sub(clock.now());
                if !wait.is_zero() {
                    clock.sleep(wait).await;
                }
                let Some(request) = job(nth).into() else { break };
                while queue.enqueue_new(request.clone()).await.is_err() {
                    clock.sleep(Duration::from_secs(1)).await;
                }
            }
        });
    }

    pub(crate) fn take_spawned(&self) -> Vec<(Name, Attempt)> {
        self.spawned.take()
    }

    /// Sets the number of jobs that this process runs at once. Defaults to 5.
    ///
    /// # Panics
    /// Panics if `slots` is 0.
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

    /// Also handles the jobs of another version of the program, whose types have the same names in another module.
    pub(crate) fn handle_other_version(&self) {
        self.handlers.borrow_mut().iter_mut().for_each(|handler| handler.in_any_module = true);
    }

    /// Returns the kinds that the process handles.
    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        self.handlers.borrow().iter().map(|handler| handler.kind).collect()
    }

    /// Returns this incarnation's client for the payment service.
    pub fn payments(&self) -> Client<Payments> {
        Client::built_in(self.link.clone())
    }

    /// Returns this incarnation's client for the email service.
    pub fn email(&self) -> Client<EmailService> {
        Client::built_in(self.link.clone())
    }

    /// Returns this incarnation's client for the fulfillment service.
    pub fn fulfillment(&self) -> Client<Fulfillment> {
        Client::built_in(self.link.clone())
    }

    /// Returns this incarnation's client for the error tracker. A job that ends dead must then have reported it once,
    /// and a job that is retried must not report anything.
    pub fn error_tracker(&self) -> Client<ErrorTracker> {
        Client::built_in(self.link.clone())
    }

    /// Returns this incarnation's client for a custom service, which [`World::service`](crate::World::service)
    /// registered under this name.
    ///
    /// # Panics
    /// Panics if there is no service with this name and type.
    #[track_caller]
    pub fn service<S: Service>(&self, name: impl Into<Name>) -> Client<S> {
        let name = name.into();
        // Not a closure, so that the panic points to the caller.
        let faulty = match self.link.shared().services.get(name) {
            Ok(faulty) => faulty,
            Err(error) => panic!("{error}"),
        };
        Client::new(self.link.clone(), name, faulty)
    }

    /// Returns this incarnation's client for the service that [`World::service`](crate::World::service) returned.
    ///
    /// ```
    /// use retryproof::service::{ServiceContext, function};
    ///
    /// retryproof::check(async |world: &retryproof::World| {
    ///     let send = |text: String, cx: &mut ServiceContext<'_>| cx.effect("send", Some(&text), &text, "sm_");
    ///     let sms = world.service("sms", function("send", send).honors_keys(|text| Some(text)));
    ///     world.process("worker", move |p| {
    ///         let sms = p.client(&sms);
    ///         p.handle(async move |name: String| sms.call(format!("Hello {name}")).await.map(drop));
    ///     });
    ///     world.enqueue("Ada".to_owned());
    ///     world.settle().await;
    /// });
    /// ```
    ///
    /// # Panics
    /// Panics if the service belongs to another world.
    #[track_caller]
    pub fn client<S: Service>(&self, service: &Client<S>) -> Client<S> {
        service.through(self.link.clone())
    }

    /// Returns the value that the test registered under this name with [`World::durable`](crate::World::durable).
    ///
    /// ```
    /// retryproof::check(async |world: &retryproof::World| {
    ///     let paid = world.durable("paid", false);
    ///     world.process("worker", |p| {
    ///         let paid = p.durable::<bool>("paid");
    ///         p.handle(async move |_order: u32| paid.set(true));
    ///     });
    ///     world.enqueue(6_u32);
    ///     world.settle().await;
    ///     assert!(paid.get());
    /// });
    /// ```
    ///
    /// # Panics
    /// Panics if there is no value with this name and type.
    #[track_caller]
    pub fn durable<T: Clone + Send + 'static>(&self, name: impl Into<Name>) -> Durable<T> {
        let name = name.into();
        match Durable::named(self.link.shared().clone(), name) {
            Ok(durable) => durable,
            Err(error) => panic!("{error}"),
        }
    }

    /// Returns this incarnation's handle for the shared database.
    pub fn store(&self) -> Store {
        self.uses_store.set(true);
        Store::new(self.link.clone())
    }

    pub(crate) fn uses_store(&self) -> bool {
        self.uses_store.get()
    }

    /// Returns this incarnation's handle for the partition that [`World::partition`](crate::World::partition) registered
    /// under this name.
    ///
    /// # Panics
    /// Panics if there is no partition with this name.
    #[track_caller]
    pub fn partition<T>(&self, name: impl Into<Name>) -> Partition<T> {
        Partition::of_process(self.service(name), self.name(), self.incarnation())
    }

    /// Returns this incarnation's handle for the notifier that [`World::notifier`](crate::World::notifier) registered under
    /// this name.
    ///
    /// # Panics
    /// Panics if there is no notifier with this name.
    #[track_caller]
    pub fn notifier(&self, name: impl Into<Name>) -> Notifier {
        Notifier::new(self.service(name))
    }

    /// Returns the queue, through which jobs enqueue jobs.
    pub fn queue(&self) -> JobQueue {
        JobQueue::new(self.link.clone(), self.enqueue_layers.clone())
    }

    /// Returns the virtual clock.
    pub fn clock(&self) -> Clock {
        Clock::new(self.link.clone())
    }

    /// Returns a source of random numbers that are the same in every run of the scenario.
    pub fn rng(&self) -> Rng {
        Rng::new(self.link.clone())
    }
}
