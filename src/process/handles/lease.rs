//! The heartbeat of an attempt: it extends the lease of its job.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::queue::JobQueue;
use crate::engine::call::{Call, CallSpec, CallTarget, EnterOutcome, Reply, Visit};
use crate::engine::link::Link;
use crate::engine::state::{State, call_site};
use crate::search::choice::{Actor, DeviationKind, Fault, Place};
use crate::system::job::short_kind;

/// Why a lease was not extended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// The attempt has lost its lease: the queue has delivered the job again.
    #[error(
        "job#{job} has lost its lease: the queue has delivered it again; stop, and let the other attempt finish"
    )]
    Lost {
        /// The number of the job.
        job: u32,
    },
    /// The kind of the job has no lease that could be extended.
    #[error("{kind} has no lease to extend; set one where it is handled, with `.lease(…)`")]
    NoLease {
        /// The kind of the job.
        kind: String,
    },
    /// It is no attempt of a job that asks.
    #[error(
        "only an attempt of a job has a lease; extend it in the job itself, not in a task or in the test"
    )]
    NoJob,
}

/// A lease that is being extended. It is not extended unless this is awaited.
#[must_use = "a lease is not extended unless this is awaited"]
pub struct LeaseExtension(Call<LeaseTarget>);

impl fmt::Debug for LeaseExtension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseExtension").field("by", &self.0.target.by).finish_non_exhaustive()
    }
}

impl Future for LeaseExtension {
    type Output = Result<(), LeaseError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl JobQueue {
    /// Extends the lease of the attempt that calls this, to `by` from now: its heartbeat.
    ///
    /// ```
    /// use retryproof::{Explore, World, service::payments::Charge};
    /// use std::time::Duration;
    ///
    /// const HALF_A_MINUTE: Duration = Duration::from_secs(30);
    /// let report = Explore::new().run(async |world: &World| {
    ///     world.process("worker", |p| {
    ///         let (queue, clock, payments) = (p.queue(), p.clock(), p.payments());
    ///         p.handle(async move |order: u32| -> Result<(), Box<dyn std::error::Error>> {
    ///             for _ in 0..3 {
    ///                 clock.sleep(Duration::from_secs(20)).await;
    ///                 queue.extend_lease(HALF_A_MINUTE).await?;
    ///             }
    ///             payments.charge(Charge::of_order(order, 500).key(format!("order-{order}"))).await?;
    ///             Ok(())
    ///         })
    ///         .lease(HALF_A_MINUTE);
    ///     });
    ///     world.enqueue(6_u32);
    ///     world.settle().await;
    /// });
    /// assert!(report.is_retryproof(), "{report}");
    /// ```
    ///
    /// # Errors
    /// Returns an error if the attempt has lost its lease, if its kind has none
    /// ([`HandlerOptions::lease`](crate::HandlerOptions::lease)), or if no attempt of a job calls this.
    #[track_caller]
    pub fn extend_lease(&self, by: Duration) -> LeaseExtension {
        LeaseExtension(Call::new(LeaseTarget { link: self.link.clone(), place: Place::caller(), by }))
    }
}

struct LeaseTarget {
    link: Link,
    place: Place,
    by: Duration,
}

struct LeaseVisit<'v>(&'v LeaseTarget);

impl CallTarget for LeaseTarget {
    type Output = Result<(), LeaseError>;
    type Visit<'v> = LeaseVisit<'v>;

    fn link(&self) -> &Link {
        &self.link
    }

    fn open(&mut self) -> LeaseVisit<'_> {
        LeaseVisit(self)
    }

    fn given(&mut self) -> Self::Output {
        Err(LeaseError::NoJob)
    }

    fn after_death(&mut self) -> Option<Self::Output> {
        Some(Ok(()))
    }
}

impl<'v> Visit<'v> for LeaseVisit<'v> {
    type Output = Result<(), LeaseError>;

    fn link(&self) -> &'v Link {
        &self.0.link
    }

    fn spec(&self) -> CallSpec {
        let site = call_site("queue".into(), "extend_lease".into());
        CallSpec { site, place: self.0.place, faults: DeviationKind::Delivery, reply: Reply::Write }
    }

    fn enter(self, _: Option<Fault>, state: &mut State) -> EnterOutcome<Self::Output> {
        let output = match state.actor() {
            Actor::Attempt { job, attempt } if !state.has_lease(job) => {
                let _ = attempt;
                Err(LeaseError::NoLease { kind: short_kind(state.queue.job(job).kind).to_owned() })
            }
            Actor::Attempt { job, attempt } => {
                let ends = state.clock.now().saturating_add(self.0.by);
                // Outside of an exploration no lease ever ends.
                let is_held = state.lease(job).is_none() || state.queue.extend_lease(job, attempt, ends);
                if is_held { Ok(()) } else { Err(LeaseError::Lost { job }) }
            }
            Actor::Test | Actor::Process(_) | Actor::Task(_) => Err(LeaseError::NoJob),
        };
        EnterOutcome::Replies { output, takes: Duration::ZERO }
    }
}
