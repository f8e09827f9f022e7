//! A transaction of the store, as a job has it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::call::{self, StoreCall};
use super::{Unpack, calls, encode, unpack};
use crate::engine::link::Liveness;
use crate::engine::slots;
use crate::engine::state::lock;
use crate::engine::steps::Thing;
use crate::process::handles::client::Client;
use crate::search::choice::Place;
use crate::system::connections::{Awaited, Ticket};
use crate::system::service::store::{Ask, Database, Isolation, Request, Row, StoreError, TxId};
use crate::system::timeline::What;

/// A transaction of the [`Store`](crate::Store) on its way. It does not begin unless awaited.
#[derive(Debug)]
#[must_use = "a transaction does not begin unless awaited"]
pub struct Begin {
    client: Client<Database>,
    isolation: Isolation,
    place: Place,
    wait: Option<Ticket>,
}

impl Begin {
    pub(super) fn new(client: Client<Database>, isolation: Isolation, place: Place) -> Self {
        Self { client, isolation, place, wait: None }
    }

    /// Begins. None: there is no connection to be had.
    fn begin(&mut self) -> Option<Transaction> {
        let Self { client, isolation, place, .. } = self;
        let link = &client.link;
        let mut door = lock(&client.door);
        if link.is_given() || link.liveness() != Liveness::Alive {
            let id = door.service.begin(*isolation);
            return Some(Transaction { client: client.clone(), id, connection: None });
        }
        let mut guard = link.shared().state();
        let state = &mut *guard;
        state.touch(Thing::Rows, true);
        let owner = call::owner(link, state);
        if owner.is_some_and(|owner| !state.connections.may_connect(&owner, self.wait)) {
            return None;
        }
        let id = door.service.begin(*isolation);
        let connection =
            owner.and_then(|owner| state.connections.connect(owner, Some(id), *place, self.wait.take()));
        link.as_caller(state, |state| {
            state.note(|| What::Remarked { text: format!("begins {id}, {isolation}") });
        });
        Some(Transaction { client: client.clone(), id, connection })
    }

    /// Begins from code that blocks.
    pub(super) fn block(mut self) -> Transaction {
        let link = self.client.link.clone();
        link.arrive();
        if slots::is_here() && link.liveness() == Liveness::Alive {
            return link.wait_for(self);
        }
        match self.begin() {
            Some(transaction) => transaction,
            None => call::stuck(&self.client.link, &Awaited::Connection, self.place),
        }
    }
}

impl Future for Begin {
    type Output = Transaction;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Transaction> {
        let this = &mut *self;
        if this.client.link.liveness() == Liveness::Dead {
            return this.client.link.pend_or_unwind(cx);
        }
        match this.begin() {
            Some(transaction) => Poll::Ready(transaction),
            None => match call::wait(&this.client.link, this.wait, Awaited::Connection, this.place, cx) {
                None => this.client.link.pend_or_unwind(cx),
                waiting => {
                    this.wait = waiting;
                    Poll::Pending
                }
            },
        }
    }
}

impl Drop for Begin {
    fn drop(&mut self) {
        if let Some(wait) = self.wait.take() {
            let shared = self.client.link.shared();
            let wakes = shared.state().connections.stop_waiting(wait);
            shared.wake(wakes);
        }
    }
}

/// A transaction of the [`Store`](crate::Store). Nothing that it changes is seen by others, or lasts, before it is
/// committed; dropped, it is rolled back, and so it is when its process dies.
///
/// A row that it changes, or asks for with [`for_update`](Transaction::for_update), is locked until it ends: others who
/// want to change it wait. Reads wait for nobody.
///
/// A statement that fails with [`StoreError::Service`], [`StoreError::Conflict`] or [`StoreError::Deadlock`] has rolled
/// the transaction back. One that fails otherwise has done nothing, and the transaction goes on.
#[derive(Debug)]
#[must_use = "a transaction that is dropped is rolled back"]
pub struct Transaction {
    client: Client<Database>,
    id: TxId,
    connection: Option<Ticket>,
}

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

impl Drop for Transaction {
    fn drop(&mut self) {
        call::roll_back(&self.client, self.id);
        if let Some(connection) = self.connection.take() {
            let shared = self.client.link.shared();
            let wakes = shared.state().connections.disconnect(connection);
            shared.wake(wakes);
        }
    }
}
