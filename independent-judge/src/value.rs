//! Values, and the outcomes that consist of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::program::Row;

/// A value. A generated value only has an identity: to be compared up to renaming, it must not be used in computations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// A plain number.
    Number(u64),
    /// A value that was drawn, with the number of the draw.
    Generated(u32),
}

/// The idempotency key of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyText {
    /// Derived from the order of the job and the place of the step.
    Job { order: u64, step: usize },
    /// A value.
    Value(Value),
}

/// A request to a service that had an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Effect {
    pub service: &'static str,
    pub key: Option<KeyText>,
    pub order: u64,
    pub body: Value,
}

/// A job, independent of its number in a run: the place of the job that the test body enqueued, followed by the steps
/// that enqueued one job from the other. A job that its parent enqueued twice is one job that came twice.
pub type Identity = Vec<usize>;

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Done,
    Dead,
    Discarded,
}

/// The final state of a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outcome {
    /// A sorted multiset.
    pub effects: Vec<Effect>,
    pub rows: BTreeMap<Row, Value>,
    pub ends: BTreeMap<Identity, End>,
    /// The jobs that were enqueued and ended: their places in the program and their payloads.
    pub came: BTreeSet<(usize, Option<Value>)>,
}

impl Outcome {
    fn generated(&self) -> Vec<u32> {
        let of_effect = |effect: &Effect| {
            let key = match effect.key {
                Some(KeyText::Value(value)) => Some(value),
                _ => None,
            };
            key.into_iter().chain([effect.body])
        };
        let payloads = self.came.iter().filter_map(|(_, payload)| *payload);
        let values = self.effects.iter().flat_map(of_effect).chain(self.rows.values().copied());
        let found: BTreeSet<u32> = values
            .chain(payloads)
            .filter_map(|value| match value {
                Value::Generated(number) => Some(number),
                Value::Number(_) => None,
            })
            .collect();
        found.into_iter().collect()
    }

    /// Returns the outcome with other names for its generated values.
    fn renamed(&self, names: &BTreeMap<u32, u32>) -> Outcome {
        let value = |value: Value| match value {
            Value::Generated(number) => Value::Generated(names[&number]),
            number @ Value::Number(_) => number,
        };
        let key = |key: KeyText| match key {
            KeyText::Value(held) => KeyText::Value(value(held)),
            key @ KeyText::Job { .. } => key,
        };
        let effect =
            |effect: &Effect| Effect { key: effect.key.map(key), body: value(effect.body), ..*effect };
        let mut effects: Vec<_> = self.effects.iter().map(effect).collect();
        effects.sort();
        let rows = self.rows.iter().map(|(row, held)| (*row, value(*held))).collect();
        let came = self.came.iter().map(|(place, payload)| (*place, payload.map(value))).collect();
        Outcome { effects, rows, came, ends: self.ends.clone() }
    }

    /// Whether effects and rows are as expected, up to a one-to-one renaming of generated values, and each expected
    /// job came. A job that came again shows only in what it did.
    pub fn is_alike(&self, expected: &Outcome) -> bool {
        let theirs = expected.generated();
        injections(&theirs, &self.generated()).iter().any(|names| {
            let Outcome { effects, rows, came, .. } = expected.renamed(names);
            effects == self.effects && rows == self.rows && came.is_subset(&self.came)
        })
    }
}

/// Returns all one-to-one maps from some things to others.
fn injections(from: &[u32], to: &[u32]) -> Vec<BTreeMap<u32, u32>> {
    let Some((first, rest)) = from.split_first() else { return vec![BTreeMap::new()] };
    let mut all = Vec::new();
    for image in to {
        let others: Vec<_> = to.iter().copied().filter(|other| other != image).collect();
        for mut map in injections(rest, &others) {
            map.insert(*first, *image);
            all.push(map);
        }
    }
    all
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(number) => write!(f, "{number}"),
            Value::Generated(number) => write!(f, "g{number}"),
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(order {}, {}", self.service, self.order, self.body)?;
        match self.key {
            None => f.write_str(")"),
            Some(KeyText::Job { order, step }) => write!(f, ", key {order}-{step})"),
            Some(KeyText::Value(value)) => write!(f, ", key {value})"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effects: Vec<_> = self.effects.iter().map(Effect::to_string).collect();
        let rows: Vec<_> = self.rows.iter().map(|(row, value)| format!("{}={value}", row.key())).collect();
        let ends: Vec<_> = self.ends.iter().map(|(job, end)| format!("{job:?} {end:?}")).collect();
        write!(f, "[{}] [{}] [{}]", effects.join(", "), rows.join(", "), ends.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(keys: &[u32], rows: &[(Row, u32)]) -> Outcome {
        let effect = |key: &u32| Effect {
            service: "payments.charge",
            key: Some(KeyText::Value(Value::Generated(*key))),
            order: 1,
            body: Value::Number(1),
        };
        let rows = rows.iter().map(|(row, value)| (*row, Value::Generated(*value))).collect();
        Outcome {
            effects: keys.iter().map(effect).collect(),
            rows,
            ends: BTreeMap::new(),
            came: BTreeSet::new(),
        }
    }

    #[test]
    fn renaming_is_one_to_one_and_consistent() {
        let expected = outcome(&[1, 2], &[(Row::A, 1)]);
        assert!(outcome(&[7, 9], &[(Row::A, 9)]).is_alike(&expected));
        assert!(!outcome(&[7, 7], &[(Row::A, 7)]).is_alike(&expected), "many to one");
        assert!(!outcome(&[7, 9], &[(Row::A, 8)]).is_alike(&expected), "a third value");
        assert!(!outcome(&[7, 9], &[(Row::B, 7)]).is_alike(&expected), "another row");
    }
}
