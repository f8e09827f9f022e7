//! A job on its way into the queue.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::Serialize;

use crate::engine::call::{Call, CallSpec, CallTarget, EnterOutcome, Reply, Visit};
use crate::engine::link::{Link, Liveness};
use crate::engine::state::{DedupKey, EnqueueOutcome, IncomingJob, Keys, State, call_site};
use crate::search::choice::{DeviationKind, Fault, FaultSet, Name, Place, Point};
use crate::system::hygiene::Hygiene;
use crate::system::job::{JobId, JobOverrides, JobState, LockTaken};
use crate::system::service::{ENQUEUE_FAULTS, FaultPlan};

/// Why a job was not enqueued, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnqueueError {
    /// The queue did not answer. The job may have been enqueued nevertheless.
    #[error("the queue did not answer whether it took {kind}")]
    Unavailable {
        /// The kind of the job.
        kind: String,
    },
    /// In inline mode, the job ran where it was enqueued, and failed.
    #[error("job#{job} {kind}, run where it was enqueued, failed: {error}")]
    Failed {
        /// The number of the job.
        job: u32,
        /// The kind of the job.
        kind: String,
        /// The error of the job.
        error: String,
    },
    /// In inline mode, a blocking job cannot wait for another job.
    #[error(
        "{kind} cannot run where it is enqueued, because the job that enqueues it blocks; enqueue it with `enqueue(…).await`, or use `World::fake()`"
    )]
    InlineBlocking {
        /// The kind of the job.
        kind: String,
    },
    /// Another job has the lock of this one ([`Conflict::Raise`](crate::Conflict::Raise)).
    #[error("the job was not enqueued: {0}")]
    Locked(LockTaken),
    /// A layer around the queue failed, or refused the job.
    #[error("{kind} was not enqueued: {reason}")]
    Layer {
        /// The kind of the job.
        kind: String,
        /// The layer's error.
        reason: String,
    },
    /// A layer around the queue waits, which is impossible in blocking code.
    #[error(
        "{kind} was not enqueued: a layer around the queue waits, which is impossible in blocking code; enqueue it with `enqueue(…).await`"
    )]
    LayerWaits {
        /// The kind of the job.
        kind: String,
    },
    /// The queue has not answered in time. The job may have been enqueued anyway.
    #[error("{kind} was not enqueued, or it was: the queue has not answered for {after:?}")]
    TimedOut {
        /// The kind of the job.
        kind: String,
        /// How long was waited.
        after: Duration,
    },
    /// The job cannot be written as JSON.
    #[error("{kind} cannot be enqueued: {reason}")]
    Unencodable {
        /// The kind of the job.
        kind: String,
        /// The error of serde.
        reason: String,
    },
}

impl EnqueueError {
    /// The error of a queue that failed after it was silent for `after`.
    pub(super) fn of_silence(kind: &str, after: Duration) -> Self {
        let kind = kind.to_owned();
        if after.is_zero() { Self::Unavailable { kind } } else { Self::TimedOut { kind, after } }
    }
}

thread_local! {
    /// Whether the job goes through layers in blocking code, which cannot wait for a timeout.
    static CANNOT_WAIT: Cell<bool> = const { Cell::new(false) };
}

/// Polls an enqueue that cannot wait.
pub(super) fn without_waiting<R>(poll: impl FnOnce() -> R) -> R {
    let before = CANNOT_WAIT.replace(true);
    let polled = poll();
    CANNOT_WAIT.set(before);
    polled
}

/// The faults that an enqueue can meet here.
pub(super) fn faults_here(state: &State) -> FaultSet {
    let faults = match CANNOT_WAIT.get() {
        true => FaultSet::NONE.with(Fault::Refused).with(Fault::ReplyLost),
        false => ENQUEUE_FAULTS,
    };
    if state.world.loses_jobs { faults.with(Fault::Lost) } else { faults }
}

/// A job to enqueue.
#[derive(Clone, Debug)]
pub(in crate::process) struct PendingJob {
    pub(in crate::process) kind: &'static str,
    pub(in crate::process) payload: String,
    pub(in crate::process) delay: Duration,
    /// The time at which it becomes ready, if the delay does not say that.
    pub(in crate::process) at: Option<Duration>,
    /// Data in addition to the payload, as JSON.
    pub(in crate::process) context: Option<Box<str>>,
    /// A key under which the job is accepted once.
    pub(in crate::process) once: Option<DedupKey>,
    /// Settings that override those of its kind.
    pub(in crate::process) more: Option<Box<JobOverrides>>,
    pub(in crate::process) place: Place,
}

