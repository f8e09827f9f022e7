//! Upstreams: the HTTP APIs that jobs call, each behind an address of its own.
//!
//! `route` finds the operation of a request, `exchange` has requests and answers, `remote` and `in_process` are the
//! servers that may be behind an upstream, `service` answers and records effects, and `protocol` is the wire.

mod route;
mod exchange;
mod remote;
mod in_process;
mod service;
mod protocol;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, Uri};
use http_body::Body;
use tower_service::Service;

pub use self::exchange::UpstreamResponse;
use self::in_process::InProcess;
pub use self::in_process::UpstreamBody;
pub(crate) use self::protocol::{Hosts, serve, tunnel_refused};
use self::protocol::{UpstreamProtocol, authority};
use self::remote::Remote;
pub use self::route::{Route, delete, get, patch, post, put};
pub use self::service::StubCall;
use self::service::{Backend, UpstreamService};
use crate::engine::state::lock;
use crate::process::{Client, Process};
use crate::search::choice::Name;
use crate::system::service::Behavior;
use crate::world::World;

/// An HTTP API that jobs call, from the test's side. [`World::upstream`] makes it.
///
/// Its answers come from stubs, or from a server: a URL, such as that of a running mock server, or a `tower::Service`, such
/// as a router of axum.
#[derive(Clone, Debug)]
pub struct Upstream {
    name: Name,
    client: Client<UpstreamService>,
    hosts: Hosts,
}

impl Upstream {
    /// Adds an upstream to a world.
    #[track_caller]
    pub(super) fn new(world: &World, name: Name, hosts: Hosts) -> Self {
        let service = UpstreamService::default();
        let trouble = service.trouble.clone();
        let client = world.service(name, service);
        world.wire(name, UpstreamProtocol { name, hosts: hosts.clone(), trouble: trouble.clone() });
        let observed = client.clone();
        world.observe(name, move || {
            if let Some(trouble) = lock(&trouble).take() {
                panic!("{trouble}");
            }
            observed.inspect(UpstreamService::observed)
        });
        Self { name, client, hosts }
    }

    /// The base URL for the code of a process, without a slash at the end. The port differs in each incarnation and each
    /// run. When the incarnation dies, its connections are reset.
    ///
    /// # Panics
    /// If no port can be opened.
    #[track_caller]
    pub fn url(&self, p: &Process) -> String {
        format!("http://{}", p.wire(self.name).address())
    }

