//! Effects as a multiset, each against its guarantee.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Comparison, Finding};
use crate::judge::run::Outcome;
use crate::search::choice::{Actor, Name};
use crate::system::effect::Effect;
use crate::system::generated::Forms;
use crate::system::job::JobState;
use crate::system::json_path::JsonPath;
use crate::world::{ComparisonRules, Guarantee, names};

type Identity<'e> = (Name, Name, Option<&'e str>, &'e str);

/// Of each job, by the number of its role, or of all that is no job (0): how often it did something.
type Shares = BTreeMap<u32, usize>;

/// How often an effect happened: expected, actual, and whose each of both was.
struct Count<'e> {
    effect: &'e Effect,
    expected: Shares,
    actual: Shares,
}

impl Count<'_> {
    fn expected(&self) -> usize {
        self.expected.values().sum()
    }

    fn actual(&self) -> usize {
        self.actual.values().sum()
    }

    /// Whether nobody has done it who does not do it when nothing goes wrong.
    fn has_no_strangers(&self) -> bool {
        self.actual.keys().all(|unit| self.expected.contains_key(unit))
    }

    /// How often somebody who has not done it at all does it when nothing goes wrong.
    fn lacking(&self) -> Option<usize> {
        let lacks = |unit: &u32| !self.actual.contains_key(unit);
        self.expected.iter().find(|(unit, _)| lacks(unit)).map(|(_, expected)| *expected)
    }

    /// How often it happened, if what the same job has repeated because something went wrong in it counts once.
    fn excused(&self, may_repeat: &BTreeSet<u32>) -> usize {
        let counted = |(unit, actual): (&u32, &usize)| match self.expected.get(unit) {
            Some(expected) if may_repeat.contains(unit) => *actual.min(expected),
            _ => *actual,
        };
        self.actual.iter().map(counted).sum()
    }
}

/// Requests that were answered with the stored answer of another one and never happened; each of them once, however
/// often it was tried. Nothing where the effect may be missing.
pub(super) fn reused(outcome: &Outcome, findings: &mut Vec<Finding>) {
    for reuse in &outcome.reused {
        let may_lack = outcome.terms.guarantee(reuse.service, reuse.operation).may_lack();
        let known = |finding: &Finding| match finding {
            Finding::Reused(other) => (&other.key, &other.second) == (&reuse.key, &reuse.second),
            _ => false,
        };
        if !may_lack && !findings.iter().any(known) {
            findings.push(Finding::Reused(reuse.clone()));
        }
    }
}

/// Effects of which a job does as many as no job may, in whatever run. Those that it does not do at all are seen when
/// outcomes are compared.
pub(super) fn between(outcome: &Outcome, findings: &mut Vec<Finding>) {
    let is_limited = |guarantee: &Guarantee| matches!(guarantee, Guarantee::Between { .. });
    if !outcome.terms.allowed.iter().any(|(_, guarantee)| is_limited(guarantee)) {
        return;
    }
    let whose = |by: Actor| match by {
        Actor::Attempt { job, .. } => Actor::Attempt { job, attempt: 0 },
        other => other,
    };
    let mut counts: BTreeMap<(Identity<'_>, Actor), (&Effect, usize)> = BTreeMap::new();
    for effect in outcome.effects.iter().filter(|effect| effect.by != Actor::Test) {
        counts.entry((effect.identity(), whose(effect.by))).or_insert((effect, 0)).1 += 1;
    }
    for ((_, by), (effect, actual)) in counts {
        let Guarantee::Between { least, most } = outcome.terms.guarantee(effect.service, effect.operation)
        else {
            continue;
        };
        let (least, most) = (least as usize, most as usize);
        // One that gave up or is still under way has not come so far.
        let is_done = match by {
            Actor::Attempt { job, .. } => outcome.jobs[job as usize - 1].state == JobState::Done,
            _ => true,
        };
        if actual > most {
            findings.push(Finding::Repeated { effect: effect.clone(), expected: most, actual });
        } else if actual < least && is_done {
            findings.push(Finding::Missing { effect: effect.clone(), expected: least, actual });
        }
    }
}

/// The jobs, by the numbers of their roles, in which something went wrong: what these repeat is a repetition.
fn troubled(comparison: &Comparison<'_>) -> BTreeSet<u32> {
    let outcome = comparison.outcome;
    let is_troubled = |number: u32, attempts: u32| {
        attempts > 1
            || outcome.troubled.iter().any(|by| matches!(by, Actor::Attempt { job, .. } if *job == number))
    };
    let jobs = outcome.jobs.iter().zip(&comparison.roles);
    let jobs = jobs.filter(|(job, _)| is_troubled(job.number, job.attempts)).map(|(_, role)| *role);
    jobs.chain((outcome.mishaps > 0).then_some(0)).collect()
}

fn unit(by: Actor, roles: &[u32]) -> u32 {
    match by {
        Actor::Attempt { job, .. } => roles.get(job as usize - 1).copied().unwrap_or_default(),
        Actor::Test | Actor::Process(_) | Actor::Task(_) => 0,
    }
}

/// How often each effect is expected and happened, by who did it.
fn counted<'e>(
    expected: &'e [Effect],
    actual: &'e [Effect],
    comparison: &Comparison<'_>,
) -> BTreeMap<Identity<'e>, Count<'e>> {
    let mut counts: BTreeMap<Identity<'e>, Count<'e>> = BTreeMap::new();
    let new = |effect| Count { effect, expected: Shares::new(), actual: Shares::new() };
    for effect in expected {
        let count = counts.entry(effect.identity()).or_insert_with(|| new(effect));
        *count.expected.entry(unit(effect.by, &comparison.expected_roles)).or_insert(0) += 1;
    }
    for effect in actual {
        let count = counts.entry(effect.identity()).or_insert_with(|| new(effect));
        *count.actual.entry(unit(effect.by, &comparison.roles)).or_insert(0) += 1;
    }
    counts
}

