//! A toy server of counters, as a service and a protocol, with a client that knows nothing about the harness.
//! `docs/adding-a-protocol.md` builds it step by step.
//!
//! | request | reply |
//! | --- | --- |
//! | `SET key value` | `OK` |
//! | `GET key` | `VALUE 7`, or `NONE` |
//! | `INCR key` | `VALUE 8` |
//! | `INCR key ONCE token` | the same, and the reply to the first one if the token is known |
//! | `PING` | `PONG` |
//! | `QUIT` | `BYE`, and the connection ends |

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use retryproof::service::{Operation, Refusal, Service, ServiceContext};
use retryproof::wire::{Caller, DecodeOutcome, Protocol, Reply, ServeOutcome};
use serde::Serialize;

/// The service behind the protocol, which knows nothing about bytes.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    values: BTreeMap<String, i64>,
    tokens: BTreeMap<String, i64>,
}

/// The requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the table above says it")]
pub enum Command {
    Set { key: String, value: i64 },
    Get { key: String },
    Incr { key: String, token: Option<String> },
}

impl Service for Counters {
    type Request = Command;
    type Reply = Option<i64>;

    fn operation(&self, request: &Command) -> Operation {
        match request {
            Command::Set { .. } => Operation::write("set".into()),
            Command::Get { .. } => Operation::read("get".into()),
            Command::Incr { .. } => Operation::write("incr".into()),
        }
    }

    fn answer(&mut self, request: Command, cx: &mut ServiceContext<'_>) -> Result<Option<i64>, Refusal> {
        match &request {
            Command::Get { key } => Ok(self.values.get(key).copied()),
            Command::Set { key, value } => {
                cx.effect("set", None, &request, "kv_");
                self.values.insert(key.clone(), *value);
                Ok(Some(*value))
            }
            Command::Incr { key, token } => {
                if let Some(known) = token.as_ref().and_then(|token| self.tokens.get(token)) {
                    return Ok(Some(*known));
                }
                cx.effect("incr", token.as_deref(), &request, "kv_");
                let value = self.values.entry(key.clone()).or_insert(0);
                *value += 1;
                self.tokens.extend(token.iter().map(|token| (token.clone(), *value)));
                Ok(Some(*value))
            }
        }
    }
}

/// The protocol, in which each line is a message. It knows nothing about sockets.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyValue;

/// The maximum length of a line, in bytes.
const MOST: usize = 1_024;

impl Protocol for KeyValue {
    type Session = ();
    type Request = Command;

    fn greeting(&self) -> Vec<u8> {
        b"HELLO\n".to_vec()
    }

    fn decode(&self, bytes: &mut Vec<u8>, (): &mut ()) -> DecodeOutcome<Command> {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            return if bytes.len() > MOST {
                DecodeOutcome::Close(b"ERR too long\n".to_vec())
            } else {
                DecodeOutcome::Partial
            };
        };
        let line: Vec<u8> = bytes.drain(..=end).collect();
        let line = String::from_utf8_lossy(&line).into_owned();
        let key = |key: &&str| (*key).to_owned();
        match &line.split_whitespace().collect::<Vec<_>>()[..] {
            ["SET", name, value] => match value.parse() {
                Ok(value) => DecodeOutcome::Request(Command::Set { key: key(name), value }),
                Err(_) => DecodeOutcome::Aside(b"ERR not a number\n".to_vec()),
            },
            ["GET", name] => DecodeOutcome::Request(Command::Get { key: key(name) }),
            ["INCR", name] => DecodeOutcome::Request(Command::Incr { key: key(name), token: None }),
            ["INCR", name, "ONCE", token] => {
                DecodeOutcome::Request(Command::Incr { key: key(name), token: Some(key(token)) })
            }
            ["PING"] => DecodeOutcome::Aside(b"PONG\n".to_vec()),
            ["QUIT"] => DecodeOutcome::Close(b"BYE\n".to_vec()),
            _ => DecodeOutcome::Close(b"ERR unknown command\n".to_vec()),
        }
    }

    fn serve(&self, request: Command, (): &mut (), caller: &Caller<'_>) -> ServeOutcome {
        let is_set = matches!(request, Command::Set { .. });
        caller.call::<Counters>("counters", request, move |result| {
            Reply::new(match result {
                Ok(_) if is_set => "OK\n".to_owned(),
                Ok(Some(value)) => format!("VALUE {value}\n"),
                Ok(None) => "NONE\n".to_owned(),
                Err(error) => format!("ERR {error}\n"),
            })
        })
    }
}

/// The client, as the app uses it in production.
#[derive(Debug)]
pub struct Client {
    lines: BufReader<TcpStream>,
}

impl Client {
    /// Connects and reads the greeting.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached, or closes the connection.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        let mut client = Self { lines: BufReader::new(socket) };
        client.line()?;
        Ok(client)
    }

    /// Sends a request and reads the reply.
    ///
    /// # Errors
    /// Returns an error if the connection breaks, or if the server replies with an error.
    pub fn ask(&mut self, request: &str) -> io::Result<String> {
        self.lines.get_mut().write_all(format!("{request}\n").as_bytes())?;
        let reply = self.line()?;
        match reply.strip_prefix("ERR ") {
            Some(reason) => Err(io::Error::other(reason.to_owned())),
            None => Ok(reply),
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        match line.strip_suffix('\n') {
            Some(line) => Ok(line.to_owned()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
