//! The settings of a service: the lifetime of its keys, and additional faults.

use std::time::Duration;

use super::client::Client;
use crate::system::service::error_tracker::ErrorTracker;
use crate::system::service::fulfillment::Fulfillment;
use crate::system::service::payments::Payments;
use crate::system::service::{Behavior, Service};

/// Settings, for the test. They panic through the handles of a process, because production code has no such settings.
impl<S: Service> Client<S> {
    /// Changes the service itself: its settings, or records that exist from the beginning.
    ///
    /// # Panics
    /// Panics if called through the handle of a process.
    pub fn configure(&self, adjust: impl FnOnce(&mut S)) -> &Self {
        self.set(|faulty| adjust(&mut faulty.service))
    }

    /// Makes every call from a job fail, be throttled or be slow until changed. This is not a deviation: it applies to
    /// the fault-free run as well.
    ///
    /// # Panics
    /// Panics if called through the handle of a process.
    pub fn behavior(&self, behave: Behavior) -> &Self {
        self.set(|faulty| faulty.settings.behave = behave)
    }

    /// Makes each lookup return a record only after `lag` has passed since it was created, like a search index that
    /// lags behind. Records that the test itself created are always returned. Also lets timers and retries come days
    /// late.
    ///
    /// # Panics
    /// Panics if called through the handle of a process.
    pub fn search_lag(&self, lag: Duration) -> &Self {
        self.expect_delays();
        self.set(|faulty| faulty.settings.search_lag = lag)
    }

    /// Allows any lookup to be stale, as an additional fault: the lookup does not return what was created in the last
    /// hour. Off by default, because only an idempotency key helps against it, and checking before the call never
    /// does.
    ///
    /// # Panics
    /// Panics if called through the handle of a process.
    /// Through the handle of a process.
    pub fn explore_stale_reads(&self) -> &Self {
        self.set(|faulty| faulty.settings.stale_reads = true)
    }

    /// Explores the refusals of the service's requests ([`Service::refusals`]): a declined card, a product that is out
    /// of stock, an address that is rejected.
    ///
    /// A refusal is an input and not a deviation ([`World::choose`](crate::World::choose)): the same request gets the
    /// same answer in every attempt, and each run is compared with the fault-free run of the same inputs. If a job
    /// does the same whether its request was accepted or refused, this is a violation, unless
    /// [`World::allow`](crate::World::allow) says that the effect may be missing.
    ///
    /// If one attempt makes the same request again, the second answer is a separate input, and later requests are
    /// accepted. Requests that no fault-free run makes are accepted, too.
    ///
    /// # Panics
    /// Panics if called through the handle of a process.
    pub fn explore_refusals(&self) -> &Self {
        self.test_only();
        self.link.shared().reduce_no_more();
        self.set(|faulty| faulty.settings.explores_refusals = true)
    }

    /// Allows the service to go down at any call, as an additional fault: an outage that ends after `stretch`.
    /// During an outage, all calls are answered with 503. Off by default, because each outage costs the job many attempts,
    /// and each of them may have other deviations. See [`Client::explore_outages_for_ever`] for those that never end.
    ///
    /// # Panics
    /// Panics if called through the handle of a process.
    /// Through the handle of a process.
    pub fn explore_outages(&self, stretch: Duration) -> &Self {
        self.set(|faulty| faulty.settings.outages = Some(stretch))
    }

    /// Allows the service to go down forever at any call, as an additional fault: all calls from there on are answered
    /// with 503. Off by default, because a job that needs the service then gives up.
    ///
    /// # Panics
    /// Panics if called through the handle of a process.
    pub fn explore_outages_for_ever(&self) -> &Self {
        self.set(|faulty| faulty.settings.outages_for_ever = true)
    }

    /// Refuses a key whose first request is still running ([`ServiceError::Refused`](crate::ServiceError::Refused),
    /// 409). A request runs until its caller has the answer, or for `time` if no answer arrives.
    ///
    /// # Panics
    /// Panics if called through the handle of a process.
    pub fn reject_concurrent_keys(&self, time: Duration) -> &Self {
        self.set(|faulty| faulty.settings.in_flight = Some(time))
    }
}

impl Client<ErrorTracker> {
    /// Makes the error tracker ignore these classes: a report of such a class is answered as usual, but does not
    /// count. A job that dies must then report another class.
    ///
    /// # Panics
    /// Panics if called through the handle of a process.
    /// Through the handle of a process.
    pub fn ignore<C: Into<String>>(&self, exception_classes: impl IntoIterator<Item = C>) -> &Self {
        self.configure(|catcher| catcher.ignore(exception_classes))
    }
}

impl Client<Payments> {
    /// Makes the service forget each idempotency key `ttl` after its charge. Stripe does so after 24 hours, while a
    /// job may be retried for 20 days. Also lets timers and retries come days late
    /// ([`DeviationKind::Delay`](crate::report::DeviationKind::Delay)).
    ///
    /// # Panics
    /// Panics if called through the handle of a process.
    /// Through the handle of a process.
    pub fn key_ttl(&self, ttl: Duration) -> &Self {
        self.expect_delays();
        self.configure(|payments| payments.keys().forgotten_after(ttl))
    }

    /// Explores declined cards: this service's name for [`explore_refusals`](Self::explore_refusals).
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
    ///             // It does not check the answer.
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
    /// Panics if called through the handle of a process.
    pub fn explore_declines(&self) -> &Self {
        self.explore_refusals()
    }

    /// Stores declines under their idempotency keys like successes, as real providers do: a later charge with the same
    /// key is answered with the stored decline, even if it is for another card. By default, a declined key may be
    /// tried again.
    ///
    /// # Panics
    /// Panics if called through the handle of a process.
    pub fn store_refusals(&self) -> &Self {
        self.configure(Payments::store_refusals)
    }

    /// Refuses a known key with different parameters ([`ServiceError::Refused`](crate::ServiceError::Refused), 400), as
    /// Stripe does, instead of returning the stored answer.
    ///
    /// # Panics
    /// Panics if called through the handle of a process.
    pub fn reject_key_reuse(&self) -> &Self {
        self.configure(|payments| payments.keys().reject_reuse())
    }
}

impl Client<Fulfillment> {
    /// Makes the service forget each idempotency key `ttl` after its request. Also lets timers and retries come days
    /// late ([`DeviationKind::Delay`](crate::report::DeviationKind::Delay)).
    ///
    /// # Panics
    /// Panics if called through the handle of a process.
    pub fn key_ttl(&self, ttl: Duration) -> &Self {
        self.expect_delays();
        self.configure(|fulfillment| fulfillment.keys().forgotten_after(ttl))
    }

    /// Refuses a known key with different parameters ([`ServiceError::Refused`](crate::ServiceError::Refused), 400)
    /// instead of returning the stored answer.
    ///
    /// # Panics
    /// Panics if called through the handle of a process.
    pub fn reject_key_reuse(&self) -> &Self {
        self.configure(|fulfillment| fulfillment.keys().reject_reuse())
    }
}
