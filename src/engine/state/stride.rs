//! From one step of a task to its next: whether it goes on by itself, or is somebody else's turn.
//!
//! Where the task's code runs on a thread of its own (a slot's), that is asked there: to hand the turn to the executor and
//! back, only to hear that it goes on, takes longer than most steps.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Shared, State, TaskWaker, lock};
use crate::engine::steps::Thing;
use crate::system::clock::{TaskId, Wake};
use crate::system::job::Delivery;
use crate::system::queue::LEASE;

/// What is to be looked at between two steps of a task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// Somebody wants to see the world after each of them.
    pub(crate) watched: bool,
    /// Another task could go on instead.
    pub(crate) switching: bool,
    /// Another worker could take the job meanwhile.
    pub(crate) overtaking: bool,
}

/// A task that is polled, step by step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stride {
    pub(crate) task: TaskId,
    /// The job of which this is an attempt, if it is one, and which.
    pub(crate) job: Option<(u32, u32)>,
    pub(crate) now: Duration,
    pub(crate) look: Look,
}

/// What comes after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another one, at once.
    GoesOn,
    /// The executor thinks it over. `woken`: it could go on.
    Rests {
        woken: bool,
        /// Its worker stands still until then, when its lease is over.
        stalled_until: Option<Duration>,
    },
}

impl Stride {
    /// Before a step.
    pub(crate) fn begin(&self, shared: &Shared, wake: &TaskWaker) {
        if shared.reduces() {
            shared.state().begin_step(Some(self.task), &shared.woken);
        }
        wake.begin();
    }

    /// After a step. `is_over`: it was the last.
    pub(crate) fn next(&self, shared: &Shared, wake: &TaskWaker, is_over: bool) -> Next {
        let woken = wake.end();
        let rests = Next::Rests { woken, stalled_until: None };
        if is_over || !woken {
            return rests;
        }
        let mut state = shared.state();
        let at_line = std::mem::take(&mut state.at_line);
        if at_line {
            // Memory that is shared between threads is not seen.
            state.touch(Thing::Everything, true);
        }
        if !at_line {
            let overtaken = self.look.overtaking.then(|| self.is_overtaken(&mut state)).flatten();
            let stalled_until = overtaken.or_else(|| self.stands_still(&mut state));
            if stalled_until.is_some() {
                return Next::Rests { woken: false, stalled_until };
            }
        }
        // Whoever waits outside may go on, too, when something has happened there.
        let may_go_on =
            || shared.woken.any() || state.queue.ready_count() > 0 || shared.externals.have_progress();
        let others = self.look.switching && may_go_on();
        if self.look.watched || others || state.clock.now() != self.now || !state.step() {
            return rests;
        }
        Next::GoesOn
    }

    /// After a step that the task could follow with another. Some: its worker stands still until its lease is over, and
    /// the job is handed out again meanwhile.
    fn is_overtaken(&self, state: &mut State) -> Option<Duration> {
        let (job, attempt) = self.job?;
        if !state.queue.is_held_by(job, attempt) || !state.lease_runs_out() {
            return None;
        }
        let until = state.queue.lease_runs_out(job, state.clock.now());
        state.clock.set(until, Wake::Task(self.task));
        Some(until)
    }
}

impl Stride {
    /// After a step that the task could follow with another. Some: it stands still until then, past a moment at which
    /// something of the world is over. An attempt keeps its lease if that is over later.
    fn stands_still(&self, state: &mut State) -> Option<Duration> {
        if !self.look.switching {
            return None;
        }
        let now = state.clock.now();
        let until = state.stall(self.task, self.job.is_none())?;
        if let Some((job, attempt)) = self.job {
            let may_lose_it = state.delivery(job) == Delivery::AtLeastOnce;
            if may_lose_it && state.queue.is_held_by(job, attempt) && until >= now.saturating_add(LEASE) {
                state.queue.lease_runs_out(job, now);
            }
        }
        state.clock.set(until, Wake::Task(self.task));
        Some(until)
    }
}

/// The task that is polled, for the thread on which its code runs.
#[derive(Debug, Default)]
pub(crate) struct Strides {
    /// Whether any code runs on a thread of its own: mostly none does, and then nothing is lent.
    are_used: AtomicBool,
    lent: Mutex<Option<(Stride, Arc<TaskWaker>)>>,
    rests: Mutex<Option<Next>>,
}

impl Strides {
    /// From now on there may be such threads.
    pub(crate) fn are_used(&self) {
        self.are_used.store(true, Ordering::Relaxed);
    }

    /// A task is polled.
    pub(crate) fn lend(&self, stride: Stride, wake: &Arc<TaskWaker>) {
        if self.are_used.load(Ordering::Relaxed) {
            *lock(&self.lent) = Some((stride, wake.clone()));
        }
    }

    /// Whether a task that is polled is lent.
    pub(crate) fn are_lent(&self) -> bool {
        self.are_used.load(Ordering::Relaxed)
    }

    /// It was polled. What was decided on its thread after its last step, if anything was.
    pub(crate) fn take(&self) -> Option<Next> {
        if !self.are_used.load(Ordering::Relaxed) {
            return None;
        }
        lock(&self.rests).take()
    }

    /// It is polled no more.
    pub(crate) fn give_back(&self) {
        if self.are_used.load(Ordering::Relaxed) {
            *lock(&self.lent) = None;
        }
    }
}

impl Shared {
    /// On the thread on which the code of the task runs that is polled, after a step of it: whether it goes on. Otherwise
    /// it has to hand the turn back. `is_ending`: it is to go on no more.
    pub(crate) fn goes_on(&self, is_ending: bool) -> bool {
        let Some((stride, wake)) = lock(&self.strides.lent).clone() else { return false };
        let next = stride.next(self, &wake, is_ending);
        if next == Next::GoesOn {
            stride.begin(self, &wake);
            return true;
        }
        *lock(&self.strides.rests) = Some(next);
        false
    }
}
