//! Settings, environment variables, the loop over scenarios, and the expected outcomes that oracles compare with.

mod conclusion;
mod judging;
mod reference;
mod replay;
mod settings;
mod walk;

pub use self::settings::Explore;

use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::panic::Location;

use self::judging::Group;
use self::reference::{difference, nothing_tested};
use crate::choice::Plan;
use crate::explore::{Bounds, Exhaustive};
use crate::oracle::{self, Finding};
use crate::report::{LineMap, Report, Verdict, words};
use crate::run::{Body, Course, End, Ground, Outcome, Ran, run};
use crate::runtime::Pool;
use crate::state::Weather;
use crate::{World, panics};

/// Orders of jobs that are tried before an outcome is called that of none.
const MOST_ORDERS: u64 = 1_000;

/// Explores a test body with the default settings, and panics with the report unless it is retry-proof.
///
/// # Panics
/// When the verdict is not [`Verdict::RetryProof`].
#[track_caller]
pub fn check(body: impl AsyncFn(&World) + Sync) {
    Explore::new().check(body);
}

/// An exploration under way.
struct Exploration<'b> {
    body: &'b dyn Body,
    test: &'b str,
    ground: Ground,
    settings: &'b Explore,
    reference: Ran,
    /// The outcomes of the orders of the jobs, once they are asked for.
    orders: Option<Orders>,
    /// The reference run ended as no order of its jobs does.
    torn: bool,
    groups: Vec<Group>,
    stuck: Option<(Plan, String)>,
    /// A run in which a lock of the standard library was poisoned by a crash, and what the job said.
    poisoned: Option<(Plan, String)>,
    runs: u64,
    merged: u64,
    violated: u64,
    notes: Vec<String>,
}

/// What comes of the jobs when they run one at a time.
#[derive(Default)]
struct Orders {
    /// Whether some order ends as the reference run does.
    like_reference: bool,
    /// The outcomes of those that do not, each once.
    others: Vec<Outcome>,
}

/// Why an exploration ends before it has run everything.
enum Halt {
    Incomplete { reason: String },
    Nondeterministic { reason: String },
}

