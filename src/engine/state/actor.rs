//! The current actor.

use std::sync::Arc;
use std::task::Context;

use super::{Shared, State};
use crate::search::choice::Actor;
use crate::system::clock::TaskId;

impl State {
    /// The current actor.
    #[inline]
    pub(crate) fn actor(&self) -> Actor {
        self.actor
    }

    /// Runs `code` in the name of `actor`, and restores the former actor even after a panic.
    pub(crate) fn as_actor<R>(&mut self, actor: Actor, code: impl FnOnce(&mut Self) -> R) -> R {
        struct RestoreGuard<'s>(&'s mut State, Actor);
        impl Drop for RestoreGuard<'_> {
            fn drop(&mut self) {
                self.0.actor = self.1;
            }
        }
        let former = std::mem::replace(&mut self.actor, actor);
        let former = RestoreGuard(self, former);
        code(former.0)
    }

    /// Sets an actor that no executor polls.
    #[cfg(test)]
    pub(crate) fn set_actor(&mut self, actor: Actor) {
        (self.actor, self.task) = (actor, None);
    }

    /// The executor begins to poll a task. `waker` is the address of the task's waker.
    pub(crate) fn begin_poll(&mut self, actor: Actor, task: TaskId, waker: usize) {
        (self.actor, self.task) = (actor, Some((task, waker)));
    }

    /// The executor has polled a task.
    pub(crate) fn end_poll(&mut self) {
        (self.actor, self.task) = (Actor::Test, None);
    }

    /// The current task of the executor.
    pub(crate) fn task(&self) -> Option<TaskId> {
        self.task.map(|(task, _)| task)
    }

    /// Reports whether the executor itself polls, and not other code with a waker of its own.
    pub(crate) fn is_polled_by_executor(&self, cx: &Context<'_>) -> bool {
        self.task.is_some_and(|(_, waker)| cx.waker().data().addr() == waker)
    }
}

/// Sets the actor until this is dropped. `State` must not be locked at that time.
#[must_use = "it lasts until it is dropped"]
pub(crate) struct ActorGuard {
    shared: Arc<Shared>,
    former: Actor,
}

impl Drop for ActorGuard {
    fn drop(&mut self) {
        self.shared.state().actor = self.former;
    }
}

impl Shared {
    /// Sets the actor until the returned value is dropped.
    pub(crate) fn acting(self: &Arc<Self>, actor: Actor) -> ActorGuard {
        let former = std::mem::replace(&mut self.state().actor, actor);
        ActorGuard { shared: self.clone(), former }
    }
}
