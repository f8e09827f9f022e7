//! The thread on which all sockets of a run live, with a runtime of its own whose clock is the real one.

use std::collections::BTreeMap;
use std::net::TcpListener as Bound;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{AbortHandle, JoinSet, yield_now};

use super::Door;
use super::answer::{Broken, respond};
use super::exchange::Exchange;
use super::stream::{Socket, Stream};
use crate::engine::panics;
use crate::engine::state::lock;

/// How long, in real time, a client may take to send what comes before a body, and the body.
pub(super) const SLOWEST: Duration = Duration::from_secs(5);
/// How much may come before a body.
const MOST_HEAD: usize = 64 << 10;

enum Command {
    Open(Bound, Arc<Door>),
    /// Says when it is done.
    Close(u64, mpsc::Sender<()>),
    /// Reads whatever has come, and says when that is done.
    Look(mpsc::Sender<()>),
}

struct Thread {
    commands: UnboundedSender<Command>,
    thread: JoinHandle<()>,
}

/// See the module. There is no thread until a door is opened.
#[derive(Default)]
pub(super) struct Sockets(Mutex<Option<Thread>>);

impl Sockets {
    /// Has connections accepted.
    ///
    /// # Errors
    /// When the machine has no thread left.
    pub(super) fn open(
        &self,
        exchange: &Arc<Exchange>,
        bound: Bound,
        door: Arc<Door>,
    ) -> std::io::Result<()> {
        let mut thread = lock(&self.0);
        let commands = match &*thread {
            Some(thread) => thread.commands.clone(),
            None => {
                let (commands, orders) = unbounded_channel();
                let exchange = exchange.clone();
                let name = "retryproof-http".to_owned();
                // Made here: what the machine cannot give is told to whoever asked for it.
                let runtime = Builder::new_current_thread().enable_all().build()?;
                let handle = std::thread::Builder::new().name(name).spawn(move || {
                    panics::keep_quiet();
                    runtime.block_on(obey(exchange, orders));
                })?;
                *thread = Some(Thread { commands: commands.clone(), thread: handle });
                commands
            }
        };
        let _ = commands.send(Command::Open(bound, door));
        Ok(())
    }

    fn ask(&self, command: impl FnOnce(mpsc::Sender<()>) -> Command) {
        let Some(commands) = lock(&self.0).as_ref().map(|thread| thread.commands.clone()) else { return };
        let (done, is_done) = mpsc::channel();
        if commands.send(command(done)).is_ok() {
            // A thread that is gone has nothing to tell.
            let _ = is_done.recv();
        }
    }

    pub(super) fn look(&self) {
        self.ask(Command::Look);
    }

    pub(super) fn close(&self, door: u64) {
        self.ask(|done| Command::Close(door, done));
    }

    /// Closes every socket and waits for the end of the thread.
    pub(super) fn end(&self) {
        let Some(Thread { commands, thread }) = lock(&self.0).take() else { return };
        drop(commands);
        if thread.thread().id() != std::thread::current().id() {
            let _ = thread.join();
        }
    }
}

async fn obey(exchange: Arc<Exchange>, mut orders: UnboundedReceiver<Command>) {
    let mut open: BTreeMap<u64, AbortHandle> = BTreeMap::new();
    let mut accepting = JoinSet::new();
    while let Some(order) = orders.recv().await {
        match order {
            Command::Open(bound, door) => {
                let number = door.number;
                open.insert(number, accepting.spawn(accept(exchange.clone(), bound, door)));
            }
            Command::Close(number, done) => {
                open.remove(&number).inspect(AbortHandle::abort);
                // What is aborted is dropped when its turn comes.
                while open.len() < accepting.len() && accepting.join_next().await.is_some() {}
                yield_now().await;
                let _ = done.send(());
            }
            Command::Look(done) => {
                loop {
                    let before = exchange.moves();
                    // In between whatever has come to a socket is noticed, and then read.
                    for _ in 0..3 {
                        yield_now().await;
                    }
                    if exchange.moves() == before {
                        break;
                    }
                }
                let _ = done.send(());
            }
        }
    }
}

/// Serves whoever is at the other end of a connection, until it ends.
pub(super) fn converse<S: Socket>(
    socket: S,
    door: Arc<Door>,
    exchange: Arc<Exchange>,
) -> impl Future<Output = ()> {
    // It is there as soon as it is accepted, whenever its turn comes.
    let line = exchange.line();
    let stream = Stream::new(socket, line.clone(), door.clone(), exchange.clone());
    async move {
        let broken = stream.broken.clone();
        let service = service_fn(move |request| {
            respond(exchange.clone(), door.clone(), line.clone(), broken.clone(), request)
        });
        // What goes wrong here is what was meant to go wrong, or the client's own doing.
        let _: Result<(), hyper::Error> = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(SLOWEST)
            .max_buf_size(MOST_HEAD)
            // A run knows no date.
            .auto_date_header(false)
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }
}

async fn accept(exchange: Arc<Exchange>, bound: Bound, door: Arc<Door>) {
    let Ok(listener) = TcpListener::from_std(bound) else { return };
    let mut lines = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                let _ = socket.set_nodelay(true);
                lines.spawn(converse(socket, door.clone(), exchange.clone()));
            }
            // Too many open files, say: some will be closed.
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
        while lines.try_join_next().is_some() {}
    }
}

/// The error of a service that answers nothing.
impl std::error::Error for Broken {}
