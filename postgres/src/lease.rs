//! Databases on the server, each for one scenario at a time, and the backends that the door keeps warm in them.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use crate::backend::Backend;
use crate::connection::Connection;
use crate::schema::Schema;
use crate::server::Server;

/// The number of backends that are kept for later clients of a database.
const MOST_WARM: usize = 16;
/// The pause between two looks at whether a backend has ended.
const PAUSE: Duration = Duration::from_micros(200);

/// Keeps the test's own statements from waiting for jobs, which do not run in the meantime.
const LOCK_TIMEOUT: &str = "SET lock_timeout = '5s'";

/// The rows of an answer, each column as text.
type Answer = Vec<Vec<Option<String>>>;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Migrated = Pin<Box<dyn Future<Output = Result<(), Box<dyn Error + Send + Sync>>>>>;

pub(crate) type MigrationCode = fn(String) -> Migrated;

/// How the tables are made.
#[derive(Clone, Copy)]
pub(crate) enum Migration {
    Sql(&'static str),
    Code(MigrationCode),
}

impl fmt::Debug for Migration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Migration::Sql(_) => "Sql",
            Migration::Code(_) => "Code",
        })
    }
}

/// The part that is made once for all scenarios of a static: the template of its databases, and those that exist.
#[derive(Debug)]
pub(crate) struct Ground {
    template: String,
    free: Mutex<Vec<Lease>>,
}

/// A database that is in use by one scenario. It goes back when everybody has let go of it.
#[derive(Debug)]
pub(crate) struct Leased {
    ground: Arc<Ground>,
    lease: Option<Lease>,
}

/// A database.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) name: String,
    pub(crate) server: &'static Server,
    admin: Mutex<Connection>,
    /// The backend of that connection.
    admin_backend: u32,
    schema: Mutex<Schema>,
    warm: Mutex<Vec<Backend>>,
    /// The number of batches that jobs have sent.
    batches: AtomicU64,
    /// Whether a job has changed the definition of tables.
    is_redefined: AtomicBool,
    /// Answers to the test's own questions, and the number of batches at which they were right.
    known: Mutex<(u64, BTreeMap<String, Answer>)>,
}

/// The connection through which databases are made. Its session also holds the claims to their names.
fn keeper() -> MutexGuard<'static, Connection> {
    static KEEPER: OnceLock<Mutex<Connection>> = OnceLock::new();
    let connection = KEEPER.get_or_init(|| {
        let server = Server::shared();
        let connected = Connection::log_in(&server.address, &server.address.database);
        Mutex::new(
            connected.unwrap_or_else(|error| panic!("the PostgreSQL server cannot be reached: {error}")),
        )
    });
    lock(connection)
}

fn on_server(text: &str) -> Answer {
    keeper().run(text).unwrap_or_else(|error| panic!("`{text}` failed: {error}"))
}

/// Claims a name for a database. Names are the same in each run of a binary, so that a run that was killed leaves nothing
/// that the next one does not use again.
fn claim() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let program = std::env::current_exe().unwrap_or_default();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in program.to_string_lossy().bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    loop {
        let name = format!("retryproof_{hash:016x}_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let claimed = on_server(&format!("SELECT pg_try_advisory_lock(hashtextextended('{name}', 0))"));
        if claimed[0][0].as_deref() == Some("t") {
            on_server(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
            return name;
        }
    }
}

impl Ground {
    /// Makes the template: a database with the user's migrations.
    pub(crate) fn make(migration: Migration) -> Self {
        let template = claim();
        on_server(&format!("CREATE DATABASE {template}"));
        let server = Server::shared();
        let made = match migration {
            Migration::Sql(text) => Connection::log_in(&server.address, &template)
                .and_then(|mut connection| connection.run(text).map(drop))
                .map_err(|error| error.to_string()),
            Migration::Code(run) => migrate(run, server.address.url(&template)),
        };
        if let Err(error) = made {
            on_server(&format!("DROP DATABASE {template} WITH (FORCE)"));
            panic!("the migrations failed: {error}");
        }
        Self { template, free: Mutex::default() }
    }
}

/// Runs the user's migrations on a thread of their own, because the test's thread may have a runtime already.
fn migrate(run: MigrationCode, url: String) -> Result<(), String> {
    let migrated = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| error.to_string())?.block_on(run(url)).map_err(|error| error.to_string())
    });
    migrated.join().unwrap_or_else(|_| Err("they panicked".to_owned()))
}

impl Leased {
    /// Takes a database, whose tables are as the migrations left them.
    pub(crate) fn take(ground: Arc<Ground>) -> Arc<Self> {
        let free = lock(&ground.free).pop();
        let lease = match free.map(Lease::cleaned) {
            Some(Ok(lease)) => lease,
            // Something odd has happened to it: its server was away, or its tables are gone.
            Some(Err(name)) => Lease::make(&ground, name),
            None => Lease::make(&ground, claim()),
        };
        lease.set_time(Duration::ZERO);
        Arc::new(Self { ground, lease: Some(lease) })
    }
}

