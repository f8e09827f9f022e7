//! PostgreSQL's protocol 3 between a job's driver and the server.
//!
//! A call is what stands between two ends of a batch (`Query`, `Sync`) and executes something. Everything else is
//! forwarded, and is no place to fail: the handshake, preparing, describing and closing statements, pings.

use std::collections::BTreeMap;
use std::mem;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use retryproof::external::ExternalFault;
use retryproof::wire::{Caller, DecodeOutcome, ForwardOutcome, ForwardedCall, Protocol, Reply, ServeOutcome};

use crate::backend::{Backend, Collected, Until, with_key};
use crate::connection::{error, startup};
use crate::lease::{Leased, lock};
use crate::line::Line;
use crate::parameters::Parameters;
use crate::session::{Batch, Copying, Phase, Request, Session, Text, refusal};
use crate::sources;
use crate::sql::{self, Effect, Statement, Transaction};

/// The longest text of a statement in a timeline, in characters.
const LONGEST_TEXT: usize = 400;

/// See the module.
pub(crate) struct Door {
    name: &'static str,
    lease: Arc<Leased>,
    /// The clients by the keys with which they may cancel a statement, and the number of clients so far.
    clients: Mutex<BTreeMap<[u8; 8], Weak<Mutex<Line>>>>,
    connected: AtomicU32,
}

impl Protocol for Door {
    type Session = Session;
    type Request = Request;

    fn decode(&self, bytes: &mut Vec<u8>, session: &mut Session) -> DecodeOutcome<Request> {
        session.decode(bytes)
    }

    fn serve(&self, request: Request, session: &mut Session, caller: &Caller<'_>) -> ServeOutcome {
        let now = caller.now();
        self.lease.set_time(now);
        session.line.iter().for_each(|line| lock(line).now = now);
        match request {
            Request::Startup(parameters) => ServeOutcome::reply(self.connect(parameters, session)),
            Request::Password(bytes) => ServeOutcome::reply(self.authenticate(&bytes, session)),
            Request::Cancel(key) => {
                let line = lock(&self.clients).get(&key).and_then(Weak::upgrade);
                line.into_iter().for_each(|line| lock(&line).cancel());
                ServeOutcome::reply(Reply::new(Vec::new()).last())
            }
            Request::Batch(batch, until) => self.forward(batch, until, session, caller),
            Request::Copied(bytes) => self.go_on_copying(bytes, session, caller),
        }
    }
}

/// The kinds of messages that a client does not want that asks for this level, and the level for the server, which must
/// say who waits.
fn messages(wanted: &str) -> (&'static [&'static str], &str) {
    match wanted {
        "log" | "debug" | "debug1" | "debug2" | "debug3" | "debug4" | "debug5" => (&[], wanted),
        "warning" => (&["LOG", "NOTICE"], "log"),
        "error" | "fatal" | "panic" => (&["LOG", "NOTICE", "WARNING"], "log"),
        _ => (&["LOG"], "log"),
    }
}

/// The settings in a client's first message: those of the command line in `options`, then those of their own.
fn settings(parameters: &[(String, String)]) -> BTreeMap<String, String> {
    let options = parameters.iter().filter(|(name, _)| name == "options");
    let words = options.flat_map(|(_, options)| options.split_whitespace());
    let mut known = BTreeMap::new();
    for word in words {
        // `-c name=value`, `-cname=value`, `--name=value`
        let word = word.strip_prefix("--").or(word.strip_prefix("-c")).unwrap_or(word);
        known.extend(word.split_once('=').map(|(name, value)| (name.replace('-', "_"), value.to_owned())));
    }
    known.extend(parameters.iter().cloned());
    known
}

impl Door {
    pub(crate) fn new(name: &'static str, lease: Arc<Leased>) -> Self {
        Self { name, lease, clients: Mutex::default(), connected: AtomicU32::new(0) }
    }

