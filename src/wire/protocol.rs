//! The definition of a protocol: how bytes become requests, and how replies become bytes.

use std::fmt;
use std::mem;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::engine::panics;
use crate::engine::state::Shared;
use crate::process::{Client, Link};
use crate::search::choice::{Name, Place};
use crate::system::service::{Behavior, BrokenConnection, CallOptions, Channel, Service, ServiceError};

/// A protocol over TCP: how bytes become requests to [services](crate::service::Service), and how their replies become
/// bytes. It does no I/O, holds no sockets and starts no threads.
///
/// retryproof does the rest: it accepts connections, draws crashes, faults and preemptions at each call, loses
/// replies, and resets the connections of a process that dies. The guide
/// [`adding_a_protocol`](crate::adding_a_protocol) builds one step by step, and
/// [`conformance`](crate::wire::conformance) tests one.
pub trait Protocol: Send + Sync + 'static {
    /// The state of a connection between its requests: a login, a selected database, half of a message.
    type Session: Default + Send + 'static;

    /// A complete request.
    type Request: Send + 'static;

    /// The bytes to send when a connection is accepted. Defaults to none.
    fn greeting(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Removes the next message from the front of `bytes`, and leaves the rest. If it returns [`DecodeOutcome::Partial`],
    /// it is called again with more bytes.
    fn decode(&self, bytes: &mut Vec<u8>, session: &mut Self::Session) -> DecodeOutcome<Self::Request>;

    /// Serves a request. [`Caller::call`] calls a service, [`ServeOutcome::reply`] answers without one. A connection has
    /// one request at a time: the next one is decoded when the reply to this one has been sent.
    fn serve(&self, request: Self::Request, session: &mut Self::Session, caller: &Caller<'_>)
    -> ServeOutcome;

    /// Returns what the server sends unasked, such as a notification, as bytes. It is asked of each connection without a
    /// request under way, whenever a request of any connection has ended. Defaults to nothing.
    fn pushed(&self, session: &mut Self::Session) -> Vec<u8> {
        let _ = session;
        Vec::new()
    }
}

/// The result of decoding the front of the bytes from a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeOutcome<R> {
    /// A part of a message: more bytes must come.
    Partial,
    /// A message that is not a call, with its reply: a handshake, a ping. It has no crash points and no faults.
    Aside(Vec<u8>),
    /// A request, to be [served](Protocol::serve).
    Request(R),
    /// The connection ends after these bytes: a farewell, or the answer to an invalid message.
    Close(Vec<u8>),
}

/// A reply, as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub(super) bytes: Vec<u8>,
    /// The length at which a reply that is cut off ends.
    pub(super) cut: usize,
    pub(super) ending: Ending,
}

/// The fate of a connection after its remaining bytes are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ending {
    #[default]
    StaysOpen,
    Closes,
    Resets,
}

impl Reply {
    /// Makes a reply of these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self { cut: bytes.len() / 2, bytes, ending: Ending::StaysOpen }
    }

    /// Sends nothing and resets the connection, for a protocol that cannot express an error.
    pub fn reset() -> Self {
        Self { bytes: Vec::new(), cut: 0, ending: Ending::Resets }
    }

    /// Closes the connection after this reply.
    #[must_use]
    pub fn last(mut self) -> Self {
        self.ending = Ending::Closes;
        self
    }

    /// Sets the length at which the fault `half-a-reply` cuts the reply, in bytes. Defaults to the middle.
    #[must_use]
    pub fn cut_at(mut self, bytes: usize) -> Self {
        self.cut = bytes.min(self.bytes.len());
        self
    }

    /// The bytes alone.
    #[cfg(feature = "http")]
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn closed() -> Self {
        Self { bytes: Vec::new(), cut: 0, ending: Ending::Closes }
    }

    fn half(mut self) -> Self {
        self.bytes.truncate(self.cut);
        self.ending = Ending::Closes;
        self
    }
}

/// The second half of a call: the points at which its reply can be lost, and the reply.
pub(super) type Finish = Box<dyn FnOnce() -> Reply + Send>;

/// Continues work at a real system that waits, or ends it because its limit is over. Returns the second half of the call
/// once the work has ended.
pub(super) type Resume = Box<dyn FnMut(bool) -> Option<Finish> + Send>;

/// Work at a real system that waits for another task.
pub(super) struct Waiting {
    /// Where it waits, and for what.
    pub(super) what: String,
    /// The longest virtual time to wait.
    pub(super) limit: Option<Duration>,
    pub(super) resume: Resume,
}

