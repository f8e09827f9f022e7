//! What a job does in a transaction.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::call::StoreCall;
use super::transaction::Transaction;
use super::{Unpack, calls, encode, unpack};
use crate::system::service::store::{Ask, Request, Row, StoreError};

calls! { Transaction, self: &mut Self, '_:
    /// The row, as this transaction sees it.
    get, get_blocking<T>(key: impl Into<String>) Ok(Ask::Get { key: key.into() }) => unpack::row::<T>, Option<Row<T>>;
    /// All rows whose keys begin so, by their keys, as this transaction sees them. A serializable one conflicts with
    /// rows that come to be among them, too.
    scan, scan_blocking<T>(prefix: impl Into<String>) Ok(Ask::Scan { prefix: prefix.into() }) => unpack::rows::<T>, Vec<(String, Row<T>)>;
    /// The row, locked until the transaction ends. Waits while another one has it locked. A row that is not there cannot
    /// be locked.
    for_update, for_update_blocking<T>(key: impl Into<String>) Ok(Ask::ForUpdate { key: key.into() }) => unpack::row::<T>, Option<Row<T>>;
    /// The first rows, at most so many, whose keys begin so and that nobody else has locked; locked until the
    /// transaction ends. Waits for nobody: how workers share a table of things to do.
    skip_locked, skip_locked_blocking<T>(prefix: impl Into<String>, most: usize) Ok(Ask::SkipLocked { prefix: prefix.into(), most }) => unpack::rows::<T>, Vec<(String, Row<T>)>;
    /// Puts a value under a key, whatever is there.
    put, put_blocking<>(key: impl Into<String>, value: &(impl Serialize + ?Sized)) encode(key, value, |key, value| Ask::Put { key, value }) => unpack::nothing, ();
    /// Puts a value under a key that is free: what a unique index allows. Otherwise [`StoreError::Duplicate`], and the
    /// transaction goes on. While another transaction is about to put a row there, it waits for its end.
    insert, insert_blocking<>(key: impl Into<String>, value: &(impl Serialize + ?Sized)) encode(key, value, |key, value| Ask::Insert { key, value }) => unpack::nothing, ();
    /// Deletes a row. False: there was none.
    delete, delete_blocking<>(key: impl Into<String>) Ok(Ask::Delete { key: key.into() }) => unpack::done, bool;
    /// Adds to the number in a row, which is 0 if there is none, and answers the sum.
    incr, incr_blocking<>(key: impl Into<String>, by: i64) Ok(Ask::Incr { key: key.into(), by }) => unpack::number, i64;
    /// Changes a row if it is still of that version; 0: if there is none. False: it is not.
    compare_and_set, compare_and_set_blocking<>(key: impl Into<String>, version: u64, value: &(impl Serialize + ?Sized)) encode(key, value, |key, value| Ask::CompareAndSet { key, version, value }) => unpack::done, bool;
}

impl Transaction {
    #[track_caller]
    fn ask<T>(&self, ask: Result<Ask, StoreError>, unpack: Unpack<T>) -> StoreCall<'static, T> {
        let transaction = Some(self.id);
        // No closure: it would be the caller.
        let call = match ask {
            Ok(ask) => Ok(self.client.call(Request { ask, transaction })),
            Err(error) => Err(error),
        };
        StoreCall::new(call, transaction, unpack)
    }

    /// Makes all of it last, and seen by others. Three crash points: before; when it is committed and the reply has
    /// not arrived; after the reply.
    ///
    /// # Errors
    /// When it cannot be committed; or when it is not known whether it was.
    #[track_caller]
    pub fn commit(self) -> StoreCall<'static, ()> {
        self.ask(Ok(Ask::Commit {}), unpack::nothing).ending(self)
    }

    /// The blocking form of [`commit`](Self::commit). A crash unwinds.
    ///
    /// # Errors
    /// When it cannot be committed; or when it is not known whether it was.
    #[track_caller]
    pub fn commit_blocking(self) -> Result<(), StoreError> {
        self.ask(Ok(Ask::Commit {}), unpack::nothing).ending(self).block()
    }

    /// Undoes all of it. So does dropping it.
    pub fn rollback(self) {
        drop(self);
    }
}
