//! PostgreSQL's protocol 3 between a job's driver and the server.
//!
//! A call is what stands between two ends of a batch (`Query`, `Sync`) and executes something. Everything else is
//! forwarded, and is no place to fail: the handshake, preparing, describing and closing statements, pings.

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::sync::{Arc, Mutex};

use retryproof::external::ExternalFault;
use retryproof::wire::{Caller, DecodeOutcome, ForwardOutcome, ForwardedCall, Protocol, Reply, ServeOutcome};

use crate::backend::{Backend, Collected, IsBlocked, Until};
use crate::connection::{Connection, error, query, startup};
use crate::lease::{Leased, lock};
use crate::parameters::Parameters;
use crate::sources;
use crate::sql::{self, Conflict, Effect, Statement, Transaction};

/// The longest message, because the proxy holds it in memory.
const LONGEST: usize = 4 << 20;
/// The longest first message, as in the server.
const LONGEST_STARTUP: usize = 10_000;
/// The longest text of a statement in a timeline, in characters.
const LONGEST_TEXT: usize = 400;

const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;
const CANCEL: u32 = 80_877_102;
const PROTOCOL_3: u32 = 3;

/// See the module.
pub(crate) struct Door {
    pub(crate) name: &'static str,
    pub(crate) lease: Arc<Leased>,
}

/// A client's connection.
#[derive(Default)]
pub(crate) struct Session {
    phase: Phase,
    line: Option<Arc<Mutex<Line>>>,
    /// The text of each prepared statement, with the types of its parameters.
    statements: BTreeMap<String, (String, Parameters)>,
    portals: BTreeMap<String, Executed>,
    batch: Batch,
    /// The copying statement, while its data arrives.
    copying: Option<Copying>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Startup,
    Authentication,
    Ready,
}

/// The texts of a batch.
#[derive(Clone, Debug)]
struct Text {
    /// As a timeline shows it.
    shown: String,
    /// The first statement, as it stands in the source.
    sql: String,
}

/// A statement that copies from the client. Its own batch has begun it, and another one ends it.
#[derive(Clone, Debug)]
struct Copying {
    statements: Vec<Statement>,
    text: Text,
    /// Whether a `Sync` ends it, and not the end of the data.
    has_sync: bool,
}

/// The text of a statement, and its parameters as a comment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Executed {
    sql: String,
    parameters: String,
}

/// The messages that have arrived since the last batch.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// The executed statements, in order.
    executed: Vec<Executed>,
    /// The prepared statements whose parameters it asks for, in order.
    described: Vec<String>,
    /// The number of answers to it.
    answers: usize,
    is_simple: bool,
}

#[derive(Debug)]
pub(crate) enum Request {
    Startup(Vec<(String, String)>),
    Password(Vec<u8>),
    Batch(Batch, Until),
    /// The data of a copying statement has come to its end.
    Copied(Vec<u8>),
    Cancel(Vec<u8>),
}

/// The connection's way to the server. When it is gone, its transaction has been rolled back.
struct Line {
    lease: Arc<Leased>,
    backend: Option<Backend>,
    transaction: Transaction,
}

impl Line {
    /// Gives the backend back, as if the connection had broken.
    fn end(&mut self) {
        self.backend.take().into_iter().for_each(|backend| self.lease.take_back(backend));
    }

