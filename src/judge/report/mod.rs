//! Reports: what an exploration found, as data and as text. Only this module words failures.

mod codes;
mod crossing;
mod explored;
mod mishap;
mod plain;
mod summary;
pub(crate) mod words;
mod source;
mod lines;
mod coverage;
mod timeline;
mod text;
mod retry_marks;
mod annotations;
pub(crate) mod diagram;
pub(crate) mod listing;
pub(crate) mod notes;

pub(crate) use annotations::annotations;
pub use codes::Code;
use codes::Traits;
pub(crate) use codes::{DroppedCalls, dropped};
pub(crate) use coverage::{Coverage, MetPoints, unreached};
pub(crate) use explored::{Samples, Stopped, explored, unexplored};
pub use lines::{FunctionMap, LineCrash, LineMap, PointMap};
pub(crate) use lines::{recovery, wreck};
pub(crate) use mishap::{Courses, Mishap};
#[cfg(feature = "loom")]
pub(crate) use source::excerpt;
pub(crate) use summary::{markdown, one_line};
pub use timeline::{Timeline, TimelineEvent};

use serde::Serialize;

use crate::judge::oracle::{Finding, Oracle};
use crate::search::choice::Place;
use crate::search::explore::Share;
use crate::search::scenario::Scenario;
use crate::system::effect::Effect;
use crate::system::hygiene::Hygiene;
use crate::system::timeline::Event;

/// The result of an exploration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum Verdict {
    /// Every scenario inside the bound ran, and each had an expected outcome. Only this verdict passes.
    RetryProof,
    /// A scenario had an outcome that no fault-free run has.
    Violated,
    /// There was nothing that could have gone wrong: no effect and no state, no crash point, or no job that ran.
    NothingTested,
    /// The exploration stopped before it had run every scenario inside the bound.
    Incomplete,
    /// The same scenario took a different course the second time.
    Nondeterministic,
    /// A scenario could not continue, or did not end.
    Stuck,
}

/// A violation: something that is wrong, with the smallest scenario that shows it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Violation {
    /// The code, such as `RP0001`.
    pub code: Code,
    /// The oracle that found it.
    pub oracle: Oracle,
    /// A sentence that says what is wrong.
    pub summary: String,
    /// The effect that the violation is about, as `service.operation`, if there is one.
    pub effect: Option<String>,
    /// The value in the fault-free run.
    pub expected: String,
    /// The value in this run.
    pub actual: String,
    /// The scenario that shows the violation.
    pub scenario: Scenario,
    /// A sentence for each deviation of that run.
    pub cause: Vec<String>,
    /// The place of the last deviation in the code, as `file:line`.
    pub place: Option<String>,
    /// The number of explored runs that show the violation.
    pub runs: u64,
    /// The ways that lead to the violation. The first one is the simplest, and belongs to `scenario`.
    pub paths: Vec<Path>,
    /// The subject of the violation, in words that do not change between runs.
    #[serde(skip)]
    pub(crate) subject: String,
    /// Whether it is left undone, or left otherwise: then each place from which it comes about may be a bug of its own.
    #[serde(skip)]
    pub(crate) is_left: bool,
    /// Other effects that failures at the same place leave undone, or other parts of the state that they leave otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub likewise: Vec<String>,
    /// The effect that is left undone, or the part of a state that is left otherwise.
    #[serde(skip)]
    pub(crate) part: Option<String>,
    /// The place at which the test body panicked, if it did.
    #[serde(skip)]
    pub(crate) asserted_at: Option<String>,
    /// The advice, given what happened in this run.
    pub help: String,
}

/// A way that leads to a [`Violation`].
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Path {
    /// The code of the violation that this way leads to.
    pub code: Code,
    /// The smallest scenario of this way.
    pub scenario: Scenario,
    /// A sentence for each deviation of that run.
    pub cause: Vec<String>,
    /// The place of the last deviation, as `file:line`.
    pub place: Option<String>,
    /// The number of explored runs that went this way.
    pub runs: u64,
    /// The deviations, by names that do not change when lines move.
    #[serde(skip)]
    pub(crate) identity: Vec<String>,
    /// The deviations in a few words each.
    #[serde(skip)]
    pub(crate) brief: Vec<&'static str>,
    /// If the violation is about something else: the subject and the summary of this one.
    #[serde(skip)]
    pub(crate) other: Option<(String, String)>,
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// Users notice: a charge or a mail happened twice, or never.
    Effect,
    State,
    Job,
    Warning,
}