impl std::ops::Deref for Leased {
    type Target = Lease;

    fn deref(&self) -> &Lease {
        self.lease.as_ref().expect("it is there until the drop")
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        lock(&self.ground.free).extend(self.lease.take());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.server.clock.iter().for_each(|clock| clock.clear(self.admin_backend));
    }
}

impl Lease {
    fn make(ground: &Ground, name: String) -> Self {
        let template = &ground.template;
        on_server(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        // A pool of the migrations may not have closed all its connections yet.
        on_server(&format!(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{template}'"
        ));
        on_server(&format!("CREATE DATABASE {name} TEMPLATE {template}"));
        let server = Server::shared();
        let made = Connection::log_in(&server.address, &name).and_then(|mut admin| {
            let schema = Schema::read(&mut admin)?;
            admin.run(LOCK_TIMEOUT)?;
            let number =
                admin.run("SELECT pg_backend_pid()")?[0][0].as_deref().and_then(|number| number.parse().ok());
            Ok((admin, number.unwrap_or_default(), schema))
        });
        let (admin, admin_backend, schema) =
            made.unwrap_or_else(|error| panic!("the database cannot be read: {error}"));
        Self {
            name,
            server,
            admin: Mutex::new(admin),
            admin_backend,
            schema: Mutex::new(schema),
            warm: Mutex::default(),
            batches: AtomicU64::new(0),
            is_redefined: AtomicBool::new(false),
            known: Mutex::default(),
        }
    }

    /// The same database as the migrations left it. If that is not possible, returns its name.
    fn cleaned(self) -> Result<Self, String> {
        if self.is_redefined.load(Ordering::Relaxed) {
            return Err(self.name.clone());
        }
        *lock(&self.known) = Default::default();
        let has_reset = lock(&self.schema).reset(&mut lock(&self.admin));
        match has_reset {
            Ok(()) => Ok(self),
            Err(_) => Err(self.name.clone()),
        }
    }

    /// Sets the time of the world for the test's own statements.
    pub(crate) fn set_time(&self, now: Duration) {
        self.server.clock.iter().for_each(|clock| clock.set(self.admin_backend, now));
    }

    /// Runs the test's own statements.
    pub(crate) fn run(&self, text: &str) -> io::Result<Answer> {
        lock(&self.known).1.clear();
        lock(&self.admin).run(text)
    }

    /// The same for a question, whose answer is kept until a job has sent something.
    pub(crate) fn ask(&self, text: &str) -> io::Result<Answer> {
        let batches = self.batches.load(Ordering::Relaxed);
        let mut known = lock(&self.known);
        if known.0 != batches {
            *known = (batches, BTreeMap::new());
        }
        if let Some(rows) = known.1.get(text) {
            return Ok(rows.clone());
        }
        let rows = lock(&self.admin).run(text)?;
        known.1.insert(text.to_owned(), rows.clone());
        Ok(rows)
    }

    pub(crate) fn with_schema<R>(&self, look: impl FnOnce(&Schema, &mut Connection) -> R) -> R {
        look(&lock(&self.schema), &mut lock(&self.admin))
    }

    /// Notes that a job has sent something.
    pub(crate) fn note_batch(&self, defines: bool) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        if defines {
            self.is_redefined.store(true, Ordering::Relaxed);
        }
    }

    /// Reports whether a backend waits for a lock.
    pub(crate) fn is_blocked(&self, pid: u32) -> io::Result<bool> {
        let asked = format!("SELECT cardinality(pg_blocking_pids({pid})) > 0");
        Ok(lock(&self.admin).run(&asked)?[0][0].as_deref() == Some("t"))
    }

    /// A backend that is connected already, for a client that connects with these bytes.
    pub(crate) fn take_warm(&self, key: &[u8]) -> Option<Backend> {
        let mut warm = lock(&self.warm);
        let at = warm.iter().position(|backend| backend.key == key)?;
        Some(warm.remove(at))
    }

    /// Takes a backend back from a client that is gone. Its transaction is rolled back when this returns.
    pub(crate) fn take_back(&self, mut backend: Backend) {
        let is_clean = self.server.is_own && backend.is_between_requests() && backend.clean().is_ok();
        let mut warm = lock(&self.warm);
        if is_clean && warm.len() < MOST_WARM {
            return warm.push(backend);
        }
        drop(warm);
        let pid = backend.number();
        drop(backend);
        let end = format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid = {pid}");
        let mut admin = lock(&self.admin);
        // If the server is away, there are no backends.
        while let Ok(rows) = admin.run(&end) {
            if rows[0][0].as_deref() == Some("0") {
                break;
            }
            thread::park_timeout(PAUSE);
        }
        self.server.clock.iter().for_each(|clock| clock.clear(pid));
    }
}
