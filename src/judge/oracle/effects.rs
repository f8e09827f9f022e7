//! Compares effects as a multiset, each against its guarantee.

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

/// How many times each job made an effect, by the number of its role. 0 stands for everything that is not a job.
type Shares = BTreeMap<u32, usize>;

/// How many times an effect was expected and happened, with the share of each job.
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

    /// Whether every job that made the effect also makes it in the fault-free run.
    fn has_no_strangers(&self) -> bool {
        self.actual.keys().all(|unit| self.expected.contains_key(unit))
    }

    /// How many times a job makes the effect in the fault-free run, if there is a job that does not make it at all in
    /// this run.
    fn lacking(&self) -> Option<usize> {
        let lacks = |unit: &u32| !self.actual.contains_key(unit);
        self.expected.iter().find(|(unit, _)| lacks(unit)).map(|(_, expected)| *expected)
    }

    /// How many times the effect happened, if a repetition by a job with a deviation does not count.
    fn excused(&self, may_repeat: &BTreeSet<u32>) -> usize {
        let counted = |(unit, actual): (&u32, &usize)| match self.expected.get(unit) {
            Some(expected) if may_repeat.contains(unit) => *actual.min(expected),
            _ => *actual,
        };
        self.actual.iter().map(counted).sum()
    }
}

/// Finds requests that never happened because they were answered with the stored answer of another request, each once
/// no matter how often it was tried. Excludes effects that may be missing.
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

/// Finds effects that a job makes more or less often than its guarantee allows in any run. Jobs that do not make the
/// effect at all are found when outcomes are compared.
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
        // A job that gave up or is still running has not come so far.
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

/// Returns the jobs with deviations, by the numbers of their roles. What these jobs repeat is a repetition.
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

/// Counts how many times each effect is expected and happened, by job.
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
    // The batches of other jobs may cover what a job left behind, or is about to do.
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
        // How often the jobs make it that make it at all is checked in `between`.
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
            // An effect that differs only in a generated value is a repetition, if there are more such effects in
            // total.
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

/// Returns a lower bound for the number of operations that differ: those that happen exactly once, and whose total
/// number differs.
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

/// Returns the effects, with each effect that is a set replaced by its items.
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

/// Splits an effect into one effect per distinct item of the array in its body, if there is one.
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
    // It does not matter which batch contained an item, because a batch takes what others have left.
    let by = Actor::Test;
    Some(bodies.into_iter().map(|body| Effect { body, key: None, by, ..effect.clone() }).collect())
}

/// Removes the missing effect from the findings if an unexpected effect replaces it.
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

/// Counts the effects that differ from an effect only in generated values, and returns what they have besides those.
/// Returns `None` if the effect contains no generated values.
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

/// Returns an expected effect of the same operation that is missing.
fn lacking<'e>(counts: &BTreeMap<Identity<'e>, Count<'e>>, like: &Effect) -> Option<&'e Effect> {
    let lacks = |count: &&Count<'_>| {
        count.actual() < count.expected()
            && (count.effect.service, count.effect.operation) == (like.service, like.operation)
    };
    counts.values().find(lacks).map(|count| count.effect)
}
