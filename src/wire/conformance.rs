//! A test suite for the requirements of every protocol.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::Protocol;
use super::exchange::exchange_of;
use crate::engine::external_calls::real_time;
use crate::engine::state::lock;
use crate::judge::check::Explore;
use crate::judge::report::Verdict;
use crate::search::choice::{Actor, Site};
use crate::world::World;

/// The name under which the protocol is added.
const WIRE: &str = "wire";
/// The maximum time for a message in the suite's own worlds, in real time.
const SLOWEST: Duration = Duration::from_millis(500);
/// The real time after which a peer counts as hanging, much longer than a slow peer is allowed.
const PATIENCE: Duration = Duration::from_secs(6);
/// Files and threads that other tests of the same program may open in the meantime. A leak in each run or in each
/// exploration is larger.
const SLACK: usize = 16;

/// One request of a protocol, as its client sends it.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// The bytes of a request that has one effect each time it is handled, so without an idempotency key.
    pub write: &'static [u8],
    /// Reports whether these bytes, received after the greeting, are a complete reply.
    pub is_whole: fn(&[u8]) -> bool,
    /// Reports whether a complete reply is an error, so that the job is retried.
    pub is_error: fn(&[u8]) -> bool,
}

/// The repetitions of the checks that need many runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repetitions {
    /// The number of explorations that must have the same report.
    pub explorations: u32,
    /// The number of runs after which nothing may be left behind.
    pub runs: u64,
}

impl Repetitions {
    /// 100 explorations and 1,000 runs, as in [`conformance`]. For nightly tests and before a release.
    pub const FULL: Self = Self { explorations: 100, runs: 1_000 };
    /// 5 explorations and 100 runs, for each `cargo test`.
    pub const FEW: Self = Self { explorations: 5, runs: 100 };
}

/// A violated requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Nonconformance {
    /// Without a fault, the sample has no reply or not exactly one effect.
    Unanswered {
        /// The number of effects.
        effects: usize,
    },
    /// A crash point or a fault that every call has was never reached: the protocol answers without
    /// [`Caller::call`](super::Caller::call).
    NotMet {
        /// `happened=crash`
        point: String,
    },
    /// After this deviation and a second request, the total number of effects was wrong.
    Effects {
        /// `call=reply-lost`
        point: String,
        /// 1 if the first request must not have happened, 2 if it must have.
        expected: usize,
        /// The actual number.
        actual: usize,
    },
    /// A connection of a dead process was still open when its next incarnation began, or did not end for its client.
    LeftOpen {
        /// The number of connections.
        connections: usize,
    },
    /// Two explorations of the same test had different reports.
    Nondeterministic {
        /// The first line that differs, from both reports.
        lines: [String; 2],
    },
    /// Files or threads were left behind.
    Leaks {
        /// The number of runs.
        runs: u64,
        /// The number of additional open files.
        files: usize,
        /// The number of additional threads.
        threads: usize,
    },
    /// A peer that sent these bytes was neither answered nor disconnected.
    Hangs {
        /// The bytes, and how they were sent.
        sent: String,
    },
    /// An incomplete request had an effect.
    Acts {
        /// The bytes.
        sent: String,
    },
}

impl fmt::Display for Nonconformance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unanswered { effects } => write!(
                f,
                "without a fault the sample must be answered and have one effect; it had {effects}: see `Sample::write` and `Sample::is_whole`"
            ),
            Self::NotMet { point } => write!(
                f,
                "`{point}` was never met: serve each request with `Caller::call`, so that it has crash points and faults"
            ),
            Self::Effects { point, expected, actual } => write!(
                f,
                "after `{point}` and a second attempt there must be {expected} effects, and there were {actual}: keep all state in the service, which alone knows what has happened"
            ),
            Self::LeftOpen { connections } => {
                write!(f, "{connections} connections of a dead process were left open")
            }
            Self::Nondeterministic { lines: [one, other] } => write!(
                f,
                "two explorations of one test had different reports: `{one}` and `{other}`: keep no state outside of the session and the service"
            ),
            Self::Leaks { runs, files, threads } => {
                write!(f, "after {runs} runs there are {files} more open files and {threads} more threads")
            }
            Self::Hangs { sent } => write!(f, "a peer was neither answered nor cut off that sent {sent}"),
            Self::Acts { sent } => write!(f, "something happened though this is no whole request: {sent}"),
        }
    }
}

impl std::error::Error for Nonconformance {}

