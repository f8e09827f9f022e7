//! The outside services. Each is a pure state machine `request → (effects, reply)`; the fault layer goes around any
//! of them. Nothing here knows of HTTP, tasks or processes, and the built-in services are written with nothing that
//! a user's own does not have.

mod directory;
mod door;
pub mod email;
pub mod error_tracker;
mod fault;
pub mod fulfillment;
mod function;
mod keys;
pub mod payments;
pub mod store;

pub(crate) use directory::{Directory, STORE};
pub use door::Behavior;
#[cfg(feature = "wire")]
pub(crate) use door::CLIENT_TIMEOUT;
pub(crate) use door::{Answer, CallOptions, FaultPlan, Faulty};
#[cfg(feature = "wire")]
pub(crate) use fault::{BrokenConnection, Channel};
pub(crate) use fault::{ENQUEUE_FAULTS, external_faults};
pub use function::{Function, function};
pub use keys::Keys;
pub use store::StoreError;

use std::fmt::Debug;
use std::time::Duration;

use serde::Serialize;

use crate::search::choice::{Actor, Name, Place};
use crate::search::input::{Inputs, RequestChoice};
use crate::system::effect::{Effect, Ledger, Reuse};
use crate::system::exact_json;
use crate::system::generated::Generated;

/// A service of the outside: a state machine that answers requests and makes effects.
///
/// The state is what `self` holds; it is durable. It is `Clone` because a process that is dying is answered from a
/// throw-away copy.
///
/// ```
/// use retryproof::service::{ServiceContext, Operation, Refusal, Service};
/// use retryproof::{Client, Explore, World};
///
/// /// Tells how many letters it has sent.
/// #[derive(Clone, Default)]
/// struct Letters(u32);
///
/// impl Service for Letters {
///     type Request = String;
///     type Reply = u32;
///
///     fn operation(&self, _: &String) -> Operation {
///         Operation::write("send".into())
///     }
///
///     fn answer(&mut self, text: String, cx: &mut ServiceContext<'_>) -> Result<u32, Refusal> {
///         cx.effect("send", None, &text, "lt_");
///         self.0 += 1;
///         Ok(self.0)
///     }
/// }
///
/// let report = Explore::new().deviations(1).run(async |world: &World| {
///     world.service("letters", Letters::default());
///     world.process("worker", |p| {
///         let letters: Client<Letters> = p.service("letters");
///         p.handle(async move |name: String| letters.call(format!("Dear {name}")).await);
///     });
///     world.enqueue("Ada".to_owned());
///     world.settle().await;
/// });
/// assert_eq!(report.violations()[0].summary, "letters.send happened twice, expected once");
/// ```
pub trait Service: Clone + Send + 'static {
    /// What can be asked.
    type Request: Serialize + Debug + Send + Unpin + 'static;
    /// What is answered. A decline or a rejection is an answer.
    type Reply: Serialize + Debug + Send + Unpin + 'static;

    /// What a request does.
    fn operation(&self, request: &Self::Request) -> Operation;

    /// Does it and answers. Effects go to `cx`.
    ///
    /// # Errors
    /// When the request is refused as such: the caller sees [`ServiceError::Refused`].
    fn answer(&mut self, request: Self::Request, cx: &mut ServiceContext<'_>)
    -> Result<Self::Reply, Refusal>;

    /// The refusals with which the service may answer this request, where a test has them explored
    /// ([`Client::explore_refusals`](crate::Client::explore_refusals)). By default there are none.
    ///
    /// Returns none if the answer is settled: a key with a stored answer, say ([`Keys::knows`]).
    ///
    /// ```
    /// use retryproof::service::{ServiceContext, Operation, Refusal, Refusals, Service};
    /// use retryproof::{Client, Explore, ServiceError, Verdict, World};
    ///
    /// /// Books seats. A hall may be sold out.
    /// #[derive(Clone, Default)]
    /// struct Seats;
    ///
    /// impl Service for Seats {
    ///     type Request = String;
    ///     type Reply = String;
    ///
    ///     fn operation(&self, _: &String) -> Operation {
    ///         Operation::write("book".into())
    ///     }
    ///
    ///     fn answer(&mut self, hall: String, cx: &mut ServiceContext<'_>) -> Result<String, Refusal> {
    ///         Ok(cx.effect("book", None, &hall, "bk_"))
    ///     }
    ///
    ///     fn refusals(&self, hall: &String, _: &ServiceContext<'_>) -> Option<Refusals> {
    ///         Some(Refusals::of([hall], &["sold-out"]))
    ///     }
    /// }
    ///
    /// let report = Explore::new().deviations(0).run(async |world: &World| {
    ///     world.service("seats", Seats).explore_refusals();
    ///     world.process("worker", |p| {
    ///         let (seats, email): (Client<Seats>, _) = (p.service("seats"), p.email());
    ///         p.handle(async move |hall: String| {
    ///             // Whether there was a seat left makes no difference to this job, and it should.
    ///             let _ = seats.call(hall).await;
    ///             email.send(retryproof::service::email::Email::new("ada@example.com", "your-seat")).await
    ///         });
    ///     });
    ///     world.enqueue("red".to_owned());
    ///     world.settle().await;
    /// });
    /// assert_eq!(report.verdict(), Verdict::Violated);
    /// let violation = &report.violations()[0];
    /// assert_eq!(violation.scenario.inputs(), ["input:seats.book/red=sold-out"]);
    /// assert!(violation.summary.starts_with("seats.book was refused"), "{violation:?}");
    /// ```
    fn refusals(&self, request: &Self::Request, cx: &ServiceContext<'_>) -> Option<Refusals> {
        let _ = (request, cx);
        None
    }

    /// Answers a request with one of its [`refusals`](Service::refusals). By default the caller sees
    /// [`ServiceError::Refused`], with the status 422 and the name of the refusal.
    ///
    /// # Errors
    /// When the request is refused as such, as by [`Service::answer`].
    fn refuse(
        &mut self,
        request: Self::Request,
        refusal: &'static str,
        cx: &mut ServiceContext<'_>,
    ) -> Result<Self::Reply, Refusal> {
        let _ = (request, cx);
        Err(Refusal { status: 422, reason: refusal.to_owned() })
    }

    /// The idempotency key that a request bears, if any. What is around the service wants to know it to tell a
    /// request whose key is in flight ([`Client::reject_concurrent_keys`](crate::Client::reject_concurrent_keys)).
    fn key<'r>(&self, request: &'r Self::Request) -> Option<&'r str> {
        let _ = request;
        None
    }

    /// Whether it is there to be told of failures. What it is told is then no effect: instead a job that ends dead must
    /// have told, in one attempt, and one that is tried again and ends well must not.
    fn is_error_tracker(&self) -> bool {
        false
    }

    /// All that the service remembers, as JSON. Runs are merged ([`Explore::merge`](crate::Explore::merge)) only in
    /// worlds whose services all tell; by default a service does not.
    fn state(&self) -> Option<String> {
        None
    }
}

