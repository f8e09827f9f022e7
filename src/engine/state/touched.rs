//! The things that the current step touches, if equivalent orders of independent steps are explored only once.

use std::sync::atomic::Ordering;

use super::{Shared, State, WakeQueue};
use crate::engine::steps::Resource;
use crate::system::clock::TaskId;

impl State {
    /// The current step touches something.
    #[inline]
    pub(crate) fn touch(&mut self, thing: Resource, writes: bool) {
        if let Some(steps) = &mut self.steps_taken {
            steps.touch(thing, writes);
        }
    }

    /// A step begins: of a task, or of the executor itself.
    #[inline]
    pub(crate) fn begin_step(&mut self, task: Option<TaskId>, woken: &WakeQueue) {
        if let Some(steps) = &mut self.steps_taken {
            steps.begin(task, self.search.choices().len(), woken.wakes());
        }
    }
}

impl Shared {
    /// The current step touches something. Does nothing if touches are not recorded.
    pub(crate) fn touch(&self, thing: Resource, writes: bool) {
        if self.reduces.load(Ordering::Relaxed) {
            self.state().touch(thing, writes);
        }
    }

    /// Reports whether touches are recorded.
    pub(crate) fn reduces(&self) -> bool {
        self.reduces.load(Ordering::Relaxed)
    }

    /// The executor does something that cannot be reordered with any step.
    pub(crate) fn barrier(&self) {
        if self.reduces.load(Ordering::Relaxed) {
            let mut state = self.state();
            state.begin_step(None, &self.woken);
            state.touch(Resource::Everything, true);
        }
    }

    /// The order matters from here on, so no step of this run is considered independent.
    pub(crate) fn reduce_no_more(&self) {
        if self.reduces.swap(false, Ordering::Relaxed) {
            self.state().steps_taken = None;
        }
    }
}