    /// Answers the requests of a route with a closure. The first route that fits a request answers it, and a request that
    /// no route fits is answered with 404.
    ///
    /// What the closure keeps belongs into [`StubCall::state`].
    pub fn stub<R: Into<UpstreamResponse>>(
        &self,
        route: Route,
        answer: impl Fn(&mut StubCall<'_>) -> R + Send + Sync + 'static,
    ) -> &Self {
        let answer = Arc::new(move |call: &mut StubCall<'_>| answer(call).into());
        self.client.configure(|service| service.add_stub(route, answer));
        self
    }

    /// Forwards the requests that no stub answers to a server: `http://127.0.0.1:8080/base`. The server is asked in real
    /// time, has five seconds for an answer, and must not change between scenarios, unless the test resets it. A mock
    /// server that the test body starts is new in each scenario, and its expectations are checked when it is dropped.
    ///
    /// # Panics
    /// If the URL does not begin with `http://`, or if the upstream has a server already.
    #[track_caller]
    pub fn behind(&self, url: impl AsRef<str>) -> &Self {
        let remote = Remote::new(url.as_ref()).unwrap_or_else(|error| panic!("{error}"));
        self.client.configure(|service| service.put_behind(self.name, Backend::Remote(remote)));
        self
    }

    /// Lets a `tower::Service` answer the requests that no stub answers, such as a router of axum. The test body makes it, so
    /// its state is new in each scenario. [`World::observe`] has the state compared.
    ///
    /// It runs on a thread with a tokio runtime, in real time, and has five seconds for an answer.
    ///
    /// # Panics
    /// If the upstream has a server already.
    #[track_caller]
    pub fn served_by<S, B>(&self, service: S) -> &Self
    where
        S: Service<Request<UpstreamBody>, Response = Response<B>> + Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        S::Future: Send,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let backend = Backend::InProcess(InProcess::new(service));
        self.client.configure(|service| service.put_behind(self.name, backend));
        self
    }

    /// Sets the real time that the server behind the upstream may take for an answer. Defaults to five seconds. A server that
    /// takes longer fails the test.
    pub fn time_limit(&self, limit: Duration) -> &Self {
        self.client.configure(|service| service.limit = Some(limit));
        self
    }

    /// Honors the header `Idempotency-Key`: a request whose key is known does nothing, and has the answer of the first
    /// one, unless that was a failure of the server. A known key in a request with other contents is a violation.
    pub fn honor_idempotency_keys(&self) -> &Self {
        self.client.configure(|service| {
            service.honor_keys();
        });
        self
    }

    /// Forgets each idempotency key this long after its request. Also lets timers and retries come days late.
    pub fn key_ttl(&self, ttl: Duration) -> &Self {
        self.client.expect_delays();
        self.client.configure(|service| service.honor_keys().forgotten_after(ttl));
        self
    }

    /// Refuses a request whose key is that of one that is still running, with 409. A request runs until its caller has the
    /// answer, or for `time` if no answer arrives.
    pub fn reject_concurrent_keys(&self, time: Duration) -> &Self {
        self.client.configure(|service| {
            service.honor_keys();
        });
        self.client.reject_concurrent_keys(time);
        self
    }

    /// Declares that the requests of a route change nothing, although their method says otherwise: a search by `POST`.
    /// A lost reply to such a request is not explored as one that changed something, so never declare it of a request that
    /// does; see [`deduplicates`](Upstream::deduplicates).
    pub fn reads(&self, route: Route) -> &Self {
        self.client.configure(|service| service.add_read(route));
        self
    }

    /// Declares that the server recognizes repeated requests of a route itself, for example by a message id. The requests
    /// are then no effects: what counts is the state of the server, which [`World::observe`] has compared, or the state of
    /// the stubs.
    pub fn deduplicates(&self, route: Route) -> &Self {
        self.client.configure(|service| service.add_deduplicated(route));
        self
    }

    /// Explores a refusal of the requests of a route: a declined card, an address that is rejected.
    ///
    /// A refusal is an input and not a deviation ([`World::choose`]): the same request gets the same answer in every
    /// attempt, and each run is compared with the fault-free run of the same inputs. `name` stands in scenarios.
    pub fn explore_refusal(
        &self,
        route: Route,
        name: &'static str,
        response: impl Into<UpstreamResponse>,
    ) -> &Self {
        self.client.configure(|service| service.add_refusal(route, name, response.into()));
        self.client.explore_refusals();
        self
    }

    /// Explores outages that end after this time, as additional faults: all requests are answered with 503 meanwhile.
    pub fn explore_outages(&self, stretch: Duration) -> &Self {
        self.client.explore_outages(stretch);
        self
    }

    /// Makes every request fail, be throttled or be slow until changed, in the fault-free run as well.
    pub fn behavior(&self, behave: Behavior) -> &Self {
        self.client.behavior(behave);
        self
    }

    /// Gives the upstream a constant URL, such as `http://api.example.com`, for code that cannot be given another one. Its
    /// client must use a forward proxy, as with the environment variable `HTTP_PROXY`: the address of
    /// [`Process::http`], or [`url`](Upstream::url) of any upstream.
    ///
    /// # Panics
    /// If this is not a URL that begins with `http://`.
    #[track_caller]
    pub fn at(&self, url: &str) -> &Self {
        let uri = Uri::try_from(url).ok().filter(|uri| uri.scheme_str() == Some("http"));
        let authority = uri.as_ref().and_then(authority);
        let authority = authority.unwrap_or_else(|| {
            panic!("`{url}` does not begin with `http://`: a forward proxy does not see what goes over TLS")
        });
        self.hosts.add(authority, self.name);
        self
    }
}