/// The refusals with which a request may be answered, and what they depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusals {
    pub(crate) subject: String,
    pub(crate) names: &'static [&'static str],
}

impl Refusals {
    /// `subject`: the parts of the request that the answer depends on. A request with the same subject is answered alike
    /// in every attempt: a card that is declined is declined when it is tried again. So leave out what differs between
    /// attempts, such as an idempotency key. `names`: the refusals, as scenarios name them.
    pub fn of<T: AsRef<str>>(subject: impl IntoIterator<Item = T>, names: &'static [&'static str]) -> Self {
        let parts: Vec<_> = subject.into_iter().map(|part| part.as_ref().to_owned()).collect();
        Self { subject: parts.join("/"), names }
    }
}

/// Why a request was refused as such, as opposed to declined or rejected, which are answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 400 to 499.
    pub status: u16,
    /// Why, for people.
    pub reason: String,
}

/// What a request does: its name, and whether it may change something outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// `charge`
    pub name: Name,
    /// Whether it may make an effect. A read cannot: its lost reply is the same as its not having happened.
    pub writes: bool,
    /// Whether a service that crashes ([`Behavior::Unavailable`]) has done it by then. Most have not.
    pub done_before_failure: bool,
    /// Whether the service may answer 429. A database does not.
    pub throttles: bool,
    /// Whether what it does lasts by itself. A statement inside of a transaction does not: as long as nothing is
    /// committed, it is the same however it fails.
    pub lasts: bool,
}

impl Operation {
    /// An operation that may make an effect.
    pub const fn write(name: Name) -> Self {
        Self { name, writes: true, done_before_failure: false, throttles: true, lasts: true }
    }

    /// One without a name, that stands for all calls to what is no service.
    pub(crate) const fn of_calls(writes: bool) -> Self {
        let (done_before_failure, throttles, lasts) = (false, true, true);
        Self { name: Name::EMPTY, writes, done_before_failure, throttles, lasts }
    }

