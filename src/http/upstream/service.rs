//! An upstream as a service: requests in, answers and effects out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::exchange::{UpstreamRequest, UpstreamResponse};
use super::in_process::InProcess;
use super::remote::{LONGEST, Remote};
use super::route::{Route, operation_of_path};
use crate::engine::state::lock;
use crate::search::choice::Name;
use crate::system::effect::{fingerprint, hex};
use crate::system::service::{Keys, Operation, Refusal, Refusals, Service, ServiceContext};

/// A fault in the set-up of an upstream, if there is one.
pub(super) type Trouble = Arc<Mutex<Option<String>>>;

/// The server for the requests that no stub answers.
pub(super) enum Backend {
    Remote(Remote),
    InProcess(InProcess),
}

impl Backend {
    fn exchange(&self, request: &UpstreamRequest, limit: Duration) -> io::Result<UpstreamResponse> {
        match self {
            Self::Remote(remote) => remote.exchange(request, limit),
            Self::InProcess(service) => service.exchange(request, limit),
        }
    }
}

/// A request to a stub.
pub struct StubCall<'a> {
    request: &'a UpstreamRequest,
    parameters: BTreeMap<String, String>,
    operation: Name,
    ids: &'a mut dyn FnMut(&str) -> String,
    now: Duration,
    state: &'a mut Map<String, Value>,
}

impl fmt::Debug for StubCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StubCall")
            .field("operation", &self.operation)
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

impl StubCall<'_> {
    /// The body as JSON. A form is an object of texts. Without a body this is `null`.
    pub fn json(&self) -> Value {
        self.request.json()
    }

    /// The body as a type of the test.
    ///
    /// # Panics
    /// If the body is not of this type.
    pub fn body<T: DeserializeOwned>(&self) -> T {
        let parsed = serde_json::from_value(self.json());
        parsed.unwrap_or_else(|error| panic!("the body of {} is another one: {error}", self.operation))
    }

    /// The segment of the path that `{name}` stands for.
    ///
    /// # Panics
    /// If the route has no such parameter.
    pub fn parameter(&self, name: &str) -> &str {
        let found = self.parameters.get(name);
        found.unwrap_or_else(|| panic!("the route of {} has no parameter `{name}`", self.operation))
    }

    /// The first value of this name in the query.
    pub fn query(&self, name: &str) -> Option<String> {
        let mut pairs = form_urlencoded::parse(self.request.query.as_deref()?.as_bytes());
        pairs.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    }

    /// A header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.request.header(name)
    }

    /// The whole path.
    pub fn path(&self) -> &str {
        &self.request.path
    }

    /// Makes an id for what this request creates, such as `ch_63d74d53`. It derives from the content of the request, and
    /// each call has another one.
    pub fn id(&mut self, prefix: &str) -> String {
        (self.ids)(prefix)
    }

    /// The time since the world began.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// The state of the upstream in this scenario. It begins empty, all stubs of the upstream share it, and it is compared
    /// with that of the fault-free run at the end.
    pub fn state(&mut self) -> &mut Map<String, Value> {
        self.state
    }
}

type StubCode = dyn Fn(&mut StubCall<'_>) -> UpstreamResponse + Send + Sync;

#[derive(Clone)]
struct Stub {
    route: Route,
    operation: Name,
    answer: Arc<StubCode>,
}

/// A refusal that is explored as an input.
#[derive(Clone)]
struct DeclaredRefusal {
    route: Route,
    name: &'static str,
    response: UpstreamResponse,
}

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct UpstreamService {
    stubs: Vec<Stub>,
    backend: Option<Arc<Backend>>,
    /// The real time that the backend may take, if it is not [`LONGEST`].
    pub(super) limit: Option<Duration>,
    reads: Vec<Route>,
    deduplicated: Vec<Route>,
    refusals: Vec<DeclaredRefusal>,
    keys: Option<Keys<UpstreamResponse>>,
    state: Map<String, Value>,
    /// The last content of each resource that a request has put or deleted.
    resources: BTreeMap<String, Value>,
    pub(super) trouble: Trouble,
}

impl fmt::Debug for UpstreamService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamService").field("state", &self.state).finish_non_exhaustive()
    }
}

