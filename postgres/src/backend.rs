//! The server's end of a client's connection.

use std::io::{self, ErrorKind};
use std::time::Duration;

use crate::connection::{Connection, query, real_time};
use crate::server::Server;

/// The longest reply, because it is held in memory.
const LONGEST: usize = 64 << 20;
/// The real time that a statement may take, without waiting for a lock.
const SLOWEST: Duration = Duration::from_secs(30);
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
    /// The status of the transaction: `I`, `T` or `E`.
    pub(crate) status: u8,
    until: Option<Until>,
    reply: Vec<u8>,
    /// Whether the server waits for data to copy.
    pub(crate) is_copying: bool,
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
            status: b'I',
            until: None,
            reply: Vec::new(),
            is_copying: false,
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
                    let pid = message.body().first_chunk().map(|pid| u32::from_be_bytes(*pid));
                    self.pid = pid.ok_or(ErrorKind::InvalidData)?;
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
        self.until.is_none() && !self.is_copying && self.pid != 0
    }

    /// Sends a batch and reads the reply.
    pub(crate) fn exchange(
        &mut self,
        is_blocked: IsBlocked<'_>,
        bytes: &[u8],
        until: Until,
    ) -> io::Result<Collected> {
        self.connection.send(bytes)?;
        (self.until, self.is_copying) = (Some(until), false);
        self.reply.clear();
        self.collect(is_blocked)
    }

    /// Reads on after the backend has waited. It must not wait for the lock here.
    pub(crate) fn resume(&mut self, is_blocked: IsBlocked<'_>) -> io::Result<Collected> {
        if !self.connection.has_input()? && is_blocked(self.pid)? {
            return Ok(Collected::Waits);
        }
        self.collect(is_blocked)
    }

    fn collect(&mut self, is_blocked: IsBlocked<'_>) -> io::Result<Collected> {
        let began = real_time();
        loop {
            let Some(message) = self.connection.next()? else {
                // A server of our own says by itself that a backend waits, after it has looked for a deadlock.
                if !self.reports_waits && is_blocked(self.pid)? {
                    return Ok(Collected::Waits);
                }
                if began.elapsed() > SLOWEST {
                    return Err(ErrorKind::TimedOut.into());
                }
                continue;
            };
            let kind = message.kind();
            if kind == b'N' && self.reports_waits && message.field(b'V').as_deref() == Some("LOG") {
                if message.field(b'M').is_some_and(|text| text.contains(" still waiting for ")) {
                    return Ok(Collected::Waits);
                }
                continue;
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
                // The server skips everything up to the end of the batch.
                (b'E', Some(Until::Answers(_))) => true,
                _ => false,
            };
            if is_over {
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
