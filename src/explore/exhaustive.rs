//! Every run with no deviation, then every run with one, then with two, up to a bound; each run once.
//!
//! The children of a scenario are the deviations that lie after its last one, taken from its own recorded choices.
//! That names each run exactly once even though a deviation changes which choices come later. Leaves are never
//! stored. An inner scenario is stored as its deviations (four bytes each) and a digest of its choices (four bytes);
//! when its turn comes it is run once more, uncounted, to have its choices back: and if they are others now, the code
//! under test is not deterministic.

use crate::choice::{Choice, Deviation, Kind, Label, Plan, digest};

/// How many deviations a run may have: in all, and of each kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) total: usize,
    pub(crate) crashes: usize,
    pub(crate) faults: usize,
    pub(crate) deliveries: usize,
    pub(crate) switches: usize,
    pub(crate) delays: usize,
}

impl Bounds {
    pub(crate) fn total(total: usize) -> Self {
        let all = usize::MAX;
        Self { total, crashes: all, faults: all, deliveries: all, switches: all, delays: all }
    }

    pub(super) fn of(&self, kind: Kind) -> usize {
        match kind {
            Kind::Crash => self.crashes,
            Kind::Fault => self.faults,
            Kind::Delivery => self.deliveries,
            Kind::Schedule => self.switches,
            Kind::Delay => self.delays,
        }
    }
}

/// A run that the explorer asks for.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) plan: Plan,
    /// Whether the run is a new one. Otherwise it was seen before and only its choices are wanted.
    pub(crate) judge: bool,
}

/// The scenario whose children are being run.
#[derive(Debug)]
struct Parent {
    deviations: Vec<Deviation>,
    record: Vec<Choice>,
    /// The next child: which choice, which option of it.
    at: usize,
    option: usize,
}

/// Hands out runs, fewest deviations first. After each [`Exhaustive::next`], [`Exhaustive::ran`] must be told how
/// the run went.
#[derive(Debug)]
pub(crate) struct Exhaustive {
    bounds: Bounds,
    /// How many deviations the scenarios of the frontier have.
    level: usize,
    /// Scenarios whose children are still to be run, `level` deviations each, end to end.
    frontier: Vec<Deviation>,
    digests: Vec<u32>,
    done: usize,
    /// Those for the level after.
    following: Vec<Deviation>,
    following_digests: Vec<u32>,
    parent: Option<Parent>,
    started: bool,
    handed: Option<Vec<Deviation>>,
    /// Runs handed out for judgement.
    runs: u64,
}

