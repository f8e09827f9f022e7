//! The addresses of a run: where each process, and the test, reaches a protocol.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};

use super::protocol::Endpoint;

/// The number of connections that may wait to be accepted.
const BACKLOG: i32 = 1_024;

/// An address and the socket that listens there.
pub(super) struct Listener {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) socket: TcpListener,
}

/// A set of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    /// The addresses of one process.
    Host(usize),
    /// The addresses whose callers are served immediately.
    AtOnce,
}

impl Scope {
    pub(super) fn has(self, endpoint: &Endpoint) -> bool {
        match self {
            Scope::All => true,
            Scope::Host(host) => endpoint.host() == Some(host),
            Scope::AtOnce => endpoint.is_served_at_once(),
        }
    }
}

pub(super) fn bind() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}
