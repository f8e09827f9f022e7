//! What an exploration found: data first, text afterwards. The only place that words a failure.

mod codes;
mod coverage;
mod crossing;
mod explored;
mod lines;
mod mishap;
mod source;
mod summary;
mod text;
mod timeline;
pub(crate) mod words;
pub(crate) mod notes;

pub use codes::Code;
use codes::Traits;
pub(crate) use codes::{Drops, dropped};
pub(crate) use coverage::{Coverage, Met, unreached};
pub(crate) use explored::{Samples, Stopped, unexplored};
pub use lines::{FunctionMap, LineCrash, LineMap, PointMap};
pub(crate) use lines::{recovery, wreck};
pub(crate) use mishap::{Courses, Mishap};
#[cfg(feature = "loom")]
pub(crate) use source::excerpt;
pub(crate) use summary::markdown;
pub use timeline::{Timeline, TimelineEvent};

use serde::Serialize;

use crate::judge::oracle::{Finding, Oracle};
use crate::search::choice::Place;
use crate::search::explore::Share;
use crate::search::scenario::Scenario;
use crate::system::effect::Effect;
use crate::system::hygiene::Hygiene;
use crate::system::timeline::Event;

/// What an exploration has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum Verdict {
    /// Every scenario inside the bound ran, and each had an expected outcome. The only one that passes.
    RetryProof,
    /// A scenario had an outcome that no fault-free run has.
    Violated,
    /// Nothing was there that could have gone wrong: no effect and no state, no crash point, no job that ran.
    NothingTested,
    /// The exploration stopped before it had run every scenario inside the bound.
    Incomplete,
    /// The same scenario did not take the same course twice.
    Nondeterministic,
    /// A scenario could go no further, or went on for ever.
    Stuck,
}

/// One thing that is wrong, with the smallest scenario in which it shows.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Violation {
    /// Which sort of violation it is: `RP0001` to be searched for, and what usually mends it.
    pub code: Code,
    /// Who found it.
    pub oracle: Oracle,
    /// What is wrong, in one sentence.
    pub summary: String,
    /// The effect that it is about, as `service.operation`, if it is about one.
    pub effect: Option<String>,
    /// What a fault-free run has.
    pub expected: String,
    /// What this run has.
    pub actual: String,
    /// The run in which it shows.
    pub scenario: Scenario,
    /// What went wrong in that run, in words: one sentence for each deviation.
    pub cause: Vec<String>,
    /// Where in the code: the place of the last deviation, as `file:line`.
    pub place: Option<String>,
    /// How many of the explored runs show it.
    pub runs: u64,
    /// The ways in which it comes about, the plainest first: that of the scenario above.
    pub paths: Vec<Path>,
    /// What it is about, in words that stay the same.
    #[serde(skip)]
    pub(crate) subject: String,
    /// Whether it is left undone, or left otherwise: then each place from which it comes about may be a bug of its own.
    #[serde(skip)]
    pub(crate) is_left: bool,
    /// Where the test body panicked, if it did.
    #[serde(skip)]
    pub(crate) asserted_at: Option<String>,
    /// What to do about it, after this course of events.
    pub help: String,
}

/// One way in which a [`Violation`] comes about.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Path {
    /// Which sort of violation it is after this.
    pub code: Code,
    /// The smallest run in which it comes about in this way.
    pub scenario: Scenario,
    /// What went wrong in that run, in words: one sentence for each deviation.
    pub cause: Vec<String>,
    /// The place of the last deviation, as `file:line`.
    pub place: Option<String>,
    /// How many of the explored runs went this way.
    pub runs: u64,
    /// What went wrong, by names that stay the same when lines move.
    #[serde(skip)]
    pub(crate) identity: Vec<String>,
    /// The same in a few words each.
    #[serde(skip)]
    pub(crate) brief: Vec<&'static str>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// Somebody notices: money or mail twice, or never.
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
            | Finding::Untold { .. }
            | Finding::Told { .. }
            | Finding::NotRun { .. }
            | Finding::DeathUntold { .. }
            | Finding::LockLeft { .. }
            | Finding::Stuck(_) => Self::Job,
        }
    }
}

