//! Judges runs and sorts what is wrong with them by what went wrong.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Exploration, poisoned};
use crate::judge::oracle::Finding;
use crate::judge::report::{Met, Mishap, Severity};
use crate::judge::run::{End, Outcome, Ran};
use crate::search::choice::{Kind, Plan};
use crate::system::hygiene::Hygiene;
use crate::system::job::short_kind;

/// Runs in which the same is wrong after the same had gone wrong.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) subject: String,
    /// What went wrong, in its order.
    pub(super) mishaps: Vec<Mishap>,
    pub(super) finding: Finding,
    /// On which inputs, and which of these are not the ordinary ones.
    pub(super) case: usize,
    pub(super) inputs: Arc<[String]>,
    /// The first of the runs.
    pub(super) plan: Plan,
    pub(super) runs: u64,
}

/// A run that is told of, and why.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    /// On which inputs.
    pub(super) case: usize,
    pub(super) plan: Plan,
    pub(super) reason: String,
}

/// Two jobs that came in another order than in the reference run, and what that has changed.
#[derive(Clone, Debug)]
pub(super) struct Swap {
    pub(super) before: String,
    pub(super) after: String,
    pub(super) difference: String,
    pub(super) runs: u64,
}

/// What runs have shown, in the order in which they stand.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) runs: u64,
    /// The inputs of the run that is sorted.
    pub(super) case: usize,
    pub(super) inputs: Arc<[String]>,
    /// Runs on other inputs, as far as it is known how many there are.
    pub(super) beyond: u64,
    pub(super) merged: u64,
    /// Runs that were left out as equal to another one, not counting what would have come of them.
    pub(super) reduced: u64,
    pub(super) violated: u64,
    pub(super) groups: Vec<Group>,
    /// Of a part of the runs, to be added to what came before.
    is_part: bool,
    /// A run in which a lock of the standard library was poisoned by a crash, and what the job said.
    pub(super) poisoned: Option<Instance>,
    /// What any of the runs did that is asking for trouble.
    pub(super) hygiene: BTreeSet<Hygiene>,
    /// Where something could go wrong in runs in which something did, where the ratchet asks for it.
    pub(super) met: Met,
    /// How many orders of its jobs were tried at the most for a run of which there are more and none fits, and how many
    /// such runs there are.
    pub(super) undecided: Option<u64>,
    pub(super) undecided_runs: u64,
    /// Runs that were accepted in another order of their jobs, and that did not end as the reference run.
    pub(super) swaps: Vec<Swap>,
    /// Whether more could go on at once in any of the runs than a choice has options.
    pub(super) crowded: bool,
}

impl Tally {
    /// The fault-free runs of so many cases are there already.
    pub(super) fn of_references(cases: usize) -> Self {
        Self { runs: cases as u64, ..Self::default() }
    }

    /// Of some runs, to be added to that of those before them.
    pub(super) fn of_part() -> Self {
        Self { is_part: true, ..Self::default() }
    }

    pub(super) fn is_part(&self) -> bool {
        self.is_part
    }

    /// Whether nothing was found that would be told.
    pub(super) fn shows_nothing(&self) -> bool {
        self.groups.is_empty() && self.poisoned.is_none()
    }

    /// Whether a run has failed.
    pub(super) fn has_found(&self) -> bool {
        !self.groups.is_empty()
    }

    /// What the first run said that could go no further, if that is all that is wrong.
    pub(super) fn only_stuck(&self) -> Option<String> {
        let mut stuck = self.groups.iter().map(|group| match &group.finding {
            Finding::Stuck(stuck) => Some(stuck.to_string()),
            _ => None,
        });
        let first = stuck.next()??;
        stuck.all(|stuck| stuck.is_some()).then_some(first)
    }

    /// The place of the group that a finding belongs to: that after the same mishaps; else that after fewer of them, since
    /// it would be there without the others. On other inputs it is another one, unless it is the very same finding.
    pub(super) fn known(&self, finding: &Finding, inputs: &[String], mishaps: &[Mishap]) -> Option<usize> {
        let subject = finding.subject();
        let has_them =
            |group: &Group| *group.inputs == *inputs || group.finding.content() == finding.content();
        let is_about = |group: &Group| group.subject == subject && has_them(group);
        let about = || self.groups.iter().enumerate().filter(|(_, group)| is_about(group));
        let exact = about().find(|(_, group)| group.mishaps == mishaps);
        let fewer = || {
            // What a part of the runs shows is attributed when it is added to all that came before.
            let mut fewer = about().filter(|(_, group)| {
                let is_fewer = group.mishaps.len() < mishaps.len();
                is_fewer && group.mishaps.iter().all(|mishap| mishaps.contains(mishap))
            });
            if self.is_part { None } else { fewer.next() }
        };
        exact.or_else(fewer).map(|(at, _)| at)
    }

    /// Takes over what was found about orders.
    pub(super) fn take_orders(&mut self, other: &Self) {
        self.undecided = self.undecided.max(other.undecided);
        self.undecided_runs += other.undecided_runs;
        other.swaps.iter().cloned().for_each(|swap| self.swap(swap));
    }

