//! A request to an upstream and the answer to it, as values.

use std::fmt;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::http::response::HttpResponse;
use crate::system::effect::{fingerprint, hex};

/// The longest text of a body in an effect, in bytes. A longer one is replaced by its digest.
const LONGEST_TEXT: usize = 64 << 10;

/// A request that an upstream receives.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamRequest {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl UpstreamRequest {
    pub(super) fn new(parts: Parts, body: Vec<u8>) -> Self {
        let (path, query) = (parts.uri.path().to_owned(), parts.uri.query().map(str::to_owned));
        Self { method: parts.method, path, query, headers: parts.headers, body }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON: also that of a form, and a text that is neither.
    pub(super) fn json(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        let is_form = self.header("content-type").is_some_and(|kind| kind.contains("x-www-form-urlencoded"));
        if is_form {
            let pairs = form_urlencoded::parse(&self.body);
            return pairs.fold(Map::new(), add_pair).into();
        }
        if let Ok(value) = serde_json::from_slice(&self.body) {
            return value;
        }
        match std::str::from_utf8(&self.body) {
            Ok(text) if text.len() <= LONGEST_TEXT => text.into(),
            _ => {
                let digest = hex("", fingerprint(&[&String::from_utf8_lossy(&self.body)]), 16);
                json!({ "bytes": self.body.len(), "digest": digest })
            }
        }
    }

    /// The content of a request: all of it but its headers.
    pub(super) fn content(&self) -> Value {
        let mut content = Map::new();
        content.insert("path".to_owned(), self.path.as_str().into());
        if let Some(query) = &self.query {
            content.insert("query".to_owned(), query.as_str().into());
        }
        if !self.body.is_empty() {
            content.insert("body".to_owned(), self.json());
        }
        content.into()
    }
}

/// A name that stands twice in a form has a list of values.
fn add_pair(
    mut form: Map<String, Value>,
    (name, value): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>),
) -> Map<String, Value> {
    match form.get_mut(name.as_ref()) {
        Some(Value::Array(values)) => values.push(value.into()),
        Some(first) => *first = json!([first, value]),
        None => {
            form.insert(name.into_owned(), value.into());
        }
    }
    form
}

impl Serialize for UpstreamRequest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.content().serialize(serializer)
    }
}

/// The answer of an upstream.
///
/// A stub may also return a JSON value, which is an answer with the status 200, or a pair of a status and a JSON value.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamResponse {
    pub(super) status: u16,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Vec<u8>,
}

impl fmt::Debug for UpstreamResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, String::from_utf8_lossy(&self.body))
    }
}

impl UpstreamResponse {
    /// Makes an answer without content.
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// Makes an answer with a JSON body.
    ///
    /// # Panics
    /// If the value cannot be written as JSON.
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("the body of an answer can be written as JSON");
        Self { body, ..Self::new(status) }.header(CONTENT_TYPE.as_str(), "application/json")
    }

    /// Makes an answer with a text.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self { body: text.into().into_bytes(), ..Self::new(status) }
            .header(CONTENT_TYPE.as_str(), "text/plain; charset=utf-8")
    }

    /// Adds a header. The length of the body is added without being asked for.
    ///
    /// # Panics
    /// If the name or the value is invalid.
    #[must_use]
    #[track_caller]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let parsed = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
        self.headers.push(parsed.unwrap_or_else(|| panic!("`{name}: {value}` is not a valid header")));
        self
    }

    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(super) fn answer(self) -> HttpResponse {
        let Self { status, headers, body } = self;
        HttpResponse { status, content: "", body, headers }
    }
}

impl From<Value> for UpstreamResponse {
    fn from(body: Value) -> Self {
        Self::json(200, &body)
    }
}

impl From<(u16, Value)> for UpstreamResponse {
    fn from((status, body): (u16, Value)) -> Self {
        Self::json(status, &body)
    }
}

impl Serialize for UpstreamResponse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let body = match serde_json::from_slice::<Value>(&self.body) {
            Ok(value) => value,
            Err(_) if self.body.len() > LONGEST_TEXT => json!({ "bytes": self.body.len() }),
            Err(_) => String::from_utf8_lossy(&self.body).into(),
        };
        match self.body.is_empty() {
            true => self.status.serialize(serializer),
            false => (self.status, body).serialize(serializer),
        }
    }
}
