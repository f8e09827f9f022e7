//! The external services. Each is a pure state machine `request → (effects, reply)`. The fault layer goes around any
//! of them. This module does not know HTTP, tasks or processes. The built-in services use nothing that a user's own
//! service cannot use.

pub mod error_tracker;
mod keys;
pub(crate) mod notifier;
pub(crate) mod partition;
pub mod email;
pub mod fulfillment;
mod function;
pub mod payments;
mod settings;
mod fault;
mod faulty;
pub(crate) mod store;
mod directory;

pub(crate) use directory::{BuiltIn, Directory, STORE};
#[cfg(feature = "wire")]
pub(crate) use fault::{BrokenConnection, Channel};
pub(crate) use fault::{ENQUEUE_FAULTS, external_faults};
pub(crate) use faulty::{Answer, CallOptions, FaultPlan, Faulty};
pub use function::{Function, function};
pub use keys::Keys;
pub use settings::Behavior;
#[cfg(feature = "wire")]
pub(crate) use settings::CLIENT_TIMEOUT;
pub use store::StoreError;

use std::borrow::Cow;
use std::fmt::Debug;
use std::time::Duration;

use serde::Serialize;

use crate::search::choice::{Actor, Name, Place};
use crate::search::input::{Inputs, RequestChoice};
use crate::system::effect::{Effect, Ledger, Reuse};
use crate::system::exact_json;
use crate::system::generated::Generated;
use crate::system::job::kind_of;

/// An external service: a state machine that answers requests and makes effects.
///
/// The state is the data in `self`, which is durable. `Clone` is required because the calls of a dying process are
/// answered from a throw-away copy.
///
/// ```
/// use retryproof::service::{ServiceContext, Operation, Refusal, Service};
/// use retryproof::{Explore, World};
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
///     let letters = world.service("letters", Letters::default());
///     world.process("worker", move |p| {
///         let letters = p.client(&letters);
///         p.handle(async move |name: String| letters.call(format!("Dear {name}")).await);
///     });
///     world.enqueue("Ada".to_owned());
///     world.settle().await;
/// });
/// assert_eq!(report.violations()[0].summary, "letters.send happened twice, expected once");
/// ```
pub trait Service: Clone + Send + 'static {
    /// The type of requests.
    type Request: Serialize + Debug + Send + Unpin + 'static;
    /// The type of answers. A decline or a rejection is an answer.
    type Reply: Serialize + Debug + Send + Unpin + 'static;

    /// Describes the operation of a request.
    fn operation(&self, request: &Self::Request) -> Operation;

    /// Carries out a request and answers it. Effects go to `cx`.
    ///
    /// # Errors
    /// If the request is refused as such. The caller sees [`ServiceError::Refused`].
    fn answer(&mut self, request: Self::Request, cx: &mut ServiceContext<'_>)
    -> Result<Self::Reply, Refusal>;

    /// Returns the refusals that the service may answer to this request, for tests that explore them
    /// ([`Client::explore_refusals`](crate::Client::explore_refusals)). Defaults to `None`.
    ///
    /// Return `None` if the answer is already determined, for example for a key with a stored answer
    /// ([`Keys::knows`]).
    ///
    /// ```
    /// use retryproof::service::{ServiceContext, Operation, Refusal, Refusals, Service};
    /// use retryproof::{Explore, ServiceError, Verdict, World};
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
    ///     let seats = world.service("seats", Seats);
    ///     seats.explore_refusals();
    ///     world.process("worker", move |p| {
    ///         let (seats, email) = (p.client(&seats), p.email());
    ///         p.handle(async move |hall: String| {
    ///             // This job ignores whether there was a seat left. That is the bug.
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
    /// [`ServiceError::Refused`] with the status 422 and the name of the refusal.
    ///
    /// # Errors
    /// If the request is refused as such, as in [`Service::answer`].
    fn refuse(
        &mut self,
        request: Self::Request,
        refusal: &'static str,
        cx: &mut ServiceContext<'_>,
    ) -> Result<Self::Reply, Refusal> {
        let _ = (request, cx);
        Err(Refusal { status: 422, reason: refusal.to_owned() })
    }

    /// Returns the idempotency key of a request, if it has one. The fault layer uses it to detect a request whose key
    /// is in flight ([`Client::reject_concurrent_keys`](crate::Client::reject_concurrent_keys)).
    fn key<'r>(&self, request: &'r Self::Request) -> Option<&'r str> {
        let _ = request;
        None
    }

    /// Reports whether the service is an error tracker. Its operations are then reports of failures, not effects: a
    /// job that ends dead must have reported in one attempt, and a job that is retried and succeeds must not report.
    fn is_error_tracker(&self) -> bool {
        false
    }

    /// Returns the text of an error for the timeline of a report. Override it if the service's clients see no HTTP
    /// status. By default it is that of [`ServiceError`].
    fn error_text(error: &ServiceError) -> String {
        error.to_string()
    }

    /// Returns the whole state of the service, as JSON. Runs are merged ([`Explore::merge`](crate::Explore::merge))
    /// only in worlds whose services all return their state. Defaults to `None`.
    fn state(&self) -> Option<String> {
        None
    }
}

