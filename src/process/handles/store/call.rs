//! A call to the store, which waits for a connection and for the row before it proceeds like any other call.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::release::{roll_back, wake_released};
use super::transaction::Transaction;
use crate::engine::call::dies_waiting;
use crate::engine::link::{Link, Liveness};
use crate::engine::slots;
use crate::engine::state::{State, Stuck, lock};
use crate::engine::steps::Resource;
use crate::process::handles::client::Call;
use crate::search::choice::{Place, WaitKind};
use crate::system::connections::{ConnectionOwner, ConnectionTicket, WaitTarget};
use crate::system::effect::fingerprint;
use crate::system::service::store::{Database, Reply, StoreError, TxId};
use crate::system::timeline::EventKind;

/// A call to the store. It does nothing unless awaited.
#[derive(Debug)]
#[must_use = "a call does nothing unless awaited"]
pub struct StoreCall<'t, T> {
    call: Result<Call<Database>, StoreError>,
    transaction: Option<TxId>,
    /// The transaction that ends with this call.
    ends: Option<Transaction>,
    wait: Option<ConnectionTicket>,
    connection: Option<ConnectionTicket>,
    is_admitted: bool,
    unpack: fn(Reply) -> Result<T, StoreError>,
    /// A transaction does one thing at a time.
    within: PhantomData<&'t mut ()>,
}

/// Whether a call or a transaction may begin.
pub(super) enum Admission {
    Yes,
    /// It must wait for this.
    Waits(WaitTarget),
    Refused(StoreError),
}

/// Returns the owner of a link, if it is a process.
pub(super) fn owner(link: &Link, state: &mut State) -> Option<ConnectionOwner> {
    let life = link.life()?;
    let actor = life.as_caller(state, |state| state.actor());
    Some(ConnectionOwner { process: life.process, incarnation: life.incarnation, actor })
}

/// Makes the caller wait for a connection or a row. Returns `None` if the process died in the wait, or if the run is
/// over.
pub(super) fn wait(
    link: &Link,
    waited: Option<ConnectionTicket>,
    awaited: WaitTarget,
    place: Place,
    cx: &Context<'_>,
) -> Option<ConnectionTicket> {
    let mut guard = link.shared().state();
    let state = &mut *guard;
    let owner = owner(link, state)?;
    if waited.is_none() {
        let kind = match awaited {
            WaitTarget::Connection => WaitKind::Connection,
            WaitTarget::Row { .. } => WaitKind::Row,
        };
        link.as_caller(state, |state| {
            if state.timeline.is_recording() {
                let text = format!("waits {}", state.connections.why_waits(&owner, &awaited, place));
                state.note(|| EventKind::Remarked { text });
            }
        });
        if dies_waiting(link, state, kind, place) {
            return None;
        }
    }
    let wake = link.shared().wake_of(state, cx);
    Some(state.connections.wait(waited, owner, awaited, place, wake))
}

/// Reports that blocking code would wait forever, and ends it.
pub(super) fn stuck(link: &Link, awaited: &WaitTarget, place: Place) -> ! {
    let mut state = link.shared().state();
    if let Some(owner) = owner(link, &mut state) {
        let why = state.connections.why_waits(&owner, awaited, place);
        let waiting = vec![format!(
            "{} waits {why}; because it blocks, nothing else can run meanwhile: use the async form",
            owner.actor
        )];
        state.search.get_stuck(Stuck::Deadlock { waiting });
    }
    drop(state);
    link.unwind()
}

impl<'t, T> StoreCall<'t, T> {
    pub(super) fn new(
        call: Result<Call<Database>, StoreError>,
        transaction: Option<TxId>,
        unpack: fn(Reply) -> Result<T, StoreError>,
    ) -> Self {
        let (ends, within) = (None, PhantomData);
        Self { call, transaction, ends, wait: None, connection: None, is_admitted: false, unpack, within }
    }

    /// Marks the call as one that ends a transaction.
    pub(super) fn ending(mut self, transaction: Transaction) -> Self {
        self.ends = Some(transaction);
        self
    }

