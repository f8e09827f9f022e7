//! Any input gets an answer or a closed connection, and never a panic or a hang. The ledger stays as it was.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use proptest::prelude::*;
use retryproof::World;

/// Long enough for an answer, and short enough to detect a hang.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends bytes, which may be all that follows, and reads until the server closes the connection. Returns `None` if the
/// server neither answers nor closes.
fn exchange(address: SocketAddr, bytes: &[u8], is_all: bool) -> Option<Vec<u8>> {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    // The server may close the connection before everything is sent.
    let _ = socket.write_all(bytes);
    if is_all {
        let _ = socket.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    match socket.read_to_end(&mut answer) {
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
        {
            None
        }
        _ => Some(answer),
    }
}

fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.strip_prefix(b"HTTP/1.")?;
    std::str::from_utf8(line.get(2..5)?).ok()?.parse().ok()
}

fn request(line: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut bytes = format!(
        "{line} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n"
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Asserts that the server still serves, and that nothing has happened.
#[track_caller]
fn assert_unharmed(world: &World) {
    assert_eq!(world.effects().count(), 0);
    let answer =
        exchange(world.http().address(), &request("GET /payments/ui", "", b""), false).expect("it answers");
    assert!(String::from_utf8_lossy(&answer).contains("NONE YET"));
}

#[test]
fn what_is_no_sound_request_is_refused() {
    let world = World::fake();
    let address = world.http().address();
    let charge = "POST /payments/charge";
    let valid = crate::charge(6, None).to_string();
    for (bytes, expected) in [
        (request(charge, "", b"{"), &[422][..]),
        (request(charge, "", b"\xff\xfe"), &[422]),
        (request(charge, "", b"[]"), &[422]),
        (request(charge, "", b"null"), &[422]),
        (request(charge, "", b"{}"), &[422]),
        (request(charge, "", valid.replace("500", "\"500\"").as_bytes()), &[422]),
        (request(charge, "", valid.replace("500", "-1").as_bytes()), &[422]),
        (request(charge, "", valid.replace("500", "1e400").as_bytes()), &[422]),
        (request(charge, "", valid.replace("\"metadata\"", "\"meta\"").as_bytes()), &[422]),
        (request(charge, "", "[".repeat(100_000).as_bytes()), &[422]),
        (request(charge, "", &vec![b' '; 10 << 20]), &[413]),
        (request("POST /payments/../email/send", "", b"{}"), &[404]),
        (request("GET /../../etc/passwd", "", b""), &[404]),
        (request("GET /%2e%2e/%2e%2e/etc/passwd", "", b""), &[404, 405]),
        (request("GET /payments/ui/../../..", "", b""), &[404]),
        (request("BREW /payments/charge", "", b""), &[405]),
        (request("OPTIONS *", "", b""), &[404]),
        (request("CONNECT example.com:443", "", b""), &[501]),
        (request("GET http://example.com/nowhere", "", b""), &[404]),
        (request("GET /payments/charges?order_id=%ff%fe", "", b""), &[200]),
        (request("GET /payments/charges?%00=%00&order_id", "", b""), &[200, 422]),
        (request("GET /payments/charges", "Accept: \u{1}\r\n", b""), &[400]),
        (request("GET /payments/charges?order_id=1", "X-Be-Slow: -1\r\n", b""), &[422]),
        (request("GET /payments/charges?order_id=1", "X-Be-Slow: 1e99\r\n", b""), &[422]),
        (request("GET /payments/charges?order_id=1", "X-Be-Slow: NaN\r\n", b""), &[422]),
        (request("GET /", &"X-Bomb: 1\r\n".repeat(200), b""), &[431]),
        (request("GET /", &format!("X-Bomb: {}\r\n", "x".repeat(1 << 20)), b""), &[431]),
        (request(&format!("GET /{}", "x".repeat(1 << 20)), "", b""), &[414, 431]),
    ] {
        let answer = exchange(address, &bytes, false).expect("it answers or closes");
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]).into_owned();
        // The server closes the connection while the client is still sending, so the answer may be lost.
        let is_cut = answer.is_empty() && bytes.len() > 100_000;
        assert!(
            is_cut || status(&answer).is_some_and(|status| expected.contains(&status)),
            "{text}: {:?}",
            status(&answer)
        );
    }
    assert_unharmed(&world);
}

#[test]
fn what_is_no_http_is_closed() {
    let world = World::fake();
    let address = world.http().address();
    for bytes in [
        &b""[..],
        b"\r\n\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /payments/charge HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nnull\n",
        b"POST /payments/charge HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /payments/charge HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /payments/charge HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /payments/charge HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n",
        // Half a head, half a body.
        b"GET /payments/ui HTT",
        b"POST /payments/charge HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{\"customer_id\"",
    ] {
        let answer = exchange(address, bytes, true).expect("it answers or closes");
        let refused = answer.is_empty() || status(&answer).is_some_and(|status| (400..506).contains(&status));
        assert!(refused, "{:?}: {:?}", String::from_utf8_lossy(bytes), String::from_utf8_lossy(&answer));
    }
    assert_unharmed(&world);
}

