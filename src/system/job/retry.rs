//! Whether and when a failed job is retried.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The time that a failed job waits before its retry.
///
/// ```
/// use retryproof::{Backoff, World};
/// use std::time::Duration;
///
/// let world = World::fake();
/// world.process("worker", |p| {
///     p.handle(async |_order: u32| Err::<(), _>("not yet"))
///         .max_retries(2)
///         .backoff(Backoff::Constant(Duration::from_secs(60)));
/// });
/// world.enqueue(6_u32);
/// world.settle().run();
/// assert_eq!((world.now(), world.dead()[0].attempts), (Duration::from_secs(120), 3));
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Backoff {
    /// Sidekiq's formula: `n⁴ + 15` seconds after failure *n* (counted from 0), plus up to `10·(n+1)` seconds of
    /// jitter.
    #[default]
    Sidekiq,
    /// The same time after each failure.
    Constant(Duration),
    /// Exponential backoff with full jitter (Brooker, AWS Architecture Blog, 2015): any time up to `base · 2ⁿ` after
    /// failure *n* (counted from 0), and at most `cap`.
    Exponential {
        /// The maximum after the first failure.
        base: Duration,
        /// The maximum after any failure.
        cap: Duration,
    },
    /// The result of a function of the failure's number, counted from 0. See [`Backoff::function`].
    Function(BackoffFunction),
}

/// Maps the number of a failure, counted from 0, to the wait after it.
pub type BackoffFunction = Arc<dyn Fn(u32) -> Duration + Send + Sync>;

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Backoff::Sidekiq => f.write_str("Sidekiq"),
            Backoff::Constant(wait) => write!(f, "Constant({wait:?})"),
            Backoff::Exponential { base, cap } => write!(f, "Exponential({base:?}, at most {cap:?})"),
            Backoff::Function(_) => f.write_str("Function"),
        }
    }
}

impl Backoff {
    /// Makes a backoff from a function of the failure's number *n*, counted from 0.
    pub fn function(wait: impl Fn(u32) -> Duration + Send + Sync + 'static) -> Self {
        Backoff::Function(Arc::new(wait))
    }

    /// The wait after failure number `failure`, counted from 0. `jitter` is a random number for this failure.
    pub(crate) fn after(&self, failure: u32, jitter: u64) -> Duration {
        match self {
            Backoff::Constant(wait) => *wait,
            Backoff::Sidekiq => {
                let n = u64::from(failure);
                Duration::from_secs(n.saturating_pow(4).saturating_add(15) + jitter % (10 * (n + 1)))
            }
            Backoff::Exponential { base, cap } => {
                let most = base.saturating_mul(2_u32.saturating_pow(failure)).min(*cap);
                let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
                Duration::from_nanos(jitter % nanos.saturating_add(1).max(1))
            }
            Backoff::Function(wait) => wait(failure),
        }
    }
}

/// The number and the times of a job's retries.
#[derive(Clone, Debug)]
pub(crate) struct RetryPolicy {
    /// `None` means that the job is neither retried nor put into the dead set.
    pub(crate) max_retries: Option<u32>,
    /// Limits the retries by the time since the first failure instead of by number.
    pub(crate) retry_for: Option<Duration>,
    pub(crate) backoff: Backoff,
}

impl Default for RetryPolicy {
    /// Sidekiq's: 25 retries over about 20 days.
    fn default() -> Self {
        Self { max_retries: Some(25), retry_for: None, backoff: Backoff::default() }
    }
}

impl RetryPolicy {
    /// Reports whether a job that has just failed has no retries left. `failures` does not include this failure.
    /// `failing` is the time since the first failure.
    pub(crate) fn is_exhausted(&self, failures: u32, failing: Duration) -> bool {
        match (self.retry_for, self.max_retries) {
            (Some(most), _) => failing > most,
            (None, Some(most)) => failures >= most,
            (None, None) => true,
        }
    }
}

/// The fate of a failed job, depending on its error. See
/// [`HandlerOptions::decide`](crate::HandlerOptions::decide).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Follows the options of the job: retries it after its backoff, or moves it to the dead set.
    Retry,
    /// Retries it after this time, unless its retries are used up.
    RetryAfter(Duration),
    /// Runs it again after this time. This is not a failure and uses up no retry.
    Snooze(Duration),
    /// Drops it: no retry, no dead set, no death handler.
    Discard,
    /// Moves it to the dead set immediately.
    Kill,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sidekiqs_backoff() {
        let wait = |failure, jitter| Backoff::Sidekiq.after(failure, jitter).as_secs();
        assert_eq!((wait(0, 0), wait(0, 9), wait(0, 10)), (15, 24, 15));
        assert_eq!((wait(3, 0), wait(24, 0)), (81 + 15, 331_776 + 15));
        let days: u64 = (0..25).map(|failure| wait(failure, 0)).sum::<u64>() / 86_400;
        assert_eq!(days, 20);
    }

    #[test]
    fn exponential_backoff_draws_from_all_of_its_span_and_stops_at_its_cap() {
        let backoff = Backoff::Exponential { base: Duration::from_nanos(4), cap: Duration::from_nanos(20) };
        let most = |failure| (0..1_000).map(|j| backoff.after(failure, j).as_nanos()).max().unwrap();
        let least = |failure| (0..1_000).map(|j| backoff.after(failure, j).as_nanos()).min().unwrap();
        assert_eq!([0, 1, 2, 3, 40].map(most), [4, 8, 16, 20, 20]);
        assert_eq!([0, 1, 2, 3, 40].map(least), [0; 5]);
    }

    #[test]
    fn a_backoff_that_is_a_function() {
        let backoff = Backoff::function(|failure| Duration::from_secs(u64::from(failure) * 3));
        assert_eq!(backoff.after(4, 99), Duration::from_secs(12));
    }

    #[test]
    fn retries_are_bounded_by_number_or_by_time() {
        let by_number = RetryPolicy { max_retries: Some(2), ..RetryPolicy::default() };
        assert!(!by_number.is_exhausted(1, Duration::MAX) && by_number.is_exhausted(2, Duration::ZERO));
        let hour = Duration::from_secs(3_600);
        let by_time = RetryPolicy { retry_for: Some(hour), ..RetryPolicy::default() };
        assert!(!by_time.is_exhausted(99, hour) && by_time.is_exhausted(0, hour + Duration::from_secs(1)));
    }
}
