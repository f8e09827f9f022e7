//! Code that works but is fragile. It causes a warning. It is a violation only if the test asks for that.

use crate::search::choice::{Name, Place};

/// A fragile practice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Hygiene {
    /// A call to an external service while the attempt has an open transaction, and the place where that transaction
    /// began.
    ExternalCall { service: Name, operation: Name, place: Place, opened: Place },
    /// An enqueue while the attempt has an open transaction.
    EnqueueInTransaction { kind: &'static str, place: Place, opened: Place },
    /// A process with more slots than connections to the store.
    PoolTooSmall { process: Name, slots: usize, connections: usize },
    /// A connection of code under test to something that the harness does not see.
    Unexplored { address: String },
}

impl Hygiene {
    /// The subject, regardless of the place.
    pub(crate) fn subject(&self) -> String {
        match self {
            Self::ExternalCall { service, operation, .. } => format!("call {service}.{operation}"),
            Self::EnqueueInTransaction { kind, .. } => format!("enqueue {kind}"),
            Self::PoolTooSmall { process, .. } => format!("pool {process}"),
            Self::Unexplored { address } => format!("connection {address}"),
        }
    }

    /// The place in the source.
    pub(crate) fn place(&self) -> Option<Place> {
        match self {
            Self::ExternalCall { place, .. } | Self::EnqueueInTransaction { place, .. } => Some(*place),
            Self::PoolTooSmall { .. } | Self::Unexplored { .. } => None,
        }
    }
}
