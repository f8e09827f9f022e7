//! A SQLite database in memory for one scenario, separate from all others. Its locks work like those of a database in
//! a file: a connection that comes too late gets the error that the database is busy.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use retryproof::External;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

/// The initial database of each scenario. It is copied page by page, which takes a quarter of the time of making its
/// tables.
#[derive(Debug)]
pub struct Template(Mutex<Connection>);

impl Template {
    /// Makes a template with these tables and data.
    ///
    /// # Panics
    /// If SQLite rejects the statements.
    pub fn new(tables: &str) -> Self {
        let connection = Connection::open_in_memory().expect("memory is there");
        connection.execute_batch(tables).unwrap_or_else(|error| panic!("the tables cannot be made: {error}"));
        Self(Mutex::new(connection))
    }

    /// Makes a new database with the same contents.
    ///
    /// # Panics
    /// If there is no memory left.
    pub fn copy(&self) -> Memory {
        let mut copy = Memory::empty();
        let template = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let backup = Backup::new(&template, &mut copy.connection).expect("nobody else is there yet");
        let copied = backup.step(-1).expect("nobody else is there yet");
        assert_eq!(copied, StepResult::Done, "all pages are copied at once");
        drop(backup);
        copy
    }
}

/// A database in memory. It is gone when this value is dropped and all connections are closed.
#[derive(Debug)]
pub struct Memory {
    name: String,
    /// The test's own connection.
    pub connection: Connection,
}

static MADE: AtomicU64 = AtomicU64::new(0);

impl Memory {
    /// Makes a new database with these tables.
    ///
    /// # Panics
    /// If SQLite rejects the statements.
    pub fn new(tables: &str) -> Self {
        let new = Self::empty();
        let made = new.connection.execute_batch(tables);
        made.unwrap_or_else(|error| panic!("the tables cannot be made: {error}"));
        new
    }

    fn empty() -> Self {
        // The slash makes it a database that several connections share.
        let name = format!("/retryproof-{}", MADE.fetch_add(1, Ordering::Relaxed));
        let connection = open(&name);
        Self { name, connection }
    }

    /// The name for other connections.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All rows of a query with two columns, the first of which is a number.
    ///
    /// # Panics
    /// If the query has other columns.
    pub fn rows(&self, query: &str) -> Vec<(i64, String)> {
        let mut statement = self.connection.prepare_cached(query).expect("a query");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("two columns");
        rows.collect::<Result<_, _>>().expect("a number and a text")
    }
}

impl Memory {
    /// Checks that no transaction with writes was left open.
    ///
    /// # Panics
    /// If there is such a transaction.
    pub fn nothing_is_open(&self) {
        let locked = self.connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK");
        locked.unwrap_or_else(|error| panic!("a transaction was left open: {error}"));
    }
}

/// The number of checks, a few milliseconds apart, whether a dead process has released its locks.
const LOOKS: u32 = 50;

/// After each crash, makes the world wait until the open transactions of the dead process are rolled back. A
/// connection of sqlx has its own thread, which learns a little later that the connection is dropped. If a living
/// process has the lock, this cannot be determined, so the wait is short.
pub fn closes(external: &External, name: &str) {
    let name = name.to_owned();
    external.on_process_death(move |_, _| {
        let own = open(&name);
        async move {
            for _ in 0..LOOKS {
                if own.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
}

/// Opens a connection with rusqlite.
///
/// # Panics
/// If SQLite cannot open it.
pub fn open(name: &str) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let opened = Connection::open_with_flags_and_vfs(name, flags, "memdb");
    let connection = opened.unwrap_or_else(|error| panic!("{name} cannot be opened: {error}"));
    // Nothing else runs while a handler blocks, so a timeout would always expire.
    connection.busy_timeout(Duration::ZERO).expect("a timeout can be set");
    connection
}

/// A pool of sqlx connections. None is opened yet.
pub fn pool(name: &str) -> SqlitePool {
    pool_of(name, 4)
}

/// The same with at most `most` connections.
pub fn pool_of(name: &str, most: u32) -> SqlitePool {
    let options = SqliteConnectOptions::new().filename(name).vfs("memdb").busy_timeout(Duration::ZERO);
    SqlitePoolOptions::new()
        .max_connections(most)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_lazy_with(options)
}
