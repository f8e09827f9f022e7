//! HTTP/1.1 on the wire (RFC 9112): where a request begins and ends.

use std::mem;

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version};

use super::response::{HttpResponse, ResponseOptions};

/// The maximum size of the part before the body, in bytes.
const MOST_HEAD: usize = 64 << 10;
const MOST_HEADERS: usize = 100;
/// The maximum size of a body, in bytes.
const MOST_BODY: usize = 1 << 20;

/// A whole request.
#[derive(Debug)]
pub(crate) struct Message {
    pub(super) parts: Parts,
    pub(super) body: Vec<u8>,
    pub(super) manner: ResponseOptions,
}

/// The result of parsing the front of the bytes.
#[derive(Debug)]
pub(crate) enum Parsed {
    Partial,
    /// The client waits for `100 Continue`.
    Continue,
    Message(Box<Message>),
    /// It is rejected together with its connection, because the start of the next request is unknown.
    Refused(Vec<u8>),
}

/// The progress of the current message.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    head: Option<Box<Head>>,
}

#[derive(Debug)]
struct Head {
    parts: Parts,
    manner: ResponseOptions,
    length: Length,
    body: Vec<u8>,
    /// Whether the client still waits for `100 Continue`.
    expects: bool,
}

#[derive(Clone, Copy, Debug)]
enum Length {
    Known(usize),
    Chunked(Chunk),
}

/// The next part of a chunked body.
#[derive(Clone, Copy, Debug)]
enum Chunk {
    Size,
    /// This many bytes.
    Data(usize),
    /// The end of the line after a chunk.
    End,
    Trailers,
}

impl Parser {
    /// Takes the next message off the front of `bytes`.
    pub(super) fn parse(&mut self, bytes: &mut Vec<u8>) -> Parsed {
        let mut head = match self.head.take() {
            Some(head) => head,
            None => match head_of(bytes) {
                Ok(Some(head)) => head,
                Ok(None) => return Parsed::Partial,
                Err(status) => return refused(status),
            },
        };
        let is_whole = match &mut head.length {
            Length::Known(length) => {
                let taken = (*length - head.body.len()).min(bytes.len());
                head.body.extend(bytes.drain(..taken));
                head.body.len() == *length
            }
            Length::Chunked(chunk) => match dechunk(chunk, bytes, &mut head.body) {
                Ok(is_whole) => is_whole,
                Err(status) => return refused(status),
            },
        };
        if is_whole {
            let Head { parts, manner, body, .. } = *head;
            return Parsed::Message(Box::new(Message { parts, body, manner }));
        }
        let goes_on = mem::take(&mut head.expects) && head.body.is_empty();
        self.head = Some(head);
        if goes_on { Parsed::Continue } else { Parsed::Partial }
    }
}

fn refused(status: StatusCode) -> Parsed {
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        let manner = ResponseOptions { version: Version::HTTP_11, keeps_alive: false, only_head: false };
        let answer = HttpResponse::error(status.as_u16(), "the body is larger than 1 MiB");
        return Parsed::Refused(answer.written(manner).into_bytes());
    }
    Parsed::Refused(
        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").into_bytes(),
    )
}

