//! The order in which the jobs of a kind run.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::kind_of;
use super::unique::{KeyOf, key_of};

/// The order in which the jobs of a kind run, regardless of the number of slots and processes.
///
/// A job keeps its place until it is over: until it succeeded, is dead or was given up. So a job that fails, that
/// waits for its lease to end, or that was put back holds up the jobs behind it. A scheduled job takes its place when
/// it is due.
///
/// ```
/// use std::time::Duration;
/// use retryproof::{Ordered, World};
///
/// #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// struct Change {
///     account: Option<u32>,
///     nth: u32,
/// }
///
/// let world = World::fake();
/// let seen = world.durable("seen", Vec::<u32>::new());
/// world.process("worker", |p| {
///     let (clock, noted) = (p.clock(), p.durable::<Vec<u32>>("seen"));
///     p.handle(async move |job: Change| {
///         clock.sleep(Duration::from_secs(if job.nth == 1 { 10 } else { 1 })).await;
///         noted.update(|seen| seen.push(job.nth));
///     })
///     .ordered(Ordered::by_key(|job: &Change| job.account));
/// });
/// for (account, nth) in [(Some(7), 1), (Some(7), 2), (Some(8), 3), (None, 4)] {
///     world.enqueue(Change { account, nth });
/// }
/// world.settle().run();
/// assert_eq!(seen.get(), [3, 4, 1, 2]);
/// ```
#[derive(Clone)]
#[must_use = "pass it to `p.handle(…).ordered(…)`"]
pub struct Ordered {
    /// The kind from whose jobs the key is computed, if there is one.
    pub(crate) of: Option<&'static str>,
    /// Maps a payload to the key of its stream. `None` means no order.
    pub(crate) key: Option<KeyOf>,
}

impl fmt::Debug for Ordered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (&self.of, &self.key) {
            (Some(_), _) => "Ordered by key",
            (None, Some(_)) => "Ordered in one partition",
            (None, None) => "In parallel",
        })
    }
}

impl Ordered {
    /// Runs all jobs of the kind one after the other.
    pub fn in_one_partition() -> Self {
        Self { of: None, key: Some(Arc::new(|_| Some("".into()))) }
    }

    /// Runs the jobs with the same key one after the other, and jobs with different keys in parallel. A job whose key
    /// is `None` does not wait for other jobs, and no job waits for it.
    pub fn by_key<J, K>(key: impl Fn(&J) -> Option<K> + Send + Sync + 'static) -> Self
    where
        J: DeserializeOwned + 'static,
        K: Serialize,
    {
        Self { of: Some(kind_of::<J>()), key: Some(key_of(key)) }
    }

    /// Runs all jobs in parallel. This is the default.
    pub fn in_parallel() -> Self {
        Self { of: None, key: None }
    }
}
