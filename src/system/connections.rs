//! Connections to the store, and transactions in databases behind a wire: who holds one, in which transaction, and who waits for a connection or for a row.
//!
//! Each process has a pool of connections, which are handed out in the order of the requests. The pool dies with the
//! process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::search::choice::{Actor, Name, Place};
use crate::system::clock::Wake;
use crate::system::service::store::TxId;

/// The id of a held connection or of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionTicket(u64);

/// The holder or waiter: an attempt of a process, in one of its incarnations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionOwner {
    pub(crate) process: Name,
    pub(crate) incarnation: u32,
    pub(crate) actor: Actor,
}

impl ConnectionOwner {
    fn shares_pool(&self, other: &ConnectionOwner) -> bool {
        (self.process, self.incarnation) == (other.process, other.incarnation)
    }
}

/// The thing that a waiter needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WaitTarget {
    Connection,
    Row { key: String, holder: TxId },
}

#[derive(Debug)]
struct HeldConnection {
    ticket: ConnectionTicket,
    owner: ConnectionOwner,
    transaction: Option<TxId>,
    place: Place,
}

#[derive(Debug)]
struct ConnectionWait {
    ticket: ConnectionTicket,
    owner: ConnectionOwner,
    awaited: WaitTarget,
    wake: Wake,
    place: Place,
}

/// A transaction in a real database.
#[derive(Debug)]
struct OutsideTransaction {
    system: Name,
    actor: Actor,
    place: Place,
    is_over: Arc<AtomicBool>,
}

/// The connections of all processes.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    /// The maximum number of connections of each process. `None` means no limit.
    most: Option<usize>,
    held: Vec<HeldConnection>,
    /// The longest wait first.
    waiting: Vec<ConnectionWait>,
    tickets: u64,
    /// The number of held connections that are in a transaction.
    in_transaction: usize,
    /// The processes that use the store, with their slots.
    users: Vec<(Name, usize)>,
    outside: Vec<OutsideTransaction>,
}

impl Connections {
    pub(crate) fn limit(&mut self, most: usize) {
        self.most = Some(most);
    }

    pub(crate) fn is_limited(&self) -> bool {
        self.most.is_some()
    }

    fn next_ticket(&mut self) -> ConnectionTicket {
        self.tickets += 1;
        ConnectionTicket(self.tickets)
    }

    fn free(&self, owner: &ConnectionOwner) -> usize {
        let held = self.held.iter().filter(|held| held.owner.shares_pool(owner)).count();
        self.most.map_or(usize::MAX, |most| most.saturating_sub(held))
    }

    /// Reports whether `owner` may have a connection now. Waiters who asked earlier go first. `waits` is the ticket
    /// under which `owner` has waited.
    pub(crate) fn may_connect(&self, owner: &ConnectionOwner, waits: Option<ConnectionTicket>) -> bool {
        let before = |other: &&ConnectionWait| {
            other.awaited == WaitTarget::Connection
                && other.owner.shares_pool(owner)
                && waits.is_none_or(|ticket| other.ticket < ticket)
        };
        self.free(owner) > self.waiting.iter().filter(before).count()
    }

    /// Takes a connection, if one is free.
    pub(crate) fn connect(
        &mut self,
        owner: ConnectionOwner,
        transaction: Option<TxId>,
        place: Place,
        waits: Option<ConnectionTicket>,
    ) -> Option<ConnectionTicket> {
        if !self.may_connect(&owner, waits) {
            return None;
        }
        waits.into_iter().for_each(|ticket| self.forget_wait(ticket));
        let ticket = self.next_ticket();
        self.in_transaction += usize::from(transaction.is_some());
        self.held.push(HeldConnection { ticket, owner, transaction, place });
        Some(ticket)
    }

    /// Returns a connection to the pool. The result lists the tasks that may have one now.
    pub(crate) fn disconnect(&mut self, ticket: ConnectionTicket) -> Vec<Wake> {
        let Some(at) = self.held.iter().position(|held| held.ticket == ticket) else { return Vec::new() };
        let HeldConnection { owner, transaction, .. } = self.held.remove(at);
        self.in_transaction -= usize::from(transaction.is_some());
        self.served(&owner)
    }