impl Violation {
    /// Adds the ways of another one that has the same cause.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.runs += other.runs;
        self.paths.extend(other.paths);
        // Two deliveries at once are beyond mending without a key, whatever else leads there.
        if let Some((_, last_resort)) = other.help.split_once('\n') {
            if other.code == Code::RepeatedAtOnce && !self.help.contains(last_resort) {
                self.help.push_str(&format!("\n{last_resort}"));
            }
        }
    }

    /// What it is about, by a name that stays the same when lines move. A test's assertion is known by its own text.
    pub(crate) fn stable_subject(&self) -> String {
        if let Some(place) = &self.asserted_at {
            // What it says may hold the values that it has found.
            let said = || self.summary.chars().filter(|c| !c.is_ascii_digit()).collect();
            return format!("panicked at {}", source::statement_at(place).unwrap_or_else(said));
        }
        without_places(&self.subject)
    }
}

/// A text without the numbers of lines and columns: `src/a.rs:12:5`, `line: 12`.
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

/// What is asking for trouble, where, and what to do instead.
impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = self.place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
        let Self { summary, advice, .. } = self;
        write!(f, "{}{place}: {advice}", words::visible(summary))
    }
}

/// What is wrong, after what, and how it is run again, a line each.
impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&text::of_violation(self))
    }
}

/// Something that works, and is asking for trouble in production. It is no violation unless the test says so
/// ([`World::deny_warnings`](crate::World::deny_warnings)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Warning {
    /// What is done, in one sentence.
    pub summary: String,
    /// What to do instead.
    pub advice: &'static str,
    /// Where in the code, as `file:line`, if it is one place.
    pub place: Option<String>,
}

impl Warning {
    pub(crate) fn new(hygiene: &Hygiene) -> Self {
        let place = words::unhygienic_place(hygiene).map(|place| format!("{}:{}", place.file, place.line));
        Self { summary: words::unhygienic(hygiene), advice: words::hygiene_advice(hygiene), place }
    }
}

/// What an exploration found.
///
/// Its `Display` is the report for people, its `Serialize` the one for programs. Both are the same in every run of
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
    /// Why it is this verdict, where it is not for a violation.
    pub(crate) reason: Option<String>,
    pub(crate) violations: Vec<Violation>,
    pub(crate) runs: u64,
    pub(crate) deviations: usize,
    pub(crate) exhausted: bool,
    /// As many runs there are at the least.
    pub(crate) at_least: u64,
    /// Runs that showed a violation.
    pub(crate) violated: u64,
    /// Why it ended before all was run, if it did so because of what it had found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stopped: Option<Stopped>,
    /// Runs that were ended where another one had gone on from the same state.
    pub(crate) merged: u64,
    /// Runs that were left out as equal to another one.
    #[serde(skip_serializing_if = "is_none")]
    pub(crate) reduced: u64,
    /// What was drawn past the bound.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) samples: Vec<Samples>,
    /// Which shard of the exploration this is, if it was split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) share: Option<Share>,
    /// What the bounds, or the world's shape, kept from being explored.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) unexplored: Vec<String>,
    pub(crate) notes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<Warning>,
    pub(crate) lines: LineMap,
    #[serde(skip)]
    pub(crate) replayed: bool,
    /// How many scenarios that had failed once were tried first; nothing else was then explored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kept: Option<u64>,
    /// What the exploration covers, where somebody asks for it.
    #[serde(skip)]
    pub(crate) coverage: Option<Coverage>,
    /// What is run to replay a scenario.
    #[serde(skip)]
    pub(crate) replay_command: String,
    #[serde(skip)]
    pub(crate) showing: Option<Showing>,
    /// The same for all violations and all of their paths, where another one may come to stand first.
    #[serde(skip)]
    pub(crate) showings: Vec<Vec<Showing>>,
    /// A limit has kept scenarios from being run, and nothing else is the matter.
    #[serde(skip)]
    pub(crate) is_limited: bool,
    /// The data of this report, where they were drawn.
    #[cfg(feature = "proptest")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) case: Option<Case>,
}

