//! A connection as the HTTP library sees it: one that writes down what it is about, and that can end as no library
//! would end it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::Door;
use super::exchange::{Exchange, Line, Phase};

/// What is to become of a connection.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// It is reset when it is dropped.
    pub(super) resets: AtomicBool,
    /// It is dropped as soon as it can be: what is written is no whole answer.
    pub(super) ends: AtomicBool,
}

/// What a connection lies on: a socket, or what stands for one in a test.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// The other end is to see a reset when this is dropped, and not an end.
    fn reset_when_dropped(&self);
}

impl Socket for TcpStream {
    fn reset_when_dropped(&self) {
        // Without a time to linger a socket is reset when it is closed, and leaves nothing behind.
        let _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

pub(super) struct Stream<S: Socket> {
    socket: S,
    /// After the socket, so that it is dropped after it.
    about: About,
    door: Arc<Door>,
    pub(super) broken: Arc<Ending>,
    /// Bytes of an answer have been written.
    has_written: bool,
}

/// What the connection is about, as all may know.
struct About {
    line: Arc<Line>,
    exchange: Arc<Exchange>,
}

impl About {
    fn is(&self, phase: Phase) -> bool {
        self.exchange.is_about(&self.line) == phase
    }
}

impl Drop for About {
    fn drop(&mut self) {
        self.exchange.shift(&self.line, Phase::Gone);
    }
}

impl<S: Socket> Stream<S> {
    pub(super) fn new(socket: S, line: Arc<Line>, door: Arc<Door>, exchange: Arc<Exchange>) -> Self {
        let about = About { line, exchange };
        Self { socket, about, door, broken: Arc::default(), has_written: false }
    }
}

impl<S: Socket> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buf);
        if buf.filled().len() > before {
            let About { line, exchange } = &self.about;
            let about = match exchange.is_about(line) {
                Phase::Idle => Phase::Reading,
                same => same,
            };
            exchange.shift(line, about);
        }
        read
    }
}

impl<S: Socket> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.has_written |= written.is_ready() && self.about.is(Phase::Answering);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.has_written |= written.is_ready() && self.about.is(Phase::Answering);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    /// Called when all is written that there was to be.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_whole = self.has_written && !self.broken.ends.load(Ordering::SeqCst);
        if is_whole {
            self.has_written = false;
            self.about.exchange.shift(&self.about.line, Phase::Idle);
        }
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl<S: Socket> Drop for Stream<S> {
    fn drop(&mut self) {
        if self.broken.resets.load(Ordering::SeqCst) || self.door.is_closed() {
            self.socket.reset_when_dropped();
        }
    }
}