/// The result of serving a request.
pub struct ServeOutcome(pub(super) Outcome);

pub(super) enum Outcome {
    /// The reply to a request that is not a call.
    Plain(Reply),
    /// The call has ended, and its reply takes this long.
    Takes(Duration, Finish),
    /// The call waits in a real system for another task.
    Waits(Waiting),
    /// No reply will ever come.
    Silent,
}

impl fmt::Debug for ServeOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            Outcome::Plain(_) => "a reply",
            Outcome::Takes(..) => "a call",
            Outcome::Waits(_) => "a call that waits",
            Outcome::Silent => "silence",
        };
        f.debug_tuple("Served").field(&text).finish()
    }
}

impl ServeOutcome {
    /// Makes a reply without a call: no crash points and no faults.
    pub fn reply(reply: Reply) -> Self {
        Self(Outcome::Plain(reply))
    }

    /// Delays the reply by this much virtual time. A call that waits for another task is not delayed further.
    #[must_use]
    pub fn delayed(self, by: Duration) -> Self {
        if by.is_zero() {
            return self;
        }
        Self(match self.0 {
            Outcome::Plain(reply) => Outcome::Takes(by, Box::new(move || reply)),
            Outcome::Takes(takes, finish) => Outcome::Takes(takes.saturating_add(by), finish),
            Outcome::Waits(waiting) => Outcome::Waits(waiting),
            Outcome::Silent => Outcome::Silent,
        })
    }
}

/// An address at which a protocol is spoken, and the incarnation of a process that it belongs to (or the test).
pub(crate) struct Endpoint {
    pub(super) number: u64,
    pub(super) link: Link,
    /// The code that asked for it.
    pub(super) place: Place,
    pub(super) address: SocketAddr,
    pub(super) protocol: Name,
    pub(super) codec: Arc<dyn Codec>,
    pub(super) is_closed: AtomicBool,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("number", &self.number)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// The index of its process among the processes of the world. `None` if the address belongs to the test.
    pub(super) fn host(&self) -> Option<usize> {
        self.link.life().map(|life| life.index)
    }

    pub(super) fn now(&self) -> Duration {
        self.link.shared().state().clock.now()
    }

    /// Reports whether the caller blocks the executor's thread, so that the executor cannot serve it.
    pub(super) fn is_served_at_once(&self) -> bool {
        self.link.life().is_none_or(|life| life.is_blocked())
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }
}

/// The caller of a request: one incarnation of a process, or the test.
#[derive(Debug)]
pub struct Caller<'a> {
    pub(super) endpoint: &'a Endpoint,
}

#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "HTTP asks for more than other protocols"))]
impl Caller<'_> {
    /// Calls the service that [`World::service`](crate::World::service) has registered with this name, in the name of
    /// the process. The call has the same points and faults as one in process, and those of a connection.
    ///
    /// `reply` makes the bytes: those of the service's reply, or those of an error in the terms of the protocol. It
    /// runs only if the caller receives anything.
    ///
    /// # Panics
    /// If there is no such service.
    pub fn call<S: Service>(
        &self,
        service: impl Into<Name>,
        request: S::Request,
        reply: impl FnOnce(Result<S::Reply, ServiceError>) -> Reply + Send + 'static,
    ) -> ServeOutcome {
        let name = service.into();
        let endpoint = self.shared().services.get::<S>(name).unwrap_or_else(|error| panic!("{error}"));
        self.call_through(&Client::new(self.endpoint.link.clone(), name, endpoint), request, None, reply)
    }

    /// The virtual time since the world began.
    pub fn now(&self) -> Duration {
        self.endpoint.now()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        self.endpoint.link.shared()
    }

    pub(crate) fn link(&self) -> &Link {
        &self.endpoint.link
    }

    /// The place at which a report shows a call: the last known place of its attempt, because a request has no place.
    pub(crate) fn place(&self) -> Place {
        let state = self.shared().state();
        state.timeline.last_call(state.actor()).map_or(self.endpoint.place, |(place, _)| place)
    }

    /// Reports whether a job uses the test's own address, where nothing can go wrong.
    pub(crate) fn is_misused(&self) -> bool {
        self.endpoint.host().is_none() && self.shared().is_at_work()
    }

    /// Carries out a request without a reply.
    #[cfg(feature = "http")]
    pub(crate) fn happen<S: Service>(&self, client: &Client<S>, request: S::Request) {
        let carried = client.carry(request, self.place(), CallOptions::default());
        carried.map(|carried| carried.arrive());
    }

    /// Like [`Caller::call`], with a behavior that the request itself asks for.
    pub(crate) fn call_through<S: Service>(
        &self,
        client: &Client<S>,
        request: S::Request,
        behave: Option<Behavior>,
        reply: impl FnOnce(Result<S::Reply, ServiceError>) -> Reply + Send + 'static,
    ) -> ServeOutcome {
        assert!(
            !self.is_misused(),
            "a job called through the test's own address (`world.…`), where nothing can go wrong; give it that of its process (`p.…`)"
        );
        let place = self.place();
        let manner = CallOptions { channel: Channel::Socket, behave };
        let Some(carried) = client.carry(request, place, manner) else {
            return ServeOutcome::reply(Reply::reset());
        };
        let (breaks, takes) = (carried.breaks(), carried.takes());
        let finish = move || {
            let Some(result) = carried.arrive() else { return Reply::reset() };
            match breaks {
                None => reply(result),
                Some(BrokenConnection::Half) => reply(result).half(),
                Some(BrokenConnection::Closed) => Reply::closed(),
                Some(BrokenConnection::Silent | BrokenConnection::Reset) => Reply::reset(),
            }
        };
        if breaks != Some(BrokenConnection::Silent) {
            return ServeOutcome(Outcome::Takes(takes, Box::new(finish)));
        }
        // A process that dies while it waits dies before it gives up.
        finish();
        match self.endpoint.link.life().is_none_or(|life| !life.is_dead()) {
            true => ServeOutcome(Outcome::Silent),
            false => ServeOutcome::reply(Reply::reset()),
        }
    }
}

