//! An answer, and its bytes on the wire.

use std::time::Duration;

use http::header::{ALLOW, HeaderName, HeaderValue, RETRY_AFTER};
use http::{StatusCode, Version};

use crate::wire::Reply;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HttpResponse {
    pub(super) status: u16,
    /// Usually `application/json`. Empty if `headers` has the type.
    pub(super) content: &'static str,
    pub(super) body: Vec<u8>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

impl HttpResponse {
    pub(super) fn json(status: u16, body: &impl serde::Serialize) -> Self {
        let written = serde_json::to_vec(body);
        // A reply of the user's own service may not be valid JSON.
        let body = written.unwrap_or_else(|error| format!("{:?}", error.to_string()).into_bytes());
        Self { status, content: "application/json", body, headers: Vec::new() }
    }

    /// A refusal with its reason.
    pub(super) fn error(status: u16, reason: &str) -> Self {
        Self::json(status, &serde_json::json!({ "error": reason }))
    }

    pub(super) fn retry_after(self, wait: Duration) -> Self {
        Self { headers: vec![(RETRY_AFTER, HeaderValue::from(wait.as_secs()))], ..self }
    }

    pub(super) fn allow(self, allowed: Option<HeaderValue>) -> Self {
        Self { headers: allowed.map(|allowed| (ALLOW, allowed)).into_iter().collect(), ..self }
    }

    pub(super) fn page(html: String) -> Self {
        let content = "text/html; charset=utf-8";
        Self { status: 200, content, body: html.into_bytes(), headers: Vec::new() }
    }

    /// The bytes of the answer. They have no date, because a run has none.
    pub(super) fn written(self, manner: ResponseOptions) -> Reply {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let version = if manner.version == Version::HTTP_10 { "1.0" } else { "1.1" };
        let mut bytes = Vec::with_capacity(160 + self.body.len());
        let mut line = |text: &str| bytes.extend_from_slice(text.as_bytes());
        line(&format!("HTTP/{version} {status}\r\n"));
        if !self.content.is_empty() {
            line(&format!("content-type: {}\r\n", self.content));
        }
        for (name, value) in &self.headers {
            line(&format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes())));
        }
        if !manner.keeps_alive {
            line("connection: close\r\n");
        } else if manner.version == Version::HTTP_10 {
            line("connection: keep-alive\r\n");
        }
        // An answer without content must not have a length (RFC 9110, section 8.6).
        match status == StatusCode::NO_CONTENT {
            true => line("\r\n"),
            false => line(&format!("content-length: {}\r\n\r\n", self.body.len())),
        }
        let head = bytes.len();
        if !manner.only_head {
            bytes.extend_from_slice(&self.body);
        }
        // A reply that is cut off is cut in its body.
        let reply = Reply::new(bytes).cut_at(head + self.body.len() / 2);
        if manner.keeps_alive { reply } else { reply.last() }
    }
}

/// The way in which a request must be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ResponseOptions {
    pub(super) version: Version,
    pub(super) keeps_alive: bool,
    /// `HEAD`: without the body.
    pub(super) only_head: bool,
}
