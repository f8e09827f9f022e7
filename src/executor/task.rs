//! A task: an attempt under way, or what a process has spawned.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::choice::{Actor, Name, Place};
use crate::clock::{TaskId, Wake};
use crate::job::JobFailure;
use crate::life::Life;
use crate::process::Attempt;
use crate::state::{Shared, State, TaskWaker};
use crate::steps::Thing;

/// What a task works at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// One attempt of a job.
    Attempt { job: u32, attempt: u32 },
    /// Whatever it likes: a loop of the user's own, under this name.
    Spawned(Name),
}

impl Work {
    pub(super) fn actor(self) -> Actor {
        match self {
            Work::Attempt { job, attempt } => Actor::Attempt { job, attempt },
            Work::Spawned(name) => Actor::Task(name),
        }
    }
}

/// A task under way.
pub(super) struct Task {
    pub(super) id: TaskId,
    pub(super) host: usize,
    pub(super) work: Work,
    pub(super) future: Attempt,
    wake: Arc<TaskWaker>,
    pub(super) waker: Waker,
    /// Where it called last, or the last line it passed.
    pub(super) last: Option<Place>,
    /// Its worker stands still until then, when its lease is over.
    pub(super) stalled_until: Option<Duration>,
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("id", &self.id).field("work", &self.work).finish_non_exhaustive()
    }
}

/// What is to be looked at between two steps of a task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Somebody wants to see the world after each of them.
    pub(super) watched: bool,
    /// Another task could go on instead.
    pub(super) switching: bool,
    /// Another worker could take the job meanwhile.
    pub(super) overtaking: bool,
}

impl Task {
    pub(super) fn new(id: TaskId, host: usize, work: Work, future: Attempt, shared: &Shared) -> Self {
        let wake = TaskWaker::new(id, shared.woken.clone());
        let waker = Waker::from(wake.clone());
        Self { id, host, work, future, wake, waker, last: None, stalled_until: None }
    }

    pub(super) fn actor(&self) -> Actor {
        self.work.actor()
    }

    /// The job of which this is an attempt, if it is one, and which.
    pub(super) fn job(&self) -> Option<(u32, u32)> {
        match self.work {
            Work::Attempt { job, attempt } => Some((job, attempt)),
            Work::Spawned(_) => None,
        }
    }

    /// It was polled.
    pub(super) fn rest(&mut self, state: &mut State) {
        (state.task, state.actor) = (None, Actor::Test);
        let called = state.timeline.last_call(self.actor());
        self.last = called.map(|(place, _)| place).or(self.last);
    }

    /// Polls as long as the task wakes itself, no time passes and nobody else could go on instead; only once if
    /// somebody looks on after each step. Returns whether it could go on, too.
    pub(super) fn poll(
        &mut self,
        shared: &Shared,
        life: &Life,
        now: Duration,
        look: Look,
    ) -> (Poll<Result<(), JobFailure>>, bool) {
        loop {
            if shared.reduces() {
                shared.state().begin_step(Some(self.id), &shared.woken);
            }
            self.wake.begin();
            let polled = self.future.as_mut().poll(&mut Context::from_waker(&self.waker));
            let woken = self.wake.end();
            if polled.is_ready() || !woken || life.is_ending() {
                return (polled, woken);
            }
            let mut state = shared.state();
            let at_line = std::mem::take(&mut state.at_line);
            if at_line {
                // Memory that is shared between threads is not seen.
                state.touch(Thing::Everything, true);
            }
            if look.overtaking && !at_line && self.is_overtaken(&mut state) {
                return (polled, false);
            }
            let others = look.switching && (shared.woken.any() || state.queue.ready_count() > 0);
            if look.watched || others || state.clock.now() != now || !state.step() {
                return (polled, woken);
            }
        }
    }

    /// After a step that the task could follow with another. True: its worker stands still until its lease is over,
    /// and the job is handed out again meanwhile.
    fn is_overtaken(&mut self, state: &mut State) -> bool {
        let Some((job, attempt)) = self.job() else { return false };
        if !state.queue.is_held_by(job, attempt) || !state.lease_runs_out() {
            return false;
        }
        let until = state.queue.lease_runs_out(job, state.clock.now());
        self.stalled_until = Some(until);
        state.clock.set(until, Wake::Task(self.id));
        true
    }

    /// Whether anything but the executor and the world will wake it: only then can time pass in tokio for its sake.
    pub(super) fn waits_outside(&self) -> bool {
        // One for the executor's own handle, one inside the waker that is shown to the future.
        Arc::strong_count(&self.wake) > 2
    }
}
