//! The servers of this program. Each world has one for itself: keys, scripts, subscriptions and the time belong to a whole
//! server.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::io::{self, Write};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::Duration;

use crate::address::Address;
use crate::clock::ServerClock;
use crate::installed::{InstalledServer, program};
use crate::resp::Value;
use crate::upstream::Upstream;

/// The text of a skipped test.
const NONE: &str =
    "SKIPPED: no Redis here; install it (Debian: redis-server), or set REDIS_URL to a server's URL";
/// The warning where the server does not see the time of the world.
const REAL_CLOCK: &str = "WARNING: keys in Redis expire on the real clock here, on which no virtual time passes: the server is not our own (REDIS_URL), or this is not Linux with glibc";
/// The oldest server: `RESET`, `BLMOVE` and `XAUTOCLAIM` exist since then.
const OLDEST: (u32, u32) = (6, 2);
/// The number of connections that are kept for later clients.
const MOST_WARM: usize = 16;
/// Claims the database in `REDIS_URL` for one world at a time: the client with this name that connected first has it.
const CLAIM: &str = "retryproof";
/// The looks at whether it is free, and the real time between them.
const LOOKS: u32 = 60_000;
const PAUSE: Duration = Duration::from_millis(2);
/// A time that the real clock does not show.
const FAR: Duration = Duration::from_secs(86_400);

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reports whether there is a server: the one in `REDIS_URL`, or an installed Redis or Valkey, which is started. If there is
/// none, prints one line that says so, for a test that returns then.
///
/// # Panics
/// In CI (`CI` or `RETRYPROOF_NO_SKIP` is set), if no server is available: nobody notices a test that is skipped there.
pub fn is_available() -> bool {
    if url().is_some() || program().is_some() {
        // A scenario has a time limit, and the start of a server is not part of it.
        drop(Leased::take());
        return true;
    }
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty() && value != "false");
    assert!(!is_set("CI") && !is_set("RETRYPROOF_NO_SKIP"), "{NONE}");
    let _ = writeln!(io::stderr(), "{NONE}");
    false
}

fn url() -> Option<String> {
    env::var("REDIS_URL").ok().filter(|url| !url.is_empty())
}

/// A server, and the connections to it.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: Address,
    /// `None` if it is the one in `REDIS_URL`.
    own: Option<InstalledServer>,
    admin: Mutex<Upstream>,
    warm: Mutex<Vec<Upstream>>,
    /// The number of commands so far that may have let others go on, or changed an answer.
    writes: AtomicU64,
    /// When keys expire, in the time of the world.
    expiring: Mutex<BTreeMap<Vec<u8>, Duration>>,
    /// Whether a client has sent a script or a function, and the scripts that the server knows.
    has_scripts: AtomicBool,
    scripts: Mutex<BTreeSet<String>>,
    /// Whether a client has changed more than keys, so that the next world gets another server.
    is_altered: AtomicBool,
    now: Mutex<Duration>,
}

/// The servers of our own that no world uses.
static FREE: Mutex<Vec<Server>> = Mutex::new(Vec::new());

/// A server that is in use by one world. It goes back when everybody has let go of it.
#[derive(Debug)]
pub(crate) struct Leased {
    server: Option<Server>,
}

impl Leased {
    /// Takes a server, which is empty.
    ///
    /// # Panics
    /// If no server is installed, or if it does not start.
    pub(crate) fn take() -> Arc<Self> {
        let free = lock(&FREE).pop();
        let server = match free.map(Server::cleaned) {
            Some(Ok(server)) => server,
            // The free server does not answer, or all servers are in use.
            Some(Err(_)) | None => Server::start(),
        };
        server.set_time(Duration::ZERO);
        Arc::new(Self { server: Some(server) })
    }
}

impl Deref for Leased {
    type Target = Server;

    fn deref(&self) -> &Server {
        self.server.as_ref().expect("it is there until the drop")
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        let Some(server) = self.server.take() else { return };
        if server.own.is_none() {
            // The claim ends with the connection, and what is left behind is not the next one's.
            let _ = server.empty();
        } else if !server.is_altered.load(Ordering::Relaxed) {
            lock(&FREE).push(server);
        }
    }
}