/// Data that were drawn and made smaller.
#[cfg(feature = "proptest")]
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Case {
    /// As its `Debug` has it.
    pub(crate) case: String,
    pub(crate) seed: String,
    /// Cases that held before it.
    #[serde(skip)]
    pub(crate) held: u32,
    /// The file in which the seed was kept.
    #[serde(skip)]
    pub(crate) kept: Option<String>,
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

/// A run that is shown: what happened in it, and what is wrong with it.
#[derive(Clone, Debug)]
pub(crate) struct Showing {
    pub(crate) scenario: Scenario,
    pub(crate) events: Vec<Event>,
    pub(crate) findings: Vec<Finding>,
    /// Places to be marked in the source, with what is to be said of them.
    pub(crate) marks: Vec<Mark>,
    /// The ids of effects that happened too often.
    pub(crate) repeated: Vec<String>,
    /// All effects of the run.
    effects: Vec<Effect>,
    /// The calls that are dropped when nothing goes wrong.
    ordinary_drops: Drops,
    /// The order of the jobs of which the expected outcome is; none: that of the fault-free run.
    order: Vec<u32>,
}

/// A place in the source and what is to be said of it.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    pub(crate) place: Place,
    pub(crate) text: String,
    /// Where it went wrong, as opposed to where it shows.
    pub(crate) primary: bool,
}

impl Report {
    /// Whether the test passes: every scenario inside the bound ran, and each had an expected outcome.
    pub fn is_retryproof(&self) -> bool {
        self.verdict == Verdict::RetryProof
    }

    /// What the exploration has shown.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Why it is this verdict, where it is not for a violation: what was not tested, what was not deterministic, who
    /// is stuck.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Which sort of thing is wrong: the code of the first violation; where there is none, of the verdict. Nothing where
    /// nothing is wrong with the job, nor with the bounds: the test passes, or could not be run as it was asked for.
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