impl Severity {
    pub(crate) fn of(finding: &Finding) -> Self {
        match finding {
            Finding::Repeated { .. }
            | Finding::Missing { .. }
            | Finding::Unexpected { .. }
            | Finding::Early { .. }
            | Finding::HalfWay { .. }
            | Finding::RefusalIgnored { .. }
            | Finding::OutOfOrder { .. }
            | Finding::Reused(_) => Self::Effect,
            Finding::State { .. } | Finding::Panicked(_) => Self::State,
            Finding::Leaked(finding) => Self::of(finding),
            Finding::Unhygienic(_) => Self::Warning,
            Finding::Job { .. }
            | Finding::Died { .. }
            | Finding::Lost { .. }
            | Finding::Unreported { .. }
            | Finding::Told { .. }
            | Finding::NotRun { .. }
            | Finding::DeathUnreported { .. }
            | Finding::LockLeft { .. }
            | Finding::Stuck(_) => Self::Job,
        }
    }
}

impl Violation {
    /// Adds the ways of another violation with the same cause.
    pub(crate) fn absorb(&mut self, other: Self) {
        let what = other.stable_subject();
        let mut paths = other.paths;
        if what == self.stable_subject() {
            self.runs += other.runs;
        } else {
            // Most of these runs are counted already.
            paths.iter_mut().for_each(|path| path.other = Some((what.clone(), other.summary.clone())));
            let is_new = |part: &String| self.part.as_ref() != Some(part) && !self.likewise.contains(part);
            let part = other.part.filter(is_new);
            self.likewise.extend(part);
        }
        self.paths.extend(paths);
        // Without a key, no job can prevent the repetition by two concurrent deliveries.
        if let Some((_, last_resort)) = other.help.split_once('\n') {
            if other.code == Code::RepeatedAtOnce && !self.help.contains(last_resort) {
                self.help.push_str(&format!("\n{last_resort}"));
            }
        }
    }

    /// Names what the violation is about, in a way that does not change when lines move. A test's assertion is named
    /// by its own text.
    pub(crate) fn stable_subject(&self) -> String {
        if let Some(place) = &self.asserted_at {
            // The message may contain the values that were found.
            let said = || self.summary.chars().filter(|c| !c.is_ascii_digit()).collect();
            return format!("panicked at {}", source::statement_at(place).unwrap_or_else(said));
        }
        without_places(&self.subject)
    }
}

/// Removes line and column numbers from a text: `src/a.rs:12:5`, `line: 12`.
pub(crate) fn without_places(text: &str) -> String {
    let mut found = String::with_capacity(text.len());
    for c in text.chars() {
        let is_number = found.trim_end_matches(' ').ends_with(':');
        if !(c.is_ascii_digit() && is_number) {
            found.push(c);
        }
    }
    found
}

/// Shows what is risky, where, and what to do instead.
impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = self.place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
        let Self { summary, advice, .. } = self;
        write!(f, "{}{place}: {advice}", words::visible(summary))
    }
}

/// Shows what is wrong, after which deviations, and how to replay it, in one line each.
impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&text::of_violation(self))
    }
}

/// Something that works in the test, but is risky in production. [`World::deny_warnings`](crate::World::deny_warnings)
/// turns warnings into violations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Warning {
    /// A sentence that says what the code does.
    pub summary: String,
    /// The better practice.
    pub advice: &'static str,
    /// The place in the code, as `file:line`, if there is a single one.
    pub place: Option<String>,
}

impl Warning {
    pub(crate) fn new(hygiene: &Hygiene) -> Self {
        let place = words::unhygienic_place(hygiene).map(|place| format!("{}:{}", place.file, place.line));
        Self { summary: words::unhygienic(hygiene), advice: words::hygiene_advice(hygiene), place }
    }
}