impl Server {
    fn start() -> Self {
        let started = match url() {
            Some(url) => Self::claim(&url),
            None => {
                let program = program().unwrap_or_else(|| panic!("{NONE}"));
                InstalledServer::start(&program).and_then(|own| {
                    let address = own.address.clone();
                    Self::new(address, Some(own))
                        .map(Self::without_a_clock_that_it_does_not_see)
                        .map_err(|error| format!("the server cannot be used: {error}"))
                })
            }
        };
        let server = started.unwrap_or_else(|error| panic!("{error}"));
        static WARNED: Once = Once::new();
        if server.clock().is_none() {
            WARNED.call_once(|| {
                let _ = writeln!(io::stderr(), "{REAL_CLOCK}");
            });
        }
        server
    }

    fn new(address: Address, own: Option<InstalledServer>) -> Result<Self, String> {
        let text = |error: io::Error| error.to_string();
        let mut admin = Upstream::log_in(&address).map_err(text)?;
        let info = admin.run(&["INFO", "server"]).map_err(text)?.text();
        let version =
            info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or("unknown").trim();
        let mut numbers = version.split('.').map_while(|part| part.parse::<u32>().ok());
        let number = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
        if number < OLDEST {
            return Err(format!("it is Redis {version}, and 6.2 is the oldest one that can be used here"));
        }
        Ok(Self {
            address,
            own,
            admin: Mutex::new(admin),
            warm: Mutex::default(),
            writes: AtomicU64::new(0),
            expiring: Mutex::default(),
            has_scripts: AtomicBool::new(true),
            scripts: Mutex::default(),
            is_altered: AtomicBool::new(false),
            now: Mutex::default(),
        })
    }

    /// Forgets the clock if the server does not see it: a program that is linked statically does not load the library.
    fn without_a_clock_that_it_does_not_see(mut self) -> Self {
        let Some(clock) = self.clock() else { return self };
        let wanted = clock.zero + FAR;
        clock.set(FAR);
        let seen = lock(&self.admin).run(&["TIME"]).map(|time| time.array().into_iter().next());
        let seen = seen.ok().flatten().map(Value::text);
        if seen != Some(wanted.as_secs().to_string()) {
            self.own.iter_mut().for_each(|own| own.clock = None);
        }
        self
    }

    /// Takes the database in `REDIS_URL`, when no other world or program uses it any more.
    fn claim(url: &str) -> Result<Self, String> {
        let address =
            Address::parse(url).map_err(|error| format!("REDIS_URL is no URL of a server: {error}"))?;
        let database = address.database;
        let unusable = |error: String| format!("the server of REDIS_URL cannot be used: {error}");
        let server = Self::new(address, None).map_err(unusable)?;
        let claim = format!("{CLAIM}-{database}");
        let mut admin = lock(&server.admin);
        let text = |error: io::Error| unusable(error.to_string());
        admin.run(&["CLIENT", "SETNAME", &claim]).map_err(text)?;
        let mut is_free = false;
        for _ in 0..LOOKS {
            let clients = admin.run(&["CLIENT", "LIST"]).map_err(text)?.text();
            let of = |line: &str, field: &str| {
                line.split(' ').find_map(|pair| pair.strip_prefix(field)).unwrap_or_default().to_owned()
            };
            let mut claims = clients.lines().filter(|line| of(line, "name=") == claim);
            is_free = !claims.any(|line| of(line, "id=").parse().is_ok_and(|id: i64| id < admin.number));
            if is_free {
                break;
            }
            thread::park_timeout(PAUSE);
        }
        if !is_free {
            return Err(unusable(format!("another test has used database {database} for two minutes")));
        }
        let keys = admin.run(&["DBSIZE"]).map_err(text)?.integer().unwrap_or_default();
        if keys > 0 {
            let text = format!(
                "its database {database} has {keys} keys, which the tests would delete; empty it, or name another one (redis://…/9)"
            );
            return Err(unusable(text));
        }
        drop(admin);
        Ok(server)
    }

