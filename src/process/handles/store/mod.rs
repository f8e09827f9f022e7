//! The store, as one incarnation of a process (or the test body) reaches it.

mod begin;
mod call;
mod release;
mod statements;
mod transaction;
mod unpack;

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

/// The shared database, or Redis, where a test does not bring a real one: rows under keys. It outlives every crash, and
/// is compared when a run ends, as [`World::durable`](crate::World::durable) is, under the name `store`.
///
/// Each call is one await in which other jobs may run, with the crash points and faults of any call: the store may be
/// unavailable, time out, or lose its reply to a write that happened. What it does is no effect: a customer notices no
/// row. Values are whatever serde can write and read.
///
/// ```
/// use retryproof::service::store::Isolation;
/// use retryproof::{Explore, StoreError, Verdict, World};
///
/// let report = Explore::new().name("stock").run(async |world: &World| {
///     world.store().put("stock", &10).await.unwrap();
///     world.process("worker", |p| {
///         let store = p.store();
///         p.handle(async move |order: u32| {
///             // Serializable: of two deliveries at once one fails, is tried again, and finds the guard.
///             let mut tx = store.transaction(Isolation::Serializable).await;
///             // The guard: a row per order, in the same transaction.
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
/// Rows with a time to live of up to thirty days go by themselves; so they are not compared.
#[derive(Clone, Debug)]
pub struct Store {
    client: Client<Database>,
}

/// A sequence of the store: each call draws the next number, and no number comes twice.
///
/// A number that was drawn is never given back: not when a transaction is rolled back, and not when the reply is lost. So
/// there are gaps. Numbers mean nothing by themselves: outcomes are compared up to a one-to-one renaming of them, so a
/// row under number 3 here and number 4 there is the same. That is what [`Store::incr`] is not for.
///
/// ```
/// use retryproof::{Explore, World};
///
/// let report = Explore::new().run(async |world: &World| {
///     world.process("worker", |p| {
///         let store = p.store();
///         let ids = store.sequence("orders");
///         p.handle(async move |order: u32| {
///             // A lost reply leaves a gap, and the row has another number.
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
    /// When the store did not answer. A number may have been drawn all the same, and is lost then.
    #[track_caller]
    pub fn next(&self) -> StoreCall<'static, i64> {
        self.store.ask(Ok(Ask::Next { sequence: self.name.clone() }), unpack::number)
    }

    /// The blocking form of [`next`](Self::next). A crash unwinds.
    ///
    /// # Errors
    /// When the store did not answer. A number may have been drawn all the same, and is lost then.
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

