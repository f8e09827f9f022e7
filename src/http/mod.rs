//! All services of a world behind a real loopback port, for clients that speak HTTP: the first [`Protocol`].
//!
//! `message` finds the bounds of a request, `request` checks it and finds its route, `serve` calls the service behind
//! the route, and `answer` makes the reply. Sockets belong to `wire`.

mod response;
mod message;
mod request;
mod pages;
mod serve;
mod upstream;
#[cfg(test)]
mod by_hand;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http::Method;
use serde::de::DeserializeOwned;

use self::message::{Message, Parsed, Parser};
use self::serve::{CustomService, CustomServices, serve};
use self::upstream::Hosts;
pub use self::upstream::{
    Route, StubCall, Upstream, UpstreamBody, UpstreamResponse, delete, get, patch, post, put,
};
use crate::engine::state::{Shared, lock};
use crate::process::{Client, Link, Process};
use crate::search::choice::{Name, Place};
use crate::system::service::Service;
use crate::wire::{Caller, DecodeOutcome, Protocol, ServeOutcome, Wire, exchange_of};
use crate::world::World;

/// The name of the protocol.
const HTTP: &str = "http";

/// HTTP/1.1, with all services of a world behind it.
#[derive(Clone, Default)]
pub(crate) struct HttpProtocol {
    owns: Arc<Mutex<BTreeMap<Name, Arc<dyn CustomService>>>>,
    hosts: Hosts,
}

impl fmt::Debug for HttpProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpProtocol").finish_non_exhaustive()
    }
}

impl CustomServices for HttpProtocol {
    fn own(&self, name: &str) -> Option<Arc<dyn CustomService>> {
        let owns = lock(&self.owns);
        owns.iter().find(|(known, _)| known.as_str() == name).map(|(_, own)| own.clone())
    }
}

/// The state of a connection: the current message.
#[derive(Debug, Default)]
pub(crate) struct HttpSession(Parser);

/// A whole request.
#[derive(Debug)]
pub(crate) struct HttpRequest(Box<Message>);

impl Protocol for HttpProtocol {
    type Session = HttpSession;
    type Request = HttpRequest;

    fn decode(&self, bytes: &mut Vec<u8>, session: &mut HttpSession) -> DecodeOutcome<HttpRequest> {
        match session.0.parse(bytes) {
            Parsed::Partial => DecodeOutcome::Partial,
            Parsed::Continue => DecodeOutcome::Aside(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
            Parsed::Message(message) => DecodeOutcome::Request(HttpRequest(message)),
            Parsed::Refused(answer) => DecodeOutcome::Close(answer),
        }
    }

    fn serve(&self, request: HttpRequest, _: &mut HttpSession, caller: &Caller<'_>) -> ServeOutcome {
        let target = &request.0.parts;
        if target.method == Method::CONNECT {
            return ServeOutcome::reply(upstream::tunnel_refused().written(request.0.manner));
        }
        match self.hosts.of(&target.uri) {
            Some(name) => upstream::serve(*request.0, name, caller),
            None => serve(*request.0, self, caller),
        }
    }
}

/// The HTTP address of all services, for one incarnation of a process or for the test body.
///
/// It is a port on 127.0.0.1. When the incarnation dies, the port is closed and its connections are reset.
/// [`Http::uri`] returns it.
#[derive(Clone)]
pub struct Http {
    wire: Wire,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("uri", &self.uri()).finish_non_exhaustive()
    }
}

/// The same as [`Http::uri`], without waiting.
impl std::future::IntoFuture for Http {
    type Output = String;
    type IntoFuture = std::future::Ready<String>;

    fn into_future(self) -> Self::IntoFuture {
        std::future::ready(self.uri())
    }
}

impl Http {
    /// The base URI, such as `http://127.0.0.1:43117`, without a slash at the end. The port differs in each
    /// incarnation and each run.
    pub fn uri(&self) -> String {
        format!("http://{}", self.wire.address())
    }

    /// The socket address.
    pub fn address(&self) -> SocketAddr {
        self.wire.address()
    }
}

/// The HTTP protocol of this run. It is created on first use.
fn protocol(shared: &Arc<Shared>) -> Arc<HttpProtocol> {
    exchange_of(shared).get_or_add(HTTP.into(), HttpProtocol::default)
}

fn open(link: &Link, place: Place) -> Http {
    protocol(link.shared());
    Http { wire: Wire::open(link, HTTP.into(), place) }
}

impl Process {
    /// Returns the HTTP address of all services for this incarnation, to test an HTTP client unchanged. The port is
    /// opened immediately, and closed when the incarnation dies. Further calls return the same address.
    ///
    /// A call through it has the same choices as one in process, and those of a connection: it may be reset before
    /// the request is read, reset or closed after it was handled, or closed in the middle of the reply. The crate's
    /// page lists the limits of tests over sockets.
    ///
    #[cfg_attr(doctest, doc = "```ignore")]
    #[cfg_attr(not(doctest), doc = "```")]
    #[doc = include_str!("../../docs/http/a_job.rs")]
    /// ```
    ///
    /// # Panics
    /// If no port can be opened.
    #[track_caller]
    pub fn http(&self) -> Http {
        open(self.link(), Place::caller())
    }
}

impl World {
    /// Returns the HTTP address of all services for the test body itself. Requests to it are givens, and nothing goes
    /// wrong with them except what they ask for.
    ///
    #[cfg_attr(doctest, doc = "```ignore")]
    #[cfg_attr(not(doctest), doc = "```")]
    #[doc = include_str!("../../docs/http/a_fake.rs")]
    /// ```
    ///
    /// # Panics
    /// If no port can be opened.
    #[track_caller]
    pub fn http(&self) -> Http {
        open(&self.link(), Place::caller())
    }

    /// Adds an HTTP API that jobs call, with an address of its own in each process ([`Upstream::url`]). Its name stands in
    /// reports: `stripe.POST/v1/charges`.
    ///
    /// Each request that is not safe (RFC 9110, section 9.2.1) and is answered with 2xx is an effect. For the idempotent
    /// methods `PUT` and `DELETE` only the last content of each path is compared. Each request has the points and faults
    /// of a call to a service over a connection: 503, 429 with `Retry-After`, a lost or late reply, a reset.
    ///
    #[cfg_attr(doctest, doc = "```ignore")]
    #[cfg_attr(not(doctest), doc = "```")]
    #[doc = include_str!("../../docs/http/an_upstream.rs")]
    /// ```
    ///
    /// # Panics
    /// If there is a service, a protocol or a state with this name already, or if no port can be opened.
    #[track_caller]
    pub fn upstream(&self, name: impl Into<Name>) -> Upstream {
        let hosts = protocol(self.link().shared()).hosts.clone();
        Upstream::new(self, name.into(), hosts)
    }
}

impl<S> Client<S>
where
    S: Service,
    S::Request: DeserializeOwned,
{
    /// Makes a service of the test reachable over HTTP, by `POST /<its name>/<operation>` with the request as JSON.
    /// The answer is 200 with the reply as JSON, or the service's refusal.
    ///
    #[cfg_attr(doctest, doc = "```ignore")]
    #[cfg_attr(not(doctest), doc = "```")]
    #[doc = include_str!("../../docs/http/a_function.rs")]
    /// ```
    pub fn over_http(&self) -> &Self {
        lock(&protocol(self.shared()).owns).insert(self.name(), Arc::new(self.clone()));
        self
    }
}
