//! One call, from its first crash point to its reply, regardless of the system behind it: a service, the queue, a
//! lock, a cursor, an external system.
//!
//! Only this file knows the order of steps. A [`CallTarget`] is the system behind a call and knows nothing about the order.
//!
//! 1. The caller must be alive. A dead caller gets nothing. A destructor of a process that is being torn down gets an
//!    answer from the target, which has no effect.
//! 2. The crash point *before*. Then the fault is drawn. Then the call happens, or the part of it that the fault
//!    allows.
//! 3. The caller waits, at least once, so that other tasks can run. Code that blocks the executor's thread does not
//!    wait.
//! 4. The crash points after the call: for a write *happened* and *replied*, for a read only *replied*, because a
//!    lost reply of a read hides nothing.
//! 5. The reply.
//!
//! Once the run is stuck, none of this happens. User code runs while `State` is not locked: in [`CallTarget::open`],
//! [`CallTarget::resume`], [`CallTarget::work`] and [`CallTarget::received`]. The exception is a service, which is a pure state machine
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
use super::state::{Flight, State, Stuck};
use crate::search::choice::{DeviationKind, Fault, FaultSet, Name, Options, Place, Point, Site, WaitKind};
use crate::system::clock::TimerId;
use crate::system::service::FaultPlan;
use crate::system::timeline::EventKind;

/// How late a reply is that is late: any timer that the caller has set for it is over by then.
const LATE_REPLY: Duration = Duration::from_secs(3_600);

/// The place of a call, and its points.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallSpec {
    pub(crate) site: Site,
    pub(crate) place: Place,
    /// The kind of the call's faults.
    pub(crate) faults: DeviationKind,
    pub(crate) reply: Reply,
}

/// The crash points between the call and the continuation of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The call may have an effect, so a crash before the reply differs from a crash after it.
    Write,
    /// The call has no effect, so both crashes are equivalent.
    Read,
    /// Leaves nothing behind if the caller dies, so that a crash after it equals one before the next call.
    #[cfg_attr(not(feature = "wire"), expect(dead_code, reason = "only a wire has such calls"))]
    Passing,
    /// Saves a cursor. The reply is not used.
    Save,
    /// Takes or releases a lock. The reply is not used.
    Lock,
}

impl Reply {
    const fn points(self) -> &'static [Point] {
        match self {
            Reply::Write => &[Point::Happened, Point::Replied],
            Reply::Read => &[Point::Replied],
            Reply::Passing => &[],
            Reply::Save => &[Point::Happened],
            Reply::Lock => &[Point::After],
        }
    }
}

/// The result of entering a target.
#[derive(Debug)]
pub(crate) enum EnterOutcome<T> {
    /// The call succeeded or failed. The caller gets the reply after `takes`.
    Replies { output: T, takes: Duration },
    /// Real work has started: see [`CallTarget::resume`] and [`CallTarget::work`].
    UnderWay,
    /// The caller died between two steps of the call.
    Died,
}

/// The result of resuming the work.
#[derive(Debug)]
pub(crate) enum ResumeOutcome<T> {
    Ended(T),
    /// The work continues when the caller is woken.
    Waits,
    /// The process died while it waited, or the run is stuck.
    Over,
}

/// The system behind a call.
pub(crate) trait CallTarget {
    /// The result for the caller.
    type Output;
    /// The first half of a call, with the locks and values that it needs.
    type Visit<'v>: Visit<'v, Output = Self::Output>
    where
        Self: 'v;

    /// The link of the caller.
    fn link(&self) -> &Link;

    /// The service and the operation, if they are known before the call begins. Then the call may be sent after others.
    fn operation(&self) -> Option<(Name, Name)> {
        None
    }

    /// Begins the first half of a call. Called once.
    fn open(&mut self) -> Self::Visit<'_>;

    /// Answers the test body's own call, in which nothing goes wrong.
    fn given(&mut self) -> Self::Output;