/// The refusals that a request may receive, and the parts of the request that they depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusals {
    pub(crate) subject: String,
    pub(crate) names: Cow<'static, [&'static str]>,
}

impl Refusals {
    /// Makes refusals from their `names`, as scenarios show them, and a `subject`: the parts of the request that the
    /// answer depends on. Requests with the same subject get the same answer in every attempt: a card that is
    /// declined is declined on a retry, too. So leave out parts that differ between attempts, such as an idempotency
    /// key.
    pub fn of<T: AsRef<str>>(subject: impl IntoIterator<Item = T>, names: &'static [&'static str]) -> Self {
        let parts: Vec<_> = subject.into_iter().map(|part| part.as_ref().to_owned()).collect();
        Self { subject: parts.join("/"), names: Cow::Borrowed(names) }
    }
}

/// The reason why a request was refused as such. Declines and rejections are answers instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status, 400 to 499.
    pub status: u16,
    /// The reason in readable form.
    pub reason: String,
}

/// The operation of a request: its name, and whether it may change something outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// `charge`
    pub name: Name,
    /// Whether it may make an effect. For a read, a lost reply is equivalent to a call that did not happen.
    pub writes: bool,
    /// Whether the operation has already happened when a service crashes ([`Behavior::Unavailable`]). Usually it has not.
    pub done_before_failure: bool,
    /// Whether the service may answer 429. A database does not.
    pub throttles: bool,
    /// Whether the operation lasts by itself. A statement inside a transaction does not: without a commit, all its
    /// failures are equivalent.
    pub lasts: bool,
}

impl Operation {
    /// An operation that may make an effect.
    pub const fn write(name: Name) -> Self {
        Self { name, writes: true, done_before_failure: false, throttles: true, lasts: true }
    }

    /// An unnamed operation for calls to external systems and the queue.
    pub(crate) const fn of_calls(writes: bool) -> Self {
        let (done_before_failure, throttles, lasts) = (false, true, true);
        Self { name: Name::EMPTY, writes, done_before_failure, throttles, lasts }
    }

    /// Declares that this operation has happened when the service crashes in it. The caller sees an error although
    /// the operation took place.
    #[must_use]
    pub const fn done_before_failure(self) -> Self {
        Self { done_before_failure: true, ..self }
    }

    /// An operation without effects.
    pub const fn read(name: Name) -> Self {
        Self { writes: false, ..Self::write(name) }
    }

    /// An operation that lasts only if another one follows, such as a statement inside a transaction. It has the
    /// crash points of a read, and one way to fail.
    pub const fn provisional(name: Name) -> Self {
        Self { lasts: false, ..Self::read(name) }
    }

    /// Declares that the service never answers 429 to this operation.
    #[must_use]
    pub const fn never_throttled(self) -> Self {
        Self { throttles: false, ..self }
    }
}

/// The first answer to a request that may be refused.
const ACCEPTED: &str = "accepted";

/// The context of a service while it answers.
#[derive(Debug)]
pub struct ServiceContext<'a> {
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) service: Name,
    pub(crate) now: Duration,
    pub(crate) by: Actor,
    pub(crate) given: bool,
    pub(crate) place: Option<Place>,
    /// The time until a look-up shows a new record.
    pub(crate) lag: Duration,
    /// Whether the effect is the report of a failure.
    pub(crate) tells: bool,
    /// The inputs of the environment, if refusals can be explored.
    pub(crate) inputs: Option<Environment<'a>>,
    /// The requests with which the service calls back.
    pub(crate) webhooks: Vec<Webhook>,
}

/// A request that a service sends to the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Webhook {
    pub(crate) kind: &'static str,
    pub(crate) payload: String,
}

/// The inputs of the run, for a service.
#[derive(Debug)]
pub(crate) struct Environment<'a> {
    pub(crate) inputs: &'a mut Inputs,
    /// The number of choices that the run has reached.
    pub(crate) met: usize,
    pub(crate) generated: &'a mut Generated,
}

/// The time at which a record was made. A service stores it to determine whether a look-up shows the record yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CreatedAt(Option<Duration>);

