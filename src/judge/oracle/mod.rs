//! The oracles: pure functions from outcomes to findings. They run nothing, and contain no texts.
//!
//! The expected outcomes are those of fault-free runs: the reference run and, if a run differs from it, the
//! one-at-a-time orders of its jobs that the run itself allows. An outcome consists of its effects as a multiset, the
//! durable and observed state, and the end of each job, up to the names of generated values.

mod renaming;
mod accounted;
mod early;
mod effects;
mod half_way;
mod ordered;
mod orders;
mod refusals;
mod state;
mod dates;
mod times;

pub(crate) use early::early;
pub(crate) use effects::least_differences;
pub(crate) use half_way::half_way;
pub(crate) use orders::Orders;
pub(crate) use refusals::ignored;
pub(crate) use renaming::generated;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::engine::panics::CaughtPanic;
use crate::engine::state::{Culprit, Stuck};
use crate::judge::run::{End, Outcome};
use crate::search::choice::Name;
use crate::system::effect::{Effect, Reuse};
use crate::system::generated::Forms;
use crate::system::hygiene::Hygiene;
use crate::system::job::{Job, JobState};
use crate::system::script::Roles;
use crate::world::{ComparisonRules, Guarantee, JobTerm};

use renaming::{RenamedOutcome, Renaming};
use times::Times;

/// The maximum number of name assignments to try, if some values cannot be distinguished by where they occur.
const MOST_NAMINGS: usize = 6;

/// The oracle that found a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Oracle {
    /// The outcome differs from that of the reference run.
    Reference,
    /// The outcome differs from those of all one-at-a-time orders of the jobs.
    Serial,
    /// An effect violated its guarantee.
    Guarantee,
    /// A job vanished, or could not run.
    Accounted,
    /// The test body or an invariant panicked.
    Body,
    /// The effects of a job depend on the job that ran before it on the same thread, or in the same process.
    Isolation,
    /// The code does something risky, and the test denies warnings.
    Hygiene,
}

