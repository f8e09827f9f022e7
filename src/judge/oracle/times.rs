//! Readings of the clock: later in a run in which a job is retried, and not wrong for that.
//!
//! The clock of a world begins at zero, so a reading is a small number that may stand anywhere by chance. It is taken for
//! one only if it is a moment at which the clock was read in this run and not in the expected one, in a place where the
//! expected outcome has a reading, too.
//!
//! A program may add readings to a date of its own. Then a date, or a number that is as large as one, is taken for a
//! reading if it is as much later as a reading of this run is later than one of the expected run.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::dates::{Moment, moments};
use super::renaming::RenamedOutcome;
use crate::judge::run::Outcome;
use crate::system::effect::Effect;
use crate::system::job::Job;

/// A number below this is an ordinary number.
const LEAST: u128 = 10;
/// A number below this is no date: in seconds since 1970, it is in the year 1973.
const LEAST_DATE: u128 = 100_000_000;

/// When the clock was read: in the run, and in the expected outcome.
pub(super) struct Times<'o> {
    actual: &'o BTreeSet<Duration>,
    expected: &'o BTreeSet<Duration>,
}

/// Dates as floats, in seconds, are as exact as this.
const FLOAT: Duration = Duration::from_micros(10);

/// The units in which a reading may be written.
const UNITS: [fn(&Duration) -> u128; 4] =
    [|time| u128::from(time.as_secs()), Duration::as_millis, Duration::as_micros, Duration::as_nanos];

impl<'o> Times<'o> {
    /// None: the run has no reading that the expected outcome has not.
    pub(super) fn new(outcome: &'o Outcome, expected: &'o Outcome) -> Option<Self> {
        let (actual, expected) = (outcome.generated.times(), expected.generated.times());
        let has_new = !expected.is_empty() && !actual.is_subset(expected);
        has_new.then_some(Self { actual, expected })
    }

    /// The expected outcome, with the readings that the run has in the place of its own.
    pub(super) fn adjust(&self, outcome: &Outcome, expected: RenamedOutcome) -> RenamedOutcome {
        let RenamedOutcome { mut effects, mut state, mut jobs } = expected;
        let mut left: Vec<&Effect> = outcome.effects.iter().collect();
        let mut lacking = Vec::new();
        for effect in &mut effects {
            match left.iter().position(|other| **other == *effect) {
                Some(at) => drop(left.remove(at)),
                None => lacking.push(effect),
            }
        }
        for effect in lacking {
            let is_it = |actual: &&Effect| {
                let texts = |effect: &Effect| (effect.service, effect.operation, effect.key.is_some());
                let keys = [&*effect, *actual].map(|effect| effect.key.as_deref().unwrap_or_default());
                texts(effect) == texts(actual)
                    && self.is_same(keys[0], keys[1])
                    && self.is_same(&effect.body, &actual.body)
            };
            let Some(at) = left.iter().position(is_it) else { continue };
            let actual = left.remove(at);
            (effect.key, effect.body) = (actual.key.clone(), actual.body.clone());
        }
        for (name, text) in &mut state {
            let Some((_, actual)) = outcome.state.iter().find(|(known, _)| known == name) else { continue };
            if let Cow::Owned(adjusted) = self.text(text, actual) {
                *text = adjusted;
            }
        }
        let mut left: Vec<&Job> = outcome.jobs.iter().collect();
        for job in &mut jobs {
            let is_it = |other: &&Job| other.kind == job.kind && self.is_same(&job.payload, &other.payload);
            if let Some(at) = left.iter().position(is_it) {
                job.payload = left.remove(at).payload.clone();
            }
        }
        RenamedOutcome { effects, state, jobs }
    }

    fn is_same(&self, expected: &str, actual: &str) -> bool {
        let adjusted = self.text(expected, actual);
        let json = |text: &str| serde_json::from_str::<Value>(text).ok();
        adjusted == actual || json(&adjusted).is_some_and(|value| Some(value) == json(actual))
    }

