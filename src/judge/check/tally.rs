//! Judges runs, and groups findings by the deviations that lead to them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Exploration, poisoned};
use crate::judge::oracle::Finding;
use crate::judge::report::{MetPoints, Mishap, Severity};
use crate::judge::run::{End, FinishedRun, Outcome};
use crate::search::choice::{DeviationKind, Plan};
use crate::system::hygiene::Hygiene;
use crate::system::job::short_kind;

/// Runs with the same finding after the same deviations.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) subject: String,
    /// The deviations, in order.
    pub(super) mishaps: Vec<Mishap>,
    pub(super) finding: Finding,
    /// The case, which is the assignment of inputs, and the inputs that are not the first ones.
    pub(super) case: usize,
    pub(super) inputs: Arc<[String]>,
    /// The plan of the first run.
    pub(super) plan: Plan,
    pub(super) runs: u64,
}

/// A run to report, with the reason.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    /// The case, which is the assignment of inputs.
    pub(super) case: usize,
    pub(super) plan: Plan,
    pub(super) reason: String,
}

/// Two jobs that came in another order than in the reference run, and the difference that this made.
#[derive(Clone, Debug)]
pub(super) struct Swap {
    pub(super) before: String,
    pub(super) after: String,
    pub(super) difference: String,
    pub(super) runs: u64,
}

/// The findings of runs, in the order of the runs.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) runs: u64,
    /// The case of the run that is being judged.
    pub(super) case: usize,
    pub(super) inputs: Arc<[String]>,
    /// The number of runs in other cases, as far as it is known.
    pub(super) beyond: u64,
    pub(super) merged: u64,
    /// The number of runs that were skipped as equivalent, without the runs that would have followed from them.
    pub(super) reduced: u64,
    pub(super) violated: u64,
    pub(super) groups: Vec<Group>,
    /// Whether this is a part of the runs, to be appended to the earlier ones.
    is_part: bool,
    /// A run in which a crash poisoned a lock of the standard library, and the job's error.
    pub(super) poisoned: Option<Instance>,
    /// The risks that any of the runs took.
    pub(super) hygiene: BTreeSet<Hygiene>,
    /// The points that runs with deviations reached, if the ratchet needs them.
    pub(super) met: MetPoints,
    /// The largest number of job orders that were tried for a run without a match, if there are more orders, and the
    /// number of such runs.
    pub(super) undecided: Option<u64>,
    pub(super) undecided_runs: u64,
    /// Runs that were accepted in another order of their jobs, but that did not end like the reference run.
    pub(super) swaps: Vec<Swap>,
    /// The names of the threads of slots that were left behind.
    pub(super) left: BTreeSet<String>,
    /// The terms that match something in one of the runs, by their positions among those that match nothing in the
    /// fault-free runs.
    pub(super) met_terms: BTreeSet<usize>,
    /// Whether more tasks could run at once in any of the runs than a choice has options.
    pub(super) crowded: bool,
}

impl Tally {
    /// Returns a tally that counts the reference runs of this number of cases.
    pub(super) fn of_references(cases: usize) -> Self {
        Self { runs: cases as u64, ..Self::default() }
    }

    /// Returns a tally for some runs, to be appended to that of the runs before them.
    pub(super) fn of_part() -> Self {
        Self { is_part: true, ..Self::default() }
    }

    pub(super) fn is_part(&self) -> bool {
        self.is_part
    }

    /// Whether there is nothing to report.
    pub(super) fn shows_nothing(&self) -> bool {
        self.groups.is_empty() && self.poisoned.is_none()
    }

    /// Whether a run failed.
    pub(super) fn has_found(&self) -> bool {
        !self.groups.is_empty()
    }

    /// Returns the text of the first stuck run, if runs that get stuck are all that is wrong.
    pub(super) fn only_stuck(&self) -> Option<String> {
        let mut stuck = self.groups.iter().map(|group| match &group.finding {
            Finding::Stuck(stuck) => Some(stuck.to_string()),
            _ => None,
        });
        let first = stuck.next()??;
        stuck.all(|stuck| stuck.is_some()).then_some(first)
    }

