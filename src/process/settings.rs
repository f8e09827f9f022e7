//! What a test sets of a service: how its keys live, what else may go wrong at its door.

use std::time::Duration;

use super::client::Client;
use crate::system::service::error_catcher::ErrorCatcher;
use crate::system::service::fulfillment::Fulfillment;
use crate::system::service::payments::Payments;
use crate::system::service::{Behave, Service};

/// Settings, for the test: through the handles of a process they are refused, since production code has none.
impl<S: Service> Client<S> {
    /// Changes the service itself, as the test wants it: its settings, or records that are there from the beginning.
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn adjust(&self, adjust: impl FnOnce(&mut S)) -> &Self {
        self.set(|door| adjust(&mut door.service))
    }

    /// Has all calls of jobs end in one way, until told otherwise: a service that crashes, throttles or is slow. It is no
    /// deviation: it goes for the run in which nothing else goes wrong, too.
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn behave(&self, behave: Behave) -> &Self {
        self.set(|door| door.settings.behave = behave)
    }

    /// Has each look-up show a record only so long after it was made: a search index that lags behind. What the test
    /// itself has made is always shown. Timers and retries then may come days late.
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn search_lag(&self, lag: Duration) -> &Self {
        self.expect_delays();
        self.set(|door| door.settings.search_lag = lag)
    }

    /// Lets any look-up be stale: one more fault at each, in which it does not show what was made in the last hour. Off
    /// unless told, since against it only a key helps: looking before doing never does.
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn stale_reads(&self) -> &Self {
        self.set(|door| door.settings.stale_reads = true)
    }

    /// Lets the service go down at any call: two more faults at each, an outage that ends after so long, and one that
    /// never ends. From there on all calls are answered 503. Off unless told: each outage costs the job many attempts,
    /// and in each of them something else may go wrong.
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn outages(&self, stretch: Duration) -> &Self {
        self.set(|door| door.settings.outages = Some(stretch))
    }

    /// Refuses a key whose first request is still running ([`ServiceError::Refused`](crate::ServiceError::Refused), 409).
    /// A request runs until its caller has the answer; where none arrives, for so long.
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn keys_in_flight(&self, time: Duration) -> &Self {
        self.set(|door| door.settings.in_flight = Some(time))
    }
}

impl Client<ErrorCatcher> {
    /// Has the error catcher ignore these classes: who tells of one is answered as ever, and nothing comes of it. A job that
    /// dies must then tell under another class.
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn ignore<C: Into<String>>(&self, exception_classes: impl IntoIterator<Item = C>) -> &Self {
        self.adjust(|catcher| catcher.ignore(exception_classes))
    }
}

impl Client<Payments> {
    /// Forgets each idempotency key so long after its charge: Stripe after 24 hours, while a job may be retried for 20
    /// days. Timers and retries then may come days late ([`Kind::Delay`](crate::Kind::Delay)).
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn idempotency_keys(&self, ttl: Duration) -> &Self {
        self.expect_delays();
        self.adjust(|payments| payments.keys().forgotten_after(ttl))
    }

    /// Refuses a known key with different parameters ([`ServiceError::Refused`](crate::ServiceError::Refused), 400), as
    /// Stripe does, instead of answering with the stored answer.
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn refuse_reused_keys(&self) -> &Self {
        self.adjust(|payments| payments.keys().refuse_reused())
    }
}

impl Client<Fulfillment> {
    /// Forgets each idempotency key so long after its request. Timers and retries then may come days late
    /// ([`Kind::Delay`](crate::Kind::Delay)).
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn idempotency_keys(&self, ttl: Duration) -> &Self {
        self.expect_delays();
        self.adjust(|fulfillment| fulfillment.keys().forgotten_after(ttl))
    }

    /// Refuses a known key with different parameters ([`ServiceError::Refused`](crate::ServiceError::Refused), 400)
    /// instead of answering with the stored answer.
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn refuse_reused_keys(&self) -> &Self {
        self.adjust(|fulfillment| fulfillment.keys().refuse_reused())
    }
}
