//! One connection: bytes in, requests out, replies back. It never waits. It moves as far as its socket and its
//! protocol allow.

use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use socket2::SockRef;

use super::protocol::{DecodeOutcome, Ending, Endpoint, Reply, Talk};
use crate::engine::external_calls::real_time;

/// The maximum real time for a peer to send one message, from the first byte to the last, no matter how slowly bytes
/// arrive.
pub(super) const SLOWEST: Duration = Duration::from_secs(5);
/// The maximum number of bytes of a message before the protocol has consumed any.
const MOST_UNREAD: usize = 4 << 20;
/// The number of bytes to read at once.
const PIECE: usize = 16 << 10;
/// The maximum number of messages that are not calls before other connections have a turn.
const MOST_ASIDES: u32 = 1_000;

/// The transport of a connection: a socket, or a substitute in a test.
pub(super) trait Socket: Read + Write + Send {
    /// Makes the other end see a reset instead of an end when this is dropped.
    fn reset_when_dropped(&self);

    /// Acknowledges what has arrived at once. A client that writes a message in two pieces may hold the second one back until
    /// the first one is acknowledged, which systems delay by 40 ms.
    fn acknowledge(&self) {}
}

impl Socket for TcpStream {
    fn reset_when_dropped(&self) {
        // With a linger time of zero, closing a socket resets it and leaves nothing behind.
        let _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }

    #[cfg(target_os = "linux")]
    fn acknowledge(&self) {
        let _ = SockRef::from(self).set_tcp_quickack(true);
    }
}

/// The state of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No part of a request has arrived.
    Idle,
    /// A part of a request has arrived.
    Reading,
    /// A request waits to be served, or its reply waits for its time.
    Waiting,
    /// A reply is being written.
    Writing,
    /// The socket has ended. `Waiting` also changes to this if the peer hangs up.
    Gone,
}

/// The result of moving a connection.
#[derive(Debug, Default)]
pub(super) struct MoveOutcome {
    /// Whether bytes were read or written.
    pub(super) any: bool,
    /// Whether a request is complete.
    pub(super) request: bool,
}

/// See the module.
pub(super) struct Connection {
    /// The number of the connection, in the order in which connections were accepted.
    pub(super) number: u64,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) phase: Phase,
    socket: Box<dyn Socket>,
    /// Lent to the code that serves the request.
    talk: Option<Box<dyn Talk>>,
    input: Vec<u8>,
    output: Vec<u8>,
    ending: Ending,
    /// Whether the peer has stopped sending.
    has_ended: bool,
    /// The real time at which the current message began, or the connection if it has sent nothing.
    since: Instant,
}

impl Connection {
    pub(super) fn new(number: u64, endpoint: Arc<Endpoint>, socket: Box<dyn Socket>) -> Self {
        let (output, talk) = (endpoint.codec.greeting(), endpoint.codec.clone().talk());
        let phase = if output.is_empty() { Phase::Idle } else { Phase::Writing };
        Self {
            number,
            endpoint,
            phase,
            socket,
            talk: Some(talk),
            input: Vec::new(),
            output,
            ending: Ending::StaysOpen,
            has_ended: false,
            since: real_time(),
        }
    }

    /// Moves as far as possible without waiting.
    pub(super) fn advance(&mut self) -> MoveOutcome {
        let mut moved = MoveOutcome::default();
        let mut asides = 0;
        loop {
            let before = (self.phase, self.output.len());
            match self.phase {
                Phase::Writing => self.write(),
                Phase::Idle | Phase::Reading => {
                    let has_read = self.read();
                    moved.any |= has_read;
                    // Also decodes a message that arrived together with an earlier one.
                    if has_read || !self.input.is_empty() || self.has_ended {
                        moved.request |= self.decode();
                    }
                }
                // A peer that hangs up receives nothing more.
                Phase::Waiting => moved.any |= self.read(),
                Phase::Gone => {}
            }
            let has_changed = before != (self.phase, self.output.len());
            moved.any |= has_changed;
            asides += 1;
            if !has_changed || matches!(self.phase, Phase::Waiting | Phase::Gone) || asides > MOST_ASIDES {
                return moved;
            }
        }
    }

    /// Reports whether the peer takes too long for a message that it has begun. An idle connection may stay idle.
    pub(super) fn is_too_slow(&self, slowest: Duration) -> bool {
        self.phase == Phase::Reading && self.since.elapsed() > slowest
    }

