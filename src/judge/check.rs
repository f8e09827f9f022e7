//! Settings, environment variables, the loop over scenarios, and the expected outcomes that oracles compare with.

mod baseline;
mod conclusion;
#[cfg(feature = "proptest")]
mod drawn;
mod gate;
mod hygiene;
mod isolation;
mod kept;
mod orders;
mod progress;
mod reference;
mod replay;
mod sampling;
mod settings;
mod sharding;
mod summary;
mod surroundings;
mod tally;
mod threads;
mod walk;

#[cfg(feature = "proptest")]
pub(crate) use self::drawn::{Drawn, Found, Size};
#[cfg(feature = "proptest")]
pub(crate) use self::kept::{own_file, replace};
pub use self::settings::Explore;
#[cfg(feature = "proptest")]
pub(crate) use self::surroundings::{package, say};

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::Location;

use self::orders::Serial;
use self::progress::Progress;
use self::reference::{Reference, difference, nothing_tested};
use self::tally::Tally;
use self::walk::Limits;
use crate::judge::oracle::{self, Finding};
use crate::judge::report::{LineMap, Report, Samples, Verdict, words};
use crate::judge::run::{Body, Course, End, Ground, Outcome, Ran, run};
use crate::search::choice::Plan;
use crate::search::explore::{Exhaustive, Share};
use crate::{World, engine::panics};

/// Explores a test body with the default settings, and panics with the report unless it is retry-proof.
///
/// # Panics
/// When the verdict is not [`Verdict::RetryProof`].
#[track_caller]
pub fn check(body: impl AsyncFn(&World) + Sync) {
    Explore::new().check(body);
}

/// What is explored, and what its outcomes are compared with: the same for all threads.
struct Basis<'b> {
    body: &'b (dyn Body + Sync),
    test: &'b str,
    settings: &'b Explore,
    /// Which of the scenarios are explored here.
    share: Share,
    progress: Progress,
    reference: Reference,
    /// The outcomes of the orders of the jobs, as far as they were asked for.
    serial: Serial,
    limits: Limits,
}

/// An exploration under way, or the part of it that one thread has.
struct Exploration<'b> {
    basis: &'b Basis<'b>,
    ground: Ground,
    tally: Tally,
    /// What was drawn past the bound.
    samples: Vec<Samples>,
    notes: Vec<String>,
}

impl<'b> Basis<'b> {
    /// The part of the exploration that the current thread has.
    fn part(&'b self) -> Exploration<'b> {
        panics::keep_thread_quiet(self.test);
        Exploration::new(self, self.settings.ground(), Tally::of_part())
    }
}

/// Why an exploration ends before it has run everything.
enum Halt {
    Incomplete { reason: String },
    Nondeterministic { reason: String },
}

impl Explore {
    /// Explores and tells what was found. Nothing is kept, appended or printed ([`Explore::check`] does that).
    #[track_caller]
    pub fn run<B: AsyncFn(&World) + Sync>(&self, body: B) -> Report {
        let name = self.test_name(Location::caller());
        apart(&name, || self.explore(&body, &name))
    }

    pub(crate) fn test_name(&self, caller: &Location<'_>) -> String {
        self.name.clone().unwrap_or_else(|| numbered(test_name(caller)))
    }

    fn explore(&self, body: &(dyn Body + Sync), test: &str) -> Report {
        if cfg!(panic = "abort") {
            return self.blank(test, Verdict::Incomplete, Some(words::ABORT.to_owned()));
        }
        if let Err(error) = self.are_possible() {
            return self.blank(test, Verdict::Incomplete, Some(error.to_string()));
        }
        let replay = match self.wanted_replay(test) {
            Ok(replay) => replay,
            Err(error) => {
                let reason = format!("the scenario to be replayed cannot be read: {error}");
                return Report { replayed: true, ..self.blank(test, Verdict::Incomplete, Some(reason)) };
            }
        };
        let share = match self.share() {
            Ok(share) => share,
            Err(error) => return self.blank(test, Verdict::Incomplete, Some(error.to_string())),
        };
        self.begin(body, test, share, |exploration| match replay {
            Some(scenario) => exploration.replay(&scenario),
            None => exploration.explore(),
        })
    }

