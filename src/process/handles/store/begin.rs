//! The beginning of a transaction.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::call;
use super::transaction::Transaction;
use crate::engine::link::Liveness;
use crate::engine::slots;
use crate::engine::state::lock;
use crate::engine::steps::Resource;
use crate::process::handles::client::Client;
use crate::search::choice::Place;
use crate::system::connections::{ConnectionTicket, WaitTarget};
use crate::system::service::store::{Database, Isolation};
use crate::system::timeline::EventKind;

/// A future that begins a transaction of the [`Store`](crate::Store). It does nothing unless awaited.
#[derive(Debug)]
#[must_use = "a transaction does not begin unless awaited"]
pub struct Begin {
    client: Client<Database>,
    isolation: Isolation,
    place: Place,
    wait: Option<ConnectionTicket>,
}

impl Begin {
    pub(super) fn new(client: Client<Database>, isolation: Isolation, place: Place) -> Self {
        Self { client, isolation, place, wait: None }
    }

    /// Begins the transaction. Returns `None` if there is no free connection.
    fn begin(&mut self) -> Option<Transaction> {
        let Self { client, isolation, place, .. } = self;
        let link = &client.link;
        let mut faulty = lock(&client.faulty);
        if link.is_given() || link.liveness() != Liveness::Alive {
            let id = faulty.service.begin(*isolation);
            return Some(Transaction { client: client.clone(), id, connection: None });
        }
        let mut guard = link.shared().state();
        let state = &mut *guard;
        state.touch(Resource::Rows, true);
        let owner = call::owner(link, state);
        if owner.is_some_and(|owner| !state.connections.may_connect(&owner, self.wait)) {
            return None;
        }
        let id = faulty.service.begin(*isolation);
        let connection =
            owner.and_then(|owner| state.connections.connect(owner, Some(id), *place, self.wait.take()));
        link.as_caller(state, |state| {
            state.note(|| EventKind::Remarked { text: format!("begins {id}, {isolation}") });
        });
        Some(Transaction { client: client.clone(), id, connection })
    }

    /// Begins the transaction from blocking code.
    pub(super) fn block(mut self) -> Transaction {
        let link = self.client.link.clone();
        link.arrive();
        if slots::on_slot_thread() && link.liveness() == Liveness::Alive {
            return link.wait_for(self);
        }
        match self.begin() {
            Some(transaction) => transaction,
            None => call::stuck(&self.client.link, &WaitTarget::Connection, self.place),
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
            None => match call::wait(&this.client.link, this.wait, WaitTarget::Connection, this.place, cx) {
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
