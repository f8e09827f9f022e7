//! The store. A handle belongs to one incarnation of a process, or to the test body.

mod release;
mod transaction;
mod call;
mod begin;
mod unpack;
mod statements;

pub use begin::Begin;
pub use call::StoreCall;
pub use transaction::Transaction;

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::client::Client;
use crate::engine::life::Life;
use crate::engine::link::Link;
use crate::engine::state::{Shared, lock};
use crate::search::choice::Place;
use crate::system::service::store::{Ask, Database, Isolation, Json, Reply, Request, Row, StoreError};
use crate::system::service::{Behavior, STORE};

type Unpack<T> = fn(Reply) -> Result<T, StoreError>;

/// The shared database, or Redis, for tests without a real one: rows under keys. The store survives every crash, and
/// like [`World::durable`](crate::World::durable) it is compared when a run ends, under the name `store`.
///
/// Each call is one await in which other jobs may run. It has the crash points and faults of any call: the store may
/// be unavailable, time out, or lose its reply to a write that happened. Rows are state and not effects, because no
/// customer notices a row. Values are whatever serde can write and read.
///
/// ```
/// use retryproof::store::Isolation;
/// use retryproof::{Explore, StoreError, Verdict, World};
///
/// let report = Explore::new().name("stock").run(async |world: &World| {
///     world.store().put("stock", &10).await.unwrap();
///     world.process("worker", |p| {
///         let store = p.store();
///         p.handle(async move |order: u32| {
///             // Serializable: of two concurrent deliveries one fails, is retried, and finds the guard.
///             let mut tx = store.transaction(Isolation::Serializable).await;
///             // The guard is a row per order, in the same transaction.
///             if tx.get::<bool>(format!("paid:{order}")).await?.is_none() {
///                 tx.put(format!("paid:{order}"), &true).await?;
///                 tx.incr("stock", -1).await?;
///             }
///             tx.commit().await
///         });
///     });
///     world.enqueue(6_u32);
///     world.settle().await;
///     assert_eq!(world.store().get::<i64>("stock").await.unwrap().unwrap().value, 9);
/// });
/// assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
/// ```
///
/// Rows with a time to live of up to thirty days disappear by themselves, so they are not compared.
#[derive(Clone, Debug)]
pub struct Store {
    client: Client<Database>,
}

/// A sequence of the store. Each call draws the next number, and no number is drawn twice.
///
/// A drawn number is never returned, even if the transaction is rolled back or the reply is lost, so there are gaps.
/// Numbers have no meaning by themselves: outcomes are compared up to a one-to-one renaming of them, so a row under
/// number 3 in one run and under number 4 in another is the same. [`Store::incr`] is for numbers with a meaning.
///
/// ```
/// use retryproof::{Explore, World};
///
/// let report = Explore::new().run(async |world: &World| {
///     world.process("worker", |p| {
///         let store = p.store();
///         let ids = store.sequence("orders");
///         p.handle(async move |order: u32| {
///             // A lost reply leaves a gap, and the row gets another number.
///             if store.scan::<u32>("order:").await?.is_empty() {
///                 let id = ids.next().await?;
///                 store.put(format!("order:{id}"), &order).await?;
///             }
///             Ok::<(), retryproof::StoreError>(())
///         });
///     });
///     world.enqueue(6_u32);
///     world.settle().await;
/// });
/// let gaps = |violation: &retryproof::Violation| violation.scenario.to_string().contains("store.next:call=reply-lost");
/// assert!(!report.violations().iter().any(gaps), "{report}");
/// ```
#[derive(Clone, Debug)]
pub struct Sequence {
    store: Store,
    name: String,
}

impl Sequence {
    /// Draws the next number.
    ///
    /// # Errors
    /// Returns an error if the store does not answer. A number may have been drawn nevertheless, and is lost then.
    #[track_caller]
    pub fn next(&self) -> StoreCall<'static, i64> {
        self.store.ask(Ok(Ask::Next { sequence: self.name.clone() }), unpack::number)
    }

    /// The blocking form of [`next`](Self::next). A crash unwinds the stack.
    ///
    /// # Errors
    /// Returns an error if the store does not answer. A number may have been drawn nevertheless, and is lost then.
    #[track_caller]
    pub fn next_blocking(&self) -> Result<i64, StoreError> {
        self.store.ask(Ok(Ask::Next { sequence: self.name.clone() }), unpack::number).block()
    }
}

