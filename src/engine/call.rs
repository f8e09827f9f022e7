//! One call, from its first crash point to its reply, whatever is behind it: a service, the queue, a lock, a cursor, an
//! external system.
//!
//! This is the only file that knows the order of things. A [`Door`] is what is behind a call, and knows none of it.
//!
//! 1. The caller is alive. A dead one gets nothing; a destructor of a process that is being torn down gets what the
//!    door has for it, and nothing comes of it.
//! 2. The crash point *before*; then the fault is drawn; then it happens, or what the fault leaves of it.
//! 3. The caller waits, at least once, so that others can run. Code that blocks the executor's thread does not.
//! 4. The crash points after it: for a write *happened* and *replied*, for a read *replied* alone, since nothing has
//!    happened that a lost reply could hide.
//! 5. The reply.
//!
//! Once the run is stuck, nothing of this goes on. User code runs while `State` is not locked: in [`Door::open`],
//! [`Door::resume`], [`Door::work`] and [`Door::received`]. The exception is a service, which is a pure state machine
//! and is asked under the lock.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::life::{self, Life};
use super::link::{Link, Liveness};
use super::slots;
use super::state::{State, Stuck};
use crate::search::choice::{Fault, FaultSet, Kind, Options, Place, Point, Site, WaitKind};
use crate::system::clock::TimerId;
use crate::system::service::FaultPlan;
use crate::system::timeline::What;

/// How late a reply is that is late: any timer that the caller has set for it is over by then.
const LATE_REPLY: Duration = Duration::from_secs(3_600);

/// Where a call is made, and which points it has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallSpec {
    pub(crate) site: Site,
    pub(crate) place: Place,
    /// The kind of its faults.
    pub(crate) faults: Kind,
    pub(crate) reply: Reply,
}

/// The crash points between what happened and the caller's going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Something may have happened: to die before the reply is another thing than to die after it.
    Write,
    /// Nothing has happened: both are the same.
    Read,
    /// A cursor is saved. Nobody looks at the reply.
    Save,
    /// A lock is taken or given back. Nobody looks at the reply.
    Lock,
}

impl Reply {
    const fn points(self) -> &'static [Point] {
        match self {
            Reply::Write => &[Point::Happened, Point::Replied],
            Reply::Read => &[Point::Replied],
            Reply::Save => &[Point::Happened],
            Reply::Lock => &[Point::After],
        }
    }
}

/// What has come of entering a door.
#[derive(Debug)]
pub(crate) enum Entered<T> {
    /// It is done, or it failed; the caller has the reply after so long.
    Replies { output: T, takes: Duration },
    /// Real work is under way: see [`Door::resume`] and [`Door::work`].
    UnderWay,
    /// The caller has died between two steps of it.
    Died,
}

/// What has come of work that is under way.
#[derive(Debug)]
pub(crate) enum Resumed<T> {
    Ended(T),
    /// It goes on when the caller is woken.
    Waits,
    /// The process has died of waiting, or the run is stuck.
    Over,
}

/// What is behind a call.
pub(crate) trait Door {
    /// What the caller gets.
    type Output;
    /// What the first half of a call needs: what is locked or computed for it.
    type Visit<'v>: Visit<'v, Output = Self::Output>
    where
        Self: 'v;

    /// Whose call it is.
    fn link(&self) -> &Link;

    /// Begins the first half of a call. It is asked once.
    fn open(&mut self) -> Self::Visit<'_>;

    /// Answers the test's own call, in which nothing goes wrong.
    fn given(&mut self) -> Self::Output;

    /// Answers a destructor of a process that is being torn down, so that nothing comes of it. Returns `None` if there
    /// is nothing to answer.
    fn after_death(&mut self) -> Option<Self::Output>;

    /// Goes on with the work that is under way.
    fn resume(&mut self, fault: Option<Fault>, cx: &mut Context<'_>) -> Resumed<Self::Output> {
        let _ = (fault, cx);
        unreachable!("nothing is under way behind this door")
    }

    /// Does the work that is under way on this thread, which blocks meanwhile.
    fn work(&mut self, fault: Option<Fault>) -> Self::Output {
        let _ = fault;
        unreachable!("nothing is under way behind this door")
    }

    /// The reply has arrived. `State` is locked.
    fn note_reply(&self, state: &mut State, output: &Self::Output) {
        let _ = (state, output);
    }

    /// The caller has the reply.
    fn received(&mut self, output: &Self::Output) {
        let _ = output;
    }
}

