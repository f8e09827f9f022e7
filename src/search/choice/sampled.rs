//! Plans that are drawn during the run, for scenarios past the exhaustive bound. The run's record has the options
//! taken, so a sampled run has a name, too.

use std::collections::BTreeMap;

use super::{Actor, Choice, Deviation, DeviationKind};

/// The number of kinds of choices.
const KINDS: usize = 5;

/// Numbers that are determined by a seed: SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The numbers of one stream of a seed.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut streams = Self(stream);
        Self(seed ^ streams.roll())
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `count`, or 0 if `count` is 0. Its bias is at most `count` in 2⁶⁴.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.roll()) * count as u128) >> 64) as usize
    }
}

/// A few deviations at random places.
///
/// Each deviation is placed among as many choices as the ordinary run has, counted from the deviation before it. A
/// deviation often adds a whole attempt, and the number of choices of the ordinary run would leave that attempt out.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    dice: Dice,
    /// Deviations still to be taken.
    left: usize,
    /// The number of choices with another option that are passed before the next deviation.
    pass: usize,
    spread: usize,
    /// For each kind, the number of deviations that are still allowed.
    budget: [usize; KINDS],
}

impl Random {
    /// Draws this many `deviations`, unless the run ends first. `spread` is the number of choices in the ordinary run
    /// that have another option.
    pub(crate) fn new(
        mut dice: Dice,
        deviations: usize,
        spread: usize,
        most: impl Fn(DeviationKind) -> usize,
    ) -> Self {
        let pass = dice.below(spread);
        let budget = DeviationKind::ALL.map(most);
        Self { dice, left: deviations, pass, spread, budget }
    }

    /// Reports whether all deviations were taken.
    pub(super) fn is_over(&self) -> bool {
        self.left == 0
    }

    pub(super) fn take(&mut self, kind: DeviationKind, options: usize) -> usize {
        let budget = &mut self.budget[kind as usize];
        if self.left == 0 || options < 2 || *budget == 0 {
            return 0;
        }
        if self.pass > 0 {
            self.pass -= 1;
            return 0;
        }
        self.left -= 1;
        *budget -= 1;
        self.pass = self.dice.below(self.spread);
        1 + self.dice.below(options.min(Deviation::MAX_OPTIONS) - 1)
    }

    /// Counts the choices of a run that have another option.
    pub(crate) fn spread_of(record: &[Choice], most: impl Fn(DeviationKind) -> usize) -> usize {
        record.iter().filter(|choice| choice.options.len() > 1 && most(choice.kind) > 0).count()
    }
}

/// A deviation that was drawn without knowledge of a run: a share of a run's length, counted from the deviation
/// before it.
#[cfg(feature = "proptest")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pick {
    /// The number of choices to pass, in units of 2⁻¹⁶ of the length of the ordinary run.
    pub(crate) place: u16,
    /// The option beyond 0, modulo the number of such options.
    pub(crate) option: u8,
}

/// Deviations that were drawn without knowledge of a run: some at choices of the next task, some at all other
/// choices.
#[cfg(feature = "proptest")]
#[derive(Clone, Debug)]
pub(crate) struct Picks {
    others: Lot,
    schedule: Lot,
    budget: [usize; KINDS],
}

#[cfg(feature = "proptest")]
#[derive(Clone, Debug)]
struct Lot {
    picks: Vec<Pick>,
    next: usize,
    passed: usize,
    spread: usize,
}

#[cfg(feature = "proptest")]
impl Lot {
    fn new(picks: &[Pick], spread: usize) -> Self {
        Self { picks: picks.to_vec(), next: 0, passed: 0, spread }
    }

    fn take(&mut self, options: usize) -> usize {
        let Some(pick) = self.picks.get(self.next) else { return 0 };
        if self.passed < (usize::from(pick.place) * self.spread) >> 16 {
            self.passed += 1;
            return 0;
        }
        (self.next, self.passed) = (self.next + 1, 0);
        1 + usize::from(pick.option) % (options.min(Deviation::MAX_OPTIONS) - 1)
    }
}

#[cfg(feature = "proptest")]
impl Picks {
    /// `reference` has the choices of the ordinary run. `most` is the maximum number of deviations of a kind.
    pub(crate) fn new(
        others: &[Pick],
        schedule: &[Pick],
        reference: &[Choice],
        most: impl Fn(DeviationKind) -> usize,
    ) -> Self {
        let spread = |is_schedule: bool| {
            Random::spread_of(reference, |kind| {
                if (kind == DeviationKind::Preemption) == is_schedule { most(kind) } else { 0 }
            })
        };
        let (others, schedule) = (Lot::new(others, spread(false)), Lot::new(schedule, spread(true)));
        let budget = DeviationKind::ALL.map(most);
        Self { others, schedule, budget }
    }

    pub(super) fn is_over(&self) -> bool {
        [&self.others, &self.schedule].iter().all(|lot| lot.next == lot.picks.len())
    }

    pub(super) fn take(&mut self, kind: DeviationKind, options: usize) -> usize {
        let budget = &mut self.budget[kind as usize];
        if options < 2 || *budget == 0 {
            return 0;
        }
        let lot = if kind == DeviationKind::Preemption { &mut self.schedule } else { &mut self.others };
        let taken = lot.take(options);
        *budget -= usize::from(taken > 0);
        taken
    }
}

/// Schedules by priority. The candidate with the highest priority runs, and at a few random steps it loses that
/// priority. If a bug needs `depth` orderings of steps, among `n` tasks with `k` steps in all, this finds it with a
/// probability of at least 1/(n·k^(depth−1)) (Burckhardt, Kothari, Musuvathi, Nagarakatte: *A Randomized Scheduler
/// with Probabilistic Guarantees of Finding Bugs*, 2010).
#[derive(Clone, Debug)]
pub(crate) struct Pct {
    dice: Dice,
    /// The priority of each task. A task draws its priority when it is first seen.
    priorities: BTreeMap<Actor, u64>,
    /// The steps at which the running task gets a new priority.
    changes: Vec<(usize, u64)>,
    step: usize,
}

impl Pct {
    /// Draws `depth − 1` changes of priority among `steps` steps.
    pub(crate) fn new(mut dice: Dice, depth: usize, steps: usize) -> Self {
        let changes = (1..depth).map(|priority| (dice.below(steps), priority as u64)).collect();
        Self { dice, priorities: BTreeMap::new(), changes, step: 0 }
    }

    /// Returns the candidate that runs next.
    pub(super) fn take(&mut self, candidates: &[Actor]) -> usize {
        // Above every priority that a change assigns.
        const FIRST: u64 = 1 << 63;
        let candidates = &candidates[..candidates.len().min(Deviation::MAX_OPTIONS)];
        for &task in candidates {
            let dice = &mut self.dice;
            self.priorities.entry(task).or_insert_with(|| dice.roll() | FIRST);
        }
        for at in 0..self.changes.len() {
            let (step, priority) = self.changes[at];
            if step == self.step {
                let falls = candidates[self.highest(candidates)];
                self.priorities.insert(falls, priority);
            }
        }
        self.step += 1;
        self.highest(candidates)
    }

    /// Returns the index of the candidate with the highest priority, the first one in case of a tie.
    fn highest(&self, candidates: &[Actor]) -> usize {
        let priority = |at: &usize| self.priorities[&candidates[*at]];
        (0..candidates.len()).rev().max_by_key(priority).unwrap_or(0)
    }
}
