//! Past the bound: runs with a few more deviations than the exhaustive part, at random places.

use super::Bounds;
use crate::search::choice::{Choice, Dice, Plan, Random};

/// The maximum number of deviations above the bound.
const MOST_MORE: usize = 3;

/// The random runs of a seed, each with its number.
#[derive(Clone, Debug)]
pub(crate) struct RandomRuns {
    seed: u64,
    bounds: Bounds,
    spread: usize,
}

impl RandomRuns {
    /// `reference` has the choices of the run without deviations.
    pub(crate) fn new(seed: u64, bounds: Bounds, reference: &[Choice]) -> Self {
        let spread = Random::spread_of(reference, |kind| bounds.of(kind));
        Self { seed, bounds, spread }
    }

    /// The minimum and the maximum number of deviations that are drawn. A run that ends before it has reached them
    /// all has fewer.
    pub(crate) fn deviations(&self) -> (usize, usize) {
        (self.bounds.total.saturating_add(1), self.bounds.total.saturating_add(MOST_MORE))
    }

    /// Reports whether there is nothing to draw.
    pub(crate) fn is_idle(&self) -> bool {
        self.spread == 0
    }

    pub(crate) fn plan(&self, number: u64) -> Plan {
        let mut dice = Dice::new(self.seed, number * 2);
        let deviations = self.bounds.total.saturating_add(1 + dice.below(MOST_MORE));
        Plan::Random(Random::new(dice, deviations, self.spread, |kind| self.bounds.of(kind)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::search::choice::{Actor, Chooser, DeviationKind, Label, Options, Point, Site};

    /// Ten choices, and ten more for each deviation, as for another attempt.
    fn program(chooser: &mut Chooser) -> usize {
        let (mut deviations, mut left) = (0, 10);
        while left > 0 {
            let kind = if left % 2 == 0 { DeviationKind::Crash } else { DeviationKind::Fault };
            let label = Label { actor: Actor::Test, site: Site::Attempt, point: Point::Start };
            left -= 1;
            if chooser.choose(kind, label, Options::Counted(3)) > 0 {
                (deviations, left) = (deviations + 1, left + 10);
            }
        }
        deviations
    }

    fn run(plan: Plan) -> (Vec<Choice>, usize) {
        let mut chooser = Chooser::new(plan);
        let deviations = program(&mut chooser);
        let (record, divergence, _) = chooser.finish();
        assert_eq!(divergence, None);
        (record, deviations)
    }

    fn runs(seed: u64, bounds: Bounds) -> Vec<Vec<Choice>> {
        let runs = RandomRuns::new(seed, bounds, &run(Plan::ordinary()).0);
        (0..1_000).map(|number| run(runs.plan(number)).0).collect()
    }

    fn taken(record: &[Choice]) -> Vec<(usize, u32)> {
        record.iter().enumerate().filter(|(_, c)| c.taken != 0).map(|(at, c)| (at, c.taken)).collect()
    }

    #[test]
    fn a_seed_determines_the_runs() {
        assert_eq!(runs(7, Bounds::total(1)), runs(7, Bounds::total(1)));
        assert_ne!(runs(7, Bounds::total(1)), runs(8, Bounds::total(1)));
    }

    #[test]
    fn they_have_a_few_deviations_more_than_the_bound_anywhere_in_the_run() {
        let runs = runs(0, Bounds::total(2));
        let mut counts = [0; 9];
        let mut places = BTreeSet::new();
        for record in &runs {
            let taken = taken(record);
            counts[taken.len()] += 1;
            places.extend(taken);
        }
        assert_eq!((counts[0], &counts[6..]), (0, &[0, 0, 0][..]), "{counts:?}");
        // Three, four or five deviations, and rarely fewer because the run ended.
        assert!(counts[3..6].iter().all(|&count| count > 200), "{counts:?}");
        // Each of the first ten choices, each option, and places that only a run with three deviations has.
        for at in 0..10 {
            assert!(places.contains(&(at, 1)) && places.contains(&(at, 2)), "{at}: {places:?}");
        }
        assert!(places.iter().any(|&(at, _)| at >= 30), "{places:?}");
    }

    #[test]
    fn bounds_for_one_kind_hold_for_them_too() {
        for record in runs(0, Bounds { faults: 0, crashes: 1, ..Bounds::total(2) }) {
            let kinds: Vec<_> = record.iter().filter(|c| c.taken != 0).map(|c| c.kind).collect();
            assert_eq!(kinds, [DeviationKind::Crash]);
        }
    }

    #[test]
    fn each_is_named_by_its_record() {
        for record in runs(3, Bounds::total(1)) {
            assert_eq!(run(Plan::again(&record)).0, record);
        }
    }
}