impl UpstreamService {
    pub(super) fn add_stub(&mut self, route: Route, answer: Arc<StubCode>) {
        let operation = route.operation().into();
        self.stubs.push(Stub { route, operation, answer });
    }

    pub(super) fn put_behind(&mut self, name: Name, backend: Backend) {
        assert!(
            self.backend.is_none(),
            "the upstream `{name}` has a server behind it already; make another upstream for another one"
        );
        self.backend = Some(Arc::new(backend));
    }

    pub(super) fn add_read(&mut self, route: Route) {
        self.reads.push(route);
    }

    pub(super) fn add_deduplicated(&mut self, route: Route) {
        self.deduplicated.push(route);
    }

    pub(super) fn add_refusal(&mut self, route: Route, name: &'static str, response: UpstreamResponse) {
        self.refusals.push(DeclaredRefusal { route, name, response });
    }

    pub(super) fn honor_keys(&mut self) -> &mut Keys<UpstreamResponse> {
        self.keys.get_or_insert_default()
    }

    /// The state that is compared at the end of a run.
    pub(super) fn observed(&self) -> Map<String, Value> {
        let mut observed = self.state.clone();
        observed.extend(self.resources.clone());
        observed
    }

    fn stub_of(&self, request: &UpstreamRequest) -> Option<(&Stub, BTreeMap<String, String>)> {
        self.stubs.iter().find_map(|stub| {
            let parameters = stub.route.parameters(request.method.as_str(), &request.path)?;
            Some((stub, parameters))
        })
    }

    fn operation_name(&self, request: &UpstreamRequest) -> Name {
        if let Some((stub, _)) = self.stub_of(request) {
            return stub.operation;
        }
        let method = request.method.as_str();
        let declared = self.reads.iter().chain(&self.deduplicated);
        let declared = declared.chain(self.refusals.iter().map(|refusal| &refusal.route));
        let mut declared = declared.filter(|route| route.parameters(method, &request.path).is_some());
        match declared.next() {
            Some(route) => route.operation().into(),
            None => operation_of_path(method, &request.path).into(),
        }
    }

    fn reads(&self, request: &UpstreamRequest) -> bool {
        request.method.is_safe() || has(&self.reads, request)
    }

    fn respond(&mut self, request: &UpstreamRequest, cx: &mut ServiceContext<'_>) -> UpstreamResponse {
        let operation = self.operation_name(request);
        if let Some((stub, parameters)) = self.stub_of(request) {
            let answer = stub.answer.clone();
            let (now, service) = (cx.now(), cx.service);
            let content = request.content().to_string();
            let mut ids = |prefix: &str| cx.ledger.id(prefix, service, operation, None, &content);
            let mut call =
                StubCall { request, parameters, operation, ids: &mut ids, now, state: &mut self.state };
            return answer(&mut call);
        }
        let Some(backend) = &self.backend else {
            let text = format!("no stub of `{}` fits {} {}", cx.service, request.method, request.path);
            return UpstreamResponse::json(404, &serde_json::json!({ "error": text }));
        };
        // The calls of a destructor of a dead process must not happen, and a server that is broken stays so.
        let known = lock(&self.trouble).clone();
        let is_thrown_away = cx.inputs.is_none();
        let bad = |error: String| UpstreamResponse::json(502, &serde_json::json!({ "error": error }));
        match known {
            None if is_thrown_away => bad("the process is dead".to_owned()),
            Some(trouble) => bad(trouble),
            None => backend.exchange(request, self.limit.unwrap_or(LONGEST)).unwrap_or_else(|error| {
                let UpstreamRequest { method, path, .. } = request;
                let text = format!(
                    "the server behind the upstream `{}` did not answer {method} {path}: {error}",
                    cx.service
                );
                *lock(&self.trouble) = Some(text.clone());
                bad(text)
            }),
        }
    }