    /// Answers a destructor of a process that is being torn down. The call must have no effect. Returns `None` if
    /// there is no answer.
    fn after_death(&mut self) -> Option<Self::Output>;

    /// Continues the work.
    fn resume(&mut self, fault: Option<Fault>, cx: &mut Context<'_>) -> ResumeOutcome<Self::Output> {
        let _ = (fault, cx);
        unreachable!("nothing is under way at this target")
    }

    /// Does the work on this thread, which blocks in the meantime.
    fn work(&mut self, fault: Option<Fault>) -> Self::Output {
        let _ = fault;
        unreachable!("nothing is under way at this target")
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

/// The first half of a call at a target. `State` is locked, and the current actor is the caller.
pub(crate) trait Visit<'v> {
    type Output;

    /// The link of the caller.
    fn link(&self) -> &'v Link;

    /// The place of the call.
    fn spec(&self) -> CallSpec;

    /// Records the call before anything can go wrong.
    fn announce(&mut self, state: &mut State) {
        let _ = state;
    }

    /// The faults that the call may have. Defaults to none.
    fn faults(&mut self, state: &State) -> FaultPlan {
        let _ = state;
        FaultPlan::Choose(FaultSet::NONE)
    }

    /// Makes the call, or the part of it that `fault` allows.
    fn enter(self, fault: Option<Fault>, state: &mut State) -> EnterOutcome<Self::Output>;
}

/// A call. It does nothing until it is polled or [`block`](Call::block)ed on.
pub(crate) struct Call<D: CallTarget> {
    pub(crate) target: D,
    step: CallStage<D::Output>,
    /// Whether something has come of it, once it is known.
    has_happened: bool,
    /// It is under way, as one of the calls of a task.
    flight: Option<Flight>,
    /// Whether it may still be sent after the calls beside it.
    may_be_behind: bool,
}

/// The progress of a call.
enum CallStage<T> {
    Begin,
    UnderWay(CallSpec, Option<Fault>),
    /// The reply is on its way.
    Replying(CallSpec, T),
    /// The reply is on its way and takes some time.
    Waiting(CallSpec, T, TimerId),
    /// The same, and by then its caller may have gone on without it.
    Late(CallSpec, T, TimerId),
    Over,
}

/// A call in two halves, for a reply that travels over a wire.
#[cfg(feature = "wire")]
pub(crate) struct InFlight<D: CallTarget> {
    pub(crate) target: D,
    pub(crate) output: D::Output,
    /// The time until the reply arrives.
    pub(crate) takes: Duration,
    /// `None` for the test body's own call.
    spec: Option<CallSpec>,
}

impl<D: CallTarget> fmt::Debug for Call<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("link", self.target.link()).finish_non_exhaustive()
    }
}

#[cfg(feature = "wire")]
impl<D: CallTarget> fmt::Debug for InFlight<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight").field("spec", &self.spec).finish_non_exhaustive()
    }
}

/// The first half of a call, once begun.
struct FirstHalf<T> {
    spec: CallSpec,
    fault: Option<Fault>,
    entered: EnterOutcome<T>,
}

/// Runs the first half of a call. Returns `None` if the process died before the call happened, or if the run is
/// stuck.
fn begin<'v, V: Visit<'v>>(visit: V) -> Option<FirstHalf<V::Output>> {
    let (link, spec) = (visit.link(), visit.spec());
    let CallSpec { site, place, .. } = spec;
    // If the call does not happen, user code drops the visit's contents. That must come after `State` is unlocked.
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
        Some(FirstHalf { spec, fault, entered })
    });
    drop(state);
    begun.filter(|begun| !matches!(begun.entered, EnterOutcome::Died))
}

/// Runs the second half of a call. Returns whether the caller gets the reply.
fn arrives<D: CallTarget>(target: &D, spec: &CallSpec, output: &D::Output) -> bool {
    let link = target.link();
    let mut state = link.shared().state();
    link.as_caller(&mut state, |state| {
        let mut points = spec.reply.points().iter();
        let dies = points.any(|&point| link.crashes(state, spec.site, point, Some(spec.place)));
        if dies || state.search.is_stuck() {
            return false;
        }
        target.note_reply(state, output);
        true
    })
}

