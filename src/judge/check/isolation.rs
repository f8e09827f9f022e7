//! Finds jobs whose outcome depends on which job ran before them, on the same thread or in the same process.

use super::Exploration;
use super::conclusion::violation;
use super::reference::{Reference, difference};
use crate::engine::state::Mode;
use crate::judge::oracle::{self, Finding};
use crate::judge::report::{Report, ShownRun, Verdict, dropped};
use crate::judge::run::{Course, End, FinishedRun, Outcome, run};
use crate::search::choice::Plan;
use crate::search::explore::{Bounds, Exhaustive};
use crate::system::timeline::Timeline;

/// The maximum number of orders of jobs: all orders of four jobs. For more jobs, each pair in both orders.
const MOST_ORDERS: usize = 24;

const REASON: &str = "This is a fault-free run whose jobs run one after the other, and it ends differently than a run in which each job starts in a freshly booted process: one of the jobs left something in a thread-local or in the memory of the process, and another job found it. Clear it after each job (`middleware::ClearThreadLocals`), pass it as an argument, or keep it with the job.";

impl Exploration<'_> {
    /// Returns a report at once if a job finds what another job left behind.
    pub(super) fn report_of_leaks(&mut self) -> Option<Report> {
        let reference = &self.basis.reference.outcome;
        let performed = reference.jobs.iter().filter(|job| job.attempts > 0).count();
        // Background tasks restart with the process, which no order of the jobs does.
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
                return Some(self.report_of_leak(plan, Mode::SerialBaseline, &isolated.outcome));
            }
            // On the thread of this exploration, the jobs of earlier runs have left what they leave in thread-locals.
            let fresh = self.on_fresh_thread(&plan, Mode::SerialBaseline);
            if let Some(fresh) = fresh.filter(|fresh| !leaks(&ran.outcome, &fresh.outcome).is_empty()) {
                return Some(self.report_of_leak(plan, Mode::SerialBaseline, &fresh.outcome));
            }
        }
        None
    }

    /// Returns a report if repeated runs differ only because jobs find what the jobs of an earlier run left in the
    /// thread-locals of the thread.
    pub(super) fn report_of_thread_locals(&mut self) -> Option<Report> {
        let plan = Plan::ordinary();
        let fresh = self.on_fresh_thread(&plan, Mode::Explore)?;
        let again = self.on_fresh_thread(&plan, Mode::Explore)?;
        let here: Reference = self.one_by_one(plan.clone(), Mode::Explore, Timeline::default()).into();
        let bodies =
            |of: &Reference| of.outcome.jobs.iter().map(|job| job.payload.to_string()).collect::<Vec<_>>();
        let is_by_jobs = bodies(&here) == bodies(&fresh) && difference(&fresh, &again).is_none();
        (is_by_jobs && !leaks(&here.outcome, &fresh.outcome).is_empty())
            .then(|| self.report_of_leak(plan, Mode::Explore, &fresh.outcome))
    }

    /// Runs a scenario on a thread on which nothing has run. `None` if it took another course there. `None` as well if the
    /// test uses external systems: its connections may belong to the runtime of this thread, which does not run meanwhile.
    fn on_fresh_thread(&self, plan: &Plan, mode: Mode) -> Option<Reference> {
        if self.basis.reference.outcome.has_externals {
            return None;
        }
        let (basis, cases) = (self.basis, self.cases);
        let run = || {
            let ran = basis.part(cases).one_by_one(plan.clone(), mode, Timeline::default());
            ran.divergence.is_none().then(|| Reference::from(ran))
        };
        std::thread::scope(|scope| scope.spawn(run).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn one_by_one(&self, plan: Plan, mode: Mode, timeline: Timeline) -> FinishedRun {
        run(self.basis.body, Course { mode, timeline, ..Course::plain(plan) }, &self.ground)
    }

    /// Runs the jobs again in the order in which one leaks, to show that run.
    fn report_of_leak(&mut self, plan: Plan, mode: Mode, isolated: &Outcome) -> Report {
        let mut ran = self.one_by_one(plan, mode, Timeline::recording());
        let findings = leaks(&ran.outcome, isolated);
        // The scenario has no deviation, because a replay looks for leaks again.
        let scenario = self.scenario(&[]);
        let events = std::mem::take(&mut ran.events);
        // This run has no deviations.
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

/// Returns what a job found that another job left behind, as far as the outcomes show it.
fn leaks(outcome: &Outcome, isolated: &Outcome) -> Vec<Finding> {
    match (&outcome.end, &isolated.end) {
        (End::Completed, End::Completed) => oracle::isolation(outcome, isolated),
        _ => Vec::new(),
    }
}
