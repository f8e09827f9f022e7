//! A connection to the server: messages of protocol 3, without a driver. The door forwards with it, and the test's own
//! statements run on it.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use postgres_protocol::authentication;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};

use crate::server::{Address, Target};

/// The real time after which a read gives its caller a chance to look at something else.
const PAUSE: Duration = Duration::from_millis(5);
/// The real time after which a server that says nothing is given up.
const SILENT: Duration = Duration::from_secs(120);
/// The number of bytes to read at once.
const PIECE: usize = 16 << 10;

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// A message from the server, with its type and its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message(pub(crate) Vec<u8>);

/// See the module.
pub(crate) struct Connection {
    stream: Stream,
    input: Vec<u8>,
    /// The length of the messages at the front of `input` that have been taken.
    taken: usize,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Message {
    pub(crate) fn kind(&self) -> u8 {
        self.0[0]
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.0[5..]
    }

    /// A field of an error or a notice.
    pub(crate) fn field(&self, kind: u8) -> Option<String> {
        let mut rest = self.body();
        while let [first, more @ ..] = rest {
            let end = more.iter().position(|byte| *byte == 0)?;
            if *first == kind {
                return Some(String::from_utf8_lossy(&more[..end]).into_owned());
            }
            rest = &more[end + 1..];
        }
        None
    }

    /// The error in words: `ERROR 23505: duplicate key …`.
    pub(crate) fn error(&self) -> String {
        let field = |kind| self.field(kind).unwrap_or_default();
        format!("{} {}: {}", field(b'S'), field(b'C'), field(b'M'))
    }
}

/// Makes a message of the protocol.
pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind];
    message.extend(((body.len() + 4) as u32).to_be_bytes());
    message.extend(body);
    message
}

/// A simple query.
pub(crate) fn query(text: &str) -> Vec<u8> {
    let mut body = text.as_bytes().to_vec();
    body.push(0);
    message(b'Q', &body)
}

/// The first message of a connection, with these parameters.
pub(crate) fn startup(parameters: &[(String, String)]) -> Vec<u8> {
    let mut body = 196_608_u32.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend(name.as_bytes());
        body.push(0);
        body.extend(value.as_bytes());
        body.push(0);
    }
    body.push(0);
    let mut message = ((body.len() + 4) as u32).to_be_bytes().to_vec();
    message.extend(body);
    message
}

/// An error as the server would report it.
pub(crate) fn error(severity: &str, code: &str, text: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, field) in [(b'S', severity), (b'V', severity), (b'C', code), (b'M', text)] {
        body.push(kind);
        body.extend(field.as_bytes());
        body.push(0);
    }
    body.push(0);
    message(b'E', &body)
}

#[allow(clippy::disallowed_methods, reason = "a server that does not answer is given up in real time")]
pub(crate) fn real_time() -> Instant {
    Instant::now()
}

fn failure(text: impl Into<String>) -> io::Error {
    io::Error::other(text.into())
}

