//! A database of SQLite's that lives in memory, apart from all others, for one scenario. The locks that connections hold on
//! it are those of a database in a file: who comes too late is told that it is busy.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use retryproof::External;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

/// A database as each scenario finds it: copied page by page, which takes a quarter of the time that making its tables does.
#[derive(Debug)]
pub struct Template(Mutex<Connection>);

impl Template {
    /// One with these tables, and what else is done to it there.
    ///
    /// # Panics
    /// When SQLite does not like them.
    pub fn new(tables: &str) -> Self {
        let connection = Connection::open_in_memory().expect("memory is there");
        connection.execute_batch(tables).unwrap_or_else(|error| panic!("the tables cannot be made: {error}"));
        Self(Mutex::new(connection))
    }

    /// A new database, the same as this.
    ///
    /// # Panics
    /// When there is no memory left.
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

/// A database in memory. It is gone when this is and nobody is connected any more.
#[derive(Debug)]
pub struct Memory {
    name: String,
    /// The test's own.
    pub connection: Connection,
}

static MADE: AtomicU64 = AtomicU64::new(0);

impl Memory {
    /// A new one with these tables.
    ///
    /// # Panics
    /// When SQLite does not like them.
    pub fn new(tables: &str) -> Self {
        let new = Self::empty();
        let made = new.connection.execute_batch(tables);
        made.unwrap_or_else(|error| panic!("the tables cannot be made: {error}"));
        new
    }

    fn empty() -> Self {
        // The slash makes it one that several connections share.
        let name = format!("/retryproof-{}", MADE.fetch_add(1, Ordering::Relaxed));
        let connection = open(&name);
        Self { name, connection }
    }

    /// Under which name others connect to it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All rows of a query of two columns, the first a number.
    ///
    /// # Panics
    /// When it is no such query.
    pub fn rows(&self, query: &str) -> Vec<(i64, String)> {
        let mut statement = self.connection.prepare_cached(query).expect("a query");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("two columns");
        rows.collect::<Result<_, _>>().expect("a number and a text")
    }
}

impl Memory {
    /// Looks that nobody has left a transaction open in which something was written.
    ///
    /// # Panics
    /// When somebody has.
    pub fn nothing_is_open(&self) {
        let locked = self.connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK");
        locked.unwrap_or_else(|error| panic!("a transaction was left open: {error}"));
    }
}

/// How often it is looked whether a dead process has let go, some milliseconds apart.
const LOOKS: u32 = 50;

/// Has the world wait, after each crash, until what the dead process had open is rolled back: a connection of sqlx's has a
/// thread of its own, which hears a little later that it is dropped. Where somebody who lives has the lock, nobody can
/// tell: that is not waited for longer than a moment.
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

/// A connection by rusqlite.
///
/// # Panics
/// When there is none to be had.
pub fn open(name: &str) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let opened = Connection::open_with_flags_and_vfs(name, flags, "memdb");
    let connection = opened.unwrap_or_else(|error| panic!("{name} cannot be opened: {error}"));
    // Nobody else goes on while somebody blocks: waiting would be in vain.
    connection.busy_timeout(Duration::ZERO).expect("a timeout can be set");
    connection
}

/// A pool of connections by sqlx. None is made yet.
pub fn pool(name: &str) -> SqlitePool {
    pool_of(name, 4)
}

/// The same, of at most so many.
pub fn pool_of(name: &str, most: u32) -> SqlitePool {
    let options = SqliteConnectOptions::new().filename(name).vfs("memdb").busy_timeout(Duration::ZERO);
    SqlitePoolOptions::new()
        .max_connections(most)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_lazy_with(options)
}