/// Writes a value as JSON.
fn encode(
    key: impl Into<String>,
    value: &(impl Serialize + ?Sized),
    ask: impl FnOnce(String, Json) -> Ask,
) -> Result<Ask, StoreError> {
    let key = key.into();
    match serde_json::to_string(value) {
        Ok(value) => Ok(ask(key, Json(value.into()))),
        Err(error) => Err(StoreError::Unencodable { key, reason: error.to_string() }),
    }
}

/// Generates the async and the blocking form of a call.
macro_rules! calls {
    ($of:ident, $self:ident: $receiver:ty, $life:lifetime: $($(#[$doc:meta])* $name:ident, $blocking:ident<$($value:ident)?>($($arg:ident: $type:ty),*) $ask:expr => $unpack:expr, $output:ty;)*) => {
        impl $of {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// Returns an error if the store does not answer, or cannot do it. A write may have happened nevertheless.
            #[track_caller]
            pub fn $name<$($value: DeserializeOwned)?>($self: $receiver, $($arg: $type),*) -> StoreCall<$life, $output> {
                $self.ask($ask, $unpack)
            }

            #[doc = concat!("The blocking form of [`", stringify!($name), "`](Self::", stringify!($name), "). A crash unwinds.")]
            ///
            /// # Errors
            /// Returns an error if the store does not answer, or cannot do it. A write may have happened nevertheless.
            #[track_caller]
            pub fn $blocking<$($value: DeserializeOwned)?>($self: $receiver, $($arg: $type),*) -> Result<$output, StoreError> {
                $self.ask($ask, $unpack).block()
            }
        )*}
    };
}

use calls;

calls! { Store, self: &Self, 'static:
    /// Returns the row as it is committed now. With [`explore_stale_reads`](Store::explore_stale_reads), perhaps an
    /// older version.
    get, get_blocking<T>(key: impl Into<String>) Ok(Ask::Get { key: key.into() }) => unpack::row::<T>, Option<Row<T>>;
    /// Returns all rows whose keys begin with `prefix`, sorted by key.
    scan, scan_blocking<T>(prefix: impl Into<String>) Ok(Ask::Scan { prefix: prefix.into() }) => unpack::rows::<T>, Vec<(String, Row<T>)>;
    /// Writes a value without a time to live, whether the row exists or not.
    put, put_blocking<>(key: impl Into<String>, value: &(impl Serialize + ?Sized)) encode(key, value, |key, value| Ask::Put { key, value }) => unpack::nothing, ();
    /// Inserts a row, as a unique index allows it. If the key is taken, returns [`StoreError::Duplicate`].
    insert, insert_blocking<>(key: impl Into<String>, value: &(impl Serialize + ?Sized)) encode(key, value, |key, value| Ask::Insert { key, value }) => unpack::nothing, ();
    /// Deletes a row. Returns false if there was none.
    delete, delete_blocking<>(key: impl Into<String>) Ok(Ask::Delete { key: key.into() }) => unpack::done, bool;
    /// Deletes a row if it has this value, so that only the owner of a lock can release it.
    delete_if, delete_if_blocking<>(key: impl Into<String>, value: &(impl Serialize + ?Sized)) encode(key, value, |key, value| Ask::DeleteIf { key, value }) => unpack::done, bool;
    /// Adds to the number in a row, which starts at 0, and returns the sum. The update is atomic, so no other
    /// worker's update is lost. A time to live does not change.
    incr, incr_blocking<>(key: impl Into<String>, by: i64) Ok(Ask::Incr { key: key.into(), by }) => unpack::number, i64;
    /// Updates a row if it still has this version ([`Row::version`]). 0 means that there is no row. Returns false, and
    /// does nothing, if the version differs. A time to live does not change.
    compare_and_set, compare_and_set_blocking<>(key: impl Into<String>, version: u64, value: &(impl Serialize + ?Sized)) encode(key, value, |key, value| Ask::CompareAndSet { key, version, value }) => unpack::done, bool;
    /// Inserts a row with a time to live in virtual time, or without an end if there is no `ttl` (Redis: `SET key
    /// value NX PX ttl`). Returns false if the key is taken. The value of a lock is its owner.
    ///
    /// retryproof explores holders that are slower than a time to live of up to a minute, because their jobs are
    /// redelivered by then. Longer times to live need [`Explore::delays`](crate::Explore::delays).
    set_if_absent, set_if_absent_blocking<>(key: impl Into<String>, value: &(impl Serialize + ?Sized), ttl: impl Into<Option<Duration>>) encode(key, value, |key, value| Ask::SetIfAbsent { key, value, ttl: ttl.into() }) => unpack::done, bool;
}

impl Store {
    pub(crate) fn new(link: Link) -> Self {
        let faulty = link.shared().services.built_in();
        Self { client: Client::new(link, STORE.into(), faulty) }
    }

    #[track_caller]
    fn ask<T>(&self, ask: Result<Ask, StoreError>, unpack: Unpack<T>) -> StoreCall<'static, T> {
        // A closure would become the recorded caller.
        let call = match ask {
            Ok(ask) => Ok(self.client.call(Request { ask, transaction: None })),
            Err(error) => Err(error),
        };
        StoreCall::new(call, None, unpack)
    }

    /// Returns a sequence of numbers with gaps, like PostgreSQL's. See [`Sequence`].
    pub fn sequence(&self, name: impl Into<String>) -> Sequence {
        Sequence { store: self.clone(), name: name.into() }
    }

    /// Begins a transaction. It takes a connection, and waits if the pool has none. It cannot fail otherwise.
    #[track_caller]
    pub fn transaction(&self, isolation: Isolation) -> Begin {
        Begin::new(self.client.clone(), isolation, Place::caller())
    }

    /// The blocking form of [`transaction`](Self::transaction).
    #[track_caller]
    pub fn transaction_blocking(&self, isolation: Isolation) -> Transaction {
        self.transaction(isolation).block()
    }

    /// Gives each process a pool of this many connections. A call outside of a transaction holds one while it lasts,
    /// and a transaction holds one until it ends. A caller waits if the pool has none. Unlimited by default.
    ///
    /// For the test, like the settings below.
    ///
    /// # Panics
    /// Panics if `most` is 0, and if called through the handle of a process.
    pub fn connections(&self, most: usize) -> &Self {
        self.client.test_only();
        assert!(most > 0, "a pool needs at least one connection");
        self.client.link.shared().state().connections.limit(most);
        self
    }

    /// Allows any lookup outside of a transaction to be stale, like that of a replica, as an additional fault: the
    /// lookup does not return what was changed in the last hour. Off by default.
    ///
    /// # Panics
    /// Panics if called through the handle of a process.
    pub fn explore_stale_reads(&self) -> &Self {
        self.client.explore_stale_reads();
        self.client.configure(Database::add_replicas);
        self
    }

    /// Allows the store to go down at any call, like [`Client::explore_outages`](crate::Client::explore_outages).
    ///
    /// # Panics
    /// Panics if called through the handle of a process.
    pub fn explore_outages(&self, stretch: Duration) -> &Self {
        self.client.explore_outages(stretch);
        self
    }

    /// Allows the store to go down forever at any call, like [`Client::explore_outages_for_ever`](crate::Client::explore_outages_for_ever).
    ///
    /// # Panics
    /// Panics if called through the handle of a process.
    pub fn explore_outages_for_ever(&self) -> &Self {
        self.client.explore_outages_for_ever();
        self
    }

    /// Makes every call from a job fail, be throttled or be slow until changed.
    ///
    /// # Panics
    /// Panics if called through the handle of a process.
    pub fn behavior(&self, behave: Behavior) -> &Self {
        self.client.behavior(behave);
        self
    }
}

/// Closes the connections of a dead incarnation, and rolls its transactions back.
pub(crate) fn hang_up(shared: &Shared, life: &Life) {
    let Some(faulty) = shared.services.store_if_there() else { return };
    let open = shared.state().connections.bury(life.process, life.incarnation);
    let released = {
        let mut faulty = lock(&faulty);
        open.into_iter().for_each(|transaction| faulty.service.roll_back(transaction));
        faulty.service.take_released()
    };
    if !released.is_empty() {
        let wakes = shared.state().connections.released(&released);
        shared.wake(wakes);
    }
}