pub(super) fn compare(comparison: &Comparison<'_>, findings: &mut Vec<Finding>) {
    let Comparison { outcome, effects, serial, .. } = comparison;
    if outcome.effects == **effects {
        return;
    }
    let (expected, actual) = (items(effects, &outcome.terms), items(&outcome.effects, &outcome.terms));
    let counts = counted(&expected, &actual, comparison);
    let may_repeat = troubled(comparison);
    let is_set = |effect: &Effect| {
        outcome.terms.items.iter().any(|(name, _)| names(name, effect.service, effect.operation))
    };
    // Batches of others cover what a job has left behind, or is about to do.
    let may_cover_twice = outcome.went_wrong > 0 || outcome.record.has_overlaps();
    let mut repeated = BTreeSet::new();
    for count in counts.values() {
        let effect = count.effect;
        let (expected, actual) = (count.expected(), count.actual());
        let guarantee = outcome.terms.guarantee(effect.service, effect.operation);
        let excused = |count: &Count<'_>| match guarantee {
            Guarantee::AtLeastOnce if is_set(effect) && may_cover_twice => {
                count.actual().min(count.expected())
            }
            Guarantee::AtLeastOnce => count.excused(&may_repeat),
            Guarantee::Unchecked => 0,
            Guarantee::ExactlyOnce | Guarantee::AtMostOnce | Guarantee::Between { .. } => count.actual(),
        };
        // How often those do it who do it at all is no matter of what is expected: see `between`.
        if let Guarantee::Between { least, .. } = guarantee {
            if let Some(expected) = count.lacking().filter(|_| least > 0) {
                findings.push(Finding::Missing { effect: effect.clone(), expected, actual: 0 });
                continue;
            }
            if count.has_no_strangers() {
                continue;
            }
            let alike = comparison.forms.and_then(|forms| alike(&counts, effect, forms));
            if expected == 0 && alike.is_some_and(|(all, _)| all.has_no_strangers()) {
                continue;
            }
        }
        let may_lack = guarantee.may_lack();
        if actual > expected {
            if excused(count) <= expected {
                continue;
            }
            // The same but for a generated value is the same once more, if it happened more often in all.
            let alike = comparison.forms.and_then(|forms| alike(&counts, effect, forms));
            match alike {
                Some((all, template))
                    if expected == 0 && all.expected() > 0 && all.actual() > all.expected() =>
                {
                    if excused(&all) > all.expected() && repeated.insert(template) {
                        let (expected, actual) = (all.expected(), all.actual());
                        findings.push(Finding::Repeated { effect: effect.clone(), expected, actual });
                    }
                }
                _ if expected == 0 => {
                    let instead = lacking(&counts, effect).cloned();
                    findings.push(Finding::Unexpected { effect: effect.clone(), instead, serial: *serial });
                }
                _ => findings.push(Finding::Repeated { effect: effect.clone(), expected, actual }),
            }
        } else if actual < expected && !may_lack {
            findings.push(Finding::Missing { effect: effect.clone(), expected, actual });
        }
    }
    tell_once(findings);
}