/// Begins a wait, whose crash point is before it. Returns whether the process dies there or the run is stuck.
pub(crate) fn dies_waiting(link: &Link, state: &mut State, wait: WaitKind, place: Place) -> bool {
    let site = Site::Wait(wait);
    link.as_caller(state, |state| {
        state.timeline.called_from(state.actor(), place, site);
        link.crashes(state, site, Point::Before, Some(place)) || !state.step()
    })
}

impl<D: CallTarget> Call<D> {
    pub(crate) const fn new(target: D) -> Self {
        Self { target, step: CallStage::Begin, has_happened: false, flight: None, may_be_behind: true }
    }

    /// Makes the call from blocking code. A crash unwinds.
    pub(crate) fn block(mut self) -> D::Output {
        match self.target.link().liveness() {
            Liveness::Alive => {}
            Liveness::Dead => life::unwind(),
            Liveness::TearingDown => {
                return self.target.after_death().unwrap_or_else(|| self.answer_for_nothing());
            }
        }
        if self.target.link().is_given() {
            return self.target.given();
        }
        if slots::on_slot_thread() {
            return slots::block_on(self).unwrap_or_else(|_| life::unwind());
        }
        let Some(FirstHalf { spec, fault, entered }) = begin(self.target.open()) else { life::unwind() };
        let output = match entered {
            EnterOutcome::Replies { output, takes } => {
                if !takes.is_zero() {
                    let shared = self.target.link().shared();
                    let now = shared.state().clock.now();
                    shared.advance(now.saturating_add(takes));
                }
                output
            }
            EnterOutcome::UnderWay => self.target.work(fault),
            EnterOutcome::Died => life::unwind(),
        };
        if !arrives(&self.target, &spec, &output) {
            life::unwind()
        }
        self.target.received(&output);
        output
    }

    /// Ends a destructor that blocks on a call without an answer. If its thread is already unwinding, another unwind
    /// would abort the whole test. In that case the run ends with a message instead.
    fn answer_for_nothing(&mut self) -> D::Output {
        if !std::thread::panicking() {
            life::unwind()
        }
        let spec = self.target.open().spec();
        let link = self.target.link();
        let mut state = link.shared().state();
        let who = link.as_caller(&mut state, |state| state.actor()).to_string();
        let call = match spec.site {
            Site::Call { service, operation } => format!("{service}.{operation}"),
            _ => "a call".to_owned(),
        };
        state.search.get_stuck(Stuck::Unanswerable { who, call, place: spec.place.to_string() });
        drop(state);
        self.target.work(None)
    }

    /// Answers a destructor while its process is torn down. A call that had started may get its answer, because the
    /// destructor's actions have no effect, and a destructor that waits forever would hang.
    fn poll_torn_down(&mut self, cx: &Context<'_>) -> Poll<D::Output> {
        let answer = match mem::replace(&mut self.step, CallStage::Over) {
            CallStage::Replying(_, output) => Some(output),
            CallStage::Waiting(_, output, timer) | CallStage::Late(_, output, timer) => {
                self.target.link().shared().state().clock.cancel(timer);
                Some(output)
            }
            unanswered => {
                self.step = unanswered;
                self.target.after_death()
            }
        };
        answer.map_or_else(|| self.target.link().pend_or_unwind(cx), Poll::Ready)
    }