/// Something that is wrong with an outcome.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Finding {
    /// An effect happened more often than its guarantee allows.
    Repeated { effect: Effect, expected: usize, actual: usize },
    /// An effect happened less often than its guarantee allows.
    Missing { effect: Effect, expected: usize, actual: usize },
    /// A request never happened, because it was answered with the stored answer of another request with the same key.
    Reused(Reuse),
    /// An effect happened that happens in no fault-free run, perhaps in place of another effect.
    Unexpected { effect: Effect, instead: Option<Effect>, serial: bool },
    /// A state differs.
    State { name: Name, path: String, expected: Option<Value>, actual: Option<Value>, serial: bool },
    /// A job of the fault-free run was never enqueued, or ended differently.
    Job { kind: &'static str, payload: String, expected: JobState, actual: Option<JobState>, serial: bool },
    /// A job died although it failed more often than it had deviations.
    Died { kind: &'static str, payload: String, failures: u32, went_wrong: usize, error: String },
    /// A job gave up halfway: an effect that happened, and one that did not.
    HalfWay { kind: &'static str, payload: String, error: String, did: Box<Finding>, lacks: Box<Finding> },
    /// An effect happened too early: how long the job waited, and how long it should have waited.
    Early { effect: Effect, waited: Duration, expected: Duration },
    /// A job was lost when its worker crashed, because the queue had already removed it.
    Lost { kind: &'static str, payload: String },
    /// A job ended dead, and was not reported.
    Unreported { kind: &'static str, payload: String },
    /// A job reported its failures in several attempts although it is dead, or in any attempt although it ended well.
    Told { kind: &'static str, payload: String, attempts: usize, dead: bool },
    /// A job could not run at all.
    NotRun { kind: &'static str, payload: String, error: String },
    /// The death handlers did not complete for a death, or completed several times.
    DeathUnreported { kind: &'static str, payload: String, deaths: u32, told: u32 },
    /// A lock that never expires is held by a job that no longer exists. `holder` describes it.
    LockLeft { kind: &'static str, key: String, holder: String },
    /// An effect happened before its predecessor.
    OutOfOrder { effect: Effect, before: String },
    /// A request was refused, and the job did everything that it does when the request is accepted. Or it made this effect,
    /// which is only made in return for the request.
    RefusalIgnored {
        service: Name,
        operation: Name,
        refusal: Name,
        kind: &'static str,
        all_the_same: Option<Effect>,
    },
    /// The test body panicked.
    Panicked(CaughtPanic),
    /// The run could not continue.
    Stuck(Stuck),
    /// The code does something risky.
    Unhygienic(Hygiene),
    /// The finding disappears if each job starts in a freshly booted process.
    Leaked(Box<Finding>),
}

impl Finding {
    pub(crate) fn oracle(&self) -> Oracle {
        let compared = |serial: bool| if serial { Oracle::Serial } else { Oracle::Reference };
        match self {
            Finding::Repeated { .. } | Finding::Missing { .. } | Finding::Reused(_) => Oracle::Guarantee,
            Finding::Unexpected { serial, .. }
            | Finding::State { serial, .. }
            | Finding::Job { serial, .. } => compared(*serial),
            Finding::Early { .. } => Oracle::Reference,
            Finding::Died { .. }
            | Finding::HalfWay { .. }
            | Finding::DeathUnreported { .. }
            | Finding::LockLeft { .. }
            | Finding::Lost { .. }
            | Finding::NotRun { .. }
            | Finding::Unreported { .. }
            | Finding::Told { .. } => Oracle::Accounted,
            Finding::RefusalIgnored { .. } => Oracle::Reference,
            Finding::OutOfOrder { .. } => Oracle::Body,
            Finding::Panicked(CaughtPanic { of: Some(Culprit::Boot(_)), .. }) => Oracle::Accounted,
            Finding::Panicked(_) => Oracle::Body,
            Finding::Stuck(_) => Oracle::Accounted,
            Finding::Unhygienic(_) => Oracle::Hygiene,
            Finding::Leaked(_) => Oracle::Isolation,
        }
    }

    /// Returns the part of the finding that inputs may change. Two findings on different inputs with the same content are
    /// one bug.
    pub(crate) fn content(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Finding::Repeated { effect, .. }
            | Finding::Missing { effect, .. }
            | Finding::Unexpected { effect, .. }
            | Finding::Early { effect, .. } => (effect.key.as_deref(), Some(&effect.body)),
            Finding::Reused(reuse) => (Some(&reuse.key), Some(&reuse.second)),
            Finding::State { path, .. } => (None, Some(path)),
            Finding::Leaked(finding) => finding.content(),
            _ => (None, None),
        }
    }

    /// Returns the effect that is left undone, or the part of a state that is left otherwise.
    pub(crate) fn part(&self) -> Option<String> {
        match self {
            Finding::Missing { effect, .. } => Some(effect.name()),
            Finding::State { path, .. } => Some(path.clone()),
            _ => None,
        }
    }

    /// Returns what the finding is about, without array positions and payloads, so that it is the same for the same
    /// cause.
    pub(crate) fn subject(&self) -> String {
        match self {
            Finding::Repeated { effect, .. } => format!("repeated {}", effect.name()),
            Finding::Missing { effect, .. } => format!("missing {}", effect.name()),
            Finding::Unexpected { effect, .. } => format!("unexpected {}", effect.name()),
            Finding::Reused(reuse) => format!("reused {}.{}", reuse.service, reuse.operation),
            Finding::State { name, path, .. } => {
                let path: String = path.chars().filter(|c| !c.is_ascii_digit()).collect();
                format!("state {name} {path}")
            }
            Finding::Job { kind, actual, .. } => format!("job {kind} {actual:?}"),
            Finding::Died { kind, .. } => format!("died {kind}"),
            Finding::HalfWay { kind, .. } => format!("half-way {kind}"),
            Finding::Early { effect, .. } => format!("early {}", effect.name()),
            Finding::Lost { kind, .. } => format!("lost {kind}"),
            Finding::NotRun { kind, .. } => format!("not run {kind}"),
            Finding::Unreported { kind, .. } => format!("untold {kind}"),
            Finding::Told { kind, dead, .. } => format!("told {kind} {dead}"),
            Finding::DeathUnreported { kind, .. } => format!("death untold {kind}"),
            Finding::LockLeft { kind, .. } => format!("lock left {kind}"),
            Finding::OutOfOrder { effect, before } => format!("out of order {} {before}", effect.name()),
            Finding::RefusalIgnored { service, operation, kind, .. } => {
                format!("refusal ignored {service}.{operation} {kind}")
            }
            Finding::Panicked(CaughtPanic { of: Some(Culprit::Invariant(name)), .. }) => {
                format!("invariant {name}")
            }
            Finding::Panicked(CaughtPanic { of: Some(Culprit::Boot(name)), .. }) => format!("boot {name}"),
            Finding::Panicked(panicked) => format!("panicked {:?}", panicked.place),
            Finding::Stuck(stuck) => format!("stuck {}", stuck.name()),
            Finding::Unhygienic(hygiene) => format!("hygiene {}", hygiene.subject()),
            Finding::Leaked(finding) => format!("leaked {}", finding.subject()),
        }
    }
}

impl ComparisonRules {
    /// Returns the guarantee of a whole service: the last one stated for it or for any of its operations.
    fn guarantee_of(&self, service: Name) -> Guarantee {
        let names = |allowed: &str| allowed.split('.').next() == Some(service.as_str());
        self.allowed
            .iter()
            .rev()
            .find(|(allowed, _)| names(allowed))
            .map_or(Guarantee::default(), |(_, guarantee)| *guarantee)
    }

    /// Whether jobs of this kind may give up halfway.
    pub(crate) fn may_stop_half_way(&self, kind: &str) -> bool {
        self.accepts(kind, JobTerm::HalfWay)
    }

    /// Returns the guarantee of an effect: the last one stated for it.
    pub(crate) fn guarantee(&self, service: Name, operation: Name) -> Guarantee {
        let names = |allowed: &str| crate::world::names(allowed, service, operation);
        self.allowed
            .iter()
            .rev()
            .find(|(allowed, _)| names(allowed))
            .map_or(Guarantee::default(), |(_, g)| *g)
    }
}

/// Whether two outcomes are literally the same. Most are, and need no further comparison.
pub(crate) fn same(one: &Outcome, other: &Outcome) -> bool {
    let jobs = |job: &Job| (job.kind, job.state);
    one.end == other.end
        && one.effects == other.effects
        && one.state == other.state
        && one.jobs.len() == other.jobs.len()
        && one.jobs.iter().zip(&other.jobs).all(|(a, b)| jobs(a) == jobs(b) && a.payload == b.payload)
}

/// Whether two outcomes are the same in everything that comparisons use, including who did what and when.
pub(crate) fn identical(one: &Outcome, other: &Outcome) -> bool {
    let effects = |outcome: &Outcome| -> Vec<_> {
        outcome.effects.iter().map(|effect| (effect.by, effect.at, effect.id.clone())).collect()
    };
    let times = |outcome: &Outcome| -> Vec<_> {
        let history = outcome.jobs.iter().map(|job| job.history);
        history.map(|history| (history.born_at, history.due, history.began_at)).collect()
    };
    same(one, other) && effects(one) == effects(other) && times(one) == times(other)
}

/// Returns what is wrong with an outcome regardless of what is expected.
pub(crate) fn alone(outcome: &Outcome) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let End::Panicked(panicked) = &outcome.end {
        findings.push(Finding::Panicked(panicked.clone()));
    }
    effects::reused(outcome, &mut findings);
    effects::between(outcome, &mut findings);
    if outcome.terms.warnings_denied {
        findings.extend(outcome.record.hygiene().iter().cloned().map(Finding::Unhygienic));
    }
    accounted::judge(outcome, &mut findings);
    accounted::locks(outcome, &mut findings);
    ordered::judge(outcome, &mut findings);
    if let Some(service) = outcome.record.told_of_failures() {
        accounted::told(outcome, outcome.terms.guarantee_of(service), &mut findings);
    }
    findings
}

/// The numbers of jobs that may end differently than expected, because they gave up due to their deviations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Excuses(BTreeSet<u32>);

impl Excuses {
    /// Makes excuses for the jobs of an outcome with these indices.
    pub(crate) fn of(outcome: &Outcome, places: &[usize]) -> Self {
        Self(places.iter().map(|at| outcome.jobs[*at].number).collect())
    }
}

/// Returns the indices of the jobs that gave up due to their deviations.
pub(crate) fn excused(outcome: &Outcome) -> Vec<usize> {
    (0..outcome.jobs.len()).filter(|at| accounted::is_excused(&outcome.jobs[*at], outcome)).collect()
}

/// An outcome and an expected one, which was renamed to the generated values of the first.
#[derive(Clone)]
struct Comparison<'o> {
    outcome: &'o Outcome,
    effects: Cow<'o, [Effect]>,
    state: Cow<'o, [(Name, String)]>,
    jobs: Cow<'o, [Job]>,
    /// The numbers of the roles of the jobs in the run, and in the expected outcome. Equal numbers mean the same job.
    roles: Vec<u32>,
    expected_roles: Vec<u32>,
    /// How the generated values of the run are written, if there are any.
    forms: Option<&'o Forms>,
    excuses: &'o Excuses,
    serial: bool,
}

impl Comparison<'_> {
    /// Returns the findings in comparison with this expected outcome.
    fn beside(&mut self, expected: RenamedOutcome) -> Vec<Finding> {
        self.effects = Cow::Owned(expected.effects);
        self.state = Cow::Owned(expected.state);
        self.jobs = Cow::Owned(expected.jobs);
        self.findings()
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        accounted::judge_deaths(self, &mut findings);
        effects::compare(self, &mut findings);
        state::compare(self, &mut findings);
        if findings.is_empty() {
            accounted::compare(self, &mut findings);
        }
        findings
    }
}

/// Returns the differences between an outcome and an expected one that the test's terms do not allow. `serial` says
/// that there may be more than one expected outcome.
pub(crate) fn differences(
    outcome: &Outcome,
    expected: &Outcome,
    serial: bool,
    excuses: &Excuses,
) -> Vec<Finding> {
    let early = || early(outcome, expected).into_iter().collect();
    if same(outcome, expected) {
        return early();
    }
    let (roles, expected_roles) = roles(outcome, expected);
    let mut comparison = Comparison {
        outcome,
        effects: Cow::Borrowed(&expected.effects),
        state: Cow::Borrowed(&expected.state),
        jobs: Cow::Borrowed(&expected.jobs),
        roles,
        expected_roles,
        forms: None,
        excuses,
        serial,
    };
    let literal = comparison.findings();
    if literal.is_empty() {
        return early();
    }
    let times = Times::new(outcome, expected);
    let adjusted = |renamed: RenamedOutcome| match &times {
        Some(times) => times.adjust(outcome, renamed),
        None => renamed,
    };
    let mut nearest: Option<Vec<Finding>> = None;
    let mut offer = |findings: Vec<Finding>| {
        if nearest.as_ref().is_none_or(|known| findings.len() < known.len()) {
            nearest = Some(findings);
        }
    };
    if times.is_some() {
        let (effects, state, jobs) =
            (expected.effects.clone(), expected.state.clone(), expected.jobs.clone());
        let findings = comparison.beside(adjusted(RenamedOutcome { effects, state, jobs }));
        if findings.is_empty() {
            return early();
        }
        offer(findings);
    }
    for sorted in [false, true] {
        let Some(renaming) = Renaming::new(outcome, expected, sorted) else { break };
        let forms = renaming.forms();
        for alternative in 0..MOST_NAMINGS {
            let renamed = renaming.rename(expected, alternative);
            let renamed = if sorted { renaming.sort(outcome, expected, renamed) } else { renamed };
            let mut comparison = Comparison { forms: Some(forms), ..comparison.clone() };
            let findings = comparison.beside(adjusted(renamed));
            if findings.is_empty() {
                return early();
            }
            offer(findings);
        }
        if !renaming.has_sorted_lists() {
            break;
        }
    }
    nearest.unwrap_or(literal)
}

/// Returns the numbers of the roles of the jobs of two outcomes. In most runs both have the same jobs in the same
/// order.
fn roles(outcome: &Outcome, expected: &Outcome) -> (Vec<u32>, Vec<u32>) {
    let (jobs, others) = (&outcome.jobs, &expected.jobs);
    let is_same = |(a, b): (&Job, &Job)| (a.kind, a.parent, a.came_as()) == (b.kind, b.parent, b.came_as());
    if jobs.len() == others.len() && jobs.iter().zip(others).all(is_same) {
        let numbers: Vec<u32> = (1..=jobs.len() as u32).collect();
        return (numbers.clone(), numbers);
    }
    let mut roles = Roles::default();
    let mut cast = |of: &Outcome| -> Vec<u32> {
        roles.of(&of.jobs, &generated(of)).into_iter().map(|(_, number)| number).collect()
    };
    (cast(outcome), cast(expected))
}

/// Returns the differences between the outcome of jobs that ran one after the other, and that of the same jobs in the
/// same order, each in a freshly booted process.
pub(crate) fn isolation(outcome: &Outcome, isolated: &Outcome) -> Vec<Finding> {
    let leaked = |finding| Finding::Leaked(Box::new(finding));
    differences(outcome, isolated, false, &Excuses::default()).into_iter().map(leaked).collect()
}
