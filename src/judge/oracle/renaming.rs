//! Generated values have no fixed names, so an expected outcome is renamed to the values of the run that is compared.
//!
//! A value is identified by its role: where it occurs, and what occurs beside it. Roles are refined like the colors of
//! nodes when graphs are compared (Weisfeiler and Leman, 1968). If several values still have the same color, one of
//! each side is paired and distinguished from the others, and the colors are refined again.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::judge::run::Outcome;
use crate::search::choice::Name;
use crate::system::effect::{Effect, fingerprint};
use crate::system::generated::{Forms, Generated, Shape};
use crate::system::job::Job;

/// The number of refinement rounds. After `n` rounds, a color reflects what is `n` steps away.
const ROUNDS: usize = 4;

/// Returns everything that a run generated: random values, and the ids of effects and jobs.
pub(crate) fn generated(outcome: &Outcome) -> Generated {
    let mut generated = outcome.generated.clone();
    outcome.effects.iter().chain(&outcome.told).for_each(|effect| generated.text(&effect.id));
    outcome.jobs.iter().for_each(|job| generated.text(&job.id.to_string()));
    generated
}

/// The parts of an expected outcome that are compared, renamed to the values of a run.
#[derive(Debug)]
pub(super) struct RenamedOutcome {
    pub(super) effects: Vec<Effect>,
    pub(super) state: Vec<(Name, String)>,
    pub(super) jobs: Vec<Job>,
}

/// The values of one side, and where they occur.
struct Side {
    forms: Forms,
    /// For each item that contains values: a digest of the item without the values, and the values.
    items: Vec<(u64, Vec<usize>)>,
    /// Whether a value in a sorted list of a state stands at no certain place in it: what was drawn decides where.
    sorted: bool,
    /// Whether there is such a list.
    has_sorted: bool,
    /// How each value is written here in each shape. Some texts keep the leading zeros of a hexadecimal number, others
    /// do not.
    seen: BTreeMap<(usize, Shape), String>,
}

impl Side {
    fn of(outcome: &Outcome, sorted: bool) -> Self {
        let forms = Forms::of(&generated(outcome));
        let mut side = Self { forms, items: Vec::new(), sorted, has_sorted: false, seen: BTreeMap::new() };
        for effect in &outcome.effects {
            let key = effect.key.as_deref().unwrap_or_default();
            let has_key = if effect.key.is_some() { "key" } else { "" };
            let (service, operation) = (effect.service.as_str(), effect.operation.as_str());
            side.add(&["effect", service, operation, has_key], &[key, &effect.body, &effect.id]);
        }
        for job in &outcome.jobs {
            side.add(&["job", job.kind], &[&job.payload, &job.id.to_string()]);
        }
        for (name, text) in &outcome.state {
            if !side.forms.find(text).is_empty() {
                let value = serde_json::from_str(text).unwrap_or(Value::Null);
                side.add_leaves(name.as_str(), "$", &value);
            }
        }
        side
    }

    /// Returns how a value is written here.
    fn name(&self, value: usize, shape: Shape) -> Option<&str> {
        let seen = self.seen.get(&(value, shape)).map(String::as_str);
        seen.or_else(|| self.forms.text(value, shape))
    }

    fn add_leaves(&mut self, name: &str, path: &str, value: &Value) {
        match value {
            Value::Object(map) => {
                map.iter().for_each(|(key, value)| self.add_leaves(name, &format!("{path}.{key}"), value));
            }
            Value::Array(items) => {
                let is_sorted = is_sorted(items);
                self.has_sorted |= is_sorted;
                let is_sorted = self.sorted && is_sorted;
                for (at, value) in items.iter().enumerate() {
                    let place = if is_sorted { "*".to_owned() } else { at.to_string() };
                    self.add_leaves(name, &format!("{path}[{place}]"), value);
                }
            }
            Value::String(text) => self.add(&["state", name], &[path, text]),
            other => self.add(&["state", name], &[path, &other.to_string()]),
        }
    }

    fn add(&mut self, fixed: &[&str], texts: &[&str]) {
        let (mut values, mut parts) = (Vec::new(), Vec::new());
        for text in texts {
            let found = self.forms.find(text);
            values.extend(found.iter().map(|found| found.value));
            for found in &found {
                let own = || text[found.from..found.to].to_owned();
                self.seen.entry((found.value, found.shape)).or_insert_with(own);
            }
            parts.push(Forms::template(text, &found));
        }
        if !values.is_empty() {
            let parts: Vec<_> = fixed.iter().copied().chain(parts.iter().map(String::as_str)).collect();
            self.items.push((fingerprint(&parts), values));
        }
    }