/// The first half of a call at a door. `State` is locked, and it is done in the caller's name.
pub(crate) trait Visit<'v> {
    type Output;

    /// Whose call it is.
    fn link(&self) -> &'v Link;

    /// Where the call is made.
    fn spec(&self) -> CallSpec;

    /// Notes the call, before anything can go wrong.
    fn announce(&mut self, state: &mut State) {
        let _ = state;
    }

    /// What may go wrong. By default nothing.
    fn faults(&mut self, state: &State) -> FaultPlan {
        let _ = state;
        FaultPlan::Choose(FaultSet::NONE)
    }

    /// Does it, or what `fault` leaves of it.
    fn enter(self, fault: Option<Fault>, state: &mut State) -> Entered<Self::Output>;
}

/// A call. It does nothing unless it is polled, or [`block`](Call::block)ed on.
pub(crate) struct Call<D: Door> {
    pub(crate) door: D,
    step: Step<D::Output>,
    /// Whether something has come of it, once it is known.
    has_happened: bool,
}

/// How far a call has come.
enum Step<T> {
    Begin,
    UnderWay(CallSpec, Option<Fault>),
    /// The reply is on its way.
    Replying(CallSpec, T),
    /// The same, and it takes its time.
    Waiting(CallSpec, T, TimerId),
    /// The same, and by then its caller may have gone on without it.
    Late(CallSpec, T, TimerId),
    Over,
}

/// A call in two halves, for one whose reply is on its way over a wire: it has happened, or not.
#[cfg(feature = "wire")]
pub(crate) struct InFlight<D: Door> {
    door: D,
    pub(crate) output: D::Output,
    /// How long the reply takes.
    pub(crate) takes: Duration,
    /// None: the test's own call.
    spec: Option<CallSpec>,
}

impl<D: Door> fmt::Debug for Call<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("link", self.door.link()).finish_non_exhaustive()
    }
}

#[cfg(feature = "wire")]
impl<D: Door> fmt::Debug for InFlight<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight").field("spec", &self.spec).finish_non_exhaustive()
    }
}

/// The first half of a call that has come this far.
struct Begun<T> {
    spec: CallSpec,
    fault: Option<Fault>,
    entered: Entered<T>,
}

/// The first half of a call. Returns `None` if the process died before it happened, or the run is stuck.
fn begin<'v, V: Visit<'v>>(visit: V) -> Option<Begun<V::Output>> {
    let (link, spec) = (visit.link(), visit.spec());
    let CallSpec { site, place, .. } = spec;
    // What it holds is user code's to drop, if the call does not come to it: after `State` is unlocked.
    let mut visit = Some(visit);
    let mut state = link.shared().state();
    let begun = link.as_caller(&mut state, |state| {
        state.timeline.called_from(state.actor(), place, site);
        visit.as_mut()?.announce(state);
        if link.crashes(state, site, Point::Before, Some(place)) || state.search.is_stuck() {
            return None;
        }
        let fault = match visit.as_mut()?.faults(state) {
            FaultPlan::Forced(fault) => Some(fault),
            FaultPlan::Choose(FaultSet::NONE) => None,
            FaultPlan::Choose(faults) => state.draw_fault(spec.faults, site, faults, place),
        };
        if state.search.is_stuck() {
            return None;
        }
        let entered = visit.take()?.enter(fault, state);
        Some(Begun { spec, fault, entered })
    });
    drop(state);
    begun.filter(|begun| !matches!(begun.entered, Entered::Died))
}

/// The second half of a call. Returns whether the caller has the reply.
fn arrives<D: Door>(door: &D, spec: &CallSpec, output: &D::Output) -> bool {
    let link = door.link();
    let mut state = link.shared().state();
    link.as_caller(&mut state, |state| {
        let mut points = spec.reply.points().iter();
        let dies = points.any(|&point| link.crashes(state, spec.site, point, Some(spec.place)));
        if dies || state.search.is_stuck() {
            return false;
        }
        door.note_reply(state, output);
        true
    })
}

/// A wait begins, which has one crash point: before it. Returns whether the process dies there, or the run is stuck.
pub(crate) fn dies_waiting(link: &Link, state: &mut State, wait: WaitKind, place: Place) -> bool {
    let site = Site::Wait(wait);
    link.as_caller(state, |state| {
        state.timeline.called_from(state.actor(), place, site);
        link.crashes(state, site, Point::Before, Some(place)) || !state.step()
    })
}

impl<D: Door> Call<D> {
    pub(crate) const fn new(door: D) -> Self {
        Self { door, step: Step::Begin, has_happened: false }
    }

