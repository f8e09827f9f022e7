//! The locks of unique jobs: what an attempt does before and after its handler runs.
//!
//! Each step at the locks is a call like any other, with a crash point before it and one after it. It waits once, so
//! that other tasks can run in between.

use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::attempt::Attempt;
use crate::engine::call::{Call, CallSpec, CallTarget, EnterOutcome, Reply, ResumeOutcome, Visit};
use crate::engine::link::{Link, Liveness};
use crate::engine::state::{State, call_site};
use crate::search::choice::{Actor, DeviationKind, Fault, Place};
use crate::system::clock::{TimerId, Wake};
use crate::system::job::{Conflict, JobFailure, LockKind, Refusal, Unique};
use crate::system::queue::{HeldLock, LockKey, LockOwner};
use crate::system::timeline::{EventKind, LockEvent};

/// Wraps an attempt of a unique job, which takes its locks before the handler runs and releases them after it.
pub(in crate::process) fn guarded(
    link: &Link,
    unique: &Arc<Unique>,
    payload: &str,
    place: Place,
    run: Attempt,
) -> Attempt {
    let Some(key) = (unique.key)(payload) else { return run };
    let (kind, job) = {
        let state = link.shared().state();
        let Actor::Attempt { job, .. } = state.actor() else { return run };
        (state.queue.job(job).kind, job)
    };
    let turn = LockedAttempt { link: link.clone(), unique: unique.clone(), kind, key, job, place };
    Box::pin(turn.run(run))
}

/// One attempt and its locks.
struct LockedAttempt {
    link: Link,
    unique: Arc<Unique>,
    kind: &'static str,
    key: Box<str>,
    job: u32,
    place: Place,
}

/// The tasks to wake once the state is unlocked.
type Wakes = Vec<Wake>;

impl LockedAttempt {
    fn lock(&self, to_run: bool) -> LockKey {
        LockKey { kind: self.kind, to_run, key: self.key.clone() }
    }

    async fn run(self, run: Attempt) -> Result<(), JobFailure> {
        let (queued, running) = (self.lock(false), self.lock(true));
        let lock = self.unique.lock;
        if lock.is_taken_at_enqueue() {
            if self.link.shared().state().queue.locks.is_unlocked(self.job) {
                self.take(&queued, self.unique.on_conflict).await?;
                self.link.shared().state().has_its_lock(self.job, &queued, lock);
            }
            if lock == LockKind::UntilExecuting || lock == LockKind::UntilAndWhileExecuting {
                self.give_back_if_its(&queued).await;
            }
        }
        if lock.is_taken_to_run() {
            self.take(&running, self.unique.when_busy).await?;
            let mut holds = Holds { turn: &self, lock: &running, is_held: true };
            let result = run.await;
            self.give_back(&running).await;
            holds.is_held = false;
            return result;
        }
        let result = run.await;
        if lock == LockKind::UntilExecuted && result.is_ok() {
            self.give_back_if_its(&queued).await;
        }
        result
    }

    /// Performs one step at the locks.
    async fn step<R>(
        &self,
        operation: &'static str,
        mut act: impl FnMut(&mut State, &Context<'_>, &mut Wakes) -> Poll<R>,
    ) -> R {
        let act = |state: &mut State, cx: &Context<'_>| {
            let mut wakes = Vec::new();
            (act(state, cx, &mut wakes), wakes)
        };
        Call::new(LockTarget { link: &self.link, operation, place: self.place, act }).await
    }

    /// Takes a lock, or fails the attempt according to the conflict rule.
    async fn take(&self, lock: &LockKey, conflict: Conflict) -> Result<(), JobFailure> {
        let mut waiting = LockWait { turn: self, lock, timer: None, waits: false };
        let taken = self.step("acquire", |state, cx, _| waiting.take(state, conflict, cx)).await;
        drop(waiting);
        let Err(held) = taken else { return Ok(()) };
        if !self.unique.owned {
            // The modeled bug: an `ensure` block releases a lock that the attempt never got.
            self.give_back(lock).await;
        }
        Err(self.refusal(lock, held, conflict))
    }

    fn refusal(&self, lock: &LockKey, held: HeldLock, conflict: Conflict) -> JobFailure {
        let state = self.link.shared().state();
        let taken = state.lock_taken(lock, held);
        if held.owner == LockOwner::Missing {
            return JobFailure::refused(Refusal::CannotRun(state.unowned(self.job, lock)));
        }
        let refusal = match conflict {
            Conflict::Raise => return JobFailure::new(taken),
            Conflict::Reject => Refusal::Reject(taken),
            Conflict::Reschedule(wait) => Refusal::PutBack(wait, taken),
            Conflict::Drop | Conflict::Replace | Conflict::Wait => Refusal::Drop,
        };
        JobFailure::refused(refusal)
    }

    async fn give_back_if_its(&self, lock: &LockKey) {
        let is_its = self.link.shared().state().queue.locks.of_job(self.job) == Some(lock);
        if is_its || !self.unique.owned {
            self.give_back(lock).await;
        }
    }

    async fn give_back(&self, lock: &LockKey) {
        self.step("release", |state, _, wakes| {
            wakes.extend(self.give_back_now(state, lock));
            Poll::Ready(())
        })
        .await;
    }

