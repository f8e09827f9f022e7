//! Compares durable and observed state as JSON.

use serde_json::Value;

use super::{Comparison, Finding};
use crate::system::json_path;

pub(super) fn compare(comparison: &Comparison<'_>, findings: &mut Vec<Finding>) {
    let Comparison { outcome, state, serial, .. } = comparison;
    let serial = *serial;
    for (name, one) in state.iter() {
        let Some((_, other)) = outcome.state.iter().find(|(known, _)| known == name) else {
            let (path, expected) = ("$".to_owned(), serde_json::from_str(one).ok());
            findings.push(Finding::State { name: *name, path, expected, actual: None, serial });
            continue;
        };
        if one == other {
            continue;
        }
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or(Value::Null);
        let (mut one, mut other) = (read(one), read(other));
        for (_, path) in outcome.terms.ignored.iter().filter(|(ignored, _)| ignored == name) {
            path.blank(&mut one);
            path.blank(&mut other);
        }
        for difference in json_path::differences(&one, &other) {
            let (path, expected, actual) = (difference.path, difference.expected, difference.actual);
            findings.push(Finding::State { name: *name, path, expected, actual, serial });
        }
    }
    for (name, other) in &outcome.state {
        if state.iter().all(|(known, _)| known != name) {
            let (path, actual) = ("$".to_owned(), serde_json::from_str(other).ok());
            findings.push(Finding::State { name: *name, path, expected: None, actual, serial });
        }
    }
}
