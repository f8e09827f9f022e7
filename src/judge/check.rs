//! The exploration: settings, environment variables, the loop over scenarios, and the expected outcomes for the
//! oracles.

mod hygiene;
mod reference;
mod settings;
mod sharding;
mod surroundings;
mod apart;
mod kept;
mod baseline;
mod progress;
mod summary;
mod page;
mod results;
mod tally;
mod causes;
mod conclusion;
mod isolation;
mod orders;
mod replay;
mod terms;
mod threads;
mod walk;
mod inputs;
#[cfg(feature = "proptest")]
mod drawn;
mod gate;
mod sampling;

#[cfg(feature = "proptest")]
pub(crate) use self::drawn::{DrawnDeviations, DrawnOutcome, Size};
#[cfg(feature = "proptest")]
pub(crate) use self::kept::{own_file, replace};
#[cfg(feature = "proptest")]
pub(crate) use self::page::{update, withdraw};
pub use self::settings::Explore;
#[cfg(feature = "proptest")]
pub(crate) use self::surroundings::{package, say};

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::Location;
use std::sync::{Arc, OnceLock};

use self::apart::text_of;
use self::inputs::AssignmentChoice;
use self::orders::SerialOutcomes;
use self::progress::Progress;
use self::reference::{Reference, difference, nothing_tested};
use self::tally::{Instance, Tally};
use self::terms::NamingTerm;
use self::walk::Limits;
use crate::engine::simulation;
use crate::engine::state::{CalledAs, Stuck};
use crate::judge::oracle::{self, Finding};
use crate::judge::pulse::{self, Joined, Pulses};
use crate::judge::report::{DroppedCalls, LineMap, Report, Samples, Stopped, Verdict, notes};
use crate::judge::run::{Body, Course, End, FinishedRun, Ground, Outcome, run};
use crate::search::choice::{self, Plan, forget};
use crate::search::explore::Share;
use crate::search::input::Assignment;
use crate::system::seeded::SeededTexts;
use crate::{World, engine::panics};

/// Explores a test body with the default settings.
///
/// # Panics
/// Panics with the report if the verdict is not [`Verdict::RetryProof`].
#[track_caller]
pub fn check(body: impl AsyncFn(&World) + Sync) {
    Explore::new().check(body);
}

/// The state that all threads share for one assignment of inputs, including the basis of comparison.
struct Basis<'b> {
    body: &'b (dyn Body + Sync),
    test: &'b str,
    settings: &'b Explore,
    /// The share of the scenarios to explore.
    share: Share,
    progress: Arc<Progress>,
    /// The number of the case.
    number: usize,
    inputs: Arc<Assignment>,
    /// The operations that the reference run has made beside others.
    flights: Arc<BTreeSet<CalledAs>>,
    /// The places at which a text depends on the seed.
    seeded: Arc<SeededTexts>,
    /// The inputs, in the form in which scenarios name them.
    words: Vec<choice::DeviationSpec>,
    /// Those of them that are not the ordinary ones.
    unusual: Arc<[String]>,
    reference: Reference,
    /// The problem of the reference run in comparison with that of other inputs.
    ignored: Option<Finding>,
    /// The outcomes of the orders of the jobs that have been computed.
    serial: SerialOutcomes,
    limits: Limits,
    /// In the first case: the terms that match nothing in the fault-free runs.
    idle: OnceLock<Vec<NamingTerm>>,
    /// The watchdog of the runs.
    pulses: Option<Arc<Pulses>>,
}

/// An exploration in progress, or the part of it that one thread does.
struct Exploration<'b> {
    /// One case for each assignment of inputs.
    cases: &'b [Basis<'b>],
    /// A lower bound for the number of assignments that are not explored.
    cases_left_out: usize,
    /// The case that is explored now.
    basis: &'b Basis<'b>,
    ground: Ground,
    tally: Tally,
    /// Whether runs are judged, as opposed to being shown or shrunk.
    is_judging: bool,
    /// The order of its jobs with which the last run was compared, by their places; none: the reference run.
    compared_with: Option<Vec<usize>>,
    /// The samples past the bound.
    samples: Vec<Samples>,
    notes: Vec<String>,
    /// Why the exploration stopped early, if it stopped because of a violation.
    stopped: Option<Stopped>,
    /// The number of failed runs before the current case.
    before: u64,
    /// The maximum number of deviations from now on, after a run of an earlier case failed.
    cap: Option<usize>,
    /// Whether a crash poisoned a lock.
    is_poisoned: bool,
    /// The calls that the fault-free runs drop, once they have been computed.
    ordinary_drops: DroppedCalls,
    /// Watches the runs of this thread, if it is an additional thread of the exploration.
    joined: Option<Joined>,
}