    fn run(
        &mut self,
        work: impl FnOnce(&mut Backend, IsBlocked<'_>) -> io::Result<Collected>,
    ) -> ForwardOutcome {
        let Some(backend) = &mut self.backend else { return ForwardOutcome::Ended(Reply::reset()) };
        let collected = work(backend, &|pid| self.lease.is_blocked(pid));
        let status = backend.status;
        match collected {
            Ok(Collected::Waits) => ForwardOutcome::Waits,
            Ok(Collected::Reply(bytes)) => {
                match status {
                    b'I' => self.transaction = Transaction::default(),
                    // After `ROLLBACK TO`, what came before the savepoint is still there.
                    _ => (self.transaction.is_open, self.transaction.is_failed) = (true, status == b'E'),
                }
                ForwardOutcome::Ended(Reply::new(bytes))
            }
            Ok(Collected::LastWords(bytes)) => {
                self.end();
                ForwardOutcome::Ended(Reply::new(bytes).last())
            }
            Err(_) => {
                self.end();
                ForwardOutcome::Ended(Reply::reset())
            }
        }
    }
}

impl Line {
    /// Lets the server refuse a statement of a transaction, in favor of one that does not exist. `ends` says that the
    /// statement ends the transaction in any case.
    fn refuse(&mut self, conflict: Option<Conflict>, ends: bool) -> ForwardOutcome {
        let (code, text) = match conflict {
            Some(Conflict::Serialization) => ("40001", "could not serialize access due to concurrent update"),
            _ => ("40P01", "deadlock detected"),
        };
        let raise = format!("DO $$BEGIN RAISE EXCEPTION '{text}' USING ERRCODE = '{code}'; END$$");
        self.run(|backend, is_blocked| {
            let refused = backend.exchange(is_blocked, &query(&raise), Until::Ready)?;
            let Collected::Reply(mut bytes) = refused else { return Ok(refused) };
            if ends {
                backend.exchange(is_blocked, &query("ROLLBACK"), Until::Ready)?;
                // The status in the last byte is that after the transaction.
                bytes.pop();
                bytes.push(backend.status);
            }
            Ok(Collected::Reply(bytes))
        })
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.end();
    }
}

impl Protocol for Door {
    type Session = Session;
    type Request = Request;

    fn decode(&self, bytes: &mut Vec<u8>, session: &mut Session) -> DecodeOutcome<Request> {
        match session.phase {
            Phase::Startup => decode_startup(bytes),
            Phase::Authentication | Phase::Ready => decode_messages(bytes, session),
        }
    }

    fn serve(&self, request: Request, session: &mut Session, caller: &Caller<'_>) -> ServeOutcome {
        match request {
            Request::Startup(parameters) => ServeOutcome::reply(self.connect(parameters, session)),
            Request::Password(bytes) => ServeOutcome::reply(authenticate(&bytes, session)),
            Request::Cancel(bytes) => {
                let target = &self.lease.server.address.target;
                // The server closes the connection without an answer.
                let _ = Connection::open(target).and_then(|mut cancel| {
                    cancel.send(&bytes)?;
                    while cancel.next()?.is_none() {}
                    Ok(())
                });
                ServeOutcome::reply(Reply::new(Vec::new()).last())
            }
            Request::Batch(batch, until) => self.forward(batch, until, session, caller),
            Request::Copied(bytes) => self.end_copy(bytes, session, caller),
        }
    }
}

fn refusal(code: &str, text: &str) -> Vec<u8> {
    error("FATAL", code, text)
}

fn decode_startup(bytes: &mut Vec<u8>) -> DecodeOutcome<Request> {
    let Some(length) = bytes.first_chunk().map(|length| u32::from_be_bytes(*length) as usize) else {
        return DecodeOutcome::Partial;
    };
    if !(8..=LONGEST_STARTUP).contains(&length) {
        let text = "retryproof: this is not a PostgreSQL client: its first message has an impossible length";
        return DecodeOutcome::Close(refusal("08P01", text));
    }
    if bytes.len() < length {
        return DecodeOutcome::Partial;
    }
    let first: Vec<u8> = bytes.drain(..length).collect();
    let code = u32::from_be_bytes(first[4..8].try_into().expect("eight bytes"));
    match code {
        // Without encryption. A client that demands it says so itself.
        SSL | GSS => DecodeOutcome::Aside(b"N".to_vec()),
        CANCEL => DecodeOutcome::Request(Request::Cancel(first)),
        _ if code >> 16 == PROTOCOL_3 => {
            let mut texts =
                first[8..].split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned());
            let mut parameters = Vec::new();
            while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
                if name.is_empty() {
                    break;
                }
                parameters.push((name, value));
            }
            DecodeOutcome::Request(Request::Startup(parameters))
        }
        _ => {
            let text =
                format!("retryproof: protocol {}.{} is not spoken here, only 3", code >> 16, code & 0xffff);
            DecodeOutcome::Close(refusal("0A000", &text))
        }
    }
}