    /// Refines the color of each value by what it occurs beside.
    fn refine(&self, colors: &[u64]) -> Vec<u64> {
        let mut seen = vec![BTreeSet::new(); colors.len()];
        for (template, values) in &self.items {
            // It also matters which of the values are equal.
            let first =
                |value: &usize| values.iter().position(|other| other == value).unwrap_or_default() as u64;
            let around = values.iter().flat_map(|value| [colors[*value], first(value)]);
            let item = digest([*template].into_iter().chain(around));
            for (at, value) in values.iter().enumerate() {
                seen[*value].insert(digest([item, at as u64]));
            }
        }
        let color = |(color, seen): (&u64, BTreeSet<u64>)| digest([*color].into_iter().chain(seen));
        colors.iter().zip(seen).map(color).collect()
    }

    fn rounds(&self, colors: Vec<u64>) -> Vec<Vec<u64>> {
        let mut rounds = vec![colors];
        for _ in 0..ROUNDS {
            let next = self.refine(&rounds[rounds.len() - 1]);
            rounds.push(next);
        }
        rounds
    }
}

fn digest(parts: impl IntoIterator<Item = u64>) -> u64 {
    let text: String = parts.into_iter().map(|part| format!("{part:x}.")).collect();
    fingerprint(&[&text])
}

/// Pairs each value of the expected outcome with a different value of the run. `alternative` selects which of several
/// values with the same color is paired first.
fn pair(actual: &Side, expected: &Side, alternative: usize) -> Vec<Option<usize>> {
    let (mut paired, mut taken) = (vec![None; expected.forms.values()], BTreeSet::new());
    let colors = |side: &Side| vec![0; side.forms.values()];
    let (mut ours, mut theirs) = (colors(actual), colors(expected));
    let mut ties = 0;
    let rounds = loop {
        let rounds = (actual.rounds(ours.clone()), expected.rounds(theirs.clone()));
        let tie = pair_by_color(&rounds.0[ROUNDS], &rounds.1[ROUNDS], &mut paired, &mut taken);
        let Some((our, alike)) = tie else { break rounds };
        // Take the first value with the same color. In the first tie, take another one.
        let their = alike[if ties == 0 { alternative % alike.len() } else { 0 }];
        ties += 1;
        (ours[our], theirs[their]) = (ties, ties);
        (paired[their], _) = (Some(our), taken.insert(our));
    };
    // Values that differ somewhere may still match with coarser colors.
    for round in (1..ROUNDS).rev() {
        pair_by_color(&rounds.0[round], &rounds.1[round], &mut paired, &mut taken);
    }
    paired
}

/// Pairs the values whose color is unique on both sides. Returns the first value without a unique color, and its
/// candidates on the other side.
fn pair_by_color(
    ours: &[u64],
    theirs: &[u64],
    paired: &mut [Option<usize>],
    taken: &mut BTreeSet<usize>,
) -> Option<(usize, Vec<usize>)> {
    let mut classes: BTreeMap<u64, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for (value, color) in ours.iter().enumerate().filter(|(value, _)| !taken.contains(value)) {
        classes.entry(*color).or_default().0.push(value);
    }
    for (value, color) in theirs.iter().enumerate().filter(|(value, _)| paired[*value].is_none()) {
        classes.entry(*color).or_default().1.push(value);
    }
    let mut tie: Option<(usize, Vec<usize>)> = None;
    for (ours, theirs) in classes.into_values() {
        match (&ours[..], &theirs[..]) {
            ([], _) | (_, []) => {}
            ([our], [their]) => (paired[*their], _) = (Some(*our), taken.insert(*our)),
            ([our, ..], _) if tie.as_ref().is_none_or(|(known, _)| our < known) => tie = Some((*our, theirs)),
            _ => {}
        }
    }
    tie
}

/// Renames expected outcomes to the values of one run.
pub(super) struct Renaming {
    actual: Side,
    expected: Side,
}

impl Renaming {
    /// Returns `None` if there is nothing to rename. `sorted` lets lists that are sorted on both sides have the same values
    /// at other positions.
    pub(super) fn new(outcome: &Outcome, expected: &Outcome, sorted: bool) -> Option<Self> {
        let (actual, expected) = (Side::of(outcome, sorted), Side::of(expected, sorted));
        (!actual.items.is_empty() && !expected.items.is_empty()).then_some(Self { actual, expected })
    }

    pub(super) fn forms(&self) -> &Forms {
        &self.actual.forms
    }

