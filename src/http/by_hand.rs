//! Connections over a socket that was written down beforehand (`tokio_test::io::Builder`): what comes in which pieces, and
//! byte by byte what goes out.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio_test::io::{Builder, Mock};
use tokio_test::{assert_pending, assert_ready, task};

use super::Door;
use super::exchange::{Exchange, Phase};
use super::sockets::converse;
use super::stream::{Socket, Stream};
use crate::engine::state::{Mode, Shared, State};
use crate::process::Link;
use crate::search::choice::{Chooser, Place, Plan};
use crate::system::service::payments::Charge;
use crate::system::timeline::Timeline;

impl Socket for Mock {
    fn reset_when_dropped(&self) {}
}

/// The test's own door, behind which whoever asks is answered at once.
fn door() -> (Arc<Door>, Arc<Exchange>, Arc<Shared>) {
    let state = State::new(Chooser::new(Plan::ordinary()), Mode::Plain, Timeline::default(), 0, 1_000);
    let shared = Shared::new(state);
    let exchange = Arc::new(Exchange::new(shared.woken.clone()));
    let door = Door {
        number: 0,
        link: Link::Test(shared.clone()),
        place: Place::caller(),
        address: SocketAddr::from(([127, 0, 0, 1], 1)),
        is_closed: AtomicBool::new(false),
        own: exchange.own.clone(),
    };
    (Arc::new(door), exchange, shared)
}

/// Plays what was written down to its end: how many effects it had. The socket itself holds to it: other bytes than
/// expected are a panic, and so are expected ones that never come.
fn converse_over(script: impl FnOnce(&mut Builder)) -> usize {
    let (door, exchange, shared) = door();
    let mut builder = Builder::new();
    script(&mut builder);
    let socket = builder.build();
    // It shares its errors with the socket, which wants them for itself.
    drop(builder);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(converse(socket, door, exchange));
    shared.state().ledger.effects().len()
}

const CHARGE: &str = "{\"customer_id\":\"cu_1\",\"payment_method_id\":\"pm_1\",\"amount_cents\":500,\"metadata\":{\"order_id\":\"6\"}}";

fn request() -> String {
    let length = CHARGE.len();
    format!(
        "POST /payments/charge HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{CHARGE}"
    )
}

/// As it is answered without HTTP: ids derive from what is asked for.
fn reply() -> String {
    let charge = Charge::of_order(6, 500).customer("cu_1").payment_method("pm_1");
    let charged = door().0.payments().charge_blocking(charge).unwrap();
    let body = serde_json::to_string(&charged).unwrap();
    let length = body.len();
    format!(
        "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

#[test]
fn a_request_is_answered_byte_by_byte_in_whatever_pieces_it_comes() {
    let (request, reply) = (request(), reply());
    assert_eq!(converse_over(|s| _ = s.read(request.as_bytes()).write(reply.as_bytes())), 1);
    for at in [1, 20, request.len() - 1] {
        let (first, second) = request.as_bytes().split_at(at);
        assert_eq!(converse_over(|s| _ = s.read(first).read(second).write(reply.as_bytes())), 1);
    }
}

#[test]
fn a_request_that_breaks_off_never_happened() {
    let request = request();
    let (half, _) = request.as_bytes().split_at(request.len() - 10);
    // It ends in the middle of its body; then it is reset there.
    assert_eq!(converse_over(|s| _ = s.read(half)), 0);
    let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
    assert_eq!(converse_over(|s| _ = s.read(half).read_error(reset())), 0);
    assert_eq!(converse_over(|s| _ = s.read_error(reset())), 0);
}

#[test]
fn a_caller_who_is_gone_when_the_reply_is_written_was_served_all_the_same() {
    let gone = io::Error::from(io::ErrorKind::BrokenPipe);
    assert_eq!(converse_over(|s| _ = s.read(request().as_bytes()).write_error(gone)), 1);
}

#[test]
fn what_is_no_http_is_refused() {
    let refusal = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(converse_over(|s| _ = s.read(b"HELO example.com\r\n\r\n").write(refusal.as_bytes())), 0);
}

#[test]
fn a_stream_says_what_it_is_about_piece_by_piece() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let (door, exchange, _) = door();
    let line = exchange.line();
    let (socket, mut other_end) = Builder::new().build_with_handle();
    let mut stream = Stream::new(socket, line.clone(), door, exchange.clone());
    let about = || exchange.is_about(&line);
    let mut piece = [0; 4];
    {
        let mut reading = task::spawn(stream.read(&mut piece));
        assert_pending!(reading.poll());
        assert_eq!(about(), Phase::Idle, "nothing has come yet");
        other_end.read(b"POST");
        assert!(reading.is_woken());
        assert_eq!(assert_ready!(reading.poll()).unwrap(), 4);
    }
    assert_eq!(about(), Phase::Reading);
    // The HTTP library has read it all, and somebody has answered.
    exchange.shift(&line, Phase::Answering);
    other_end.write(b"HTTP").write(b"/1.1");
    for half in [b"HTTP", b"/1.1"] {
        assert_ready!(task::spawn(stream.write_all(half)).poll()).unwrap();
        assert_eq!(about(), Phase::Answering, "more may come");
    }
    assert_ready!(task::spawn(stream.flush()).poll()).unwrap();
    assert_eq!(about(), Phase::Idle, "it is written");
    drop(stream);
    assert_eq!(about(), Phase::Gone);
}