    /// The tasks that wait for a connection of that pool and may have one.
    fn served(&self, owner: &ConnectionOwner) -> Vec<Wake> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let waits = |other: &&ConnectionWait| {
            other.awaited == WaitTarget::Connection && other.owner.shares_pool(owner)
        };
        let served = self.waiting.iter().filter(waits).take(self.free(owner));
        served.map(|waiting| waiting.wake.clone()).collect()
    }

    /// Waits, or continues to wait in the same place in line.
    pub(crate) fn wait(
        &mut self,
        waits: Option<ConnectionTicket>,
        owner: ConnectionOwner,
        awaited: WaitTarget,
        place: Place,
        wake: Wake,
    ) -> ConnectionTicket {
        let known = waits.and_then(|ticket| self.waiting.iter_mut().find(|known| known.ticket == ticket));
        if let Some(known) = known {
            (known.awaited, known.wake) = (awaited, wake);
            return known.ticket;
        }
        let ticket = self.next_ticket();
        self.waiting.push(ConnectionWait { ticket, owner, awaited, wake, place });
        ticket
    }

    fn forget_wait(&mut self, ticket: ConnectionTicket) {
        self.waiting.retain(|waiting| waiting.ticket != ticket);
    }

    /// Stops waiting. The result lists the tasks that come next.
    pub(crate) fn stop_waiting(&mut self, ticket: ConnectionTicket) -> Vec<Wake> {
        let Some(at) = self.waiting.iter().position(|waiting| waiting.ticket == ticket) else {
            return Vec::new();
        };
        let ConnectionWait { owner, .. } = self.waiting.remove(at);
        self.served(&owner)
    }

    /// Locks on these rows were released. Returns the tasks that waited for one of them.
    pub(crate) fn released(&self, keys: &[String]) -> Vec<Wake> {
        let waits = |waiting: &&ConnectionWait| matches!(&waiting.awaited, WaitTarget::Row { key, .. } if keys.contains(key));
        self.waiting.iter().filter(waits).map(|waiting| waiting.wake.clone()).collect()
    }

    /// Records that a process uses the store.
    pub(crate) fn used_by(&mut self, process: Name, slots: usize) {
        match self.users.iter_mut().find(|(known, _)| *known == process) {
            Some((_, known)) => *known = slots.max(*known),
            None => self.users.push((process, slots)),
        }
    }

    /// The processes that have more slots than connections: their name, their slots, their connections.
    pub(crate) fn too_few(&self) -> impl Iterator<Item = (Name, usize, usize)> + '_ {
        let most = self.most.unwrap_or(usize::MAX);
        self.users
            .iter()
            .filter(move |(_, slots)| most < *slots)
            .map(move |(name, slots)| (*name, *slots, most))
    }

    /// Removes everything that an incarnation had. Returns the transactions that must be rolled back.
    pub(crate) fn bury(&mut self, process: Name, incarnation: u32) -> Vec<TxId> {
        let of_it = |owner: &ConnectionOwner| (owner.process, owner.incarnation) == (process, incarnation);
        self.waiting.retain(|waiting| !of_it(&waiting.owner));
        let open = self.held.iter().filter(|held| of_it(&held.owner)).filter_map(|held| held.transaction);
        let open: Vec<_> = open.collect();
        self.held.retain(|held| !of_it(&held.owner));
        self.in_transaction -= open.len();
        open
    }

    /// The place at which `actor` began its most recent open transaction.
    #[inline]
    pub(crate) fn in_transaction_since(&self, actor: Actor) -> Option<Place> {
        if self.in_transaction == 0 {
            return None;
        }
        let open =
            self.held.iter().rev().find(|held| held.owner.actor == actor && held.transaction.is_some());
        open.map(|held| held.place)
    }

    /// Notes that `actor` has a transaction in a real database, until the flag is set that this returns.
    #[cfg(any(test, feature = "wire"))]
    pub(crate) fn begin_outside(&mut self, system: Name, actor: Actor, place: Place) -> Arc<AtomicBool> {
        let is_over = Arc::<AtomicBool>::default();
        self.outside.retain(|known| !known.is_over.load(Ordering::Relaxed));
        self.outside.push(OutsideTransaction { system, actor, place, is_over: is_over.clone() });
        is_over
    }

    /// The place at which `actor` began an open transaction in another real system than `target`.
    #[inline]
    pub(crate) fn in_outside_transaction(&self, actor: Actor, target: Option<Name>) -> Option<Place> {
        let is_open = |known: &&OutsideTransaction| {
            known.actor == actor && Some(known.system) != target && !known.is_over.load(Ordering::Relaxed)
        };
        self.outside.iter().rev().find(is_open).map(|known| known.place)
    }

    /// Describes what `actor` waits for, and who holds it.
    pub(crate) fn waits_for(&self, actor: Actor) -> Option<String> {
        let waiting = self.waiting.iter().find(|waiting| waiting.owner.actor == actor)?;
        Some(self.why_waits(&waiting.owner, &waiting.awaited, waiting.place))
    }

    /// The same for an owner that is about to wait.
    pub(crate) fn why_waits(&self, owner: &ConnectionOwner, awaited: &WaitTarget, place: Place) -> String {
        let what = match awaited {
            WaitTarget::Connection => {
                let (process, most) = (owner.process, self.most.unwrap_or_default());
                let pool = self.held.iter().filter(|held| held.owner.shares_pool(owner));
                let held: Vec<_> =
                    pool.map(|held| format!("{} since {}", held.owner.actor, held.place)).collect();
                format!(
                    "a connection to the store: all {most} of the pool of `{process}` are held ({})",
                    held.join(", ")
                )
            }
            WaitTarget::Row { key, holder } => {
                let by = self.held.iter().find(|held| held.transaction == Some(*holder));
                let by = by.map_or("a transaction".to_owned(), |held| {
                    format!("the transaction that {} began at {}", held.owner.actor, held.place)
                });
                format!("the row `{key}`, which is locked by {by}")
            }
        };
        format!("at {place} for {what}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::clock::TaskId;

    #[test]
    fn a_transaction_outside_is_open_until_its_flag_is_set() {
        let mut connections = Connections::default();
        let (place, other) = (Place { file: "a.rs", line: 6, column: 1 }, Actor::Process("other".into()));
        let is_over = connections.begin_outside("db".into(), Actor::Test, place);
        assert_eq!(connections.in_outside_transaction(Actor::Test, Some("mail".into())), Some(place));
        assert_eq!(connections.in_outside_transaction(Actor::Test, None), Some(place));
        // Its own statements, and what others do, are not outside calls in it.
        assert_eq!(connections.in_outside_transaction(Actor::Test, Some("db".into())), None);
        assert_eq!(connections.in_outside_transaction(other, None), None);
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(connections.in_outside_transaction(Actor::Test, None), None);
    }

    #[test]
    fn a_connection_that_is_given_back_is_for_whoever_has_waited_longest() {
        let owner = ConnectionOwner { process: "worker".into(), incarnation: 1, actor: Actor::Test };
        let place = Place::caller();
        let mut connections = Connections::default();
        connections.limit(1);
        let held = connections.connect(owner, None, place, None).unwrap();
        let [first, second] = [0, 1].map(|slot| {
            let wake = Wake::Task(TaskId { slot, turn: 0 });
            connections.wait(None, owner, WaitTarget::Connection, place, wake)
        });
        assert_eq!(connections.disconnect(held).len(), 1);
        // It has not come back yet: neither a newcomer nor the waiter behind it goes first.
        assert_eq!(connections.connect(owner, None, place, None), None);
        assert_eq!(connections.connect(owner, None, place, Some(second)), None);
        let held = connections.connect(owner, None, place, Some(first)).unwrap();
        connections.disconnect(held);
        assert!(connections.connect(owner, None, place, Some(second)).is_some());
    }
}
