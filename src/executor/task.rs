//! A task: an attempt, or a future that a process has spawned.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::engine::life::Life;
use crate::engine::state::{AfterStep, Shared, State, Stride, StrideChecks, TaskWaker};
use crate::process::Attempt;
use crate::search::choice::{Actor, Name, Place};
use crate::system::clock::TaskId;
use crate::system::job::JobFailure;

/// The work of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// One attempt of a job.
    Attempt { job: u32, attempt: u32 },
    /// A loop of the user's own, with this name.
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

/// A task that has not ended.
pub(super) struct Task {
    pub(super) id: TaskId,
    pub(super) host: usize,
    pub(super) work: Work,
    pub(super) future: Attempt,
    wake: Arc<TaskWaker>,
    pub(super) waker: Waker,
    /// The place of its last call or line.
    pub(super) last: Option<Place>,
    /// If set, its worker stalls until then, past its lease.
    pub(super) stalled_until: Option<Duration>,
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("id", &self.id).field("work", &self.work).finish_non_exhaustive()
    }
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

    /// The job and the number of the attempt, if the task is an attempt.
    pub(super) fn job(&self) -> Option<(u32, u32)> {
        match self.work {
            Work::Attempt { job, attempt } => Some((job, attempt)),
            Work::Spawned(_) => None,
        }
    }

    /// Called after a poll.
    pub(super) fn rest(&mut self, state: &mut State) {
        state.end_poll();
        let called = state.timeline.last_call(self.actor());
        self.last = called.map(|(place, _)| place).or(self.last);
    }

    /// Polls as long as the task wakes itself, time does not advance, and no other task could run instead. If an
    /// observer checks each step, polls only once. Returns whether the task could continue.
    pub(super) fn poll(
        &mut self,
        shared: &Shared,
        life: &Life,
        now: Duration,
        look: StrideChecks,
    ) -> (Poll<Result<(), JobFailure>>, bool) {
        let stride = Stride { task: self.id, job: self.job(), now, look };
        shared.strides.lend(stride, &self.wake);
        loop {
            stride.begin(shared, &self.wake);
            shared.divide_caller(self.is_divided(shared, life));
            let polled = self.future.as_mut().poll(&mut Context::from_waker(&self.waker));
            shared.rest_threads();
            let next = shared.strides.take();
            let next = next
                .unwrap_or_else(|| stride.next(shared, &self.wake, polled.is_ready() || life.is_ending()));
            if let AfterStep::Rests { woken, stalled_until } = next {
                self.stalled_until = stalled_until;
                shared.strides.give_back();
                return (polled, woken);
            }
        }
    }

    /// Called when the task has made a call over a socket in the step that has just ended. Decides what comes next,
    /// as after a call in process.
    pub(super) fn after_call(&self, shared: &Shared, look: StrideChecks) -> AfterStep {
        let now = shared.state().clock.now();
        let stride = Stride { task: self.id, job: self.job(), now, look };
        self.wake.begin();
        self.waker.wake_by_ref();
        stride.next(shared, &self.wake, false)
    }

    /// Whether it waits for something besides its calls: a timer of tokio's, mostly. That its process listens for the sign
    /// to stop, or that its code runs on a thread of its own, is no such thing.
    fn is_divided(&self, shared: &Shared, life: &Life) -> bool {
        let own = 2 + usize::from(shared.strides.are_lent());
        let others = Arc::strong_count(&self.wake).saturating_sub(own);
        others > 0 && others > life.listens(&self.waker)
    }

    /// Reports whether something other than the executor and the world will wake the task. Only then may tokio's time
    /// advance for it.
    pub(super) fn waits_outside(&self) -> bool {
        // One reference for the executor's own handle, and one inside the waker that the future receives.
        Arc::strong_count(&self.wake) > 2
    }
}
