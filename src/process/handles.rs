//! The world's own services: the queue, the clock, random numbers.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::Serialize;

use super::link::{Link, Standing};
use crate::choice::{Kind, Options, Place, Site};
use crate::clock::TimerId;
use crate::job::{JobId, JobState, LockTaken, kind_of};
use crate::state::{Incoming, Intake, Keys, State, call_site};

/// Why a job was not taken into the queue, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnqueueError {
    /// The queue did not answer. The job may have been taken in all the same.
    #[error("the queue did not answer whether it took {kind}")]
    Unavailable {
        /// The kind of the job.
        kind: String,
    },
    /// In inline mode the job ran where it was enqueued, and failed.
    #[error("job#{job} {kind}, run where it was enqueued, failed: {error}")]
    Failed {
        /// The number of the job.
        job: u32,
        /// Its kind.
        kind: String,
        /// What it answered.
        error: String,
    },
    /// In inline mode a job that blocks cannot wait for another one.
    #[error(
        "{kind} cannot run where it is enqueued, since the job that enqueues it blocks; enqueue it with `enqueue(…).await`, or use `World::fake()`"
    )]
    InlineBlocking {
        /// The kind of the job.
        kind: String,
    },
    /// Another job has the lock of this one ([`Conflict::Raise`](crate::Conflict::Raise)).
    #[error("the job was not enqueued: {0}")]
    Locked(LockTaken),
    /// The job cannot be written as JSON.
    #[error("{kind} cannot be enqueued: {reason}")]
    Unencodable {
        /// The kind of the job.
        kind: String,
        /// What serde says.
        reason: String,
    },
}

/// The queue, as one incarnation of a process reaches it.
#[derive(Clone, Debug)]
pub struct JobQueue {
    link: Link,
}

/// A job ready to be taken in: its kind and its payload.
#[derive(Clone, Debug)]
struct Parcel {
    kind: &'static str,
    payload: String,
    delay: Duration,
    place: Place,
}

/// A job on its way into the queue. It is not enqueued unless this is awaited.
#[derive(Debug)]
#[must_use = "a job is not enqueued unless this is awaited"]
pub struct EnqueueFuture {
    link: Link,
    parcel: Result<Parcel, EnqueueError>,
    answering: Option<Answer>,
    /// In inline mode: the job that runs meanwhile.
    performing: Option<(u32, JobId)>,
}

/// What the queue answers: the job's number, 0 if it was dropped for one that is there already, and the id.
type Answer = Result<(u32, JobId), EnqueueError>;

const ENQUEUE: Options = Options::Named(&["ok", "refused", "reply-lost"]);

impl JobQueue {
    pub(crate) fn new(link: Link) -> Self {
        Self { link }
    }

    /// Enqueues a job, ready at once.
    ///
    /// # Errors
    /// When the queue did not answer, or the job cannot be written as JSON.
    #[track_caller]
    pub fn enqueue<J: Serialize + 'static>(&self, job: J) -> EnqueueFuture {
        self.enqueue_in(Duration::ZERO, job)
    }

    /// Enqueues a job that becomes ready after `delay`.
    ///
    /// # Errors
    /// When the queue did not answer, or the job cannot be written as JSON.
    #[track_caller]
    pub fn enqueue_in<J: Serialize + 'static>(&self, delay: Duration, job: J) -> EnqueueFuture {
        let parcel = parcel(kind_of::<J>(), &job, delay, Place::caller());
        EnqueueFuture { link: self.link.clone(), parcel, answering: None, performing: None }
    }

    /// Enqueues a job from code that blocks. A crash unwinds.
    ///
    /// # Errors
    /// When the queue did not answer, or the job cannot be written as JSON.
    #[track_caller]
    pub fn enqueue_blocking<J: Serialize + 'static>(&self, job: J) -> Result<JobId, EnqueueError> {
        let parcel = parcel(kind_of::<J>(), &job, Duration::ZERO, Place::caller())?;
        match self.link.standing() {
            Standing::Falling => return Ok(JobId::first(parcel.kind, &parcel.payload)),
            Standing::Dead => self.link.unwind(),
            Standing::Alive => {}
        }
        let keys = self.link.shared().keys(parcel.kind, &parcel.payload);
        let mut state = self.link.shared().state();
        if state.inline.is_some() {
            return Err(EnqueueError::InlineBlocking { kind: parcel.kind.to_owned() });
        }
        if let Some(result) = self.link.speak(&mut state, |state| begin(&self.link, state, &parcel, keys)) {
            if !died_answering(&self.link, &mut state, parcel.place) {
                return result.map(|(_, id)| id);
            }
        }
        drop(state);
        self.link.unwind()
    }
}