/// A protocol without its types.
pub(super) trait Codec: Send + Sync {
    fn greeting(&self) -> Vec<u8>;
    fn talk(self: Arc<Self>) -> Box<dyn Talk>;
}

/// One connection, from the perspective of its protocol.
pub(super) trait Talk: Send {
    /// Keeps a request until it is served.
    fn decode(&mut self, bytes: &mut Vec<u8>) -> DecodeOutcome<()>;
    fn serve(&mut self, caller: &Caller<'_>) -> ServeOutcome;
    fn pushed(&mut self) -> Vec<u8>;
}

struct Conversation<P: Protocol> {
    protocol: Arc<P>,
    session: P::Session,
    request: Option<P::Request>,
}

impl<P: Protocol> Codec for P {
    fn greeting(&self) -> Vec<u8> {
        Protocol::greeting(self)
    }

    fn talk(self: Arc<Self>) -> Box<dyn Talk> {
        Box::new(Conversation { protocol: self, session: P::Session::default(), request: None })
    }
}

impl<P: Protocol> Talk for Conversation<P> {
    fn decode(&mut self, bytes: &mut Vec<u8>) -> DecodeOutcome<()> {
        let before = bytes.len();
        let decode = || self.protocol.decode(bytes, &mut self.session);
        // If a protocol panics on its input, only that connection ends.
        let decoded = catch_unwind(AssertUnwindSafe(decode)).unwrap_or(DecodeOutcome::Close(Vec::new()));
        // A protocol that consumes nothing would be called forever.
        let has_taken = bytes.len() < before;
        match decoded {
            DecodeOutcome::Partial => DecodeOutcome::Partial,
            DecodeOutcome::Request(request) if has_taken => {
                self.request = Some(request);
                DecodeOutcome::Request(())
            }
            DecodeOutcome::Aside(reply) if has_taken => DecodeOutcome::Aside(reply),
            DecodeOutcome::Close(last) => DecodeOutcome::Close(last),
            DecodeOutcome::Request(_) | DecodeOutcome::Aside(_) => DecodeOutcome::Close(Vec::new()),
        }
    }

    fn serve(&mut self, caller: &Caller<'_>) -> ServeOutcome {
        let Some(request) = mem::take(&mut self.request) else { return ServeOutcome::reply(Reply::reset()) };
        let serve = || self.protocol.serve(request, &mut self.session, caller);
        catch_unwind(AssertUnwindSafe(serve)).unwrap_or_else(|panic| {
            let text = panics::text(&*panic);
            caller.shared().state().note(|| crate::system::timeline::EventKind::Remarked {
                text: format!("the protocol panicked: {text}"),
            });
            ServeOutcome::reply(Reply::reset())
        })
    }

    fn pushed(&mut self) -> Vec<u8> {
        let pushed = || self.protocol.pushed(&mut self.session);
        catch_unwind(AssertUnwindSafe(pushed)).unwrap_or_default()
    }
}
