//! Paths into JSON. They name the places where two states differ, and the parts of a state that are not compared.
//!
//! A small subset of RFC 9535 (JSONPath, 2024): `$`, `.name`, `[3]`, `[*]`, `.*`, `..name`. Libraries for the whole
//! RFC depend on a regex engine, and nothing more is needed here.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// A path such as `$.orders[*].paid_at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JsonPath(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Name(String),
    Index(usize),
    Any,
    /// Names with this prefix.
    Prefix(String),
    Deep(String),
}

/// The reason why a text is not a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a path: {expected} at character {at}; paths look like `$.orders[*].paid_at` or `$..id`"
)]
pub(crate) struct JsonPathError {
    text: String,
    expected: &'static str,
    at: usize,
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        self.0.iter().try_for_each(|part| match part {
            Part::Name(name) => write!(f, ".{name}"),
            Part::Index(index) => write!(f, "[{index}]"),
            Part::Any => f.write_str("[*]"),
            Part::Prefix(prefix) => write!(f, ".{prefix}*"),
            Part::Deep(name) => write!(f, "..{name}"),
        })
    }
}

impl FromStr for JsonPath {
    type Err = JsonPathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |rest: &str, expected| JsonPathError {
            text: text.to_owned(),
            expected,
            at: text.chars().count() - rest.chars().count(),
        };
        let mut rest = text.strip_prefix('$').ok_or_else(|| error(text, "expected `$`"))?;
        let mut parts = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("..") {
                let (name, after) = name(after);
                if name.is_empty() {
                    return Err(error(after, "expected a name"));
                }
                parts.push(Part::Deep(name.to_owned()));
                rest = after;
            } else if let Some(after) = rest.strip_prefix(".*").or_else(|| rest.strip_prefix("[*]")) {
                parts.push(Part::Any);
                rest = after;
            } else if let Some(after) = rest.strip_prefix('.') {
                let (name, after) = name(after);
                if name.is_empty() {
                    return Err(error(after, "expected a name"));
                }
                parts.push(match name.strip_suffix('*') {
                    Some(prefix) => Part::Prefix(prefix.to_owned()),
                    None => Part::Name(name.to_owned()),
                });
                rest = after;
            } else if let Some(after) = rest.strip_prefix('[') {
                let (index, after) = after.split_once(']').ok_or_else(|| error(after, "expected `]`"))?;
                parts.push(Part::Index(index.parse().map_err(|_| error(rest, "expected a number or `*`"))?));
                rest = after;
            } else {
                return Err(error(rest, "expected `.` or `[`"));
            }
        }
        Ok(Self(parts))
    }
}

fn name(text: &str) -> (&str, &str) {
    text.split_at(text.find(['.', '[']).unwrap_or(text.len()))
}

impl JsonPath {
    /// The value at the path, if the path names one place.
    pub(crate) fn find<'v>(&self, value: &'v mut Value) -> Option<&'v mut Value> {
        self.0.iter().try_fold(value, |value, part| match part {
            Part::Name(name) => value.get_mut(name),
            Part::Index(index) => value.get_mut(index),
            Part::Any | Part::Prefix(_) | Part::Deep(_) => None,
        })
    }

    /// A JSON text without the values that the paths name. `None` if the text is not JSON.
    pub(crate) fn blank_text<'p>(paths: impl Iterator<Item = &'p Self>, text: &str) -> Option<String> {
        let mut value: Value = serde_json::from_str(text).ok()?;
        paths.for_each(|path| path.blank(&mut value));
        Some(value.to_string())
    }

    /// Whether the path names anything in a JSON text. A text that is not JSON has no parts to name.
    pub(crate) fn names_in(&self, text: &str) -> bool {
        serde_json::from_str(text).is_ok_and(|value| names(&self.0, &value))
    }

    /// Whether the path may name an entry of an object under this key, or something in it.
    pub(crate) fn reaches(&self, key: &str) -> bool {
        match self.0.first() {
            Some(Part::Name(name)) => name == key,
            Some(Part::Prefix(prefix)) => key.starts_with(prefix),
            Some(Part::Index(_)) => false,
            Some(Part::Any | Part::Deep(_)) | None => true,
        }
    }

    /// Removes every value that the path names. If that would move other values, replaces it by `null`.
    pub(crate) fn blank(&self, value: &mut Value) {
        blank(&self.0, value);
    }
}

fn names(parts: &[Part], value: &Value) -> bool {
    let Some((part, rest)) = parts.split_first() else { return true };
    match (part, value) {
        (Part::Name(name), Value::Object(map)) => map.get(name).is_some_and(|inner| names(rest, inner)),
        (Part::Prefix(prefix), Value::Object(map)) => {
            map.iter().any(|(name, inner)| name.starts_with(prefix) && names(rest, inner))
        }
        (Part::Index(index), Value::Array(items)) => {
            items.get(*index).is_some_and(|inner| names(rest, inner))
        }
        (Part::Any, Value::Object(map)) => map.values().any(|inner| names(rest, inner)),
        (Part::Any, Value::Array(items)) => items.iter().any(|inner| names(rest, inner)),
        (Part::Deep(name), Value::Object(map)) => {
            map.iter().any(|(key, inner)| key == name && names(rest, inner) || names(parts, inner))
        }
        (Part::Deep(_), Value::Array(items)) => items.iter().any(|inner| names(parts, inner)),
        _ => false,
    }
}

