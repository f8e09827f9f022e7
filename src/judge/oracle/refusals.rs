//! Finds refusals that made no difference to the job.

use serde_json::Value;

use super::{Excuses, Finding, differences};
use crate::judge::run::{End, Outcome};
use crate::search::choice::{Actor, Choice, Name, Point, Site};
use crate::search::input::InputQuestion;
use crate::system::effect::Effect;

/// Whether a refusal was ignored. `refused` and `accepted` are the outcomes of two fault-free runs whose inputs differ
/// in this answer, and `record` holds the choices of the run in which the request was refused.
///
/// The refusal was ignored if the job continued and wrote something, and the only difference is that the requested
/// effect did not happen. Or if the job makes an effect that is only made in return for the request.
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
    if !is_same(&refused.end) || !is_same(&accepted.end) {
        return None;
    }
    let Actor::Attempt { job, .. } = by else { return None };
    let kind = refused.jobs.iter().find(|known| known.number == job)?.kind;
    let refusal = asked.answer();
    let ignored = |all_the_same| Finding::RefusalIgnored { service, operation, refusal, kind, all_the_same };
    let goes_on = goes_on(record, asked.at, by);
    if goes_on && makes_no_difference(refused, accepted, (service, operation)) {
        return Some(ignored(None));
    }
    delivered(refused, record, accepted, asked, goes_on.then_some(job)).map(|effect| ignored(Some(effect)))
}

/// Whether nothing differs but that what was asked for did not happen.
fn makes_no_difference(refused: &Outcome, accepted: &Outcome, (service, operation): (Name, Name)) -> bool {
    if !refused.terms.ignored.is_empty() && refused.state != accepted.state {
        // What the job did with the answer may be somewhere that the test does not observe.
        return false;
    }
    // Generated values differ in each run, which is no difference.
    let differences = differences(refused, accepted, false, &Excuses::default());
    let is_asked_for = |finding: &Finding| match finding {
        Finding::Missing { effect, .. } => (effect.service, effect.operation) == (service, operation),
        _ => false,
    };
    if differences.is_empty() || !differences.iter().all(is_asked_for) {
        return false;
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
    others(refused) == others(accepted) && kinds(refused) == kinds(accepted)
}

/// The operations that are only made in return for each other: a customer who pays gets a parcel, and a customer who gets a
/// parcel pays.
const IN_RETURN: [(&str, &str); 2] = [("payments", "charge"), ("fulfillment", "request")];

/// The effect in return for which there is nothing, if there is one: the job, or one that comes of it, delivers the same
/// as when the request is accepted, or any job delivers it for the same order. Then it makes no difference what else was
/// made of the answer: it may be noted, mailed, or handed on.
fn delivered(
    refused: &Outcome,
    record: &[Choice],
    accepted: &Outcome,
    asked: &InputQuestion,
    job: Option<u32>,
) -> Option<Effect> {
    let (_, service, operation) = asked.refused()?;
    let is = |of: (&str, &str), service: Name, operation: Name| of == (service.as_str(), operation.as_str());
    let place = IN_RETURN.iter().position(|of| is(*of, service, operation))?;
    let other = IN_RETURN[1 - place];
    let all = |outcome: &Outcome, of: (&str, &str)| -> Vec<String> {
        let all = outcome.effects.iter().filter(|effect| is(of, effect.service, effect.operation));
        let mut bodies: Vec<_> = all.map(|effect| effect.body.clone()).collect();
        bodies.sort();
        bodies
    };
    // With a second card, say, it was paid for after all. And one may pay for less, or get less.
    let was_paid = all(refused, IN_RETURN[place]).len() >= all(accepted, IN_RETURN[place]).len();
    if was_paid || all(refused, other) != all(accepted, other) {
        return None;
    }
    let comes_of_it = |mut number: u32| loop {
        match number {
            0 => break false,
            _ if Some(number) == job => break true,
            _ => number = refused.jobs[number as usize - 1].parent,
        }
    };
    let order = lacking_order(refused, accepted, IN_RETURN[place]);
    let is_related =
        |effect: &Effect, by: u32| comes_of_it(by) || (order.is_some() && order_of(effect) == order);
    let delivers = |effect: &&Effect| match effect.by {
        Actor::Attempt { job, .. } => is(other, effect.service, effect.operation) && is_related(effect, job),
        _ => false,
    };
    let effect = refused.effects.iter().rfind(delivers)?;
    let happens_later = |choice: &Choice| match choice.label.site {
        Site::Call { service, operation } => {
            choice.label.point == Point::Happened
                && is(other, service, operation)
                && choice.label.actor == effect.by
        }
        _ => false,
    };
    record[asked.at.min(record.len())..].iter().any(happens_later).then(|| effect.clone())
}

/// The order of the effect that only the accepted request has, if the effect names one.
fn lacking_order(refused: &Outcome, accepted: &Outcome, of: (&str, &str)) -> Option<Value> {
    let is = |effect: &&Effect| (effect.service.as_str(), effect.operation.as_str()) == of;
    let mut left: Vec<&str> = refused.effects.iter().filter(is).map(|effect| &*effect.body).collect();
    let lacking = accepted.effects.iter().filter(is).find(|effect| {
        let there = left.iter().position(|body| *body == effect.body);
        there.map(|at| left.swap_remove(at)).is_none()
    });
    order_of(lacking?)
}

/// The order that an effect names in its metadata, as the built-in services have it.
fn order_of(effect: &Effect) -> Option<Value> {
    let body: Value = serde_json::from_str(&effect.body).ok()?;
    body.pointer("/metadata/order_id").filter(|order| !order.is_null()).cloned()
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