/// Writes the async and the blocking form of a call.
macro_rules! calls {
    ($of:ident, $self:ident: $receiver:ty, $life:lifetime: $($(#[$doc:meta])* $name:ident, $blocking:ident<$($value:ident)?>($($arg:ident: $type:ty),*) $ask:expr => $unpack:expr, $output:ty;)*) => {
        impl $of {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// When the store did not answer, or could not do it. A write may have happened all the same.
            #[track_caller]
            pub fn $name<$($value: DeserializeOwned)?>($self: $receiver, $($arg: $type),*) -> StoreCall<$life, $output> {
                $self.ask($ask, $unpack)
            }

            #[doc = concat!("The blocking form of [`", stringify!($name), "`](Self::", stringify!($name), "). A crash unwinds.")]
            ///
            /// # Errors
            /// When the store did not answer, or could not do it. A write may have happened all the same.
            #[track_caller]
            pub fn $blocking<$($value: DeserializeOwned)?>($self: $receiver, $($arg: $type),*) -> Result<$output, StoreError> {
                $self.ask($ask, $unpack).block()
            }
        )*}
    };
}

use calls;

calls! { Store, self: &Self, 'static:
    /// The row, as it is committed now. With [`explore_stale_reads`](Store::explore_stale_reads), perhaps as it was.
    get, get_blocking<T>(key: impl Into<String>) Ok(Ask::Get { key: key.into() }) => unpack::row::<T>, Option<Row<T>>;
    /// All rows whose keys begin so, by their keys.
    scan, scan_blocking<T>(prefix: impl Into<String>) Ok(Ask::Scan { prefix: prefix.into() }) => unpack::rows::<T>, Vec<(String, Row<T>)>;
    /// Puts a value under a key, whatever is there, for good.
    put, put_blocking<>(key: impl Into<String>, value: &(impl Serialize + ?Sized)) encode(key, value, |key, value| Ask::Put { key, value }) => unpack::nothing, ();
    /// Puts a value under a key that is free: what a unique index allows. Otherwise [`StoreError::Duplicate`].
    insert, insert_blocking<>(key: impl Into<String>, value: &(impl Serialize + ?Sized)) encode(key, value, |key, value| Ask::Insert { key, value }) => unpack::nothing, ();
    /// Deletes a row. False: there was none.
    delete, delete_blocking<>(key: impl Into<String>) Ok(Ask::Delete { key: key.into() }) => unpack::done, bool;
    /// Deletes a row if this is its value: how the owner of a lock gives it back, and nobody else does.
    delete_if, delete_if_blocking<>(key: impl Into<String>, value: &(impl Serialize + ?Sized)) encode(key, value, |key, value| Ask::DeleteIf { key, value }) => unpack::done, bool;
    /// Adds to the number in a row, which is 0 if there is none, and answers the sum: all at once, so that no other
    /// worker's addition is lost. A time to live stays as it is.
    incr, incr_blocking<>(key: impl Into<String>, by: i64) Ok(Ask::Incr { key: key.into(), by }) => unpack::number, i64;
    /// Changes a row if it is still of that version ([`Row::version`]); 0: if there is none. False: it is not, and
    /// nothing was done. A time to live stays as it is.
    compare_and_set, compare_and_set_blocking<>(key: impl Into<String>, version: u64, value: &(impl Serialize + ?Sized)) encode(key, value, |key, value| Ask::CompareAndSet { key, version, value }) => unpack::done, bool;
    /// Puts a value under a key that is free, for so long, in virtual time; without an end if it is given none (Redis: `SET
    /// key value NX PX ttl`). False: the key is taken. The value of a lock is its owner.
    ///
    /// That a holder is slower than a time to live of up to a minute is explored, since its job is then handed out again;
    /// a longer one where [`Explore::delays`](crate::Explore::delays) asks for it.
    set_if_absent, set_if_absent_blocking<>(key: impl Into<String>, value: &(impl Serialize + ?Sized), ttl: impl Into<Option<Duration>>) encode(key, value, |key, value| Ask::SetIfAbsent { key, value, ttl: ttl.into() }) => unpack::done, bool;
}

impl Store {
    pub(crate) fn new(link: Link) -> Self {
        let door = link.shared().services.store();
        Self { client: Client::new(link, STORE.into(), door) }
    }

    #[track_caller]
    fn ask<T>(&self, ask: Result<Ask, StoreError>, unpack: Unpack<T>) -> StoreCall<'static, T> {
        // No closure: it would be the caller.
        let call = match ask {
            Ok(ask) => Ok(self.client.call(Request { ask, transaction: None })),
            Err(error) => Err(error),
        };
        StoreCall::new(call, None, unpack)
    }

    /// A sequence: numbers with gaps, like PostgreSQL's. See [`Sequence`].
    pub fn sequence(&self, name: impl Into<String>) -> Sequence {
        Sequence { store: self.clone(), name: name.into() }
    }

    /// Begins a transaction. It takes a connection, and waits for one if the pool has none; it cannot fail otherwise.
    #[track_caller]
    pub fn transaction(&self, isolation: Isolation) -> Begin {
        Begin::new(self.client.clone(), isolation, Place::caller())
    }

    /// The blocking form of [`transaction`](Self::transaction).
    #[track_caller]
    pub fn transaction_blocking(&self, isolation: Isolation) -> Transaction {
        self.transaction(isolation).block()
    }

    /// Gives each process a pool of so many connections. A call outside of a transaction holds one while it lasts, a
    /// transaction until it ends; who finds none waits. As many as wanted unless told.
    ///
    /// For the test, as are the settings below.
    ///
    /// # Panics
    /// When it is none, and through the handle of a process.
    pub fn connections(&self, most: usize) -> &Self {
        self.client.test_only();
        assert!(most > 0, "a pool without a connection is none; say how many each process has, at least 1");
        self.client.link.shared().state().connections.limit(most);
        self
    }

    /// Lets any look-up outside of a transaction be stale, as a replica's may be: one more fault at each, in which it does
    /// not show what was changed in the last hour. Off unless told.
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn explore_stale_reads(&self) -> &Self {
        self.client.explore_stale_reads();
        self.client.configure(Database::add_replicas);
        self
    }

    /// Lets the store go down at any call, as [`Client::explore_outages`](crate::Client::explore_outages) does.
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn explore_outages(&self, stretch: Duration) -> &Self {
        self.client.explore_outages(stretch);
        self
    }

    /// Has all calls of jobs end in one way, until told otherwise.
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn behavior(&self, behave: Behavior) -> &Self {
        self.client.behavior(behave);
        self
    }
}

/// An incarnation is dead: its connections are closed, and its transactions rolled back.
pub(crate) fn hang_up(shared: &Shared, life: &Life) {
    let Some(door) = shared.services.store_if_there() else { return };
    let open = shared.state().connections.bury(life.process, life.incarnation);
    let released = {
        let mut door = lock(&door);
        open.into_iter().for_each(|transaction| door.service.roll_back(transaction));
        door.service.take_released()
    };
    if !released.is_empty() {
        let wakes = shared.state().connections.released(&released);
        shared.wake(wakes);
    }
}