fn blank(parts: &[Part], value: &mut Value) {
    let Some((part, rest)) = parts.split_first() else {
        *value = Value::Null;
        return;
    };
    match (part, value) {
        // A value that is left out is equal whether it is present or not.
        (Part::Name(name), Value::Object(map)) if rest.is_empty() => drop(map.remove(name)),
        (Part::Any, Value::Object(map)) if rest.is_empty() => map.clear(),
        (Part::Prefix(prefix), Value::Object(map)) if rest.is_empty() => {
            map.retain(|name, _| !name.starts_with(prefix));
        }
        (Part::Prefix(prefix), Value::Object(map)) => {
            let named = map.iter_mut().filter(|(name, _)| name.starts_with(prefix));
            named.for_each(|(_, inner)| blank(rest, inner));
        }
        (Part::Name(name), Value::Object(map)) => {
            map.get_mut(name).into_iter().for_each(|inner| blank(rest, inner));
        }
        (Part::Index(index), Value::Array(items)) => {
            items.get_mut(*index).into_iter().for_each(|inner| blank(rest, inner));
        }
        (Part::Any, Value::Object(map)) => map.values_mut().for_each(|inner| blank(rest, inner)),
        (Part::Any, Value::Array(items)) => items.iter_mut().for_each(|inner| blank(rest, inner)),
        (Part::Deep(name), Value::Object(map)) => {
            if rest.is_empty() {
                map.remove(name);
            }
            for (key, inner) in map.iter_mut() {
                blank(if key == name { rest } else { parts }, inner);
            }
        }
        (Part::Deep(_), Value::Array(items)) => items.iter_mut().for_each(|inner| blank(parts, inner)),
        _ => {}
    }
}

/// A place where two values differ, and the value of each.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Difference {
    /// `$[3].charge_id`
    pub(crate) path: String,
    pub(crate) expected: Option<Value>,
    pub(crate) actual: Option<Value>,
}

/// The places where two values differ, as deep as possible. Arrays of different lengths differ as a whole.
pub(crate) fn differences(expected: &Value, actual: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("$".to_owned(), Some(expected), Some(actual), &mut found);
    found
}

fn compare(path: String, expected: Option<&Value>, actual: Option<&Value>, found: &mut Vec<Difference>) {
    match (expected, actual) {
        (Some(one), Some(other)) if one == other => {}
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            let names = one.keys().chain(other.keys().filter(|name| !one.contains_key(*name)));
            for name in names {
                compare(format!("{path}.{name}"), one.get(name), other.get(name), found);
            }
        }
        (Some(Value::Array(one)), Some(Value::Array(other))) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                compare(format!("{path}[{index}]"), Some(one), Some(other), found);
            }
        }
        (one, other) => found.push(Difference { path, expected: one.cloned(), actual: other.cloned() }),
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn blanks_what_a_path_names() {
        let blanked = |path: &str| {
            let mut value = json!({"orders": [{"id": 1, "at": 5}, {"id": 2, "at": 6, "deep": {"at": 7}}]});
            path.parse::<JsonPath>().unwrap().blank(&mut value);
            value
        };
        assert_eq!(blanked("$.orders[1].id")["orders"][1]["id"], Value::Null);
        assert_eq!(blanked("$.orders[*].at")["orders"][1]["deep"]["at"], 7);
        assert_eq!(blanked("$..at")["orders"][1]["deep"]["at"], Value::Null);
        assert_eq!(blanked("$.*[0]")["orders"][0], Value::Null);
        assert_eq!(blanked("$"), Value::Null);
        assert_eq!(blanked("$.ord*"), json!({}));
        assert_eq!(blanked("$.ord*[1].id")["orders"][1]["id"], Value::Null);
        assert_ne!(blanked("$.old*")["orders"][1]["id"], Value::Null);
    }

    #[test]
    fn a_path_names_what_it_would_blank() {
        let text = r#"{"orders": [{"id": 1, "at": 5}, {"id": 2, "deep": {"at": null}}], "none": []}"#;
        let named = |path: &str| path.parse::<JsonPath>().unwrap().names_in(text);
        for path in
            ["$", "$.orders[1].id", "$.orders[*].at", "$..at", "$.*[0]", "$.ord*[1].deep.at", "$.non*"]
        {
            assert!(named(path), "{path}");
        }
        for path in
            ["$.order", "$.orders[2]", "$.orders[*].to", "$..to", "$[0]", "$.old*", "$.ord*.id", "$.none[*]"]
        {
            assert!(!named(path), "{path}");
        }
        let reaches = |path: &str| path.parse::<JsonPath>().unwrap().reaches("tx:7");
        assert!(["$", "$.tx:7", "$.tx:*.at", "$.*", "$..at"].into_iter().all(reaches));
        assert!(!["$.tx:8", "$.ty*", "$[7]"].into_iter().any(reaches));
    }

    #[test]
    fn a_bad_path_is_told_where() {
        let error = |path: &str| path.parse::<JsonPath>().unwrap_err().to_string();
        let told = ["orders", "$.a[x]", "$.."].map(error).join("\n");
        expect_test::expect![[r#"
            `orders` is not a path: expected `$` at character 0; paths look like `$.orders[*].paid_at` or `$..id`
            `$.a[x]` is not a path: expected a number or `*` at character 3; paths look like `$.orders[*].paid_at` or `$..id`
            `$..` is not a path: expected a name at character 3; paths look like `$.orders[*].paid_at` or `$..id`"#]].assert_eq(&told);
    }

    #[test]
    fn differences_are_as_deep_as_can_be_said() {
        let paths = |one: Value, other: Value| -> Vec<_> {
            differences(&one, &other).into_iter().map(|difference| difference.path).collect()
        };
        assert_eq!(paths(json!([{"a": 1, "b": 2}]), json!([{"a": 1, "b": 3, "c": 4}])), ["$[0].b", "$[0].c"]);
        assert_eq!(paths(json!([1]), json!([1, 2])), ["$"]);
        assert!(paths(json!({"a": [1]}), json!({"a": [1]})).is_empty());
    }
}
