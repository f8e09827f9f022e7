//! Many jobs at once: batch by batch, each of which is taken in as a whole or not at all.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::Serialize;

use super::enqueue::{Enqueue, EnqueueLayers, run_blocking, stage};
use super::handles::{Answered, EnqueueError, JobQueue, Parcel, parcel, performed};
use super::link::{Link, Standing};
use crate::engine::slots;
use crate::engine::state::{Keys, State, call_site};
use crate::search::choice::{Fault, Kind, Place, Point, Site};
use crate::system::job::{JobId, JobState, LockTaken, kind_of};
use crate::system::service::ENQUEUE_FAULTS;

/// Many jobs on their way into the queue. None is enqueued unless this is awaited.
#[must_use = "no job is enqueued unless this is awaited"]
pub struct EnqueueBulkFuture {
    link: Link,
    layers: EnqueueLayers,
    kind: &'static str,
    place: Place,
    /// How many jobs go in at once.
    batch: usize,
    left: VecDeque<Parcel>,
    step: Step,
    ids: Vec<JobId>,
}

type Staging = Pin<Box<dyn Future<Output = Result<Vec<Enqueue>, EnqueueError>> + Send>>;

/// How far the present batch has come.
enum Step {
    Begin,
    /// The job that cannot be written as JSON: nothing is enqueued.
    Unencodable(EnqueueError),
    /// Its jobs go through the layers.
    Staging(Staging),
    Put(Vec<Parcel>),
    Answering(Result<Vec<Answered>, EnqueueError>),
    /// In inline mode: its jobs run, one after another.
    Performing(VecDeque<Answered>),
}

impl fmt::Debug for EnqueueBulkFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, left) = (self.kind, self.left.len());
        f.debug_struct("EnqueueBulkFuture").field("kind", &kind).field("left", &left).finish_non_exhaustive()
    }
}

impl JobQueue {
    /// This queue, with bulks that put in so many jobs at once. 1,000 unless told, as Sidekiq.
    ///
    /// # Panics
    /// When it is none.
    #[must_use = "the queue itself stays as it is"]
    pub fn batches_of(&self, jobs: usize) -> Self {
        assert!(jobs > 0, "a batch has at least one job");
        Self { batch: jobs, ..self.clone() }
    }

    /// Enqueues many jobs, in batches of 1,000. Their ids come back in order.
    ///
    /// A batch is taken in as a whole or not at all. A crash, or a queue that does not answer, between two batches leaves
    /// the earlier ones in the queue: whoever enqueues again enqueues their jobs twice. One that the lock of a unique job
    /// refuses is left out of its batch, and its error comes back.
    ///
    /// # Errors
    /// When the queue did not answer, a layer around it has failed, or a job cannot be written as JSON; then none is
    /// enqueued.
    #[track_caller]
    pub fn enqueue_bulk<J: Serialize + 'static>(
        &self,
        jobs: impl IntoIterator<Item = J>,
    ) -> EnqueueBulkFuture {
        let (kind, place) = (kind_of::<J>(), Place::caller());
        let parcels = jobs.into_iter().map(|job| parcel(kind, &job, Duration::ZERO, None, place));
        let (left, step) = match parcels.collect() {
            Ok(left) => (left, Step::Begin),
            Err(error) => (VecDeque::new(), Step::Unencodable(error)),
        };
        let (link, layers, batch) = (self.link.clone(), self.layers.clone(), self.batch);
        let ids = Vec::with_capacity(left.len());
        EnqueueBulkFuture { link, layers, kind, place, batch, left, step, ids }
    }

    /// Puts requests into the queue as they are, those of the kind of `J` or any others, through the layers around it, in batches as
    /// [`JobQueue::enqueue_bulk`] does. One that is refused for its key keeps all of its batch out.
    ///
    /// # Errors
    /// When the queue did not answer, a layer around it has failed, or a key is taken.
    pub fn put_bulk<J: 'static>(&self, requests: impl IntoIterator<Item = Enqueue>) -> EnqueueBulkFuture {
        let left: VecDeque<_> = requests.into_iter().map(Parcel::of).collect();
        let place = left.front().map_or_else(Place::caller, |parcel| parcel.place);
        let kind = left.front().map_or(kind_of::<J>(), |parcel| parcel.kind);
        let (link, layers, batch) = (self.link.clone(), self.layers.clone(), self.batch);
        let ids = Vec::with_capacity(left.len());
        EnqueueBulkFuture { link, layers, kind, place, batch, left, step: Step::Begin, ids }
    }

    /// Enqueues many jobs from code that blocks. A crash unwinds. See [`JobQueue::enqueue_bulk`].
    ///
    /// # Errors
    /// When the queue did not answer, a layer around it has failed, or a job cannot be written as JSON.
    #[track_caller]
    pub fn enqueue_bulk_blocking<J: Serialize + 'static>(
        &self,
        jobs: impl IntoIterator<Item = J>,
    ) -> Result<Vec<JobId>, EnqueueError> {
        self.link.arrive();
        if slots::is_here() && self.link.standing() == Standing::Alive {
            return self.link.wait_for(self.enqueue_bulk(jobs));
        }
        if self.link.standing() == Standing::Alive && self.link.shared().state().inline.is_some() {
            return Err(EnqueueError::InlineBlocking { kind: kind_of::<J>().to_owned() });
        }
        run_blocking(kind_of::<J>(), self.enqueue_bulk(jobs))
    }
}

