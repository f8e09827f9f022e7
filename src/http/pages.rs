//! Pages for people, which show the records of each service.

use serde::Serialize;
use serde_json::Value;

use super::request::BuiltInService;
use crate::engine::state::lock;
use crate::system::service::Directory;
use crate::system::service::email::EmailService;
use crate::system::service::error_tracker::ErrorTracker;
use crate::system::service::fulfillment::Fulfillment;
use crate::system::service::payments::Payments;

/// The page with links to the others.
pub(super) fn index() -> String {
    let links: String = BuiltInService::ALL
        .iter()
        .map(|which| format!("<li><a href=\"/{0}/ui\">{0}</a></li>", which.path()))
        .collect();
    page("retryproof", &format!("<ul>{links}</ul>"))
}

/// The records of a service.
pub(super) fn of(which: BuiltInService, services: &Directory) -> String {
    let rows = match which {
        BuiltInService::Payments => rows(lock(&services.built_in::<Payments>()).service.records()),
        BuiltInService::Email => rows(lock(&services.built_in::<EmailService>()).service.records()),
        BuiltInService::Fulfillment => rows(lock(&services.built_in::<Fulfillment>()).service.records()),
        BuiltInService::ErrorTracker => rows(lock(&services.built_in::<ErrorTracker>()).service.records()),
    };
    page(which.path(), &table(&rows))
}

/// Each record as names and values of its fields.
fn rows<T: Serialize>(records: &[T]) -> Vec<Vec<(String, String)>> {
    let row = |record: &T| match serde_json::to_value(record) {
        Ok(Value::Object(fields)) => fields.into_iter().map(|(name, value)| (name, text(&value))).collect(),
        Ok(value) => vec![("value".to_owned(), text(&value))],
        Err(error) => vec![("error".to_owned(), error.to_string())],
    };
    records.iter().map(row).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

fn table(rows: &[Vec<(String, String)>]) -> String {
    if rows.is_empty() {
        return "<p>NONE YET</p>".to_owned();
    }
    let mut columns: Vec<&str> = Vec::new();
    for (name, _) in rows.iter().flatten() {
        if !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    let head: String = columns.iter().map(|name| format!("<th>{}</th>", escaped(name))).collect();
    let cell = |row: &[(String, String)], column: &str| {
        let value = row.iter().find(|(name, _)| name == column).map(|(_, value)| escaped(value));
        format!("<td>{}</td>", value.unwrap_or_default())
    };
    let line = |row: &Vec<(String, String)>| {
        let cells: String = columns.iter().map(|column| cell(row, column)).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let body: String = rows.iter().map(line).collect();
    format!("<table>\n<tr>{head}</tr>\n{body}</table>")
}

/// Escapes a text for use between tags or in the value of an attribute.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title></head>\n<body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
    )
}
