//! The server's end of a client's connection.

use std::io::{self, ErrorKind};
use std::time::Duration;

use crate::connection::{Connection, query, real_time};
use crate::server::Server;

/// The longest reply, because it is held in memory.
const LONGEST: usize = 64 << 20;
/// The real time that a statement may take, without waiting for a lock.
const SLOWEST: Duration = Duration::from_secs(30);
/// The number of reads without a result after which a server is asked that should have said itself that a backend waits.
/// The client may have turned such messages off.
const QUIET: u32 = 4;
/// Rolls back what is open, and forgets everything else that the client has set.
const CLEANING: [&str; 2] = ["ROLLBACK", "DISCARD ALL"];

/// The end of a batch of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// The server is ready for the next one.
    Ready,
    /// As many answers as messages, because the client has not ended its batch, but wants to see the answers.
    Answers(usize),
}

/// Reports whether the backend with this number waits for a lock.
pub(crate) type IsBlocked<'a> = &'a dyn Fn(u32) -> io::Result<bool>;

/// The result of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Collected {
    /// The reply is complete.
    Reply(Vec<u8>),
    /// The server has ended the connection after these last words.
    LastWords(Vec<u8>),
    /// The backend waits for a lock.
    Waits,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Backend {
    connection: Connection,
    /// Whether a notice says that the backend waits for a lock.
    reports_waits: bool,
    /// The client's first message.
    pub(crate) key: Vec<u8>,
    /// The server's answer to it. Empty if the client had to say more to be let in.
    pub(crate) greeting: Vec<u8>,
    pub(crate) pid: u32,
    /// The number, and the secret that allows to cancel a statement.
    cancel_key: [u8; 8],
    /// Whether the statement that waits has been canceled.
    pub(crate) is_canceled: bool,
    /// The kinds of messages that the server sends only because the proxy wants some of them.
    pub(crate) unwanted: &'static [&'static str],
    /// The status of the transaction: `I`, `T` or `E`.
    pub(crate) status: u8,
    until: Option<Until>,
    reply: Vec<u8>,
    /// Whether the server waits for data to copy.
    pub(crate) is_copying: bool,
    /// Whether a part of a batch has been answered, and its end has not come.
    pub(crate) has_flushed: bool,
    /// Whether the server skips everything up to the end of the batch, because of an error in it.
    skips: bool,
}

impl Backend {
    /// Connects with the client's first message. Returns the backend, and what the server says.
    pub(crate) fn connect(server: &Server, first: &[u8]) -> io::Result<(Self, Collected)> {
        let mut connection = Connection::open(&server.address.target)?;
        connection.send(first)?;
        let mut backend = Self {
            connection,
            reports_waits: server.is_own,
            key: first.to_vec(),
            greeting: Vec::new(),
            pid: 0,
            cancel_key: [0; 8],
            is_canceled: false,
            unwanted: &[],
            status: b'I',
            until: None,
            reply: Vec::new(),
            is_copying: false,
            has_flushed: false,
            skips: false,
        };
        let greeting = backend.greet()?;
        if let (Collected::Reply(bytes), b'Z') = (&greeting, backend.until_greeted()) {
            backend.greeting.clone_from(bytes);
        }
        Ok((backend, greeting))
    }

    /// Forwards what the client says about its password.
    pub(crate) fn authenticate(&mut self, bytes: &[u8]) -> io::Result<Collected> {
        self.connection.send(bytes)?;
        self.greet()
    }

    /// Reports whether the client is let in.
    pub(crate) fn is_in(&self) -> bool {
        self.until_greeted() == b'Z'
    }

    fn until_greeted(&self) -> u8 {
        if self.pid == 0 { b'R' } else { b'Z' }
    }

    /// Reads up to the next question of the server, or until it is ready.
    fn greet(&mut self) -> io::Result<Collected> {
        let mut bytes = Vec::new();
        loop {
            let message = self.connection.wait()?;
            bytes.extend(&message.0);
            match message.kind() {
                b'E' => return Ok(Collected::LastWords(bytes)),
                b'K' => {
                    self.cancel_key = *message.body().first_chunk().ok_or(ErrorKind::InvalidData)?;
                    self.pid = message.body().first_chunk().map_or(0, |pid| u32::from_be_bytes(*pid));
                }
                b'R' if !matches!(message.body(), [0, 0, 0, 0] | [0, 0, 0, 12, ..]) => {
                    return Ok(Collected::Reply(bytes));
                }
                b'Z' => return Ok(Collected::Reply(bytes)),
                _ => {}
            }
        }
    }

    pub(crate) fn is_between_requests(&self) -> bool {
        self.until.is_none() && !self.is_copying && !self.has_flushed && self.pid != 0
    }

    /// Reports whether a batch waits for a lock. Only then does anything else run before its end.
    pub(crate) fn is_waiting(&self) -> bool {
        self.until.is_some()
    }

    /// Its number, also after it has ended.
    pub(crate) fn number(&self) -> u32 {
        self.cancel_key.first_chunk().map_or(0, |number| u32::from_be_bytes(*number))
    }

