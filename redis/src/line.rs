//! A client's way to the server.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use retryproof::wire::{Expirations, ForwardOutcome, Reply};

use crate::commands::{Command, Waiting};
use crate::resp::{Value, request, value};
use crate::server::Leased;
use crate::upstream::{Frame, Upstream};

/// A key that expires later than this outlives every retry.
const HORIZON: Duration = Duration::from_secs(31 * 86_400);

/// When it is gone, nothing of it is left in the server.
pub(crate) struct Line {
    pub(crate) lease: Arc<Leased>,
    /// `None` before the first command, and after the end.
    upstream: Option<Upstream>,
    has_ended: bool,
    /// The commands of a transaction, once it has begun.
    pub(crate) queued: Option<Vec<Command>>,
    /// The number of its database.
    database: i64,
    /// Whether the server may send something unasked.
    listens: bool,
    /// Whether a command has been sent and not been answered.
    is_waiting: bool,
    /// The number of writes at the last look for something unasked.
    seen: u64,
}

impl Line {
    pub(crate) fn new(lease: Arc<Leased>) -> Self {
        let database = i64::from(lease.address.database);
        let (queued, seen) = (None, lease.writes());
        Self {
            lease,
            upstream: None,
            has_ended: false,
            queued,
            database,
            listens: false,
            is_waiting: false,
            seen,
        }
    }

    fn upstream(&mut self) -> io::Result<&mut Upstream> {
        if self.has_ended {
            return Err(io::ErrorKind::NotConnected.into());
        }
        if self.upstream.is_none() {
            self.upstream = Some(self.lease.connect()?);
        }
        Ok(self.upstream.as_mut().expect("it is there now"))
    }

    /// Gives the connection to the server back, as if it had broken.
    pub(crate) fn end(&mut self) {
        self.has_ended = true;
        let is_idle = !self.is_waiting;
        self.upstream.take().into_iter().for_each(|upstream| self.lease.take_back(upstream, is_idle));
    }

    /// Sends a command, and reads its reply, with what the server has sent unasked before it.
    fn exchange(&mut self, bytes: &[u8]) -> io::Result<(Vec<u8>, Frame)> {
        self.upstream()?.send(bytes)?;
        self.answer_to_come()
    }

    /// Reads the next reply, with what the server has sent unasked before it.
    fn answer_to_come(&mut self) -> io::Result<(Vec<u8>, Frame)> {
        let lease = self.lease.clone();
        self.is_waiting = true;
        let mut reply = Vec::new();
        loop {
            let frame = self.upstream()?.wait_with(|| lease.end_script())?;
            reply.extend(&frame.0);
            if !frame.is_push() {
                self.is_waiting = false;
                return Ok((reply, frame));
            }
        }
    }

    /// Sends a command that has as many answers as channels, among messages, and reads what comes.
    fn exchange_all(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        self.upstream()?.send(bytes)?;
        self.lease.admin().settle()?;
        self.arrived()
    }

    /// Everything that has arrived.
    fn arrived(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let upstream = self.upstream()?;
        while let Some(frame) = upstream.arrived()? {
            bytes.extend(frame.0);
        }
        Ok(bytes)
    }

    /// Runs commands that are no calls, at once.
    pub(crate) fn asides(&mut self, commands: &[Command]) -> io::Result<Vec<u8>> {
        let bytes: Vec<u8> = commands.iter().flat_map(Command::bytes).collect();
        // A subscriber of RESP2 hears messages of the same form as answers.
        if self.listens {
            return self.exchange_all(&bytes);
        }
        self.upstream()?.send(&bytes)?;
        let mut replies = Vec::new();
        for command in commands {
            let (reply, frame) = self.answer_to_come()?;
            replies.extend(reply);
            let number = || std::str::from_utf8(command.argument(1)?).ok()?.parse().ok();
            match self.queued.as_mut() {
                Some(queued) if frame.0 == b"+QUEUED\r\n" => queued.push(command.clone()),
                None if command.name == "multi" && !frame.is_error() => self.queued = Some(Vec::new()),
                None if command.name == "select" && !frame.is_error() => {
                    self.database = number().unwrap_or_default();
                }
                _ => {}
            }
        }
        Ok(replies)
    }

    /// Ends a transaction, or everything.
    pub(crate) fn discard(&mut self, command: &Command) -> io::Result<Vec<u8>> {
        self.queued = None;
        if command.name == "reset" {
            self.listens = false;
            self.database = i64::from(self.lease.address.database);
        }
        self.exchange(&command.bytes()).map(|(reply, _)| reply)
    }

    /// Changes what the client listens to.
    pub(crate) fn subscribe(&mut self, command: &Command) -> io::Result<Vec<u8>> {
        if command.name == "client" {
            let (reply, frame) = self.exchange(&command.bytes())?;
            self.listens |= !frame.is_error();
            return Ok(reply);
        }
        let reply = self.exchange_all(&command.bytes())?;
        // The last answer ends with the number of subscriptions.
        self.listens = !reply.ends_with(b"\r\n:0\r\n");
        Ok(reply)
    }

