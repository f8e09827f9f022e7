//! Runs a scenario that was drawn elsewhere, and finds the smallest one that fails like it.

use super::apart::text_of;
use super::inputs::AssignmentChoice;
use super::tally::Instance;
use super::{Exploration, Explore};
use crate::engine::state::Stuck;
use crate::judge::report::{Report, Verdict};
use crate::judge::run::{Body, Course, End, run};
use crate::search::choice::{Choice, DeviationKind, Pick, Picks, Plan};
use crate::search::explore::{Bounds, Exhaustive, Share};

/// The deviations of a run, drawn without knowledge of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DrawnDeviations {
    /// Deviations at choices between tasks.
    pub(crate) schedule: Vec<Pick>,
    /// Deviations at all other choices.
    pub(crate) others: Vec<Pick>,
}

/// The outcome of a test body in a drawn scenario.
#[derive(Debug)]
pub(crate) enum DrawnOutcome {
    Fine,
    /// Nothing can go wrong in the test body, for this reason.
    NothingTested(String),
    /// It hangs. This is the report.
    Hung(Box<Report>),
    /// A scenario of this size fails. `None` if the fault-free run fails.
    Fails(Option<Size>),
}

/// The number of deviations of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    preemptions: usize,
    others: usize,
}

impl Size {
    fn of(record: &[Choice]) -> Self {
        let deviations = || record.iter().filter(|choice| choice.taken != 0);
        let preemptions = deviations().filter(|choice| choice.kind == DeviationKind::Preemption).count();
        Self { preemptions, others: deviations().count() - preemptions }
    }

    /// Returns the smaller of both sizes.
    pub(crate) fn least(self, other: Self) -> Self {
        let total = |size: &Self| size.preemptions + size.others;
        if total(&other) < total(&self) { other } else { self }
    }

    /// Returns bounds that allow no larger scenarios. A scenario with preemptions only allows no other deviations.
    fn within(self, bounds: &Bounds) -> Bounds {
        let kind = |most: usize| most.min(self.others);
        Bounds {
            total: self.preemptions + self.others,
            crashes: kind(bounds.crashes),
            faults: kind(bounds.faults),
            deliveries: kind(bounds.deliveries),
            delays: kind(bounds.delays),
            preemptions: bounds.preemptions.min(self.preemptions),
        }
    }
}

impl Explore {
    /// Runs one drawn scenario and judges it.
    pub(crate) fn try_drawn(
        &self,
        body: &(dyn Body + Sync),
        test: &str,
        drawn: &DrawnDeviations,
    ) -> DrawnOutcome {
        let explore = |exploration: Exploration<'_>| exploration.try_drawn(drawn);
        let explore = || self.begin(body, test, (Share::default(), AssignmentChoice::All), explore);
        self.apart(test, body, &|report| text_of(&report), explore)
    }

    /// Runs the first `most` scenarios up to this size, fewest deviations first, and returns whether one fails.
    pub(crate) fn hunt(&self, body: &(dyn Body + Sync), test: &str, size: Size, most: u64) -> (bool, u64) {
        let hunt = |mut exploration: Exploration<'_>| {
            let found = exploration.reference_is_no_good().is_some() || exploration.hunt(size, most);
            (found, exploration.tally.runs)
        };
        let hunt = || self.begin(body, test, (Share::default(), AssignmentChoice::All), hunt);
        self.apart(test, body, &|report| text_of(&report), hunt)
    }

    /// Returns the report on the smallest failing scenario up to this size. If `most` runs do not find it, the report
    /// is on the drawn scenario after shrinking.
    pub(crate) fn explain(
        &self,
        body: &(dyn Body + Sync),
        test: &str,
        size: Option<Size>,
        (drawn, most): (&DrawnDeviations, u64),
    ) -> Report {
        let explain = |mut exploration: Exploration<'_>| match size {
            None => exploration.reference_is_no_good(),
            Some(size) => exploration.explain(size, drawn, most),
        };
        let explain = || self.begin(body, test, (Share::default(), AssignmentChoice::All), explain);
        let report = self.apart(test, body, &|report| text_of(&report), explain);
        report.unwrap_or_else(|| {
            let reason =
                "it failed, but did not fail when it was run again: the code under test is not deterministic";
            self.blank(test, Verdict::Nondeterministic, Some(reason.to_owned()))
        })
    }
}

impl Exploration<'_> {
    fn try_drawn(mut self, drawn: &DrawnDeviations) -> DrawnOutcome {
        if let Some(report) = self.reference_is_no_good() {
            return match report.verdict {
                Verdict::Stuck if self.basis.has_hung() => DrawnOutcome::Hung(Box::new(report)),
                Verdict::NothingTested => DrawnOutcome::NothingTested(report.reason.unwrap_or_default()),
                _ => DrawnOutcome::Fails(None),
            };
        }
        let ran = self.run(self.plan(drawn));
        self.judge(&ran);
        if let End::Stuck(stuck @ Stuck::Unresponsive { .. }) = &ran.outcome.end {
            let reason = Some(stuck.to_string());
            return DrawnOutcome::Hung(Box::new(self.finish(Verdict::Stuck, reason, false, 1)));
        }
        match self.tally.shows_nothing() {
            true => DrawnOutcome::Fine,
            false => DrawnOutcome::Fails(Some(Size::of(&ran.record))),
        }
    }

    fn plan(&self, drawn: &DrawnDeviations) -> Plan {
        let bounds = &self.basis.settings.bounds;
        let reference = &self.basis.reference.record;
        Plan::Picked(Picks::new(&drawn.others, &drawn.schedule, reference, |kind| bounds.of(kind)))
    }

    /// Runs scenarios, fewest deviations first, until one fails.
    fn hunt(&mut self, size: Size, most: u64) -> bool {
        let mut explorer = Exhaustive::new(size.within(&self.basis.settings.bounds));
        let _ = explorer.next();
        let _ = explorer.ran(&self.basis.reference.record);
        while let Some(task) = explorer.next() {
            if self.tally.runs >= most {
                return false;
            }
            let ran = run(self.basis.body, Course::plain(task.plan), &self.ground);
            if ran.divergence.is_some() || !explorer.ran(&ran.record) {
                return false;
            }
            if task.judge {
                self.judge(&ran);
            }
            self.ground.record.replace(ran.record);
            if !self.tally.shows_nothing() {
                return true;
            }
        }
        false
    }

    fn explain(&mut self, size: Size, drawn: &DrawnDeviations, most: u64) -> Option<Report> {
        if let Some(report) = self.reference_is_no_good() {
            return Some(report);
        }
        if !self.hunt(size, most) {
            let ran = self.run(self.plan(drawn));
            self.judge(&ran);
            for group in std::mem::take(&mut self.tally.groups) {
                let group = self.smaller(group);
                self.tally.groups.push(group);
            }
        }
        let runs = self.tally.runs;
        let verdict = match (self.tally.only_stuck(), &self.tally.groups[..], &self.tally.poisoned) {
            (Some(stuck), ..) => (Verdict::Stuck, Some(stuck)),
            (None, [_, ..], _) => (Verdict::Violated, None),
            (None, [], Some(Instance { reason, .. })) => {
                (Verdict::Incomplete, Some(crate::judge::report::notes::poisoned(reason)))
            }
            (None, [], None) => return None,
        };
        Some(self.finish(verdict.0, verdict.1, false, runs))
    }
}
