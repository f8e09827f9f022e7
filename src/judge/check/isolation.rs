//! Whether what a job does depends on which one ran before it, on the same thread or in the same process.

use super::Exploration;
use super::conclusion::violation;
use crate::engine::state::Mode;
use crate::judge::oracle::{self, Finding};
use crate::judge::report::{Report, ShownRun, Verdict, dropped};
use crate::judge::run::{Course, End, FinishedRun, Outcome, run};
use crate::search::choice::Plan;
use crate::search::explore::{Bounds, Exhaustive};
use crate::system::timeline::Timeline;

/// Orders of jobs that are looked at: all of four jobs, and any two of more in both orders.
const MOST_ORDERS: usize = 24;

const REASON: &str = "This is a run in which nothing goes wrong, and its jobs run one after the other. It ends otherwise where each of them finds its process as it is after its boot: one of them has left something behind, in a thread-local or in the memory of the process, and another one has found it. Clear it after each job (`middleware::ClearThreadLocals`), pass it as an argument, or keep it with the job.";

impl Exploration<'_> {
    /// A report right away, if a job finds what another one has left behind.
    pub(super) fn report_of_leaks(&mut self) -> Option<Report> {
        let reference = &self.basis.reference.outcome;
        let performed = reference.jobs.iter().filter(|job| job.attempts > 0).count();
        // Loops of the code's own are begun anew with the process: that is no order of jobs.
        if performed < 2 || reference.record.has_spawned() || reference.end != End::Completed {
            return None;
        }
        let mut explorer = Exhaustive::new(Bounds::total(usize::MAX));
        for _ in 0..MOST_ORDERS {
            let Some(task) = explorer.next() else { break };
            let ran = self.one_by_one(task.plan, Mode::SerialBaseline, Timeline::default());
            if !explorer.ran(&ran.record) {
                break;
            }
            let plan = Plan::again(&ran.record);
            let isolated = self.one_by_one(plan.clone(), Mode::IsolatedBaseline, Timeline::default());
            if isolated.divergence.is_none() && !leaks(&ran.outcome, &isolated.outcome).is_empty() {
                return Some(self.report_of_leak(plan, &isolated.outcome));
            }
        }
        None
    }

    fn one_by_one(&self, plan: Plan, mode: Mode, timeline: Timeline) -> FinishedRun {
        run(self.basis.body, Course { mode, timeline, ..Course::plain(plan) }, &self.ground)
    }

    /// Runs the jobs once more in the order in which one leaks, to show it.
    fn report_of_leak(&mut self, plan: Plan, isolated: &Outcome) -> Report {
        let mut ran = self.one_by_one(plan, Mode::SerialBaseline, Timeline::recording());
        let findings = leaks(&ran.outcome, isolated);
        // Without a deviation: whoever replays it has all of this looked at again.
        let scenario = self.scenario(&[]);
        let events = std::mem::take(&mut ran.events);
        // Nothing goes wrong in it.
        let drops = dropped(&events);
        let showing = ShownRun::new(scenario, events, findings, &ran.outcome.effects, drops);
        let violations = showing.findings.iter().map(|finding| violation(finding, &showing, 1)).collect();
        self.note_failures();
        self.note_guarantees();
        Report {
            violations,
            violated: 1,
            runs: 1,
            at_least: 1,
            lines: self.map_lines(),
            notes: std::mem::take(&mut self.notes),
            showing: Some(showing),
            ..self.basis.settings.blank(self.basis.test, Verdict::Violated, Some(REASON.to_owned()))
        }
    }
}

/// What a job has found that another one left behind, as far as it shows.
fn leaks(outcome: &Outcome, isolated: &Outcome) -> Vec<Finding> {
    match (&outcome.end, &isolated.end) {
        (End::Completed, End::Completed) => oracle::isolation(outcome, isolated),
        _ => Vec::new(),
    }
}