fn parcel<J: Serialize>(
    kind: &'static str,
    job: &J,
    delay: Duration,
    place: Place,
) -> Result<Parcel, EnqueueError> {
    match serde_json::to_string(job) {
        Ok(payload) => Ok(Parcel { kind, payload, delay, place }),
        Err(error) => Err(EnqueueError::Unencodable { kind: kind.to_owned(), reason: error.to_string() }),
    }
}

fn enqueue_site() -> Site {
    call_site("queue".into(), "enqueue".into())
}

/// The first half of an enqueue; none if the process died before it.
fn begin(link: &Link, state: &mut State, parcel: &Parcel, keys: Keys) -> Option<Answer> {
    let site = enqueue_site();
    state.timeline.called_from(state.actor, parcel.place, site);
    if link.crashes(state, site, "before", Some(parcel.place)) {
        return None;
    }
    let option = state.deviate(Kind::Delivery, site, "call", ENQUEUE, Some(parcel.place));
    if state.stuck.is_some() {
        return None;
    }
    let unavailable = Err(EnqueueError::Unavailable { kind: parcel.kind.to_owned() });
    let take_in = |state: &mut State| {
        link.shared().woken.stir();
        let late = match parcel.delay.is_zero() {
            true => Duration::ZERO,
            false => state.lateness(site, "timer", Some(parcel.place)),
        };
        let mut dies = |state: &mut State| link.crashes(state, site, "locked", Some(parcel.place));
        let (payload, delay) = (parcel.payload.clone(), parcel.delay.saturating_add(late));
        match state.take_in(Incoming { kind: parcel.kind, payload, delay, keys }, &mut dies) {
            Intake::In(job, id) => Some(Ok((job, id))),
            Intake::Known(id) => Some(Ok((0, id))),
            Intake::Refused(taken) => Some(Err(EnqueueError::Locked(taken))),
            Intake::Died => None,
        }
    };
    match option {
        0 => take_in(state),
        1 => Some(unavailable),
        _ => take_in(state).map(|_| unavailable),
    }
}

fn died_answering(link: &Link, state: &mut State, place: Place) -> bool {
    let site = enqueue_site();
    link.speak(state, |state| {
        link.crashes(state, site, "happened", Some(place))
            || link.crashes(state, site, "replied", Some(place))
    })
}

