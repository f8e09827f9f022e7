//! The statements of a transaction.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::call::StoreCall;
use super::transaction::Transaction;
use super::{Unpack, calls, encode, unpack};
use crate::system::service::store::{Ask, Request, Row, StoreError};

calls! { Transaction, self: &mut Self, '_:
    /// Returns the row, as this transaction sees it.
    get, get_blocking<T>(key: impl Into<String>) Ok(Ask::Get { key: key.into() }) => unpack::row::<T>, Option<Row<T>>;
    /// Returns all rows whose keys begin with `prefix`, sorted by key, as this transaction sees them. A serializable
    /// transaction also conflicts with rows that are inserted among them.
    scan, scan_blocking<T>(prefix: impl Into<String>) Ok(Ask::Scan { prefix: prefix.into() }) => unpack::rows::<T>, Vec<(String, Row<T>)>;
    /// Returns the row, and locks it until the transaction ends. Waits while another transaction has locked it. A
    /// missing row cannot be locked.
    for_update, for_update_blocking<T>(key: impl Into<String>) Ok(Ask::ForUpdate { key: key.into() }) => unpack::row::<T>, Option<Row<T>>;
    /// Returns the first `most` rows whose keys begin with `prefix` and that nobody else has locked, and locks them
    /// until the transaction ends. Does not wait. Workers can share a table of tasks this way.
    skip_locked, skip_locked_blocking<T>(prefix: impl Into<String>, most: usize) Ok(Ask::SkipLocked { prefix: prefix.into(), most }) => unpack::rows::<T>, Vec<(String, Row<T>)>;
    /// Writes a value, whether the row exists or not.
    put, put_blocking<>(key: impl Into<String>, value: &(impl Serialize + ?Sized)) encode(key, value, |key, value| Ask::Put { key, value }) => unpack::nothing, ();
    /// Inserts a row, as a unique index allows it. If the key is taken, returns [`StoreError::Duplicate`], and the
    /// transaction continues. Waits for the end of another transaction that is inserting the same key.
    insert, insert_blocking<>(key: impl Into<String>, value: &(impl Serialize + ?Sized)) encode(key, value, |key, value| Ask::Insert { key, value }) => unpack::nothing, ();
    /// Deletes a row. Returns false if there was none.
    delete, delete_blocking<>(key: impl Into<String>) Ok(Ask::Delete { key: key.into() }) => unpack::done, bool;
    /// Adds to the number in a row, which starts at 0, and returns the sum.
    incr, incr_blocking<>(key: impl Into<String>, by: i64) Ok(Ask::Incr { key: key.into(), by }) => unpack::number, i64;
    /// Updates a row if it still has this version. 0 means that there is no row. Returns false if the version differs.
    compare_and_set, compare_and_set_blocking<>(key: impl Into<String>, version: u64, value: &(impl Serialize + ?Sized)) encode(key, value, |key, value| Ask::CompareAndSet { key, version, value }) => unpack::done, bool;
}

impl Transaction {
    #[track_caller]
    fn ask<T>(&self, ask: Result<Ask, StoreError>, unpack: Unpack<T>) -> StoreCall<'static, T> {
        let transaction = Some(self.id);
        // A closure would become the recorded caller.
        let call = match ask {
            Ok(ask) => Ok(self.client.call(Request { ask, transaction })),
            Err(error) => Err(error),
        };
        StoreCall::new(call, transaction, unpack)
    }

    /// Commits, so that all changes become durable and visible to others. There are three crash points: before the
    /// commit, after it but before its reply, and after the reply.
    ///
    /// # Errors
    /// Returns an error if the transaction cannot be committed, or if it is unknown whether it was.
    #[track_caller]
    pub fn commit(self) -> StoreCall<'static, ()> {
        self.ask(Ok(Ask::Commit {}), unpack::nothing).ending(self)
    }

    /// The blocking form of [`commit`](Self::commit). A crash unwinds the stack.
    ///
    /// # Errors
    /// Returns an error if the transaction cannot be committed, or if it is unknown whether it was.
    #[track_caller]
    pub fn commit_blocking(self) -> Result<(), StoreError> {
        self.ask(Ok(Ask::Commit {}), unpack::nothing).ending(self).block()
    }

    /// Rolls all changes back. Dropping the transaction does the same.
    pub fn rollback(self) {
        drop(self);
    }
}
