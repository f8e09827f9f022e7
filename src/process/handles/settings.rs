//! What a test sets of a service: how its keys live, what else may go wrong at its door.

use std::time::Duration;

use super::client::Client;
use crate::system::service::error_tracker::ErrorTracker;
use crate::system::service::fulfillment::Fulfillment;
use crate::system::service::payments::Payments;
use crate::system::service::{Behavior, Service};

/// Settings, for the test: through the handles of a process they are refused, since production code has none.
impl<S: Service> Client<S> {
    /// Changes the service itself, as the test wants it: its settings, or records that are there from the beginning.
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn configure(&self, adjust: impl FnOnce(&mut S)) -> &Self {
        self.set(|door| adjust(&mut door.service))
    }

    /// Has all calls of jobs end in one way, until told otherwise: a service that crashes, throttles or is slow. It is no
    /// deviation: it goes for the run in which nothing else goes wrong, too.
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn behavior(&self, behave: Behavior) -> &Self {
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
    pub fn explore_stale_reads(&self) -> &Self {
        self.set(|door| door.settings.stale_reads = true)
    }

    /// Has the refusals of the service's requests explored ([`Service::refusals`]): a declined card, a product that is out
    /// of stock, an address that is rejected.
    ///
    /// A refusal is an input and not a deviation ([`World::choose`](crate::World::choose)): the same request is answered
    /// alike in every attempt, and each run is compared with the fault-free run on the same inputs. A job that does all the
    /// same whether its request was accepted or refused is a violation, unless
    /// [`World::allow`](crate::World::allow) says that the effect may be missing.
    ///
    /// If one attempt makes the same request again, its second answer is an input of its own. Later ones are accepted.
    /// What a run asks that no fault-free run asks is accepted, too.
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn explore_refusals(&self) -> &Self {
        self.test_only();
        self.link.shared().reduce_no_more();
        self.set(|door| door.settings.explores_refusals = true)
    }

    /// Lets the service go down at any call: two more faults at each, an outage that ends after so long, and one that
    /// never ends. From there on all calls are answered 503. Off unless told: each outage costs the job many attempts,
    /// and in each of them something else may go wrong.
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn explore_outages(&self, stretch: Duration) -> &Self {
        self.set(|door| door.settings.outages = Some(stretch))
    }

    /// Refuses a key whose first request is still running ([`ServiceError::Refused`](crate::ServiceError::Refused), 409).
    /// A request runs until its caller has the answer; where none arrives, for so long.
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn reject_concurrent_keys(&self, time: Duration) -> &Self {
        self.set(|door| door.settings.in_flight = Some(time))
    }
}

impl Client<ErrorTracker> {
    /// Has the error tracker ignore these classes: who tells of one is answered as ever, and nothing comes of it. A job that
    /// dies must then tell under another class.
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn ignore<C: Into<String>>(&self, exception_classes: impl IntoIterator<Item = C>) -> &Self {
        self.configure(|catcher| catcher.ignore(exception_classes))
    }
}

impl Client<Payments> {
    /// Forgets each idempotency key so long after its charge: Stripe after 24 hours, while a job may be retried for 20
    /// days. Timers and retries then may come days late ([`DeviationKind::Delay`](crate::DeviationKind::Delay)).
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn key_ttl(&self, ttl: Duration) -> &Self {
        self.expect_delays();
        self.configure(|payments| payments.keys().forgotten_after(ttl))
    }

    /// Has declined cards explored: [`explore_refusals`](Self::explore_refusals) by its name in this service.
    ///
    /// ```
    /// use retryproof::service::fulfillment::Shipment;
    /// use retryproof::service::payments::Charge;
    /// use retryproof::{Explore, World};
    ///
    /// let report = Explore::new().deviations(1).run(async |world: &World| {
    ///     world.payments().explore_declines();
    ///     world.process("worker", |p| {
    ///         let (payments, parcels) = (p.payments(), p.fulfillment());
    ///         p.handle(async move |order: u32| {
    ///             let key = format!("order-{order}");
    ///             // It does not look at the answer.
    ///             payments.charge(Charge::of_order(order, 500).key(&key)).await?;
    ///             parcels.request(Shipment::of_order(order, "pr_3", 1).address("1 Main St").key(&key)).await
    ///         });
    ///     });
    ///     world.enqueue(6_u32);
    ///     world.settle().await;
    /// });
    /// assert_eq!(report.code(), Some(retryproof::Code::RefusalIgnored), "{report}");
    /// ```
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn explore_declines(&self) -> &Self {
        self.explore_refusals()
    }

    /// Stores declines under their idempotency keys, as successes are stored, and as real providers do: a later charge with
    /// the key is answered with the stored decline, even if it is for another card. By default a declined key may be tried
    /// again.
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn store_refusals(&self) -> &Self {
        self.configure(Payments::store_refusals)
    }

    /// Refuses a known key with different parameters ([`ServiceError::Refused`](crate::ServiceError::Refused), 400), as
    /// Stripe does, instead of answering with the stored answer.
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn reject_key_reuse(&self) -> &Self {
        self.configure(|payments| payments.keys().refuse_reused())
    }
}

impl Client<Fulfillment> {
    /// Forgets each idempotency key so long after its request. Timers and retries then may come days late
    /// ([`DeviationKind::Delay`](crate::DeviationKind::Delay)).
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn key_ttl(&self, ttl: Duration) -> &Self {
        self.expect_delays();
        self.configure(|fulfillment| fulfillment.keys().forgotten_after(ttl))
    }

    /// Refuses a known key with different parameters ([`ServiceError::Refused`](crate::ServiceError::Refused), 400)
    /// instead of answering with the stored answer.
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn reject_key_reuse(&self) -> &Self {
        self.configure(|fulfillment| fulfillment.keys().refuse_reused())
    }
}