impl Future for EnqueueFuture {
    type Output = Result<JobId, EnqueueError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let parcel = match &this.parcel {
            Ok(parcel) => parcel,
            Err(error) => return Poll::Ready(Err(error.clone())),
        };
        match this.link.standing() {
            Standing::Alive => {}
            Standing::Dead => return this.link.cease(cx),
            Standing::Falling => return Poll::Ready(Ok(JobId::first(parcel.kind, &parcel.payload))),
        }
        let keys = match this.answering {
            None => this.link.shared().keys(parcel.kind, &parcel.payload),
            Some(_) => Keys::default(),
        };
        let mut state = this.link.shared().state();
        if let Some((job, id)) = this.performing {
            return performed(&mut state, job, cx).map(|ended| ended.map(|()| id));
        }
        match this.answering.take() {
            None => {
                this.answering = this.link.speak(&mut state, |state| begin(&this.link, state, parcel, keys));
                drop(state);
                if this.answering.is_none() {
                    return this.link.cease(cx);
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(_) if died_answering(&this.link, &mut state, parcel.place) || state.stuck.is_some() => {
                drop(state);
                this.link.cease(cx)
            }
            Some(Ok((job, id)))
                if state.inline.is_some() && job != 0 && state.queue.job(job).state == JobState::Ready =>
            {
                this.performing = Some((job, id));
                state.inline.iter_mut().for_each(|inline| inline.begin(job));
                performed(&mut state, job, cx).map(|ended| ended.map(|()| id))
            }
            Some(result) => Poll::Ready(result.map(|(_, id)| id)),
        }
    }
}

/// In inline mode: how the job ended, once it has.
fn performed(state: &mut State, job: u32, cx: &Context<'_>) -> Poll<Result<(), EnqueueError>> {
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

/// Virtual time, as one incarnation of a process knows it.
#[derive(Clone, Debug)]
pub struct Clock {
    link: Link,
}

impl Clock {
    pub(crate) fn new(link: Link) -> Self {
        Self { link }
    }

    /// The time since the world began.
    pub fn now(&self) -> Duration {
        self.link.shared().state().clock.now()
    }

    /// Waits. A crash point.
    #[track_caller]
    pub fn sleep(&self, duration: Duration) -> Pause {
        self.pause("sleep", Some(duration))
    }

    /// Lets other tasks run. A crash point.
    #[track_caller]
    pub fn yield_now(&self) -> Pause {
        self.pause("yield", None)
    }

    #[track_caller]
    fn pause(&self, what: &'static str, duration: Option<Duration>) -> Pause {
        let place = Place::caller();
        Pause { link: self.link.clone(), what, place, wait: Wait::Begin(duration) }
    }
}

#[derive(Debug)]
enum Wait {
    Begin(Option<Duration>),
    Yielded,
    Sleeping(TimerId),
    Over,
}

/// A wait in virtual time. It does nothing unless awaited.
#[derive(Debug)]
#[must_use = "a wait does nothing unless awaited"]
pub struct Pause {
    link: Link,
    what: &'static str,
    place: Place,
    wait: Wait,
}

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        match this.link.standing() {
            Standing::Alive => {}
            Standing::Dead => return this.link.cease(cx),
            Standing::Falling => return Poll::Ready(()),
        }
        let mut guard = this.link.shared().state();
        let state = &mut *guard;
        match this.wait {
            Wait::Begin(duration) => {
                let site = Site::Wait(this.what);
                state.timeline.called_from(state.actor, this.place, site);
                if this.link.crashes(state, site, "before", Some(this.place)) || !state.step() {
                    drop(guard);
                    return this.link.cease(cx);
                }
                match duration {
                    None => {
                        this.wait = Wait::Yielded;
                        cx.waker().wake_by_ref();
                    }
                    Some(duration) => {
                        let late = state.lateness(site, "timer", Some(this.place));
                        let at = state.clock.now().saturating_add(duration).saturating_add(late);
                        this.wait = Wait::Sleeping(this.link.shared().set_timer(state, at, cx));
                    }
                }
                Poll::Pending
            }
            Wait::Sleeping(timer) if state.clock.now() < timer.0 => {
                state.clock.cancel(timer);
                this.wait = Wait::Sleeping(this.link.shared().set_timer(state, timer.0, cx));
                Poll::Pending
            }
            Wait::Sleeping(_) | Wait::Yielded | Wait::Over => {
                this.wait = Wait::Over;
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        if let Wait::Sleeping(timer) = self.wait {
            self.link.shared().state().clock.cancel(timer);
        }
    }
}

/// Random numbers that are the same in every run of a scenario. What one attempt draws does not move what another
/// one draws.
#[derive(Clone, Debug)]
pub struct Rng {
    link: Link,
}

impl Rng {
    pub(crate) fn new(link: Link) -> Self {
        Self { link }
    }

    /// Any number.
    pub fn next_u64(&self) -> u64 {
        self.link.shared().state().draw()
    }

    /// A number below `bound`.
    ///
    /// # Panics
    /// When `bound` is 0.
    pub fn below(&self, bound: u64) -> u64 {
        assert!(bound > 0, "no number is below 0");
        self.next_u64() % bound
    }
}