/// Tests a protocol: each crash point is reached; a call whose reply was lost has happened; a rejected call has not;
/// the connections of a dead process are closed before its next incarnation begins; the same test has the same report
/// 100 times; nothing is left behind after 1,000 runs; garbage has no effect and does not hang. Takes about ten
/// seconds in a debug build. [`conformance_repeating`] with [`Repetitions::FEW`] takes one or two.
///
/// `protocol` makes a protocol for each run. `services` registers the services that it calls.
///
/// Open files and threads are counted for the whole program (on Linux), so run this in a test binary of its own, or
/// with a test runner that uses a process for each test.
///
/// # Errors
/// The violated requirements. Some checks are skipped if earlier ones fail.
///
/// ```no_run
/// # use retryproof::wire::{Caller, DecodeOutcome, Protocol, Sample, ServeOutcome, conformance};
/// # #[derive(Clone)] struct KeyValue;
/// # impl Protocol for KeyValue {
/// #     type Session = (); type Request = ();
/// #     fn decode(&self, _: &mut Vec<u8>, _: &mut ()) -> DecodeOutcome<()> { DecodeOutcome::Partial }
/// #     fn serve(&self, _: (), _: &mut (), _: &Caller<'_>) -> ServeOutcome { unimplemented!() }
/// # }
/// # fn counters(_: &retryproof::World) {}
/// let sample = Sample {
///     write: b"INCR visits\n",
///     is_whole: |reply| reply.ends_with(b"\n"),
///     is_error: |reply| reply.starts_with(b"ERR"),
/// };
/// conformance(|| KeyValue, counters, sample).unwrap();
/// ```
pub fn conformance<P: Protocol>(
    protocol: impl Fn() -> P + Sync,
    services: impl Fn(&World) + Sync,
    sample: Sample,
) -> Result<(), Failures> {
    conformance_repeating(Repetitions::FULL, protocol, services, sample)
}

/// Like [`conformance`], with fewer or more repetitions.
///
/// # Errors
/// The violated requirements. Some checks are skipped if earlier ones fail.
pub fn conformance_repeating<P: Protocol>(
    repetitions: Repetitions,
    protocol: impl Fn() -> P + Sync,
    services: impl Fn(&World) + Sync,
    sample: Sample,
) -> Result<(), Failures> {
    let suite = Suite { protocol: &protocol, services: &services, sample, repetitions };
    let site = suite.site().map_err(|failure| Failures(vec![failure]))?;
    let mut failures = Vec::new();
    // If an early check fails, the later ones have no meaning.
    suite.points(&site, &mut failures);
    failures.extend(suite.closes(&site));
    if failures.is_empty() {
        suite.bears_garbage(&mut failures);
    }
    if failures.is_empty() {
        failures.extend(suite.repeats());
    }
    if failures.is_empty() {
        failures.extend(suite.leaves_nothing());
    }
    if failures.is_empty() { Ok(()) } else { Err(Failures(failures)) }
}

/// All violated requirements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failures(Vec<Nonconformance>);

impl Failures {
    /// Iterates over the violated requirements.
    pub fn iter(&self) -> impl Iterator<Item = &Nonconformance> {
        self.0.iter()
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|failure| writeln!(f, "{failure}"))
    }
}

impl std::error::Error for Failures {}

struct Suite<'a, M, V> {
    protocol: &'a M,
    services: &'a V,
    sample: Sample,
    repetitions: Repetitions,
}

/// The results of a run.
#[derive(Debug, Default)]
struct Seen {
    /// The largest number of effects in a run.
    effects: usize,
    site: Option<String>,
    /// Whether the run reached the deviation that the scenario names.
    is_met: bool,
    /// The largest number of open connections when an incarnation began.
    open: usize,
    /// The client ends of all connections.
    clients: Vec<TcpStream>,
}

