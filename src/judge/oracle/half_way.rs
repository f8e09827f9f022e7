//! Checks that a job that gives up did everything or nothing.

use serde_json::Value;

use super::{Excuses, Finding, differences};
use crate::judge::run::Outcome;
use crate::search::choice::Name;
use crate::system::effect::Effect;
use crate::system::job::Job;

/// The subject of a finding.
#[derive(Clone, Debug, PartialEq)]
enum Subject<'f> {
    Effect(&'f Effect),
    /// A state, a path in it, and the elements that only one side of a list has.
    State(Name, &'f str, Vec<&'f Value>),
    Job(&'static str),
}

impl<'f> Subject<'f> {
    fn of(finding: &'f Finding) -> Option<Self> {
        match finding {
            Finding::Repeated { effect, .. }
            | Finding::Missing { effect, .. }
            | Finding::Unexpected { effect, .. } => Some(Subject::Effect(effect)),
            Finding::State { name, path, expected, actual, .. } => {
                let lists = [expected, actual].map(|value| value.as_ref().and_then(Value::as_array));
                let [one, other] = lists.map(|list| list.map(Vec::as_slice).unwrap_or_default());
                let only = |these: &'f [Value], those: &[Value]| -> Vec<&'f Value> {
                    these.iter().filter(|element| !those.contains(element)).collect()
                };
                Some(Subject::State(*name, path, [only(one, other), only(other, one)].concat()))
            }
            Finding::Job { kind, .. } => Some(Subject::Job(kind)),
            _ => None,
        }
    }

    /// Whether this subject is within the other one.
    fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (Subject::State(one, path, elements), Subject::State(other, of, others)) => {
                let within = path.strip_prefix(of).is_some_and(|rest| rest.starts_with(['.', '[']));
                let is_in = |element| others.contains(element);
                one == other && (within || path == of && elements.iter().all(is_in))
            }
            (one, other) => one == other,
        }
    }
}

/// Returns what is wrong with an outcome in which a job gave up halfway. `with` is expected if the job ran, and
/// `without` if it did not. Returns `None` if the job did everything or nothing, so that something else is wrong.
pub(crate) fn half_way(
    outcome: &Outcome,
    job: &Job,
    with: &Outcome,
    without: &Outcome,
    excuses: &Excuses,
) -> Option<Vec<Finding>> {
    let own = differences(with, without, true, excuses);
    let own: Vec<_> = own.iter().filter_map(Subject::of).collect();
    let is_own = |finding: &&Finding| {
        !exceeds(finding)
            && Subject::of(finding).is_some_and(|subject| own.iter().any(|other| subject.is_within(other)))
    };
    let lacks = differences(outcome, with, true, excuses);
    let did = differences(outcome, without, true, excuses);
    let first_lacking = lacks.iter().find(is_own)?.clone();
    let first_done = did.iter().find(|finding| {
        Subject::of(finding).is_some_and(|subject| own.iter().any(|other| subject.is_within(other)))
    })?;
    let mut findings: Vec<_> = lacks.iter().filter(|finding| !is_own(finding)).cloned().collect();
    if !outcome.terms.may_stop_half_way(job.kind) {
        let error = job.error().unwrap_or_default().to_owned();
        let (did, lacks) = (Box::new(first_done.clone()), Box::new(first_lacking));
        let (kind, payload) = (job.kind, job.payload.to_string());
        findings.push(Finding::HalfWay { kind, payload, error, did, lacks });
    }
    Some(findings)
}

/// Whether more happened than the whole job does.
fn exceeds(finding: &Finding) -> bool {
    matches!(finding, Finding::Repeated { .. })
}
