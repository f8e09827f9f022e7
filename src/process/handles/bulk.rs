//! Enqueues many jobs in batches, each of which is accepted as a whole or not at all.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::Serialize;

use super::enqueue::{EnqueueLayers, NewJob, run_blocking, stage};
use super::pending::{EnqueueError, EnqueuedJob, PendingJob, faults_here, pending_job, performed};
use super::queue::JobQueue;
use crate::engine::call::{Call, CallSpec, CallTarget, EnterOutcome, Reply, Visit};
use crate::engine::link::{Link, Liveness};
use crate::engine::slots;
use crate::engine::state::{Keys, State, call_site};
use crate::search::choice::{DeviationKind, Fault, Place, Point};
use crate::system::job::{JobId, JobState, LockTaken, kind_of};
use crate::system::service::FaultPlan;

/// A future that enqueues many jobs. It does nothing unless awaited.
#[must_use = "no job is enqueued unless this is awaited"]
pub struct EnqueueBulkFuture {
    link: Link,
    layers: EnqueueLayers,
    kind: &'static str,
    place: Place,
    /// The number of jobs per batch.
    batch: usize,
    left: VecDeque<PendingJob>,
    batch_state: BatchState,
    ids: Vec<JobId>,
}

type Staging = Pin<Box<dyn Future<Output = Result<Vec<NewJob>, EnqueueError>> + Send>>;

/// The state of the current batch.
enum BatchState {
    Begin,
    /// A job cannot be written as JSON, so nothing is enqueued.
    Unencodable(EnqueueError),
    /// The jobs go through the layers.
    Staging(Staging),
    /// The batch goes into the queue.
    Calling(Box<Call<BatchTarget>>),
    /// In inline mode: the jobs run one after another.
    Performing(VecDeque<EnqueuedJob>),
}

impl fmt::Debug for EnqueueBulkFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, left) = (self.kind, self.left.len());
        f.debug_struct("EnqueueBulkFuture").field("kind", &kind).field("left", &left).finish_non_exhaustive()
    }
}

impl JobQueue {
    /// Returns this queue with another batch size for bulks. Defaults to 1,000, as in Sidekiq.
    ///
    /// # Panics
    /// Panics if `jobs` is 0.
    #[must_use = "the queue itself stays as it is"]
    pub fn batches_of(&self, jobs: usize) -> Self {
        assert!(jobs > 0, "a batch must have at least one job");
        Self { batch: jobs, ..self.clone() }
    }

    /// Enqueues many jobs, in batches of 1,000. Returns their ids in order.
    ///
    /// Each batch is accepted as a whole or not at all. If the process crashes or the queue does not answer between
    /// two batches, the earlier batches stay in the queue, and a caller that enqueues everything again enqueues their
    /// jobs twice. A job that the lock of a unique job refuses is left out of its batch, and the error is returned.
    ///
    /// # Errors
    /// Returns an error if the queue does not answer, if a layer around it fails, or if a job cannot be written as JSON. In
    /// the last case, nothing is enqueued.
    #[track_caller]
    pub fn enqueue_bulk<J: Serialize + 'static>(
        &self,
        jobs: impl IntoIterator<Item = J>,
    ) -> EnqueueBulkFuture {
        let (kind, place) = (kind_of::<J>(), Place::caller());
        let pending = jobs.into_iter().map(|job| pending_job(kind, &job, Duration::ZERO, None, place));
        let (left, batch_state) = match pending.collect() {
            Ok(left) => (left, BatchState::Begin),
            Err(error) => (VecDeque::new(), BatchState::Unencodable(error)),
        };
        let (link, layers, batch) = (self.link.clone(), self.layers.clone(), self.batch);
        let ids = Vec::with_capacity(left.len());
        EnqueueBulkFuture { link, layers, kind, place, batch, left, batch_state, ids }
    }

    /// Enqueues requests unchanged, of the kind of `J` or any other, through the layers around the queue, in batches
    /// like [`JobQueue::enqueue_bulk`]. A request whose key is refused keeps its whole batch out.
    ///
    /// # Errors
    /// Returns an error if the queue does not answer, if a layer around it fails, or if a key is taken.
    pub fn enqueue_new_bulk<J: 'static>(
        &self,
        requests: impl IntoIterator<Item = NewJob>,
    ) -> EnqueueBulkFuture {
        let left: VecDeque<_> = requests.into_iter().map(PendingJob::of).collect();
        let place = left.front().map_or_else(Place::caller, |job| job.place);
        let kind = left.front().map_or(kind_of::<J>(), |job| job.kind);
        let (link, layers, batch) = (self.link.clone(), self.layers.clone(), self.batch);
        let ids = Vec::with_capacity(left.len());
        EnqueueBulkFuture { link, layers, kind, place, batch, left, batch_state: BatchState::Begin, ids }
    }

    /// Enqueues many jobs from blocking code. A crash unwinds the stack. See [`JobQueue::enqueue_bulk`].
    ///
    /// # Errors
    /// Returns an error if the queue does not answer, if a layer around it fails, or if a job cannot be written as JSON.
    #[track_caller]
    pub fn enqueue_bulk_blocking<J: Serialize + 'static>(
        &self,
        jobs: impl IntoIterator<Item = J>,
    ) -> Result<Vec<JobId>, EnqueueError> {
        self.link.arrive();
        if slots::on_slot_thread() && self.link.liveness() == Liveness::Alive {
            return self.link.wait_for(self.enqueue_bulk(jobs));
        }
        if self.link.liveness() == Liveness::Alive && self.link.shared().state().inline.is_some() {
            return Err(EnqueueError::InlineBlocking { kind: kind_of::<J>().to_owned() });
        }
        run_blocking(kind_of::<J>(), self.enqueue_bulk(jobs))
    }
}

