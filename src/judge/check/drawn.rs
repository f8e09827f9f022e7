//! One scenario that somebody else has drawn, and the smallest one that fails like it.

use super::apart::text_of;
use super::inputs::Wanted;
use super::tally::Instance;
use super::{Exploration, Explore};
use crate::engine::state::Stuck;
use crate::judge::report::{Report, Verdict};
use crate::judge::run::{Body, Course, End, run};
use crate::search::choice::{Choice, Kind, Pick, Picks, Plan};
use crate::search::explore::{Bounds, Exhaustive, Share};

/// The deviations of a run, as they were drawn without it in sight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drawn {
    /// At choices of who goes on.
    pub(crate) schedule: Vec<Pick>,
    /// At all others.
    pub(crate) others: Vec<Pick>,
}

/// What became of a test body in a drawn scenario.
#[derive(Debug)]
pub(crate) enum Found {
    Fine,
    /// There is nothing in it that could go wrong: why.
    NothingTested(String),
    /// It does not come back. The report.
    Hung(Box<Report>),
    /// Something is wrong in a scenario of this size. None: it is wrong when nothing goes wrong.
    Fails(Option<Size>),
}

/// How many deviations a scenario has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    switches: usize,
    others: usize,
}

impl Size {
    fn of(record: &[Choice]) -> Self {
        let deviations = || record.iter().filter(|choice| choice.taken != 0);
        let switches = deviations().filter(|choice| choice.kind == Kind::Schedule).count();
        Self { switches, others: deviations().count() - switches }
    }

    /// The smaller of both.
    pub(crate) fn least(self, other: Self) -> Self {
        let total = |size: &Self| size.switches + size.others;
        if total(&other) < total(&self) { other } else { self }
    }

    /// Bounds within which scenarios are no larger. Where nothing but the order of tasks was to go wrong nothing else does.
    fn within(self, bounds: &Bounds) -> Bounds {
        let kind = |most: usize| most.min(self.others);
        Bounds {
            total: self.switches + self.others,
            crashes: kind(bounds.crashes),
            faults: kind(bounds.faults),
            deliveries: kind(bounds.deliveries),
            delays: kind(bounds.delays),
            switches: bounds.switches.min(self.switches),
        }
    }
}

impl Explore {
    /// Runs one drawn scenario and judges it.
    pub(crate) fn try_drawn(&self, body: &(dyn Body + Sync), test: &str, drawn: &Drawn) -> Found {
        let explore = |exploration: Exploration<'_>| exploration.try_drawn(drawn);
        let explore = || self.begin(body, test, (Share::default(), Wanted::All), explore);
        self.apart(test, body, &|report| text_of(&report), explore)
    }

    /// Whether any scenario of up to this size fails, of the first `most` of them; fewest deviations first.
    pub(crate) fn hunt(&self, body: &(dyn Body + Sync), test: &str, size: Size, most: u64) -> (bool, u64) {
        let hunt = |mut exploration: Exploration<'_>| {
            let found = exploration.reference_is_no_good().is_some() || exploration.hunt(size, most);
            (found, exploration.tally.runs)
        };
        let hunt = || self.begin(body, test, (Share::default(), Wanted::All), hunt);
        self.apart(test, body, &|report| text_of(&report), hunt)
    }

    /// The report on the smallest scenario that fails, of up to this size; or, where that cannot be found in
    /// `most` runs, on the one that was drawn, made smaller.
    pub(crate) fn explain(
        &self,
        body: &(dyn Body + Sync),
        test: &str,
        size: Option<Size>,
        (drawn, most): (&Drawn, u64),
    ) -> Report {
        let explain = |mut exploration: Exploration<'_>| match size {
            None => exploration.reference_is_no_good(),
            Some(size) => exploration.explain(size, drawn, most),
        };
        let explain = || self.begin(body, test, (Share::default(), Wanted::All), explain);
        let report = self.apart(test, body, &|report| text_of(&report), explain);
        report.unwrap_or_else(|| {
            let reason = "it failed, and when it was run once more it did not: the code under test is not deterministic";
            self.blank(test, Verdict::Nondeterministic, Some(reason.to_owned()))
        })
    }
}

impl Exploration<'_> {
    fn try_drawn(mut self, drawn: &Drawn) -> Found {
        if let Some(report) = self.reference_is_no_good() {
            return match report.verdict {
                Verdict::Stuck if self.basis.has_hung() => Found::Hung(Box::new(report)),
                Verdict::NothingTested => Found::NothingTested(report.reason.unwrap_or_default()),
                _ => Found::Fails(None),
            };
        }
        let ran = self.run(self.plan(drawn));
        self.judge(&ran);
        if let End::Stuck(stuck @ Stuck::Unresponsive { .. }) = &ran.outcome.end {
            let reason = Some(stuck.to_string());
            return Found::Hung(Box::new(self.finish(Verdict::Stuck, reason, false, 1)));
        }
        match self.tally.shows_nothing() {
            true => Found::Fine,
            false => Found::Fails(Some(Size::of(&ran.record))),
        }
    }

    fn plan(&self, drawn: &Drawn) -> Plan {
        let bounds = &self.basis.settings.bounds;
        let reference = &self.basis.reference.record;
        Plan::Picked(Picks::new(&drawn.others, &drawn.schedule, reference, |kind| bounds.of(kind)))
    }

    /// Runs scenarios, fewest deviations first, until one shows something.
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

    fn explain(&mut self, size: Size, drawn: &Drawn, most: u64) -> Option<Report> {
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