    /// Makes the call from code that blocks. A crash unwinds.
    pub(crate) fn block(mut self) -> D::Output {
        match self.door.link().liveness() {
            Liveness::Alive => {}
            Liveness::Dead => life::unwind(),
            Liveness::TearingDown => {
                return self.door.after_death().unwrap_or_else(|| self.answer_for_nothing());
            }
        }
        if self.door.link().is_given() {
            return self.door.given();
        }
        if slots::is_here() {
            return slots::block_on(self).unwrap_or_else(|_| life::unwind());
        }
        let Some(Begun { spec, fault, entered }) = begin(self.door.open()) else { life::unwind() };
        let output = match entered {
            Entered::Replies { output, takes } => {
                if !takes.is_zero() {
                    let shared = self.door.link().shared();
                    let now = shared.state().clock.now();
                    shared.advance(now.saturating_add(takes));
                }
                output
            }
            Entered::UnderWay => self.door.work(fault),
            Entered::Died => life::unwind(),
        };
        if !arrives(&self.door, &spec, &output) {
            life::unwind()
        }
        self.door.received(&output);
        output
    }

    /// A destructor blocks on a call that nobody can answer: it ends here. If its thread unwinds already, to unwind once
    /// more would abort the whole test, so the run ends instead, and says so.
    fn answer_for_nothing(&mut self) -> D::Output {
        if !std::thread::panicking() {
            life::unwind()
        }
        let spec = self.door.open().spec();
        let link = self.door.link();
        let mut state = link.shared().state();
        let who = link.as_caller(&mut state, |state| state.actor()).to_string();
        let call = match spec.site {
            Site::Call { service, operation } => format!("{service}.{operation}"),
            _ => "a call".to_owned(),
        };
        state.search.get_stuck(Stuck::Unanswerable { who, call, place: spec.place.to_string() });
        drop(state);
        self.door.work(None)
    }

    /// What a destructor gets while its process is torn down. A call that was under way may have its answer: nothing
    /// comes of what the destructor does with it, and a destructor that waits in vain would hang.
    fn poll_torn_down(&mut self, cx: &Context<'_>) -> Poll<D::Output> {
        let answer = match mem::replace(&mut self.step, Step::Over) {
            Step::Replying(_, output) => Some(output),
            Step::Waiting(_, output, timer) | Step::Late(_, output, timer) => {
                self.door.link().shared().state().clock.cancel(timer);
                Some(output)
            }
            unanswered => {
                self.step = unanswered;
                self.door.after_death()
            }
        };
        answer.map_or_else(|| self.door.link().pend_or_unwind(cx), Poll::Ready)
    }

    fn first_half(&mut self, cx: &mut Context<'_>) -> Poll<D::Output> {
        if self.door.link().is_given() {
            return Poll::Ready(self.door.given());
        }
        let Some(Begun { spec, fault, entered }) = begin(self.door.open()) else {
            return self.door.link().pend_or_unwind(cx);
        };
        self.has_happened = fault.is_none_or(Fault::happens);
        match entered {
            Entered::Replies { output, takes } if takes.is_zero() => self.reply(spec, output, cx),
            Entered::Replies { output, takes } => {
                let shared = self.door.link().shared();
                let mut state = shared.state();
                let at = state.clock.now().saturating_add(takes);
                let timer = shared.set_timer(&mut state, at, cx);
                drop(state);
                self.step = Step::Waiting(spec, output, timer);
                Poll::Pending
            }
            Entered::UnderWay => self.go_on(spec, fault, cx),
            Entered::Died => self.door.link().pend_or_unwind(cx),
        }
    }

