//! A server behind an upstream: its requests go to a URL, over HTTP/1.1.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Uri};

use super::exchange::{UpstreamRequest, UpstreamResponse};
use crate::engine::external_calls::real_time;
use crate::engine::simulation;
use crate::engine::state::lock;

/// The real time that a server may take for an answer, unless the test says otherwise.
pub(super) const LONGEST: Duration = Duration::from_secs(5);
/// The maximum size of an answer, because it is held in memory.
const MOST_BODY: usize = 64 << 20;
const MOST_HEAD: usize = 64 << 10;
const MOST_HEADERS: usize = 100;
const PIECE: usize = 16 << 10;

/// A server, with the connections that are open to it.
pub(super) struct Remote {
    authority: String,
    prefix: String,
    idle: Mutex<Vec<TcpStream>>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("authority", &self.authority).finish_non_exhaustive()
    }
}

/// An answer that may not be whole yet.
#[derive(Default)]
struct Answering {
    bytes: Vec<u8>,
    has_ended: bool,
}

fn broken(text: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, text.into())
}

impl Remote {
    /// Makes a server of its URL.
    ///
    /// # Errors
    /// If the URL is not one that can be reached. The text says why.
    pub(super) fn new(url: &str) -> Result<Self, String> {
        let uri = Uri::try_from(url).map_err(|error| format!("`{url}` is not a URL: {error}"))?;
        match (uri.scheme_str(), uri.authority()) {
            (Some("http"), Some(authority)) => {
                let authority = match authority.port() {
                    Some(_) => authority.to_string(),
                    None => format!("{authority}:80"),
                };
                let prefix = uri.path().trim_end_matches('/').to_owned();
                Ok(Self { authority, prefix, idle: Mutex::default() })
            }
            (Some("https"), _) => Err(format!(
                "`{url}` needs TLS, which is not spoken here; give an `http://` URL, or put a server of the test there"
            )),
            _ => Err(format!("`{url}` is not a URL of the form `http://host:port/path`")),
        }
    }

    pub(super) fn exchange(
        &self,
        request: &UpstreamRequest,
        limit: Duration,
    ) -> io::Result<UpstreamResponse> {
        let until = real_time() + limit;
        let head = self.head(request);
        let idle = lock(&self.idle).pop();
        if let Some(stream) = idle {
            match self.over(stream, &head, request, until) {
                // A connection may have ended while it was idle. Nothing was done then.
                Err(error) if is_stale(&error) => {}
                result => return result,
            }
        }
        self.over(self.connect(until)?, &head, request, until)
    }

    fn connect(&self, until: Instant) -> io::Result<TcpStream> {
        let mut last = None;
        for address in self.authority.to_socket_addrs()? {
            simulation::expect_connections_to(address);
            match TcpStream::connect_timeout(&address, left(until)?) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| broken("the host has no address")))
    }

    fn head(&self, request: &UpstreamRequest) -> Vec<u8> {
        let UpstreamRequest { method, path, query, headers, body } = request;
        let query = query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        let mut head =
            format!("{method} {}{path}{query} HTTP/1.1\r\nhost: {}\r\n", self.prefix, self.authority)
                .into_bytes();
        for (name, value) in headers {
            if [HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, EXPECT].contains(name) {
                continue;
            }
            head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        head.extend(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        head
    }

    fn over(
        &self,
        mut stream: TcpStream,
        head: &[u8],
        request: &UpstreamRequest,
        until: Instant,
    ) -> io::Result<UpstreamResponse> {
        stream.set_write_timeout(Some(left(until)?))?;
        stream.write_all(&[head, &request.body].concat())?;
        let mut answering = Answering::default();
        let (response, stays) = answering.whole(&mut stream, &request.method, until)?;
        if stays && !answering.has_ended && answering.bytes.is_empty() {
            lock(&self.idle).push(stream);
        }
        Ok(response)
    }
}

/// Whether a connection ended before anything of an answer came.
fn is_stale(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof)
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(real_time());
    if left.is_zero() { Err(timed_out()) } else { Ok(left) }
}

pub(super) fn timed_out() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "there was no whole answer within its time limit")
}

/// The bounds of a body (RFC 9112, section 6.3).
enum Bounds {
    Length(usize),
    Chunked,
    UntilTheEnd,
}

