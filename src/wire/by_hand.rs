//! Connections over a scripted socket, which defines the pieces that arrive and checks the reply byte by byte.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use super::connection::{Connection, MoveOutcome, Phase, Socket};
use super::protocol::{Caller, Codec, DecodeOutcome, Endpoint, Outcome, Protocol, Reply, ServeOutcome};
use crate::engine::state::{Mode, Shared, State, lock};
use crate::process::Link;
use crate::search::choice::{Chooser, Place, Plan};
use crate::system::timeline::Timeline;

/// An event at the other end.
#[derive(Debug)]
enum Event {
    Sends(Vec<u8>),
    /// Nothing arrives for now.
    Pauses,
    Fails(ErrorKind),
}

#[derive(Debug, Default)]
struct Script {
    events: VecDeque<Event>,
    received: Vec<u8>,
    /// The number of bytes that the other end accepts at once.
    window: Option<usize>,
    write_error: Option<ErrorKind>,
    has_reset: bool,
}

/// A socket that plays a script.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScriptedSocket(Arc<Mutex<Script>>);

impl ScriptedSocket {
    pub(crate) fn sends(self, bytes: &[u8]) -> Self {
        lock(&self.0).events.push_back(Event::Sends(bytes.to_vec()));
        self
    }

    pub(crate) fn pauses(self) -> Self {
        lock(&self.0).events.push_back(Event::Pauses);
        self
    }

    pub(crate) fn fails(self, kind: ErrorKind) -> Self {
        lock(&self.0).events.push_back(Event::Fails(kind));
        self
    }

    pub(crate) fn takes(self, bytes: usize) -> Self {
        lock(&self.0).window = Some(bytes);
        self
    }

    pub(crate) fn does_not_take(self, kind: ErrorKind) -> Self {
        lock(&self.0).write_error = Some(kind);
        self
    }

    pub(crate) fn received(&self) -> String {
        String::from_utf8_lossy(&lock(&self.0).received).into_owned()
    }

    pub(crate) fn has_reset(&self) -> bool {
        lock(&self.0).has_reset
    }
}

impl Read for ScriptedSocket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut script = lock(&self.0);
        match script.events.pop_front() {
            None => Ok(0),
            Some(Event::Pauses) => Err(ErrorKind::WouldBlock.into()),
            Some(Event::Fails(kind)) => Err(kind.into()),
            Some(Event::Sends(mut bytes)) => {
                let rest = bytes.split_off(bytes.len().min(into.len()));
                into[..bytes.len()].copy_from_slice(&bytes);
                if !rest.is_empty() {
                    script.events.push_front(Event::Sends(rest));
                }
                Ok(bytes.len())
            }
        }
    }
}

impl Write for ScriptedSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut script = lock(&self.0);
        if let Some(kind) = script.write_error {
            return Err(kind.into());
        }
        let taken = script.window.map_or(bytes.len(), |window| window.min(bytes.len()));
        script.received.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for ScriptedSocket {
    fn reset_when_dropped(&self) {
        lock(&self.0).has_reset = true;
    }
}

/// The test's own address for a protocol.
pub(crate) fn endpoint_of(protocol: impl Protocol) -> (Arc<Endpoint>, Arc<Shared>) {
    let state = State::new(Chooser::new(Plan::ordinary()), Mode::Plain, Timeline::default(), 0, 1_000);
    let shared = Shared::new(state);
    let codec: Arc<dyn Codec> = Arc::new(protocol);
    let endpoint = Endpoint {
        number: 0,
        link: Link::Test(shared.clone()),
        place: Place::caller(),
        address: SocketAddr::from(([127, 0, 0, 1], 1)),
        protocol: "played".into(),
        codec,
        is_closed: false.into(),
    };
    (Arc::new(endpoint), shared)
}