/// Of how many operations it is certain that they differ: of those that happen exactly once, where all of them together
/// happened oftener or less often.
pub(crate) fn least_differences(outcome: &Outcome, expected: &Outcome) -> usize {
    let terms = &outcome.terms;
    let mut counts: BTreeMap<(Name, Name), isize> = BTreeMap::new();
    let both = outcome.effects.iter().map(|effect| (effect, 1));
    for (effect, one) in both.chain(expected.effects.iter().map(|effect| (effect, -1))) {
        *counts.entry((effect.service, effect.operation)).or_insert(0) += one;
    }
    let is_certain = |&(service, operation): &(Name, Name)| {
        terms.guarantee(service, operation) == Guarantee::ExactlyOnce
            && !terms.items.iter().any(|(name, _)| names(name, service, operation))
    };
    counts.iter().filter(|(operation, count)| **count != 0 && is_certain(operation)).count()
}

/// The effects, with each that is a set in the place of its items.
fn items<'e>(effects: &'e [Effect], terms: &ComparisonRules) -> Cow<'e, [Effect]> {
    if terms.items.is_empty() {
        return Cow::Borrowed(effects);
    }
    let apart = |effect: &Effect| {
        let of = terms.items.iter().find(|(name, _)| names(name, effect.service, effect.operation));
        of.and_then(|(_, path)| items_of(effect, path)).unwrap_or_else(|| vec![effect.clone()])
    };
    Cow::Owned(effects.iter().flat_map(apart).collect())
}

/// An effect once for each item of the array in its body, if there is one. What a set has twice it has once.
fn items_of(effect: &Effect, path: &JsonPath) -> Option<Vec<Effect>> {
    let mut body: Value = serde_json::from_str(&effect.body).ok()?;
    let place = path.find(&mut body)?;
    let items = std::mem::take(place.as_array_mut()?);
    let mut bodies: Vec<String> = Vec::with_capacity(items.len());
    for item in items {
        *path.find(&mut body)? = Value::Array(vec![item]);
        let text = body.to_string();
        if !bodies.contains(&text) {
            bodies.push(text);
        }
    }
    // Whose batch an item was in makes no difference: a batch takes what others have left.
    let by = Actor::Test;
    Some(bodies.into_iter().map(|body| Effect { body, key: None, by, ..effect.clone() }).collect())
}

/// An effect in the place of another is told once, as that.
fn tell_once(findings: &mut Vec<Finding>) {
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

/// How often anything happened that differs from an effect in nothing but generated values, and what it has beside them.
/// None: it bears none.
fn alike<'e>(
    counts: &BTreeMap<Identity<'e>, Count<'e>>,
    effect: &Effect,
    forms: &Forms,
) -> Option<(Count<'e>, String)> {
    let template = |effect: &Effect| {
        let blank = |text: &str| Forms::template(text, &forms.find(text));
        let key = effect.key.as_deref().map(blank);
        format!("{}.{} {key:?} {}", effect.service, effect.operation, blank(&effect.body))
    };
    let bears = |text: &str| !forms.find(text).is_empty();
    if !bears(&effect.body) && !effect.key.as_deref().is_some_and(bears) {
        return None;
    }
    let wanted = template(effect);
    let mut all: Option<Count<'e>> = None;
    for count in counts.values().filter(|count| template(count.effect) == wanted) {
        let all = all.get_or_insert_with(|| Count {
            effect: count.effect,
            expected: Shares::new(),
            actual: Shares::new(),
        });
        for (unit, share) in &count.expected {
            *all.expected.entry(*unit).or_insert(0) += share;
        }
        for (unit, share) in &count.actual {
            *all.actual.entry(*unit).or_insert(0) += share;
        }
    }
    all.map(|all| (all, wanted))
}

/// An effect of the same operation that was expected and lacks.
fn lacking<'e>(counts: &BTreeMap<Identity<'e>, Count<'e>>, like: &Effect) -> Option<&'e Effect> {
    let lacks = |count: &&Count<'_>| {
        count.actual() < count.expected()
            && (count.effect.service, count.effect.operation) == (like.service, like.operation)
    };
    counts.values().find(lacks).map(|count| count.effect)
}