/// The head at the front of `bytes`, if it is whole.
fn head_of(bytes: &mut Vec<u8>) -> Result<Option<Box<Head>>, StatusCode> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= MOST_HEAD => length,
        Ok(httparse::Status::Partial) if bytes.len() <= MOST_HEAD => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => {
            return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        }
        Err(_) => return Err(StatusCode::BAD_REQUEST),
    };
    let method = Method::from_bytes(parsed.method.unwrap_or_default().as_bytes())
        .map_err(|_| StatusCode::BAD_REQUEST)?;
    let target = parsed.path.unwrap_or_default();
    let uri = match method {
        Method::CONNECT => {
            http::uri::Authority::try_from(target).map(Uri::from).map_err(|_| StatusCode::BAD_REQUEST)?
        }
        _ => Uri::try_from(target).map_err(|_| StatusCode::BAD_REQUEST)?,
    };
    let version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let mut fields = HeaderMap::new();
    for header in parsed.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| StatusCode::BAD_REQUEST)?;
        fields.append(name, HeaderValue::from_bytes(header.value).map_err(|_| StatusCode::BAD_REQUEST)?);
    }
    let body_length = body_length(&fields, version).map_err(|()| StatusCode::BAD_REQUEST)?;
    if matches!(body_length, Length::Known(length) if length > MOST_BODY) {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let says = |wanted: &str| {
        let connection = fields.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        connection.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case(wanted))
    };
    let keeps_alive = !says("close") && (version == Version::HTTP_11 || says("keep-alive"));
    let manner = ResponseOptions { version, keeps_alive, only_head: method == Method::HEAD };
    let expects = version == Version::HTTP_11
        && fields.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let mut request = Request::new(());
    (*request.method_mut(), *request.uri_mut(), *request.version_mut()) = (method, uri, version);
    *request.headers_mut() = fields;
    let (parts, ()) = request.into_parts();
    bytes.drain(..length);
    Ok(Some(Box::new(Head { parts, manner, length: body_length, body: Vec::new(), expects })))
}

/// The length of the body (RFC 9112, section 6.3). Two different lengths are a way to smuggle one request in another.
fn body_length(fields: &HeaderMap, version: Version) -> Result<Length, ()> {
    let mut lengths = fields.get_all(CONTENT_LENGTH).iter().map(|value| {
        let text = value.to_str().map_err(|_| ())?;
        match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse::<usize>().map_err(|_| ()),
            false => Err(()),
        }
    });
    if fields.contains_key(TRANSFER_ENCODING) {
        let mut codings = fields.get_all(TRANSFER_ENCODING).iter();
        let is_chunked =
            codings.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"chunked"));
        let is_alone = codings.next().is_none() && lengths.next().is_none() && version == Version::HTTP_11;
        return if is_chunked && is_alone { Ok(Length::Chunked(Chunk::Size)) } else { Err(()) };
    }
    let Some(first) = lengths.next() else { return Ok(Length::Known(0)) };
    let first = first?;
    lengths.try_for_each(|other| if other? == first { Ok(()) } else { Err(()) })?;
    Ok(Length::Known(first))
}

/// Takes the available part of a chunked body. Returns whether that was the end.
fn dechunk(chunk: &mut Chunk, bytes: &mut Vec<u8>, body: &mut Vec<u8>) -> Result<bool, StatusCode> {
    loop {
        match chunk {
            Chunk::Size => match httparse::parse_chunk_size(bytes) {
                Ok(httparse::Status::Complete((length, size))) => {
                    let size = usize::try_from(size)
                        .ok()
                        .filter(|size| body.len().saturating_add(*size) <= MOST_BODY);
                    bytes.drain(..length);
                    *chunk = match size.ok_or(StatusCode::PAYLOAD_TOO_LARGE)? {
                        0 => Chunk::Trailers,
                        size => Chunk::Data(size),
                    };
                }
                Ok(httparse::Status::Partial) if bytes.len() <= MOST_HEAD => return Ok(false),
                _ => return Err(StatusCode::BAD_REQUEST),
            },
            Chunk::Data(left) => {
                let taken = (*left).min(bytes.len());
                body.extend(bytes.drain(..taken));
                *left -= taken;
                if *left > 0 {
                    return Ok(false);
                }
                *chunk = Chunk::End;
            }
            Chunk::End => match bytes.get(..2) {
                Some(b"\r\n") => {
                    bytes.drain(..2);
                    *chunk = Chunk::Size;
                }
                Some(_) => return Err(StatusCode::BAD_REQUEST),
                None => return Ok(false),
            },
            Chunk::Trailers => {
                let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
                    return if bytes.len() > MOST_HEAD { Err(StatusCode::BAD_REQUEST) } else { Ok(false) };
                };
                bytes.drain(..end + 2);
                if end == 0 {
                    return Ok(true);
                }
            }
        }
    }
}