/// Lets a connection run to its end, and serves its requests immediately.
pub(crate) fn converse(endpoint: &Arc<Endpoint>, socket: &ScriptedSocket) {
    let mut connection = Connection::new(1, endpoint.clone(), Box::new(socket.clone()));
    while connection.phase != Phase::Gone {
        let MoveOutcome { request, .. } = connection.advance();
        if !request {
            continue;
        }
        let mut talk = connection.take_request().unwrap();
        let reply = match talk.serve(&Caller { endpoint }).0 {
            Outcome::Plain(reply) => reply,
            Outcome::Takes(_, finish) => finish(),
            Outcome::Waits(..) => unreachable!("no real system is behind this endpoint"),
            Outcome::Silent => Reply::reset(),
        };
        connection.reply(talk, reply);
    }
}

/// Each line is a request and its own reply.
struct Echo;

impl Protocol for Echo {
    type Session = ();
    type Request = Vec<u8>;

    fn greeting(&self) -> Vec<u8> {
        b"hello\n".to_vec()
    }

    fn decode(&self, bytes: &mut Vec<u8>, (): &mut ()) -> DecodeOutcome<Vec<u8>> {
        match bytes.iter().position(|byte| *byte == b'\n') {
            Some(end) => match bytes.drain(..=end).collect::<Vec<_>>() {
                ping if ping == b"ping\n" => DecodeOutcome::Aside(b"pong\n".to_vec()),
                quit if quit == b"quit\n" => DecodeOutcome::Close(b"bye\n".to_vec()),
                line => DecodeOutcome::Request(line),
            },
            None => DecodeOutcome::Partial,
        }
    }

    fn serve(&self, request: Vec<u8>, (): &mut (), _: &Caller<'_>) -> ServeOutcome {
        ServeOutcome::reply(Reply::new(request))
    }
}

#[test]
fn a_connection_knows_what_it_is_about() {
    let (endpoint, _) = endpoint_of(Echo);
    let socket = ScriptedSocket::default().pauses().sends(b"li").pauses().sends(b"ne\n").pauses();
    let mut connection = Connection::new(1, endpoint.clone(), Box::new(socket.clone()));
    connection.advance();
    assert_eq!(connection.phase, Phase::Idle, "it is greeted, and nothing has come yet");
    assert!(connection.advance().any);
    assert_eq!(connection.phase, Phase::Reading);
    assert!(connection.advance().request);
    assert_eq!(connection.phase, Phase::Waiting);
    let mut talk = connection.take_request().unwrap();
    let Outcome::Plain(reply) = talk.serve(&Caller { endpoint: &endpoint }).0 else {
        panic!("it is no call")
    };
    connection.reply(talk, reply);
    assert_eq!(socket.received(), "hello\nline\n");
    assert!(!socket.has_reset());
}

#[test]
fn what_comes_together_is_answered_in_order() {
    let socket = ScriptedSocket::default().sends(b"one\nping\ntwo\nquit\nthree\n").takes(3);
    converse(&endpoint_of(Echo).0, &socket);
    assert_eq!(socket.received(), "hello\none\npong\ntwo\nbye\n");
}

/// The end of a peer that waits for its reply is noticed.
#[test]
fn a_peer_that_hangs_up_is_not_heard() {
    let socket = ScriptedSocket::default().sends(b"line\n").pauses();
    let mut connection = Connection::new(1, endpoint_of(Echo).0, Box::new(socket));
    assert!(connection.advance().request);
    assert!(connection.is_heard());
    // The first look finds nothing, the second finds the end.
    connection.advance();
    connection.advance();
    assert!(!connection.is_heard());
}

#[test]
fn a_connection_that_is_reset_says_so() {
    let socket = ScriptedSocket::default().sends(b"li").pauses();
    let mut connection = Connection::new(1, endpoint_of(Echo).0, Box::new(socket.clone()));
    connection.advance();
    connection.reset();
    assert_eq!(connection.phase, Phase::Gone);
    assert!(socket.has_reset());
}
