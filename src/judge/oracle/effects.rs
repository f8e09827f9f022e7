//! Effects as a multiset, each against its guarantee.

use std::collections::BTreeMap;

use super::Finding;
use crate::judge::run::Outcome;
use crate::search::choice::Name;
use crate::system::effect::Effect;
use crate::world::Guarantee;

type Identity<'e> = (Name, Name, Option<&'e str>, &'e str);

/// How often each effect happened: expected, actual.
fn counts<'e>(
    outcome: &'e Outcome,
    expected: &'e Outcome,
) -> BTreeMap<Identity<'e>, (&'e Effect, usize, usize)> {
    let mut counts = BTreeMap::new();
    for effect in &expected.effects {
        counts.entry(effect.identity()).or_insert((effect, 0, 0)).1 += 1;
    }
    for effect in &outcome.effects {
        counts.entry(effect.identity()).or_insert((effect, 0, 0)).2 += 1;
    }
    counts
}

/// Requests that were answered with the stored answer of another one and never happened; each of them once, however
/// often it was tried. Nothing where the effect may be missing.
pub(super) fn reused(outcome: &Outcome, findings: &mut Vec<Finding>) {
    for reuse in &outcome.reused {
        let may_lack = matches!(
            outcome.terms.guarantee(reuse.service, reuse.operation),
            Guarantee::AtMostOnce | Guarantee::Unchecked
        );
        let known = |finding: &Finding| match finding {
            Finding::Reused(other) => (&other.key, &other.second) == (&reuse.key, &reuse.second),
            _ => false,
        };
        if !may_lack && !findings.iter().any(known) {
            findings.push(Finding::Reused(reuse.clone()));
        }
    }
}

/// `newly_dead`: a job ended dead that does not in the expected outcome; effects may then be lacking, but not be
/// repeated.
pub(super) fn compare(
    outcome: &Outcome,
    expected: &Outcome,
    newly_dead: bool,
    serial: bool,
    findings: &mut Vec<Finding>,
) {
    if outcome.effects == expected.effects {
        return;
    }
    let counts = counts(outcome, expected);
    for &(effect, expected_count, actual) in counts.values() {
        let guarantee = expected.terms.guarantee(effect.service, effect.operation);
        let (may_repeat, may_lack) = match guarantee {
            Guarantee::ExactlyOnce => (false, newly_dead),
            Guarantee::AtLeastOnce => (expected_count > 0, newly_dead),
            Guarantee::AtMostOnce => (false, true),
            Guarantee::Unchecked => (true, true),
        };
        let effect = effect.clone();
        if actual > expected_count && !may_repeat {
            findings.push(match expected_count {
                0 => {
                    let instead = lacking(&counts, &effect).cloned();
                    Finding::Unexpected { effect, instead, serial }
                }
                expected => Finding::Repeated { effect, expected, actual },
            });
        } else if actual < expected_count && !may_lack {
            findings.push(Finding::Missing { effect, expected: expected_count, actual });
        }
    }
    // An effect in the place of another is told once, as that.
    let replaced: Vec<Effect> = findings
        .iter()
        .filter_map(|finding| match finding {
            Finding::Unexpected { instead, .. } => instead.clone(),
            _ => None,
        })
        .collect();
    findings
        .retain(|finding| !matches!(finding, Finding::Missing { effect, .. } if replaced.contains(effect)));
}

/// An effect of the same operation that was expected and lacks.
fn lacking<'e>(
    counts: &BTreeMap<Identity<'e>, (&'e Effect, usize, usize)>,
    like: &Effect,
) -> Option<&'e Effect> {
    counts
        .values()
        .find(|(effect, expected, actual)| {
            actual < expected && (effect.service, effect.operation) == (like.service, like.operation)
        })
        .map(|(effect, _, _)| *effect)
}

/// Ids that stand for the same thing: which of the ids of a repeated effect a state holds is no difference of its own.
/// Whether the effect may be repeated is judged above. From each id of a repetition to the id of the first.
pub(super) fn aliases<'o>(outcome: &'o Outcome, expected: &'o Outcome) -> Vec<(&'o str, &'o str)> {
    let mut firsts = BTreeMap::new();
    for effect in &expected.effects {
        firsts.entry(effect.identity()).or_insert(effect.id.as_str());
    }
    let ids = outcome.effects.iter().map(|effect| (effect.id.as_str(), firsts.get(&effect.identity())));
    ids.filter_map(|(id, first)| first.filter(|first| **first != id).map(|first| (id, *first))).collect()
}