    fn give_back_now(&self, state: &mut State, lock: &LockKey) -> Wakes {
        let now = state.clock.now();
        let is_its =
            state.queue.locks.get(lock, now).is_some_and(|held| held.owner == LockOwner::Job(self.job));
        let (was_there, wakes) = state.queue.locks.give_back(lock, self.job, self.unique.owned);
        if was_there {
            let event = if is_its { LockEvent::GivenBack } else { LockEvent::TakenAway };
            state.note(|| EventKind::Lock { key: lock.key.to_string(), event });
        }
        wakes
    }
}

/// The locks as the target of one step.
struct LockTarget<'t, A> {
    link: &'t Link,
    operation: &'static str,
    place: Place,
    act: A,
}

impl<'t, R, A: FnMut(&mut State, &Context<'_>) -> (Poll<R>, Wakes)> CallTarget for LockTarget<'t, A> {
    type Output = R;
    type Visit<'v>
        = LockVisit<'v, R>
    where
        Self: 'v;

    fn link(&self) -> &Link {
        self.link
    }

    fn open(&mut self) -> LockVisit<'_, R> {
        LockVisit { link: self.link, operation: self.operation, place: self.place, result: PhantomData }
    }

    fn given(&mut self) -> R {
        unreachable!("the test is not an attempt")
    }

    fn after_death(&mut self) -> Option<R> {
        None
    }

    fn resume(&mut self, _: Option<Fault>, cx: &mut Context<'_>) -> ResumeOutcome<R> {
        let shared = self.link.shared();
        let mut state = shared.state();
        if state.search.is_stuck() {
            return ResumeOutcome::Over;
        }
        let (acted, wakes) = (self.act)(&mut state, cx);
        drop(state);
        shared.wake(wakes);
        match acted {
            Poll::Ready(result) => ResumeOutcome::Ended(result),
            Poll::Pending => ResumeOutcome::Waits,
        }
    }
}

struct LockVisit<'v, R> {
    link: &'v Link,
    operation: &'static str,
    place: Place,
    result: PhantomData<R>,
}

impl<'v, R> Visit<'v> for LockVisit<'v, R> {
    type Output = R;

    fn link(&self) -> &'v Link {
        self.link
    }

    fn spec(&self) -> CallSpec {
        let site = call_site("locks".into(), self.operation.into());
        CallSpec { site, place: self.place, faults: DeviationKind::Fault, reply: Reply::Lock }
    }

    fn enter(self, _: Option<Fault>, _: &mut State) -> EnterOutcome<R> {
        EnterOutcome::UnderWay
    }
}

/// A lock that is released when the handler ends, even by a panic, but not when the process crashes.
struct Holds<'t> {
    turn: &'t LockedAttempt,
    lock: &'t LockKey,
    is_held: bool,
}

impl Drop for Holds<'_> {
    fn drop(&mut self) {
        let link = &self.turn.link;
        if self.is_held && link.liveness() == Liveness::Alive {
            let wakes = self.turn.give_back_now(&mut link.shared().state(), self.lock);
            link.shared().wake(wakes);
        }
    }
}

/// An attempt that may wait for a lock.
struct LockWait<'t> {
    turn: &'t LockedAttempt,
    lock: &'t LockKey,
    timer: Option<TimerId>,
    waits: bool,
}

impl LockWait<'_> {
    fn take(
        &mut self,
        state: &mut State,
        conflict: Conflict,
        cx: &Context<'_>,
    ) -> Poll<Result<(), HeldLock>> {
        let (turn, now) = (self.turn, state.clock.now());
        let wanted = state.held_by(turn.job, turn.unique.ttl);
        let taken = state.queue.locks.take(self.lock, wanted, now);
        let key = || self.lock.key.to_string();
        let Err(held) = taken else {
            state.note(|| EventKind::Lock { key: key(), event: LockEvent::Taken });
            self.end(state);
            return Poll::Ready(Ok(()));
        };
        let waits = conflict == Conflict::Wait && held.owner != LockOwner::Missing;
        if !self.waits {
            let holder = state.holder(held);
            state.note(|| EventKind::Lock {
                key: key(),
                event: LockEvent::Conflict { holder, then: conflict },
            });
        }
        if !waits {
            self.end(state);
            return Poll::Ready(Err(held));
        }
        let shared = turn.link.shared();
        if !std::mem::replace(&mut self.waits, true) {
            state.usage.waiting += 1;
        }
        if let Some(timer) = self.timer.take() {
            state.clock.cancel(timer);
        }
        self.timer = held.expires.map(|expires| shared.set_timer(state, expires, cx));
        state.queue.locks.wait(self.lock, turn.job, shared.wake_of(state, cx));
        Poll::Pending
    }

    /// Stops waiting.
    fn end(&mut self, state: &mut State) {
        if let Some(timer) = self.timer.take() {
            state.clock.cancel(timer);
        }
        if std::mem::take(&mut self.waits) {
            state.usage.waiting -= 1;
            state.queue.locks.wait_no_more(self.lock, self.turn.job);
        }
    }
}

impl Drop for LockWait<'_> {
    fn drop(&mut self) {
        if self.waits || self.timer.is_some() {
            let shared = self.turn.link.shared().clone();
            self.end(&mut shared.state());
        }
    }
}
