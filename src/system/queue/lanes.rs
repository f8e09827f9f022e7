//! Ready jobs: a lane for each kind, and one order over all lanes.
//!
//! A worker takes the first job of the lanes that it serves. It looks only at the head of each lane, so the cost does
//! not depend on the number of jobs.

use std::collections::VecDeque;

/// The head of a lane: the kind, its first job, and the turn of that job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: &'static str,
    pub(crate) turn: u64,
    pub(crate) job: u32,
}

#[derive(Debug, Hash)]
struct Lane {
    kind: &'static str,
    /// Turn and job, in the order of their turns.
    jobs: VecDeque<(u64, u32)>,
}

/// All ready jobs.
#[derive(Debug, Default, Hash)]
pub(crate) struct Lanes {
    /// In the order in which their kinds were first seen. There are few kinds.
    lanes: Vec<Lane>,
    len: usize,
}

impl Lanes {
    fn lane(&mut self, kind: &'static str) -> &mut Lane {
        // Usually the same pointer, so no letters are compared.
        let same = |lane: &Lane| std::ptr::eq(lane.kind, kind) || lane.kind == kind;
        let at = self.lanes.iter().position(same).unwrap_or_else(|| {
            self.lanes.push(Lane { kind, jobs: VecDeque::new() });
            self.lanes.len() - 1
        });
        &mut self.lanes[at]
    }

    /// Adds a job at the back. `turn` must be greater than all others.
    pub(crate) fn push(&mut self, kind: &'static str, turn: u64, job: u32) {
        self.lane(kind).jobs.push_back((turn, job));
        self.len += 1;
    }

    /// Adds a job at the front. `turn` must be less than all others.
    pub(crate) fn push_first(&mut self, kind: &'static str, turn: u64, job: u32) {
        self.lane(kind).jobs.push_front((turn, job));
        self.len += 1;
    }

    /// Removes a job from any position. Returns false if it is not there.
    pub(crate) fn remove(&mut self, kind: &'static str, turn: u64) -> bool {
        let jobs = &mut self.lane(kind).jobs;
        let removed = match jobs.front() {
            Some(&(first, _)) if first == turn => jobs.pop_front(),
            _ => match jobs.binary_search_by_key(&turn, |&(turn, _)| turn) {
                Ok(at) => jobs.remove(at),
                Err(_) => None,
            },
        };
        self.len -= usize::from(removed.is_some());
        removed.is_some()
    }

    /// The first job of each kind.
    pub(crate) fn heads(&self) -> impl Iterator<Item = Head> + '_ {
        self.lanes
            .iter()
            .filter_map(|lane| lane.jobs.front().map(|&(turn, job)| Head { kind: lane.kind, turn, job }))
    }

    /// All ready jobs, in the order of their turns. The cost grows with the number of jobs.
    pub(crate) fn in_order(&self) -> Vec<u32> {
        let mut all: Vec<_> = self.lanes.iter().flat_map(|lane| lane.jobs.iter().copied()).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, job)| job).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_and_order() {
        let mut lanes = Lanes::default();
        for (turn, (kind, job)) in [("a", 7), ("b", 5), ("a", 9), ("a", 3)].into_iter().enumerate() {
            lanes.push(kind, turn as u64, job);
        }
        assert_eq!(lanes.in_order(), [7, 5, 9, 3]);
        let heads: Vec<_> = lanes.heads().collect();
        assert_eq!(heads, [Head { kind: "a", turn: 0, job: 7 }, Head { kind: "b", turn: 1, job: 5 }]);
        assert!(lanes.remove("a", 2) && !lanes.remove("a", 2) && lanes.remove("b", 1));
        assert_eq!((lanes.in_order(), lanes.len()), (vec![7, 3], 2));
        assert_eq!(lanes.heads().count(), 1);
        let mut lanes = Lanes::default();
        lanes.push("a", 10, 1);
        lanes.push_first("b", 9, 2);
        lanes.push_first("a", 8, 3);
        assert_eq!(lanes.in_order(), [3, 2, 1]);
        assert!(lanes.remove("a", 10) && lanes.remove("a", 8) && lanes.len() == 1);
    }
}
