//! A scenario and the deviations that come after its last one: its children.

use crate::search::choice::{Choice, Deviation, DeviationKind, Label};

/// The maximum number of deviations of a run: in all, and of each kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) total: usize,
    pub(crate) crashes: usize,
    pub(crate) faults: usize,
    pub(crate) deliveries: usize,
    pub(crate) preemptions: usize,
    pub(crate) delays: usize,
}

impl Bounds {
    pub(crate) fn total(total: usize) -> Self {
        let all = usize::MAX;
        Self { total, crashes: all, faults: all, deliveries: all, preemptions: all, delays: all }
    }

    pub(crate) fn of(&self, kind: DeviationKind) -> usize {
        match kind {
            DeviationKind::Crash => self.crashes,
            DeviationKind::Fault => self.faults,
            DeviationKind::Delivery => self.deliveries,
            DeviationKind::Preemption => self.preemptions,
            DeviationKind::Delay => self.delays,
        }
    }
}

/// The scenario whose children are being run.
#[derive(Clone, Debug)]
pub(super) struct Parent {
    pub(super) deviations: Vec<Deviation>,
    pub(super) record: Vec<Choice>,
    /// The next child: its choice, and the option of that choice.
    pub(super) at: usize,
    pub(super) option: usize,
    /// The number of children so far, including those of other shards.
    pub(super) children: u64,
    /// The number of children that may still be run.
    pub(super) left: usize,
    /// If set, the children are run from the last one back to this choice. A later child may show that earlier ones
    /// are equivalent to it.
    pub(super) backwards_to: Option<usize>,
    /// The deviations that are equivalent to one that was run.
    pub(super) equivalents: Vec<Deviation>,
}

impl Parent {
    pub(super) fn new(deviations: Vec<Deviation>, record: Vec<Choice>) -> Self {
        let (left, equivalents) = (usize::MAX, Vec::new());
        Self { deviations, record, at: 0, option: 0, children: 0, left, backwards_to: None, equivalents }
    }

    /// Starts with the deviations after the scenario's last one.
    pub(super) fn begin(&mut self, backwards: bool) {
        self.at = self.deviations.last().map_or(0, |last| last.at() + 1);
        if backwards {
            self.backwards_to = Some(self.at);
            self.at = self.record.len().max(self.at);
        }
    }

    /// Like `next`, from the last child on. `left_out` counts the children that are equivalent to an earlier one.
    pub(super) fn next_backwards(
        &mut self,
        bounds: &Bounds,
        to: usize,
        left_out: &mut u64,
    ) -> Option<(Deviation, Label)> {
        while self.at > to {
            let choice = &self.record[self.at - 1];
            let options = choice.options.len().min(Deviation::MAX_OPTIONS);
            if self.option + 1 < options && admits(bounds, &self.deviations, &self.record, choice.kind) {
                self.option += 1;
                let child = Deviation::new(self.at - 1, self.option);
                if self.equivalents.contains(&child) {
                    *left_out += 1;
                    continue;
                }
                self.children += 1;
                return Some((child, choice.label));
            }
            self.at -= 1;
            self.option = 0;
        }
        None
    }

    /// The next child, regardless of which shard runs it: its last deviation and the label of that deviation.
    pub(super) fn next(&mut self, bounds: &Bounds) -> Option<(Deviation, Label)> {
        while let Some(choice) = self.record.get(self.at) {
            let options = choice.options.len().min(Deviation::MAX_OPTIONS);
            if self.option + 1 < options && admits(bounds, &self.deviations, &self.record, choice.kind) {
                self.option += 1;
                self.children += 1;
                return Some((Deviation::new(self.at, self.option), choice.label));
            }
            self.at += 1;
            self.option = 0;
        }
        None
    }

    /// The number of children still to come, regardless of which shard runs them.
    pub(super) fn to_come(&self, bounds: &Bounds) -> u64 {
        let rest = match self.backwards_to {
            Some(to) => self.record.get(to..self.at),
            None => self.record.get(self.at..),
        };
        let rest = rest.unwrap_or_default();
        let options: usize = rest
            .iter()
            .filter(|choice| admits(bounds, &self.deviations, &self.record, choice.kind))
            .map(|choice| choice.options.len().min(Deviation::MAX_OPTIONS) - 1)
            .sum();
        options.saturating_sub(self.option) as u64
    }
}

/// Reports whether a scenario may have one more deviation of this kind.
pub(super) fn admits(
    bounds: &Bounds,
    deviations: &[Deviation],
    record: &[Choice],
    kind: DeviationKind,
) -> bool {
    let of_kind = deviations.iter().filter(|deviation| record[deviation.at()].kind == kind).count();
    of_kind < bounds.of(kind)
}
