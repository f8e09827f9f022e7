//! Decides which task runs if there are several.
//!
//! Delay bounding (Emmi, Qadeer and Rakamarić, 2011): there is one deterministic order of tasks, and each departure
//! from it is a deviation. In that order a task runs for as long as it can, then the next task that was woken, then
//! the next job that is ready. If another one could run instead, a choice of
//! [`DeviationKind::Preemption`](crate::search::choice::DeviationKind) is drawn.

use super::Executor;
use super::task::Task;
use crate::engine::state::{Overtaking, StrideChecks};
use crate::search::choice::Actor;
use crate::system::clock::TaskId;
use crate::system::job::Delivery;

/// The next task to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextTurn {
    /// A task that has not ended.
    Task(TaskId),
    /// A job that is ready, in a process with a free slot.
    Begin { job: u32, host: usize },
}

impl Executor {
    /// Reports whether the next task is a choice.
    pub(super) fn may_switch(&self) -> bool {
        self.shared.state().may_switch()
    }

    /// Reports whether a task could have continued and was held up. What such a task still does counts, even if the
    /// others have reached their goal.
    pub(super) fn is_anybody_held_up(&self) -> bool {
        let stands_still = |task: &Task| task.stalled_until.is_some();
        self.may_switch() && (self.shared.woken.any() || self.tasks.iter().flatten().any(stands_still))
    }

    /// The conditions to check between two steps of a task.
    pub(super) fn look_at(&self, task: &Task) -> StrideChecks {
        let switching = self.may_switch();
        let state = self.shared.state();
        let leased = task.job().filter(|&(job, _)| switching && state.delivery(job) == Delivery::AtLeastOnce);
        let overtaking = leased.map_or(Overtaking::Never, |(job, _)| match self.host_for(&state, job) {
            Some(_) => Overtaking::Possible,
            None => Overtaking::ByCopy(self.original_of(task.host)),
        });
        StrideChecks { watched: !self.invariants.is_empty(), switching, overtaking }
    }

    /// Called after a step that the task could follow with another. Returns whether it does. Otherwise it waits for
    /// its turn.
    pub(super) fn goes_on(&mut self, task: &Task, look: StrideChecks) -> bool {
        if self.resuming || self.shared.externals.have_progress() {
            task.waker.wake_by_ref();
            return false;
        }
        if !look.switching {
            return true;
        }
        match self.whose_turn(Some((task.id, task.actor()))) {
            Some(NextTurn::Task(next)) if next == task.id => true,
            other => {
                self.chosen = other;
                task.waker.wake_by_ref();
                false
            }
        }
    }

    /// Decides which task runs: `running` if it can, or the task that was woken first, or the next job that is ready.
    pub(super) fn whose_turn(&mut self, running: Option<(TaskId, Actor)>) -> Option<NextTurn> {
        let mut turns = std::mem::take(&mut self.candidates);
        turns.clear();
        turns.extend(running.map(|(id, _)| NextTurn::Task(id)));
        let now = self.shared.state().clock.now();
        // A stalled task is woken when the stall is over. Until then nothing else wakes it.
        let can_go_on = |task: &Task| task.stalled_until.is_none_or(|until| until <= now);
        let mut stood_still = false;
        self.shared.woken.retain(|id| match self.task(id).filter(|task| can_go_on(task)) {
            Some(task) => {
                match task.stalled_until {
                    None => turns.push(NextTurn::Task(id)),
                    Some(_) => stood_still = true,
                }
                true
            }
            None => false,
        });
        self.add_startable(&mut turns);
        if stood_still {
            // Their leases are over, and other workers have their jobs, which come first.
            let stood_still = |id| self.task(id).is_some_and(|task| task.stalled_until.is_some());
            self.shared.woken.each(|id| turns.extend(stood_still(id).then_some(NextTurn::Task(id))));
        }
        let taken = match turns[..] {
            [] | [_] => 0,
            _ => {
                let mut actors = std::mem::take(&mut self.actors);
                actors.clear();
                actors.extend(running.map(|(_, actor)| actor));
                actors.extend(turns[actors.len()..].iter().map(|turn| self.actor_of(*turn)));
                let mut state = self.shared.state();
                let taken = state.switch(&actors);
                if let (1.., Some((preempted, _))) = (taken, running) {
                    let choices = state.search.choices().len();
                    state.steps_taken.iter_mut().for_each(|steps| steps.preempt(choices, preempted));
                }
                drop(state);
                self.actors = actors;
                taken
            }
        };
        let turn = turns.get(taken).copied();
        self.candidates = turns;
        turn
    }

    /// Runs the task that has the turn.
    pub(super) fn give(&mut self, turn: NextTurn) {
        match turn {
            NextTurn::Task(id) => {
                self.shared.woken.retain(|woken| woken != id);
                self.run(id);
            }
            NextTurn::Begin { job, host } => {
                let host = self.taker_of(job, host);
                self.shared.state().queue.take(job);
                self.begin(job, host);
            }
        }
    }

    fn task(&self, id: TaskId) -> Option<&Task> {
        self.tasks.get(id.slot as usize)?.as_ref().filter(|task| task.id == id)
    }

    fn actor_of(&self, turn: NextTurn) -> Actor {
        match turn {
            NextTurn::Task(id) => self.task(id).map_or(Actor::Test, Task::actor),
            NextTurn::Begin { job, .. } => self.shared.state().attempt_to_come(job),
        }
    }

    /// The ready jobs that could begin now, the next one first, up to the number of free slots.
    fn add_startable(&mut self, turns: &mut Vec<NextTurn>) {
        self.copy_for_overtaken();
        let Some((first, host)) = self.next(None, false) else { return };
        turns.push(NextTurn::Begin { job: first, host });
        let state = self.shared.state();
        if state.queue.ready_count() == 1 {
            return;
        }
        let mut free: Vec<_> = self.hosts.iter().map(super::ProcessSlot::free_slots).collect();
        free[host] -= 1;
        for job in state.queue.ready().into_iter().filter(|job| *job != first) {
            let Some(host) = self.host_with(&state, job, |host| free[host] > 0) else {
                continue;
            };
            free[host] -= 1;
            turns.push(NextTurn::Begin { job, host });
        }
    }
}
