//! What the present step touches, where orders of independent steps are to be explored once.

use std::sync::atomic::Ordering;

use super::{Shared, State, WakeQueue};
use crate::engine::steps::Resource;
use crate::system::clock::TaskId;

impl State {
    /// The present step touches something.
    #[inline]
    pub(crate) fn touch(&mut self, thing: Resource, writes: bool) {
        if let Some(steps) = &mut self.steps_taken {
            steps.touch(thing, writes);
        }
    }

    /// A step begins: a task's, or one of the executor's own, of which nothing is known.
    #[inline]
    pub(crate) fn begin_step(&mut self, task: Option<TaskId>, woken: &WakeQueue) {
        if let Some(steps) = &mut self.steps_taken {
            steps.begin(task, self.search.choices().len(), woken.wakes());
        }
    }
}

impl Shared {
    /// The present step touches something, where that is taken down.
    pub(crate) fn touch(&self, thing: Resource, writes: bool) {
        if self.reduces.load(Ordering::Relaxed) {
            self.state().touch(thing, writes);
        }
    }

    /// Whether it is taken down what each step touches.
    pub(crate) fn reduces(&self) -> bool {
        self.reduces.load(Ordering::Relaxed)
    }

    /// The executor does something that no step may be exchanged with.
    pub(crate) fn barrier(&self) {
        if self.reduces.load(Ordering::Relaxed) {
            let mut state = self.state();
            state.begin_step(None, &self.woken);
            state.touch(Resource::Everything, true);
        }
    }

    /// Here it matters in which order things happen: no step is exchanged with another one in this run.
    pub(crate) fn reduce_no_more(&self) {
        if self.reduces.swap(false, Ordering::Relaxed) {
            self.state().steps_taken = None;
        }
    }
}
