//! All services of a world behind a real loopback port, for clients that speak HTTP.
//!
//! One thread of a run holds its sockets (`sockets`, `stream`) and reads requests (`answer`, `request`). What is under
//! way it writes into the `exchange`. The executor looks there when nothing else can go on, and serves the requests that
//! wait, one by one (`serve`): the same state machines as in process, behind the same choices.

mod answer;
#[cfg(test)]
mod by_hand;
mod exchange;
mod pages;
mod request;
mod serve;
mod sockets;
mod stream;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::de::DeserializeOwned;
use socket2::{Domain, Protocol, Socket, Type};

use self::exchange::Exchange;
use self::serve::Own;
use crate::engine::state::{Shared, lock};
use crate::process::{Client, Link, Process};
use crate::search::choice::{Name, Place};
use crate::system::service::Service;
use crate::system::service::email::EmailService;
use crate::system::service::error_catcher::ErrorCatcher;
use crate::system::service::fulfillment::Fulfillment;
use crate::system::service::payments::Payments;
use crate::world::World;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 1_024;

/// The door to all services over HTTP, as one incarnation of a process has it (or the test body).
///
/// It is a port on 127.0.0.1 that is closed, and whose connections are reset, when the incarnation dies. Where it is,
/// [`Http::uri`] says.
#[derive(Clone)]
pub struct Http {
    door: Arc<Door>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("uri", &self.uri()).finish_non_exhaustive()
    }
}

/// The same as [`Http::uri`], at once.
impl std::future::IntoFuture for Http {
    type Output = String;
    type IntoFuture = std::future::Ready<String>;

    fn into_future(self) -> Self::IntoFuture {
        std::future::ready(self.uri())
    }
}

impl Http {
    /// `http://127.0.0.1:43117`, without a slash at the end. The port is another one in each incarnation and each run.
    pub fn uri(&self) -> String {
        format!("http://{}", self.door.address)
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.door.address
    }
}

/// A door: whose it is, and where.
#[derive(Debug)]
struct Door {
    number: u64,
    link: Link,
    /// Where it was asked for.
    place: Place,
    address: SocketAddr,
    is_closed: AtomicBool,
    own: Arc<Owns>,
}

/// The test's own services that are reached over HTTP.
#[derive(Default)]
struct Owns(Mutex<BTreeMap<Name, Arc<dyn Own>>>);

impl fmt::Debug for Owns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(lock(&self.0).keys()).finish()
    }
}

impl Door {
    /// The place of its process among the processes of the world; none, if it is the test's own.
    fn host(&self) -> Option<usize> {
        self.link.life().map(|life| life.index)
    }

    fn now(&self) -> Duration {
        self.link.shared().state().clock.now()
    }

    fn is_served_at_once(&self) -> bool {
        self.link.life().is_none_or(|life| life.is_blocked())
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }

    /// Where a call is shown: where its attempt was last seen, since a request does not tell.
    fn place_of_call(&self) -> Place {
        let state = self.link.shared().state();
        state.timeline.last_call(state.actor()).map_or(self.place, |(place, _)| place)
    }

    /// Whether the process outlives the end of a call that nobody hears of.
    fn is_alive_after<R>(&self, finish: impl FnOnce() -> R) -> bool {
        finish();
        self.link.life().is_none_or(|life| !life.is_dead())
    }

    fn payments(&self) -> Client<Payments> {
        Client::new(self.link.clone(), "payments".into(), self.link.shared().services.payments.clone())
    }

    fn email(&self) -> Client<EmailService> {
        Client::new(self.link.clone(), "email".into(), self.link.shared().services.email.clone())
    }

    fn fulfillment(&self) -> Client<Fulfillment> {
        Client::new(self.link.clone(), "fulfillment".into(), self.link.shared().services.fulfillment.clone())
    }

    fn error_catcher(&self) -> Client<ErrorCatcher> {
        Client::new(self.link.clone(), "error_catcher".into(), self.link.shared().services.error_catcher())
    }

    fn own(&self, name: &str) -> Option<Arc<dyn Own>> {
        let own = lock(&self.own.0);
        own.iter().find(|(known, _)| known.as_str() == name).map(|(_, own)| own.clone())
    }
}

/// What is behind the doors of a run, made when it is first asked for.
fn exchange_of(shared: &Arc<Shared>) -> Arc<Exchange> {
    let wire = shared.wire_or_lay(|| Arc::new(Exchange::new(shared.woken.clone())));
    let known = wire.clone().as_any().downcast();
    known.expect("nothing else is laid as a wire")
}

fn open(link: &Link, place: Place) -> Http {
    let exchange = exchange_of(link.shared());
    let mut doors = lock(&exchange.doors);
    let host = link.life().map(|life| life.index);
    if let Some(door) = doors.iter().find(|door| door.host() == host) {
        return Http { door: door.clone() };
    }
    let number = exchange.number();
    let opened = bind().and_then(|bound| {
        let (link, address, own) = (link.clone(), bound.local_addr()?, exchange.own.clone());
        let door = Arc::new(Door { number, link, place, address, is_closed: AtomicBool::new(false), own });
        exchange.sockets.open(&exchange, bound, door.clone())?;
        Ok(door)
    });
    match opened {
        Ok(door) => {
            doors.push(door.clone());
            Http { door }
        }
        Err(error) => {
            panic!("no port of 127.0.0.1 could be opened for a process: {error}; are too many files open?")
        }
    }
}

fn bind() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

impl Process {
    /// The door to all services over HTTP, as this incarnation has it: for a client that speaks HTTP and is to be tested
    /// as it is. Its port is opened at once, and closed when the incarnation dies; asked for again, it is the same.
    ///
    /// A call through it has the choices of one in process, and those of a connection: it may be reset before the
    /// request is read, reset or closed after it was handled, closed in the middle of the reply. See the crate's page
    /// for what cannot be promised over sockets.
    ///
    #[cfg_attr(doctest, doc = "```ignore")]
    #[cfg_attr(not(doctest), doc = "```")]
    #[doc = include_str!("../../docs/http/a_job.rs")]
    /// ```
    ///
    /// # Panics
    /// When no port can be opened.
    #[track_caller]
    pub fn http(&self) -> Http {
        open(self.link(), Place::caller())
    }
}

impl World {
    /// The door to all services over HTTP for the test itself: what comes through it are givens, and nothing goes wrong
    /// with them but what they ask for.
    ///
    #[cfg_attr(doctest, doc = "```ignore")]
    #[cfg_attr(not(doctest), doc = "```")]
    #[doc = include_str!("../../docs/http/a_fake.rs")]
    /// ```
    ///
    /// # Panics
    /// When no port can be opened.
    #[track_caller]
    pub fn http(&self) -> Http {
        open(&self.link(), Place::caller())
    }
}

impl<S> Client<S>
where
    S: Service,
    S::Request: DeserializeOwned,
{
    /// Has a service of the test's own reached over HTTP, too: by `POST /<its name>/<operation>` with the request as
    /// JSON. The answer is 200 and the reply as JSON, or what its refusal says.
    ///
    #[cfg_attr(doctest, doc = "```ignore")]
    #[cfg_attr(not(doctest), doc = "```")]
    #[doc = include_str!("../../docs/http/a_function.rs")]
    /// ```
    pub fn over_http(&self) -> &Self {
        let exchange = exchange_of(self.shared());
        lock(&exchange.own.0).insert(self.name(), Arc::new(self.clone()));
        self
    }
}