impl<P: Protocol, M: Fn() -> P + Sync, V: Fn(&World) + Sync> Suite<'_, M, V> {
    /// The call that the sample makes, as a scenario names it.
    fn site(&self) -> Result<String, Nonconformance> {
        let seen = self.play(None, 1);
        match seen.site.filter(|_| seen.effects == 1) {
            Some(site) => Ok(site),
            // A protocol that answers without a service may have effects, but no calls.
            None if seen.effects == 1 => Err(Nonconformance::NotMet { point: "before=crash".to_owned() }),
            None => Err(Nonconformance::Unanswered { effects: seen.effects }),
        }
    }

    fn explore(&self, explore: &Explore, jobs: u32, seen: &Mutex<Seen>) -> crate::judge::report::Report {
        explore.run(async |world: &World| {
            (self.services)(world);
            world.wire(WIRE, (self.protocol)());
            let (sample, greeting) = (self.sample, (self.protocol)().greeting().len());
            let shared = world.link().shared().clone();
            let clients = Arc::new(Mutex::new(Vec::new()));
            let (kept, opens) = (clients.clone(), Arc::new(Mutex::new(0)));
            let open = opens.clone();
            world.process("worker", move |p| {
                let mut open = lock(&open);
                *open = exchange_of(&shared).connections_of("worker").max(*open);
                let (address, kept) = (p.wire(WIRE).address(), kept.clone());
                p.handle_blocking(move |_: u32| ask(address, greeting, sample, &kept));
            });
            for job in 1..=jobs {
                world.enqueue(job);
            }
            world.settle().await;
            let link = world.link();
            let state = link.shared().state();
            let called = state.timeline.last_call(Actor::Attempt { job: 1, attempt: 1 });
            let site = called.and_then(|(_, site)| match site {
                Site::Call { service, operation } => Some(format!("{service}.{operation}")),
                _ => None,
            });
            drop(state);
            let effects = world.effects().count();
            // The scenario's run is one of several. The others have no faults.
            let mut seen = lock(seen);
            (seen.effects, seen.open) = (seen.effects.max(effects), seen.open.max(*lock(&opens)));
            seen.clients.append(&mut lock(&clients));
            seen.site = seen.site.take().or(site);
        })
    }

    /// Plays one scenario, or the fault-free run.
    fn play(&self, deviation: Option<&str>, jobs: u32) -> Seen {
        let seen = Mutex::default();
        let explore = Explore::new().name("conformance");
        let explore = match deviation {
            Some(deviation) => explore.replay(format!("conformance {deviation}")),
            None => explore.deviations(0),
        };
        let report = self.explore(&explore, jobs, &seen);
        let mut seen = seen.into_inner().unwrap_or_default();
        seen.is_met = report.verdict() != Verdict::Nondeterministic;
        seen
    }

    fn points(&self, site: &str, failures: &mut Vec<Nonconformance>) {
        const HAPPENED: usize = 2;
        const NOT_HAPPENED: usize = 1;
        // Whether every call has the point. Other points depend on the operation.
        let points = [
            ("before=crash", NOT_HAPPENED, true),
            ("happened=crash", HAPPENED, true),
            ("replied=crash", HAPPENED, true),
            ("call=unavailable", NOT_HAPPENED, true),
            ("call=throttled", NOT_HAPPENED, false),
            ("call=timed-out", NOT_HAPPENED, false),
            ("call=reset", NOT_HAPPENED, false),
            ("call=reply-lost", HAPPENED, true),
            ("call=timed-out-but-done", HAPPENED, false),
            ("call=reset-but-done", HAPPENED, false),
            ("call=closed-but-done", HAPPENED, false),
            ("call=half-a-reply", HAPPENED, false),
        ];
        for (point, expected, is_certain) in points {
            let seen = self.play(Some(&format!("job#1.1/{site}:{point}")), 1);
            let (point, actual) = (point.to_owned(), seen.effects);
            match seen.is_met {
                false if is_certain => failures.push(Nonconformance::NotMet { point }),
                true if actual != expected => {
                    failures.push(Nonconformance::Effects { point, expected, actual });
                }
                _ => {}
            }
        }
    }

    /// Checks that the connections of a dead process have ended before it restarts, and for their clients, too.
    fn closes(&self, site: &str) -> Option<Nonconformance> {
        let mut connections = 0;
        for point in ["before", "happened", "replied"] {
            let seen = self.play(Some(&format!("job#1.1/{site}:{point}=crash")), 1);
            connections += seen.open;
            connections += seen.clients.iter().filter(|client| !ends(client)).count();
        }
        (connections > 0).then_some(Nonconformance::LeftOpen { connections })
    }

    fn repeats(&self) -> Option<Nonconformance> {
        let explore = || {
            let explore = Explore::new().name("conformance").deviations(1).faults(0);
            self.explore(&explore, 2, &Mutex::default()).to_string()
        };
        let first = explore();
        let other = (1..self.repetitions.explorations).map(|_| explore()).find(|other| *other != first)?;
        let mut lines = first.lines().zip(other.lines()).filter(|(one, other)| one != other);
        let (one, other) = lines.next().unwrap_or(("an end", "more lines"));
        Some(Nonconformance::Nondeterministic { lines: [one.to_owned(), other.to_owned()] })
    }

    fn leaves_nothing(&self) -> Option<Nonconformance> {
        let before = least_left();
        let mut runs = 0;
        while runs < self.repetitions.runs {
            runs +=
                self.explore(&Explore::new().name("conformance").deviations(1), 1, &Mutex::default()).runs();
        }
        let after = least_left();
        let [files, threads] = [0, 1].map(|of| after[of].saturating_sub(before[of]));
        (files > SLACK || threads > SLACK).then_some(Nonconformance::Leaks { runs, files, threads })
    }

    fn bears_garbage(&self, failures: &mut Vec<Nonconformance>) {
        for garbage in garbage(self.sample.write) {
            let world = World::fake();
            (self.services)(&world);
            let wire = world.wire(WIRE, (self.protocol)());
            let sent = format!("{:?}", String::from_utf8_lossy(&garbage));
            if !bears(wire.address(), &garbage) {
                failures.push(Nonconformance::Hangs { sent: sent.clone() });
            }
            if world.effects().count() > 0 {
                failures.push(Nonconformance::Acts { sent });
            }
        }
        if !failures.is_empty() {
            return;
        }
        let world = World::fake();
        (self.services)(&world);
        let address = world.wire(WIRE, (self.protocol)()).address();
        exchange_of(world.link().shared()).hurry(SLOWEST);
        let half = &self.sample.write[..self.sample.write.len() / 2];
        if !drips(address, half) {
            failures.push(Nonconformance::Hangs { sent: "a byte now and then".to_owned() });
        }
    }
}

