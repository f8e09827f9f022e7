//! HTTP over a scripted socket, which defines the pieces that arrive and checks the reply byte by byte.

use std::io::ErrorKind;

use super::HttpProtocol;
use crate::process::Client;
use crate::process::Link;
use crate::system::service::payments::{Charge, Payments};
use crate::wire::by_hand::{ScriptedSocket, converse, endpoint_of};
use crate::wire::{Repetitions, Sample, conformance_repeating};

/// Plays a script to its end. Returns the number of effects, and the reply.
fn play(socket: ScriptedSocket) -> (usize, String) {
    let (endpoint, shared) = endpoint_of(HttpProtocol::default());
    converse(&endpoint, &socket);
    let effects = shared.state().ledger.effects().len();
    (effects, socket.received())
}

const CHARGE: &str = "{\"customer_id\":\"cu_1\",\"payment_method_id\":\"pm_1\",\"amount_cents\":500,\"metadata\":{\"order_id\":\"6\"}}";

fn request() -> String {
    let length = CHARGE.len();
    format!(
        "POST /payments/charge HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{CHARGE}"
    )
}

/// The reply without HTTP. Ids derive from the request.
fn reply() -> String {
    let charge = Charge::of_order(6, 500).customer("cu_1").payment_method("pm_1");
    let (_, shared) = endpoint_of(HttpProtocol::default());
    let payments = Client::<Payments>::built_in(Link::Test(shared));
    let body = serde_json::to_string(&payments.charge_blocking(charge).unwrap()).unwrap();
    let length = body.len();
    format!(
        "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

#[test]
fn a_request_is_answered_byte_by_byte_in_whatever_pieces_it_comes() {
    let request = request();
    assert_eq!(play(ScriptedSocket::default().sends(request.as_bytes())), (1, reply()));
    for at in [1, 20, request.len() - 1] {
        let (first, second) = request.as_bytes().split_at(at);
        let pieces = ScriptedSocket::default().sends(first).pauses().sends(second).pauses();
        assert_eq!(play(pieces.takes(7)), (1, reply()));
    }
}

#[test]
fn two_requests_that_come_together_are_answered_in_order() {
    let both = format!("GET /payments/status HTTP/1.1\r\n\r\n{}", request());
    let (effects, replied) = play(ScriptedSocket::default().sends(both.as_bytes()));
    assert_eq!(effects, 1);
    assert!(replied.starts_with("HTTP/1.1 200 OK\r\n") && replied.ends_with(&reply()), "{replied}");
}

#[test]
fn a_body_in_chunks_is_a_body() {
    let (first, second) = CHARGE.split_at(30);
    let chunks =
        format!("{:x}\r\n{first}\r\n{:X};note=1\r\n{second}\r\n0\r\nx: y\r\n\r\n", first.len(), second.len());
    let head = "POST /payments/charge HTTP/1.1\r\nhost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    for at in [1, 2, 34, chunks.len() - 1] {
        let (one, other) = chunks.split_at(at);
        let socket = ScriptedSocket::default().sends(head.as_bytes()).pauses().sends(one.as_bytes()).pauses();
        assert_eq!(play(socket.sends(other.as_bytes())), (1, reply()), "cut at {at}");
    }
}

#[test]
fn a_client_that_asks_is_told_to_go_on() {
    let request = request().replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n");
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let socket =
        ScriptedSocket::default().sends(format!("{head}\r\n\r\n").as_bytes()).pauses().sends(body.as_bytes());
    assert_eq!(play(socket), (1, format!("HTTP/1.1 100 Continue\r\n\r\n{}", reply())));
}

#[test]
fn a_request_that_breaks_off_never_happened() {
    let request = request();
    let (half, _) = request.as_bytes().split_at(request.len() - 10);
    assert_eq!(play(ScriptedSocket::default().sends(half)), (0, String::new()));
    assert_eq!(
        play(ScriptedSocket::default().sends(half).fails(ErrorKind::ConnectionReset)),
        (0, String::new())
    );
    assert_eq!(play(ScriptedSocket::default().fails(ErrorKind::ConnectionReset)), (0, String::new()));
}

#[test]
fn a_caller_who_is_gone_when_the_reply_is_written_was_served_all_the_same() {
    let socket = ScriptedSocket::default().sends(request().as_bytes()).does_not_take(ErrorKind::BrokenPipe);
    assert_eq!(play(socket), (1, String::new()));
}

#[test]
fn what_is_no_http_is_refused() {
    let refusal = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    for bytes in [
        "HELO example.com\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        assert_eq!(
            play(ScriptedSocket::default().sends(bytes.as_bytes())),
            (0, refusal.to_owned()),
            "{bytes:?}"
        );
    }
}

/// HTTP must conform like every other protocol.
fn holds_http(repetitions: Repetitions) {
    let sample = Sample {
        write: b"POST /payments/charge HTTP/1.1\r\nhost: x\r\ncontent-length: 102\r\n\r\n{\"customer_id\":\"cu_1\",\"payment_method_id\":\"pm_1\",\"amount_cents\":500,\"metadata\":{\"order_id\":\"6\"}}     \n",
        is_whole: |reply| {
            let text = String::from_utf8_lossy(reply);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            length.and_then(|length| length.parse().ok()) == Some(body.len())
        },
        is_error: |reply| !reply.starts_with(b"HTTP/1.1 2"),
    };
    conformance_repeating(repetitions, HttpProtocol::default, |_| {}, sample)
        .unwrap_or_else(|failures| panic!("{failures}"));
}

#[test]
fn http_conforms() {
    holds_http(Repetitions::FEW);
}

#[test]
#[ignore = "nightly: takes half a minute"]
fn http_conforms_with_all_repetitions() {
    holds_http(Repetitions::FULL);
}