    /// The message that cancels its statement.
    pub(crate) fn cancel_request(&self) -> Vec<u8> {
        let code = 80_877_102_u32.to_be_bytes();
        [&16_u32.to_be_bytes()[..], &code, &self.cancel_key].concat()
    }

    /// Sends a batch and reads the reply.
    pub(crate) fn exchange(
        &mut self,
        is_blocked: IsBlocked<'_>,
        bytes: &[u8],
        until: Until,
    ) -> io::Result<Collected> {
        self.connection.send(bytes)?;
        (self.until, self.is_copying, self.is_canceled) = (Some(until), false, false);
        self.reply.clear();
        if self.skips && until != Until::Ready {
            self.until = None;
            return Ok(Collected::Reply(Vec::new()));
        }
        self.collect(is_blocked)
    }

    /// Reads on after the backend has waited. It must not wait for the lock here.
    pub(crate) fn resume(&mut self, is_blocked: IsBlocked<'_>) -> io::Result<Collected> {
        // The answer to a request to cancel comes soon.
        if !self.is_canceled && !self.connection.has_input()? && is_blocked(self.pid)? {
            return Ok(Collected::Waits);
        }
        self.collect(is_blocked)
    }

    fn collect(&mut self, is_blocked: IsBlocked<'_>) -> io::Result<Collected> {
        let (began, mut quiet) = (real_time(), 0);
        loop {
            let Some(message) = self.connection.next()? else {
                quiet += 1;
                // A server of our own says by itself that a backend waits, after it has looked for a deadlock.
                let may_wait = !self.is_canceled && (!self.reports_waits || quiet >= QUIET);
                if may_wait && is_blocked(self.pid)? {
                    return Ok(Collected::Waits);
                }
                if began.elapsed() > SLOWEST {
                    return Err(ErrorKind::TimedOut.into());
                }
                continue;
            };
            let kind = message.kind();
            if kind == b'N' && self.reports_waits {
                let (severity, text) = (message.field(b'V'), message.field(b'M').unwrap_or_default());
                let is_log = severity.as_deref() == Some("LOG");
                if is_log && text.contains(" still waiting for ") && !self.is_canceled {
                    return Ok(Collected::Waits);
                }
                let is_unwanted = severity.is_some_and(|severity| self.unwanted.contains(&severity.as_str()));
                if is_unwanted || is_log && text.starts_with("process ") {
                    continue;
                }
            }
            self.reply.extend(&message.0);
            if self.reply.len() > LONGEST {
                return Err(io::Error::other("the reply is longer than 64 MiB"));
            }
            let is_fatal = kind == b'E' && message.field(b'V').is_some_and(|severity| severity != "ERROR");
            if is_fatal {
                self.until = None;
                self.pid = 0;
                return Ok(Collected::LastWords(std::mem::take(&mut self.reply)));
            }
            let is_over = match (kind, self.until) {
                (b'Z', _) => {
                    self.status = message.body().first().copied().unwrap_or(b'I');
                    (self.has_flushed, self.skips) = (false, false);
                    true
                }
                (b'G', _) => {
                    self.is_copying = true;
                    true
                }
                (b'1' | b'2' | b'3' | b'C' | b's' | b'I' | b'T' | b'n', Some(Until::Answers(left))) => {
                    self.until = Some(Until::Answers(left.saturating_sub(1)));
                    left <= 1
                }
                (b'E', Some(Until::Answers(_))) => {
                    self.skips = true;
                    true
                }
                _ => false,
            };
            if is_over {
                self.has_flushed |= kind != b'Z' && self.until != Some(Until::Ready);
                self.until = None;
                return Ok(Collected::Reply(std::mem::take(&mut self.reply)));
            }
        }
    }

    /// Makes the backend as good as new.
    pub(crate) fn clean(&mut self) -> io::Result<()> {
        let from = if self.status == b'I' { 1 } else { 0 };
        let bytes: Vec<u8> = CLEANING[from..].iter().flat_map(|text| query(text)).collect();
        self.connection.send(&bytes)?;
        for _ in from..CLEANING.len() {
            loop {
                let message = self.connection.wait()?;
                match message.kind() {
                    b'E' => return Err(io::Error::other(message.error())),
                    b'Z' => break,
                    _ => {}
                }
            }
        }
        self.status = b'I';
        self.reply.clear();
        Ok(())
    }
}

/// Returns the greeting of the server with another key for requests to cancel.
pub(crate) fn with_key(mut greeting: Vec<u8>, key: [u8; 8]) -> Vec<u8> {
    let mut at = 0;
    while let Some(length) = greeting.get(at + 1..).and_then(|rest| rest.first_chunk()) {
        let length = u32::from_be_bytes(*length) as usize;
        if greeting[at] == b'K' {
            if let Some(place) = greeting.get_mut(at + 5..at + 13) {
                place.copy_from_slice(&key);
            }
        }
        at += length + 1;
    }
    greeting
}