    /// Connects a client to a backend.
    fn connect(&self, mut parameters: Vec<(String, String)>, session: &mut Session) -> Reply {
        if parameters.iter().any(|(name, value)| name == "replication" && value != "false" && value != "0") {
            return Reply::new(refusal("0A000", "retryproof: the replication protocol is not supported"))
                .last();
        }
        let settings = settings(&parameters);
        settings.iter().for_each(|(name, value)| session.sql.limits.set(name, Some(value)));
        parameters.retain(|(name, _)| name != "database");
        parameters.push(("database".to_owned(), self.lease.name.clone()));
        let mut unwanted: &[&str] = &[];
        if self.lease.server.is_own {
            let wanted = settings.get("client_min_messages").map_or("notice", String::as_str);
            let (less, level) = messages(wanted);
            unwanted = less;
            parameters.retain(|(name, _)| name != "client_min_messages");
            parameters.push(("client_min_messages".to_owned(), level.to_owned()));
        }
        let first = startup(&parameters);
        let (mut backend, greeting) = match self.lease.take_warm(&first) {
            Some(backend) => {
                let greeting = backend.greeting.clone();
                (backend, greeting)
            }
            None => match Backend::connect(self.lease.server, &first) {
                Ok((backend, Collected::Reply(bytes))) => (backend, bytes),
                Ok((_, Collected::LastWords(bytes))) => return Reply::new(bytes).last(),
                Ok((_, Collected::Waits)) | Err(_) => return Reply::reset(),
            },
        };
        backend.unwanted = unwanted;
        let is_in = backend.is_in();
        let line = Line {
            lease: self.lease.clone(),
            backend: Some(backend),
            transaction: Transaction::default(),
            limits: session.sql.limits,
            now: Duration::ZERO,
            open: None,
        };
        session.line = Some(Arc::new(Mutex::new(line)));
        match is_in {
            true => self.let_in(greeting, session),
            false => {
                session.phase = Phase::Authentication;
                Reply::new(greeting)
            }
        }
    }

    /// Lets a client in, with a key of its own, because its backend may serve other clients later.
    fn let_in(&self, greeting: Vec<u8>, session: &mut Session) -> Reply {
        session.phase = Phase::Ready;
        let number = self.connected.fetch_add(1, Ordering::Relaxed) + 1;
        let mut key = [0; 8];
        key[..4].copy_from_slice(&number.to_be_bytes());
        let mut clients = lock(&self.clients);
        clients.retain(|_, line| line.strong_count() > 0);
        clients.extend(session.line.as_ref().map(|line| (key, Arc::downgrade(line))));
        Reply::new(with_key(greeting, key))
    }

    fn authenticate(&self, bytes: &[u8], session: &mut Session) -> Reply {
        let Some(line) = session.line.clone() else { return Reply::reset() };
        let mut line = lock(&line);
        let Some(backend) = &mut line.backend else { return Reply::reset() };
        match backend.authenticate(bytes) {
            Ok(Collected::Reply(bytes)) if backend.is_in() => self.let_in(bytes, session),
            Ok(Collected::Reply(bytes)) => Reply::new(bytes),
            Ok(Collected::LastWords(bytes)) => Reply::new(bytes).last(),
            Ok(Collected::Waits) | Err(_) => Reply::reset(),
        }
    }

    /// Reads the statements of a batch in the transaction that is open.
    fn read(&self, batch: &Batch, session: &mut Session, line: &mut Line) -> Vec<Statement> {
        let mut transaction = line.transaction.clone();
        let statements: Vec<Statement> = self.lease.with_schema(|schema, _| {
            let all = batch.executed.iter();
            all.flat_map(|known| {
                let Session { sql, .. } = &mut *session;
                sql::read(&known.sql, &known.values, &mut transaction, sql, &schema.volatile)
            })
            .collect()
        });
        line.limits = session.sql.limits;
        if let Some(backend) = line.backend.as_mut().filter(|_| session.sql.chooses_messages) {
            backend.unwanted = &[];
        }
        // Whether the server has really begun or ended it shows in the status of its reply.
        transaction.is_open = line.transaction.is_open;
        line.transaction = transaction;
        statements
    }

