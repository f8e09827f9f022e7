//! The one-at-a-time orders of the jobs that a run allows: strict serializability (Papadimitriou, 1979; Herlihy and
//! Wing, 1990). Only jobs that overlapped may be swapped.

use std::ops::ControlFlow;

use crate::system::job::Job;

/// With more jobs than this, only one order is tried: comparing each pair of jobs would take too long.
const MOST_JOBS: usize = 200;

/// The orders of the jobs of one run. Jobs are given by their indices in the list of jobs.
#[derive(Debug)]
pub(crate) struct Orders<'j> {
    jobs: &'j [Job],
    /// The indices of the jobs in the order that the run suggests.
    suggested: Vec<usize>,
}

impl<'j> Orders<'j> {
    pub(crate) fn of(jobs: &'j [Job]) -> Self {
        let mut suggested: Vec<usize> = (0..jobs.len()).collect();
        suggested.sort_by_key(|&at| (rank(&jobs[at]), at));
        Self { jobs, suggested }
    }

    /// Whether there is more than one order.
    pub(crate) fn are_several(&self) -> bool {
        let mut visited = 0;
        let all = self.visit(|_| {
            visited += 1;
            if visited == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        !all
    }

    /// Whether the run allows this order of all jobs.
    pub(crate) fn allow(&self, order: &[usize]) -> bool {
        // No job that comes later in the order may have ended before this one began.
        let mut earliest_end = u32::MAX;
        for &at in order.iter().rev() {
            let history = &self.jobs[at].history;
            if history.began != 0 && earliest_end < history.began {
                return false;
            }
            if history.ended != 0 {
                earliest_end = earliest_end.min(history.ended);
            }
        }
        if order.len() > MOST_JOBS {
            return true;
        }
        let comes_later = |at: usize| order[at + 1..].iter().any(|&later| self.comes_first(later, order[at]));
        !(0..order.len()).any(comes_later)
    }

    /// Whether a job comes before another one in every order.
    fn comes_first(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.jobs[one], &self.jobs[other]);
        if other.parent == one.number {
            return true;
        }
        if one.history.ended == 0 {
            return false;
        }
        match other.history.began {
            // A job that never began may have become due after the other one had ended.
            0 => other.history.ended == 0 && one.history.ended_at < other.history.due,
            began => one.history.ended < began,
        }
    }

    /// Visits the orders, beginning with the one that the run suggests, until `visit` stops. If there are too many
    /// jobs, visits only that one. Returns whether all orders were visited.
    pub(crate) fn visit(&self, mut visit: impl FnMut(&[usize]) -> ControlFlow<()>) -> bool {
        if self.jobs.len() > MOST_JOBS {
            let order = self.suggested_with_parents_first();
            let history = |at: &usize| self.jobs[*at].history;
            let follows = |pair: &[usize]| {
                let (one, next) = (history(&pair[0]), history(&pair[1]));
                one.ended != 0 && one.ended < next.began
            };
            return visit(&order).is_continue() && order.windows(2).all(follows);
        }
        let count = self.jobs.len();
        let mut before = vec![0; count];
        let mut after = vec![Vec::new(); count];
        for (one, after) in after.iter_mut().enumerate() {
            after.extend((0..count).filter(|&other| other != one && self.comes_first(one, other)));
            after.iter().for_each(|&other| before[other] += 1);
        }
        let mut walk = Walk { suggested: &self.suggested, before, after, order: Vec::with_capacity(count) };
        walk.go(&mut visit).is_continue()
    }

    fn suggested_with_parents_first(&self) -> Vec<usize> {
        let mut order = Vec::with_capacity(self.jobs.len());
        let mut is_placed = vec![false; self.jobs.len()];
        for &at in &self.suggested {
            let mut chain = vec![at];
            while let Some(parent) =
                self.jobs[*chain.last().expect("it begins with one")].parent.checked_sub(1)
            {
                chain.push(parent as usize);
            }
            for at in chain.into_iter().rev() {
                if !std::mem::replace(&mut is_placed[at], true) {
                    order.push(at);
                }
            }
        }
        order
    }
}

/// Ranks jobs that ended well by their ends, and other jobs by the end of their last attempt.
fn rank(job: &Job) -> u32 {
    match (job.history.succeeded, job.history.ended) {
        (0, 0) => u32::MAX,
        (0, ended) => ended,
        (succeeded, _) => succeeded,
    }
}

/// Enumerates all orders that respect the order of jobs that did not overlap.
struct Walk<'o> {
    suggested: &'o [usize],
    /// The number of unplaced jobs that come before each job. A placed job counts itself.
    before: Vec<usize>,
    after: Vec<Vec<usize>>,
    order: Vec<usize>,
}