    fn first_half(&mut self, cx: &mut Context<'_>) -> Poll<D::Output> {
        if self.target.link().is_given() {
            return Poll::Ready(self.target.given());
        }
        if self.is_behind() {
            self.step = CallStage::Begin;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Some(FirstHalf { spec, fault, entered }) = begin(self.target.open()) else {
            return self.target.link().pend_or_unwind(cx);
        };
        self.takes_off(&spec);
        self.has_happened = fault.is_none_or(Fault::happens);
        match entered {
            EnterOutcome::Replies { output, takes } if takes.is_zero() => self.reply(spec, output, cx),
            EnterOutcome::Replies { output, takes } => {
                let shared = self.target.link().shared();
                let mut state = shared.state();
                let at = state.clock.now().saturating_add(takes);
                let timer = shared.set_timer(&mut state, at, cx);
                drop(state);
                self.step = CallStage::Waiting(spec, output, timer);
                Poll::Pending
            }
            EnterOutcome::UnderWay => self.go_on(spec, fault, cx),
            EnterOutcome::Died => self.target.link().pend_or_unwind(cx),
        }
    }

    /// The reply is on its way. The caller continues when it is its turn.
    fn reply(&mut self, spec: CallSpec, output: D::Output, cx: &Context<'_>) -> Poll<D::Output> {
        self.step = CallStage::Replying(spec, output);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn go_on(&mut self, spec: CallSpec, fault: Option<Fault>, cx: &mut Context<'_>) -> Poll<D::Output> {
        self.step = CallStage::UnderWay(spec, fault);
        match self.target.resume(fault, cx) {
            ResumeOutcome::Ended(output) => self.reply(spec, output, cx),
            ResumeOutcome::Waits => Poll::Pending,
            ResumeOutcome::Over => self.target.link().pend_or_unwind(cx),
        }
    }

    /// Decides whether the call takes effect only after the calls that its task makes beside it. This is a choice for the
    /// operations that the reference run has made beside others.
    fn is_behind(&mut self) -> bool {
        if !std::mem::take(&mut self.may_be_behind) {
            return false;
        }
        let Some((service, operation)) = self.target.operation() else { return false };
        let link = self.target.link();
        let mut state = link.shared().state();
        if state.task().is_none() || !state.is_made_beside_others(service, operation) {
            return false;
        }
        let site = Site::Call { service, operation };
        link.as_caller(&mut state, |state| {
            state.deviate(DeviationKind::Preemption, site, Point::Overlap, Options::Overlap, None) != 0
        })
    }

    /// The call is under way from here on.
    fn takes_off(&mut self, spec: &CallSpec) {
        if let Site::Call { service, operation } = spec.site {
            let mut state = self.target.link().shared().state();
            self.flight = state.take_off(service, operation);
        }
    }

    /// The call is under way no longer.
    fn lands(&mut self) {
        if let Some(flight) = self.flight.take() {
            self.target.link().shared().state().land(flight);
        }
    }

    /// The reply is on its way to a caller that waits for something else besides, a timer mostly: whether it comes so late
    /// that the caller may have gone on without it. Returns the timer for it.
    fn is_late(&self, spec: &CallSpec, cx: &Context<'_>) -> Option<TimerId> {
        let link = self.target.link();
        let shared = link.shared();
        if !shared.is_caller_divided() || slots::on_slot_thread() {
            return None;
        }
        let mut state = shared.state();
        state.task()?;
        let (site, place) = (spec.site, Some(spec.place));
        let is_late = link.as_caller(&mut state, |state| {
            state.deviate(DeviationKind::Delay, site, Point::Reply, Options::Reply, place) != 0
        });
        is_late.then(|| {
            let at = state.clock.now().saturating_add(LATE_REPLY);
            shared.set_timer(&mut state, at, cx)
        })
    }

    /// The reply takes its time. Returns the timer anew, if it is not over.
    fn still_waits(&self, timer: TimerId, cx: &Context<'_>) -> Option<TimerId> {
        let shared = self.target.link().shared();
        let mut state = shared.state();
        if state.clock.now() >= timer.0 {
            return None;
        }
        state.clock.cancel(timer);
        Some(shared.set_timer(&mut state, timer.0, cx))
    }

    fn second_half(&mut self, spec: &CallSpec, output: D::Output, cx: &Context<'_>) -> Poll<D::Output> {
        self.lands();
        if !arrives(&self.target, spec, &output) {
            return self.target.link().pend_or_unwind(cx);
        }
        self.target.received(&output);
        Poll::Ready(output)
    }
}

/// Nothing is pinned except values in their own boxes.
impl<D: CallTarget> Unpin for Call<D> {}

impl<D: CallTarget> Future for Call<D> {
    type Output = D::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<D::Output> {
        let this = &mut *self;
        match this.target.link().liveness() {
            Liveness::Alive => {}
            Liveness::Dead => return this.target.link().pend_or_unwind(cx),
            Liveness::TearingDown => return this.poll_torn_down(cx),
        }
        match mem::replace(&mut this.step, CallStage::Over) {
            CallStage::Begin => this.first_half(cx),
            CallStage::UnderWay(spec, fault) => this.go_on(spec, fault, cx),
            CallStage::Replying(spec, output) => match this.is_late(&spec, cx) {
                Some(timer) => {
                    this.step = CallStage::Late(spec, output, timer);
                    Poll::Pending
                }
                None => this.second_half(&spec, output, cx),
            },
            CallStage::Waiting(spec, output, timer) => match this.still_waits(timer, cx) {
                Some(timer) => {
                    this.step = CallStage::Waiting(spec, output, timer);
                    Poll::Pending
                }
                None => this.second_half(&spec, output, cx),
            },
            CallStage::Late(spec, output, timer) => match this.still_waits(timer, cx) {
                Some(timer) => {
                    this.step = CallStage::Late(spec, output, timer);
                    Poll::Pending
                }
                None => this.second_half(&spec, output, cx),
            },
            CallStage::Over => panic!("a call was polled after it had ended"),
        }
    }
}

impl<D: CallTarget> Drop for Call<D> {
    fn drop(&mut self) {
        self.lands();
        let (spec, timer) = match &self.step {
            CallStage::Begin | CallStage::Over => return,
            CallStage::UnderWay(spec, _) | CallStage::Replying(spec, _) => (*spec, None),
            CallStage::Waiting(spec, _, timer) | CallStage::Late(spec, _, timer) => (*spec, Some(*timer)),
        };
        let link = self.target.link();
        let mut state = link.shared().state();
        timer.into_iter().for_each(|timer| state.clock.cancel(timer));
        let is_dropped_by_its_caller = state.task().is_some() && !std::thread::panicking();
        if !is_dropped_by_its_caller || link.life().is_some_and(Life::is_ending) {
            return;
        }
        if let Site::Call { service, operation } = spec.site {
            let (happened, place) = (self.has_happened, spec.place);
            let is_over = !matches!(self.step, CallStage::UnderWay(..));
            let happened = is_over.then_some(happened);
            link.as_caller(&mut state, |state| {
                state.note(|| EventKind::Cancelled { service, operation, happened, place });
            });
        }
    }
}

#[cfg(feature = "wire")]
impl<D: CallTarget> InFlight<D> {
    /// The first half. Returns `None` if the process died before the call happened, or if the run is stuck.
    pub(crate) fn begin(mut target: D) -> Option<Self> {
        if target.link().is_given() {
            let output = target.given();
            return Some(Self { target, output, takes: Duration::ZERO, spec: None });
        }
        let FirstHalf { spec, fault, entered } = begin(target.open())?;
        let (output, takes) = match entered {
            EnterOutcome::Replies { output, takes } => (output, takes),
            EnterOutcome::UnderWay => (target.work(fault), Duration::ZERO),
            EnterOutcome::Died => return None,
        };
        Some(Self { target, output, takes, spec: Some(spec) })
    }

    /// The second half: the reply arrives at the caller. Returns `None` if the process died before that, or if the
    /// run is stuck.
    pub(crate) fn arrive(mut self) -> Option<D::Output> {
        if self.spec.is_some_and(|spec| !arrives(&self.target, &spec, &self.output)) {
            return None;
        }
        self.target.received(&self.output);
        Some(self.output)
    }
}
