//! The world's own services: the queue, the clock, random numbers.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::Serialize;

use super::enqueue::{Enqueue, EnqueueLayers, EnqueueResult, enqueue_through, run_blocking};
use super::link::{Link, Standing};
use crate::engine::slots;
use crate::engine::state::{Incoming, Intake, Keys, Once, State, call_site};
use crate::search::choice::{Kind, Place, Point, Site, WaitKind};
use crate::system::clock::TimerId;
use crate::system::hygiene::Hygiene;
use crate::system::job::{JobId, JobState, LockTaken, More, kind_of};
use crate::system::service::ENQUEUE_FAULTS;

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
    /// A layer around the queue has failed, or refused the job.
    #[error("{kind} was not enqueued: {reason}")]
    Layer {
        /// The kind of the job.
        kind: String,
        /// The layer's error.
        reason: String,
    },
    /// A layer around the queue waits, which code that blocks cannot.
    #[error(
        "{kind} was not enqueued: a layer around the queue waits, which code that blocks cannot; enqueue it with `enqueue(…).await`"
    )]
    LayerWaits {
        /// The kind of the job.
        kind: String,
    },
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
///
/// ```
/// use retryproof::World;
/// use std::time::Duration;
///
/// let world = World::fake();
/// world.process("worker", |p| {
///     let queue = p.queue();
///     p.handle(async move |order: u32| {
///         queue.enqueue(format!("confirm {order}")).await?;
///         queue.enqueue_in(Duration::from_secs(3_600), format!("remind {order}")).await.map(drop)
///     });
///     p.handle(async |_mail: String| ());
/// });
/// world.enqueue(6_u32);
/// world.perform_one::<u32>().unwrap();
/// world.assert_enqueued(|mail: &String| mail == "confirm 6");
/// assert_eq!(world.scheduled()[0].payload, "\"remind 6\"");
/// ```
#[derive(Clone, Debug)]
pub struct JobQueue {
    pub(super) link: Link,
    pub(super) layers: EnqueueLayers,
    /// How many jobs a bulk puts in at once.
    pub(super) batch: usize,
}

/// A job ready to be taken in: its kind and its payload.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub(super) kind: &'static str,
    pub(super) payload: String,
    pub(super) delay: Duration,
    /// When it is to be ready, if that is not said by the delay.
    pub(super) at: Option<Duration>,
    /// What it carries beside its payload, as JSON.
    pub(super) context: Option<Box<str>>,
    /// A key of its own, under which it is taken in once.
    pub(super) once: Option<Once>,
    /// What it has beside what its kind says.
    pub(super) more: Option<Box<More>>,
    pub(super) place: Place,
}

impl Parcel {
    /// How long it waits from now on.
    pub(super) fn delay(&self, now: Duration) -> Duration {
        self.at.map_or(self.delay, |at| at.saturating_sub(now))
    }

    /// Has the queue take it in; none if whoever enqueues it died meanwhile. `keys` were computed before anything was
    /// locked.
    pub(super) fn take_in(
        &self,
        state: &mut State,
        delay: Duration,
        mut keys: Keys,
        dies: &mut dyn FnMut(&mut State) -> bool,
    ) -> Option<Answer> {
        let Self { kind, payload, context, once, more, .. } = self.clone();
        keys.once = once;
        match state.take_in(Incoming { kind, payload, delay, keys, context, more, serial: None }, dies) {
            Intake::In(job, id) => Some(Ok((job, id))),
            Intake::Known(id) => Some(Ok((0, id))),
            Intake::Refused(taken) => Some(Err(EnqueueError::Locked(taken))),
            Intake::Died => None,
        }
    }

    /// Puts it into the queue, past all layers.
    pub(super) fn enqueue(self, link: Link) -> EnqueueFuture {
        EnqueueFuture { link, parcel: Ok(self), answering: None, performing: None, layered: None }
    }
}

/// A job on its way into the queue. It is not enqueued unless this is awaited.
#[must_use = "a job is not enqueued unless this is awaited"]
pub struct EnqueueFuture {
    link: Link,
    parcel: Result<Parcel, EnqueueError>,
    answering: Option<Answer>,
    /// In inline mode: the job that runs meanwhile.
    performing: Option<(u32, JobId)>,
    /// Its way through the layers around the queue, if there are any.
    layered: Option<EnqueueResult>,
}

impl fmt::Debug for EnqueueFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnqueueFuture").field("parcel", &self.parcel).finish_non_exhaustive()
    }
}

