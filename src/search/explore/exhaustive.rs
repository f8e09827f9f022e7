//! Every run without deviations, then every run with one, then with two, up to a bound. Each run is run once.
//!
//! The children of a scenario are the deviations after its last one, taken from its own recorded choices. This names
//! each run exactly once even though a deviation changes which choices come later. Leaves are never stored. An inner
//! scenario is stored as its deviations (four bytes each) and a digest of its choices (four bytes). When its turn
//! comes, it is run once more, uncounted, to recover its choices. If the choices now differ, the code under test is
//! not deterministic.
//!
//! In small explorations that go deep nearly every scenario has children, so each would be run twice. There the
//! choices of scenarios with more than one deviation are kept as long as there is room.

mod pieces;

use super::Share;
use super::parent::{Bounds, Parent, admits};
use crate::search::choice::{Choice, Deviation, DeviationKind, Label, Plan, Point, digest};
pub(crate) use pieces::PieceCursor;

/// The number of choices that are kept so that their scenarios need not be run again: about a megabyte.
const ROOM: usize = 1 << 14;

/// A run that the explorer asks for.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) plan: Plan,
    /// Whether the run is new. If false, it was seen before, and only its choices are wanted.
    pub(crate) judge: bool,
}

/// Hands out runs, those with the fewest deviations first. After each [`Exhaustive::next`], the caller must report
/// the run with [`Exhaustive::ran`].
#[derive(Debug)]
pub(crate) struct Exhaustive {
    bounds: Bounds,
    /// The share of the runs with one deviation that are run here, with all their descendants.
    share: Share,
    /// Whether this is a piece of another exploration. A piece ends where the level ends.
    is_piece: bool,
    /// The number of deviations of the scenarios in the frontier.
    level: usize,
    /// The scenarios whose children are not yet run, `level` deviations each, end to end.
    frontier: Vec<Deviation>,
    digests: Vec<u32>,
    done: usize,
    /// The choices of the scenarios for which there is room. Such a scenario has no digest. `None` after the scenario
    /// had its turn.
    records: Vec<Option<Vec<Choice>>>,
    /// The same for the next level.
    following: Vec<Deviation>,
    following_digests: Vec<u32>,
    following_records: Vec<Option<Vec<Choice>>>,
    /// The number of choices for which there is still room.
    room: usize,
    /// Whether runs that are equivalent to others are skipped, and the number of runs that were.
    reduces: bool,
    reduced: u64,
    parent: Option<Parent>,
    started: bool,
    /// Whether the current level is the last one, and whether another level would have followed.
    holds: bool,
    held: bool,
    handed: Option<Vec<Deviation>>,
    /// The number of runs handed out for judgment.
    runs: u64,
    /// The number of those that belong to earlier levels.
    runs_before: u64,
    /// The average number of children of a scenario in the level before.
    children_before: u64,
}