impl Answering {
    fn more(&mut self, stream: &mut TcpStream, until: Instant) -> io::Result<()> {
        let was_empty = self.bytes.is_empty();
        let mut piece = [0; PIECE];
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(&mut piece) {
            Ok(0) => self.has_ended = true,
            Ok(read) => self.bytes.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(timed_out());
            }
            Err(error) if was_empty => return Err(error),
            Err(error) => {
                return Err(broken(format!("the connection broke in the middle of the answer: {error}")));
            }
        }
        Ok(())
    }

    fn whole(
        &mut self,
        stream: &mut TcpStream,
        method: &Method,
        until: Instant,
    ) -> io::Result<(UpstreamResponse, bool)> {
        let (mut response, bounds) = loop {
            match self.head(method)? {
                // An interim answer, such as `100 Continue`.
                Some((response, _)) if response.status < 200 => {}
                Some(head) => break head,
                None if self.has_ended && self.bytes.is_empty() => {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                None if self.has_ended => return Err(broken("the connection ended within the headers")),
                None => self.more(stream, until)?,
            }
        };
        let stays = !matches!(bounds, Bounds::UntilTheEnd)
            && !response.headers.iter().any(|(name, value)| name == CONNECTION && value == "close");
        response.headers.retain(|(name, _)| ![CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name));
        loop {
            if self.take_body(&bounds, &mut response.body)? {
                return Ok((response, stays));
            }
            if self.has_ended {
                return Err(broken(format!(
                    "the connection ended after {} bytes of the body",
                    response.body.len() + self.bytes.len()
                )));
            }
            if response.body.len() + self.bytes.len() > MOST_BODY {
                return Err(broken(format!("the body is larger than {} MiB", MOST_BODY >> 20)));
            }
            self.more(stream, until)?;
        }
    }

    fn head(&mut self, method: &Method) -> io::Result<Option<(UpstreamResponse, Bounds)>> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut parsed = httparse::Response::new(&mut headers);
        let length = match parsed.parse(&self.bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if self.bytes.len() <= MOST_HEAD => return Ok(None),
            Ok(httparse::Status::Partial) => return Err(broken("the headers are larger than 64 KiB")),
            Err(error) => return Err(broken(format!("the answer is not HTTP/1.1: {error}"))),
        };
        let mut response = UpstreamResponse::new(parsed.code.unwrap_or_default());
        for header in parsed.headers.iter() {
            let name =
                HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| broken("a header is invalid"))?;
            let value = HeaderValue::from_bytes(header.value).map_err(|_| broken("a header is invalid"))?;
            response.headers.push((name, value));
        }
        self.bytes.drain(..length);
        let bounds = bounds(&response, method)?;
        Ok(Some((response, bounds)))
    }

    /// Moves what has come of the body. Returns whether that was all.
    fn take_body(&mut self, bounds: &Bounds, body: &mut Vec<u8>) -> io::Result<bool> {
        match bounds {
            Bounds::Length(length) => {
                let taken = (length - body.len()).min(self.bytes.len());
                body.extend(self.bytes.drain(..taken));
                Ok(body.len() == *length)
            }
            Bounds::UntilTheEnd => {
                body.append(&mut self.bytes);
                Ok(self.has_ended)
            }
            Bounds::Chunked => self.take_chunks(body),
        }
    }

    fn take_chunks(&mut self, body: &mut Vec<u8>) -> io::Result<bool> {
        loop {
            let (from, size) = match httparse::parse_chunk_size(&self.bytes) {
                Ok(httparse::Status::Complete((from, size))) => (from, size),
                Ok(httparse::Status::Partial) => return Ok(false),
                Err(_) => return Err(broken("a chunk has no size")),
            };
            let size = usize::try_from(size).ok().filter(|size| *size <= MOST_BODY);
            let size =
                size.ok_or_else(|| broken(format!("the body is larger than {} MiB", MOST_BODY >> 20)))?;
            if size == 0 {
                // Trailers are dropped.
                let rest = &self.bytes[from..];
                let end = if rest.starts_with(b"\r\n") {
                    Some(2)
                } else {
                    position(rest, b"\r\n\r\n").map(|at| at + 4)
                };
                let Some(end) = end else { return Ok(false) };
                self.bytes.drain(..from + end);
                return Ok(true);
            }
            let Some(end) = self.bytes.get(from + size..from + size + 2) else { return Ok(false) };
            if end != b"\r\n" {
                return Err(broken("a chunk has another size than it says"));
            }
            body.extend_from_slice(&self.bytes[from..from + size]);
            self.bytes.drain(..from + size + 2);
        }
    }
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn bounds(response: &UpstreamResponse, method: &Method) -> io::Result<Bounds> {
    let header = |wanted: HeaderName| {
        response.headers.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value)
    };
    if method == Method::HEAD || matches!(response.status, 100..=199 | 204 | 304) {
        return Ok(Bounds::Length(0));
    }
    if header(TRANSFER_ENCODING).is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        return Ok(Bounds::Chunked);
    }
    let Some(length) = header(CONTENT_LENGTH) else { return Ok(Bounds::UntilTheEnd) };
    let length = length.to_str().ok().and_then(|text| text.parse().ok());
    match length {
        Some(length) if length <= MOST_BODY => Ok(Bounds::Length(length)),
        Some(_) => Err(broken(format!("the body is larger than {} MiB", MOST_BODY >> 20))),
        None => Err(broken("the length of the body is not a number")),
    }
}