impl PendingJob {
    /// Returns the delay from now on.
    pub(in crate::process) fn delay(&self, now: Duration) -> Duration {
        self.at.map_or(self.delay, |at| at.saturating_sub(now))
    }

    /// Enqueues the job. Returns `None` if the caller died meanwhile. `keys` must be computed before the state is
    /// locked.
    pub(in crate::process) fn enter(
        &self,
        state: &mut State,
        delay: Duration,
        mut keys: Keys,
        dies: &mut dyn FnMut(&mut State) -> bool,
    ) -> Option<QueueReply> {
        let Self { kind, payload, context, once, more, .. } = self.clone();
        keys.once = once;
        match state.enqueue(IncomingJob { kind, payload, delay, keys, context, more, serial: None }, dies) {
            EnqueueOutcome::Accepted(job, id) => Some(Ok((job, id))),
            EnqueueOutcome::Duplicate(id) => Some(Ok((0, id))),
            EnqueueOutcome::Rejected(taken) => Some(Err(EnqueueError::Locked(taken))),
            EnqueueOutcome::Crashed => None,
        }
    }

    /// Enqueues the job without any layers.
    pub(in crate::process) fn enqueue(self, link: Link) -> EnqueueFuture {
        let call = Ok(Call::new(QueueTarget { link, job: self }));
        EnqueueFuture { call, performing: None, layered: None }
    }
}

pub(in crate::process) type EnqueueResult = Pin<Box<dyn Future<Output = Result<JobId, EnqueueError>> + Send>>;

/// A future that enqueues a job. It does nothing unless awaited.
#[must_use = "a job is not enqueued unless this is awaited"]
pub struct EnqueueFuture {
    pub(super) call: Result<Call<QueueTarget>, EnqueueError>,
    /// In inline mode: the job that runs meanwhile.
    pub(super) performing: Option<(u32, JobId)>,
    /// The job's way through the layers around the queue, if there are any.
    pub(super) layered: Option<EnqueueResult>,
}

impl fmt::Debug for EnqueueFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let job = self.call.as_ref().map(|call| &call.target.job);
        f.debug_struct("EnqueueFuture").field("job", &job).finish_non_exhaustive()
    }
}

/// The number and the id of an enqueued job. The number is 0 if the job was dropped in favor of an existing one.
pub(in crate::process) type EnqueuedJob = (u32, JobId);

/// The answer of the queue.
pub(in crate::process) type QueueReply = Result<EnqueuedJob, EnqueueError>;

pub(in crate::process) fn pending_job<J: Serialize>(
    kind: &'static str,
    job: &J,
    delay: Duration,
    at: Option<Duration>,
    place: Place,
) -> Result<PendingJob, EnqueueError> {
    match serde_json::to_string(job) {
        Ok(payload) => {
            Ok(PendingJob { kind, payload, delay, at, context: None, once: None, more: None, place })
        }
        Err(error) => Err(EnqueueError::Unencodable { kind: kind.to_owned(), reason: error.to_string() }),
    }
}

/// The queue as the target of one enqueue.
pub(in crate::process) struct QueueTarget {
    pub(super) link: Link,
    pub(super) job: PendingJob,
}

impl CallTarget for QueueTarget {
    type Output = QueueReply;
    type Visit<'v> = QueueVisit<'v>;

    fn link(&self) -> &Link {
        &self.link
    }

    fn operation(&self) -> Option<(Name, Name)> {
        Some(("queue".into(), "enqueue".into()))
    }

    fn open(&mut self) -> QueueVisit<'_> {
        let Self { link, job } = self;
        let keys = link.shared().keys(job.kind, &job.payload);
        QueueVisit { link, job, keys }
    }

    fn given(&mut self) -> QueueReply {
        unreachable!("the test enqueues without a queue of its own")
    }

    fn after_death(&mut self) -> Option<QueueReply> {
        Some(Ok((0, JobId::first(self.job.kind, &self.job.payload))))
    }
}

