//! Samples past the bound: random runs, and schedules by priority. Failing samples are shrunk before they are reported.

use std::ops::Range;

use super::progress::{Progress, ProgressState};
use super::tally::{self, Group, Tally};
use super::threads::{self, Source};
use super::walk::Limits;
use super::{Exploration, Halt};
use crate::engine::state::Stuck;
use crate::judge::oracle::Finding;
use crate::judge::report::{Samples, notes};
use crate::judge::run::{Course, End, FinishedRun, run};
use crate::search::choice::{DeviationSpec, Plan};
use crate::search::explore::{PctRuns, RandomRuns, shrink};
use crate::search::scenario::Scenario;

/// The number of samples that a thread takes at once.
const AT_A_TIME: u64 = 32;
/// The maximum number of runs for shrinking one finding.
const MOST_TRIES: usize = 2_000;

/// Maps the number of a sample to its case and plan.
type Plans<'p> = &'p (dyn Fn(u64) -> (usize, Plan) + Sync);

impl Exploration<'_> {
    /// Runs all samples that the settings ask for, and adds their findings to the tally.
    pub(super) fn sample(&mut self, limits: &Limits) -> Result<(), Halt> {
        let (settings, cases) = (self.basis.settings, self.cases);
        // Deal the samples out to the cases in turn.
        let of_case = |number: u64| ((number % cases.len() as u64) as usize, number / cases.len() as u64);
        if settings.random > 0 {
            let of = |case: &super::Basis<'_>| {
                RandomRuns::new(settings.seed, settings.bounds.clone(), &case.reference.record)
            };
            let runs: Vec<_> = cases.iter().map(of).collect();
            if runs.iter().all(RandomRuns::is_idle) {
                self.notes.push(notes::NOTHING_AT_RANDOM.to_owned());
            } else {
                let (fewest, most) = runs[0].deviations();
                self.samples.push(Samples::random(settings.seed, fewest, most));
                let plan = |number| {
                    let (case, number) = of_case(number);
                    (case, runs[case].plan(number))
                };
                self.draw(settings.random, &plan, limits)?;
            }
        }
        if let Some((depth, count)) = settings.pct.filter(|(_, count)| *count > 0) {
            let of = |case: &super::Basis<'_>| PctRuns::new(settings.seed, depth, &case.reference.record);
            let first: Vec<_> = cases.iter().map(of).collect();
            if first.iter().all(PctRuns::is_idle) {
                self.notes.push(notes::NOTHING_BY_PRIORITY.to_owned());
            } else {
                self.samples.push(Samples::pct(settings.seed, depth));
                let mut runs = Vec::with_capacity(first.len());
                for (case, first) in first.into_iter().enumerate() {
                    self.enter(case);
                    // A run by priorities may have more steps than the fault-free run.
                    let record = self.run(first.plan(0)).record;
                    runs.push(first.measured(&record));
                }
                self.enter(0);
                let plan = |number| {
                    let (case, number) = of_case(number);
                    (case, runs[case].plan(number))
                };
                self.draw(count, &plan, limits)?;
            }
        }
        Ok(())
    }

    /// Runs `count` samples.
    fn draw(&mut self, count: u64, plan: Plans<'_>, limits: &Limits) -> Result<(), Halt> {
        let (basis, cases) = (self.basis, self.cases);
        let tally = Tally::of_part();
        let mut drawing = Drawing { next: 0, count, tally, progress: &basis.progress, is_cut: false };
        let work = |exploration: &mut Exploration<'_>, numbers: Range<u64>| {
            for number in numbers.filter(|number| basis.share.has(*number)) {
                if limits.is_time_up() {
                    return None;
                }
                if basis.has_hung() {
                    break;
                }
                let (case, plan) = plan(number);
                exploration.enter(case);
                let ran = run(basis.body, Course::timed(plan), &exploration.ground);
                if ran.outcome.end == End::OutOfTime {
                    return None;
                }
                exploration.judge(&ran);
                exploration.ground.record.replace(ran.record);
            }
            Some(std::mem::replace(&mut exploration.tally, Tally::of_part()))
        };
        threads::side_by_side(basis.settings.threads, &mut drawing, || basis.part(cases), work);
        let Drawing { tally, is_cut, .. } = drawing;
        let samples = self.samples.last_mut().expect("what is drawn was put down before");
        (samples.runs, samples.violated, samples.is_cut) = (tally.runs, tally.violated, is_cut);
        self.take_over(tally);
        match is_cut {
            false => Ok(()),
            true => {
                let time = basis.settings.max_time.unwrap_or_default();
                let of = basis.share.count(0..count);
                let samples = self.samples.last().expect("as above");
                Err(Halt::Incomplete { reason: notes::samples_cut(time, samples.runs, of) })
            }
        }
    }

    /// Adds the findings of samples, each shrunk.
    fn take_over(&mut self, found: Tally) {
        self.tally.take_orders(&found);
        self.tally.crowded |= found.crowded;
        for group in found.groups {
            if let Some(known) = self.tally.known(&group.finding, &group.inputs, &group.mishaps) {
                self.tally.groups[known].runs += group.runs;
                continue;
            }
            let group = self.smaller(group);
            match self.tally.known(&group.finding, &group.inputs, &group.mishaps) {
                Some(known) => self.tally.groups[known].runs += group.runs,
                None => self.tally.groups.push(group),
            }
        }
        self.tally.poisoned = self.tally.poisoned.take().or(found.poisoned);
    }

    pub(super) fn smaller(&mut self, group: Group) -> Group {
        // Each run that hangs leaves a thread behind.
        if let Finding::Stuck(Stuck::Unresponsive { .. }) = group.finding {
            return group;
        }
        let Group { subject, mut mishaps, mut finding, case, inputs, plan, runs } = group;
        self.enter(case);
        let plan = self.shrunk(plan, |exploration, ran| {
            let findings = match &ran.outcome.end {
                End::Stuck(stuck) => vec![Finding::Stuck(stuck.clone())],
                _ => exploration.findings(&ran.outcome),
            };
            let Some(same) = findings.into_iter().find(|finding| finding.subject() == subject) else {
                return false;
            };
            (finding, mishaps) = (same, tally::mishaps(ran));
            true
        });
        Group { subject, mishaps, finding, case, inputs, plan, runs }
    }

    /// Shrinks a plan while the run still `fails`. Deviations that the run no longer reaches are dropped, and the
    /// plan's name lists those that it took.
    fn shrunk(&mut self, plan: Plan, mut fails: impl FnMut(&mut Self, &FinishedRun) -> bool) -> Plan {
        let ran = self.run(plan.clone());
        if !fails(self, &ran) {
            // `show` reports that the code is not deterministic.
            return plan;
        }
        let test = self.basis.test;
        let taken = |ran: &FinishedRun| Scenario::of_record(test, &ran.record).wanted().to_vec();
        let before = taken(&ran);
        let mut tries = 0;
        let after = shrink(before.clone(), |wanted: &[DeviationSpec]| {
            tries += 1;
            if tries > MOST_TRIES {
                return None;
            }
            let ran = self.run(Plan::Wanted(wanted.to_vec()));
            fails(self, &ran).then(|| taken(&ran))
        });
        let seed = self.basis.settings.seed;
        let cut = (tries > MOST_TRIES).then_some(MOST_TRIES);
        self.notes.push(notes::shrunk(seed, before.len(), after.len(), cut));
        Plan::Wanted(after)
    }
}

/// The samples that several threads take from, by their numbers.
struct Drawing<'b> {
    next: u64,
    count: u64,
    tally: Tally,
    progress: &'b Progress,
    /// The time ran out before all samples ran.
    is_cut: bool,
}

impl Source for Drawing<'_> {
    type Piece = Range<u64>;
    type Result = Option<Tally>;

    fn take(&mut self, _: bool) -> Option<Range<u64>> {
        let numbers = self.next..self.count.min(self.next + AT_A_TIME);
        self.next = numbers.end;
        (!numbers.is_empty()).then_some(numbers)
    }

    fn use_up(&mut self, shown: Option<Tally>) -> bool {
        self.is_cut = shown.is_none();
        shown.is_some_and(|tally| {
            self.tally.append(tally);
            let (runs, violated) = (self.tally.runs, self.tally.violated);
            self.progress.tell(|| ProgressState { runs, known: self.count, expected: self.count, violated });
            true
        })
    }
}