fn decode_messages(bytes: &mut Vec<u8>, session: &mut Session) -> DecodeOutcome<Request> {
    loop {
        let Some(header) = bytes.first_chunk::<5>() else { return DecodeOutcome::Partial };
        let (kind, length) =
            (header[0], u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize);
        if !b"QPBEDCSHXFdcfp".contains(&kind) || length < 4 {
            let text =
                format!("retryproof: a message of type {:?} is not part of the protocol", char::from(kind));
            return DecodeOutcome::Close(refusal("08P01", &text));
        }
        if length > LONGEST {
            let text =
                format!("retryproof: a message of {length} bytes; the proxy carries at most {LONGEST}");
            return DecodeOutcome::Close(refusal("54000", &text));
        }
        if bytes.len() <= length {
            return DecodeOutcome::Partial;
        }
        let message: Vec<u8> = bytes.drain(..=length).collect();
        if kind == b'X' {
            return DecodeOutcome::Close(Vec::new());
        }
        if let Some(request) = session.take_message(kind, message) {
            return DecodeOutcome::Request(request);
        }
    }
}

/// A text that ends with a zero, and what comes after it.
fn text(body: &[u8]) -> (String, &[u8]) {
    let end = body.iter().position(|byte| *byte == 0).unwrap_or(body.len());
    (String::from_utf8_lossy(&body[..end]).into_owned(), body.get(end + 1..).unwrap_or_default())
}

impl Session {
    /// Adds a message to the batch. Returns the batch if the message ends it.
    fn take_message(&mut self, kind: u8, message: Vec<u8>) -> Option<Request> {
        let body = &message[5..];
        let mut until = None;
        match kind {
            b'p' => return Some(Request::Password(message)),
            b'Q' => {
                self.batch.executed.push(Executed { sql: text(body).0, parameters: String::new() });
                self.batch.is_simple = true;
                until = Some(Until::Ready);
            }
            b'F' => {
                self.batch
                    .executed
                    .push(Executed { sql: "CALL a_function".to_owned(), parameters: String::new() });
                until = Some(Until::Ready);
            }
            b'P' => {
                let (name, rest) = text(body);
                let (sql, rest) = text(rest);
                self.statements.insert(name, (sql, Parameters::of_parse(rest)));
                self.batch.answers += 1;
            }
            b'B' => {
                let (portal, rest) = text(body);
                let (statement, rest) = text(rest);
                if let Some((sql, parameters)) = self.statements.get(&statement) {
                    let executed = Executed { sql: sql.clone(), parameters: parameters.shown(rest) };
                    self.portals.insert(portal, executed);
                }
                self.batch.answers += 1;
            }
            b'E' => {
                let portal = text(body).0;
                self.batch.executed.push(self.portals.get(&portal).cloned().unwrap_or_default());
                self.batch.answers += 1;
            }
            b'D' => {
                if let [b'S', rest @ ..] = body {
                    self.batch.described.push(text(rest).0);
                }
                self.batch.answers += 1;
            }
            b'C' => {
                let name = text(body.get(1..).unwrap_or_default()).0;
                match body.first() {
                    Some(b'S') => drop(self.statements.remove(&name)),
                    _ => drop(self.portals.remove(&name)),
                }
                self.batch.answers += 1;
            }
            b'H' => until = Some(Until::Answers(self.batch.answers)),
            b'S' => until = Some(Until::Ready),
            _ => {}
        }
        self.batch.bytes.extend(message);
        if let Some(copying) = &self.copying {
            // Anything but data is ignored by the server while it copies.
            let is_over = if copying.has_sync { kind == b'S' } else { matches!(kind, b'c' | b'f') };
            return is_over.then(|| Request::Copied(mem::take(&mut self.batch).bytes));
        }
        let until = until?;
        if until == Until::Answers(0) {
            self.batch.bytes.clear();
            return None;
        }
        Some(Request::Batch(mem::take(&mut self.batch), until))
    }
}