/// The queue as the target of a batch.
struct BatchTarget {
    link: Link,
    kind: &'static str,
    place: Place,
    batch: Vec<PendingJob>,
}

impl CallTarget for BatchTarget {
    type Output = Result<Vec<EnqueuedJob>, EnqueueError>;
    type Visit<'v> = BatchVisit<'v>;

    fn link(&self) -> &Link {
        &self.link
    }

    fn open(&mut self) -> BatchVisit<'_> {
        let shared = self.link.shared();
        let keys = self.batch.iter().map(|job| shared.keys(job.kind, &job.payload)).collect();
        BatchVisit { target: self, keys }
    }

    fn given(&mut self) -> Self::Output {
        unreachable!("the test enqueues without a queue of its own")
    }

    fn after_death(&mut self) -> Option<Self::Output> {
        let first = |job: PendingJob| (0, JobId::first(job.kind, &job.payload));
        Some(Ok(self.batch.drain(..).map(first).collect()))
    }
}

struct BatchVisit<'v> {
    target: &'v BatchTarget,
    keys: Vec<Keys>,
}

impl<'v> Visit<'v> for BatchVisit<'v> {
    type Output = Result<Vec<EnqueuedJob>, EnqueueError>;

    fn link(&self) -> &'v Link {
        &self.target.link
    }

    fn spec(&self) -> CallSpec {
        let site = call_site("queue".into(), "enqueue_bulk".into());
        CallSpec { site, place: self.target.place, faults: DeviationKind::Delivery, reply: Reply::Write }
    }

    fn faults(&mut self, state: &State) -> FaultPlan {
        FaultPlan::Choose(faults_here(state))
    }

    fn enter(self, fault: Option<Fault>, state: &mut State) -> EnterOutcome<Self::Output> {
        let CallSpec { site, place, .. } = self.spec();
        let Self { target: BatchTarget { link, kind, batch, .. }, keys } = self;
        let mut output = match refused(state, batch) {
            Some(taken) => Err(EnqueueError::Locked(taken)),
            None => Ok(Vec::new()),
        };
        if fault.is_none_or(Fault::happens) && output.is_ok() {
            link.shared().woken.note_progress();
            let mut dies = |state: &mut State| link.crashes(state, site, Point::Locked, Some(place));
            let mut answers = Vec::with_capacity(batch.len());
            for (job, keys) in batch.iter().zip(keys) {
                let delay = job.delay(state.clock.now());
                let late = match delay.is_zero() {
                    true => Duration::ZERO,
                    false => state.lateness(site, Point::Timer, Some(place)),
                };
                match job.enter(state, delay.saturating_add(late), keys, &mut dies) {
                    Some(answer) => answers.push(answer),
                    None => return EnterOutcome::Died,
                }
            }
            // A job that a lock refuses is left out. The other jobs of its batch are enqueued.
            output = answers.into_iter().collect();
        }
        let silence = fault.map_or(Duration::ZERO, Fault::silence);
        if fault == Some(Fault::Lost) {
            let id = |job: &PendingJob| (0, state.queue.id_to_come(job.kind, &job.payload, 0));
            output = output.map(|_| batch.iter().map(id).collect());
        } else if fault.is_some() {
            output = Err(EnqueueError::of_silence(kind, silence));
        }
        EnterOutcome::Replies { output, takes: silence }
    }
}