impl Explore {
    /// Explores, and panics with the report unless the body is retry-proof.
    ///
    /// # Panics
    /// When the verdict is not [`Verdict::RetryProof`]. [`Verdict::Incomplete`] passes where
    /// [`Explore::allow_incomplete`] says so, and for a replayed scenario that shows nothing wrong.
    #[track_caller]
    pub fn check(self, body: impl AsyncFn(&World) + Sync) {
        let report = self.run(body);
        let passes = match report.verdict() {
            Verdict::RetryProof => true,
            Verdict::Incomplete => {
                let stopped = report.at_least > report.runs;
                report.reason.is_none() && report.replayed || self.allow_incomplete && stopped
            }
            _ => false,
        };
        let colour =
            std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        let text = if colour { report.to_ansi() } else { report.to_string() };
        assert!(passes, "{text}");
        if report.replayed {
            // Not through `eprintln!`: libtest would keep it to itself, and a replay is there to be read.
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
    }

    /// Explores and tells what was found.
    #[track_caller]
    pub fn run<B: AsyncFn(&World) + Sync>(&self, body: B) -> Report {
        let caller = Location::caller();
        let name = self.name.clone().unwrap_or_else(|| test_name(caller));
        if in_tokio() {
            // A runtime inside a runtime is not to be had: the exploration gets a thread of its own.
            return std::thread::scope(|scope| {
                let explored = scope.spawn(|| panics::quietly(&name, || self.explore(&body, &name))).join();
                explored.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
        }
        panics::quietly(&name, || self.explore(&body, &name))
    }

    fn explore(&self, body: &dyn Body, test: &str) -> Report {
        if cfg!(panic = "abort") {
            return self.blank(test, Verdict::Incomplete, Some(words::ABORT.to_owned()));
        }
        let replay = match self.wanted_replay(test) {
            Ok(replay) => replay,
            Err(error) => {
                let reason = format!("the scenario to be replayed cannot be read: {error}");
                return Report { replayed: true, ..self.blank(test, Verdict::Incomplete, Some(reason)) };
            }
        };
        let (pool, record) = (Pool::default(), RefCell::default());
        let (seed, max_steps, delays) = (self.seed, self.max_steps, self.delays);
        let ground = Ground { seed, max_steps, delays, pool, record };
        let reference = run(body, Course::plain(Plan::Numbered(Vec::new(), None)), &ground);
        let exploration = Exploration {
            body,
            test,
            ground,
            settings: self,
            reference,
            orders: None,
            torn: false,
            groups: Vec::new(),
            stuck: None,
            poisoned: None,
            runs: 1,
            merged: 0,
            violated: 0,
            notes: Vec::new(),
        };
        match replay {
            Some(scenario) => exploration.replay(&scenario),
            None => exploration.explore(),
        }
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
            notes: Vec::new(),
            lines: LineMap::default(),
            replayed: false,
            replay_command: self.replay_command.clone(),
            showing: None,
        }
    }
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

#[cfg(feature = "tokio")]
fn in_tokio() -> bool {
    tokio::runtime::Handle::try_current().is_ok()
}

#[cfg(not(feature = "tokio"))]
fn in_tokio() -> bool {
    false
}

impl Exploration<'_> {
    fn run(&self, plan: Plan) -> Ran {
        run(self.body, Course::plain(plan), &self.ground)
    }

    fn explore(mut self) -> Report {
        if let Some(report) = self.reference_is_no_good() {
            return report;
        }
        let mut explorer = Exhaustive::new(self.settings.bounds.clone());
        let halt = self.run_all(&mut explorer).err().or_else(|| self.reference_has_changed().err());
        if let Some(Halt::Nondeterministic { reason }) = halt {
            return self.finish(Verdict::Nondeterministic, Some(reason), false, self.runs);
        }
        let at_least = explorer.at_least() - self.merged;
        let exhausted = halt.is_none();
        if !self.groups.is_empty() {
            return self.finish(Verdict::Violated, None, exhausted, at_least);
        }
        if let Some((_, reason)) = &self.stuck {
            let reason = reason.clone();
            return self.finish(Verdict::Stuck, Some(reason), exhausted, at_least);
        }
        if let Some((_, error)) = &self.poisoned {
            let reason = words::poisoned(error);
            return self.finish(Verdict::Incomplete, Some(reason), exhausted, at_least);
        }
        match halt {
            Some(Halt::Incomplete { reason } | Halt::Nondeterministic { reason }) => {
                self.finish(Verdict::Incomplete, Some(reason), false, at_least)
            }
            None => self.finish(Verdict::RetryProof, None, true, at_least),
        }
    }

    fn findings(&mut self, outcome: &Outcome) -> Vec<Finding> {
        let reference = &self.reference.outcome;
        if !self.torn {
            if oracle::same(outcome, reference) {
                return oracle::alone(outcome);
            }
            let findings = oracle::judge(outcome, std::iter::once(reference), outcome.overlapped);
            if findings.is_empty() || matches!(outcome.end, End::Panicked(_)) {
                return findings;
            }
            if self.orders().others.is_empty() {
                return findings;
            }
        }
        let torn = self.torn;
        self.orders();
        let others = self.orders.iter().flat_map(|orders| &orders.others);
        let reference = Some(&self.reference.outcome).filter(|_| !torn);
        oracle::judge(outcome, reference.into_iter().chain(others), true)
    }

    /// Jobs that ran at the same time may have torn each other's state even where nothing went wrong. Then the reference
    /// run ended as no order of them does, and is nothing to compare with.
    fn look_at_overlap(&mut self) {
        if !self.reference.outcome.overlapped
            || self.orders().like_reference
            || self.orders().others.is_empty()
        {
            return;
        }
        let others = self.orders.iter().flat_map(|orders| &orders.others);
        self.torn = !oracle::judge(&self.reference.outcome, others, true).is_empty();
    }

    fn orders(&mut self) -> &Orders {
        if self.orders.is_none() {
            self.orders = Some(self.run_orders());
        }
        self.orders.as_ref().expect("the orders were run a moment ago")
    }

    /// Runs the jobs one at a time, in every order.
    fn run_orders(&mut self) -> Orders {
        let mut explorer = Exhaustive::new(Bounds::total(usize::MAX));
        let mut orders = Orders::default();
        let mut runs = 0;
        while let Some(task) = explorer.next() {
            if runs == MOST_ORDERS {
                self.notes.push(format!("the jobs have more than {MOST_ORDERS} orders; outcomes were compared with those of the first {MOST_ORDERS} only. Check fewer jobs at once"));
                break;
            }
            let ran =
                run(self.body, Course { weather: Weather::Serial, ..Course::plain(task.plan) }, &self.ground);
            if !explorer.ran(&ran.record) {
                break;
            }
            if task.judge {
                runs += 1;
                let like_reference = oracle::same(&ran.outcome, &self.reference.outcome);
                orders.like_reference |= like_reference;
                let known = orders.others.iter().any(|outcome| oracle::same(&ran.outcome, outcome));
                if !known && !like_reference && ran.outcome.end == End::Completed {
                    orders.others.push(ran.outcome);
                }
            }
        }
        orders
    }

    /// A report right away, if the run in which nothing goes wrong is nothing to compare with.
    fn reference_is_no_good(&mut self) -> Option<Report> {
        let outcome = &self.reference.outcome;
        if let End::Stuck(stuck) = &outcome.end {
            let reason = format!("{stuck}\nThis is the run in which nothing goes wrong.");
            self.stuck = Some((Plan::Numbered(Vec::new(), None), reason.clone()));
            return Some(self.finish(Verdict::Stuck, Some(reason), false, 1));
        }
        let mut findings = oracle::alone(outcome);
        let mut reason =
            "This is the run in which nothing goes wrong: mend the test, or the job, before its retries.";
        if findings.is_empty() {
            self.look_at_overlap();
            if self.torn {
                let others = self.orders.iter().flat_map(|orders| &orders.others);
                findings = oracle::judge(&self.reference.outcome, others, true);
                reason = "This is the run in which nothing goes wrong. Jobs ran at the same time in it, and it ended as no one-at-a-time order of them does.";
            }
        }
        if !findings.is_empty() {
            self.violated = 1;
            for finding in findings {
                let (subject, plan) = (finding.subject(), Plan::Numbered(Vec::new(), None));
                self.groups.push(Group { subject, kinds: Vec::new(), finding, plan, runs: 1 });
            }
            return Some(self.finish(Verdict::Violated, Some(reason.to_owned()), false, 1));
        }
        if let Err(Halt::Nondeterministic { reason }) = self.reference_has_changed() {
            return Some(self.finish(Verdict::Nondeterministic, Some(reason), false, 1));
        }
        let reason = nothing_tested(&self.reference.outcome)?;
        Some(self.finish(Verdict::NothingTested, Some(reason), false, 1))
    }

    /// Runs the reference run once more.
    fn reference_has_changed(&self) -> Result<(), Halt> {
        let again = self.run(Plan::Numbered(Vec::new(), None));
        match difference(&self.reference, &again) {
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
