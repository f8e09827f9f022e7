//! Small formats that all texts of reports share: counts, cut texts, visible characters, requests.

use std::borrow::Cow;

use serde_json::Value;

/// Formats a count: `never`, `once`, `twice`, `3 times`.
pub(crate) fn times(count: usize) -> String {
    match count {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        count => format!("{count} times"),
    }
}

/// Formats how many times something completed: `never completed`, `completed twice`.
pub(crate) fn completed(count: u32) -> String {
    match count {
        0 => "never completed".to_owned(),
        count => format!("completed {}", times(count as usize)),
    }
}

/// Escapes control and bidirectional characters, so that text from the code under test cannot steer the terminal.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut visible = String::with_capacity(text.len());
    for c in text.chars() {
        match is_hidden(c) {
            true => visible.extend(c.escape_default()),
            false => visible.push(c),
        }
    }
    Cow::Owned(visible)
}

/// Cuts a text after `most` characters.
pub(crate) fn cut(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        None => Cow::Borrowed(text),
        Some(_) => {
            let end = text.char_indices().nth(most - 1).map_or(0, |(at, _)| at);
            Cow::Owned(format!("{}…", &text[..end]))
        }
    }
}

/// Removes empty fields from a request. Returns the request unchanged if it is not a JSON object.
pub(crate) fn filled(request: &str) -> String {
    fn is_filled(value: &Value) -> bool {
        match value {
            Value::Null => false,
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(fields) => fields.values().any(is_filled),
            Value::Bool(_) | Value::Number(_) => true,
        }
    }
    // `serde_json::Map` would sort the fields.
    let Ok(fields) = serde_json::from_str::<Fields>(request) else { return request.to_owned() };
    let fields = fields.0.iter().filter(|(_, value)| is_filled(value));
    let fields: Vec<_> = fields.map(|(name, value)| format!("{name:?}:{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

/// The fields of a JSON object, in their original order.
struct Fields(Vec<(String, Value)>);

impl<'de> serde::Deserialize<'de> for Fields {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Fields;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}