fn site() -> Site {
    call_site("queue".into(), "enqueue_bulk".into())
}

impl EnqueueBulkFuture {
    /// The first half of a batch; none if the process died before it.
    fn begin(
        &self,
        state: &mut State,
        batch: &[Parcel],
        keys: Vec<Keys>,
    ) -> Option<Result<Vec<Answered>, EnqueueError>> {
        state.timeline.called_from(state.actor, self.place, site());
        if self.link.crashes(state, site(), Point::Before, Some(self.place)) {
            return None;
        }
        let fault = state.draw_fault(Kind::Delivery, site(), ENQUEUE_FAULTS, self.place);
        if state.stuck.is_some() {
            return None;
        }
        let mut taken = match refused(state, batch) {
            Some(taken) => Err(EnqueueError::Locked(taken)),
            None => Ok(Vec::new()),
        };
        if fault.is_none_or(Fault::happens) && taken.is_ok() {
            self.link.shared().woken.stir();
            let mut dies =
                |state: &mut State| self.link.crashes(state, site(), Point::Locked, Some(self.place));
            let mut answers = Vec::with_capacity(batch.len());
            for (parcel, keys) in batch.iter().zip(keys) {
                let delay = parcel.delay(state.clock.now());
                let late = match delay.is_zero() {
                    true => Duration::ZERO,
                    false => state.lateness(site(), Point::Timer, Some(self.place)),
                };
                answers.push(parcel.take_in(state, delay.saturating_add(late), keys, &mut dies)?);
            }
            // One that a lock refuses stays outside; the others of its batch are in.
            taken = answers.into_iter().collect();
        }
        Some(match fault {
            None => taken,
            Some(_) => Err(EnqueueError::Unavailable { kind: self.kind.to_owned() }),
        })
    }