    /// A text of the expected outcome, with the readings of the actual one that stand in the place of its own.
    fn text<'t>(&self, expected: &'t str, actual: &str) -> Cow<'t, str> {
        if expected == actual {
            return Cow::Borrowed(expected);
        }
        let json = |text: &str| serde_json::from_str::<Value>(text).ok();
        if let (Some(mut value), Some(actual)) = (json(expected), json(actual)) {
            self.value(&mut value, &actual);
            return Cow::Owned(value.to_string());
        }
        match self.words(expected, actual) {
            true => Cow::Owned(actual.to_owned()),
            false => Cow::Borrowed(expected),
        }
    }

    fn value(&self, expected: &mut Value, actual: &Value) {
        match (&mut *expected, actual) {
            (Value::Object(ours), Value::Object(theirs)) => {
                if self.is_duration(ours, theirs) {
                    *expected = actual.clone();
                    return;
                }
                for (name, value) in ours {
                    theirs.get(name).into_iter().for_each(|other| self.value(value, other));
                }
            }
            (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
                ours.iter_mut().zip(theirs).for_each(|(value, other)| self.value(value, other));
            }
            (Value::Number(one), Value::Number(other))
                if self.number(&one.to_string(), &other.to_string()) =>
            {
                *expected = actual.clone();
            }
            (Value::String(one), Value::String(other)) if self.words(one, other) => {
                *expected = actual.clone();
            }
            _ => {}
        }
    }

    /// A duration as serde writes it.
    fn is_duration(
        &self,
        ours: &serde_json::Map<String, Value>,
        theirs: &serde_json::Map<String, Value>,
    ) -> bool {
        let read = |of: &serde_json::Map<String, Value>| {
            let [secs, nanos] = ["secs", "nanos"].map(|name| of.get(name).and_then(Value::as_u64));
            Some(Duration::new(secs?, u32::try_from(nanos?).ok()?)).filter(|_| of.len() == 2)
        };
        let (Some(expected), Some(actual)) = (read(ours), read(theirs)) else { return false };
        self.expected.contains(&expected) && self.is_new(&actual)
    }

    /// Whether it was read in this run, and not in the expected one.
    fn is_new(&self, time: &Duration) -> bool {
        self.actual.contains(time) && !self.expected.contains(time)
    }

    /// Whether two numbers are readings, in the same unit.
    fn number(&self, expected: &str, actual: &str) -> bool {
        let whole = |text: &str| text.parse::<u128>().ok();
        if let (Some(one), Some(other)) = (whole(expected), whole(actual)) {
            let in_unit = |unit: &fn(&Duration) -> u128| {
                self.expected.iter().any(|time| unit(time) == one)
                    && self.actual.iter().any(|time| unit(time) == other && self.is_new(time))
            };
            return other >= LEAST && UNITS.iter().any(in_unit) || self.is_later_date(one, other);
        }
        let seconds =
            |text: &str| text.parse::<f64>().ok().and_then(|it| Duration::try_from_secs_f64(it).ok());
        let (Some(one), Some(other)) = (seconds(expected), seconds(actual)) else { return false };
        let is_date = one.as_secs() >= LEAST_DATE as u64;
        // A float of that size has microseconds, more or less.
        let is_later = |by: Duration| other.checked_sub(one).is_some_and(|apart| apart.abs_diff(by) < FLOAT);
        self.expected.contains(&one) && self.is_new(&other) || is_date && self.is_apart(is_later)
    }

    /// Whether two large numbers are as far apart as a reading of this run and an expected one, in the same unit.
    fn is_later_date(&self, expected: u128, actual: u128) -> bool {
        let Some(apart) = actual.checked_sub(expected).filter(|_| expected >= LEAST_DATE) else {
            return false;
        };
        let in_unit =
            |unit: &fn(&Duration) -> u128| self.is_apart(|later| unit(&later) == apart && apart > 0);
        UNITS.iter().any(in_unit)
    }

    /// Whether a new reading is later than an expected one by a duration that satisfies `is_it`.
    fn is_apart(&self, is_it: impl Fn(Duration) -> bool) -> bool {
        let mut new = self.actual.iter().filter(|time| self.is_new(time));
        new.any(|new| self.expected.iter().any(|time| new.checked_sub(*time).is_some_and(&is_it)))
    }

    /// Whether two texts are the same but for dates in them that are as far apart as readings.
    fn dates(&self, expected: &str, actual: &str) -> bool {
        let ((template, ours), (other, theirs)) = (moments(expected), moments(actual));
        let is_same = |one: &Moment, other: &Moment| {
            let is_later =
                |by: Duration| i128::try_from(by.as_nanos()).is_ok_and(|by| one.is_before(*other, by));
            one == other || self.is_apart(is_later)
        };
        template == other
            && !ours.is_empty()
            && ours.len() == theirs.len()
            && ours.iter().zip(&theirs).all(|(one, other)| is_same(one, other))
    }

    /// Whether two texts are the same but for readings in them: as numbers, and as durations are written for people.
    fn words(&self, expected: &str, actual: &str) -> bool {
        if self.dates(expected, actual) {
            return true;
        }
        let (ours, theirs) = (tokens(expected), tokens(actual));
        let mut differs = false;
        ours.len() == theirs.len()
            && ours.iter().zip(&theirs).all(|(one, other)| {
                differs |= one != other;
                one == other || self.number(one, other) || self.written(one, other)
            })
            && differs
    }

    fn written(&self, expected: &str, actual: &str) -> bool {
        let is = |time: &Duration, text: &str| format!("{time:?}") == text;
        self.expected.iter().any(|time| is(time, expected))
            && self.actual.iter().any(|time| is(time, actual) && self.is_new(time))
    }
}

