//! A `tower::Service` behind an upstream, such as a router of axum. It runs on a thread with a tokio runtime of its own,
//! which all explorations of the program share.

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use tokio::runtime::{Builder, Handle};
use tower_service::Service;

use super::exchange::{UpstreamRequest, UpstreamResponse};
use super::remote::timed_out;
use crate::engine::panics;
use crate::engine::state::lock;

/// The body of a request to a [`tower::Service`](Service) behind an upstream.
#[derive(Debug, Default)]
pub struct UpstreamBody(Option<Bytes>);

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, Bytes::len) as u64)
    }
}

type BoxError = Box<dyn Error + Send + Sync>;

/// Hands a request to the service behind an upstream, which sends its answer.
type Serve = dyn Fn(Request<UpstreamBody>, SyncSender<Result<UpstreamResponse, BoxError>>) + Send + Sync;

pub(super) struct InProcess {
    serve: Arc<Serve>,
}

impl InProcess {
    pub(super) fn new<S, B>(service: S) -> Self
    where
        S: Service<Request<UpstreamBody>, Response = Response<B>> + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let service = Arc::new(Mutex::new(service));
        let serve = move |request: Request<UpstreamBody>, reply: SyncSender<_>| {
            let service = service.clone();
            runtime().spawn(async move {
                let answered = async {
                    poll_fn(|cx| lock(&service).poll_ready(cx)).await.map_err(Into::into)?;
                    let answering = lock(&service).call(request);
                    collected(answering.await.map_err(Into::into)?).await
                };
                let mut answered = pin!(answered);
                let caught = poll_fn(|cx| {
                    let polled = catch_unwind(AssertUnwindSafe(|| answered.as_mut().poll(cx)));
                    polled.unwrap_or_else(|panic| {
                        Poll::Ready(Err(format!("it panicked: {}", panics::text(&*panic)).into()))
                    })
                });
                // A caller that has given up gets nothing.
                let _ = reply.send(caught.await);
            });
        };
        Self { serve: Arc::new(serve) }
    }

    pub(super) fn exchange(
        &self,
        request: &UpstreamRequest,
        limit: Duration,
    ) -> io::Result<UpstreamResponse> {
        let (reply, replied) = sync_channel(1);
        (self.serve)(of_request(request)?, reply);
        match replied.recv_timeout(limit) {
            Ok(answered) => answered.map_err(io::Error::other),
            Err(RecvTimeoutError::Timeout) => Err(timed_out()),
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("it was dropped")),
        }
    }
}

fn of_request(request: &UpstreamRequest) -> io::Result<Request<UpstreamBody>> {
    let UpstreamRequest { method, path, query, headers, body } = request;
    let target = query.as_ref().map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
    let body = (!body.is_empty()).then(|| Bytes::from(body.clone()));
    let mut made = Request::new(UpstreamBody(body));
    *made.method_mut() = method.clone();
    *made.uri_mut() = Uri::try_from(target).map_err(io::Error::other)?;
    *made.headers_mut() = headers.clone();
    Ok(made)
}

async fn collected<B>(response: Response<B>) -> Result<UpstreamResponse, BoxError>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let (parts, body) = response.into_parts();
    let mut collected = UpstreamResponse::new(parts.status.as_u16());
    for (name, value) in &parts.headers {
        if ![http::header::CONTENT_LENGTH, http::header::TRANSFER_ENCODING].contains(name) {
            collected.headers.push((name.clone(), value.clone()));
        }
    }
    let mut body = pin!(body);
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        if let Ok(mut data) = frame.map_err(Into::into)?.into_data() {
            while data.has_remaining() {
                let chunk = data.chunk();
                let length = chunk.len();
                collected.body.extend_from_slice(chunk);
                data.advance(length);
            }
        }
    }
    Ok(collected)
}

/// The runtime of all services behind upstreams. Its thread lives as long as the program.
fn runtime() -> &'static Handle {
    static RUNTIME: OnceLock<Handle> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
        let handle = runtime.handle().clone();
        let run = move || {
            panics::keep_quiet();
            runtime.block_on(std::future::pending::<()>());
        };
        let thread = std::thread::Builder::new().name("retryproof-upstreams".to_owned()).spawn(run);
        thread.expect("a thread can be started");
        handle
    })
}