impl Exhaustive {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            level: 0,
            frontier: Vec::new(),
            digests: Vec::new(),
            done: 0,
            following: Vec::new(),
            following_digests: Vec::new(),
            parent: None,
            started: false,
            handed: None,
            runs: 0,
        }
    }

    /// The next run, or none when all within the bounds were handed out.
    pub(crate) fn next(&mut self) -> Option<Task> {
        if !self.started {
            self.started = true;
            return Some(self.judged(Vec::new(), None));
        }
        if let Some((deviations, label)) = self.next_child() {
            return Some(self.judged(deviations, Some(label)));
        }
        self.parent = None;
        if self.level == 0 || self.done * self.level == self.frontier.len() {
            if self.following.is_empty() {
                return None;
            }
            self.level += 1;
            self.frontier = std::mem::take(&mut self.following);
            self.digests = std::mem::take(&mut self.following_digests);
            self.done = 0;
        }
        let from = self.done * self.level;
        let deviations = self.frontier[from..from + self.level].to_vec();
        self.done += 1;
        self.handed = None;
        self.parent = Some(Parent { deviations: deviations.clone(), record: Vec::new(), at: 0, option: 0 });
        Some(Task { plan: Plan::Numbered(deviations, None), judge: false })
    }

    fn judged(&mut self, deviations: Vec<Deviation>, label: Option<Label>) -> Task {
        self.runs += 1;
        self.handed = Some(deviations.clone());
        Task { plan: Plan::Numbered(deviations, label), judge: true }
    }

    /// What the run that was handed out last met. False: it was run before, and met something else then.
    #[must_use = "a run that changes its course must not be taken for explored"]
    pub(crate) fn ran(&mut self, record: &[Choice]) -> bool {
        match self.handed.take() {
            // The root stays at hand: its children come next.
            Some(deviations) if deviations.is_empty() => {
                let record = record.to_vec();
                self.parent =
                    (self.bounds.total > 0).then_some(Parent { deviations, record, at: 0, option: 0 });
            }
            Some(deviations) => {
                if deviations.len() < self.bounds.total && self.has_children(&deviations, record) {
                    self.following.extend(deviations);
                    self.following_digests.push(digest(record));
                }
            }
            None => {
                if let Some(parent) = &mut self.parent {
                    parent.at = parent.deviations.last().map_or(0, |last| last.at() + 1);
                    parent.record = record.to_vec();
                    return self.digests[self.done - 1] == digest(record);
                }
            }
        }
        true
    }

    fn next_child(&mut self) -> Option<(Vec<Deviation>, Label)> {
        let parent = self.parent.as_mut()?;
        while let Some(choice) = parent.record.get(parent.at) {
            let options = choice.options.len().min(Deviation::MAX_OPTIONS);
            if parent.option + 1 < options
                && admits(&self.bounds, &parent.deviations, &parent.record, choice.kind)
            {
                parent.option += 1;
                let mut deviations = Vec::with_capacity(parent.deviations.len() + 1);
                deviations.extend_from_slice(&parent.deviations);
                deviations.push(Deviation::new(parent.at, parent.option));
                return Some((deviations, choice.label));
            }
            parent.at += 1;
            parent.option = 0;
        }
        None
    }

    fn has_children(&self, deviations: &[Deviation], record: &[Choice]) -> bool {
        let from = deviations.last().map_or(0, |last| last.at() + 1);
        record
            .get(from..)
            .unwrap_or_default()
            .iter()
            .any(|choice| choice.options.len() > 1 && admits(&self.bounds, deviations, record, choice.kind))
    }

    /// A number of runs that the exploration has at the least, counted from what is known now.
    pub(crate) fn at_least(&self) -> u64 {
        let children = self.parent.as_ref().map_or(0, |parent| {
            let rest = parent.record.get(parent.at..).unwrap_or_default();
            let options: usize = rest
                .iter()
                .filter(|choice| admits(&self.bounds, &parent.deviations, &parent.record, choice.kind))
                .map(|choice| choice.options.len().min(Deviation::MAX_OPTIONS) - 1)
                .sum();
            options.saturating_sub(parent.option)
        });
        let parents = match self.level {
            0 => 0,
            level => self.frontier.len() / level - self.done,
        };
        // Each stored scenario has a child, or it would not have been stored.
        self.runs + (children + parents + self.following.len() / (self.level + 1)) as u64
    }
}