    /// This operation has happened when the service crashes in it: the caller is told that it did not, and it did.
    #[must_use]
    pub const fn done_before_failure(self) -> Self {
        Self { done_before_failure: true, ..self }
    }

    /// An operation that only looks.
    pub const fn read(name: Name) -> Self {
        Self { writes: false, ..Self::write(name) }
    }

    /// An operation of which nothing lasts unless another one follows: a statement inside of a transaction. It has the
    /// crash points of a read, and one way to fail.
    pub const fn provisional(name: Name) -> Self {
        Self { lasts: false, ..Self::read(name) }
    }

    /// The service never answers 429 to this operation.
    #[must_use]
    pub const fn never_throttled(self) -> Self {
        Self { throttles: false, ..self }
    }
}

/// The first answer of a request that may be refused.
const ACCEPTED: &str = "accepted";

/// What a service is told while it answers.
#[derive(Debug)]
pub struct ServiceContext<'a> {
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) service: Name,
    pub(crate) now: Duration,
    pub(crate) by: Actor,
    pub(crate) given: bool,
    pub(crate) place: Option<Place>,
    /// How long it takes until a look-up shows a record.
    pub(crate) lag: Duration,
    /// Whether what happens is the telling of a failure.
    pub(crate) tells: bool,
    /// What the environment answers, where refusals can be explored.
    pub(crate) inputs: Option<Environment<'a>>,
}

/// The inputs of the run, as a service reaches them.
#[derive(Debug)]
pub(crate) struct Environment<'a> {
    pub(crate) inputs: &'a mut Inputs,
    /// How many choices the run has met.
    pub(crate) met: usize,
    pub(crate) generated: &'a mut Generated,
}

/// When a record was made, as a service remembers it to tell whether a look-up shows it yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CreatedAt(Option<Duration>);

impl ServiceContext<'_> {
    /// The time since the world began.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Now, for a record to remember. What the test body makes itself was there before.
    pub fn made(&self) -> CreatedAt {
        CreatedAt((!self.given).then_some(self.now))
    }

    /// Whether a look-up shows a record already. It may lag behind
    /// ([`Client::search_lag`](crate::Client::search_lag), [`Client::explore_stale_reads`](crate::Client::explore_stale_reads)); the
    /// test body's own look-ups never do.
    pub fn shows(&self, record: CreatedAt) -> bool {
        self.given
            || record.0.is_none_or(|made| self.lag.is_zero() || made.saturating_add(self.lag) <= self.now)
    }

    /// A number that means nothing by itself is handed out.
    pub(crate) fn hands_out(&mut self, number: u64) {
        if let Some(environment) = &mut self.inputs {
            environment.generated.number(number);
        }
    }

    /// The refusal with which the environment has this request answered, if it does.
    pub(crate) fn refusal(
        &mut self,
        operation: Name,
        refusals: &Refusals,
        request: &str,
        is_heard: bool,
    ) -> Option<&'static str> {
        let Environment { inputs, met, .. } = self.inputs.as_mut()?;
        let answers =
            std::iter::once(ACCEPTED).chain(refusals.names.iter().copied()).map(Name::from).collect();
        let by = (self.by, self.service, operation);
        let requested = RequestChoice { subject: &refusals.subject, request, is_heard };
        match inputs.refuse(by, &requested, answers, *met) {
            Ok(taken) => taken.checked_sub(1).map(|refusal| refusals.names[refusal]),
            Err(error) => panic!("{error}"),
        }
    }

    /// The id of something that is answered like an effect and is none: nothing is recorded, and no later id is moved.
    ///
    /// # Panics
    /// When `body` cannot be written as JSON.
    pub fn id(&self, operation: impl Into<Name>, body: &impl Serialize, prefix: &str) -> String {
        let body = exact_json::text(body).expect("the body of an effect can be written as JSON");
        Ledger::default().id(prefix, self.service, operation.into(), None, &body)
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
        let body = exact_json::text(body).expect("the body of an effect can be written as JSON");
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
            tells: self.tells,
        });
        id
    }
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
    /// The service refused the request as such: an answer of 400 to 499 that is none of its ordinary ones.
    #[error("{service}.{operation}: {status} {reason}")]
    Refused {
        /// The service.
        service: Name,
        /// The operation.
        operation: Name,
        /// `400`
        status: u16,
        /// Why.
        reason: String,
    },
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