impl Walk<'_> {
    fn go(&mut self, visit: &mut impl FnMut(&[usize]) -> ControlFlow<()>) -> ControlFlow<()> {
        if self.order.len() == self.suggested.len() {
            return visit(&self.order);
        }
        for &next in self.suggested {
            if self.before[next] > 0 {
                continue;
            }
            self.place(next);
            self.go(visit)?;
            self.take_back(next);
        }
        ControlFlow::Continue(())
    }

    fn place(&mut self, next: usize) {
        self.order.push(next);
        self.before[next] += 1;
        for &later in &self.after[next] {
            self.before[later] -= 1;
        }
    }

    fn take_back(&mut self, last: usize) {
        self.order.pop();
        self.before[last] -= 1;
        for &later in &self.after[last] {
            self.before[later] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::system::job::History;
    use crate::system::queue::{New, Queue};

    const S: Duration = Duration::from_secs(1);

    /// Makes jobs from the times at which they began and ended, where 0 means never. `parents` are numbers of jobs.
    fn jobs(intervals: &[(u32, u32)], parents: &[u32]) -> Vec<Job> {
        let mut queue = Queue::default();
        for at in 0..intervals.len() {
            let parent = parents.get(at).copied().unwrap_or_default();
            let new = New { kind: "k", payload: String::new(), due: S, parent, stream: None, serial: None };
            queue.enqueue(new, S);
        }
        let mut jobs = queue.take_jobs();
        for (job, &(began, ended)) in jobs.iter_mut().zip(intervals) {
            job.history = History { began, ended, succeeded: ended, ended_at: S, ..job.history };
        }
        jobs
    }

    fn all(jobs: &[Job]) -> Vec<Vec<usize>> {
        let mut all = Vec::new();
        assert!(Orders::of(jobs).visit(|order| {
            all.push(order.to_vec());
            ControlFlow::Continue(())
        }));
        all
    }

    #[test]
    fn jobs_that_did_not_overlap_have_one_order() {
        assert_eq!(all(&jobs(&[(3, 4), (1, 2), (5, 6)], &[])), [[1, 0, 2]]);
    }

    #[test]
    fn jobs_that_overlapped_are_swapped_and_the_one_that_ended_first_comes_first() {
        assert_eq!(all(&jobs(&[(1, 4), (2, 3), (5, 6)], &[])), [[1, 0, 2], [0, 1, 2]]);
    }

    #[test]
    fn a_parent_comes_first_even_if_it_ends_last() {
        assert_eq!(all(&jobs(&[(1, 4), (2, 3)], &[0, 1])), [[0, 1]]);
    }

    #[test]
    fn a_job_that_was_due_later_comes_later_even_if_it_never_began() {
        let mut jobs = jobs(&[(0, 0), (1, 2)], &[]);
        jobs[0].history.due = 5 * S;
        assert_eq!(all(&jobs), [[1, 0]]);
        jobs[0].history.due = S;
        assert_eq!(all(&jobs).len(), 2);
    }

    #[test]
    fn what_is_visited_is_what_is_allowed() {
        let jobs = jobs(&[(1, 6), (2, 3), (4, 5), (7, 9), (8, 10)], &[0, 0, 2]);
        let allowed = all(&jobs);
        let mut permutations: Vec<Vec<usize>> = vec![vec![]];
        for _ in 0..jobs.len() {
            let longer = |order: &Vec<usize>| {
                let rest: Vec<_> = (0..jobs.len()).filter(|at| !order.contains(at)).collect();
                rest.into_iter().map(|next| [order.as_slice(), &[next]].concat()).collect::<Vec<_>>()
            };
            permutations = permutations.iter().flat_map(longer).collect();
        }
        let orders = Orders::of(&jobs);
        let agreeing: Vec<_> = permutations.into_iter().filter(|order| orders.allow(order)).collect();
        assert_eq!(agreeing.len(), allowed.len());
        assert!(allowed.iter().all(|order| agreeing.contains(order)));
    }
}