pub(in crate::process) struct QueueVisit<'v> {
    pub(super) link: &'v Link,
    pub(super) job: &'v PendingJob,
    keys: Keys,
}

impl<'v> Visit<'v> for QueueVisit<'v> {
    type Output = QueueReply;

    fn link(&self) -> &'v Link {
        self.link
    }

    fn spec(&self) -> CallSpec {
        let site = call_site("queue".into(), "enqueue".into());
        CallSpec { site, place: self.job.place, faults: DeviationKind::Delivery, reply: Reply::Write }
    }

    fn announce(&mut self, state: &mut State) {
        let (connections, actor) = (&state.connections, state.actor());
        let in_store = connections.in_transaction_since(actor);
        if let Some(opened) = in_store.or_else(|| connections.in_outside_transaction(actor, None)) {
            let (kind, place) = (self.job.kind, self.job.place);
            state.record.note_hygiene(Hygiene::EnqueueInTransaction { kind, place, opened });
        }
    }

    fn faults(&mut self, state: &State) -> FaultPlan {
        FaultPlan::Choose(faults_here(state))
    }

    fn enter(self, fault: Option<Fault>, state: &mut State) -> EnterOutcome<QueueReply> {
        let CallSpec { site, place, .. } = self.spec();
        let Self { link, job, keys } = self;
        let silence = fault.map_or(Duration::ZERO, Fault::silence);
        let output = if fault == Some(Fault::Lost) {
            Ok((0, state.queue.id_to_come(job.kind, &job.payload, 0)))
        } else if fault.is_none_or(Fault::happens) {
            link.shared().woken.note_progress();
            let delay = job.delay(state.clock.now());
            let late = match delay.is_zero() {
                true => Duration::ZERO,
                false => state.lateness(site, Point::Timer, Some(place)),
            };
            let mut dies = |state: &mut State| link.crashes(state, site, Point::Locked, Some(place));
            match job.enter(state, delay.saturating_add(late), keys, &mut dies) {
                Some(answer) if fault.is_none() => answer,
                Some(_) => Err(EnqueueError::of_silence(job.kind, silence)),
                None => return EnterOutcome::Died,
            }
        } else {
            Err(EnqueueError::of_silence(job.kind, silence))
        };
        EnterOutcome::Replies { output, takes: silence }
    }
}

impl Future for EnqueueFuture {
    type Output = Result<JobId, EnqueueError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(layered) = &mut this.layered {
            return layered.as_mut().poll(cx);
        }
        let call = match &mut this.call {
            Ok(call) => call,
            Err(error) => return Poll::Ready(Err(error.clone())),
        };
        if this.performing.is_none() {
            let Poll::Ready(answer) = Pin::new(&mut *call).poll(cx) else { return Poll::Pending };
            let (job, id) = match answer {
                Ok(answer) => answer,
                Err(error) => return Poll::Ready(Err(error)),
            };
            let mut state = call.target.link.shared().state();
            if state.inline.is_none() || job == 0 || state.queue.job(job).state != JobState::Ready {
                return Poll::Ready(Ok(id));
            }
            this.performing = Some((job, id));
            state.inline.iter_mut().for_each(|inline| inline.begin(job));
        }
        let link = &call.target.link;
        match (link.liveness(), this.performing) {
            (Liveness::Dead, _) | (_, None) => link.pend_or_unwind(cx),
            (Liveness::TearingDown, Some((_, id))) => Poll::Ready(Ok(id)),
            (Liveness::Alive, Some((job, id))) => {
                performed(&mut link.shared().state(), job, cx).map(|ended| ended.map(|()| id))
            }
        }
    }
}

/// In inline mode: returns how the job ended, once it has.
pub(in crate::process) fn performed(
    state: &mut State,
    job: u32,
    cx: &Context<'_>,
) -> Poll<Result<(), EnqueueError>> {
    let performed = state.queue.job(job);
    match performed.state {
        JobState::Ready | JobState::Running => {
            state.inline.iter_mut().for_each(|inline| inline.wait(job, cx));
            Poll::Pending
        }
        JobState::Done => Poll::Ready(Ok(())),
        _ => {
            let kind = performed.kind.to_owned();
            let error = performed.error().unwrap_or("it did not end well").to_owned();
            Poll::Ready(Err(EnqueueError::Failed { job, kind, error }))
        }
    }
}
