//! Finds refusals that made no difference to the job.

use super::{Excuses, Finding, differences};
use crate::judge::run::{End, Outcome};
use crate::search::choice::{Actor, Choice, Point, Site};
use crate::search::input::InputQuestion;

/// Whether a refusal was ignored. `refused` and `accepted` are the outcomes of two fault-free runs whose inputs differ
/// in this answer, and `record` holds the choices of the run in which the request was refused.
///
/// The refusal was ignored if the job continued and wrote something, and the only difference is that the requested
/// effect did not happen.
pub(crate) fn ignored(
    refused: &Outcome,
    record: &[Choice],
    accepted: &Outcome,
    asked: &InputQuestion,
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
    if !refused.terms.ignored.is_empty() && refused.state != accepted.state {
        // What the job did with the answer may be somewhere that the test does not observe.
        return None;
    }
    // Generated values differ in each run, which is no difference.
    let differences = differences(refused, accepted, false, &Excuses::default());
    let is_asked_for = |finding: &Finding| match finding {
        Finding::Missing { effect, .. } => (effect.service, effect.operation) == (service, operation),
        _ => false,
    };
    if differences.is_empty() || !differences.iter().all(is_asked_for) {
        return None;
    }
    // A guarantee may hide that the job did less, or more.
    let others = |outcome: &Outcome| {
        let mut others: Vec<_> = outcome.effects.iter().map(|e| (e.service, e.operation)).collect();
        others.retain(|name| *name != (service, operation));
        others.sort_unstable();
        others
    };
    let kinds =
        |outcome: &Outcome| -> Vec<_> { outcome.jobs.iter().map(|job| (job.kind, job.state)).collect() };
    if others(refused) != others(accepted) || kinds(refused) != kinds(accepted) {
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
    // The first write is the refused call itself.
    record[at.min(record.len())..].iter().filter(is_write).nth(1).is_some()
}
