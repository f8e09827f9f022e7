//! One connection: bytes in, requests out, replies back. It never waits: it moves as far as its socket and its protocol
//! let it.

use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use socket2::SockRef;

use super::protocol::{DecodeOutcome, Door, Ending, Reply, Talk};
use crate::engine::external_calls::real_time;

/// How long, in real time, a peer may take to send one message, from its first byte to its last, however it drips.
pub(super) const SLOWEST: Duration = Duration::from_secs(5);
/// How many bytes of a message may come before the protocol has taken any.
const MOST_UNREAD: usize = 4 << 20;
/// How much is read at once.
const PIECE: usize = 16 << 10;
/// How many messages that are no calls a connection may send in one go, before others have a turn.
const MOST_ASIDES: u32 = 1_000;

/// What a connection lies on: a socket, or what stands for one in a test.
pub(super) trait Socket: Read + Write + Send {
    /// The other end is to see a reset when this is dropped, not an end.
    fn reset_when_dropped(&self);
}

impl Socket for TcpStream {
    fn reset_when_dropped(&self) {
        // Without a time to linger a socket is reset when it is closed, and leaves nothing behind.
        let _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

/// What a connection is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No part of a request has come.
    Idle,
    /// A part of a request has come.
    Reading,
    /// A request waits to be served, or its reply for its time.
    Waiting,
    /// A reply is being written.
    Writing,
    /// The socket has ended. `Waiting` ends here too if the peer hangs up.
    Gone,
}

/// What has come of letting a connection move.
#[derive(Debug, Default)]
pub(super) struct MoveOutcome {
    /// Bytes went one way or the other.
    pub(super) any: bool,
    /// A request is whole.
    pub(super) request: bool,
}

/// See the module.
pub(super) struct Connection {
    /// Connections are numbered as they are accepted.
    pub(super) number: u64,
    pub(super) door: Arc<Door>,
    pub(super) phase: Phase,
    socket: Box<dyn Socket>,
    /// Lent to whoever serves the request.
    talk: Option<Box<dyn Talk>>,
    input: Vec<u8>,
    output: Vec<u8>,
    ending: Ending,
    /// The peer sends no more.
    has_ended: bool,
    /// When the message that is read began, or the connection if it has sent nothing, in real time.
    since: Instant,
}

impl Connection {
    pub(super) fn new(number: u64, door: Arc<Door>, socket: Box<dyn Socket>) -> Self {
        let (output, talk) = (door.codec.greeting(), door.codec.clone().talk());
        let phase = if output.is_empty() { Phase::Idle } else { Phase::Writing };
        Self {
            number,
            door,
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

    /// Moves as far as it goes without waiting.
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
                    // What came together with an earlier message is decoded, too.
                    if has_read || !self.input.is_empty() || self.has_ended {
                        moved.request |= self.decode();
                    }
                }
                // A peer that hangs up hears nothing more.
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

    /// Whether the peer is slower with its message than is waited for.
    pub(super) fn is_too_slow(&self, slowest: Duration) -> bool {
        matches!(self.phase, Phase::Idle | Phase::Reading) && self.since.elapsed() > slowest
    }

    /// It ends as if the other end had vanished.
    pub(super) fn reset(&mut self) {
        self.ending = Ending::Resets;
        self.end();
    }

    /// The request, to be served. It comes back with the reply.
    pub(super) fn take_request(&mut self) -> Option<Box<dyn Talk>> {
        self.talk.take()
    }

    /// The request has been served.
    pub(super) fn reply(&mut self, talk: Box<dyn Talk>, reply: Reply) {
        self.talk = Some(talk);
        self.send(reply.bytes, reply.ending);
        // Only that: a request that has come meanwhile would be decoded here, and nobody would hear of it.
        if self.phase == Phase::Writing {
            self.write();
        }
    }

    /// Whether anybody is left to hear a reply.
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

    /// Reads all that has come. Returns true if there was anything, an end among it.
    fn read(&mut self) -> bool {
        let mut has_read = false;
        while !self.has_ended && self.input.len() <= MOST_UNREAD {
            let length = self.input.len();
            self.input.resize(length + PIECE, 0);
            let read = self.socket.read(&mut self.input[length..]);
            self.input.truncate(length + read.as_ref().map_or(0, |read| *read));
            match read {
                Ok(0) => self.has_ended = true,
                // Less than there was room for: there is no more.
                Ok(read) if read < PIECE => {
                    has_read = true;
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
            // One more look: an end may follow what was read.
            if self.has_ended {
                break;
            }
        }
        has_read
    }

    /// Decodes the next message. Returns true if it is a request.
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