impl Exhaustive {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            share: Share::default(),
            is_piece: false,
            level: 0,
            frontier: Vec::new(),
            digests: Vec::new(),
            done: 0,
            records: Vec::new(),
            following: Vec::new(),
            following_digests: Vec::new(),
            following_records: Vec::new(),
            room: ROOM,
            reduces: false,
            reduced: 0,
            parent: None,
            started: false,
            holds: false,
            held: false,
            handed: None,
            runs: 0,
            runs_before: 0,
            children_before: 0,
        }
    }

    /// Restricts the exploration to a share of the runs.
    pub(crate) fn sharing(self, share: Share) -> Self {
        Self { share, ..self }
    }

    /// Sets whether equivalent runs are skipped.
    pub(crate) fn reducing(self, reduces: bool) -> Self {
        Self { reduces, ..self }
    }

    /// Makes the current level the last one.
    pub(crate) fn hold(&mut self) {
        self.holds = true;
    }

    /// The number of deviations of the runs in the current level.
    pub(crate) fn deviations(&self) -> usize {
        self.level + 1
    }

    /// The number of deviations of the last runs, if [`Exhaustive::hold`] prevented further runs.
    pub(crate) fn held_at(&self) -> Option<usize> {
        self.held.then_some(self.level + 1)
    }

    /// The number of runs that were skipped as equivalent to others, not counting their descendants.
    pub(crate) fn reduced(&self) -> u64 {
        self.reduced
    }

    /// Reports whether the children of this level's scenarios have no children themselves and may be equivalent to
    /// each other.
    fn goes_backwards(&self) -> bool {
        self.reduces && self.level > 0 && self.level + 1 == self.bounds.total
    }

    /// Declares that the last run had the same outcome as the runs with the same deviation at these choices instead.
    pub(crate) fn equivalents(&mut self, equivalents: &[usize]) {
        let (Some(handed), Some(parent)) = (&self.handed, &mut self.parent) else { return };
        let (Some(last), Some(_)) = (handed.last(), parent.backwards_to) else { return };
        let is_schedule = |at: &&usize| {
            let choice = parent.record.get(**at);
            choice.is_some_and(|choice| {
                choice.kind == DeviationKind::Preemption && choice.label.point == Point::Next
            })
        };
        let equivalents: Vec<_> =
            equivalents.iter().filter(is_schedule).map(|at| Deviation::new(*at, last.option())).collect();
        parent.equivalents.extend(equivalents);
    }

    /// Returns the next run, or `None` when all runs within the bounds were handed out.
    pub(crate) fn next(&mut self) -> Option<Task> {
        if !self.started {
            self.started = true;
            return Some(self.judged(Vec::new(), None));
        }
        loop {
            if let Some((deviations, label)) = self.next_child() {
                return Some(self.judged(deviations, Some(label)));
            }
            // The caller that puts a piece back asks the piece's parent for its progress.
            if self.parents_left() == 0 && (self.is_piece || !self.deepen()) {
                return None;
            }
            let from = self.done * self.level;
            let deviations = self.frontier[from..from + self.level].to_vec();
            let record = self.records.get_mut(self.done).and_then(Option::take);
            self.done += 1;
            self.handed = None;
            let Some(record) = record else {
                self.parent = Some(Parent::new(deviations.clone(), Vec::new()));
                return Some(Task { plan: Plan::Numbered(deviations, None), judge: false });
            };
            self.room += record.len();
            let mut parent = Parent::new(deviations, record);
            parent.begin(self.goes_backwards());
            self.parent = Some(parent);
        }
    }

    /// The number of scenarios in the frontier that did not yet have their turn.
    fn parents_left(&self) -> usize {
        match self.level {
            0 => 0,
            level => self.frontier.len() / level - self.done,
        }
    }

    /// Goes on to the runs with one more deviation, if there are any.
    fn deepen(&mut self) -> bool {
        if self.following.is_empty() {
            return false;
        }
        if self.holds {
            self.held = true;
            return false;
        }
        self.parent = None;
        self.children_before = self.average_children();
        self.runs_before = self.runs;
        self.level += 1;
        self.frontier = std::mem::take(&mut self.following);
        self.digests = std::mem::take(&mut self.following_digests);
        self.records = std::mem::take(&mut self.following_records);
        self.done = 0;
        true
    }

    fn judged(&mut self, deviations: Vec<Deviation>, label: Option<Label>) -> Task {
        self.runs += 1;
        self.handed = Some(deviations.clone());
        Task { plan: Plan::Numbered(deviations, label), judge: true }
    }

    /// Records the choices of the last run. Returns false if the run was run before and had other choices then.
    #[must_use = "a run that changes its course must not be taken for explored"]
    pub(crate) fn ran(&mut self, record: &[Choice]) -> bool {
        match self.handed.take() {
            // The root is kept: its children come next.
            Some(deviations) if deviations.is_empty() => {
                self.parent = (self.bounds.total > 0).then(|| Parent::new(deviations, record.to_vec()));
            }
            Some(deviations) => {
                if deviations.len() < self.bounds.total && self.has_children(&deviations, record) {
                    // Scenarios with one deviation are always run again, to check that every code under test, however
                    // small, repeats itself.
                    let kept = deviations.len() > 1 && !self.is_piece && record.len() <= self.room;
                    self.room -= if kept { record.len() } else { 0 };
                    self.following.extend(deviations);
                    self.following_digests.push(if kept { 0 } else { digest(record) });
                    self.following_records.push(kept.then(|| record.to_vec()));
                }
            }
            None => {
                let backwards = self.goes_backwards();
                if let Some(parent) = &mut self.parent {
                    parent.record = record.to_vec();
                    parent.begin(backwards);
                    return self.digests[self.done - 1] == digest(record);
                }
            }
        }
        true
    }

    fn next_child(&mut self) -> Option<(Vec<Deviation>, Label)> {
        let parent = self.parent.as_mut()?;
        loop {
            if parent.left == 0 {
                return None;
            }
            let number = parent.children;
            let (last, label) = match parent.backwards_to {
                Some(to) => parent.next_backwards(&self.bounds, to, &mut self.reduced)?,
                None => parent.next(&self.bounds)?,
            };
            parent.left -= 1;
            if parent.deviations.is_empty() && !self.share.has(number) {
                continue;
            }
            let mut deviations = Vec::with_capacity(parent.deviations.len() + 1);
            deviations.extend_from_slice(&parent.deviations);
            deviations.push(last);
            return Some((deviations, label));
        }
    }

    /// Skips the children of the last run from this choice on.
    pub(crate) fn skip_from(&mut self, record: &[Choice], from: usize) {
        let Some(deviations) = self.handed.as_ref().filter(|handed| handed.len() < self.bounds.total) else {
            return;
        };
        let options = |choice: &Choice| choice.options.len().min(Deviation::MAX_OPTIONS) as u64 - 1;
        let admitted = |choice: &&Choice| admits(&self.bounds, deviations, record, choice.kind);
        self.reduced += record[from..].iter().filter(admitted).map(options).sum::<u64>();
    }

    fn has_children(&self, deviations: &[Deviation], record: &[Choice]) -> bool {
        let from = deviations.last().map_or(0, |last| last.at() + 1);
        record
            .get(from..)
            .unwrap_or_default()
            .iter()
            .any(|choice| choice.options.len() > 1 && admits(&self.bounds, deviations, record, choice.kind))
    }

    /// A lower bound for the number of runs of the exploration, as far as is known now.
    pub(crate) fn at_least(&self) -> u64 {
        let children = self.parent.as_ref().map_or(0, |parent| {
            let to_come = parent.to_come(&self.bounds);
            match parent.deviations.is_empty() {
                true => self.share.count(parent.children..parent.children + to_come),
                false => to_come,
            }
        });
        // Each stored scenario has a child. Otherwise it would not have been stored.
        let stored = self.parents_left() + self.following.len() / (self.level + 1);
        self.runs + children + stored as u64
    }

    /// An estimate of the number of runs. It assumes that the stored scenarios have as many children as those of this
    /// level that already had their turn.
    pub(crate) fn expected(&self) -> u64 {
        let stored = (self.parents_left() + self.following.len() / (self.level + 1)) as u64;
        self.at_least() + stored * self.average_children().saturating_sub(1)
    }

    fn average_children(&self) -> u64 {
        match (self.level, self.done) {
            (0, _) => self.runs - 1,
            (_, 0) => self.children_before,
            (_, done) => (self.runs - self.runs_before) / done as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::choice::{Actor, Chooser, Options, Point, Site};

    /// Explores a made-up program and returns the deviations of every run, in order.
    fn explore(bounds: Bounds, program: impl Fn(&mut Chooser)) -> Runs {
        let mut explorer = Exhaustive::new(bounds);
        let seen = run_to_the_end(&mut explorer, program);
        assert_eq!(explorer.at_least(), seen.len() as u64);
        seen
    }

    fn choose(chooser: &mut Chooser, kind: DeviationKind, options: u32) -> usize {
        let label = Label { actor: Actor::Test, site: Site::Attempt, point: Point::Start };
        chooser.choose(kind, label, Options::Counted(options))
    }

    #[test]
    fn three_choices_of_two_options() {
        // Level 0: 1. Level 1: 3. Level 2: 3 choose 2 = 3. Level 3: 1. All 2³ = 8.
        for (total, runs) in [(0, 1), (1, 4), (2, 7), (3, 8), (9, 8)] {
            let seen = explore(Bounds::total(total), |chooser| {
                for _ in 0..3 {
                    choose(chooser, DeviationKind::Crash, 2);
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
            choose(chooser, DeviationKind::Fault, 3);
            choose(chooser, DeviationKind::Fault, 4);
        });
        assert_eq!(seen.len(), 12);
        assert!(seen.contains(&vec![(0, 2), (1, 3)]));
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 12, "each run once");
    }

    #[test]
    fn after_hold_the_level_is_finished_and_no_other_one_begun() {
        let mut explorer = Exhaustive::new(Bounds::total(3));
        let mut seen = Vec::new();
        while let Some(task) = explorer.next() {
            let mut chooser = Chooser::new(task.plan.clone());
            for _ in 0..3 {
                choose(&mut chooser, DeviationKind::Crash, 2);
            }
            let (record, _, plan) = chooser.finish();
            assert!(explorer.ran(&record));
            seen.push(plan.deviations());
            if seen.len() == 2 {
                explorer.hold();
            }
        }
        assert_eq!((seen, explorer.held_at()), (vec![0, 1, 1, 1], Some(1)));
    }

    #[test]
    fn a_deviation_that_changes_what_comes_later() {
        // Option 0 leads to no more choices. Option 1 leads to two more choices with 2 options. Runs: 1, then 1, then
        // 2, then 1.
        let seen = explore(Bounds::total(3), |chooser| {
            if choose(chooser, DeviationKind::Crash, 2) == 1 {
                choose(chooser, DeviationKind::Crash, 2);
                choose(chooser, DeviationKind::Crash, 2);
            }
        });
        assert_eq!(
            seen,
            [vec![], vec![(0, 1)], vec![(0, 1), (1, 1)], vec![(0, 1), (2, 1)], vec![(0, 1), (1, 1), (2, 1)]]
        );
    }

    #[test]
    fn bounds_for_one_kind_lie_inside_the_total() {
        // Three crashes and one fault, two options each, at most 2 deviations: 1 + 4 + 6 = 11. With at most one crash
        // the 3 pairs of crashes are gone: 8. With no crash, only the reference run and the fault are left.
        let program = |chooser: &mut Chooser| {
            for kind in
                [DeviationKind::Crash, DeviationKind::Crash, DeviationKind::Fault, DeviationKind::Crash]
            {
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
                choose(&mut chooser, DeviationKind::Crash, 2);
            }
            Some((again, explorer.ran(chooser.record())))
        });
        let told: Vec<_> = told.take(5).collect();
        assert_eq!(told, [(false, true), (false, true), (false, true), (false, true), (true, false)]);
    }

    /// A program whose course depends on the options taken: some branches are longer, some offer other kinds.
    fn crooked(chooser: &mut Chooser) {
        for turn in 0..4 {
            match choose(chooser, DeviationKind::Crash, 2 + turn) {
                1 => (0..3).for_each(|_| _ = choose(chooser, DeviationKind::Fault, 3)),
                2 => _ = choose(chooser, DeviationKind::Delivery, 2),
                _ => {}
            }
        }
    }

    type Runs = Vec<Vec<(usize, usize)>>;

    fn run_to_the_end(explorer: &mut Exhaustive, program: impl Fn(&mut Chooser)) -> Runs {
        let mut runs = Vec::new();
        while let Some(task) = explorer.next() {
            let Plan::Numbered(deviations, _) = &task.plan else { unreachable!("numbered plans only") };
            if task.judge {
                runs.push(deviations.iter().map(|d| (d.at(), d.option())).collect());
            }
            let mut chooser = Chooser::new(task.plan);
            program(&mut chooser);
            let (record, divergence, _) = chooser.finish();
            assert_eq!(divergence, None);
            assert!(explorer.ran(&record));
        }
        runs
    }

    /// Explores in pieces, and runs the last piece first. After `levels` levels it continues without pieces.
    fn in_pieces(bounds: Bounds, share: Share, size: usize, levels: usize) -> (Runs, u64) {
        let mut explorer = Exhaustive::new(bounds).sharing(share);
        let mut chooser = Chooser::new(explorer.next().unwrap().plan);
        crooked(&mut chooser);
        assert!(explorer.ran(chooser.record()));
        let mut seen = vec![vec![]];
        for _ in 0..levels {
            let mut ahead = explorer.ahead();
            let all = explorer.left(&ahead);
            let mut pieces = Vec::new();
            while let Some(piece) = explorer.piece(&mut ahead, size) {
                pieces.push(piece);
            }
            assert_eq!((pieces.len(), explorer.left(&ahead)), (all.div_ceil(size), 0));
            let mut runs: Vec<_> =
                pieces.iter_mut().rev().map(|piece| run_to_the_end(piece, crooked)).collect();
            runs.reverse();
            seen.extend(runs.concat());
            pieces.into_iter().for_each(|piece| explorer.put_back(piece));
            if !explorer.next_level() {
                break;
            }
        }
        seen.extend(run_to_the_end(&mut explorer, crooked));
        (seen, explorer.at_least())
    }

    #[test]
    fn in_pieces_the_same_runs_come_in_the_same_order() {
        for bounds in [Bounds::total(1), Bounds::total(2), Bounds { faults: 1, ..Bounds::total(3) }] {
            let whole = explore(bounds.clone(), crooked);
            for (size, levels) in [(1, 9), (2, 9), (3, 1), (7, 2), (1_000, 9), (4, 0)] {
                let (pieces, at_least) = in_pieces(bounds.clone(), Share::default(), size, levels);
                assert_eq!(pieces, whole, "{size} at a time");
                assert_eq!(at_least, whole.len() as u64);
            }
        }
    }

    #[test]
    fn an_explorer_goes_on_where_its_pieces_were_put_back() {
        let whole = explore(Bounds::total(2), crooked);
        let mut explorer = Exhaustive::new(Bounds::total(2));
        let mut chooser = Chooser::new(explorer.next().unwrap().plan);
        crooked(&mut chooser);
        assert!(explorer.ran(chooser.record()));
        let mut seen = vec![vec![]];
        let mut ahead = explorer.ahead();
        for _ in 0..2 {
            let mut piece = explorer.piece(&mut ahead, 3).unwrap();
            seen.extend(run_to_the_end(&mut piece, crooked));
            explorer.put_back(piece);
        }
        let lost = explorer.piece(&mut ahead, 3);
        assert!(lost.is_some(), "a piece that is never put back");
        seen.extend(run_to_the_end(&mut explorer, crooked));
        assert_eq!(seen, whole);
    }

    #[test]
    fn shards_are_disjoint_and_together_complete() {
        for bounds in [Bounds::total(1), Bounds::total(3)] {
            let mut whole = explore(bounds.clone(), crooked);
            whole.sort();
            for of in [1, 2, 3, 5, 100] {
                let mut together: Runs = Vec::new();
                for number in 1..=of {
                    let share = Share::new(number, of).unwrap();
                    let mut explorer = Exhaustive::new(bounds.clone()).sharing(share);
                    let runs = run_to_the_end(&mut explorer, crooked);
                    assert_eq!(explorer.at_least(), runs.len() as u64);
                    assert_eq!(in_pieces(bounds.clone(), share, 2, 9).0, runs, "shard {share} in pieces");
                    assert_eq!(runs[0], [], "each has the reference run, to compare with");
                    together.extend_from_slice(&runs[1..]);
                }
                together.push(vec![]);
                together.sort();
                assert_eq!(together, whole, "{of} shards: each run in one of them, and only once");
            }
        }
    }

    #[test]
    fn what_is_known_beforehand_never_exceeds_what_there_is() {
        let mut explorer = Exhaustive::new(Bounds::total(2));
        let mut known = Vec::new();
        while let Some(task) = explorer.next() {
            let mut chooser = Chooser::new(task.plan);
            for _ in 0..5 {
                choose(&mut chooser, DeviationKind::Crash, 2);
            }
            assert!(explorer.ran(chooser.record()));
            known.push(explorer.at_least());
        }
        // 1 + 5 + 10 runs.
        assert!(known.iter().all(|&known| known <= 16), "{known:?}");
        assert!(known.is_sorted(), "{known:?}");
        assert_eq!(known.last(), Some(&16));
        assert_eq!(explorer.expected(), 16, "nothing is left to be guessed");
    }
}