    fn forward(
        &self,
        batch: Batch,
        until: Until,
        session: &mut Session,
        caller: &Caller<'_>,
    ) -> ServeOutcome {
        let Some(line) = session.line.clone() else { return ServeOutcome::reply(Reply::reset()) };
        let mut statements = self.read(&batch, session, &mut lock(&line));
        let Batch { bytes, executed, described, is_simple, .. } = batch;
        if executed.is_empty() && !described.is_empty() {
            return self.describe(&line, bytes, until, &described, session, caller);
        }
        let shown: Vec<_> =
            executed.iter().map(|known| format!("{}{}", known.sql, known.parameters)).collect();
        let text = Text { shown: shown.join("; "), sql: executed.into_iter().next().unwrap_or_default().sql };
        match until {
            // Nothing of a batch lasts before its end.
            Until::Answers(_) => {
                for statement in &mut statements {
                    session.has_flushed |= statement.effect == Effect::Lasting;
                    statement.effect = statement.effect.min(Effect::Passing);
                }
            }
            Until::Ready if mem::take(&mut session.has_flushed) => {
                statements.push(Statement::commit(Effect::Lasting));
            }
            Until::Ready => {}
        }
        let left = statements.iter().filter(|statement| statement.copies_in).count();
        if left > 0 {
            session.copying = Some(Copying { statements, text, left, has_sync: !is_simple });
            return aside(line, bytes, until, caller);
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
            ForwardOutcome::Waits | ForwardOutcome::WaitsAtMost(_) => resume_aside(line.clone(), caller),
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
        let Some(Statement { name, effect, conflict, .. }) =
            strongest.filter(|known| known.effect != Effect::Free)
        else {
            return aside(line, bytes, until, caller);
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
        lock(&line).note_call(ends, || caller.open_transaction(&call));
        let (mut is_lost, mut is_sent) = (false, false);
        caller.forward(call, move |fault| {
            let mut line = lock(&line);
            line.lease.note_batch(defines);
            is_lost |= fault == Some(ExternalFault::ReplyLost);
            let outcome = match fault {
                None | Some(ExternalFault::ReplyLost) => {
                    line.run(|backend, is_blocked| match mem::replace(&mut is_sent, true) {
                        false => backend.exchange(is_blocked, &bytes, until),
                        true => backend.resume(is_blocked),
                    })
                }
                Some(ExternalFault::WaitedTooLong) => line.give_up(),
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
            };
            match outcome {
                ForwardOutcome::Ended(_) if is_lost => {
                    line.end();
                    ForwardOutcome::Ended(Reply::reset())
                }
                outcome => outcome,
            }
        })
    }

    /// Forwards the data of a copying statement. With the data of the last one, the batch ends.
    fn go_on_copying(&self, bytes: Vec<u8>, session: &mut Session, caller: &Caller<'_>) -> ServeOutcome {
        let (Some(line), Some(mut copying)) = (session.line.clone(), session.copying.take()) else {
            return ServeOutcome::reply(Reply::reset());
        };
        if copying.left > 1 {
            copying.left -= 1;
            session.copying = Some(copying);
            return aside(line, bytes, Until::Ready, caller);
        }
        self.call(line, &copying.statements, copying.text, bytes, Until::Ready, caller)
    }
}

/// Forwards a batch that is no call.
fn aside(line: Arc<Mutex<Line>>, bytes: Vec<u8>, until: Until, caller: &Caller<'_>) -> ServeOutcome {
    let begun = lock(&line).run(|backend, is_blocked| backend.exchange(is_blocked, &bytes, until));
    match begun {
        ForwardOutcome::Ended(reply) => ServeOutcome::reply(reply),
        ForwardOutcome::Waits | ForwardOutcome::WaitsAtMost(_) => resume_aside(line, caller),
    }
}

fn resume_aside(line: Arc<Mutex<Line>>, caller: &Caller<'_>) -> ServeOutcome {
    caller.forward_aside(move |is_over| match is_over {
        true => lock(&line).give_up(),
        false => lock(&line).run(|backend, is_blocked| backend.resume(is_blocked)),
    })
}

fn shortened(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
