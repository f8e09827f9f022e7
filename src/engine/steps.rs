//! The steps of a run, and the things that each of them touched. Of two orders of independent steps only one need be
//! explored further.
//!
//! # Why that loses nothing
//!
//! Let the last deviation of a scenario be the preemption of a task T that could have continued. Let `t` be the step
//! with which T continues later, and `s` all steps of other tasks in between. If `t` touches nothing that `s` writes,
//! and writes nothing that `s` touches, then `t` could also come before `s`. That is the run in which T was preempted
//! one step later (or not at all, if it had reached a wait there). That run has no more deviations, takes the
//! scheduler's default once more, and from the step after `t` on it is the same as this run, choice by choice. So
//! deviations of this run after `t` need not be explored, because they are equivalent to deviations of that run. Each
//! such exchange makes the order of steps smaller by the scheduler's own measure, and there are finitely many orders.
//! So every skipped run is equivalent to one that is explored, within the same bound.
//!
//! A run that may have no more deviations can be skipped altogether if it is equivalent to the run that was preempted
//! one step later. So these are explored from the last choice to the first.
//!
//! Sleep sets, and partial-order reduction as it works without a bound, would lose outcomes here. They skip a run in
//! favor of one that may need more preemptions than allowed (Coons, Musuvathi and McKinley, 2013). Runs with
//! deviations between the preemption and the end of `t` are never skipped, because there the two runs differ.

use crate::search::choice::{Choice, Name};
use crate::system::clock::TaskId;

/// A thing that a step touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// All things: such a step depends on every other step.
    Everything,
    Service(Name),
    /// A row of the store, by a digest of its key.
    Row(u64),
    /// All rows, and the transactions and connections of the store.
    Rows,
    /// A durable value.
    Value(Name),
    /// The jobs and their states.
    Queue,
    /// The timers. Timers of the same time fire in the order in which they were set.
    Timers,
}

#[derive(Clone, Copy, Debug)]
struct Access {
    thing: Resource,
    writes: bool,
}

impl Access {
    fn collides(&self, other: &Self) -> bool {
        match (self.thing, other.thing) {
            (Resource::Everything, _) | (_, Resource::Everything) => true,
            _ if !self.writes && !other.writes => false,
            (Resource::Row(_), Resource::Rows) | (Resource::Rows, Resource::Row(_)) => true,
            (one, other) => one == other,
        }
    }
}

/// The span from one point at which another task could run to the next.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// The task of the step, or `None` for the executor itself.
    task: Option<TaskId>,
    /// The number of choices that had been drawn when it began.
    choices: usize,
    /// The index of the first thing that it touched.
    touched: usize,
}

/// The steps of a run.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    steps: Vec<Step>,
    touched: Vec<Access>,
    /// The choices at which a task that could have continued was preempted, and the task.
    preempted: Vec<(usize, TaskId)>,
    /// The number of wakes when the current step began.
    wakes: usize,
}

impl Steps {
    /// A step begins after this number of choices and wakes.
    pub(crate) fn begin(&mut self, task: Option<TaskId>, choices: usize, wakes: usize) {
        // A woken task joins the queue behind others, so the order of wakes matters.
        if wakes != std::mem::replace(&mut self.wakes, wakes) {
            self.touch(Resource::Everything, true);
        }
        self.steps.push(Step { task, choices, touched: self.touched.len() });
    }

    pub(crate) fn touch(&mut self, thing: Resource, writes: bool) {
        self.touched.push(Access { thing, writes });
    }

    /// Records that this task was preempted at the last of `choices` choices.
    pub(crate) fn preempt(&mut self, choices: usize, task: TaskId) {
        self.preempted.push((choices - 1, task));
        // The preempted task is woken immediately to keep its place. That wake does not belong to a step.
        self.wakes += 1;
    }

    fn touched_by(&self, step: usize) -> &[Access] {
        let to = self.steps.get(step + 1).map_or(self.touched.len(), |next| next.touched);
        &self.touched[self.steps[step].touched..to]
    }

    /// If the last deviation, at this choice, preempted a task: the earlier choices at which the same deviation has
    /// the same outcome, because the task's steps from there on are independent of the steps that came before it
    /// continued.
    pub(crate) fn equivalents(&self, last_deviation: usize) -> Vec<usize> {
        let mut equivalents = Vec::new();
        let preempted =
            self.preempted.iter().find(|(at, _)| *at == last_deviation).map(|(_, task)| Some(*task));
        let first = self.steps.iter().position(|step| step.choices > last_deviation);
        let (Some(preempted), Some(first)) = (preempted, first) else { return equivalents };
        let goes_on = self.steps[first..].iter().position(|step| step.task == preempted);
        let back = goes_on.map_or(self.touched.len(), |back| self.steps[first + back].touched);
        let between = &self.touched[self.steps[first].touched..back];
        if between.iter().any(|touch| touch.thing == Resource::Everything) {
            return equivalents;
        }
        let mut own = first - 1;
        while own > 0 && self.steps[own].task == preempted && self.steps[own - 1].task == preempted {
            let meets = |own: &Access| between.iter().any(|one| one.collides(own));
            if self.touched_by(own).iter().any(|own| own.thing == Resource::Everything || meets(own)) {
                break;
            }
            equivalents.push(self.steps[own].choices - 1);
            own -= 1;
        }
        equivalents
    }

