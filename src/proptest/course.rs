//! Strategies for deviations.

use std::fmt;
use std::ops::RangeInclusive;

use ::proptest::collection::{VecStrategy, VecValueTree, vec};
use ::proptest::num::{u8, u16};
use ::proptest::strategy::{NewTree, Strategy, ValueTree};
use ::proptest::test_runner::TestRunner;

use crate::judge::check::DrawnDeviations;
use crate::search::choice::Pick;

/// Deviations that were drawn before the run that has them. Each is a share of a run's length after the one before
/// it. If a run ends earlier, it does not reach the last ones.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Deviations {
    pub(super) drawn: DrawnDeviations,
}

impl Deviations {
    /// The number of deviations.
    pub fn count(&self) -> usize {
        self.drawn.others.len() + self.drawn.schedule.len()
    }
}

impl fmt::Debug for Deviations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The scenario of a run shows their places.
        write!(f, "Deviations({})", self.count())
    }
}

type Places = (u16::Any, u8::Any);
type PlacesTree = VecValueTree<<Places as Strategy>::Tree>;

/// A strategy for all deviations except preemptions: crashes, faults, deliveries, delays. It shrinks towards the
/// fault-free run: it drops deviations, then moves them earlier.
#[derive(Clone, Debug)]
pub struct Scenarios(VecStrategy<Places>);

/// A strategy for preemptions. It shrinks like [`Scenarios`].
#[derive(Clone, Debug)]
pub struct Preemptions(VecStrategy<Places>);

/// The value of [`Scenarios`] or [`Preemptions`], and its shrinking.
#[derive(Clone, Debug)]
pub struct DeviationsTree {
    places: PlacesTree,
    is_schedule: bool,
}

fn places(deviations: RangeInclusive<usize>) -> VecStrategy<Places> {
    vec((u16::ANY, u8::ANY), deviations)
}

impl Scenarios {
    /// Draws this many deviations.
    ///
    /// ```
    /// use proptest::strategy::{Strategy, ValueTree};
    /// use proptest::test_runner::TestRunner;
    /// use retryproof::proptest::Scenarios;
    ///
    /// let mut drawn = Scenarios::of(1..=3).new_tree(&mut TestRunner::deterministic()).unwrap();
    /// assert!((1..=3).contains(&drawn.current().count()));
    /// while drawn.simplify() {}
    /// assert_eq!(drawn.current().count(), 1);
    /// ```
    pub fn of(deviations: RangeInclusive<usize>) -> Self {
        Self(places(deviations))
    }
}

impl Preemptions {
    /// Draws this many preemptions.
    pub fn of(preemptions: RangeInclusive<usize>) -> Self {
        Self(places(preemptions))
    }
}

impl Strategy for Scenarios {
    type Tree = DeviationsTree;
    type Value = Deviations;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        Ok(DeviationsTree { places: self.0.new_tree(runner)?, is_schedule: false })
    }
}

impl Strategy for Preemptions {
    type Tree = DeviationsTree;
    type Value = Deviations;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        Ok(DeviationsTree { places: self.0.new_tree(runner)?, is_schedule: true })
    }
}

impl ValueTree for DeviationsTree {
    type Value = Deviations;

    fn current(&self) -> Deviations {
        let picks = self.places.current().into_iter().map(|(place, option)| Pick { place, option }).collect();
        let drawn = match self.is_schedule {
            true => DrawnDeviations { schedule: picks, others: Vec::new() },
            false => DrawnDeviations { schedule: Vec::new(), others: picks },
        };
        Deviations { drawn }
    }

    fn simplify(&mut self) -> bool {
        self.places.simplify()
    }

    fn complicate(&mut self) -> bool {
        self.places.complicate()
    }
}