    /// Puts a violation first, and one of its paths, and shows the scenario of that.
    pub(crate) fn lead_with(&mut self, (at, path): (usize, usize)) {
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

    /// What is wrong, a cause each, with the ways in which it comes about. The worst comes first: effects that happened
    /// too often or never, then wrong state, then jobs that ended otherwise, then warnings; of those as bad, the one with
    /// the plainest scenario. Where
    /// [`Explore::ratchet`](crate::Explore::ratchet) knows some of them, the first that is new.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// What some run did that works and is asking for trouble, each once: a call to the outside, or an enqueue, while a
    /// transaction of the store is open; a pool of connections smaller than the slots of its process.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// How many runs were judged, the reference run among them. Runs that were only repeated are not counted.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// How many runs were drawn past the bound ([`Explore::random`](crate::Explore::random),
    /// [`Explore::pct`](crate::Explore::pct)). They are not among [`Report::runs`].
    pub fn sampled(&self) -> u64 {
        self.samples.iter().map(|samples| samples.runs).sum()
    }

    /// Whether every scenario inside the bound ran; of a shard, every one of its own.
    pub fn exhausted(&self) -> bool {
        self.exhausted
    }

    /// How many runs were ended early because another one had gone on from the same state, with as much yet to come
    /// ([`Explore::merge`](crate::Explore::merge)). They are not among [`Report::runs`].
    pub fn merged(&self) -> u64 {
        self.merged
    }

    /// How many runs were left out since another one is equal to them ([`Explore::reduce`](crate::Explore::reduce)): runs with
    /// one deviation more than one that was run. What would have come of them is not counted.
    pub fn reduced(&self) -> u64 {
        self.reduced
    }

    /// The map of the jobs: for each line of their `#[crash_points]` functions, the state after a crash there, the
    /// state after recovery, and the verdict. Lines that were never reached are shown as such.
    ///
    /// It is made by crashing once at each line passed in the run in which nothing goes wrong, whatever the bound.
    pub fn by_line(&self) -> &LineMap {
        &self.lines
    }

    /// What happened in the run that the report shows: that of its first violation, or the replayed one. Empty where none
    /// is shown.
    pub fn timeline(&self) -> Timeline {
        match &self.showing {
            Some(showing) => Timeline::new(&showing.events, &showing.repeated),
            None => Timeline::new(&[], &[]),
        }
    }

    /// The most deviations that a run had.
    pub fn deviations(&self) -> usize {
        self.deviations
    }

    /// The name of the test.
    pub fn test(&self) -> &str {
        &self.test
    }

    /// What is pasted to see a scenario of this report again: a variable, and a command.
    fn replay_line(&self, scenario: &Scenario) -> (String, &str) {
        #[cfg(feature = "proptest")]
        if let Some(case) = &self.case {
            return (format!("RETRYPROOF_SEED='{} {}'", self.test, case.seed), &self.replay_command);
        }
        (format!("RETRYPROOF_REPLAY='{scenario}'"), &self.replay_command)
    }

    /// The report in colour, for a terminal.
    pub fn to_ansi(&self) -> String {
        text::render(self, true)
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&text::render(self, false))
    }
}

impl Showing {
    /// Shows a run: finds the places to mark.
    pub(crate) fn new(
        scenario: Scenario,
        events: Vec<Event>,
        findings: Vec<Finding>,
        effects: &[Effect],
        ordinary_drops: Drops,
    ) -> Self {
        let (mut marks, mut repeated) = (Vec::new(), Vec::new());
        for event in &events {
            if let crate::system::timeline::What::Deviated { choice, place: Some(place), instead } =
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
                    // In the run in which nothing goes wrong there is no other place to blame.
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
        let (effects, order) = (effects.to_vec(), Vec::new());
        Self { scenario, events, findings, marks, repeated, effects, ordinary_drops, order }
    }

    /// The same, compared with the outcome of an order of its jobs.
    pub(crate) fn beside(self, order: Vec<u32>) -> Self {
        Self { order, ..self }
    }

    /// Which sort of violation it is, of a finding in this run.
    pub(crate) fn code_of(&self, finding: &Finding) -> Code {
        let deviated = self.events.iter().filter_map(|event| match &event.what {
            crate::system::timeline::What::Deviated { choice, .. } => Some(choice),
            _ => None,
        });
        Code::of(finding, codes::After::all(deviated))
    }

    /// What to do about a finding of this run.
    pub(crate) fn help(&self, finding: &Finding) -> String {
        let effect = words::effect_of(finding);
        self.code_of(finding).help_after(
            Traits::of(finding, &self.events, &self.effects, &self.ordinary_drops),
            effect.as_deref(),
        )
    }

    /// What went wrong, in words.
    pub(crate) fn causes(&self) -> Vec<String> {
        let deviated = self.events.iter().filter_map(|event| match &event.what {
            crate::system::timeline::What::Deviated { choice, instead, .. } => {
                Some((event.by, choice, *instead))
            }
            _ => None,
        });
        deviated.map(|(by, choice, instead)| words::at(by, &words::deviation(choice, instead))).collect()
    }

    /// Where that was done which should not have been, as `file:line`.
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

    /// Where the last deviation was.
    pub(crate) fn place(&self) -> Option<String> {
        let place = self.marks.iter().rfind(|mark| mark.primary)?.place;
        Some(format!("{}:{}", place.file, place.line))
    }
}
