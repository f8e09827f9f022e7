//! The options of each kind of job, as they are given where it is handled.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::State;
use crate::search::choice::{DeviationKind, Name, Options, Point, Site};
use crate::system::job::{Delivery, KeyOf, RetryPolicy, Unique, short_kind};

/// The options of a kind of job, as given to its handler.
#[derive(Clone)]
pub(crate) struct KindOptions {
    pub(crate) retry: RetryPolicy,
    pub(crate) delivery: Delivery,
    pub(crate) queue: Name,
    pub(crate) unique: Option<Arc<Unique>>,
    /// Maps a payload to the key of its stream.
    pub(crate) stream: Option<KeyOf>,
    /// The number of receives after which the queue moves a job to the dead set.
    pub(crate) max_receives: Option<u32>,
    /// How long a worker has a job from its receipt, if that was set.
    pub(crate) lease: Option<Duration>,
}

impl fmt::Debug for KindOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KindOptions").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl Default for KindOptions {
    fn default() -> Self {
        let queue = DEFAULT_QUEUE.into();
        Self {
            retry: RetryPolicy::default(),
            delivery: Delivery::default(),
            queue,
            unique: None,
            stream: None,
            max_receives: None,
            lease: None,
        }
    }
}

/// The queue of jobs whose kind names no other queue.
pub(crate) const DEFAULT_QUEUE: &str = "default";

impl State {
    pub(crate) fn options(&self, kind: &str) -> KindOptions {
        self.options_if_known(kind).cloned().unwrap_or_default()
    }

    /// The options of a kind, for changes.
    pub(crate) fn options_mut(&mut self, kind: &'static str) -> &mut KindOptions {
        let place = self.kinds.iter().position(|(known, _)| *known == kind).unwrap_or_else(|| {
            self.kinds.push((kind, KindOptions::default()));
            self.kinds.len() - 1
        });
        &mut self.kinds[place].1
    }

    pub(super) fn options_if_known(&self, kind: &str) -> Option<&KindOptions> {
        // Usually the same pointer, so no letters are compared.
        let same = |known: &str| std::ptr::eq(known, kind) || known == kind;
        self.kinds.iter().find(|(known, _)| same(known)).map(|(_, options)| options)
    }

    /// Jobs of these kinds may come from another version of the program, whose types are in another module.
    pub(crate) fn add_versioned_kinds(&mut self, kinds: impl IntoIterator<Item = &'static str>) {
        self.versioned_kinds.extend(kinds);
    }

    /// The kind, as the old version of the program knows it.
    pub(super) fn old_kind(&self, kind: &'static str) -> &'static str {
        let is_same = |known: &&&'static str| **known == kind || short_kind(known) == short_kind(kind);
        self.versioned_kinds.iter().find(is_same).copied().unwrap_or(kind)
    }

    /// The options of the kind of a job.
    pub(super) fn options_of(&self, job: u32) -> Option<&KindOptions> {
        self.options_if_known(self.queue.job(job).kind)
    }

    /// The number and the times of a job's retries.
    pub(crate) fn retry_policy(&self, job: u32) -> RetryPolicy {
        let mut policy = self.options_of(job).map(|options| options.retry.clone()).unwrap_or_default();
        let own = self.queue.job(job).extras.as_ref().and_then(|extras| extras.max_retries);
        policy.max_retries = own.or(policy.max_retries);
        policy
    }

    /// The number of times that a job may be received.
    pub(crate) fn max_receives(&self, job: u32) -> Option<u32> {
        self.options_of(job).and_then(|options| options.max_receives)
    }

    /// Decides whether a job crashes its worker in this attempt, if jobs may crash every worker: because the test asks for
    /// it, or because its queue counts how often it is received. Otherwise returns `None`.
    pub(crate) fn is_poison(&mut self, job: u32) -> Option<bool> {
        if self.poison.contains(&job) && self.search.may_deviate() {
            return Some(true);
        }
        if !self.world.has_poison && self.max_receives(job).is_none() {
            return None;
        }
        self.meet_crash_point();
        let taken = self.deviate(DeviationKind::Crash, Site::Attempt, Point::Start, Options::Poison, None);
        if taken == 2 {
            self.poison.insert(job);
        }
        Some(taken != 0)
    }

    /// The jobs that crash every worker.
    pub(crate) fn poison(&self) -> &BTreeSet<u32> {
        &self.poison
    }

    /// Begins the lease of the attempt that starts, if one was set. Returns whether it was.
    pub(crate) fn begin_lease(&mut self, job: u32) -> bool {
        let Some(lease) = self.lease(job) else { return false };
        let ends = self.clock.now().saturating_add(lease);
        self.queue.begin_lease(job, ends);
        true
    }

    /// Whether a lease was set for the kind of the job.
    pub(crate) fn has_lease(&self, job: u32) -> bool {
        self.options_of(job).is_some_and(|options| options.lease.is_some())
    }

    /// How long a worker has the job from its receipt, if that was set and a job can be delivered again.
    pub(crate) fn lease(&self, job: u32) -> Option<Duration> {
        let options = self.options_of(job)?;
        options.lease.filter(|_| self.delivery(job) == Delivery::AtLeastOnce && self.search.may_deviate())
    }

    pub(crate) fn delivery(&self, job: u32) -> Delivery {
        let taken = self.queue.job(job);
        if taken.request().is_some() {
            // No queue stands behind a request: only its client can bring it again.
            return if taken.is_repeated() { Delivery::AtLeastOnce } else { Delivery::AtMostOnce };
        }
        self.options_of(job).map_or(Delivery::default(), |options| options.delivery)
    }

    /// The queue for jobs of a kind.
    pub(crate) fn queue_of(&self, kind: &str) -> Name {
        self.options_if_known(kind).map_or(DEFAULT_QUEUE.into(), |options| options.queue)
    }
}
