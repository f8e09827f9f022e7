//! A connection to the server: the other half of a client's connection, or the test's own.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::address::{Address, Target};
use crate::resp::{Framed, ReplyScan, Value, request, value};

/// The number of bytes to read at once.
const PIECE: usize = 16 << 10;
/// The longest reply, because it is held in memory.
const LONGEST: usize = 64 << 20;
/// The real time after which a command counts as a script that does not end.
const SLOW: Duration = Duration::from_secs(4);
/// The real time after which a server that says nothing is given up.
const SILENT: Duration = Duration::from_secs(30);

#[derive(Debug)]
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.read(into),
            Stream::Tcp(stream) => stream.read(into),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.write_all(bytes),
            Stream::Tcp(stream) => stream.write_all(bytes),
        }
    }

    fn set_nonblocking(&self, is_set: bool) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.set_nonblocking(is_set),
            Stream::Tcp(stream) => stream.set_nonblocking(is_set),
        }
    }
}

/// A reply, or something that the server sends unasked to a client of RESP3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame(pub(crate) Vec<u8>);

impl Frame {
    pub(crate) fn is_push(&self) -> bool {
        self.0.first() == Some(&b'>')
    }

    pub(crate) fn is_error(&self) -> bool {
        self.0.first() == Some(&b'-')
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Upstream {
    stream: Stream,
    input: Vec<u8>,
    scan: ReplyScan,
    /// The number of the client in the server.
    pub(crate) number: i64,
}

#[allow(clippy::disallowed_methods, reason = "a server that does not answer is given up in real time")]
fn real_time() -> Instant {
    Instant::now()
}

fn broken(text: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("the server does not speak RESP: {text}"))
}

impl Upstream {
    /// Connects without logging in.
    pub(crate) fn connect(address: &Address) -> io::Result<Self> {
        let stream = match &address.target {
            Target::Socket(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(SLOW))?;
                Stream::Unix(stream)
            }
            Target::Host(host, port) => {
                let addresses: Vec<_> = (host.as_str(), *port).to_socket_addrs()?.collect();
                addresses.iter().copied().for_each(retryproof::adapter::expect_connections_to);
                let stream = TcpStream::connect(&*addresses)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(SLOW))?;
                Stream::Tcp(stream)
            }
        };
        Ok(Self { stream, input: Vec::new(), scan: ReplyScan::default(), number: 0 })
    }

    /// Connects, and logs in.
    pub(crate) fn log_in(address: &Address) -> io::Result<Self> {
        let mut upstream = Self::connect(address)?;
        if let Some(auth) = address.auth() {
            upstream.run(&auth)?;
        }
        if address.database > 0 {
            upstream.run(&["SELECT", &address.database.to_string()])?;
        }
        upstream.number = upstream.run(&["CLIENT", "ID"])?.integer().unwrap_or_default();
        Ok(upstream)
    }

    /// Connects to a server that runs a script, and accepts nothing but its end.
    pub(crate) fn log_in_to_busy(address: &Address) -> io::Result<Self> {
        let mut upstream = Self::connect(address)?;
        if let Some(auth) = address.auth() {
            upstream.run(&auth)?;
        }
        Ok(upstream)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The frame at the front of what has arrived.
    fn take(&mut self) -> io::Result<Option<Frame>> {
        match self.scan.advance(&self.input) {
            Framed::Whole(length) => {
                self.scan = ReplyScan::default();
                let rest = self.input.split_off(length);
                Ok(Some(Frame(std::mem::replace(&mut self.input, rest))))
            }
            Framed::Invalid(text) => Err(broken(text)),
            Framed::Partial if self.input.len() > LONGEST => {
                Err(io::Error::other("the reply is longer than 64 MiB"))
            }
            Framed::Partial => Ok(None),
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let length = self.input.len();
        self.input.resize(length + PIECE, 0);
        let read = self.stream.read(&mut self.input[length..]);
        self.input.truncate(length + read.as_ref().map_or(0, |read| *read));
        match read {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Waits for the next frame. `is_slow` is called if that takes longer than any command should.
    pub(crate) fn wait_with(&mut self, mut is_slow: impl FnMut()) -> io::Result<Frame> {
        let began = real_time();
        loop {
            if let Some(frame) = self.take()? {
                return Ok(frame);
            }
            match self.read() {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if began.elapsed() > SILENT {
                        return Err(ErrorKind::TimedOut.into());
                    }
                    is_slow();
                }
                read => read?,
            }
        }
    }

    /// Waits for the next frame.
    pub(crate) fn wait(&mut self) -> io::Result<Frame> {
        self.wait_with(|| {})
    }

    /// The next frame, if it has arrived.
    pub(crate) fn arrived(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            self.stream.set_nonblocking(true)?;
            let read = self.read();
            self.stream.set_nonblocking(false)?;
            match read {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                read => read?,
            }
        }
    }

    /// Runs a command of the test's own.
    pub(crate) fn run<A: AsRef<[u8]>>(&mut self, arguments: &[A]) -> io::Result<Value> {
        let answers = self.run_all(&[arguments])?;
        match answers.into_iter().next() {
            Some(Value::Error(text)) => Err(io::Error::other(text)),
            answer => Ok(answer.unwrap_or(Value::Nil)),
        }
    }

    /// Runs several commands at once. An error is one of the answers.
    pub(crate) fn run_all<A: AsRef<[u8]>, C: AsRef<[A]>>(
        &mut self,
        commands: &[C],
    ) -> io::Result<Vec<Value>> {
        let bytes: Vec<u8> = commands.iter().flat_map(|command| request(command.as_ref())).collect();
        self.send(&bytes)?;
        commands.iter().map(|_| Ok(value(&self.wait()?.0))).collect()
    }

    /// Waits until the server has handled and answered everything that was sent to it before, on any connection. It
    /// handles what has come together in any order, and then writes all answers, so it is asked twice.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        self.run(&["PING"])?;
        self.run(&["PING"]).map(drop)
    }
}