/// The job: sends the sample and reads the reply.
fn ask(
    address: SocketAddr,
    greeting: usize,
    sample: Sample,
    clients: &Mutex<Vec<TcpStream>>,
) -> Result<(), String> {
    let words = |error: std::io::Error| error.kind().to_string();
    let mut socket = TcpStream::connect(address).map_err(words)?;
    lock(clients).push(socket.try_clone().map_err(words)?);
    // Otherwise a connection that is left open would block this thread forever.
    socket.set_read_timeout(Some(PATIENCE)).map_err(words)?;
    socket.read_exact(&mut vec![0; greeting]).map_err(words)?;
    socket.write_all(sample.write).map_err(words)?;
    let mut reply = Vec::new();
    while !(sample.is_whole)(&reply) {
        let mut piece = [0; 1_024];
        match socket.read(&mut piece).map_err(words)? {
            0 => return Err("the connection ended before the reply did".to_owned()),
            read => reply.extend_from_slice(&piece[..read]),
        }
    }
    if (sample.is_error)(&reply) { Err("an error".to_owned()) } else { Ok(()) }
}

/// Reports whether a connection ends for its client.
fn ends(client: &TcpStream) -> bool {
    let _ = client.set_read_timeout(Some(PATIENCE));
    let (mut client, mut piece) = (client, [0; 1_024]);
    loop {
        match client.read(&mut piece) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }
}

/// Sends bytes and then closes the sending side. Returns whether the connection ends.
fn bears(address: SocketAddr, bytes: &[u8]) -> bool {
    let Ok(mut socket) = TcpStream::connect(address) else { return false };
    let _ = socket.set_write_timeout(Some(PATIENCE));
    // The protocol may close the connection before everything is sent.
    let _ = socket.write_all(bytes);
    let _ = socket.shutdown(Shutdown::Write);
    ends(&socket)
}

/// Sends bytes a few milliseconds apart, repeatedly, as long as the other end accepts them.
fn drips(address: SocketAddr, bytes: &[u8]) -> bool {
    let Ok(mut socket) = TcpStream::connect(address) else { return false };
    let began = real_time();
    let drops = bytes.iter().chain(std::iter::repeat(&b'x'));
    for byte in drops {
        if socket.write_all(&[*byte]).is_err() {
            return true;
        }
        if began.elapsed() > PATIENCE {
            return false;
        }
        thread::park_timeout(Duration::from_millis(5));
    }
    true
}

/// Prefixes of the sample, the sample with changed bytes, and meaningless bytes. None is a complete request, unless
/// the protocol accepts anything.
fn garbage(sample: &[u8]) -> Vec<Vec<u8>> {
    let beginnings = (0..sample.len()).step_by(1 + sample.len() / 16).map(|end| sample[..end].to_vec());
    let nonsense =
        [&b"\0\0\0\0\0\0\0\0"[..], b"\xff\xff\xff\xff\xff", b"\r\n\r\n\r\n", b"NONSENSE\r\n\r\n", b"{[(<"];
    // Numerical Recipes' linear congruence: the same bytes in every run.
    let mut seed = 1_u32;
    let mut random = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed.to_be_bytes()[0]
    };
    let noise = (0..16).map(|length| (0..length * 37).map(|_| random()).collect());
    let nonsense = nonsense.into_iter().map(<[u8]>::to_vec);
    beginnings.chain(nonsense).chain(noise).collect()
}

/// Open files and threads of this program: the minimum of several measurements, because other tests start and end.
fn least_left() -> [usize; 2] {
    let count = |folder: &str| std::fs::read_dir(folder).map_or(0, Iterator::count);
    let look = || ["/proc/self/fd", "/proc/self/task"].map(count);
    let looks: BTreeSet<_> = (0..20)
        .map(|_| {
            thread::park_timeout(Duration::from_millis(10));
            look()
        })
        .collect();
    [0, 1].map(|of| looks.iter().map(|look| look[of]).min().unwrap_or_default())
}
