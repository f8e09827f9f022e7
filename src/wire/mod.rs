//! Services behind real sockets. A [`Protocol`] defines how bytes become requests and replies become bytes, and code
//! under test uses it through an unmodified client.
//!
//! HTTP ([`Process::http`](crate::Process::http), feature `http`) is one such protocol. Add another one by
//! implementing the trait: see the guide [`adding_a_protocol`](crate::adding_a_protocol).
//!
//! | to | use |
//! | --- | --- |
//! | add a protocol | [`Protocol`], [`DecodeOutcome`], [`Caller`], [`ServeOutcome`], [`Reply`] |
//! | forward requests to a real system | [`Caller::forward`], [`ForwardedCall`], [`ForwardOutcome`], [`OpenTransaction`], [`Expirations`] |
//! | give a process its address | [`World::wire`], [`Process::wire`], [`Wire`] |
//! | test a protocol | [`conformance`], [`conformance_repeating`], [`Repetitions`], [`Sample`], [`Failures`], [`Nonconformance`] |

mod protocol;
mod forward;
mod address;
#[cfg(any(feature = "http", feature = "smtp"))]
pub(crate) mod tls;
mod transit;
mod connection;
mod thread;
mod exchange;
mod conformance;
#[cfg(all(test, feature = "http"))]
pub(crate) mod by_hand;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use self::conformance::{
    Failures, Nonconformance, Repetitions, Sample, conformance, conformance_repeating,
};
pub use self::forward::{Expirations, ForwardOutcome, ForwardedCall, OpenTransaction};
pub use self::protocol::{Caller, DecodeOutcome, Protocol, Reply, ServeOutcome};

#[cfg(any(feature = "http", feature = "smtp"))]
pub(crate) use self::exchange::exchange_of;
use self::protocol::Endpoint;
use crate::process::{Link, Process};
use crate::search::choice::{Name, Place};
use crate::world::World;

/// The address at which one incarnation of a process (or the test) reaches services by a protocol.
///
/// It is a port on 127.0.0.1. When the incarnation dies, the port is closed and its connections are reset.
#[derive(Clone)]
pub struct Wire {
    endpoint: Arc<Endpoint>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("address", &self.endpoint.address).finish_non_exhaustive()
    }
}

impl Wire {
    /// `127.0.0.1:43117`. The port differs in each incarnation and each run.
    pub fn address(&self) -> SocketAddr {
        self.endpoint.address
    }

    /// Returns the virtual time since the world began.
    pub fn now(&self) -> Duration {
        self.endpoint.now()
    }

    /// Resumes calls that wait in a real system, because the test has changed something there besides this address.
    pub fn resume_waiting(&self) {
        exchange::exchange_of(self.endpoint.link.shared()).resume_waiting();
    }

    pub(crate) fn open(link: &Link, protocol: Name, place: Place) -> Self {
        let exchange = exchange::exchange_of(link.shared());
        Self { endpoint: exchange.open(link, protocol, place) }
    }
}

impl Process {
    /// Returns the address at which this incarnation speaks a protocol that the test has added with [`World::wire`].
    /// The port is opened immediately, and closed when the incarnation dies. Further calls return the same address.
    ///
    /// A call over it has the same choices as one in process, and those of a connection: it may be reset before the
    /// request is read, reset or closed after it was handled, or closed in the middle of the reply.
    ///
    /// # Panics
    /// If there is no such protocol, or if no port can be opened.
    #[track_caller]
    pub fn wire(&self, protocol: impl Into<Name>) -> Wire {
        Wire::open(self.link(), protocol.into(), Place::caller())
    }
}

impl World {
    /// Adds a protocol with a name, and opens the test's own address for it. Requests to that address are givens, and
    /// nothing goes wrong with them. Processes use [`Process::wire`]. If the name exists already, the first protocol
    /// stays.
    ///
    /// # Panics
    /// If no port can be opened.
    #[track_caller]
    pub fn wire<P: Protocol>(&self, name: impl Into<Name>, protocol: P) -> Wire {
        let name = name.into();
        exchange::exchange_of(self.link().shared()).get_or_add(name, || protocol);
        Wire::open(&self.link(), name, Place::caller())
    }
}