    /// Returns the expected outcome with one assignment of names.
    pub(super) fn rename(&self, expected: &Outcome, alternative: usize) -> RenamedOutcome {
        let paired = pair(&self.actual, &self.expected, alternative);
        let taken: BTreeSet<usize> = paired.iter().copied().flatten().collect();
        let rename = |text: &str| self.text(text, &paired, &taken);
        let effect = |effect: &Effect| Effect {
            key: effect.key.as_deref().map(rename),
            body: rename(&effect.body),
            id: rename(&effect.id),
            ..effect.clone()
        };
        RenamedOutcome {
            effects: expected.effects.iter().map(effect).collect(),
            state: expected.state.iter().map(|(name, text)| (*name, rename(text))).collect(),
            jobs: expected
                .jobs
                .iter()
                .map(|job| Job { payload: rename(&job.payload).into(), ..job.clone() })
                .collect(),
        }
    }

    /// Whether there are lists with values in them on both sides that are sorted.
    pub(super) fn has_sorted_lists(&self) -> bool {
        self.actual.has_sorted && self.expected.has_sorted
    }

    /// The same, with lists that are sorted in the run, too, where the expected ones were.
    pub(super) fn sort(
        &self,
        outcome: &Outcome,
        expected: &Outcome,
        renamed: RenamedOutcome,
    ) -> RenamedOutcome {
        let mut renamed = renamed;
        for ((name, text), (_, own)) in renamed.state.iter_mut().zip(&expected.state) {
            let Some((_, actual)) = outcome.state.iter().find(|(known, _)| known == name) else { continue };
            let [own, actual] = [own, actual].map(|text| serde_json::from_str::<Value>(text));
            let (Ok(mut value), Ok(own), Ok(actual)) = (serde_json::from_str(text), own, actual) else {
                continue;
            };
            sort_likewise(&mut value, &own, &actual);
            *text = value.to_string();
        }
        renamed
    }

    fn text(&self, text: &str, paired: &[Option<usize>], taken: &BTreeSet<usize>) -> String {
        let mut renamed = String::with_capacity(text.len());
        let mut at = 0;
        for found in self.expected.forms.find(text) {
            let own = &text[found.from..found.to];
            renamed.push_str(&text[at..found.from]);
            let name = paired[found.value].and_then(|value| self.actual.name(value, found.shape));
            // A value without a counterpart may have the name of another value in this run.
            let is_anothers = || self.actual.forms.find(own).iter().any(|found| taken.contains(&found.value));
            match name {
                Some(name) => renamed.push_str(name),
                None if is_anothers() => renamed.extend(own.chars().map(nameless)),
                None => renamed.push_str(own),
            }
            at = found.to;
        }
        renamed + &text[at..]
    }
}

/// Whether a list is in the order of its elements, or of a field that all of them have.
fn is_sorted(items: &[Value]) -> bool {
    fn is_less(one: &Value, other: &Value) -> bool {
        match (one, other) {
            (Value::String(one), Value::String(other)) => one <= other,
            (Value::Number(one), Value::Number(other)) => match (one.as_i128(), other.as_i128()) {
                (Some(one), Some(other)) => one <= other,
                _ => one.as_f64() <= other.as_f64(),
            },
            _ => false,
        }
    }
    let by = |field: &str| items.windows(2).all(|pair| is_less(&pair[0][field], &pair[1][field]));
    match items {
        [] | [_] => false,
        [Value::Object(first), ..] => first.keys().any(|field| by(field)),
        _ => items.windows(2).all(|pair| is_less(&pair[0], &pair[1])),
    }
}

/// Puts the elements of lists in the order of the actual ones, if both lists are sorted and have the same elements. `own`:
/// the expected value in its own names.
fn sort_likewise(expected: &mut Value, own: &Value, actual: &Value) {
    match (&mut *expected, own, actual) {
        (Value::Array(renamed), Value::Array(own), Value::Array(theirs)) => {
            let is_alike = is_sorted(own) && is_sorted(theirs) && renamed.len() == theirs.len();
            let mut left = renamed.clone();
            let mut take = |element| left.iter().position(|it| it == element).map(|at| left.swap_remove(at));
            if is_alike && theirs.iter().all(|element| take(element).is_some()) {
                *expected = actual.clone();
                return;
            }
            for ((value, own), actual) in renamed.iter_mut().zip(own).zip(theirs) {
                sort_likewise(value, own, actual);
            }
        }
        (Value::Object(renamed), Value::Object(own), Value::Object(theirs)) => {
            // A name that was drawn is another one in its own names; then its value is compared as it is.
            for (name, value) in renamed {
                if let (Some(own), Some(actual)) = (own.get(name), theirs.get(name)) {
                    sort_likewise(value, own, actual);
                }
            }
        }
        _ => {}
    }
}

/// Replaces a digit or letter of a value that has no name in the run.
fn nameless(c: char) -> char {
    match c {
        '0'..='9' => '9',
        'a'..='f' => 'f',
        'A'..='F' => 'F',
        other => other,
    }
}