    /// Returns everything that the server has sent unasked.
    pub(crate) fn pushed(&mut self) -> Vec<u8> {
        let writes = self.lease.writes();
        if !self.listens || self.has_ended || writes == self.seen {
            return Vec::new();
        }
        self.seen = writes;
        if self.lease.admin().settle().is_err() {
            return Vec::new();
        }
        self.arrived().unwrap_or_default()
    }

    /// Runs a command that does not wait.
    pub(crate) fn run(&mut self, bytes: &[u8], writes: bool) -> ForwardOutcome {
        if writes {
            self.lease.note_write();
        }
        let reply = self.exchange(bytes).map(|(reply, _)| reply);
        self.ended(reply)
    }

    fn ended(&mut self, reply: io::Result<Vec<u8>>) -> ForwardOutcome {
        match reply {
            Ok(reply) => ForwardOutcome::Ended(Reply::new(reply)),
            Err(_) => {
                self.end();
                ForwardOutcome::Ended(Reply::reset())
            }
        }
    }

    /// Begins a command that may wait, or goes on waiting.
    pub(crate) fn wait(&mut self, waiting: &Waiting) -> ForwardOutcome {
        let waits = match waiting.limit {
            Some(limit) => ForwardOutcome::WaitsAtMost(limit),
            None => ForwardOutcome::Waits,
        };
        let begun = match self.is_waiting {
            true if self.seen == self.lease.writes() => return waits,
            true => Ok(()),
            false => self.upstream().and_then(|upstream| upstream.send(&waiting.bytes)),
        };
        self.is_waiting = true;
        let settled = begun.and_then(|()| self.lease.admin().settle());
        self.seen = self.lease.writes();
        let arrived = settled.and_then(|()| self.answer());
        match arrived {
            Ok(Some(reply)) => {
                self.is_waiting = false;
                // It has taken something, and may have put it elsewhere.
                self.lease.note_write();
                ForwardOutcome::Ended(Reply::new(reply))
            }
            Ok(None) => waits,
            Err(error) => self.ended(Err(error)),
        }
    }

    /// The answer, if it has arrived, with what came before it.
    fn answer(&mut self) -> io::Result<Option<Vec<u8>>> {
        let upstream = self.upstream()?;
        let mut reply = Vec::new();
        while let Some(frame) = upstream.arrived()? {
            reply.extend(&frame.0);
            if !frame.is_push() {
                return Ok(Some(reply));
            }
        }
        Ok(None)
    }

    /// Ends the wait of a command that has waited for as long as its client allows.
    pub(crate) fn give_up(&mut self) -> ForwardOutcome {
        let reply = self.upstream().map(|upstream| upstream.number.to_string()).and_then(|number| {
            self.lease.admin().run(&["CLIENT", "UNBLOCK", &number, "TIMEOUT"])?;
            let mut reply = Vec::new();
            loop {
                let frame = self.upstream()?.wait()?;
                reply.extend(&frame.0);
                if !frame.is_push() {
                    return Ok(reply);
                }
            }
        });
        self.is_waiting &= reply.is_err();
        self.ended(reply)
    }

    /// Reports whether the server knows a script.
    pub(crate) fn knows_script(&mut self, script: &str) -> bool {
        if self.lease.scripts().contains(script) {
            return true;
        }
        let known = self.exchange(&request(&["SCRIPT", "EXISTS", script]));
        // An answer in RESP3 has the same form.
        let is_known =
            known.is_ok_and(|(_, frame)| value(&frame.0).array().first() == Some(&Value::Integer(1)));
        if is_known {
            self.lease.scripts().insert(script.to_owned());
        }
        is_known
    }

    /// Notes when keys expire that these commands have changed.
    pub(crate) fn note_expirations(&self, commands: &[Command], expirations: &Expirations) {
        // Other databases are not looked at.
        if self.database != i64::from(self.lease.address.database) {
            return;
        }
        let mut known = self.lease.expiring();
        let mut keys: BTreeSet<Vec<u8>> = commands.iter().flat_map(Command::expiring_keys).collect();
        if !known.is_empty() {
            let changed = commands.iter().flat_map(Command::arguments).filter(|key| known.contains_key(*key));
            keys.extend(changed.map(<[u8]>::to_vec));
            if commands.iter().any(|command| command.name.starts_with("flush")) {
                keys.extend(known.keys().cloned());
            }
        }
        if keys.is_empty() {
            return;
        }
        let asked: Vec<_> = keys.iter().map(|key| [b"PTTL".as_slice(), key]).collect();
        let Ok(answers) = self.lease.admin().run_all(&asked) else { return };
        let now = Duration::from_millis(self.lease.now().as_millis() as u64);
        for (key, answer) in keys.into_iter().zip(answers) {
            let left = answer.integer().and_then(|left| u64::try_from(left).ok()).map(Duration::from_millis);
            let after = left.filter(|left| *left <= HORIZON).map(|left| now + left);
            let before = match after {
                Some(after) => known.insert(key, after),
                None => known.remove(&key),
            };
            expirations.replace(before, after);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.end();
    }
}