impl ServiceContext<'_> {
    /// The time since the world began.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// The current time, to be stored in a record. Records that the test body makes count as old.
    pub fn created_at(&self) -> CreatedAt {
        CreatedAt((!self.given).then_some(self.now))
    }

    /// Reports whether a look-up shows a record yet. Look-ups may lag
    /// ([`Client::search_lag`](crate::Client::search_lag), [`Client::explore_stale_reads`](crate::Client::explore_stale_reads)),
    /// except those of the test body.
    pub fn shows(&self, record: CreatedAt) -> bool {
        self.given
            || record.0.is_none_or(|made| self.lag.is_zero() || made.saturating_add(self.lag) <= self.now)
    }

    /// Calls back: sends a webhook, which a process handles like a job of this kind (`p.handle`).
    ///
    /// In the fault-free run it arrives one second after the reply to the call. It may also arrive before the reply,
    /// or an hour late, and like any job twice; and never, if the test asks for lost jobs
    /// ([`World::explore_lost_jobs`](crate::World::explore_lost_jobs)). If its handler fails, the service sends it again, according to the
    /// retries of the handler. Webhooks know no locks and no order of your queue.
    ///
    /// ```
    /// use retryproof::service::{ServiceContext, function};
    /// use retryproof::{Explore, Verdict, World};
    /// use serde::{Deserialize, Serialize};
    ///
    /// /// The bank has booked a transfer.
    /// #[derive(Serialize, Deserialize)]
    /// struct Booked(String);
    ///
    /// let explore = |asks_again: bool| {
    ///     Explore::new().deviations(1).run(async move |world: &World| {
    ///         let book = |order: String, cx: &mut ServiceContext<'_>| {
    ///             cx.webhook(&Booked(order.clone()));
    ///             cx.effect("book", Some(&order), &order, "tx_")
    ///         };
    ///         let bank = world.service("bank", function("book", book).honors_keys(|order| Some(order)));
    ///         world.process("worker", move |p| {
    ///             let (bank, store) = (p.client(&bank), p.store());
    ///             p.handle(async move |order: String| -> Result<(), Box<dyn std::error::Error>> {
    ///                 bank.call(order.clone()).await?;
    ///                 store.set_if_absent(order, &"booking", None).await?;
    ///                 Ok(())
    ///             });
    ///             let store = p.store();
    ///             p.handle(async move |Booked(order): Booked| -> Result<(), Box<dyn std::error::Error>> {
    ///                 match store.get::<String>(order.clone()).await? {
    ///                     Some(_) => store.put(order, &"booked").await?,
    ///                     None if asks_again => return Err("an order that is not known yet".into()),
    ///                     None => {} // the bug: the bank does not send it again
    ///                 }
    ///                 Ok(())
    ///             });
    ///         });
    ///         world.enqueue("order-6".to_owned());
    ///         world.settle().await;
    ///     })
    /// };
    /// assert_eq!(explore(true).verdict(), Verdict::RetryProof);
    /// let report = explore(false);
    /// assert_eq!(report.verdict(), Verdict::Violated);
    /// let is_early = |scenario: String| scenario.ends_with("bank.book:webhook=before-reply");
    /// assert!(report.violations().iter().any(|violation| is_early(violation.scenario.to_string())), "{report}");
    /// ```
    ///
    /// # Panics
    /// If `request` cannot be serialized as JSON.
    pub fn webhook<J: Serialize + 'static>(&mut self, request: &J) {
        let payload = serde_json::to_string(request).expect("a webhook can be written as JSON");
        self.webhooks.push(Webhook { kind: kind_of::<J>(), payload });
    }

    /// Registers a generated number, which has no meaning of its own.
    pub(crate) fn hands_out(&mut self, number: u64) {
        if let Some(environment) = &mut self.inputs {
            environment.generated.number(number);
        }
    }

    /// The refusal that the environment gives to this request, if any.
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

    /// Returns an id for something that looks like an effect but is not one. Nothing is recorded, and later ids do
    /// not change.
    ///
    /// # Panics
    /// If `body` cannot be serialized as JSON.
    pub fn id(&self, operation: impl Into<Name>, body: &impl Serialize, prefix: &str) -> String {
        let body = exact_json::text(body).expect("the body of an effect can be written as JSON");
        Ledger::default().id(prefix, self.service, operation.into(), None, &body)
    }

    /// Records an effect and returns its id: `prefix` and eight hex digits derived from the content.
    ///
    /// The key is shown in reports, and nothing else: a service that honors keys asks [`Keys`] first, or is a function with
    /// [`honors_keys`](Function::honors_keys).
    ///
    /// # Panics
    /// If `body` cannot be serialized as JSON.
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

/// The error of a call, as the caller sees it. It does not tell whether the call happened.
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
        /// The time in its `Retry-After`.
        retry_after: Duration,
    },
    /// No answer arrived in time.
    #[error("{service}.{operation}: no answer within {after:?}")]
    TimedOut {
        /// The service.
        service: Name,
        /// The operation.
        operation: Name,
        /// The time that the client waited.
        after: Duration,
    },
    /// The service refused the request as such: an answer of 400 to 499 other than its ordinary answers.
    #[error("{service}.{operation}: {status} {reason}")]
    Refused {
        /// The service.
        service: Name,
        /// The operation.
        operation: Name,
        /// `400`
        status: u16,
        /// The reason.
        reason: String,
    },
}

/// Identifies the subject of a call: an order, and a key that makes the call repeatable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Metadata {
    /// The order.
    pub order_id: String,
    /// If an earlier successful call had the same key, the call does nothing and returns the earlier answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}