    /// The reply is on its way: the caller goes on when it is its turn.
    fn reply(&mut self, spec: CallSpec, output: D::Output, cx: &Context<'_>) -> Poll<D::Output> {
        self.step = Step::Replying(spec, output);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn go_on(&mut self, spec: CallSpec, fault: Option<Fault>, cx: &mut Context<'_>) -> Poll<D::Output> {
        self.step = Step::UnderWay(spec, fault);
        match self.door.resume(fault, cx) {
            Resumed::Ended(output) => self.reply(spec, output, cx),
            Resumed::Waits => Poll::Pending,
            Resumed::Over => self.door.link().pend_or_unwind(cx),
        }
    }

    /// The reply is on its way to a caller that waits for something else besides, a timer mostly: whether it comes so late
    /// that the caller may have gone on without it. Returns the timer for it.
    fn is_late(&self, spec: &CallSpec, cx: &Context<'_>) -> Option<TimerId> {
        let link = self.door.link();
        let shared = link.shared();
        if !shared.is_caller_divided() || slots::is_here() {
            return None;
        }
        let mut state = shared.state();
        state.task()?;
        let (site, place) = (spec.site, Some(spec.place));
        let is_late = link.as_caller(&mut state, |state| {
            state.deviate(Kind::Delay, site, Point::Reply, Options::Reply, place) != 0
        });
        is_late.then(|| {
            let at = state.clock.now().saturating_add(LATE_REPLY);
            shared.set_timer(&mut state, at, cx)
        })
    }

    /// The reply takes its time. Returns the timer anew, if it is not over.
    fn still_waits(&self, timer: TimerId, cx: &Context<'_>) -> Option<TimerId> {
        let shared = self.door.link().shared();
        let mut state = shared.state();
        if state.clock.now() >= timer.0 {
            return None;
        }
        state.clock.cancel(timer);
        Some(shared.set_timer(&mut state, timer.0, cx))
    }

    fn second_half(&mut self, spec: &CallSpec, output: D::Output, cx: &Context<'_>) -> Poll<D::Output> {
        if !arrives(&self.door, spec, &output) {
            return self.door.link().pend_or_unwind(cx);
        }
        self.door.received(&output);
        Poll::Ready(output)
    }
}

/// Nothing in it is pinned but what has a box of its own.
impl<D: Door> Unpin for Call<D> {}

impl<D: Door> Future for Call<D> {
    type Output = D::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<D::Output> {
        let this = &mut *self;
        match this.door.link().liveness() {
            Liveness::Alive => {}
            Liveness::Dead => return this.door.link().pend_or_unwind(cx),
            Liveness::TearingDown => return this.poll_torn_down(cx),
        }
        match mem::replace(&mut this.step, Step::Over) {
            Step::Begin => this.first_half(cx),
            Step::UnderWay(spec, fault) => this.go_on(spec, fault, cx),
            Step::Replying(spec, output) => match this.is_late(&spec, cx) {
                Some(timer) => {
                    this.step = Step::Late(spec, output, timer);
                    Poll::Pending
                }
                None => this.second_half(&spec, output, cx),
            },
            Step::Waiting(spec, output, timer) => match this.still_waits(timer, cx) {
                Some(timer) => {
                    this.step = Step::Waiting(spec, output, timer);
                    Poll::Pending
                }
                None => this.second_half(&spec, output, cx),
            },
            Step::Late(spec, output, timer) => match this.still_waits(timer, cx) {
                Some(timer) => {
                    this.step = Step::Late(spec, output, timer);
                    Poll::Pending
                }
                None => this.second_half(&spec, output, cx),
            },
            Step::Over => panic!("a call was polled after it had ended"),
        }
    }
}

impl<D: Door> Drop for Call<D> {
    fn drop(&mut self) {
        let (spec, timer) = match &self.step {
            Step::Begin | Step::Over => return,
            Step::UnderWay(spec, _) | Step::Replying(spec, _) => (*spec, None),
            Step::Waiting(spec, _, timer) | Step::Late(spec, _, timer) => (*spec, Some(*timer)),
        };
        let link = self.door.link();
        let mut state = link.shared().state();
        timer.into_iter().for_each(|timer| state.clock.cancel(timer));
        let is_dropped_by_its_caller = state.task().is_some() && !std::thread::panicking();
        if !is_dropped_by_its_caller || link.life().is_some_and(Life::is_ending) {
            return;
        }
        if let Site::Call { service, operation } = spec.site {
            let (happened, place) = (self.has_happened, spec.place);
            let is_over = !matches!(self.step, Step::UnderWay(..));
            let happened = is_over.then_some(happened);
            link.as_caller(&mut state, |state| {
                state.note(|| What::Cancelled { service, operation, happened, place });
            });
        }
    }
}

#[cfg(feature = "wire")]
impl<D: Door> InFlight<D> {
    /// The first half. Returns `None` if the process died before it happened, or the run is stuck.
    pub(crate) fn begin(mut door: D) -> Option<Self> {
        if door.link().is_given() {
            let output = door.given();
            return Some(Self { door, output, takes: Duration::ZERO, spec: None });
        }
        let Begun { spec, entered, .. } = begin(door.open())?;
        match entered {
            Entered::Replies { output, takes } => Some(Self { door, output, takes, spec: Some(spec) }),
            Entered::UnderWay => unreachable!("what is under way needs no wire"),
            Entered::Died => None,
        }
    }

    /// The second half: the reply, on its way to the caller. Returns `None` if the process died before it had it, or the
    /// run is stuck.
    pub(crate) fn arrive(mut self) -> Option<D::Output> {
        if self.spec.is_some_and(|spec| !arrives(&self.door, &spec, &self.output)) {
            return None;
        }
        self.door.received(&self.output);
        Some(self.output)
    }
}