    /// Deletes everything that a world may have left behind.
    fn empty(&self) -> io::Result<()> {
        lock(&self.expiring).clear();
        lock(&self.scripts).clear();
        let flush = if self.own.is_some() { "FLUSHALL" } else { "FLUSHDB" };
        let mut commands = vec![vec![flush]];
        // To forget scripts takes the server longer than everything else.
        if self.own.is_some() && self.has_scripts.swap(false, Ordering::Relaxed) {
            // An older server has no functions.
            commands.extend([vec!["SCRIPT", "FLUSH"], vec!["FUNCTION", "FLUSH"]]);
        }
        let answers = lock(&self.admin).run_all(&commands)?;
        match answers.first() {
            Some(Value::Error(text)) => Err(io::Error::other(text.clone())),
            _ => Ok(()),
        }
    }

    fn cleaned(self) -> io::Result<Self> {
        self.empty()?;
        Ok(self)
    }

    pub(crate) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    pub(crate) fn clock(&self) -> Option<&ServerClock> {
        self.own.as_ref()?.clock.as_ref()
    }

    /// Sets the time of the world.
    pub(crate) fn set_time(&self, now: Duration) {
        *lock(&self.now) = now;
        self.clock().into_iter().for_each(|clock| clock.set(now));
    }

    /// The time of the world.
    pub(crate) fn now(&self) -> Duration {
        *lock(&self.now)
    }

    pub(crate) fn admin(&self) -> MutexGuard<'_, Upstream> {
        lock(&self.admin)
    }

    pub(crate) fn note_write(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    pub(crate) fn note_script(&self) {
        self.has_scripts.store(true, Ordering::Relaxed);
    }

    /// The scripts that the server is known to know.
    pub(crate) fn scripts(&self) -> MutexGuard<'_, BTreeSet<String>> {
        lock(&self.scripts)
    }

    pub(crate) fn note_altered(&self) {
        self.is_altered.store(true, Ordering::Relaxed);
    }

    pub(crate) fn expiring(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Duration>> {
        lock(&self.expiring)
    }

    /// A connection for a client that has sent nothing yet.
    pub(crate) fn connect(&self) -> io::Result<Upstream> {
        if let Some(warm) = lock(&self.warm).pop() {
            return Ok(warm);
        }
        if self.is_own() {
            return Upstream::log_in(&self.address);
        }
        // The client logs in by itself.
        let mut upstream = Upstream::connect(&self.address)?;
        let number = upstream.run(&["CLIENT", "ID"]).ok().and_then(|number| number.integer());
        upstream.number = number.unwrap_or_default();
        Ok(upstream)
    }

    /// Takes a connection back from a client that is gone. When this returns, nothing of it is left in the server.
    pub(crate) fn take_back(&self, mut upstream: Upstream, is_idle: bool) {
        if is_idle && self.is_own() && is_reset(&mut upstream) {
            let mut warm = lock(&self.warm);
            if warm.len() < MOST_WARM {
                return warm.push(upstream);
            }
        }
        // The server notices the end before it answers what comes after it.
        drop(upstream);
        // If the server is away, so are its clients.
        let _ = lock(&self.admin).settle();
    }

    /// Ends a script that has been running for too long. One that has written something cannot be ended, except with its
    /// server.
    pub(crate) fn end_script(&self) {
        let Ok(mut other) = Upstream::log_in_to_busy(&self.address) else { return };
        let ended = other.run(&["SCRIPT", "KILL"]);
        if ended.is_err_and(|error| error.to_string().starts_with("UNKILLABLE")) && self.is_own() {
            self.note_altered();
            let _ = other.run(&["SHUTDOWN", "NOSAVE"]);
        }
    }
}

/// Makes a connection as good as new.
fn is_reset(upstream: &mut Upstream) -> bool {
    if upstream.send(b"*1\r\n$5\r\nRESET\r\n").is_err() {
        return false;
    }
    // Something may still be there that the client has not read.
    while let Ok(frame) = upstream.wait() {
        if frame.0 == b"+RESET\r\n" {
            return true;
        }
    }
    false
}
