//! The proxy between a job's client and the server: RESP2 and RESP3 as a protocol that forwards.
//!
//! A call is a command that reads or writes. `MULTI` … `EXEC` is one call, which is `EXEC`. Everything else is forwarded, and
//! is no place to fail: the handshake, pings, what a transaction queues, loading scripts, subscriptions.

use std::io;
use std::sync::{Arc, Mutex};

use retryproof::external::ExternalFault;
use retryproof::wire::{Caller, DecodeOutcome, ForwardOutcome, ForwardedCall, Protocol, Reply, ServeOutcome};

use crate::commands::{Command, Kind};
use crate::line::Line;
use crate::resp::{Framed, decode_request};
use crate::server::{Leased, lock};
use crate::sources;

/// See the module.
pub(crate) struct Door {
    name: &'static str,
    lease: Arc<Leased>,
}

/// A client's connection.
#[derive(Default)]
pub(crate) struct Session {
    line: Option<Arc<Mutex<Line>>>,
}

impl Session {
    fn line(&mut self, lease: &Arc<Leased>) -> Arc<Mutex<Line>> {
        self.line.get_or_insert_with(|| Arc::new(Mutex::new(Line::new(lease.clone())))).clone()
    }
}

fn error(text: &str) -> Vec<u8> {
    format!("-ERR {text}\r\n").into_bytes()
}

impl Protocol for Door {
    type Session = Session;
    type Request = Command;

    fn decode(&self, bytes: &mut Vec<u8>, session: &mut Session) -> DecodeOutcome<Command> {
        let line = session.line(&self.lease);
        let mut line = lock(&line);
        // What has come together and is no call goes to the server together.
        let (mut asides, mut taken, mut is_queued) = (Vec::new(), 0, line.queued.is_some());
        let command = loop {
            let (arguments, length) = match decode_request(&bytes[taken..]) {
                Framed::Whole(whole) => whole,
                _ if taken > 0 => break None,
                Framed::Partial => return DecodeOutcome::Partial,
                Framed::Invalid(text) => return DecodeOutcome::Close(error(text)),
            };
            // The server says nothing to an empty line, either.
            let Some(command) = Command::new(arguments) else {
                taken += length;
                continue;
            };
            let (is_aside, is_allowed) = (command.is_aside(is_queued), self.allows(&command).is_ok());
            if !is_aside || !is_allowed {
                taken += if asides.is_empty() { length } else { 0 };
                break Some(command).filter(|_| asides.is_empty());
            }
            is_queued |= command.kind() == Kind::Multi;
            taken += length;
            asides.push(command);
        };
        bytes.drain(..taken);
        let Some(command) = command else {
            return match line.asides(&asides) {
                Ok(replies) => DecodeOutcome::Aside(replies),
                Err(_) => {
                    line.end();
                    DecodeOutcome::Close(Vec::new())
                }
            };
        };
        if let Err(text) = self.allows(&command) {
            return DecodeOutcome::Aside(error(&text));
        }
        let replied = match command.kind() {
            Kind::Quit => return DecodeOutcome::Close(b"+OK\r\n".to_vec()),
            Kind::Refused => {
                return DecodeOutcome::Aside(error(&format!(
                    "retryproof: `{}` is not supported",
                    command.name.to_uppercase()
                )));
            }
            Kind::Discard => line.discard(&command),
            Kind::Exec => return DecodeOutcome::Request(command),
            Kind::Subscribe => line.subscribe(&command),
            _ => return DecodeOutcome::Request(command),
        };
        match replied {
            Ok(reply) => DecodeOutcome::Aside(reply),
            Err(_) => {
                line.end();
                DecodeOutcome::Close(Vec::new())
            }
        }
    }

    fn serve(&self, command: Command, session: &mut Session, caller: &Caller<'_>) -> ServeOutcome {
        self.lease.set_time(caller.now());
        let line = session.line(&self.lease);
        if command.kind() == Kind::Aside {
            return aside(&line, &command);
        }
        if let Some(script) = command.script() {
            if !lock(&line).knows_script(&script) {
                // Nothing happens but an error, after which the client loads the script.
                return aside(&line, &command);
            }
        }
        let queued = lock(&line).queued.take().filter(|_| command.kind() == Kind::Exec);
        self.call(line, command, queued, caller)
    }