impl Connection {
    /// Connects, and says nothing yet.
    pub(crate) fn open(target: &Target) -> io::Result<Self> {
        let stream = match target {
            Target::Socket(directory, port) => {
                Stream::Unix(UnixStream::connect(directory.join(format!(".s.PGSQL.{port}")))?)
            }
            Target::Host(host, port) => {
                let addresses: Vec<_> = (host.as_str(), *port).to_socket_addrs()?.collect();
                addresses.iter().copied().for_each(retryproof::adapter::expect_connections_to);
                let stream = TcpStream::connect(&*addresses)?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
        };
        match &stream {
            Stream::Unix(stream) => stream.set_read_timeout(Some(PAUSE))?,
            Stream::Tcp(stream) => stream.set_read_timeout(Some(PAUSE))?,
        }
        Ok(Self { stream, input: Vec::new(), taken: 0 })
    }

    /// Connects and authenticates, for the test's own statements.
    pub(crate) fn log_in(address: &Address, database: &str) -> io::Result<Self> {
        let mut connection = Self::open(&address.target)?;
        let parameters = [
            ("user", address.user.as_str()),
            ("database", database),
            ("application_name", "retryproof"),
            ("client_encoding", "UTF8"),
            ("DateStyle", "ISO"),
            ("TimeZone", "UTC"),
            ("extra_float_digits", "3"),
            ("bytea_output", "hex"),
        ];
        connection.send(&startup(&parameters.map(|(name, value)| (name.to_owned(), value.to_owned()))))?;
        let password = address.password.as_deref().unwrap_or_default().as_bytes();
        let mut scram = None;
        loop {
            let message = connection.wait()?;
            match message.kind() {
                b'R' => connection.authenticate(&message, address, password, &mut scram)?,
                b'E' => return Err(failure(message.error())),
                b'Z' => return Ok(connection),
                _ => {}
            }
        }
    }

    fn authenticate(
        &mut self,
        message: &Message,
        address: &Address,
        password: &[u8],
        scram: &mut Option<ScramSha256>,
    ) -> io::Result<()> {
        let body = message.body();
        let (code, rest) = body.split_first_chunk().ok_or_else(|| failure("a message is too short"))?;
        match (u32::from_be_bytes(*code), scram) {
            (0, _) => Ok(()),
            (3, _) => self.send(&message_of(b'p', &[password, b"\0"].concat())),
            (5, _) => {
                let salt = rest.first_chunk().ok_or_else(|| failure("a message is too short"))?;
                let hashed = authentication::md5_hash(address.user.as_bytes(), password, *salt);
                self.send(&message_of(b'p', &[hashed.as_bytes(), b"\0"].concat()))
            }
            (10, scram) => {
                let scram = scram.insert(ScramSha256::new(password, ChannelBinding::unsupported()));
                let first = scram.message();
                let mut body = [SCRAM_SHA_256.as_bytes(), b"\0"].concat();
                body.extend((first.len() as u32).to_be_bytes());
                body.extend(first);
                self.send(&message_of(b'p', &body))
            }
            (11, Some(scram)) => {
                scram.update(rest)?;
                let next = message_of(b'p', scram.message());
                self.send(&next)
            }
            (12, Some(scram)) => scram.finish(rest),
            (other, _) => {
                Err(failure(format!("the server asks for authentication {other}, which is not supported")))
            }
        }
    }

    /// Sends these bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Unix(stream) => stream.write_all(bytes),
            Stream::Tcp(stream) => stream.write_all(bytes),
        }
    }

    /// Returns the next message, or `None` if no message arrives within a few milliseconds.
    pub(crate) fn next(&mut self) -> io::Result<Option<Message>> {
        loop {
            if let Some(message) = self.take() {
                return Ok(Some(message));
            }
            if !self.read()? {
                return Ok(None);
            }
        }
    }

    /// The next message.
    ///
    /// # Errors
    /// If the connection breaks, or no message arrives for two minutes.
    pub(crate) fn wait(&mut self) -> io::Result<Message> {
        let began = real_time();
        loop {
            if let Some(message) = self.next()? {
                return Ok(message);
            }
            if began.elapsed() > SILENT {
                return Err(ErrorKind::TimedOut.into());
            }
        }
    }

    /// Reports whether there is anything to read, without waiting.
    pub(crate) fn has_input(&mut self) -> io::Result<bool> {
        if self.input.len() > self.taken {
            return Ok(true);
        }
        self.set_nonblocking(true)?;
        let read = self.read();
        self.set_nonblocking(false)?;
        read
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match &self.stream {
            Stream::Unix(stream) => stream.set_nonblocking(nonblocking),
            Stream::Tcp(stream) => stream.set_nonblocking(nonblocking),
        }
    }

    fn take(&mut self) -> Option<Message> {
        let rest = &self.input[self.taken..];
        let length =
            rest.get(1..5).map(|length| u32::from_be_bytes(length.try_into().expect("four bytes")))?;
        let message = rest.get(..length as usize + 1)?.to_vec();
        self.taken += message.len();
        if self.taken == self.input.len() {
            self.input.clear();
            self.taken = 0;
        }
        Some(Message(message))
    }

    /// Reads what is there. Returns false if nothing has come.
    fn read(&mut self) -> io::Result<bool> {
        // Not in the vector itself: to make it longer by so much takes long without optimization.
        let mut piece = [0; PIECE];
        let read = match &mut self.stream {
            Stream::Unix(stream) => stream.read(&mut piece),
            Stream::Tcp(stream) => stream.read(&mut piece),
        };
        self.input.extend_from_slice(&piece[..*read.as_ref().unwrap_or(&0)]);
        match read {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Runs statements, and returns the rows of all of them as text.
    ///
    /// # Errors
    /// If one fails, with what the server says.
    pub(crate) fn run(&mut self, text: &str) -> io::Result<Vec<Vec<Option<String>>>> {
        self.send(&query(text))?;
        let (mut rows, mut failed) = (Vec::new(), None);
        loop {
            let message = self.wait()?;
            match message.kind() {
                b'D' => rows.push(columns(message.body())),
                b'E' => failed = Some(failure(message.error())),
                b'G' => self.send(&message_of(b'f', b"COPY is for jobs\0"))?,
                b'Z' => return failed.map_or(Ok(rows), Err),
                _ => {}
            }
        }
    }
}

impl Connection {
    /// Everything that a `COPY … TO STDOUT` sends.
    pub(crate) fn copy_out(&mut self, text: &str) -> io::Result<Vec<u8>> {
        self.send(&query(text))?;
        let (mut bytes, mut failed) = (Vec::new(), None);
        loop {
            let message = self.wait()?;
            match message.kind() {
                b'd' => bytes.extend(message.body()),
                b'E' => failed = Some(failure(message.error())),
                b'Z' => return failed.map_or(Ok(bytes), Err),
                _ => {}
            }
        }
    }

    /// Sends these bytes to a `COPY … FROM STDIN`.
    pub(crate) fn copy_in(&mut self, text: &str, bytes: &[u8]) -> io::Result<()> {
        self.send(&query(text))?;
        let mut failed = None;
        loop {
            let next = self.wait()?;
            match next.kind() {
                b'G' => {
                    self.send(&message(b'd', bytes))?;
                    self.send(&message(b'c', b""))?;
                }
                b'E' => failed = Some(failure(next.error())),
                b'Z' => return failed.map_or(Ok(()), Err),
                _ => {}
            }
        }
    }
}

/// For where a message is called `message`.
fn message_of(kind: u8, body: &[u8]) -> Vec<u8> {
    message(kind, body)
}

fn columns(body: &[u8]) -> Vec<Option<String>> {
    let mut rest = &body[2..];
    let mut columns = Vec::new();
    while let Some((length, more)) = rest.split_first_chunk() {
        let length = i32::from_be_bytes(*length);
        let value = usize::try_from(length).ok().map(|length| &more[..length]);
        rest = &more[value.map_or(0, <[u8]>::len)..];
        columns.push(value.map(|value| String::from_utf8_lossy(value).into_owned()));
    }
    columns
}