    /// Ends the connection as if the other end had vanished.
    pub(super) fn reset(&mut self) {
        self.ending = Ending::Resets;
        self.end();
    }

    /// Takes the request to serve. The caller returns it with the reply.
    pub(super) fn take_request(&mut self) -> Option<Box<dyn Talk>> {
        self.talk.take()
    }

    /// Sends the reply of a request that was served.
    pub(super) fn reply(&mut self, talk: Box<dyn Talk>, reply: Reply) {
        self.talk = Some(talk);
        self.send(reply.bytes, reply.ending);
        // Only write here. A request that has arrived in the meantime would be decoded without being reported.
        if self.phase == Phase::Writing {
            self.write();
        }
    }

    /// Sends what the server has to say unasked, unless a message is under way. Returns whether there is anything.
    pub(super) fn push(&mut self) -> bool {
        let Some(talk) = self.talk.as_mut().filter(|_| self.phase == Phase::Idle) else { return false };
        let pushed = talk.pushed();
        if pushed.is_empty() {
            return false;
        }
        self.send(pushed, Ending::StaysOpen);
        self.write();
        true
    }

    /// Reports whether the peer can still receive a reply.
    pub(super) fn is_heard(&self) -> bool {
        self.phase != Phase::Gone && !(self.phase == Phase::Waiting && self.has_ended)
    }

    fn send(&mut self, bytes: Vec<u8>, ending: Ending) {
        if self.phase == Phase::Gone {
            return;
        }
        match self.output.is_empty() {
            true => self.output = bytes,
            false => self.output.extend(bytes),
        }
        (self.ending, self.phase) = (ending, Phase::Writing);
        if self.output.is_empty() {
            self.after_writing();
        }
    }

    /// Reads all available bytes. Returns whether there were any, or an end.
    fn read(&mut self) -> bool {
        let mut has_read = false;
        // Not in the vector itself: to make it longer by so much takes long without optimization.
        let mut piece = [0; PIECE];
        while !self.has_ended && self.input.len() <= MOST_UNREAD {
            let read = self.socket.read(&mut piece);
            self.input.extend_from_slice(&piece[..read.as_ref().map_or(0, |read| *read)]);
            match read {
                Ok(0) => self.has_ended = true,
                // Fewer bytes than requested: there are no more.
                Ok(read) if read < PIECE => {
                    has_read = true;
                    self.socket.acknowledge();
                    break;
                }
                Ok(_) => {
                    has_read = true;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.has_ended = true;
                    self.phase = if self.phase == Phase::Waiting { Phase::Waiting } else { Phase::Gone };
                }
            }
            has_read |= self.has_ended;
            // Look again, because an end may follow.
            if self.has_ended {
                break;
            }
        }
        has_read
    }

    /// Decodes the next message. Returns whether it is a request.
    fn decode(&mut self) -> bool {
        if self.phase == Phase::Gone {
            return false;
        }
        if self.phase == Phase::Idle && !self.input.is_empty() {
            (self.phase, self.since) = (Phase::Reading, real_time());
        }
        let Some(talk) = &mut self.talk else { return false };
        let decoded = match self.input.is_empty() {
            true => DecodeOutcome::Partial,
            false => talk.decode(&mut self.input),
        };
        match decoded {
            DecodeOutcome::Partial if self.has_ended || self.input.len() > MOST_UNREAD => self.end(),
            DecodeOutcome::Partial => {}
            DecodeOutcome::Aside(reply) => self.send(reply, Ending::StaysOpen),
            DecodeOutcome::Close(last) => self.send(last, Ending::Closes),
            DecodeOutcome::Request(()) => {
                self.phase = Phase::Waiting;
                return true;
            }
        }
        false
    }

    fn write(&mut self) {
        let mut written = 0;
        while written < self.output.len() {
            match self.socket.write(&self.output[written..]) {
                Ok(0) => return self.end(),
                Ok(more) => written += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return self.end(),
            }
        }
        self.output.drain(..written);
        if self.output.is_empty() {
            self.after_writing();
        }
    }

    fn after_writing(&mut self) {
        match self.ending {
            Ending::StaysOpen => {
                let _: io::Result<()> = self.socket.flush();
                (self.phase, self.since) = (Phase::Idle, real_time());
            }
            Ending::Closes | Ending::Resets => self.end(),
        }
    }

    fn end(&mut self) {
        if self.ending == Ending::Resets {
            self.socket.reset_when_dropped();
        }
        self.phase = Phase::Gone;
        self.input = mem::take(&mut Vec::new());
    }
}