    fn pushed(&self, session: &mut Session) -> Vec<u8> {
        session.line.as_ref().map_or(Vec::new(), |line| lock(line).pushed())
    }
}

/// Forwards a command that is no call.
fn aside(line: &Mutex<Line>, command: &Command) -> ServeOutcome {
    match lock(line).run(&command.bytes(), true) {
        ForwardOutcome::Ended(reply) => ServeOutcome::reply(reply),
        ForwardOutcome::Waits | ForwardOutcome::WaitsAtMost(_) => ServeOutcome::reply(Reply::reset()),
    }
}

impl Door {
    pub(crate) fn new(name: &'static str, lease: Arc<Leased>) -> Self {
        Self { name, lease }
    }

    /// Keeps clients off other databases of a server that is not our own.
    fn allows(&self, command: &Command) -> Result<(), String> {
        if command.alters_server() {
            self.lease.note_altered();
        }
        if command.has_script() {
            self.lease.note_script();
        }
        let database = self.lease.address.database.to_string();
        let is_other = command.name == "select" && command.argument(1) != Some(database.as_bytes());
        match is_other && !self.lease.is_own() {
            true => Err(format!("retryproof: of the server in REDIS_URL only database {database} is used")),
            false => Ok(()),
        }
    }

    fn call(
        &self,
        line: Arc<Mutex<Line>>,
        command: Command,
        queued: Option<Vec<Command>>,
        caller: &Caller<'_>,
    ) -> ServeOutcome {
        let writes = |command: &&Command| matches!(command.kind(), Kind::Write | Kind::Aside | Kind::Exec);
        let (label, text, is_write) = match &queued {
            None => (command.label(), command.text(), command.kind() == Kind::Write),
            Some(queued) => {
                let first = queued.iter().find(writes).or(queued.first());
                let label = first.map_or("exec".to_owned(), |first| format!("exec {}", first.label()));
                let texts: Vec<_> = queued.iter().map(Command::text).collect();
                (label, format!("MULTI {}", texts.join("; ")), queued.iter().any(|command| writes(&command)))
            }
        };
        let mut call = ForwardedCall::new(self.name, label).text(text);
        if !is_write {
            call = call.passing();
        }
        let sent = queued.as_ref().and_then(|queued| queued.iter().find(writes)).unwrap_or(&command);
        if let Some(place) = sources::place_of(sent) {
            call = call.place(place.file, place.line, place.column);
        }
        let waiting = command.waiting();
        if let Some(waiting) = &waiting {
            call = call.waits_for(waiting.awaited);
        }
        let expirations = is_write.then(|| caller.expirations());
        let bytes = command.bytes();
        let commands = queued.unwrap_or_else(|| vec![command]);
        let mut is_lost = false;
        caller.forward(call, move |fault| {
            let mut line = lock(&line);
            is_lost |= fault == Some(ExternalFault::ReplyLost);
            let outcome = match (fault, &waiting) {
                (None | Some(ExternalFault::ReplyLost), Some(waiting)) => line.wait(waiting),
                (None | Some(ExternalFault::ReplyLost), None) => line.run(&bytes, is_write),
                (Some(ExternalFault::WaitedTooLong), _) => line.give_up(),
                (Some(_), _) => {
                    line.end();
                    ForwardOutcome::Ended(Reply::reset())
                }
            };
            if !matches!(outcome, ForwardOutcome::Ended(_)) {
                return outcome;
            }
            let has_happened = fault.is_none_or(|fault| fault == ExternalFault::ReplyLost);
            if let Some(expirations) = expirations.as_ref().filter(|_| has_happened) {
                line.note_expirations(&commands, expirations);
            }
            match is_lost {
                true => {
                    line.end();
                    ForwardOutcome::Ended(Reply::reset())
                }
                false => outcome,
            }
        })
    }
}

/// An error of the test's own commands.
pub(crate) fn explained(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => "the server has ended".to_owned(),
        _ => error.to_string(),
    }
}