    /// Makes the reference run, and goes on from there.
    fn begin<R>(
        &self,
        body: &(dyn Body + Sync),
        test: &str,
        share: Share,
        explore: impl FnOnce(Exploration<'_>) -> R,
    ) -> R {
        let ground = self.ground();
        let reference = run(body, Course::plain(Plan::ordinary()), &ground).into();
        let (serial, progress) = (Serial::default(), Progress::new(test));
        let limits = Limits::new(self.max_runs, self.max_time);
        let basis = Basis { body, test, settings: self, share, progress, reference, serial, limits };
        explore(Exploration::new(&basis, ground, Tally::of_reference()))
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
            merged: 0,
            reduced: 0,
            samples: Vec::new(),
            share: None,
            notes: Vec::new(),
            warnings: Vec::new(),
            lines: LineMap::default(),
            replayed: false,
            kept: None,
            coverage: None,
            replay_command: self.replay_command.clone(),
            showing: None,
            others: Vec::new(),
            #[cfg(feature = "proptest")]
            case: None,
        }
    }
}

/// Runs an exploration of a test where nothing of it reaches the terminal, and a runtime can be entered.
fn apart<R: Send>(test: &str, explore: impl FnOnce() -> R + Send) -> R {
    if in_tokio() {
        // A runtime inside a runtime is not to be had: the exploration gets a thread of its own.
        return std::thread::scope(|scope| {
            let explored = scope.spawn(|| panics::quietly(test, explore)).join();
            explored.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
    }
    panics::quietly(test, explore)
}

/// The test's name as libtest gives it to the thread; elsewhere the place of the call.
fn test_name(caller: &Location<'_>) -> String {
    match std::thread::current().name() {
        Some(name) if name != "main" && !name.starts_with("tokio-") => {
            name.split_whitespace().collect::<Vec<_>>().join("-")
        }
        _ => format!("{}:{}", caller.file(), caller.line()),
    }
}

/// The second exploration of one name on one thread gets another one, by which it alone can be replayed.
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

#[cfg(feature = "tokio")]
fn in_tokio() -> bool {
    tokio::runtime::Handle::try_current().is_ok()
}

#[cfg(not(feature = "tokio"))]
fn in_tokio() -> bool {
    false
}

impl<'b> Exploration<'b> {
    fn new(basis: &'b Basis<'b>, ground: Ground, tally: Tally) -> Self {
        Self { basis, ground, tally, samples: Vec::new(), notes: Vec::new() }
    }

    fn run(&self, plan: Plan) -> Ran {
        run(self.basis.body, Course::plain(plan), &self.ground)
    }

    fn explore(mut self) -> Report {
        if let Some(report) = self.reference_is_no_good() {
            return report;
        }
        let (settings, share) = (self.basis.settings, self.basis.share);
        let mut explorer = Exhaustive::new(settings.bounds.clone()).sharing(share).reducing(settings.reduce);
        let limits = &self.basis.limits;
        let mut halt = self.run_all(&mut explorer, limits).err();
        self.tally.reduced = explorer.reduced();
        let exhausted = halt.is_none();
        if settings.samples() && !matches!(halt, Some(Halt::Nondeterministic { .. })) {
            match self.tally.shows_nothing() {
                true => halt = halt.or(self.sample(limits).err()),
                false => self.notes.push(words::NOT_SAMPLED.to_owned()),
            }
        }
        let halt = halt.or_else(|| self.reference_has_changed().err());
        self.basis.progress.end();
        if let Some(Halt::Nondeterministic { reason }) = halt {
            let runs = self.tally.runs;
            return self.finish(Verdict::Nondeterministic, Some(reason), false, runs);
        }
        let at_least = explorer.at_least() - self.tally.merged;
        if !self.tally.groups.is_empty() {
            return self.finish(Verdict::Violated, None, exhausted, at_least);
        }
        if let Some((_, reason)) = &self.tally.stuck {
            let reason = reason.clone();
            return self.finish(Verdict::Stuck, Some(reason), exhausted, at_least);
        }
        if let Some((_, error)) = &self.tally.poisoned {
            let reason = words::poisoned(error);
            return self.finish(Verdict::Incomplete, Some(reason), exhausted, at_least);
        }
        if let (None, Some(tried)) = (&halt, self.tally.undecided) {
            let reason = words::undecided(self.tally.undecided_runs, tried);
            return self.finish(Verdict::Incomplete, Some(reason), exhausted, at_least);
        }
        match halt {
            Some(Halt::Incomplete { reason } | Halt::Nondeterministic { reason }) => {
                self.finish(Verdict::Incomplete, Some(reason), exhausted, at_least)
            }
            None => self.finish(Verdict::RetryProof, None, true, at_least),
        }
    }

    /// A report right away, if the run in which nothing goes wrong is nothing to compare with.
    fn reference_is_no_good(&mut self) -> Option<Report> {
        let outcome = &self.basis.reference.outcome;
        if let End::Stuck(stuck) = &outcome.end {
            let reason = format!("{stuck}\nThis is the run in which nothing goes wrong.");
            self.tally.stuck = Some((Plan::ordinary(), reason.clone()));
            return Some(self.finish(Verdict::Stuck, Some(reason), false, 1));
        }
        let findings = oracle::alone(outcome);
        if !findings.is_empty() {
            return Some(self.reference_violates(findings, words::REFERENCE_VIOLATES));
        }
        if let Err(Halt::Nondeterministic { reason }) = self.reference_has_changed() {
            return Some(self.finish(Verdict::Nondeterministic, Some(reason), false, 1));
        }
        if let Some(reason) = nothing_tested(outcome) {
            return Some(self.finish(Verdict::NothingTested, Some(reason), false, 1));
        }
        self.look_at_overlap();
        if let Some(findings) = self.torn() {
            return Some(self.reference_violates(findings.to_vec(), words::REFERENCE_TORN));
        }
        self.report_of_leaks()
    }

    fn reference_violates(&mut self, findings: Vec<Finding>, reason: &str) -> Report {
        self.tally.sort(findings, &[], Plan::ordinary);
        self.finish(Verdict::Violated, Some(reason.to_owned()), false, 1)
    }

    /// Runs the reference run once more.
    fn reference_has_changed(&self) -> Result<(), Halt> {
        let again = self.run(Plan::ordinary()).into();
        match difference(&self.basis.reference, &again) {
            None => Ok(()),
            Some(difference) => Err(Halt::Nondeterministic { reason: nondeterministic(&difference) }),
        }
    }
}

/// The error of a job that came upon a lock of the standard library which a panic had poisoned.
fn poisoned(outcome: &Outcome) -> Option<&str> {
    const SAID: [&str; 3] = ["PoisonError", "poisoned lock", "has previously been poisoned"];
    let errors = outcome.jobs.iter().filter_map(|job| job.error());
    errors.into_iter().find(|error| SAID.iter().any(|said| error.contains(said)))
}

fn nondeterministic(difference: &str) -> String {
    format!(
        "{difference}\nThe same scenario must take the same course each time. Three ways out: draw random numbers and times from `p.rng()` and `p.clock()`; leave the value out with `world.ignore(name, path)`; or derive it from the job (a key), and keep what has no order (a HashMap) in what has one (a BTreeMap). What a static, a LazyLock or a Once holds outlives the run: build it in the boot closure instead"
    )
}
