//! From what the HTTP library has read to a request, and from its fate to what the library writes, or breaks off.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Door;
use super::exchange::{Exchange, Line, Phase, Ticket};
use super::request::{Checked, Request, check};
use super::serve::Fate;
use super::sockets::SLOWEST;
use super::stream::Ending;

/// How large a body may be.
const MOST_BODY: usize = 1 << 20;
/// After so long, in real time, in which nobody came to see who waits, nobody will.
const UNATTENDED: Duration = Duration::from_secs(1);

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// `application/json`, mostly.
    pub(super) content: &'static str,
    pub(super) body: Vec<u8>,
    pub(super) header: Option<(HeaderName, HeaderValue)>,
}

impl Answer {
    pub(super) fn json(status: u16, body: &impl serde::Serialize) -> Self {
        let written = serde_json::to_vec(body);
        // A reply of the user's own may be none.
        let body = written.unwrap_or_else(|error| format!("{:?}", error.to_string()).into_bytes());
        Self { status, content: "application/json", body, header: None }
    }

    /// A refusal, with its reason.
    pub(super) fn error(status: u16, reason: &str) -> Self {
        Self::json(status, &serde_json::json!({ "error": reason }))
    }

    pub(super) fn retry_after(self, wait: Duration) -> Self {
        Self { header: Some((RETRY_AFTER, HeaderValue::from(wait.as_secs()))), ..self }
    }

    pub(super) fn page(html: String) -> Self {
        Self { status: 200, content: "text/html; charset=utf-8", body: html.into_bytes(), header: None }
    }
}

/// Nothing is answered: the connection is to be dropped.
#[derive(Debug)]
pub(super) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is broken off, as it was meant to be")
    }
}

/// Reads the rest of a request, has it served, and says what to write.
pub(super) async fn respond(
    exchange: Arc<Exchange>,
    door: Arc<Door>,
    line: Arc<Line>,
    ending: Arc<Ending>,
    request: hyper::Request<Incoming>,
) -> Result<Response<Written>, Broken> {
    exchange.shift(&line, Phase::Reading);
    let (parts, body) = request.into_parts();
    let body = match timeout(SLOWEST, Limited::new(body, MOST_BODY).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            exchange.shift(&line, Phase::Answering);
            return Ok(written(Answer::error(413, "the body is larger than 1 MiB"), false));
        }
        // It ended in the middle, or does not go on.
        _ => return Err(Broken),
    };
    let request = match check(&parts, &body) {
        Checked::Refused(answer) => {
            exchange.shift(&line, Phase::Answering);
            return Ok(written(answer, false));
        }
        Checked::Sound(request) => request,
    };
    match served(&exchange, &door, &line, request).await {
        Fate::Answer(answer) => Ok(written(answer, false)),
        Fate::Half(answer) => {
            ending.ends.store(true, Ordering::SeqCst);
            Ok(written(answer, true))
        }
        Fate::Closed => Err(Broken),
        Fate::Reset => {
            ending.resets.store(true, Ordering::SeqCst);
            Err(Broken)
        }
    }
}

async fn served(exchange: &Arc<Exchange>, door: &Arc<Door>, line: &Arc<Line>, request: Request) -> Fate {
    let (answer, mut fate) = oneshot::channel();
    exchange.ask(door, Ticket { line: line.clone(), answer }, request);
    loop {
        let visits = exchange.visits();
        match timeout(UNATTENDED, &mut fate).await {
            // Nobody will answer: the process is dead.
            Ok(fate) => return fate.unwrap_or(Fate::Reset),
            Err(_) if exchange.visits() == visits => exchange.serve_unattended(door, line),
            Err(_) => {}
        }
    }
}

fn written(answer: Answer, only_half: bool) -> Response<Written> {
    let length = answer.body.len() as u64;
    let state = if only_half { State::FirstHalf } else { State::Whole };
    let mut response = Response::new(Written { bytes: answer.body.into(), length, state });
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(answer.content));
    response.headers_mut().extend(answer.header);
    response
}

/// The body of an answer; of which, perhaps, only the first half is ever written.
#[derive(Debug)]
pub(super) struct Written {
    bytes: Bytes,
    length: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Whole,
    FirstHalf,
    /// Until what there is has left the house.
    Leaving,
    Over,
}

impl Body for Written {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let state = self.state;
        self.state = match state {
            State::Whole => State::Over,
            State::FirstHalf => State::Leaving,
            State::Leaving | State::Over => State::Over,
        };
        match state {
            State::Whole if self.bytes.is_empty() => Poll::Ready(None),
            State::Whole => Poll::Ready(Some(Ok(Frame::data(self.bytes.split_off(0))))),
            State::FirstHalf => {
                let half = self.bytes.len() / 2;
                Poll::Ready(Some(Ok(Frame::data(self.bytes.split_to(half)))))
            }
            State::Leaving => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            State::Over if self.bytes.is_empty() => Poll::Ready(None),
            State::Over => Poll::Ready(Some(Err(Broken))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