    pub(super) fn swap(&mut self, swap: Swap) {
        let is_known = |known: &&mut Swap| {
            (&known.before, &known.after, &known.difference) == (&swap.before, &swap.after, &swap.difference)
        };
        match self.swaps.iter_mut().find(is_known) {
            Some(known) => known.runs += swap.runs,
            None => self.swaps.push(swap),
        }
    }

    fn add(&mut self, group: Group) {
        match self.known(&group.finding, &group.inputs, &group.mishaps) {
            Some(known) => self.groups[known].runs += group.runs,
            None => self.groups.push(group),
        }
    }

    /// Sorts what is wrong with one run.
    pub(super) fn sort(&mut self, findings: Vec<Finding>, mishaps: &[Mishap], plan: impl Fn() -> Plan) {
        self.violated += 1;
        let mut subjects: Vec<String> = Vec::new();
        for finding in findings {
            let subject = finding.subject();
            // Of several like it in one run the first stands for all.
            if subjects.contains(&subject) {
                continue;
            }
            match self.known(&finding, &self.inputs, mishaps) {
                Some(known) => self.groups[known].runs += 1,
                None => {
                    let (subject, mishaps, plan) = (subject.clone(), mishaps.to_vec(), plan());
                    let (case, inputs) = (self.case, self.inputs.clone());
                    self.groups.push(Group { subject, mishaps, finding, case, inputs, plan, runs: 1 });
                }
            }
            subjects.push(subject);
        }
    }

    /// The groups, the worst first; of those as bad, fewest deviations first; of those, what one job brings upon itself
    /// before what takes two attempts or workers at once. Otherwise as they were found.
    pub(super) fn take_groups(&mut self) -> Vec<Group> {
        let mut groups = std::mem::take(&mut self.groups);
        groups.sort_by_key(|group| {
            let plainness = group.mishaps.iter().map(|mishap| plainness(mishap.kind)).max();
            (Severity::of(&group.finding), group.plan.deviations(), plainness)
        });
        groups
    }

    /// Adds that of the runs that come next. The same comes of it as if they had been judged here, one by one.
    pub(super) fn append(&mut self, next: Self) {
        debug_assert!(next.is_part, "groups that were merged cannot be told apart again");
        self.take_orders(&next);
        self.runs += next.runs;
        self.merged += next.merged;
        self.violated += next.violated;
        next.groups.into_iter().for_each(|group| self.add(group));
        self.poisoned = self.poisoned.take().or(next.poisoned);
        self.hygiene.extend(next.hygiene);
        self.met.append(next.met);
        self.crowded |= next.crowded;
    }
}

/// How hard it is to see what a deviation does: the smaller the plainer.
fn plainness(kind: Kind) -> u8 {
    match kind {
        Kind::Crash | Kind::Fault => 0,
        Kind::Schedule => 1,
        Kind::Delivery | Kind::Delay => 2,
    }
}

/// The kind of the job of a number.
pub(super) fn kind_of(outcome: &Outcome) -> impl Fn(u32) -> &'static str + '_ {
    |number| {
        let job = outcome.jobs.iter().find(|job| job.number == number);
        job.map_or("?", |job| short_kind(job.kind))
    }
}

/// What went wrong in a run.
pub(super) fn mishaps(ran: &Ran) -> Vec<Mishap> {
    Mishap::all(&ran.record, &ran.outcome.jobs, ran.outcome.record.deviated_at())
}

/// A plan by which the run can be run once more.
fn replayable(ran: &Ran) -> Plan {
    match &ran.plan {
        plan @ (Plan::Numbered(..) | Plan::Wanted(_)) => plan.clone(),
        _ => Plan::again(&ran.record),
    }
}

impl Exploration<'_> {
    /// Judges a run and sorts what is wrong with it by what went wrong.
    pub(super) fn judge(&mut self, ran: &Ran) {
        self.tally.runs += 1;
        self.tally.case = self.basis.number;
        self.tally.inputs.clone_from(&self.basis.unusual);
        let case = self.basis.number;
        self.look_at_hygiene(&ran.outcome);
        self.tally.crowded |= ran.outcome.record.is_crowded();
        if self.basis.settings.ratchet {
            self.tally.met.add(&ran.record, kind_of(&ran.outcome));
        }
        if let End::Stuck(stuck) = &ran.outcome.end {
            self.sort(vec![Finding::Stuck(stuck.clone())], ran);
            return;
        }
        // What a poisoned lock makes of a job after a crash is no bug of the job, and no proof that it has none.
        let crashed = ran.record.iter().any(|choice| choice.kind == Kind::Crash && choice.taken != 0);
        if let Some(error) = poisoned(&ran.outcome).filter(|_| crashed) {
            let (plan, reason) = (replayable(ran), error.to_owned());
            self.tally.poisoned.get_or_insert(Instance { case, plan, reason });
            return;
        }
        let undecided = self.tally.undecided.take();
        self.is_judging = true;
        let findings = self.findings(&ran.outcome);
        self.is_judging = false;
        self.tally.undecided_runs += u64::from(self.tally.undecided.is_some());
        self.tally.undecided = self.tally.undecided.max(undecided);
        if !findings.is_empty() {
            self.sort(findings, ran);
        }
    }

    fn sort(&mut self, findings: Vec<Finding>, ran: &Ran) {
        let mishaps = mishaps(ran);
        self.tally.sort(findings, &mishaps, || replayable(ran));
    }
}
