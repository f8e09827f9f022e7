//! Servers and clients that do not do what they should: the report names each of them, and nothing hangs.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use retryproof::http::post;
use retryproof::{Report, Verdict, World};
use serde_json::json;

use super::{assert_green, charges, one_deviation};

/// Starts a server that answers each connection with these bytes, and then closes it. `None` never answers.
fn server(answer: Option<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut piece = [0; 4096];
            let _ = stream.read(&mut piece);
            match &answer {
                Some(answer) => drop(stream.write_all(answer)),
                None => kept.push(stream),
            }
        }
    });
    url
}

fn explore_behind(url: &str) -> Report {
    one_deviation().deviations(0).run(async |world: &World| {
        let stripe = world.upstream("stripe");
        stripe.behind(url).time_limit(Duration::from_millis(50));
        charges(world, &stripe, false);
        world.settle().await;
    })
}

#[test]
fn a_server_that_does_not_answer_properly_is_named() {
    let chunk = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc".to_vec();
    for (answer, text) in [
        (None, "there was no whole answer within its time limit"),
        (Some(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()), "the answer is not HTTP/1.1: invalid HTTP version"),
        (Some(Vec::new()), "unexpected end of file"),
        (Some(b"HTTP/1.1 200 OK\r\ncontent-".to_vec()), "the connection ended within the headers"),
        (
            Some(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_vec()),
            "the connection ended after 3 bytes of the body",
        ),
        (Some(chunk), "the connection ended after 6 bytes of the body"),
        (
            Some(b"HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n".to_vec()),
            "the body is larger than 64 MiB",
        ),
    ] {
        let report = explore_behind(&server(answer));
        let expected =
            format!("the server behind the upstream `stripe` did not answer POST /v1/charges: {text}");
        assert_eq!(report.verdict(), Verdict::Violated, "{report}");
        assert!(report.to_string().contains(&expected), "{expected}\n{report}");
    }
    let report = explore_behind("http://127.0.0.1:1");
    // A part: the rest has the port and the operating system's number.
    assert!(report.to_string().contains("did not answer POST /v1/charges: Connection refused"), "{report}");
}

/// With and without a length, and in chunks.
#[test]
fn a_long_answer_arrives_whole() {
    let body = vec![b'a'; 10_000_000];
    let known =
        [format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes(), body.clone()]
            .concat();
    let until_the_end = [b"HTTP/1.0 200 OK\r\n\r\n".to_vec(), body.clone()].concat();
    let size = format!("{:x}\r\n", body.len()).into_bytes();
    let chunked = [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
        size,
        body,
        b"\r\n0\r\n\r\n".to_vec(),
    ]
    .concat();
    for answer in [known, until_the_end, chunked] {
        let url = server(Some(answer));
        let report = one_deviation().deviations(0).run(async |world: &World| {
            let files = world.upstream("files");
            files.behind(&url);
            world.process("worker", move |p| {
                let (url, client) = (files.url(p), reqwest::Client::new());
                p.handle(async move |_: u32| {
                    let file =
                        client.get(format!("{url}/file")).send().await?.error_for_status()?.bytes().await?;
                    assert_eq!(file.len(), 10_000_000);
                    Ok::<_, reqwest::Error>(())
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
        });
        assert_green(&report);
    }
}

#[test]
#[should_panic(expected = "`https://api.stripe.com` needs TLS, which is not spoken here")]
fn a_server_behind_tls_is_refused() {
    World::fake().upstream("stripe").behind("https://api.stripe.com");
}

#[test]
fn a_client_that_speaks_another_protocol_is_named() {
    for (bytes, text) in [
        (
            &b"\x16\x03\x01\x00\xc8\x01"[..],
            "a client speaks TLS to the upstream `stripe`; give it a base URL that begins with `http://`",
        ),
        (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "a client speaks HTTP/2 to the upstream `stripe`, which speaks HTTP/1.1",
        ),
    ] {
        let report = one_deviation().deviations(0).run(async |world: &World| {
            let stripe = world.upstream("stripe");
            stripe.stub(post("/v1/charges"), |_| json!({}));
            world.process("worker", move |p| {
                let url = stripe.url(p);
                p.handle_blocking(move |_: u32| -> std::io::Result<()> {
                    let mut stream = TcpStream::connect(&url["http://".len()..])?;
                    stream.write_all(bytes)?;
                    stream.read_to_end(&mut Vec::new()).map(drop)
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
        });
        assert!(report.to_string().contains(text), "{report}");
    }
}
