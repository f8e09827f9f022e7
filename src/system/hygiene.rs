//! What works, and is asking for trouble. It is a warning, and no violation unless the test says so.

use crate::search::choice::{Name, Place};

/// Something that works and should not be done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Hygiene {
    /// A call to the outside while a transaction of the attempt's is open, and where that was begun.
    ExternalCall { service: Name, operation: Name, place: Place, opened: Place },
    /// A job enqueued while a transaction of the attempt's is open.
    EnqueueInTransaction { kind: &'static str, place: Place, opened: Place },
    /// A process that has more slots than connections to the store.
    PoolTooSmall { process: Name, slots: usize, connections: usize },
}

impl Hygiene {
    /// What it is about, wherever it is done.
    pub(crate) fn subject(&self) -> String {
        match self {
            Self::ExternalCall { service, operation, .. } => format!("call {service}.{operation}"),
            Self::EnqueueInTransaction { kind, .. } => format!("enqueue {kind}"),
            Self::PoolTooSmall { process, .. } => format!("pool {process}"),
        }
    }

    /// Where it is done.
    pub(crate) fn place(&self) -> Option<Place> {
        match self {
            Self::ExternalCall { place, .. } | Self::EnqueueInTransaction { place, .. } => Some(*place),
            Self::PoolTooSmall { .. } => None,
        }
    }
}
