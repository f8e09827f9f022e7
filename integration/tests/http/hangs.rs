//! No matter what a peer does, there is a verdict in time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use retryproof::{Explore, Process, Report, Verdict, World};

fn explore() -> Explore {
    Explore::new().name("test").deviations(1).watchdog(Duration::from_millis(500))
}

fn one_job(explore: &Explore, boot: impl Fn(&Process) + Clone + Sync + 'static) -> Report {
    explore.run(async |world: &World| {
        world.process("worker", boot.clone());
        world.enqueue(6_u32);
        world.settle().await;
    })
}

fn charge() -> String {
    let body = crate::charge(6, Some("order-6")).to_string();
    format!(
        "POST /payments/charge HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Sends the bytes of a request, with a pause between them.
fn drip(address: SocketAddr, request: &str, pause: Duration) -> std::io::Result<String> {
    let mut socket = TcpStream::connect(address)?;
    for byte in request.bytes() {
        socket.write_all(&[byte])?;
        std::thread::park_timeout(pause);
    }
    let mut reply = String::new();
    socket.read_to_string(&mut reply)?;
    Ok(reply)
}

fn accepted(reply: std::io::Result<String>) -> Result<(), String> {
    match reply {
        Ok(reply) if reply.starts_with("HTTP/1.1 201") => Ok(()),
        other => Err(format!("{:?}", other.map_err(|error| error.kind()))),
    }
}

#[test]
fn a_client_that_waits_for_a_reply_to_nothing() {
    let report = one_job(&explore(), |p| {
        let http = p.http();
        p.handle_blocking(move |_: u32| {
            let mut socket = TcpStream::connect(http.address()).unwrap();
            socket.read(&mut [0]).map(drop)
        });
    });
    assert_eq!(report.verdict(), Verdict::Stuck, "{report}");
    assert!(report.reason().unwrap().starts_with("job#1.1 u32 hangs: it made no step for 500ms"), "{report}");
}

/// `max_time` stops an exploration of slow runs, even in the middle of one.
#[test]
fn a_peer_that_sends_a_byte_now_and_then_is_stopped_in_time() {
    let explore = Explore::new().name("test").deviations(2).max_time(Duration::from_secs(1));
    let blocking = one_job(&explore, |p| {
        let http = p.http();
        p.handle_blocking(move |_: u32| accepted(drip(http.address(), &charge(), Duration::from_millis(3))));
    });
    let in_a_task = one_job(&explore, |p| {
        let http = p.http();
        p.handle(async move |_: u32| {
            let address = http.address();
            let task = move || accepted(drip(address, &charge(), Duration::from_millis(3)));
            tokio::task::spawn_blocking(task).await.unwrap()
        });
    });
    for report in [blocking, in_a_task] {
        assert_eq!(report.verdict(), Verdict::Incomplete, "{report}");
        assert!(report.reason().unwrap().starts_with("stopped by max_time = 1s"), "{report}");
    }
}

#[test]
fn an_idle_connection_stays_open() {
    let world = World::fake();
    let mut socket = TcpStream::connect(world.http().address()).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(5_300))).unwrap();
    // Nothing arrives, and nothing ends.
    assert!(socket.read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    let request = "GET /payments/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    socket.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    socket.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
}

/// Sends a request, and reads the whole reply.
fn send(address: SocketAddr, keyed: bool) -> Result<(), String> {
    let body = crate::charge(6, keyed.then_some("order-6")).to_string();
    let head = "POST /payments/charge HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: ";
    let exchange = || {
        let mut socket = TcpStream::connect(address)?;
        socket.write_all(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes())?;
        let mut reply = String::new();
        socket.read_to_string(&mut reply).map(|_| reply)
    };
    accepted(exchange())
}

/// The waits of a client before its request: a pause, the connection of another thread (as in a pool), a lock.
const WAITS: [fn(); 3] = [
    || std::thread::park_timeout(Duration::from_millis(20)),
    || {
        let (sender, receiver) = std::sync::mpsc::channel();
        // A thread with a name of its own is not known.
        let thread = std::thread::Builder::new().name("pool".to_owned()).spawn(move || {
            std::thread::park_timeout(Duration::from_millis(20));
            sender.send(()).unwrap();
        });
        receiver.recv().unwrap();
        thread.unwrap().join().unwrap();
    },
    || {
        static LOCK: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("holder".to_owned()).spawn(move || {
            let _held = LOCK.lock().unwrap();
            sender.send(()).unwrap();
            std::thread::park_timeout(Duration::from_millis(20));
        });
        receiver.recv().unwrap();
        drop(LOCK.lock().unwrap());
        thread.unwrap().join().unwrap();
    },
];

#[test]
fn a_request_after_a_wait_that_nobody_knows_is_a_call_of_its_attempt() {
    for wait in WAITS {
        let explored = |keyed: bool, waits: bool| {
            one_job(&explore().watchdog(Duration::from_secs(10)), move |p| {
                let http = p.http();
                p.handle_blocking(move |_: u32| {
                    if waits {
                        wait();
                    }
                    send(http.address(), keyed)
                });
            })
        };
        let [direct, keyed] = [false, true].map(|waits| explored(true, waits));
        assert_eq!(keyed.verdict(), Verdict::RetryProof, "{keyed}");
        assert_eq!(keyed.to_string(), direct.to_string());
        let [direct, keyless] = [false, true].map(|waits| explored(false, waits));
        assert_eq!(
            keyless.violations()[0].summary,
            "payments.charge happened twice, expected once",
            "{keyless}"
        );
        assert_eq!(crate::support::scenarios(&keyless), crate::support::scenarios(&direct));
    }
}
