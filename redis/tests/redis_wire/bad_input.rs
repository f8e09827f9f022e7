//! Clients and servers that do what they should not, and surroundings that lack something.
//!
//! A part: the rest of these texts is the server's or the operating system's, or has a path.

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;

use redis::Client;
use retryproof::{Explore, World};
use retryproof_redis::WorldExt;

use crate::{Error, is_available, is_own_server};

/// Returns what a client reads that sends these bytes, and ends unless they end with `QUIT`.
fn answered(bytes: &[u8]) -> String {
    let world = World::fake();
    let redis = world.redis();
    let heard = Arc::new(Mutex::new(String::new()));
    let (bytes, of_boot) = (bytes.to_vec(), heard.clone());
    world.process("worker", move |p| {
        let url = redis.url(p);
        let address =
            url.split('/').nth(2).and_then(|place| place.split('@').next_back()).unwrap().to_owned();
        let (bytes, heard) = (bytes.clone(), of_boot.clone());
        p.handle_blocking(move |_: u32| -> Result<(), Error> {
            let mut socket = TcpStream::connect(&address)?;
            socket.write_all(&bytes)?;
            if !bytes.ends_with(b"QUIT\r\n") {
                socket.shutdown(std::net::Shutdown::Write)?;
            }
            let mut answer = Vec::new();
            let _ = socket.read_to_end(&mut answer);
            *heard.lock().unwrap() = String::from_utf8_lossy(&answer).into_owned();
            Ok(())
        });
    });
    world.enqueue(6_u32);
    world.drain_all().run().unwrap();
    let heard = heard.lock().unwrap();
    heard.clone()
}

#[test]
fn garbage_is_refused_and_nothing_hangs() {
    if !is_available() {
        return;
    }
    for (bytes, begin) in [
        (&b"\x16\x03\x01\x02\0\x01"[..], "-ERR this is TLS, and the proxy has none: use redis://"),
        (b"*1\r\n$-5\r\n", "-ERR Protocol error: invalid bulk length"),
        (b"\0\0\0\x08\x04\xd2\x16\x2f", "-ERR Protocol error"),
        (b"*2\r\n$3\r\nGET\r\n", ""),
        (b"MONITOR\r\n", "-ERR retryproof: `MONITOR` is not supported"),
        (b"\r\n\r\nPING\r\n", "+PONG"),
        (b"SET a 1\r\nGET a\r\nNONSENSE\r\nQUIT\r\n", "+OK\r\n$1\r\n1\r\n-ERR unknown command"),
    ] {
        let answer = answered(bytes);
        assert!(answer.starts_with(begin), "{answer:?} does not begin with {begin:?}");
    }
}

#[test]
fn a_script_without_end_is_ended_and_one_that_has_written_ends_its_server() {
    if !is_own_server() {
        return;
    }
    for (script, reason) in [
        ("while true do end", "Script killed by user"),
        ("redis.call('set', 'a', 1) while true do end", "broken"),
    ] {
        let world = World::fake();
        let redis = world.redis();
        let of_boot = redis.clone();
        world.process("worker", move |p| {
            let url = of_boot.url(p);
            p.handle_blocking(move |_: u32| -> Result<(), Error> {
                let mut connection = Client::open(url.clone())?.get_connection()?;
                let ended = redis::cmd("EVAL").arg(script).arg(0).exec(&mut connection).unwrap_err();
                let is_it = ended.to_string().contains(reason) || reason == "broken" && ended.is_io_error();
                assert!(is_it, "{ended}");
                Ok(())
            });
        });
        world.enqueue(6_u32);
        world.drain_all().run().unwrap();
    }
    // The next one has another server.
    assert_eq!(World::fake().redis().run(&["DBSIZE"]), 0);
}