impl<'b> Basis<'b> {
    /// Returns the current thread's part of the exploration.
    fn part(&'b self, cases: &'b [Basis<'b>]) -> Exploration<'b> {
        panics::keep_thread_quiet(self.test);
        let ground = self.settings.ground();
        let mut part = Exploration::new(cases, 0, ground, Tally::of_part());
        part.joined = self.pulses.as_ref().map(pulse::join);
        part.enter(self.number);
        part
    }

    /// Whether a run hung. Others may hang, too, and each of them costs a timeout.
    fn has_hung(&self) -> bool {
        self.pulses.as_ref().is_some_and(|pulses| pulses.has_fired())
    }
}

/// Why an exploration stops early.
enum Halt {
    /// A run failed, and the exploration stops at the first failure.
    Found,
    Incomplete {
        reason: String,
    },
    Nondeterministic {
        reason: String,
    },
}

impl Explore {
    /// Explores, and returns the report. Stores and prints nothing, unlike [`Explore::check`].
    #[track_caller]
    pub fn run<B: AsyncFn(&World) + Sync>(&self, body: B) -> Report {
        let name = self.test_name(Location::caller());
        self.apart(&name, &body, &|report| text_of(&report), || self.explore(&body, &name))
    }

    pub(crate) fn test_name(&self, caller: &Location<'_>) -> String {
        self.name.clone().unwrap_or_else(|| numbered(test_name(caller)))
    }

    fn explore(&self, body: &(dyn Body + Sync), test: &str) -> Report {
        if cfg!(panic = "abort") {
            return self.blank(test, Verdict::Incomplete, Some(notes::ABORT.to_owned()));
        }
        if let Err(error) = self.are_possible() {
            return self.blank(test, Verdict::Incomplete, Some(error.to_string()));
        }
        let replay = match self.wanted_replay(test) {
            Ok(replay) => replay,
            Err(error) => {
                let reason = format!("the scenario to replay cannot be read: {error}");
                return Report { replayed: true, ..self.blank(test, Verdict::Incomplete, Some(reason)) };
            }
        };
        let share = match self.share() {
            Ok(share) => share,
            Err(error) => return self.blank(test, Verdict::Incomplete, Some(error.to_string())),
        };
        let wanted = match &replay {
            Some(scenario) => AssignmentChoice::One(Assignment::of_words(scenario.wanted_inputs())),
            None => AssignmentChoice::All,
        };
        self.begin(body, test, (share, wanted), |exploration| match replay {
            Some(scenario) => exploration.replay(&scenario),
            None => exploration.explore(),
        })
    }

    /// Runs the reference run of each assignment of inputs, and continues with `then`.
    fn begin<R>(
        &self,
        body: &(dyn Body + Sync),
        test: &str,
        (share, wanted): (Share, AssignmentChoice),
        explore: impl FnOnce(Exploration<'_>) -> R,
    ) -> R {
        forget();
        let (cases, left_out) = self.cases(body, test, share, wanted);
        let tally = Tally::of_references(cases.len());
        explore(Exploration::new(&cases, left_out, self.ground(), tally))
    }

    fn ground(&self) -> Ground {
        let (seed, max_steps, delays, reduce) = (self.seed, self.max_steps, self.delays, self.reduce);
        Ground { seed, max_steps, delays, reduce, ..Ground::default() }
    }

    fn blank(&self, test: &str, verdict: Verdict, reason: Option<String>) -> Report {
        Report {
            test: test.to_owned(),
            verdict,
            reason,
            violations: Vec::new(),
            runs: 0,
            deviations: self.bounds.total,
            exhausted: false,
            at_least: 0,
            violated: 0,
            stopped: None,
            merged: 0,
            reduced: 0,
            samples: Vec::new(),
            share: None,
            unexplored: Vec::new(),
            notes: Vec::new(),
            warnings: Vec::new(),
            lines: LineMap::default(),
            replayed: false,
            kept: None,
            coverage: None,
            replay_command: self.replay_command.clone(),
            showing: None,
            showings: Vec::new(),
            is_limited: false,
            #[cfg(feature = "proptest")]
            case: None,
        }
    }
}

/// Returns the test's name as libtest sets it for the thread, or else the place of the call.
fn test_name(caller: &Location<'_>) -> String {
    match std::thread::current().name() {
        Some(name) if name != "main" && !name.starts_with("tokio-") => {
            name.split_whitespace().collect::<Vec<_>>().join("-")
        }
        _ => format!("{}:{}", caller.file(), caller.line()),
    }
}

/// Numbers the explorations with the same name on one thread, so that each can be replayed separately.
fn numbered(name: String) -> String {
    thread_local! {
        static EXPLORED: RefCell<BTreeMap<String, u32>> = const { RefCell::new(BTreeMap::new()) };
    }
    let number = EXPLORED.with_borrow_mut(|explored| {
        let number = explored.entry(name.clone()).or_default();
        *number += 1;
        *number
    });
    if number == 1 { name } else { format!("{name}#{number}") }
}

impl<'b> Exploration<'b> {
    fn new(cases: &'b [Basis<'b>], cases_left_out: usize, ground: Ground, tally: Tally) -> Self {
        let (samples, notes) = (Vec::new(), Vec::new());
        let basis = &cases[0];
        let (stopped, before, cap, is_poisoned, is_judging) = (None, 0, None, false, false);
        let mut new = Self {
            cases,
            cases_left_out,
            basis,
            ground,
            tally,
            is_judging,
            compared_with: None,
            samples,
            notes,
            stopped,
            before,
            cap,
            is_poisoned,
            ordinary_drops: DroppedCalls::new(),
            joined: None,
        };
        new.enter(0);
        new
    }

    fn run(&self, plan: Plan) -> FinishedRun {
        run(self.basis.body, Course::plain(plan), &self.ground)
    }

    fn explore(mut self) -> Report {
        if let Some(report) = self.reference_is_no_good() {
            return report;
        }
        if let Some(error) = self.unknown_state() {
            let runs = self.tally.runs;
            return self.finish(Verdict::Incomplete, Some(error.to_string()), false, runs);
        }
        let settings = self.basis.settings;
        let limits = &self.basis.limits;
        let mut halt = self.run_cases(limits).err();
        self.stopped = match (&halt, self.cap) {
            (Some(Halt::Found), _) => Some(Stopped::AtFirst),
            (None, Some(level)) => Some(Stopped::After(level)),
            _ => None,
        };
        let exhausted = halt.is_none() && self.stopped.is_none();
        if settings.samples() && !matches!(halt, Some(Halt::Nondeterministic { .. })) {
            match self.tally.shows_nothing() {
                true => halt = halt.or(self.sample(limits).err()),
                false => self.notes.push(notes::NOT_SAMPLED.to_owned()),
            }
        }
        let halt = halt.or_else(|| self.reference_has_changed().err());
        self.basis.progress.end();
        if let Some(Halt::Nondeterministic { reason }) = halt {
            let runs = self.tally.runs;
            return self.finish(Verdict::Nondeterministic, Some(reason), false, runs);
        }
        let at_least = self.tally.beyond - self.tally.merged;
        if let Some(stuck) = self.tally.only_stuck() {
            return self.finish(Verdict::Stuck, Some(stuck), exhausted, at_least);
        }
        // A shard does not know what the runs of other shards reach.
        let idle = self.idle_term().filter(|_| self.basis.share.is_all());
        if self.tally.has_found() {
            self.notes.extend(idle.filter(|_| exhausted).map(|idle| idle.to_string()));
            return self.finish(Verdict::Violated, None, exhausted, at_least);
        }
        if let Some(Instance { reason, .. }) = &self.tally.poisoned {
            let reason = notes::poisoned(reason);
            return self.finish(Verdict::Incomplete, Some(reason), exhausted, at_least);
        }
        if let (None, Some(tried)) = (&halt, self.tally.undecided) {
            let reason = notes::undecided(self.tally.undecided_runs, tried);
            return self.finish(Verdict::Incomplete, Some(reason), exhausted, at_least);
        }
        if let (None, Some(idle)) = (&halt, idle) {
            return self.finish(Verdict::Incomplete, Some(idle.to_string()), exhausted, at_least);
        }
        match halt {
            Some(Halt::Incomplete { reason } | Halt::Nondeterministic { reason }) => {
                let report = self.finish(Verdict::Incomplete, Some(reason), exhausted, at_least);
                Report { is_limited: true, ..report }
            }
            Some(Halt::Found) | None => self.finish(Verdict::RetryProof, None, exhausted, at_least),
        }
    }

    /// Returns a report at once if one of the fault-free runs cannot be compared with.
    fn reference_is_no_good(&mut self) -> Option<Report> {
        for case in 0..self.cases.len() {
            self.enter(case);
            if let Some(report) = self.case_is_no_good() {
                return Some(report);
            }
        }
        self.enter(0);
        None
    }

    /// Does the same for the current inputs.
    fn case_is_no_good(&mut self) -> Option<Report> {
        let outcome = &self.basis.reference.outcome;
        if outcome.end == End::OutOfTime {
            let reason = notes::out_of_time_at_once(self.basis.settings.max_time.unwrap_or_default());
            let report = self.finish(Verdict::Incomplete, Some(reason), false, 1);
            return Some(Report { is_limited: true, ..report });
        }
        if let End::Stuck(stuck @ Stuck::TooLarge { .. }) = &outcome.end {
            let reason = format!("{stuck}{}", notes::FAULT_FREE);
            return Some(self.finish(Verdict::Incomplete, Some(reason), false, 1));
        }
        if let End::Stuck(stuck) = &outcome.end {
            let reason = format!("{stuck}{}", notes::FAULT_FREE);
            self.tally.note_left(outcome);
            self.tally.sort(vec![Finding::Stuck(stuck.clone())], &[], Plan::ordinary);
            return Some(self.finish(Verdict::Stuck, Some(reason), false, 1));
        }
        let findings = oracle::alone(outcome);
        if !findings.is_empty() {
            return Some(self.reference_violates(findings, notes::REFERENCE_VIOLATES));
        }
        if let Err(Halt::Nondeterministic { reason }) = self.reference_has_changed() {
            if let Some(report) = self.report_of_thread_locals() {
                return Some(report);
            }
            return Some(self.finish(Verdict::Nondeterministic, Some(reason), false, 1));
        }
        // With some inputs, it may be right that a job does nothing.
        let tests_nothing = |case: &Basis<'_>| nothing_tested(&case.reference.outcome).is_some();
        if let Some(reason) = nothing_tested(outcome).filter(|_| self.cases.iter().all(tests_nothing)) {
            return Some(self.finish(Verdict::NothingTested, Some(reason), false, 1));
        }
        self.is_judging = true;
        self.look_at_overlap();
        self.is_judging = false;
        if let Some(findings) = self.torn() {
            return Some(self.reference_violates(findings.to_vec(), notes::REFERENCE_TORN));
        }
        if let Some(report) = self.report_of_leaks() {
            return Some(report);
        }
        // Other runs are compared with it nevertheless.
        if let Some(ignored) = self.basis.ignored.clone() {
            self.tally.case = self.basis.number;
            self.tally.sort(vec![ignored], &[], Plan::ordinary);
        }
        None
    }

    fn reference_violates(&mut self, findings: Vec<Finding>, reason: &str) -> Report {
        self.tally.case = self.basis.number;
        self.tally.sort(findings, &[], Plan::ordinary);
        self.finish(Verdict::Violated, Some(reason.to_owned()), false, 1)
    }

    /// Runs the reference run again, and checks that it does the same.
    fn reference_has_changed(&self) -> Result<(), Halt> {
        let again: Reference = self.run(Plan::ordinary()).into();
        match difference(&self.basis.reference, &again) {
            None => Ok(()),
            Some(difference) => Err(Halt::Nondeterministic {
                reason: nondeterministic(&difference, &self.basis.reference.outcome),
            }),
        }
    }
}

/// Returns the error of a job that found a poisoned lock of the standard library.
fn poisoned(outcome: &Outcome) -> Option<&str> {
    const SAID: [&str; 3] = ["PoisonError", "poisoned lock", "has previously been poisoned"];
    let errors = outcome.jobs.iter().filter_map(|job| job.error());
    errors.into_iter().find(|error| SAID.iter().any(|said| error.contains(said)))
}

fn nondeterministic(difference: &str, outcome: &Outcome) -> String {
    let advice = match (simulation::is_on(), outcome.has_sockets) {
        (false, false) => notes::DRAWN_VALUES,
        (false, true) => notes::RACING_REQUESTS,
        (true, false) => notes::RACING_THREADS,
        (true, true) => notes::RACING_SOCKETS,
    };
    format!("{difference}\nThe same scenario must take the same course each time{advice}")
}