    /// A batch goes into the queue; the answer is on its way.
    fn put<T>(&mut self, batch: &[Parcel], cx: &Context<'_>) -> Poll<T> {
        let shared = self.link.shared();
        // What computes keys is the user's code: nothing is locked meanwhile.
        let keys = batch.iter().map(|parcel| shared.keys(parcel.kind, &parcel.payload)).collect();
        let begun = self.link.speak(&mut shared.state(), |state| self.begin(state, batch, keys));
        let Some(answer) = begun else { return self.link.cease(cx) };
        self.step = Step::Answering(answer);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn died_answering(&self, state: &mut State) -> bool {
        let crashes = |state: &mut State, point| self.link.crashes(state, site(), point, Some(self.place));
        self.link.speak(state, |state| crashes(state, Point::Happened) || crashes(state, Point::Replied))
    }

    /// What comes of it for a destructor of a dead process: the ids that its jobs might have had.
    fn throw_away(&mut self) -> Vec<JobId> {
        let left = self.left.drain(..).map(|parcel| JobId::first(parcel.kind, &parcel.payload));
        self.ids.drain(..).chain(left).collect()
    }
}

impl Future for EnqueueBulkFuture {
    type Output = Result<Vec<JobId>, EnqueueError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match this.link.standing() {
            Standing::Alive => {}
            Standing::Dead => return this.link.cease(cx),
            Standing::Falling => return Poll::Ready(Ok(this.throw_away())),
        }
        let shared = this.link.shared().clone();
        loop {
            this.step = match std::mem::replace(&mut this.step, Step::Begin) {
                Step::Unencodable(error) => return Poll::Ready(Err(error)),
                Step::Begin if this.left.is_empty() => return Poll::Ready(Ok(std::mem::take(&mut this.ids))),
                Step::Begin => {
                    let batch = this.left.drain(..this.batch.min(this.left.len()));
                    match this.layers.around(&this.link) {
                        None => Step::Put(batch.collect()),
                        Some(service) => {
                            let now = shared.state().clock.now();
                            let requests = batch.map(|parcel| parcel.request(now)).collect();
                            Step::Staging(Box::pin(stage(service, requests)))
                        }
                    }
                }
                Step::Staging(mut staging) => match staging.as_mut().poll(cx) {
                    Poll::Ready(Ok(staged)) => Step::Put(staged.into_iter().map(Parcel::of).collect()),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        this.step = Step::Staging(staging);
                        return Poll::Pending;
                    }
                },
                Step::Put(batch) => return this.put(&batch, cx),
                Step::Answering(answer) => {
                    let mut state = shared.state();
                    if this.died_answering(&mut state) || state.stuck.is_some() {
                        drop(state);
                        return this.link.cease(cx);
                    }
                    let taken = match answer {
                        Ok(taken) => taken,
                        Err(error) => return Poll::Ready(Err(error)),
                    };
                    this.ids.extend(taken.iter().map(|(_, id)| *id));
                    match state.inline.is_some() {
                        true => Step::Performing(taken.into()),
                        false => Step::Begin,
                    }
                }
                Step::Performing(mut taken) => match perform(&mut shared.state(), &mut taken, cx) {
                    Poll::Ready(Ok(())) => Step::Begin,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        this.step = Step::Performing(taken);
                        return Poll::Pending;
                    }
                },
            };
        }
    }
}

/// Why a batch is refused as a whole, if it is: the key of one of its jobs is another's, or one's before it.
fn refused(state: &mut State, batch: &[Parcel]) -> Option<LockTaken> {
    batch.iter().enumerate().find_map(|(number, parcel)| {
        let once = parcel.once.as_ref().filter(|once| once.refused)?;
        let has_its_key = |other: &Parcel| {
            other.kind == parcel.kind && other.once.as_ref().is_some_and(|other| other.key == once.key)
        };
        let earlier = batch[..number].iter().any(has_its_key).then(|| LockTaken {
            kind: parcel.kind.to_owned(),
            key: once.key.to_string(),
            holder: "one before it in the same batch".to_owned(),
        });
        earlier.or_else(|| state.refuses(parcel.kind, Some(once)))
    })
}

/// In inline mode: runs the jobs one after another, until one fails.
fn perform(
    state: &mut State,
    taken: &mut VecDeque<Answered>,
    cx: &Context<'_>,
) -> Poll<Result<(), EnqueueError>> {
    while let Some(&(job, _)) = taken.front() {
        if job == 0 {
            // It was dropped for one that is there already.
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
