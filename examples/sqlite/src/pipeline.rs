//! A job that completes an order: the order is paid, then sent, and its row records the progress. The same code runs
//! on any storage ([`Orders`]): SQLite with sqlx here, PostgreSQL in the other example, a list in memory. There is a
//! second version for rusqlite, which blocks ([`complete_blocking`]).

use std::cell::Cell;
use std::error::Error;
use std::sync::{Mutex, MutexGuard, PoisonError};

use retryproof::external::ExternalFault;
use retryproof::service::fulfillment::{Fulfillment, Shipment};
use retryproof::service::payments::{Charge, Payments};
use retryproof::{Client, Durable, External, Store};
use sqlx::Sqlite;

use retryproof_sqlx::Pool;

/// The table, for SQLite and PostgreSQL.
pub const TABLES: &str = "CREATE TABLE orders (id BIGINT PRIMARY KEY, cents BIGINT NOT NULL, state TEXT NOT NULL DEFAULT 'placed')";

/// The error of a job.
pub type Failed = Box<dyn Error + Send + Sync>;

/// The storage of the orders.
pub trait Orders {
    /// Returns the price of an order, and its progress.
    fn find(&self, id: i64) -> impl Future<Output = Result<(i64, String), Failed>>;
    /// Advances an order, if its progress is still `from`. A slow worker does not move it back.
    fn goes_on(
        &self,
        id: i64,
        from: &'static str,
        to: &'static str,
    ) -> impl Future<Output = Result<(), Failed>>;
}

/// Completes an order. If `careful`, each request to a service has a key with the number of the order, so that it is
/// not carried out twice.
///
/// # Errors
/// If anything fails. The job must be retried.
pub async fn complete(
    orders: &impl Orders,
    payments: &Client<Payments>,
    parcels: &Client<Fulfillment>,
    id: i64,
    careful: bool,
) -> Result<(), Failed> {
    let (cents, mut state) = orders.find(id).await?;
    if state == "placed" {
        payments.charge(charge(id, cents, careful)).await?;
        orders.goes_on(id, "placed", "paid").await?;
        state = "paid".to_owned();
    }
    if state == "paid" {
        parcels.request(parcel(id, careful)).await?;
        orders.goes_on(id, "paid", "sent").await?;
    }
    Ok(())
}

/// The same with rusqlite, in blocking code.
///
/// # Errors
/// If anything fails. The job must be retried.
pub fn complete_blocking(
    orders: &Mutex<rusqlite::Connection>,
    external: &External,
    payments: &Client<Payments>,
    parcels: &Client<Fulfillment>,
    id: i64,
    careful: bool,
) -> Result<(), Failed> {
    let find = || {
        let orders = held(orders);
        let mut found = orders.prepare_cached("SELECT cents, state FROM orders WHERE id = ?1")?;
        found.query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
    };
    let (cents, mut state): (i64, String) =
        external.call_blocking("select-orders", find).read_only().on_fault(lost).run()?;
    let goes_on = |from: &str, to: &str| {
        let update = || {
            let update = "UPDATE orders SET state = ?3 WHERE id = ?1 AND state = ?2";
            held(orders).prepare_cached(update)?.execute((id, from, to))
        };
        external.call_blocking("update-orders", update).on_fault(lost).run()
    };
    if state == "placed" {
        payments.charge_blocking(charge(id, cents, careful))?;
        goes_on("placed", "paid")?;
        state = "paid".to_owned();
    }
    if state == "paid" {
        parcels.request_blocking(parcel(id, careful))?;
        goes_on("paid", "sent")?;
    }
    Ok(())
}

/// The connection for one statement. A crash does not invalidate it.
fn held(orders: &Mutex<rusqlite::Connection>) -> MutexGuard<'_, rusqlite::Connection> {
    orders.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The error of a lost connection for users of rusqlite. There is no network, so it is a disk error.
fn lost<T>(fault: ExternalFault) -> Result<T, rusqlite::Error> {
    let error = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR);
    Err(rusqlite::Error::SqliteFailure(error, Some(fault.to_string())))
}

fn charge(id: i64, cents: i64, careful: bool) -> Charge {
    let charge = Charge::of_order(id.unsigned_abs(), cents.unsigned_abs());
    if careful { charge.key(format!("order-{id}")) } else { charge }
}