    /// Takes a connection, and checks whether the row is unlocked. The test body and the destructors of a dead process
    /// do not wait for either.
    fn admit(&mut self) -> Admission {
        let Ok(call) = &self.call else { return Admission::Yes };
        let (link, place) = (&call.client().link, call.place());
        if link.is_given() || link.liveness() != Liveness::Alive {
            return Admission::Yes;
        }
        let mut faulty = lock(&call.client().faulty);
        let mut state = link.shared().state();
        if self.transaction.is_none() && self.connection.is_none() && state.connections.is_limited() {
            let Some(owner) = owner(link, &mut state) else { return Admission::Yes };
            match state.connections.connect(owner, None, place, self.wait) {
                Some(connection) => (self.connection, self.wait) = (Some(connection), None),
                None => return Admission::Waits(WaitTarget::Connection),
            }
        }
        let now = state.clock.now();
        let Some(request) = call.request() else { return Admission::Yes };
        let (thing, writes) = match request.ask.row() {
            Some((key, writes)) if self.transaction.is_none() && !state.connections.is_limited() => {
                (Resource::Row(fingerprint(&[key])), writes)
            }
            _ => (Resource::Rows, true),
        };
        state.touch(thing, writes);
        match faulty.service.blocks(request, now).map(|(key, holder)| (key.to_owned(), holder)) {
            None => Admission::Yes,
            Some((key, holder)) => match self.transaction {
                Some(own) => match faulty.service.waits(own, &key, holder) {
                    Ok(()) => Admission::Waits(WaitTarget::Row { key, holder }),
                    Err(error) => Admission::Refused(error),
                },
                None => Admission::Waits(WaitTarget::Row { key, holder }),
            },
        }
    }

    /// Stops waiting.
    fn stop_waiting(&mut self) {
        let (Ok(call), Some(wait)) = (&self.call, self.wait.take()) else { return };
        if let Some(transaction) = self.transaction {
            lock(&call.client().faulty).service.goes_on(transaction);
        }
        let shared = call.client().link.shared();
        let wakes = shared.state().connections.stop_waiting(wait);
        shared.wake(wakes);
    }

    fn disconnect(&mut self) {
        let (Ok(call), Some(connection)) = (&self.call, self.connection.take()) else { return };
        let shared = call.client().link.shared();
        let wakes = shared.state().connections.disconnect(connection);
        shared.wake(wakes);
    }

    /// Refuses the call before it begins, because the transaction is the victim of a deadlock.
    fn refused<R>(&mut self, error: StoreError) -> Result<R, StoreError> {
        if let Ok(call) = &self.call {
            let mut state = call.client().link.shared().state();
            call.client().link.as_caller(&mut state, |state| {
                state.note(|| EventKind::Replied { reply: Err(error.to_string()) });
            });
            drop(state);
            wake_released(call.client());
        }
        self.stop_waiting();
        Err(error)
    }

    /// Returns the result of a completed call. A transaction whose connection was lost is rolled back.
    fn ended(&mut self, result: Result<Reply, crate::ServiceError>) -> Result<T, StoreError> {
        if let (true, Ok(call)) = (self.transaction.is_some() || self.connection.is_some(), &self.call) {
            call.client().link.shared().touch(Resource::Rows, true);
        }
        if let (Err(_), Some(transaction), Ok(call)) = (&result, self.transaction, &self.call) {
            roll_back(call.client(), transaction);
        }
        self.disconnect();
        self.ends = None;
        match result? {
            Reply::Failed(error) => Err(error),
            reply => (self.unpack)(reply),
        }
    }

    /// Makes the call from blocking code.
    pub(super) fn block(mut self) -> Result<T, StoreError> {
        if let Ok(call) = &self.call {
            let link = call.client().link.clone();
            link.arrive();
            if slots::on_slot_thread() && link.liveness() == Liveness::Alive {
                return link.wait_for(self);
            }
        }
        match self.admit() {
            Admission::Yes => {}
            Admission::Refused(error) => return self.refused(error),
            Admission::Waits(awaited) => match &self.call {
                Ok(call) => stuck(&call.client().link, &awaited, call.place()),
                Err(error) => return Err(error.clone()),
            },
        }
        let call = self.call.as_mut().map_err(|error| error.clone())?;
        let result = call.block();
        if self.transaction.is_some() {
            wake_released(call.client());
        }
        self.ended(result)
    }
}

impl<T> Future for StoreCall<'_, T> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if !this.is_admitted {
            match this.admit() {
                Admission::Yes => {
                    this.stop_waiting();
                    this.is_admitted = true;
                }
                Admission::Refused(error) => return Poll::Ready(this.refused(error)),
                Admission::Waits(awaited) => {
                    let Ok(call) = &this.call else { unreachable!("without a call there is no wait") };
                    match wait(&call.client().link, this.wait, awaited, call.place(), cx) {
                        None => return call.client().link.pend_or_unwind(cx),
                        waiting => this.wait = waiting,
                    }
                    return Poll::Pending;
                }
            }
        }
        let call = match &mut this.call {
            Ok(call) => call,
            Err(error) => return Poll::Ready(Err(error.clone())),
        };
        let polled = Pin::new(&mut *call).poll(cx);
        if this.transaction.is_some() {
            wake_released(call.client());
        }
        polled.map(|result| this.ended(result))
    }
}

impl<T> Drop for StoreCall<'_, T> {
    fn drop(&mut self) {
        self.stop_waiting();
        self.disconnect();
    }
}
