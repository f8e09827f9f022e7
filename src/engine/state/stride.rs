//! Between two steps of a task: decides whether the task continues or another one has its turn.
//!
//! If the task's code runs on a thread of its own (a slot's), that thread decides. Handing the turn to the executor
//! and back, only to continue, takes longer than most steps.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Shared, State, TaskWaker, lock};
use crate::engine::steps::Resource;
use crate::search::choice::Name;
use crate::system::clock::{TaskId, Wake};
use crate::system::job::Delivery;
use crate::system::queue::LEASE;

/// The conditions to check between two steps of a task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StrideChecks {
    /// An observer checks the world after each step.
    pub(crate) watched: bool,
    /// Another task could run instead.
    pub(crate) switching: bool,
    pub(crate) overtaking: Overtaking,
}

/// Whether another worker could take the job of an attempt in the meantime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overtaking {
    /// The job is never delivered again while an attempt runs, or the task is no attempt.
    Never,
    /// A process has a free slot.
    Possible,
    /// A fresh copy of this process could. It would share the thread, and so the thread-locals, of the original.
    ByCopy(Name),
}

/// A task that is being polled, step by step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stride {
    pub(crate) task: TaskId,
    /// The job and the number of the attempt, if the task is an attempt.
    pub(crate) job: Option<(u32, u32)>,
    pub(crate) now: Duration,
    pub(crate) look: StrideChecks,
}

/// The action after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterStep {
    /// Another step, immediately.
    GoesOn,
    /// The executor decides. `woken` means that the task could continue.
    Rests {
        woken: bool,
        /// If set, its worker stalls until then, past its lease.
        stalled_until: Option<Duration>,
    },
}

impl Stride {
    /// Called before a step.
    pub(crate) fn begin(&self, shared: &Shared, wake: &TaskWaker) {
        if shared.reduces() {
            shared.state().begin_step(Some(self.task), &shared.woken);
        }
        wake.begin();
    }

    /// Called after a step. `is_over` marks the last step.
    pub(crate) fn next(&self, shared: &Shared, wake: &TaskWaker, is_over: bool) -> AfterStep {
        let woken = wake.end();
        let rests = AfterStep::Rests { woken, stalled_until: None };
        if is_over || !woken {
            return rests;
        }
        let mut state = shared.state();
        let at_line = std::mem::take(&mut state.at_line);
        if at_line {
            // Memory that threads share is not visible to the harness.
            state.touch(Resource::Everything, true);
        }
        if !at_line {
            let stalled_until = self.is_overtaken(&mut state).or_else(|| self.stands_still(&mut state));
            if stalled_until.is_some() {
                return AfterStep::Rests { woken: false, stalled_until };
            }
        }
        // A task that waits for an external system may continue, too, when something has happened there.
        let may_go_on =
            || shared.woken.any() || state.queue.ready_count() > 0 || shared.externals.have_progress();
        let others = self.look.switching && may_go_on();
        if self.look.watched || others || state.clock.now() != self.now || !state.step() {
            return rests;
        }
        AfterStep::GoesOn
    }

    /// Called after a step that the task could follow with another. If the result is `Some`, its worker stalls past
    /// its lease, and the job is redelivered in the meantime.
    fn is_overtaken(&self, state: &mut State) -> Option<Duration> {
        let (job, attempt) = self.job?;
        if !state.queue.is_held_by(job, attempt) || !self.may_be_overtaken(state) || !state.lease_runs_out() {
            return None;
        }
        let until = state.queue.lease_runs_out(job, state.clock.now());
        state.clock.set(until, Wake::Task(self.task));
        Some(until)
    }

    fn may_be_overtaken(&self, state: &mut State) -> bool {
        match self.look.overtaking {
            Overtaking::Never => false,
            Overtaking::ByCopy(original) if state.keeps_thread_locals(original) => {
                state.record.note_uncopied();
                false
            }
            Overtaking::Possible | Overtaking::ByCopy(_) => true,
        }
    }

    /// Called after a step that the task could follow with another one. If it returns a time, the task stalls until then,
    /// past a deadline of the world. An attempt that stalls past its lease loses it.
    fn stands_still(&self, state: &mut State) -> Option<Duration> {
        if !self.look.switching || (self.job.is_some() && !state.has_expiring()) {
            return None;
        }
        let now = state.clock.now();
        let leased = self.job.filter(|&(job, attempt)| {
            state.delivery(job) == Delivery::AtLeastOnce && state.queue.is_held_by(job, attempt)
        });
        let lease_ends =
            leased.map(|(job, _)| state.queue.lease_end(job).unwrap_or(now.saturating_add(LEASE)));
        let until = state.stall(self.task, self.job.is_none(), lease_ends)?;
        if let Some((job, _)) = leased.filter(|_| lease_ends.is_some_and(|ends| until >= ends)) {
            state.queue.lease_runs_out(job, now);
        }
        state.clock.set(until, Wake::Task(self.task));
        Some(until)
    }
}

/// The task that is being polled, for the thread of its code.
#[derive(Debug, Default)]
pub(crate) struct Strides {
    /// Whether any code runs on a thread of its own. Usually none does, and then nothing is lent.
    are_used: AtomicBool,
    lent: Mutex<Option<(Stride, Arc<TaskWaker>)>>,
    rests: Mutex<Option<AfterStep>>,
}

impl Strides {
    /// Records that there may be such threads from now on.
    pub(crate) fn are_used(&self) {
        self.are_used.store(true, Ordering::Relaxed);
    }

    /// Lends a task that is about to be polled.
    pub(crate) fn lend(&self, stride: Stride, wake: &Arc<TaskWaker>) {
        if self.are_used.load(Ordering::Relaxed) {
            *lock(&self.lent) = Some((stride, wake.clone()));
        }
    }

    /// Whether a task that is polled is lent.
    pub(crate) fn are_lent(&self) -> bool {
        self.are_used.load(Ordering::Relaxed)
    }

    /// Takes the decision that the task's thread made after its last step, if it made one.
    pub(crate) fn take(&self) -> Option<AfterStep> {
        if !self.are_used.load(Ordering::Relaxed) {
            return None;
        }
        lock(&self.rests).take()
    }

    /// Ends the loan, because the task is not polled any more.
    pub(crate) fn give_back(&self) {
        if self.are_used.load(Ordering::Relaxed) {
            *lock(&self.lent) = None;
        }
    }
}

impl Shared {
    /// Called on the thread of the polled task's code, after a step. Reports whether the task continues. Otherwise
    /// the thread must hand the turn back. If `is_ending`, the task must not continue.
    pub(crate) fn goes_on(&self, is_ending: bool) -> bool {
        let Some((stride, wake)) = lock(&self.strides.lent).clone() else { return false };
        let next = stride.next(self, &wake, is_ending);
        if next == AfterStep::GoesOn {
            stride.begin(self, &wake);
            return true;
        }
        *lock(&self.strides.rests) = Some(next);
        false
    }
}