impl EnqueueBulkFuture {
    fn put(&self, batch: Vec<PendingJob>) -> BatchState {
        let (link, kind, place) = (self.link.clone(), self.kind, self.place);
        BatchState::Calling(Box::new(Call::new(BatchTarget { link, kind, place, batch })))
    }

    /// Returns what a destructor of a dead process gets: ids that its jobs might have had.
    fn throw_away(&mut self) -> Vec<JobId> {
        let left = self.left.drain(..).map(|job| JobId::first(job.kind, &job.payload));
        self.ids.drain(..).chain(left).collect()
    }
}

impl Future for EnqueueBulkFuture {
    type Output = Result<Vec<JobId>, EnqueueError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match this.link.liveness() {
            Liveness::Alive => {}
            Liveness::Dead => return this.link.pend_or_unwind(cx),
            Liveness::TearingDown => return Poll::Ready(Ok(this.throw_away())),
        }
        let shared = this.link.shared().clone();
        loop {
            this.batch_state = match std::mem::replace(&mut this.batch_state, BatchState::Begin) {
                BatchState::Unencodable(error) => return Poll::Ready(Err(error)),
                BatchState::Begin if this.left.is_empty() => {
                    return Poll::Ready(Ok(std::mem::take(&mut this.ids)));
                }
                BatchState::Begin => {
                    let batch = this.left.drain(..this.batch.min(this.left.len()));
                    match this.layers.around(&this.link) {
                        None => {
                            let batch = batch.collect();
                            this.put(batch)
                        }
                        Some(service) => {
                            let now = shared.state().clock.now();
                            let requests = batch.map(|job| job.request(now)).collect();
                            BatchState::Staging(Box::pin(stage(service, requests)))
                        }
                    }
                }
                BatchState::Staging(mut staging) => match staging.as_mut().poll(cx) {
                    Poll::Ready(Ok(staged)) => this.put(staged.into_iter().map(PendingJob::of).collect()),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        this.batch_state = BatchState::Staging(staging);
                        return Poll::Pending;
                    }
                },
                BatchState::Calling(mut call) => {
                    let taken = match Pin::new(&mut call).poll(cx) {
                        Poll::Ready(Ok(taken)) => taken,
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Pending => {
                            this.batch_state = BatchState::Calling(call);
                            return Poll::Pending;
                        }
                    };
                    this.ids.extend(taken.iter().map(|(_, id)| *id));
                    match shared.state().inline.is_some() {
                        true => BatchState::Performing(taken.into()),
                        false => BatchState::Begin,
                    }
                }
                BatchState::Performing(mut taken) => match perform(&mut shared.state(), &mut taken, cx) {
                    Poll::Ready(Ok(())) => BatchState::Begin,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        this.batch_state = BatchState::Performing(taken);
                        return Poll::Pending;
                    }
                },
            };
        }
    }
}

/// Returns why a batch is refused as a whole, if the key of one of its jobs is taken in the queue or in the batch.
fn refused(state: &mut State, batch: &[PendingJob]) -> Option<LockTaken> {
    batch.iter().enumerate().find_map(|(number, job)| {
        let once = job.once.as_ref().filter(|once| once.refused)?;
        let has_its_key = |other: &PendingJob| {
            other.kind == job.kind && other.once.as_ref().is_some_and(|other| other.key == once.key)
        };
        let earlier = batch[..number].iter().any(has_its_key).then(|| LockTaken {
            kind: job.kind.to_owned(),
            key: once.key.to_string(),
            holder: "an earlier job in the same batch".to_owned(),
        });
        earlier.or_else(|| state.refuses(job.kind, Some(once)))
    })
}

/// In inline mode: runs the jobs one after another, until one fails.
fn perform(
    state: &mut State,
    taken: &mut VecDeque<EnqueuedJob>,
    cx: &Context<'_>,
) -> Poll<Result<(), EnqueueError>> {
    while let Some(&(job, _)) = taken.front() {
        if job == 0 {
            // This job was dropped in favor of an earlier one.
            taken.pop_front();
            continue;
        }
        if state.queue.job(job).state == JobState::Ready {
            state.inline.iter_mut().filter(|i| !i.begins.contains(&job)).for_each(|i| i.begin(job));
        }
        match performed(state, job, cx) {
            Poll::Ready(Ok(())) => drop(taken.pop_front()),
            other => return other,
        }
    }
    Poll::Ready(Ok(()))
}
