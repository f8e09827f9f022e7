//! Effects that each job makes in a certain order.

use super::Finding;
use crate::judge::run::Outcome;
use crate::search::choice::Actor;
use crate::system::effect::Effect;
use crate::world::names;

/// Effects before which the one that stands before it in a list has not happened: by the same job, if that job makes it
/// at all, or else by another one, which may have borne the same idempotency key.
pub(super) fn judge(outcome: &Outcome, findings: &mut Vec<Finding>) {
    let is = |effect: &Effect, name: &str| names(name, effect.service, effect.operation);
    for list in &outcome.terms.in_order {
        for pair in list.windows(2) {
            for (at, effect) in outcome.effects.iter().enumerate() {
                let Actor::Attempt { job, .. } = effect.by else { continue };
                if !is(effect, &pair[1]) {
                    continue;
                }
                let its = |other: &&Effect| matches!(other.by, Actor::Attempt { job: by, .. } if by == job);
                let first = |effects: &[Effect]| effects.iter().any(|other| is(other, &pair[0]));
                let own = outcome.effects.iter().filter(its).any(|other| is(other, &pair[0]));
                let before = match own {
                    true => outcome.effects[..at].iter().filter(its).any(|other| is(other, &pair[0])),
                    false => first(&outcome.effects[..at]),
                };
                let known = |finding: &Finding| match finding {
                    Finding::OutOfOrder { effect: other, before } => other == effect && *before == pair[0],
                    _ => false,
                };
                if !before && !findings.iter().any(known) {
                    let (effect, before) = (effect.clone(), pair[0].clone());
                    findings.push(Finding::OutOfOrder { effect, before });
                }
            }
        }
    }
}