/// Whether a scenario may have one more deviation of this kind.
fn admits(bounds: &Bounds, deviations: &[Deviation], record: &[Choice], kind: Kind) -> bool {
    let of_kind = deviations.iter().filter(|deviation| record[deviation.at()].kind == kind).count();
    of_kind < bounds.of(kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::{Actor, Chooser, Options, Site};

    /// Explores a made-up program and returns the deviations of every run, in order.
    fn explore(bounds: Bounds, program: impl Fn(&mut Chooser)) -> Vec<Vec<(usize, usize)>> {
        let mut explorer = Exhaustive::new(bounds);
        let mut seen = Vec::new();
        while let Some(task) = explorer.next() {
            let Plan::Numbered(deviations, _) = &task.plan else { unreachable!("numbered plans only") };
            if task.judge {
                seen.push(deviations.iter().map(|d| (d.at(), d.option())).collect());
            }
            let mut chooser = Chooser::new(task.plan);
            program(&mut chooser);
            let (record, divergence, _) = chooser.finish();
            assert_eq!(divergence, None);
            assert!(explorer.ran(&record));
        }
        assert_eq!(explorer.at_least(), seen.len() as u64);
        seen
    }

    fn choose(chooser: &mut Chooser, kind: Kind, options: u32) -> usize {
        let label = Label { actor: Actor::Test, site: Site::Attempt, point: "x" };
        chooser.choose(kind, label, Options::Counted(options))
    }

    #[test]
    fn three_choices_of_two_options() {
        // Level 0: 1. Level 1: 3. Level 2: 3 choose 2 = 3. Level 3: 1. All 2³ = 8.
        for (total, runs) in [(0, 1), (1, 4), (2, 7), (3, 8), (9, 8)] {
            let seen = explore(Bounds::total(total), |chooser| {
                for _ in 0..3 {
                    choose(chooser, Kind::Crash, 2);
                }
            });
            assert_eq!(seen.len(), runs, "{total} deviations");
            assert!(seen.is_sorted_by_key(Vec::len), "fewest first");
        }
    }

    #[test]
    fn the_last_option_is_taken_too() {
        // Two choices of 3 and 4 options: 3 · 4 = 12 runs, each pair once.
        let mut seen = explore(Bounds::total(2), |chooser| {
            choose(chooser, Kind::Fault, 3);
            choose(chooser, Kind::Fault, 4);
        });
        assert_eq!(seen.len(), 12);
        assert!(seen.contains(&vec![(0, 2), (1, 3)]));
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 12, "each run once");
    }

    #[test]
    fn a_deviation_that_changes_what_comes_later() {
        // Taken 0: nothing more. Taken 1: two more choices of 2. Runs: 1, then 1, then 2, then 1.
        let seen = explore(Bounds::total(3), |chooser| {
            if choose(chooser, Kind::Crash, 2) == 1 {
                choose(chooser, Kind::Crash, 2);
                choose(chooser, Kind::Crash, 2);
            }
        });
        assert_eq!(
            seen,
            [vec![], vec![(0, 1)], vec![(0, 1), (1, 1)], vec![(0, 1), (2, 1)], vec![(0, 1), (1, 1), (2, 1)]]
        );
    }

    #[test]
    fn bounds_for_one_kind_lie_inside_the_total() {
        // Three crashes and one fault, two options each, at most 2 deviations: 1 + 4 + 6 = 11.
        // With at most one crash the 3 pairs of crashes fall away: 8. With none: the reference and the fault.
        let program = |chooser: &mut Chooser| {
            for kind in [Kind::Crash, Kind::Crash, Kind::Fault, Kind::Crash] {
                choose(chooser, kind, 2);
            }
        };
        for (crashes, runs) in [(2, 11), (1, 8), (0, 2)] {
            let seen = explore(Bounds { crashes, ..Bounds::total(2) }, program);
            assert_eq!(seen.len(), runs, "{crashes} crashes");
        }
    }

    #[test]
    fn a_scenario_that_meets_other_choices_the_second_time_is_found() {
        let mut explorer = Exhaustive::new(Bounds::total(2));
        let told = std::iter::from_fn(|| {
            let task = explorer.next()?;
            let again = !task.judge;
            let mut chooser = Chooser::new(task.plan);
            for _ in 0..if again { 4 } else { 3 } {
                choose(&mut chooser, Kind::Crash, 2);
            }
            Some((again, explorer.ran(chooser.record())))
        });
        let told: Vec<_> = told.take(5).collect();
        assert_eq!(told, [(false, true), (false, true), (false, true), (false, true), (true, false)]);
    }

    #[test]
    fn what_is_known_beforehand_never_exceeds_what_there_is() {
        let mut explorer = Exhaustive::new(Bounds::total(2));
        let mut known = Vec::new();
        while let Some(task) = explorer.next() {
            let mut chooser = Chooser::new(task.plan);
            for _ in 0..5 {
                choose(&mut chooser, Kind::Crash, 2);
            }
            assert!(explorer.ran(chooser.record()));
            known.push(explorer.at_least());
        }
        // 1 + 5 + 10 runs.
        assert!(known.iter().all(|&known| known <= 16), "{known:?}");
        assert!(known.is_sorted(), "{known:?}");
        assert_eq!(known.last(), Some(&16));
    }
}
