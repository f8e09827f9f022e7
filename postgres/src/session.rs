//! The messages of a client, put together to batches.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Mutex};

use retryproof::wire::DecodeOutcome;

use crate::backend::Until;
use crate::connection::error;
use crate::lease::lock;
use crate::line::Line;
use crate::parameters::{Parameters, told_apart};
use crate::sql::{SqlSession, Statement};

/// The longest message, because the proxy holds it in memory.
const LONGEST: usize = 4 << 20;
/// The longest batch, for the same reason.
const LONGEST_BATCH: usize = 64 << 20;
/// The longest first message, as in the server.
const LONGEST_STARTUP: usize = 10_000;

const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;
const CANCEL: u32 = 80_877_102;
const PROTOCOL_3: u32 = 3;

/// A client's connection.
#[derive(Default)]
pub(crate) struct Session {
    pub(crate) phase: Phase,
    pub(crate) line: Option<Arc<Mutex<Line>>>,
    /// The text of each prepared statement, with the types of its parameters.
    pub(crate) statements: BTreeMap<String, (String, Parameters)>,
    portals: BTreeMap<String, Executed>,
    /// The settings and statements that it has made in SQL.
    pub(crate) sql: SqlSession,
    batch: Batch,
    /// The copying statement, while its data arrives.
    pub(crate) copying: Option<Copying>,
    /// Whether a batch that has been flushed, but has not ended, has done something that lasts.
    pub(crate) has_flushed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    #[default]
    Startup,
    Authentication,
    Ready,
}

/// The texts of a batch.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    /// As a timeline shows it.
    pub(crate) shown: String,
    /// The first statement, as it stands in the source.
    pub(crate) sql: String,
}

/// A batch that copies from the client. Its own messages have begun it, and others end it.
#[derive(Clone, Debug)]
pub(crate) struct Copying {
    pub(crate) statements: Vec<Statement>,
    pub(crate) text: Text,
    /// The number of its statements that copy.
    pub(crate) left: usize,
    /// Whether a `Sync` ends it, and not the end of the data.
    pub(crate) has_sync: bool,
}

/// The text of a statement, and its parameters as a comment, and as values that differ if they do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Executed {
    pub(crate) sql: String,
    pub(crate) parameters: String,
    pub(crate) values: Vec<String>,
}

/// The messages that have arrived since the last batch.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    /// The executed statements, in order.
    pub(crate) executed: Vec<Executed>,
    /// The prepared statements whose parameters it asks for, in order.
    pub(crate) described: Vec<String>,
    /// The number of answers to it.
    answers: usize,
    pub(crate) is_simple: bool,
}

#[derive(Debug)]
pub(crate) enum Request {
    Startup(Vec<(String, String)>),
    Password(Vec<u8>),
    Batch(Batch, Until),
    /// The data of a copying statement has come to its end.
    Copied(Vec<u8>),
    Cancel([u8; 8]),
}

pub(crate) fn refusal(code: &str, text: &str) -> Vec<u8> {
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
        CANCEL => match first[8..].first_chunk() {
            Some(key) => DecodeOutcome::Request(Request::Cancel(*key)),
            None => DecodeOutcome::Close(Vec::new()),
        },
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

/// A text that ends with a zero, and what comes after it.
fn text(body: &[u8]) -> (String, &[u8]) {
    let end = body.iter().position(|byte| *byte == 0).unwrap_or(body.len());
    (String::from_utf8_lossy(&body[..end]).into_owned(), body.get(end + 1..).unwrap_or_default())
}

impl Session {
    /// Takes the next request from the front of `bytes`.
    pub(crate) fn decode(&mut self, bytes: &mut Vec<u8>) -> DecodeOutcome<Request> {
        match self.phase {
            Phase::Startup => decode_startup(bytes),
            Phase::Authentication | Phase::Ready => self.decode_messages(bytes),
        }
    }

    fn decode_messages(&mut self, bytes: &mut Vec<u8>) -> DecodeOutcome<Request> {
        loop {
            let Some(header) = bytes.first_chunk::<5>() else { return DecodeOutcome::Partial };
            let (kind, length) =
                (header[0], u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize);
            if !b"QPBEDCSHXFdcfp".contains(&kind) || length < 4 {
                let text = format!(
                    "retryproof: a message of type {:?} is not part of the protocol",
                    char::from(kind)
                );
                return DecodeOutcome::Close(refusal("08P01", &text));
            }
            if length > LONGEST {
                let text =
                    format!("retryproof: a message of {length} bytes; the proxy carries at most {LONGEST}");
                return DecodeOutcome::Close(refusal("54000", &text));
            }
            if self.batch.bytes.len() + length > LONGEST_BATCH {
                let text = format!("retryproof: a batch or a copy of more than {LONGEST_BATCH} bytes");
                return DecodeOutcome::Close(refusal("54000", &text));
            }
            if bytes.len() <= length {
                return DecodeOutcome::Partial;
            }
            let message: Vec<u8> = bytes.drain(..=length).collect();
            if kind == b'X' {
                return DecodeOutcome::Close(Vec::new());
            }
            if let Some(request) = self.take_message(kind, message) {
                return DecodeOutcome::Request(request);
            }
        }
    }

    /// Reports whether the server waits for data to copy.
    fn is_copying(&self) -> bool {
        self.copying.is_some() && self.line.as_ref().is_some_and(|line| lock(line).is_copying())
    }

    /// Adds a message to the batch. Returns the batch if the message ends it.
    fn take_message(&mut self, kind: u8, message: Vec<u8>) -> Option<Request> {
        let body = &message[5..];
        let mut until = None;
        match kind {
            b'p' => return Some(Request::Password(message)),
            b'Q' => {
                self.batch.executed.push(Executed { sql: text(body).0, ..Executed::default() });
                self.batch.is_simple = true;
                until = Some(Until::Ready);
            }
            b'F' => {
                let sql = "CALL a_function".to_owned();
                self.batch.executed.push(Executed { sql, ..Executed::default() });
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
                    let (parameters, values) = (parameters.shown(rest), told_apart(rest));
                    self.portals.insert(portal, Executed { sql: sql.clone(), parameters, values });
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
        if self.is_copying() {
            // Anything but data is ignored by the server while it copies.
            let has_sync = self.copying.as_ref().is_some_and(|copying| copying.has_sync);
            let is_over = if has_sync { kind == b'S' } else { matches!(kind, b'c' | b'f') };
            return is_over.then(|| Request::Copied(mem::take(&mut self.batch).bytes));
        }
        self.copying = None;
        let until = until?;
        if until == Until::Answers(0) {
            self.batch.bytes.clear();
            return None;
        }
        Some(Request::Batch(mem::take(&mut self.batch), until))
    }
}
