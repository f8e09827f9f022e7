//! Durable and observed state, compared as JSON.

use serde_json::Value;

use super::{Finding, effects};
use crate::judge::run::Outcome;
use crate::system::json_path;

pub(super) fn compare(outcome: &Outcome, expected: &Outcome, serial: bool, findings: &mut Vec<Finding>) {
    for (name, one) in &expected.state {
        let Some((_, other)) = outcome.state.iter().find(|(known, _)| known == name) else {
            let (path, expected) = ("$".to_owned(), serde_json::from_str(one).ok());
            findings.push(Finding::State { name: *name, path, expected, actual: None, serial });
            continue;
        };
        if one == other {
            continue;
        }
        let mut other = other.clone();
        for (alias, id) in effects::aliases(outcome, expected) {
            other = other.replace(alias, id);
        }
        // Most states differ in nothing but such an id: no need to read them as JSON.
        if *one == other {
            continue;
        }
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or(Value::Null);
        let (mut one, mut other) = (read(one), read(&other));
        for (_, path) in expected.terms.ignored.iter().filter(|(ignored, _)| ignored == name) {
            path.blank(&mut one);
            path.blank(&mut other);
        }
        for difference in json_path::differences(&one, &other) {
            let (path, expected, actual) = (difference.path, difference.expected, difference.actual);
            findings.push(Finding::State { name: *name, path, expected, actual, serial });
        }
    }
    for (name, other) in &outcome.state {
        if expected.state.iter().all(|(known, _)| known != name) {
            let (path, actual) = ("$".to_owned(), serde_json::from_str(other).ok());
            findings.push(Finding::State { name: *name, path, expected: None, actual, serial });
        }
    }
}