/// Words, and what stands between them. A point belongs to its number.
fn tokens(text: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '.';
    let mut tokens = Vec::new();
    let mut from = 0;
    let mut last: Option<bool> = None;
    for (at, c) in text.char_indices() {
        if last.is_some_and(|was| was != is_word(c)) {
            tokens.push(&text[from..at]);
            from = at;
        }
        last = Some(is_word(c));
    }
    if from < text.len() {
        tokens.push(&text[from..]);
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn same(expected: &str, actual: &str) -> bool {
        let (ours, theirs) = (BTreeSet::from([Duration::ZERO, S]), BTreeSet::from([Duration::ZERO, 60 * S]));
        Times { actual: &theirs, expected: &ours }.is_same(expected, actual)
    }

    #[test]
    fn a_reading_is_found_in_each_unit() {
        for (expected, actual) in [
            ("0", "60"),
            ("0", "60000"),
            ("1000", "60000"),
            ("{\"at\":1}", "{\"at\":60}"),
            ("{\"at\":0.0}", "{\"at\":60.0}"),
            ("[\"paid at 0ns\"]", "[\"paid at 60s\"]"),
            ("paid-0", "paid-60"),
            ("{\"secs\":0,\"nanos\":0}", "{\"secs\":60,\"nanos\":0}"),
            ("1700000000", "1700000060"),
            ("{\"at\":1700000000123}", "{\"at\":1700000059123}"),
            ("\"2026-01-31T23:59:59Z\"", "\"2026-02-01T00:00:59Z\""),
            ("paid 2026-01-31 at 23:59:59", "paid 2026-02-01 at 00:00:59"),
        ] {
            assert!(same(expected, actual), "{expected} {actual}");
        }
    }

    #[test]
    fn other_numbers_are_compared_as_they_are() {
        for (expected, actual) in [
            ("2", "60"),
            ("0", "61"),
            ("0", "1"),
            ("60", "0"),
            ("1", "60000"),
            ("{\"at\":0,\"sum\":5}", "{\"at\":60,\"sum\":10}"),
            ("paid 0 of 5", "paid 60 of 6"),
            ("[0]", "[60,60]"),
            ("1700000000", "1700000061"),
            ("1700000060", "1700000000"),
            ("\"2026-01-31T23:59:59Z\"", "\"2026-02-01T00:01:59Z\""),
            ("\"2026-01-31T23:59:59Z to ada\"", "\"2026-02-01T00:00:59Z to bob\""),
        ] {
            assert!(!same(expected, actual), "{expected} {actual}");
        }
    }
}
