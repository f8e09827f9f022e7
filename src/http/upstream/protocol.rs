//! Requests to upstreams on the wire.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Uri};

use super::exchange::{UpstreamRequest, UpstreamResponse};
use super::service::{Trouble, UpstreamService};
use crate::engine::state::lock;
use crate::http::message::{Message, Parsed, Parser};
use crate::http::response::HttpResponse;
use crate::search::choice::Name;
use crate::system::service::ServiceError;
use crate::wire::{Caller, DecodeOutcome, Protocol, ServeOutcome, tls};

/// The beginning of a connection that speaks HTTP/2 without having asked.
const HTTP_2: &[u8] = b"PRI * HTTP/2";

/// The upstreams of a world that have a host name, for clients that use a forward proxy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts(Arc<Mutex<BTreeMap<String, Name>>>);

impl Hosts {
    pub(super) fn add(&self, authority: String, upstream: Name) {
        lock(&self.0).insert(authority, upstream);
    }

    /// The upstream that an absolute request target names.
    pub(crate) fn of(&self, target: &Uri) -> Option<Name> {
        lock(&self.0).get(&authority(target)?).copied()
    }
}

/// The host and the port of a URL, in lower case.
pub(super) fn authority(uri: &Uri) -> Option<String> {
    let authority = uri.authority()?;
    Some(format!("{}:{}", authority.host().to_ascii_lowercase(), authority.port_u16().unwrap_or(80)))
}

/// HTTP/1.1 with one upstream behind it.
pub(super) struct UpstreamProtocol {
    pub(super) name: Name,
    pub(super) hosts: Hosts,
    pub(super) trouble: Trouble,
}

#[derive(Debug, Default)]
pub(super) struct UpstreamSession {
    parser: Parser,
    has_begun: bool,
}

impl UpstreamProtocol {
    /// Refuses a connection that speaks another protocol.
    fn refuses(&self, bytes: &[u8]) -> Option<DecodeOutcome<Message>> {
        let name = self.name;
        let (text, last) = if tls::is_spoken(bytes) {
            (
                format!(
                    "a client speaks TLS to the upstream `{name}`; give it a base URL that begins with `http://`"
                ),
                tls::HANDSHAKE_FAILURE.to_vec(),
            )
        } else if bytes.starts_with(HTTP_2) {
            let text = format!(
                "a client speaks HTTP/2 to the upstream `{name}`, which speaks HTTP/1.1; turn off prior knowledge of HTTP/2 in the client"
            );
            let last = format!(
                "HTTP/1.1 505 HTTP Version Not Supported\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{text}",
                text.len()
            );
            (text, last.into_bytes())
        } else {
            return None;
        };
        lock(&self.trouble).get_or_insert(text);
        Some(DecodeOutcome::Close(last))
    }
}

impl Protocol for UpstreamProtocol {
    type Session = UpstreamSession;
    type Request = Message;

    fn decode(&self, bytes: &mut Vec<u8>, session: &mut UpstreamSession) -> DecodeOutcome<Message> {
        if !session.has_begun {
            if let Some(refused) = self.refuses(bytes) {
                return refused;
            }
            session.has_begun = bytes.len() >= HTTP_2.len();
        }
        match session.parser.parse(bytes) {
            Parsed::Partial => DecodeOutcome::Partial,
            Parsed::Continue => DecodeOutcome::Aside(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
            Parsed::Message(message) => DecodeOutcome::Request(*message),
            Parsed::Refused(answer) => DecodeOutcome::Close(answer),
        }
    }

    fn serve(&self, message: Message, _: &mut UpstreamSession, caller: &Caller<'_>) -> ServeOutcome {
        let name = self.hosts.of(&message.parts.uri).unwrap_or(self.name);
        serve(message, name, caller)
    }
}

/// Serves a request to an upstream in the name of the current actor.
pub(crate) fn serve(message: Message, upstream: Name, caller: &Caller<'_>) -> ServeOutcome {
    let Message { parts, body, manner } = message;
    if parts.method == Method::CONNECT {
        return ServeOutcome::reply(tunnel_refused().written(manner));
    }
    let request = UpstreamRequest::new(parts, body);
    caller.call::<UpstreamService>(upstream, request, move |result| {
        result.map_or_else(|error| failure(&error), UpstreamResponse::answer).written(manner)
    })
}

/// The answer to a client that wants a tunnel for TLS.
pub(crate) fn tunnel_refused() -> HttpResponse {
    HttpResponse::error(
        501,
        "this proxy has no tunnels; use a URL that begins with `http://` instead of `https://`",
    )
}

/// A failure of the service, as its clients see it.
fn failure(error: &ServiceError) -> HttpResponse {
    match error {
        ServiceError::Throttled { retry_after, .. } => {
            HttpResponse::error(429, "too many requests").retry_after(*retry_after)
        }
        ServiceError::Refused { status, reason, .. } => HttpResponse::error(*status, reason),
        ServiceError::Unavailable { .. } => HttpResponse::error(503, "service unavailable"),
        // An injected timeout never answers. This is the time limit of a slow upstream.
        ServiceError::TimedOut { .. } => {
            HttpResponse::error(504, "gateway timeout").retry_after(Duration::ZERO)
        }
    }
}