/// The result of an exploration.
///
/// `Display` prints the report for people, and `Serialize` writes it for programs. Both are the same in every run of
/// the same code.
///
/// ```
/// use retryproof::service::email::Email;
/// use retryproof::{Explore, Verdict, World};
///
/// let report = Explore::new().name("welcome").run(async |world: &World| {
///     world.process("worker", |p| {
///         let email = p.email();
///         p.handle(async move |to: String| email.send(Email::new(to, "welcome")).await);
///     });
///     world.enqueue("ada@example.com".to_owned());
///     world.settle().await;
/// });
/// assert_eq!(report.verdict(), Verdict::Violated);
/// assert!(report.runs() > 10);
/// let first = &report.violations()[0];
/// assert_eq!((&*first.summary, first.code.as_str()), ("email.send happened twice, expected once", "RP0002"));
/// assert_eq!(first.scenario.to_string(), "welcome job#1.1/email.send:call=reply-lost");
/// assert_eq!(serde_json::to_value(&report).unwrap()["violations"][0]["code"], "RP0002");
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub(crate) test: String,
    pub(crate) verdict: Verdict,
    /// The reason for the verdict, unless it is a violation.
    pub(crate) reason: Option<String>,
    pub(crate) violations: Vec<Violation>,
    pub(crate) runs: u64,
    pub(crate) deviations: usize,
    pub(crate) exhausted: bool,
    /// A lower bound for the number of runs.
    pub(crate) at_least: u64,
    /// The number of runs that showed a violation.
    pub(crate) violated: u64,
    /// Why the exploration stopped early, if it stopped because of a violation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stopped: Option<Stopped>,
    /// The number of runs that ended early because another run had continued from the same state.
    pub(crate) merged: u64,
    /// The number of runs that were skipped because they are equivalent to another run.
    #[serde(skip_serializing_if = "is_none")]
    pub(crate) reduced: u64,
    /// The samples past the bound.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) samples: Vec<Samples>,
    /// The shard, if the exploration was split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) share: Option<Share>,
    /// The runs that were not explored because of the bounds or the world's shape.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) unexplored: Vec<String>,
    pub(crate) notes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<Warning>,
    pub(crate) lines: LineMap,
    #[serde(skip)]
    pub(crate) replayed: bool,
    /// The number of scenarios kept from earlier runs, if only these were explored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kept: Option<u64>,
    /// The coverage of the exploration, if the test records a baseline.
    #[serde(skip)]
    pub(crate) coverage: Option<Coverage>,
    /// The command that replays a scenario.
    #[serde(skip)]
    pub(crate) replay_command: String,
    #[serde(skip)]
    pub(crate) showing: Option<ShownRun>,
    /// The runs of the first violations. With a ratchet, those of all violations and all of their paths, because another
    /// one may be moved to the front.
    #[serde(skip)]
    pub(crate) showings: Vec<Vec<ShownRun>>,
    /// Whether the only problem is a limit that kept scenarios from running.
    #[serde(skip)]
    pub(crate) is_limited: bool,
    /// The generated data of this report.
    #[cfg(feature = "proptest")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) case: Option<Case>,
}

/// Generated data, after shrinking.
#[cfg(feature = "proptest")]
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Case {
    /// The `Debug` output of the data.
    pub(crate) case: String,
    pub(crate) seed: String,
    /// The number of cases that passed before this one.
    #[serde(skip)]
    pub(crate) held: u32,
    /// The file that stores the seed.
    #[serde(skip)]
    pub(crate) kept: Option<String>,
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

/// A run that a report shows: its events, and what is wrong with it.
#[derive(Clone, Debug)]
pub(crate) struct ShownRun {
    pub(crate) scenario: Scenario,
    pub(crate) events: Vec<Event>,
    pub(crate) findings: Vec<Finding>,
    /// The places to mark in the source, with their labels.
    pub(crate) marks: Vec<Mark>,
    /// The ids of effects that happened too often.
    pub(crate) repeated: Vec<String>,
    /// All effects of the run.
    effects: Vec<Effect>,
    /// The calls that the fault-free run drops.
    ordinary_drops: DroppedCalls,
    /// The order of the jobs of which the expected outcome is; none: that of the fault-free run.
    order: Vec<u32>,
}

/// A place in the source, with its label.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    pub(crate) place: Place,
    pub(crate) text: String,
    /// Whether this is the place of the cause, as opposed to that of the symptom.
    pub(crate) primary: bool,
}

impl Report {
    /// Whether the test passes: every scenario inside the bound ran, and each had an expected outcome.
    pub fn is_retryproof(&self) -> bool {
        self.verdict == Verdict::RetryProof
    }