impl Door {
    /// Connects a client to a backend.
    fn connect(&self, mut parameters: Vec<(String, String)>, session: &mut Session) -> Reply {
        if parameters.iter().any(|(name, value)| name == "replication" && value != "false" && value != "0") {
            return Reply::new(refusal("0A000", "retryproof: the replication protocol is not supported"))
                .last();
        }
        parameters.retain(|(name, _)| name != "database");
        parameters.push(("database".to_owned(), self.lease.name.clone()));
        if self.lease.server.is_own {
            parameters.push(("client_min_messages".to_owned(), "log".to_owned()));
        }
        let first = startup(&parameters);
        if let Some(backend) = self.lease.take_warm(&first) {
            let greeting = backend.greeting.clone();
            self.let_in(backend, session);
            return Reply::new(greeting);
        }
        match Backend::connect(self.lease.server, &first) {
            Ok((backend, Collected::Reply(bytes))) => {
                self.let_in(backend, session);
                Reply::new(bytes)
            }
            Ok((_, Collected::LastWords(bytes))) => Reply::new(bytes).last(),
            Ok((_, Collected::Waits)) | Err(_) => Reply::reset(),
        }
    }

    fn let_in(&self, backend: Backend, session: &mut Session) {
        session.phase = if backend.is_in() { Phase::Ready } else { Phase::Authentication };
        let (lease, transaction) = (self.lease.clone(), Transaction::default());
        session.line = Some(Arc::new(Mutex::new(Line { lease, backend: Some(backend), transaction })));
    }

    fn forward(
        &self,
        batch: Batch,
        until: Until,
        session: &mut Session,
        caller: &Caller<'_>,
    ) -> ServeOutcome {
        let Some(line) = session.line.clone() else { return ServeOutcome::reply(Reply::reset()) };
        let Batch { bytes, executed, described, is_simple, .. } = batch;
        let mut transaction = lock(&line).transaction;
        let statements: Vec<Statement> = self.lease.with_schema(|schema, _| {
            executed
                .iter()
                .flat_map(|known| sql::read(&known.sql, &mut transaction, &schema.volatile))
                .collect()
        });
        // Whether the server has really begun or ended it shows in the status of its reply.
        let is_open = lock(&line).transaction.is_open;
        lock(&line).transaction = Transaction { is_open, ..transaction };
        let shown: Vec<_> =
            executed.iter().map(|known| format!("{}{}", known.sql, known.parameters)).collect();
        let text = Text { shown: shown.join("; "), sql: executed.into_iter().next().unwrap_or_default().sql };
        if !described.is_empty() {
            return self.describe(&line, bytes, until, &described, session, caller);
        }
        if let [Statement { name, .. }] = &statements[..] {
            if name.starts_with("copy-") && text.sql.to_lowercase().contains("stdin") {
                let outcome =
                    lock(&line).run(|backend, is_blocked| backend.exchange(is_blocked, &bytes, until));
                let is_copying = lock(&line).backend.as_ref().is_some_and(|backend| backend.is_copying);
                session.copying = is_copying.then_some(Copying { statements, text, has_sync: !is_simple });
                return match outcome {
                    ForwardOutcome::Ended(reply) => ServeOutcome::reply(reply),
                    ForwardOutcome::Waits => caller.forward_aside(move || {
                        lock(&line).run(|backend, is_blocked| backend.resume(is_blocked))
                    }),
                };
            }
        }
        self.call(line, &statements, text, bytes, until, caller)
    }

