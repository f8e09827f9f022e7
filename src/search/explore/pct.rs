//! Past the bound: schedules by random priorities, which find a bug of a known depth with a known probability.

use crate::search::choice::{Choice, DeviationKind, Dice, Pct, Plan};

/// The schedules of a seed, each with its number.
#[derive(Clone, Debug)]
pub(crate) struct PctRuns {
    seed: u64,
    depth: usize,
    steps: usize,
}

impl PctRuns {
    /// `depth` is the number of orderings of steps that the bug needs. `reference` has the choices of the run without
    /// deviations.
    pub(crate) fn new(seed: u64, depth: usize, reference: &[Choice]) -> Self {
        Self { seed, depth, steps: steps(reference) }
    }

    /// Takes into account the choices of one of the runs, which may have more steps than the run without deviations.
    pub(crate) fn measured(self, record: &[Choice]) -> Self {
        Self { steps: self.steps.max(steps(record)), ..self }
    }

    /// Reports whether there is nothing to schedule.
    pub(crate) fn is_idle(&self) -> bool {
        self.steps == 0
    }

    pub(crate) fn plan(&self, number: u64) -> Plan {
        Plan::Pct(Pct::new(Dice::new(self.seed, number * 2 + 1), self.depth, self.steps))
    }
}

fn steps(record: &[Choice]) -> usize {
    record.iter().filter(|choice| choice.kind == DeviationKind::Preemption).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::choice::{Actor, Chooser, Label, Options, Point, Site};

    /// Runs tasks with the given numbers of steps under a chooser, and returns the task of each step, in order.
    fn interleave(chooser: &mut Chooser, tasks: &[usize]) -> Vec<u32> {
        let mut left = tasks.to_vec();
        let (mut order, mut goes_on) = (Vec::new(), 0);
        loop {
            let all = (0..tasks.len()).map(|task| (goes_on + task) % tasks.len());
            let candidates: Vec<usize> = all.filter(|&task| left[task] > 0).collect();
            let taken = match candidates.len() {
                0 => return order,
                1 => 0,
                _ => {
                    let actor = |&task: &usize| Actor::Attempt { job: task as u32, attempt: 1 };
                    let actors: Vec<_> = candidates.iter().map(actor).collect();
                    chooser.choose_task(
                        Label { actor: actors[0], site: Site::Attempt, point: Point::Next },
                        &actors,
                    )
                }
            };
            goes_on = candidates[taken];
            left[goes_on] -= 1;
            order.push(goes_on as u32);
        }
    }

    fn run(plan: Plan, tasks: &[usize]) -> (Vec<u32>, Vec<Choice>) {
        let mut chooser = Chooser::new(plan);
        let order = interleave(&mut chooser, tasks);
        let (record, divergence, _) = chooser.finish();
        assert_eq!(divergence, None);
        (order, record)
    }

    /// Counts in how many of `runs` schedules the order of the steps is a bug.
    fn hits(depth: usize, runs: u64, tasks: &[usize], bug: impl Fn(&[u32]) -> bool) -> u64 {
        let first = PctRuns::new(0, depth, &run(Plan::ordinary(), tasks).1);
        let pct = first.clone().measured(&run(first.plan(0), tasks).1);
        (0..runs).filter(|&number| bug(&run(pct.plan(number), tasks).0)).count() as u64
    }

    /// The position of a task's step in the order, both counted from 0.
    fn place(order: &[u32], task: u32, step: usize) -> usize {
        order.iter().enumerate().filter(|(_, t)| **t == task).nth(step).unwrap().0
    }

    const RUNS: u64 = 20_000;

    #[test]
    fn a_bug_of_depth_one_is_found_as_often_as_the_bound_says() {
        // The last of four tasks begins before all others. The chance is exactly 1/n.
        let found = hits(1, RUNS, &[5; 4], |order| order[0] == 3);
        assert!((RUNS / 4 - 300..RUNS / 4 + 300).contains(&found), "{found} of {RUNS}");
        assert_eq!(
            hits(1, RUNS, &[5; 4], |order| order[..2] == [3, 0]),
            0,
            "without a change nobody is preempted"
        );
    }

    #[test]
    fn a_bug_of_depth_two_is_found_as_often_as_the_bound_says() {
        // The whole second task comes between the third and the fourth step of the first task: one ordering before,
        // one after. Three tasks, fifteen steps.
        let bug = |order: &[u32]| {
            place(order, 0, 2) < place(order, 1, 0) && place(order, 1, 4) < place(order, 0, 3)
        };
        let found = hits(2, RUNS, &[5; 3], bug);
        assert!(found >= RUNS / (3 * 15), "{found} of {RUNS}");
        assert_eq!(hits(1, RUNS, &[5; 3], bug), 0, "no bug of depth one");
    }

    #[test]
    fn a_bug_of_depth_three_is_found_as_often_as_the_bound_says() {
        // The first task is held up after its second step until two steps of the second task are done. The second
        // task then waits until the first one has ended.
        let bug = |order: &[u32]| {
            let is_before = |a, i, b, j| place(order, a, i) < place(order, b, j);
            is_before(0, 1, 1, 0) && is_before(1, 1, 0, 2) && is_before(0, 4, 1, 2)
        };
        let found = hits(3, RUNS, &[5; 2], bug);
        assert!(found >= RUNS / (2 * 10 * 10), "{found} of {RUNS}");
        assert_eq!(hits(2, RUNS, &[5; 2], bug), 0, "no bug of depth two");
    }

    #[test]
    fn a_schedule_is_named_by_its_record_and_determined_by_its_number() {
        let pct = PctRuns::new(5, 3, &run(Plan::ordinary(), &[4; 3]).1);
        let orders: Vec<_> = (0..100).map(|number| run(pct.plan(number), &[4; 3])).collect();
        for (number, (order, record)) in (0..).zip(&orders) {
            assert_eq!(run(Plan::again(record), &[4; 3]), (order.clone(), record.clone()));
            assert_eq!(run(pct.plan(number), &[4; 3]).0, *order);
        }
        assert!(orders.iter().any(|(order, _)| *order != orders[0].0));
    }

    #[test]
    fn other_choices_stay_as_they_are() {
        let mut chooser = Chooser::new(PctRuns::new(0, 9, &run(Plan::ordinary(), &[4; 3]).1).plan(1));
        let label = Label { actor: Actor::Test, site: Site::Attempt, point: Point::Start };
        assert!((0..99).all(|_| chooser.choose(DeviationKind::Crash, label, Options::Counted(2)) == 0));
    }
}