/// Explores with a server in a process of its own, with other surroundings.
#[test]
#[ignore = "run by the tests below"]
fn helper() {
    if !is_available() {
        return;
    }
    // Not in the job: this starts a server.
    let is_own_server = is_own_server();
    let report = Explore::new().name("helper").deviations(1).run(async |world: &World| {
        let redis = world.redis();
        world.process("worker", move |p| {
            let url = redis.url(p);
            p.handle_blocking(move |n: u32| -> Result<(), Error> {
                let mut connection = Client::open(url.clone())?.get_connection()?;
                redis::cmd("BLPOP").arg("nothing").arg(5).exec(&mut connection)?;
                assert!(redis::cmd("SELECT").arg(15).exec(&mut connection).is_err() || is_own_server);
                Ok(redis::cmd("SET").arg("n").arg(n).exec(&mut connection)?)
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert!(report.is_retryproof(), "{report}");
}

fn with_surroundings(variables: &[(&str, &str)]) -> (bool, String) {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "--ignored", "--nocapture", "bad_input::helper"]);
    for variable in ["REDIS_URL", "RETRYPROOF_NO_SKIP", "CI", "RETRYPROOF_REDIS_BIN"] {
        command.env_remove(variable);
    }
    let Output { status, stdout, stderr } =
        command.envs(variables.iter().copied()).output().expect("the test can be run");
    (status.success(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

#[test]
fn without_a_server_a_test_is_skipped_and_in_ci_it_fails() {
    let nowhere = ("RETRYPROOF_REDIS_BIN", "/nowhere");
    let (passes, text) = with_surroundings(&[nowhere]);
    assert!(passes, "{text}");
    assert_eq!(text.matches("SKIPPED: no Redis here; install it").count(), 1, "{text}");
    for ci in ["CI", "RETRYPROOF_NO_SKIP"] {
        let (passes, text) = with_surroundings(&[nowhere, (ci, "1")]);
        assert!(!passes, "{text}");
        assert!(text.contains("SKIPPED: no Redis here; install it"), "{text}");
    }
}

#[test]
fn a_server_of_others_is_used_only_if_its_database_is_empty() {
    if !is_own_server() {
        return;
    }
    let world = World::fake();
    let redis = world.redis();
    let url = format!("{}?db=3", redis.direct_url().split('?').next().unwrap());
    let client = Client::open(url.as_str()).unwrap();
    redis::cmd("SET").arg("a").arg(1).exec(&mut client.get_connection().unwrap()).unwrap();
    let (passes, text) = with_surroundings(&[("REDIS_URL", &url)]);
    assert!(!passes && text.contains("its database 3 has 1 keys, which the tests would delete"), "{text}");
    redis::cmd("DEL").arg("a").exec(&mut client.get_connection().unwrap()).unwrap();
    redis::cmd("SET")
        .arg("other")
        .arg(1)
        .exec(&mut Client::open(redis.direct_url()).unwrap().get_connection().unwrap())
        .unwrap();
    let (passes, text) = with_surroundings(&[("REDIS_URL", &url)]);
    assert!(passes, "{text}");
    assert_eq!(text.matches("WARNING: keys in Redis expire on the real clock here").count(), 1, "{text}");
    // It has left nothing behind, and has not touched the other database.
    let size: u32 = redis::cmd("DBSIZE").query(&mut client.get_connection().unwrap()).unwrap();
    assert_eq!((size, redis.run(&["GET", "other"])), (0, "1".into()));
}

#[test]
fn a_server_that_does_not_see_the_clock_is_told_of() {
    if !is_own_server() {
        return;
    }
    // As one that is linked statically.
    let program = script("no-clock", "unset LD_PRELOAD; exec redis-server \"$@\"");
    let (passes, text) = with_surroundings(&[("RETRYPROOF_REDIS_BIN", &program)]);
    assert!(passes, "{text}");
    assert_eq!(text.matches("WARNING: keys in Redis expire on the real clock here").count(), 1, "{text}");
}

/// A program that runs this.
fn script(name: &str, commands: &str) -> String {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&program, format!("#!/bin/sh\n{commands}\n")).unwrap();
    let mut permissions = fs::metadata(&program).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    fs::set_permissions(&program, permissions).unwrap();
    program.to_str().unwrap().to_owned()
}

/// A server that says that it has this version.
fn pretending(version: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { return };
            let mut bytes = [0; 1_024];
            while let Ok(read @ 1..) = socket.read(&mut bytes) {
                let asked = String::from_utf8_lossy(&bytes[..read]).into_owned();
                let info = format!("# Server\r\nredis_version:{version}\r\n");
                let answer = match asked.contains("INFO") {
                    true => format!("${}\r\n{info}\r\n", info.len()),
                    false => ":1\r\n".to_owned(),
                };
                let _ = socket.write_all(answer.as_bytes());
            }
        }
    });
    url
}

#[test]
fn a_server_that_cannot_be_used_says_why() {
    let old = pretending("4.0.9");
    for (url, reason) in [
        (old.as_str(), "it is Redis 4.0.9, and 6.2 is the oldest one that can be used here"),
        ("redis://127.0.0.1:1", "the server of REDIS_URL cannot be used: Connection refused"),
        ("redis://127.0.0.1:door", "REDIS_URL is no URL of a server: `door` is no port"),
        ("rediss://127.0.0.1", "rediss: the connection to the server has no TLS here"),
        ("unix:///nowhere", "the server of REDIS_URL cannot be used: No such file or directory"),
    ] {
        let (passes, text) = with_surroundings(&[("REDIS_URL", url)]);
        assert!(!passes && text.contains(reason), "{url}: {text}");
    }
    let program = script("no-redis", "echo 'no memory left' >&2; exit 1");
    let (passes, text) = with_surroundings(&[("RETRYPROOF_REDIS_BIN", &program)]);
    assert!(!passes && text.contains("no-redis does not start: no memory left"), "{text}");
}