#[test]
fn who_sends_half_a_request_is_cut_off_after_a_while() {
    let world = World::fake();
    let address = world.http().address();
    let sent: Vec<_> =
        [&b"GET / HT"[..], b"POST /email/send HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"]
            .iter()
            .map(|bytes| {
                let mut socket = TcpStream::connect(address).unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                socket.write_all(bytes).unwrap();
                socket
            })
            .collect();
    for mut socket in sent {
        let mut answer = Vec::new();
        let closed = socket.read_to_end(&mut answer);
        assert!(closed.is_ok() || closed.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset));
    }
    assert_unharmed(&world);
}

#[test]
fn five_hundred_connections_at_once_are_all_served() {
    let world = World::fake();
    let address = world.http().address();
    let mut sockets: Vec<_> = (0..500).map(|_| TcpStream::connect(address).unwrap()).collect();
    for socket in &mut sockets {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(&request("GET /payments/status", "", b"")).unwrap();
    }
    for mut socket in sockets {
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        assert_eq!(status(&answer), Some(200));
    }
    assert_unharmed(&world);
}

/// The same during a run: nothing hangs, and nothing happens.
#[test]
fn a_job_that_sends_rubbish_harms_nobody_but_itself() {
    let report = crate::one_deviation().run(async |world: &World| {
        world.process("worker", |p| {
            let http = p.http();
            p.handle_blocking(move |bytes: Vec<u8>| {
                let answer = exchange(http.address(), &bytes, false).ok_or("it hangs")?;
                // Half a request that is never completed stays open until the end of the run.
                std::mem::forget(TcpStream::connect(http.address()).map_err(|_| "no door")?);
                match status(&answer) {
                    Some(400..500) => Ok(()),
                    other => Err(if other.is_some() { "an odd answer" } else { "none" }),
                }
            });
        });
        for bytes in [&b"nonsense\r\n\r\n"[..], &request("POST /payments/charge", "", b"{")] {
            world.enqueue(bytes.to_vec());
        }
        world.settle().await;
        assert_eq!(world.effects().count(), 0);
    });
    assert!(report.violations().is_empty(), "{report}");
}

/// Generates a request, or almost one.
fn nearly_a_request() -> impl Strategy<Value = Vec<u8>> {
    let method = prop_oneof![
        Just("GET".to_owned()),
        Just("POST".to_owned()),
        Just("PUT".to_owned()),
        Just("DELETE".to_owned()),
        "[A-Z]{0,9}"
    ];
    let path = prop_oneof![
        Just("/payments/charge".to_owned()),
        Just("/payments/charges?order_id=1".to_owned()),
        Just("/fulfillment/request".to_owned()),
        Just("/email/send".to_owned()),
        Just("/error-tracker/notification".to_owned()),
        "/[a-z/.%?=&]{0,30}",
        "\\PC{0,20}",
    ];
    let header = prop_oneof![
        Just("Accept: */*".to_owned()),
        "(X-Crash|X-Throttle|X-Be-Slow|Accept|Transfer-Encoding|Content-Length|Expect|Connection): [ -~]{0,12}",
        "\\PC{0,30}",
    ];
    // Never complete: each of these lacks something that an effect needs.
    let body = prop_oneof![
        Just(String::new()),
        Just("{\"customer_id\": 1}".to_owned()),
        Just("{\"to\": \"\", \"template_id\": \"\"}".to_owned()),
        "[\\[\\]{}\",:a-z0-9]{0,60}",
        "\\PC{0,60}",
    ];
    let cut = any::<prop::sample::Index>();
    let noise = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (method, path, prop::collection::vec(header, 0..4), body, cut, any::<bool>(), noise).prop_map(
        |(method, path, headers, body, cut, is_cut, noise)| {
            let length = body.len();
            let mut text = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n");
            headers.iter().for_each(|header| text.push_str(&format!("{header}\r\n")));
            let mut bytes = format!("{text}\r\n{body}").into_bytes();
            for (at, byte) in noise {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if is_cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            bytes
        },
    )
}

#[test]
fn whatever_comes_is_answered_or_closed_and_nothing_happens() {
    let world = World::fake();
    let address = world.http().address();
    let config = ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(bytes in nearly_a_request())| {
        let answer = exchange(address, &bytes, true).expect("it answers or closes");
        prop_assert!(answer.is_empty() || status(&answer).is_some_and(|status| (100..600).contains(&status)));
        prop_assert!(status(&answer) != Some(500), "{}", String::from_utf8_lossy(&answer));
        prop_assert_eq!(world.effects().count(), 0);
    });
    assert_unharmed(&world);
}