    /// Asks for the parameters of statements, whose types are then known.
    fn describe(
        &self,
        line: &Arc<Mutex<Line>>,
        bytes: Vec<u8>,
        until: Until,
        described: &[String],
        session: &mut Session,
        caller: &Caller<'_>,
    ) -> ServeOutcome {
        let mut kept = Vec::new();
        let outcome = lock(line).run(|backend, is_blocked| {
            let collected = backend.exchange(is_blocked, &bytes, until)?;
            if let Collected::Reply(bytes) = &collected {
                kept.clone_from(bytes);
            }
            Ok(collected)
        });
        for (name, parameters) in described.iter().zip(Parameters::of_reply(&kept)) {
            session.statements.entry(name.clone()).and_modify(|(_, known)| *known = parameters);
        }
        match outcome {
            ForwardOutcome::Ended(reply) => ServeOutcome::reply(reply),
            ForwardOutcome::Waits => {
                let line = line.clone();
                caller
                    .forward_aside(move || lock(&line).run(|backend, is_blocked| backend.resume(is_blocked)))
            }
        }
    }

    /// Forwards a batch, as a call if it executes anything.
    fn call(
        &self,
        line: Arc<Mutex<Line>>,
        statements: &[Statement],
        text: Text,
        bytes: Vec<u8>,
        until: Until,
        caller: &Caller<'_>,
    ) -> ServeOutcome {
        // The first one of those that matter most.
        let strongest = statements.iter().rev().max_by_key(|statement| statement.effect);
        let mut is_sent = false;
        let mut work = move |line: &mut Line| {
            line.run(|backend, is_blocked| match mem::replace(&mut is_sent, true) {
                false => backend.exchange(is_blocked, &bytes, until),
                true => backend.resume(is_blocked),
            })
        };
        let Some(Statement { name, effect, conflict, .. }) =
            strongest.filter(|known| known.effect != Effect::Free)
        else {
            return caller.forward_aside(move || work(&mut lock(&line)));
        };
        let defines = statements.iter().any(|statement| statement.defines);
        let mut call = ForwardedCall::new(self.name, name.clone()).text(shortened(&text.shown));
        if let Some(place) = sources::place_of(&text.sql) {
            call = call.place(place.file, place.line, place.column);
        }
        call = match effect {
            Effect::Passing => call.passing(),
            _ => call.may_shut_down(),
        };
        // Several statements in one batch are not told apart.
        let conflict = conflict.filter(|_| statements.len() == 1);
        if conflict.is_some() {
            call = call.may_conflict();
        }
        let ends = name == "commit";
        let mut is_lost = false;
        caller.forward(call, move |fault| {
            let mut line = lock(&line);
            line.lease.note_batch(defines);
            is_lost |= fault == Some(ExternalFault::ReplyLost);
            match fault {
                None | Some(ExternalFault::ReplyLost) => {}
                Some(ExternalFault::Conflict) => return line.refuse(conflict, ends),
                Some(ExternalFault::ShutDown) => {
                    line.end();
                    let words =
                        error("FATAL", "57P01", "terminating connection due to administrator command");
                    return ForwardOutcome::Ended(Reply::new(words).last());
                }
                Some(_) => {
                    line.end();
                    return ForwardOutcome::Ended(Reply::reset());
                }
            }
            match work(&mut line) {
                ForwardOutcome::Ended(_) if is_lost => {
                    line.end();
                    ForwardOutcome::Ended(Reply::reset())
                }
                outcome => outcome,
            }
        })
    }

    fn end_copy(&self, bytes: Vec<u8>, session: &mut Session, caller: &Caller<'_>) -> ServeOutcome {
        let (Some(line), Some(copying)) = (session.line.clone(), session.copying.take()) else {
            return ServeOutcome::reply(Reply::reset());
        };
        self.call(line, &copying.statements, copying.text, bytes, Until::Ready, caller)
    }
}

fn authenticate(bytes: &[u8], session: &mut Session) -> Reply {
    let Some(line) = &session.line else { return Reply::reset() };
    let mut line = lock(line);
    let Some(backend) = &mut line.backend else { return Reply::reset() };
    match backend.authenticate(bytes) {
        Ok(Collected::Reply(bytes)) => {
            if backend.is_in() {
                session.phase = Phase::Ready;
            }
            Reply::new(bytes)
        }
        Ok(Collected::LastWords(bytes)) => Reply::new(bytes).last(),
        Ok(Collected::Waits) | Err(_) => Reply::reset(),
    }
}

fn shortened(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