    /// Returns the result of the exploration.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Returns the reason for the verdict, unless it is a violation: what was not tested, what was not deterministic,
    /// or which task is stuck.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Returns the code of the first violation, or else the code of the verdict. Returns `None` if the test passes, or
    /// if the exploration could not run as the test asked for.
    pub fn code(&self) -> Option<Code> {
        let was_stopped = || {
            let cut = !self.exhausted || self.samples.iter().any(|samples| samples.is_cut);
            !self.replayed && self.runs > 0 && cut
        };
        match self.violations.first() {
            Some(first) => Some(first.code),
            None if self.verdict == Verdict::Incomplete && !was_stopped() => None,
            None => Code::of_verdict(self.verdict),
        }
    }

    /// Moves a violation, and one of its paths, to the front, and shows the scenario of that path.
    pub(crate) fn lead_with(&mut self, (at, path): (usize, usize)) {
        if (at, path) == (0, 0) {
            return;
        }
        if self.showings.get(at).is_none_or(|showings| path >= showings.len()) {
            return;
        }
        let violation = &mut self.violations[at];
        violation.paths[..=path].rotate_right(1);
        self.showings[at][..=path].rotate_right(1);
        let Path { code, scenario, cause, place, .. } = violation.paths[0].clone();
        (violation.code, violation.scenario, violation.cause, violation.place) =
            (code, scenario, cause, place);
        let showing = &self.showings[at][0];
        if let Some(finding) = showing.findings.first() {
            violation.help = showing.help(finding);
            (violation.expected, violation.actual) = words::expected_and_actual(finding);
        }
        self.violations[..=at].rotate_right(1);
        self.showings[..=at].rotate_right(1);
        self.showing = self.showings[0].first().cloned();
    }

    /// Returns one violation per cause, with the ways that lead to it. The worst comes first: effects that happened too
    /// often or never, then wrong state, then jobs that ended differently, then warnings. Among equally bad violations,
    /// the one with the simplest scenario comes first. With
    /// [`Explore::ratchet`](crate::Explore::ratchet), the first new violation comes before the known ones.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Returns what some run did that works, but is risky in production: an external call or an enqueue inside a
    /// transaction, or a connection pool smaller than the slots of its process. Each is listed once.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Returns the number of judged runs, including the reference run. Repetitions of a run are not counted.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// Returns the number of runs that were sampled past the bound ([`Explore::random`](crate::Explore::random),
    /// [`Explore::pct`](crate::Explore::pct)). [`Report::runs`] does not include them.
    pub fn sampled(&self) -> u64 {
        self.samples.iter().map(|samples| samples.runs).sum()
    }

    /// Whether every scenario inside the bound ran. For a shard: every scenario of that shard.
    pub fn exhausted(&self) -> bool {
        self.exhausted
    }

    /// Returns the number of runs that ended early because another run had continued from the same state with the same
    /// remaining bound ([`Explore::merge`](crate::Explore::merge)). [`Report::runs`] does not include them.
    pub fn merged(&self) -> u64 {
        self.merged
    }

    /// Returns the number of runs that were skipped because they are equivalent to another run
    /// ([`Explore::reduce`](crate::Explore::reduce)). The runs that would have followed from them are not counted.
    pub fn reduced(&self) -> u64 {
        self.reduced
    }

    /// Returns the map of the jobs: for each line of their `#[crash_points]` functions, the state after a crash there,
    /// the state after recovery, and the verdict. The map also shows lines that were never reached.
    ///
    /// For the map, retryproof crashes once at each line that the fault-free run passes, regardless of the bound.
    pub fn by_line(&self) -> &LineMap {
        &self.lines
    }

    /// Returns the events of the run that the report shows: the run of the first violation, or the replayed run. Empty
    /// if the report shows no run.
    pub fn timeline(&self) -> Timeline {
        match &self.showing {
            Some(showing) => Timeline::new(&showing.events, &showing.repeated),
            None => Timeline::new(&[], &[]),
        }
    }

    /// Returns the maximum number of deviations per run.
    pub fn deviations(&self) -> usize {
        self.deviations
    }

    /// Returns the name of the test.
    pub fn test(&self) -> &str {
        &self.test
    }

    /// Returns the variable and the command that replay a scenario of this report.
    pub(crate) fn replay_line(&self, scenario: &Scenario) -> (String, &str) {
        #[cfg(feature = "proptest")]
        if let Some(case) = &self.case {
            return (format!("RETRYPROOF_SEED='{} {}'", self.test, case.seed), &self.replay_command);
        }
        (format!("RETRYPROOF_REPLAY='{scenario}'"), &self.replay_command)
    }

