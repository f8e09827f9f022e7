//! Refusals that made no difference: the job did all the same.

use super::Finding;
use crate::judge::run::{End, Outcome};
use crate::search::choice::{Actor, Choice, Point, Site};
use crate::search::input::Asked;
use crate::system::job::Job;

/// Whether a refusal was ignored. `refused` and `accepted` are the outcomes of two fault-free runs whose inputs differ in
/// this one answer, `record` the choices of the one in which the request was refused.
///
/// It was, if the job went on to write something, and nothing differs but that what it asked for did not happen.
pub(crate) fn ignored(
    refused: &Outcome,
    record: &[Choice],
    accepted: &Outcome,
    asked: &Asked,
) -> Option<Finding> {
    let (by, service, operation) = asked.refused()?;
    let guarantee = refused.terms.guarantee(service, operation);
    if guarantee.may_lack() {
        return None;
    }
    let is_same = |end: &End| *end == End::Completed;
    if !is_same(&refused.end) || !is_same(&accepted.end) || !goes_on(record, asked.at, by) {
        return None;
    }
    let ends = |job: &Job| (job.kind, job.payload.clone(), job.state);
    let same_jobs = refused.jobs.iter().map(ends).eq(accepted.jobs.iter().map(ends));
    if !same_jobs || refused.state != accepted.state {
        return None;
    }
    // Each effect of the one run is taken out of those of the other: what is left are the effects that it lacks.
    let mut lacking: Vec<_> = accepted.effects.iter().collect();
    for effect in &refused.effects {
        let at = lacking.iter().position(|other| *other == effect)?;
        lacking.remove(at);
    }
    let is_asked_for = |effect: &&crate::Effect| (effect.service, effect.operation) == (service, operation);
    if lacking.is_empty() || !lacking.iter().all(is_asked_for) {
        return None;
    }
    let kind = match by {
        Actor::Attempt { job, .. } => refused.jobs.iter().find(|known| known.number == job)?.kind,
        _ => return None,
    };
    Some(Finding::RefusalIgnored { service, operation, refusal: asked.answer(), kind })
}

/// Whether a job writes anything after the call that met this choice.
fn goes_on(record: &[Choice], at: usize, by: Actor) -> bool {
    let Actor::Attempt { job, .. } = by else { return false };
    let is_write = |choice: &&Choice| {
        let is_its = matches!(choice.label.actor, Actor::Attempt { job: other, .. } if other == job);
        is_its && choice.label.point == Point::Happened && matches!(choice.label.site, Site::Call { .. })
    };
    // The first is that of the refused call itself.
    record[at.min(record.len())..].iter().filter(is_write).nth(1).is_some()
}