fn parcel(id: i64, careful: bool) -> Shipment {
    let parcel = Shipment::of_order(id.unsigned_abs(), "pr_3", 1).address("1 Main St");
    if careful { parcel.key(format!("order-{id}")) } else { parcel }
}

/// Implements [`Orders`] for a pool of one database.
#[macro_export]
macro_rules! orders_in {
    ($pool:ty) => {
        impl $crate::pipeline::Orders for $pool {
            async fn find(&self, id: i64) -> Result<(i64, String), $crate::pipeline::Failed> {
                let find = "SELECT cents, state FROM orders WHERE id = $1";
                Ok(sqlx::query_as(find).bind(id).fetch_one(self.pool()).await?)
            }

            async fn goes_on(
                &self,
                id: i64,
                from: &'static str,
                to: &'static str,
            ) -> Result<(), $crate::pipeline::Failed> {
                let update = "UPDATE orders SET state = $3 WHERE id = $1 AND state = $2";
                sqlx::query(update).bind(id).bind(from).bind(to).execute(self.pool()).await?;
                Ok(())
            }
        }
    };
}

/// Orders in SQLite.
#[derive(Clone, Debug)]
pub struct InSqlite(pub Pool<Sqlite>);

impl InSqlite {
    fn pool(&self) -> &Pool<Sqlite> {
        &self.0
    }
}

orders_in!(InSqlite);

/// Orders in a list that survives crashes, behind an [`External`], so that the same things go wrong.
#[derive(Clone, Debug)]
pub struct InMemory {
    /// The orders: their numbers, their prices, their progress.
    pub rows: Durable<Vec<(i64, i64, String)>>,
    /// The external system.
    pub external: External,
}

impl Orders for InMemory {
    async fn find(&self, id: i64) -> Result<(i64, String), Failed> {
        let find = async {
            let found = |rows: &Vec<(i64, i64, String)>| rows.iter().find(|row| row.0 == id).cloned();
            self.rows.read(found).map(|(_, cents, state)| (cents, state)).ok_or("no such order".into())
        };
        self.external.call("select-orders", find).read_only().on_fault(|fault| Err(fault.into())).await
    }

    async fn goes_on(&self, id: i64, from: &'static str, to: &'static str) -> Result<(), Failed> {
        let update = async {
            self.rows.update(|rows| {
                let is_meant = |row: &&mut (i64, i64, String)| row.0 == id && row.2 == from;
                rows.iter_mut().filter(is_meant).for_each(|row| row.2 = to.to_owned());
            });
            Ok(())
        };
        self.external.call("update-orders", update).on_fault(|fault| Err(fault.into())).await
    }
}

/// Orders in the world's own store: rows under keys. The version of a row shows whether it was changed.
#[derive(Clone, Debug)]
pub struct InStore(pub Store);

impl InStore {
    /// The key of an order.
    pub fn key(id: i64) -> String {
        format!("order-{id}")
    }
}

/// An order of the store that a job works on: found, then changed unless another job has changed it.
#[derive(Debug)]
pub struct Found<'s> {
    store: &'s InStore,
    version: Cell<u64>,
    cents: Cell<i64>,
}

impl<'s> Found<'s> {
    /// Starts without an order.
    pub fn new(store: &'s InStore) -> Self {
        Self { store, version: Cell::new(0), cents: Cell::new(0) }
    }
}

impl Orders for Found<'_> {
    async fn find(&self, id: i64) -> Result<(i64, String), Failed> {
        let found = self.store.0.get::<(i64, String)>(InStore::key(id)).await?.ok_or("no such order")?;
        self.version.set(found.version);
        self.cents.set(found.value.0);
        Ok(found.value)
    }

    async fn goes_on(&self, id: i64, from: &'static str, to: &'static str) -> Result<(), Failed> {
        loop {
            let row = (self.cents.get(), to);
            if self.store.0.compare_and_set(InStore::key(id), self.version.get(), &row).await? {
                self.version.set(self.version.get() + 1);
                return Ok(());
            }
            // Another job has changed it. Look again at its progress.
            if self.find(id).await?.1 != from {
                return Ok(());
            }
        }
    }
}