    /// Records what a request has changed outside.
    fn note(&mut self, request: &UpstreamRequest, key: Option<&str>, cx: &mut ServiceContext<'_>) {
        if has(&self.deduplicated, request) {
            return;
        }
        match request.method {
            // A repetition of these changes nothing (RFC 9110, section 9.2.2), so what counts is the last one.
            Method::PUT => {
                self.resources.insert(request.path.clone(), request.json());
            }
            Method::DELETE => {
                self.resources.insert(request.path.clone(), Value::Null);
            }
            _ => {
                let operation = self.operation_name(request);
                cx.effect(operation, key, &request.content(), "");
            }
        }
    }

    fn key_of<'r>(&self, request: &'r UpstreamRequest) -> Option<&'r str> {
        self.keys.as_ref().and_then(|_| request.header("idempotency-key"))
    }
}

/// Whether one of the routes fits.
fn has(routes: &[Route], request: &UpstreamRequest) -> bool {
    routes.iter().any(|route| route.parameters(request.method.as_str(), &request.path).is_some())
}

impl Service for UpstreamService {
    type Request = UpstreamRequest;
    type Reply = UpstreamResponse;

    fn operation(&self, request: &UpstreamRequest) -> Operation {
        let name = self.operation_name(request);
        if self.reads(request) { Operation::read(name) } else { Operation::write(name) }
    }

    fn answer(
        &mut self,
        request: UpstreamRequest,
        cx: &mut ServiceContext<'_>,
    ) -> Result<UpstreamResponse, Refusal> {
        if self.reads(&request) {
            return Ok(self.respond(&request, cx));
        }
        let key = self.key_of(&request);
        let operation = self.operation_name(&request);
        let content = request.content();
        if let Some(keys) = &mut self.keys {
            if let Some(known) = keys.known(operation, key, &content, cx)? {
                return Ok(known);
            }
        }
        let response = self.respond(&request, cx);
        if response.is_success() {
            self.note(&request, key, cx);
        }
        // A failure of the server itself may be tried again.
        if let (Some(key), Some(keys), false) = (key, &mut self.keys, response.status >= 500) {
            match response.is_success() && !matches!(request.method, Method::PUT | Method::DELETE) {
                true => keys.store(key, response.clone(), cx),
                false => keys.store_refusal(key, &content, response.clone(), cx),
            }
        }
        Ok(response)
    }

    fn refusals(&self, request: &UpstreamRequest, cx: &ServiceContext<'_>) -> Option<Refusals> {
        let key = self.key_of(request);
        if self.keys.as_ref().is_some_and(|keys| keys.knows(key, cx)) {
            return None;
        }
        let fits = |refusal: &&DeclaredRefusal| {
            refusal.route.parameters(request.method.as_str(), &request.path).is_some()
        };
        let names: Vec<_> = self.refusals.iter().filter(fits).map(|refusal| refusal.name).collect();
        let subject = hex("", fingerprint(&[&request.content().to_string()]), 8);
        (!names.is_empty()).then_some(Refusals { subject, names: Cow::Owned(names) })
    }

    fn refuse(
        &mut self,
        request: UpstreamRequest,
        refusal: &'static str,
        cx: &mut ServiceContext<'_>,
    ) -> Result<UpstreamResponse, Refusal> {
        let method = request.method.as_str();
        let fits = |known: &&DeclaredRefusal| {
            known.name == refusal && known.route.parameters(method, &request.path).is_some()
        };
        let response =
            self.refusals.iter().find(fits).expect("only declared refusals are drawn").response.clone();
        if let (Some(key), Some(keys)) = (self.key_of(&request), &mut self.keys) {
            keys.store_refusal(key, &request.content(), response.clone(), cx);
        }
        Ok(response)
    }

    fn key<'r>(&self, request: &'r UpstreamRequest) -> Option<&'r str> {
        self.key_of(request)
    }
}
