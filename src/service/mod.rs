//! The outside services. Each is a pure state machine `request → (effects, reply)`; the fault layer goes around any
//! of them. Nothing here knows of HTTP, tasks or processes, and the built-in services are written with nothing that
//! a user's own does not have.

pub mod email;
pub mod fulfillment;
pub mod payments;

use std::fmt::Debug;
use std::time::Duration;

use serde::Serialize;

use crate::choice::{Actor, Name, Options, Place};
use crate::effect::{Effect, Ledger};

/// A service of the outside: a state machine that answers requests and makes effects.
///
/// The state is what `self` holds; it is durable. It is `Clone` because a process that is dying is answered from a
/// throw-away copy.
pub trait Service: Clone + Send + 'static {
    /// What can be asked.
    type Request: Serialize + Debug + Send + Unpin + 'static;
    /// What is answered. A decline or a rejection is an answer.
    type Reply: Serialize + Debug + Send + Unpin + 'static;

    /// The name of the service: `payments`.
    fn name(&self) -> Name;

    /// What a request does.
    fn operation(&self, request: &Self::Request) -> Operation;

    /// Does it and answers. Effects go to `cx`.
    fn answer(&mut self, request: Self::Request, cx: &mut Cx<'_>) -> Self::Reply;
}

/// What a request does: its name, and whether it may change something outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// `charge`
    pub name: Name,
    /// Whether it may make an effect. A read cannot: its lost reply is the same as its not having happened.
    pub writes: bool,
}

impl Operation {
    /// An operation that may make an effect.
    pub const fn write(name: Name) -> Self {
        Self { name, writes: true }
    }

    /// An operation that only looks.
    pub const fn read(name: Name) -> Self {
        Self { name, writes: false }
    }
}

/// What a service is told while it answers.
#[derive(Debug)]
pub struct Cx<'a> {
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) service: Name,
    pub(crate) now: Duration,
    pub(crate) by: Actor,
    pub(crate) given: bool,
    pub(crate) place: Option<Place>,
}

impl Cx<'_> {
    /// The time since the world began.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Records an effect and gives it its id: `prefix` and eight hex digits derived from the content.
    ///
    /// # Panics
    /// When `body` cannot be written as JSON.
    pub fn effect(
        &mut self,
        operation: impl Into<Name>,
        key: Option<&str>,
        body: &impl Serialize,
        prefix: &str,
    ) -> String {
        let operation = operation.into();
        let body = serde_json::to_string(body).expect("the body of an effect can be written as JSON");
        let id = self.ledger.id(prefix, self.service, operation, key, &body);
        self.ledger.push(Effect {
            service: self.service,
            operation,
            key: key.map(str::to_owned),
            body,
            id: id.clone(),
            at: self.now,
            given: self.given,
            by: self.by,
            place: self.place,
        });
        id
    }
}

/// How a call can fail, whatever the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// 503; nothing happened.
    Unavailable,
    /// It happened, and the caller sees 503.
    ReplyLost,
    /// 429; nothing happened.
    Throttled,
    /// The client's own timeout; nothing happened.
    TimedOut,
    /// The client's own timeout; it happened all the same.
    TimedOutButDone,
}

/// Why a call came to nothing, as the caller sees it. Whether something happened all the same it does not tell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The service answered 503.
    #[error("{service}.{operation}: 503 service unavailable")]
    Unavailable {
        /// The service.
        service: Name,
        /// The operation.
        operation: Name,
    },
    /// The service answered 429.
    #[error("{service}.{operation}: 429 too many requests, retry after {retry_after:?}")]
    Throttled {
        /// The service.
        service: Name,
        /// The operation.
        operation: Name,
        /// What its `Retry-After` says.
        retry_after: Duration,
    },
    /// No answer came in time.
    #[error("{service}.{operation}: no answer within {after:?}")]
    TimedOut {
        /// The service.
        service: Name,
        /// The operation.
        operation: Name,
        /// How long the client waited.
        after: Duration,
    },
}

/// What a throttled caller is told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// How long a client waits for an answer.
pub(crate) const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);

const WRITE_FAULTS: [Fault; 5] =
    [Fault::Unavailable, Fault::ReplyLost, Fault::Throttled, Fault::TimedOut, Fault::TimedOutButDone];
const READ_FAULTS: [Fault; 3] = [Fault::Unavailable, Fault::Throttled, Fault::TimedOut];

impl Fault {
    /// What a call's fault choice offers.
    pub(crate) fn options(operation: Operation) -> Options {
        Options::Named(if operation.writes {
            &["ok", "unavailable", "reply-lost", "throttled", "timed-out", "timed-out-but-done"]
        } else {
            &["ok", "unavailable", "throttled", "timed-out"]
        })
    }

    /// The fault behind an option of that choice; none behind option 0.
    pub(crate) fn taken(operation: Operation, option: usize) -> Option<Self> {
        let faults: &[Self] = if operation.writes { &WRITE_FAULTS } else { &READ_FAULTS };
        option.checked_sub(1).map(|fault| faults[fault])
    }

    fn happens(self) -> bool {
        matches!(self, Fault::ReplyLost | Fault::TimedOutButDone)
    }

    fn seen_as(self, service: Name, operation: Name) -> ServiceError {
        match self {
            Fault::Unavailable | Fault::ReplyLost => ServiceError::Unavailable { service, operation },
            Fault::Throttled => ServiceError::Throttled { service, operation, retry_after: RETRY_AFTER },
            Fault::TimedOut | Fault::TimedOutButDone => {
                ServiceError::TimedOut { service, operation, after: CLIENT_TIMEOUT }
            }
        }
    }
}

/// The fault layer: a call with a fault, or without.
pub(crate) fn answer<S: Service>(
    service: &mut S,
    request: S::Request,
    operation: Name,
    fault: Option<Fault>,
    cx: &mut Cx<'_>,
) -> Result<S::Reply, ServiceError> {
    match fault {
        None => Ok(service.answer(request, cx)),
        Some(fault) => {
            if fault.happens() {
                service.answer(request, cx);
            }
            Err(fault.seen_as(cx.service, operation))
        }
    }
}

/// What names the thing that a call is about: an order, and a key that makes the call repeatable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Metadata {
    /// The order.
    pub order_id: String,
    /// A second call with the key of an earlier successful one does nothing and has its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}