/// A job that was taken in: its number, 0 if it was dropped for one that is there already, and its id.
pub(super) type Answered = (u32, JobId);

/// What the queue answers.
pub(super) type Answer = Result<Answered, EnqueueError>;

/// How many jobs a bulk puts in at once, unless told: as Sidekiq.
const BATCH: usize = 1_000;

impl JobQueue {
    pub(crate) fn new(link: Link, layers: EnqueueLayers) -> Self {
        Self { link, layers, batch: BATCH }
    }

    /// Enqueues a job, ready at once.
    ///
    /// # Errors
    /// When the queue did not answer, a layer around it has failed, or the job cannot be written as JSON.
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
        self.send(parcel(kind_of::<J>(), &job, delay, None, Place::caller()))
    }

    /// Enqueues a job that becomes ready at a time since the world began. A time in the past means now.
    ///
    /// # Errors
    /// When the queue did not answer, or the job cannot be written as JSON.
    #[track_caller]
    pub fn enqueue_at<J: Serialize + 'static>(&self, at: Duration, job: J) -> EnqueueFuture {
        self.send(parcel(kind_of::<J>(), &job, Duration::ZERO, Some(at), Place::caller()))
    }

    /// Puts a request into the queue as it is, through the layers around it.
    ///
    /// ```
    /// use retryproof::{Conflict, Enqueue, World};
    ///
    /// let world = World::fake();
    /// world.process("worker", |p| {
    ///     let queue = p.queue();
    ///     p.handle(async move |order: u32| {
    ///         let mail = Enqueue::encoded::<String>(format!("\"confirm {order}\""));
    ///         queue.put(mail.once(format!("confirm-{order}"), Conflict::Drop)).await.map(drop)
    ///     });
    ///     p.handle(async |_mail: String| ());
    /// });
    /// world.enqueue_bulk([6_u32, 6]);
    /// let drained = world.drain_all().run().unwrap();
    /// assert_eq!(drained.succeeded, 3, "two orders, and one mail");
    /// ```
    ///
    /// # Errors
    /// When the queue did not answer, a layer around it has failed, or its key is taken.
    pub fn put(&self, request: Enqueue) -> EnqueueFuture {
        let link = self.link.clone();
        let layered = self.layers.around(&self.link).map(|service| enqueue_through(service, request.clone()));
        EnqueueFuture { link, parcel: Ok(Parcel::of(request)), answering: None, performing: None, layered }
    }

    fn send(&self, parcel: Result<Parcel, EnqueueError>) -> EnqueueFuture {
        let layered = self.layers.around(&self.link).zip(parcel.as_ref().ok()).map(|(service, parcel)| {
            let now = self.link.shared().state().clock.now();
            enqueue_through(service, parcel.clone().request(now))
        });
        EnqueueFuture { link: self.link.clone(), parcel, answering: None, performing: None, layered }
    }

    /// Enqueues a job from code that blocks. A crash unwinds.
    ///
    /// # Errors
    /// When the queue did not answer, or the job cannot be written as JSON.
    #[track_caller]
    pub fn enqueue_blocking<J: Serialize + 'static>(&self, job: J) -> Result<JobId, EnqueueError> {
        self.send_blocking(parcel(kind_of::<J>(), &job, Duration::ZERO, None, Place::caller())?)
    }

    /// Enqueues a job that becomes ready after `delay`, from code that blocks. A crash unwinds.
    ///
    /// # Errors
    /// When the queue did not answer, or the job cannot be written as JSON.
    #[track_caller]
    pub fn enqueue_in_blocking<J: Serialize + 'static>(
        &self,
        delay: Duration,
        job: J,
    ) -> Result<JobId, EnqueueError> {
        self.send_blocking(parcel(kind_of::<J>(), &job, delay, None, Place::caller())?)
    }

    /// Enqueues a job that becomes ready at a time since the world began, from code that blocks. A crash unwinds.
    ///
    /// # Errors
    /// When the queue did not answer, or the job cannot be written as JSON.
    #[track_caller]
    pub fn enqueue_at_blocking<J: Serialize + 'static>(
        &self,
        at: Duration,
        job: J,
    ) -> Result<JobId, EnqueueError> {
        self.send_blocking(parcel(kind_of::<J>(), &job, Duration::ZERO, Some(at), Place::caller())?)
    }

    fn send_blocking(&self, parcel: Parcel) -> Result<JobId, EnqueueError> {
        match self.link.standing() {
            Standing::Falling => return Ok(JobId::first(parcel.kind, &parcel.payload)),
            Standing::Dead => self.link.unwind(),
            Standing::Alive => {}
        }
        if slots::is_here() {
            return self.link.wait_for(self.send(Ok(parcel)));
        }
        let keys = self.link.shared().keys(parcel.kind, &parcel.payload);
        let mut state = self.link.shared().state();
        if state.inline.is_some() {
            return Err(EnqueueError::InlineBlocking { kind: parcel.kind.to_owned() });
        }
        if !self.layers.is_empty() {
            drop(state);
            return run_blocking(parcel.kind, self.send(Ok(parcel)));
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

pub(super) fn parcel<J: Serialize>(
    kind: &'static str,
    job: &J,
    delay: Duration,
    at: Option<Duration>,
    place: Place,
) -> Result<Parcel, EnqueueError> {
    match serde_json::to_string(job) {
        Ok(payload) => Ok(Parcel { kind, payload, delay, at, context: None, once: None, more: None, place }),
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
    if let Some(opened) = state.connections.in_transaction_since(state.actor) {
        let (kind, place) = (parcel.kind, parcel.place);
        state.hygiene.insert(Hygiene::EnqueueInTransaction { kind, place, opened });
    }
    if link.crashes(state, site, Point::Before, Some(parcel.place)) {
        return None;
    }
    let fault = state.draw_fault(Kind::Delivery, site, ENQUEUE_FAULTS, parcel.place);
    if state.stuck.is_some() {
        return None;
    }
    let unavailable = Err(EnqueueError::Unavailable { kind: parcel.kind.to_owned() });
    let take_in = |state: &mut State| {
        link.shared().woken.stir();
        let delay = parcel.delay(state.clock.now());
        let late = match delay.is_zero() {
            true => Duration::ZERO,
            false => state.lateness(site, Point::Timer, Some(parcel.place)),
        };
        let mut dies = |state: &mut State| link.crashes(state, site, Point::Locked, Some(parcel.place));
        parcel.take_in(state, delay.saturating_add(late), keys, &mut dies)
    };
    match fault {
        None => take_in(state),
        Some(fault) if fault.happens() => take_in(state).map(|_| unavailable),
        Some(_) => Some(unavailable),
    }
}

fn died_answering(link: &Link, state: &mut State, place: Place) -> bool {
    let site = enqueue_site();
    link.speak(state, |state| {
        link.crashes(state, site, Point::Happened, Some(place))
            || link.crashes(state, site, Point::Replied, Some(place))
    })
}

impl Future for EnqueueFuture {
    type Output = Result<JobId, EnqueueError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(layered) = &mut this.layered {
            return layered.as_mut().poll(cx);
        }
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
pub(super) fn performed(state: &mut State, job: u32, cx: &Context<'_>) -> Poll<Result<(), EnqueueError>> {
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
///
/// ```
/// use retryproof::World;
/// use std::time::Duration;
///
/// const DAY: Duration = Duration::from_secs(86_400);
///
/// let world = World::fake();
/// world.process("worker", |p| {
///     let clock = p.clock();
///     p.handle(async move |_order: u32| {
///         let begun = clock.now();
///         clock.sleep(20 * DAY).await; // takes no time at all
///         assert_eq!(clock.now() - begun, 20 * DAY);
///     });
/// });
/// world.enqueue(6_u32);
/// world.settle().run();
/// assert_eq!(world.now(), 20 * DAY);
/// ```
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
        self.link.arrive();
        self.link.shared().state().clock.now()
    }

    /// Waits. A crash point.
    #[track_caller]
    pub fn sleep(&self, duration: Duration) -> Pause {
        self.pause(WaitKind::Sleep, Some(duration))
    }

    /// Lets other tasks run. A crash point.
    #[track_caller]
    pub fn yield_now(&self) -> Pause {
        self.pause(WaitKind::Yield, None)
    }

    #[track_caller]
    fn pause(&self, what: WaitKind, duration: Option<Duration>) -> Pause {
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
    what: WaitKind,
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
                if this.link.crashes(state, site, Point::Before, Some(this.place)) || !state.step() {
                    drop(guard);
                    return this.link.cease(cx);
                }
                match duration {
                    None => {
                        this.wait = Wait::Yielded;
                        cx.waker().wake_by_ref();
                    }
                    Some(duration) => {
                        let late = state.lateness(site, Point::Timer, Some(this.place));
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
        self.link.arrive();
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