    /// Returns the group that a finding belongs to: the one after the same deviations, or else one after fewer of them,
    /// because the finding does not need the others. On other inputs it belongs to another group, unless its content is
    /// the same.
    pub(super) fn known(&self, finding: &Finding, inputs: &[String], mishaps: &[Mishap]) -> Option<usize> {
        let subject = finding.subject();
        let has_them =
            |group: &Group| *group.inputs == *inputs || group.finding.content() == finding.content();
        let is_about = |group: &Group| group.subject == subject && has_them(group);
        let about = || self.groups.iter().enumerate().filter(|(_, group)| is_about(group));
        let exact = about().find(|(_, group)| group.mishaps == mishaps);
        let fewer = || {
            // A finding of a part is assigned to a group when the part is appended to all earlier runs.
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

    /// Sorts the findings of one run into groups.
    pub(super) fn sort(&mut self, findings: Vec<Finding>, mishaps: &[Mishap], plan: impl Fn() -> Plan) {
        self.violated += 1;
        let mut subjects: Vec<String> = Vec::new();
        for finding in findings {
            let subject = finding.subject();
            // The first of several similar findings in one run stands for all.
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

    /// Takes the groups, the worst first. Among equally bad groups, those with the fewest deviations come first. Among
    /// those, violations that a single job causes come before those that need two attempts or workers at once.
    pub(super) fn take_groups(&mut self) -> Vec<Group> {
        let mut groups = std::mem::take(&mut self.groups);
        groups.sort_by_key(|group| {
            let plainness = group.mishaps.iter().map(|mishap| plainness(mishap.kind)).max();
            (Severity::of(&group.finding), group.plan.deviations(), plainness)
        });
        groups
    }

    /// Appends the tally of later runs. The result is the same as if they had been judged here, one by one.
    pub(super) fn append(&mut self, next: Self) {
        debug_assert!(next.is_part, "merged groups cannot be split again");
        self.take_orders(&next);
        self.runs += next.runs;
        self.merged += next.merged;
        self.violated += next.violated;
        next.groups.into_iter().for_each(|group| self.add(group));
        self.poisoned = self.poisoned.take().or(next.poisoned);
        self.hygiene.extend(next.hygiene);
        self.met.append(next.met);
        self.crowded |= next.crowded;
        self.left.extend(next.left);
        self.met_terms.extend(next.met_terms);
    }

    /// Notes the threads that a run has left behind.
    pub(super) fn note_left(&mut self, outcome: &Outcome) {
        self.left.extend(outcome.left.iter().cloned());
    }
}

/// Ranks a kind of deviation by how easy its effect is to see. The easiest has the lowest rank.
fn plainness(kind: DeviationKind) -> u8 {
    match kind {
        DeviationKind::Crash | DeviationKind::Fault => 0,
        DeviationKind::Preemption => 1,
        DeviationKind::Delivery | DeviationKind::Delay => 2,
    }
}

/// Returns a function from the number of a job to its kind.
pub(super) fn kind_of(outcome: &Outcome) -> impl Fn(u32) -> &'static str + '_ {
    |number| {
        let job = outcome.jobs.iter().find(|job| job.number == number);
        job.map_or("?", |job| short_kind(job.kind))
    }
}

/// Returns the deviations of a run.
pub(super) fn mishaps(ran: &FinishedRun) -> Vec<Mishap> {
    Mishap::all(&ran.record, &ran.outcome.jobs, ran.outcome.record.deviated_at())
}

/// Returns a plan that runs the same run again.
fn replayable(ran: &FinishedRun) -> Plan {
    match &ran.plan {
        plan @ (Plan::Numbered(..) | Plan::Wanted(_)) => plan.clone(),
        _ => Plan::again(&ran.record),
    }
}

impl Exploration<'_> {
    /// Judges a run and groups its findings by the deviations.
    pub(super) fn judge(&mut self, ran: &FinishedRun) {
        self.tally.runs += 1;
        self.tally.case = self.basis.number;
        self.tally.inputs.clone_from(&self.basis.unusual);
        let case = self.basis.number;
        self.look_at_hygiene(&ran.outcome);
        self.look_at_terms(&ran.outcome);
        self.tally.crowded |= ran.outcome.record.is_crowded();
        self.tally.note_left(&ran.outcome);
        if self.basis.settings.ratchet {
            self.tally.met.add(&ran.record, kind_of(&ran.outcome));
        }
        if let End::Stuck(stuck) = &ran.outcome.end {
            self.sort(vec![Finding::Stuck(stuck.clone())], ran);
            return;
        }
        // After a crash, a poisoned lock is neither a bug of the job nor a proof that it has none.
        let crashed =
            ran.record.iter().any(|choice| choice.kind == DeviationKind::Crash && choice.taken != 0);
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

    fn sort(&mut self, findings: Vec<Finding>, ran: &FinishedRun) {
        let mishaps = mishaps(ran);
        self.tally.sort(findings, &mishaps, || replayable(ran));
    }
}