    /// Renders the report in color, for a terminal.
    pub fn to_ansi(&self) -> String {
        text::render(self, true)
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&text::render(self, false))
    }
}

impl ShownRun {
    /// Prepares a run for the report, and finds the places to mark.
    pub(crate) fn new(
        scenario: Scenario,
        events: Vec<Event>,
        findings: Vec<Finding>,
        effects: &[Effect],
        ordinary_drops: DroppedCalls,
    ) -> Self {
        let (mut marks, mut repeated) = (Vec::new(), Vec::new());
        for event in &events {
            if let crate::system::timeline::EventKind::Deviated { choice, place: Some(place), instead } =
                &event.what
            {
                marks.push(Mark {
                    place: *place,
                    text: words::at(event.by, &words::deviation(choice, *instead)),
                    primary: true,
                });
            }
        }
        for finding in &findings {
            if let Finding::Reused(reuse) = finding {
                if let Some(place) = reuse.place {
                    let text = words::at(reuse.by, &words::reused_here(reuse));
                    // In the fault-free run there is no deviation to mark as the cause.
                    marks.push(Mark { place, text, primary: marks.is_empty() });
                }
            }
            if let Finding::Unhygienic(hygiene) = finding {
                let place = words::unhygienic_place(hygiene);
                marks.extend(place.map(|place| Mark {
                    place,
                    text: words::unhygienic(hygiene),
                    primary: true,
                }));
            }
            if let Finding::Repeated { effect, expected, .. } = finding {
                for again in effects.iter().filter(|other| *other == effect).skip(*expected) {
                    repeated.push(again.id.clone());
                    if let Some(place) = again.place {
                        let text = words::at(again.by, &words::again(again));
                        marks.push(Mark { place, text, primary: false });
                    }
                }
            }
        }
        marks.extend(findings.first().and_then(|first| retry_marks::mark(first, &events)));
        let (effects, order) = (effects.to_vec(), Vec::new());
        Self { scenario, events, findings, marks, repeated, effects, ordinary_drops, order }
    }

    /// The same, compared with the outcome of an order of its jobs.
    pub(crate) fn beside(self, order: Vec<u32>) -> Self {
        Self { order, ..self }
    }

    /// Returns the code of a finding in this run.
    pub(crate) fn code_of(&self, finding: &Finding) -> Code {
        let deviated = self.events.iter().filter_map(|event| match &event.what {
            crate::system::timeline::EventKind::Deviated { choice, .. } => Some(choice),
            _ => None,
        });
        Code::of(finding, codes::Trigger::all(deviated))
    }

    /// Returns the help for a finding of this run.
    pub(crate) fn help(&self, finding: &Finding) -> String {
        let effect = words::effect_of(finding);
        self.code_of(finding).help_after(
            Traits::of(finding, &self.events, &self.effects, &self.ordinary_drops),
            effect.as_deref(),
        )
    }

    /// Returns a sentence for each deviation.
    pub(crate) fn causes(&self) -> Vec<String> {
        let deviated = self.events.iter().filter_map(|event| match &event.what {
            crate::system::timeline::EventKind::Deviated { choice, instead, .. } => {
                Some((event.by, choice, *instead))
            }
            _ => None,
        });
        deviated.map(|(by, choice, instead)| words::at(by, &words::deviation(choice, instead))).collect()
    }

    /// Returns the place of the effect that should not have happened, as `file:line`.
    pub(crate) fn done_at(&self, finding: &Finding) -> Option<String> {
        let of = |effect: &Effect, nth: usize| {
            let done = self.effects.iter().filter(|other| *other == effect).nth(nth);
            done.and_then(|done| done.place).or(effect.place)
        };
        let place = match finding {
            Finding::Repeated { effect, expected, .. } => of(effect, *expected),
            Finding::Unexpected { effect, .. } | Finding::Early { effect, .. } => of(effect, 0),
            Finding::Reused(reuse) => reuse.place,
            Finding::Unhygienic(hygiene) => hygiene.place(),
            _ => None,
        }?;
        Some(format!("{}:{}", place.file, place.line))
    }

    /// Returns the place of the last deviation, as `file:line`.
    pub(crate) fn place(&self) -> Option<String> {
        let place = self.marks.iter().rfind(|mark| mark.primary)?.place;
        Some(format!("{}:{}", place.file, place.line))
    }
}
