//! A strategy for workloads: the number of jobs, their kinds, queues, delays and duplicates.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use ::proptest::collection::vec;
use ::proptest::strategy::{BoxedStrategy, NewTree, Strategy, Union, ValueTree};
use ::proptest::test_runner::{Reason, TestRunner};
use serde::Serialize;

use crate::World;
use crate::engine::state::DEFAULT_QUEUE;
use crate::search::choice::Name;
use crate::system::job::{kind_of, short_kind};

/// A job to enqueue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PlannedJob {
    /// The path of its type.
    pub kind: &'static str,
    /// The payload, as JSON.
    pub payload: String,
    /// The delay before it is ready.
    pub delay: Duration,
    /// The number of times that it is enqueued. More than 1 if the caller enqueues duplicates.
    pub copies: u32,
}

/// The jobs of one case, in the order in which they are enqueued, and the queue of each kind.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Workload {
    jobs: Vec<PlannedJob>,
    queues: Vec<(&'static str, Name)>,
}

impl Workload {
    /// The jobs.
    pub fn jobs(&self) -> &[PlannedJob] {
        &self.jobs
    }

    /// The number of jobs to enqueue, including duplicates.
    pub fn count(&self) -> u32 {
        self.jobs.iter().map(|job| job.copies).sum()
    }

    /// The queue of a kind, for its handler ([`HandlerOptions::queue`](crate::HandlerOptions::queue)). It is
    /// `default` unless the strategy names queues.
    pub fn queue_of<J: 'static>(&self) -> Name {
        let queue = self.queues.iter().find(|(kind, _)| *kind == kind_of::<J>());
        queue.map_or(DEFAULT_QUEUE.into(), |(_, queue)| *queue)
    }

    /// Enqueues all jobs, like [`World::enqueue_in`].
    pub fn enqueue(&self, world: &World) {
        for job in &self.jobs {
            for _ in 0..job.copies {
                let _ = world.send(job.kind, job.payload.clone(), job.delay);
            }
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.jobs.is_empty() {
            return f.write_str("no job");
        }
        for (number, job) in self.jobs.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{} {}", short_kind(job.kind), job.payload)?;
            if let Some((_, queue)) = self.queues.iter().find(|(kind, _)| *kind == job.kind) {
                write!(f, " in {queue}")?;
            }
            if !job.delay.is_zero() {
                write!(f, " after {:?}", job.delay)?;
            }
            if job.copies != 1 {
                write!(f, " × {}", job.copies)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Workload({self})")
    }
}

/// A strategy for [`Workload`]s. It shrinks towards one job without delay, in the first queue, enqueued once, with
/// the smallest payload.
///
/// ```
/// use std::time::Duration;
/// use retryproof::proptest::Workloads;
///
/// #[derive(Debug, serde::Serialize)]
/// struct Mail { to: u32 }
///
/// let some = Workloads::new()
///     .jobs(1..=5)
///     .kind(0..1_000_u32)
///     .kind(proptest::strategy::Strategy::prop_map(0..9_u32, |to| Mail { to }))
///     .queues(["high", "low"])
///     .delays(Duration::ZERO..=Duration::from_secs(60))
///     .duplicates(1..=2);
/// ```
#[derive(Clone, Debug)]
pub struct Workloads {
    jobs: RangeInclusive<usize>,
    kinds: Vec<(&'static str, BoxedStrategy<String>)>,
    queues: Vec<Name>,
    delays: RangeInclusive<Duration>,
    copies: RangeInclusive<u32>,
}

impl Default for Workloads {
    fn default() -> Self {
        Self::new()
    }
}

impl Workloads {
    /// Makes a strategy for one to three jobs without delays and duplicates. Add at least one kind.
    pub fn new() -> Self {
        let delays = Duration::ZERO..=Duration::ZERO;
        Self { jobs: 1..=3, kinds: Vec::new(), queues: Vec::new(), delays, copies: 1..=1 }
    }

    /// Sets the number of jobs, not counting duplicates.
    pub fn jobs(mut self, jobs: RangeInclusive<usize>) -> Self {
        self.jobs = jobs;
        self
    }

    /// Adds a kind, with a strategy for its jobs. All kinds are equally frequent.
    ///
    /// # Panics
    /// If a drawn job cannot be serialized as JSON.
    pub fn kind<S>(mut self, jobs: S) -> Self
    where
        S: Strategy + 'static,
        S::Value: Serialize + 'static,
    {
        let kind = kind_of::<S::Value>();
        let payload = move |job: S::Value| {
            serde_json::to_string(&job).unwrap_or_else(|error| {
                panic!("{kind} cannot be enqueued: it cannot be written as JSON: {error}")
            })
        };
        self.kinds.push((kind, jobs.prop_map(payload).boxed()));
        self
    }

    /// Sets the queues for kinds. One queue is drawn for each kind.
    pub fn queues<N: Into<Name>>(mut self, queues: impl IntoIterator<Item = N>) -> Self {
        self.queues = queues.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the delay before a job is ready, in whole seconds.
    pub fn delays(mut self, delays: RangeInclusive<Duration>) -> Self {
        self.delays = delays;
        self
    }

    /// Sets the number of times that the same job is enqueued.
    pub fn duplicates(mut self, copies: RangeInclusive<u32>) -> Self {
        self.copies = copies;
        self
    }

    fn strategy(&self) -> Result<BoxedStrategy<Workload>, Reason> {
        let range = |is_empty: bool, what: &str| match is_empty {
            true => Err(Reason::from(format!("a workload with an empty range for {what} yields nothing"))),
            false => Ok(()),
        };
        range(self.jobs.is_empty(), "jobs")?;
        range(self.delays.is_empty(), "seconds to wait")?;
        range(self.copies.is_empty(), "duplicates")?;
        if self.kinds.is_empty() {
            return Err(
                "a workload without a kind of jobs yields nothing: add one with `.kind(strategy)`".into()
            );
        }
        let jobs = Union::new(self.kinds.iter().map(|(kind, payloads)| {
            let kind = *kind;
            payloads.clone().prop_map(move |payload| (kind, payload)).boxed()
        }));
        let delays = self.delays.start().as_secs()..=self.delays.end().as_secs();
        let job = (jobs, delays, self.copies.clone()).prop_map(|((kind, payload), delay, copies)| {
            PlannedJob { kind, payload, delay: Duration::from_secs(delay), copies }
        });
        let kinds: Vec<_> = self.kinds.iter().map(|(kind, _)| *kind).collect();
        let queues = self.queues.clone();
        let picked = match queues.len() {
            0 => vec(0..1_usize, 0..=0),
            count => vec(0..count, kinds.len()..=kinds.len()),
        };
        let workload = (vec(job, self.jobs.clone()), picked).prop_map(move |(jobs, picked)| {
            let queues = kinds.iter().copied().zip(picked.into_iter().map(|at| queues[at])).collect();
            Workload { jobs, queues }
        });
        Ok(workload.boxed())
    }
}

impl Strategy for Workloads {
    type Tree = Box<dyn ValueTree<Value = Workload>>;
    type Value = Workload;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        self.strategy()?.new_tree(runner)
    }
}
