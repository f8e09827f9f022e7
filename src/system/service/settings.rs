//! The settings of a service: its behavior, and the failures that are explored.

use std::time::Duration;

use serde::Serialize;

/// The time that a client waits for an answer.
pub(crate) const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);

/// The behavior of a service in all its calls, set by the test.
///
/// ```
/// use retryproof::{World, service::Behavior, service::payments::Charge};
///
/// let world = World::fake();
/// world.process("worker", |p| {
///     let payments = p.payments();
///     p.handle(async move |order: u32| payments.charge(Charge::of_order(order, 500)).await);
/// });
/// world.payments().behavior(Behavior::Unavailable);
/// world.enqueue(6_u32);
/// let failed = world.drain_all().run().unwrap_err();
/// assert!(failed.to_string().contains("503"), "{failed}");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum Behavior {
    /// As usual. The faults are explored.
    #[default]
    Normal,
    /// Each call is answered with 503 before anything happens. An operation that is
    /// [`done_before_failure`](super::Operation::done_before_failure) happens first.
    Unavailable,
    /// Each call is answered with 429, and nothing happens.
    Throttled,
    /// Each answer takes this long. A client times out after 30 seconds, but the call happens anyway.
    Slow(Duration),
}

/// The settings of a test.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Settings {
    pub(crate) behave: Behavior,
    pub(crate) stale_reads: bool,
    /// The duration of an outage that ends, if outages are explored.
    pub(crate) outages: Option<Duration>,
    /// Whether there may be outages that never end.
    pub(crate) outages_for_ever: bool,
    pub(crate) search_lag: Duration,
    /// Whether refusals are inputs.
    pub(crate) explores_refusals: bool,
    /// How long a request with a key runs after its caller lost the answer, if that causes a conflict.
    pub(crate) in_flight: Option<Duration>,
}

impl Settings {
    pub(super) const NONE: Self = Self {
        behave: Behavior::Normal,
        stale_reads: false,
        outages: None,
        outages_for_ever: false,
        search_lag: Duration::ZERO,
        explores_refusals: false,
        in_flight: None,
    };
}