    /// The number of choices after which deviations can be skipped because they are equivalent to those of another
    /// run. This is so if the last deviation, at this choice, preempted a task whose next step is independent of the
    /// steps before it.
    pub(crate) fn same_from(&self, last_deviation: usize) -> Option<usize> {
        let (_, preempted) = *self.preempted.iter().find(|(at, _)| *at == last_deviation)?;
        let first = self.steps.iter().position(|step| step.choices > last_deviation)?;
        let back = first + self.steps[first..].iter().position(|step| step.task == Some(preempted))?;
        let mut between = self.touched[self.steps[first].touched..self.steps[back].touched].iter();
        let next = self.touched_by(back);
        let is_alone = !next.iter().any(|touch| touch.thing == Resource::Everything)
            && between.all(|one| {
                one.thing != Resource::Everything && !next.iter().any(|other| one.collides(other))
            });
        let after = self.steps.get(back + 1).filter(|_| is_alone)?;
        Some(after.choices)
    }
}

/// The equivalences of a run.
#[derive(Debug, Default)]
pub(crate) struct Equivalence {
    /// All deviations from this choice on are equivalent to others.
    pub(crate) from: Option<usize>,
    /// The run itself is equivalent to the runs with the last deviation at one of these choices.
    pub(crate) equivalents: Vec<usize>,
}

impl Equivalence {
    pub(crate) fn of(steps: &Steps, record: &[Choice]) -> Self {
        match record.iter().rposition(|choice| choice.taken != 0) {
            Some(last) => Self { from: steps.same_from(last), equivalents: steps.equivalents(last) },
            None => Self::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: TaskId = TaskId { slot: 0, turn: 1 };
    const OTHER: TaskId = TaskId { slot: 1, turn: 2 };

    /// A task is preempted at choice 1, between two of its steps. Then comes a step of the other task, then two more
    /// of its own.
    fn run(others: &[(Resource, bool)], before: &[(Resource, bool)], after: &[(Resource, bool)]) -> Steps {
        let mut steps = Steps::default();
        let touch = |steps: &mut Steps, all: &[(Resource, bool)]| {
            all.iter().for_each(|(thing, writes)| steps.touch(*thing, *writes));
        };
        steps.begin(Some(ONE), 0, 0);
        steps.begin(Some(ONE), 1, 0);
        touch(&mut steps, before);
        steps.preempt(2, ONE);
        steps.begin(Some(OTHER), 2, 1);
        touch(&mut steps, others);
        steps.begin(Some(ONE), 3, 1);
        touch(&mut steps, after);
        steps.begin(Some(ONE), 6, 1);
        steps
    }

    /// The results for the step before and for the step after, separately: whether it could also have come later or
    /// earlier.
    fn steps(others: &[(Resource, bool)], own: &[(Resource, bool)]) -> (Vec<usize>, Option<usize>) {
        (run(others, own, &[]).equivalents(1), run(others, &[], own).same_from(1))
    }

    #[test]
    fn steps_that_have_nothing_to_do_with_each_other() {
        let (row, rows) = (Resource::Row, Resource::Rows);
        for (others, own) in [
            ((row(1), true), (row(2), true)),
            ((row(1), false), (row(1), false)),
            ((Resource::Queue, true), (rows, true)),
        ] {
            assert_eq!(steps(&[others], &[own]), (vec![0], Some(6)), "{others:?} and {own:?}");
        }
        assert_eq!(steps(&[], &[]), (vec![0], Some(6)));
    }

    #[test]
    fn steps_that_have() {
        let (row, rows) = (Resource::Row, Resource::Rows);
        for (others, own) in [
            ((row(1), true), (row(1), false)),
            ((row(1), false), (row(1), true)),
            ((row(1), true), (rows, false)),
            ((rows, true), (row(1), false)),
            ((Resource::Timers, true), (Resource::Timers, true)),
            ((Resource::Everything, true), (row(1), false)),
            ((row(1), false), (Resource::Everything, true)),
        ] {
            assert_eq!(steps(&[others], &[own]), (vec![], None), "{others:?} and {own:?}");
        }
        assert_eq!(steps(&[(Resource::Everything, true)], &[]), (vec![], None));
        assert_eq!(steps(&[], &[(Resource::Everything, true)]), (vec![], None));
    }

    #[test]
    fn whoever_wakes_somebody_has_to_do_with_all() {
        for wakes in [[0, 2, 2, 2], [0, 1, 2, 2], [0, 1, 1, 2]] {
            let mut steps = Steps::default();
            steps.begin(Some(ONE), 0, 0);
            steps.begin(Some(ONE), 1, wakes[0]);
            steps.preempt(2, ONE);
            steps.begin(Some(OTHER), 2, wakes[1]);
            steps.begin(Some(ONE), 3, wakes[2]);
            steps.begin(Some(ONE), 6, wakes[3]);
            // The step before, the other task's step, the step after.
            assert_eq!(steps.equivalents(1).is_empty(), wakes[2] == 2, "{wakes:?}");
            assert_eq!(steps.same_from(1).is_none(), wakes[1] == 1, "{wakes:?}");
        }
    }

    #[test]
    fn nothing_is_known_of_other_deviations() {
        let mut steps = Steps::default();
        steps.begin(Some(ONE), 0, 0);
        steps.begin(Some(OTHER), 1, 0);
        steps.begin(Some(ONE), 2, 0);
        steps.begin(Some(ONE), 3, 0);
        assert_eq!(steps.same_from(0), None);
    }
}
