//! A database for one exploration. Each scenario starts with empty tables: to empty them is one statement, where a new
//! database from a template is the copy of some seven megabytes, and new connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use retryproof::{Outside, Process, World};
use retryproof_sqlite::watched::Pool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection, Postgres};
use tokio::sync::Mutex;

use crate::server::Server;

/// A database. Whoever has it looks at it by a connection of its own, which is kept from scenario to scenario.
#[derive(Clone, Debug)]
pub struct Database {
    options: PgConnectOptions,
    tables: &'static str,
    own: Arc<Mutex<Option<PgConnection>>>,
}

static MADE: AtomicU32 = AtomicU32::new(0);

impl Database {
    /// A database that is made, with these tables, when the first scenario starts. `postgres` is connected to for that.
    pub fn new(server: &Server, tables: &'static str) -> Self {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("retryproof_{}_{number}", std::process::id());
        Self { options: server.options().database(&name), tables, own: Arc::default() }
    }

    /// The world's way to it, for one scenario: the tables are empty but for what `given` puts in.
    ///
    /// # Panics
    /// When the tables cannot be made, or `given` cannot be put in, or the server is not there.
    pub fn start(&self, world: &World, given: &str) -> Outside {
        let outside = world.outside("db");
        let (asks, closes) = (self.clone(), self.clone());
        outside.waits(move || asks.clone().count_waiting());
        outside.closes(move |process, incarnation| closes.clone().close(format!("{process}#{incarnation}")));
        outside.wait(async {
            let mut own = self.own.lock().await;
            if own.is_none() {
                *own = Some(self.make().await);
            }
            let own = own.as_mut().expect("it was just made");
            if own.ping().await.is_err() {
                // The server has been away.
                *own = connect(&self.options).await;
            }
            own.execute(EMPTY).await.unwrap_or_else(|error| panic!("the tables cannot be emptied: {error}"));
            own.execute(given).await.unwrap_or_else(|error| panic!("the givens cannot be put in: {error}"));
        });
        outside
    }

    async fn make(&self) -> PgConnection {
        let name = self.options.get_database().expect("it has a name").to_owned();
        let server = self.options.clone().database("postgres");
        let mut server = connect(&server).await;
        let made = server.execute(format!("CREATE DATABASE {name}").as_str()).await;
        made.unwrap_or_else(|error| panic!("the database cannot be made: {error}"));
        let mut own = connect(&self.options).await;
        if let Err(error) = own.execute(self.tables).await {
            let _ = own.close().await;
            let _ = server.execute(format!("DROP DATABASE {name}").as_str()).await;
            panic!("the tables cannot be made: {error}");
        }
        own
    }

    /// A pool of connections for a process, each of which bears its name. None is made yet.
    pub fn pool(&self, p: &Process, most: u32) -> Pool<Postgres> {
        let options = self.options.clone().application_name(&format!("{}#{}", p.name(), p.incarnation()));
        let pool = PgPoolOptions::new().max_connections(most).max_lifetime(None).idle_timeout(None);
        Pool::new(pool.test_before_acquire(false).connect_lazy_with(options), p.outside("db"))
    }

    /// All rows of a query of two columns, a number and a text.
    ///
    /// # Panics
    /// When it is no such query, or the server is not there.
    pub async fn rows(self, query: &str) -> Vec<(i64, String)> {
        let mut own = self.own.lock().await;
        let own = own.as_mut().expect("the scenario has started");
        let rows = sqlx::query_as(query).persistent(true).fetch_all(own).await;
        rows.unwrap_or_else(|error| panic!("the database cannot be looked at: {error}"))
    }

    /// Looks that nobody has left a transaction open.
    ///
    /// # Panics
    /// When somebody has.
    pub async fn nothing_is_open(self) {
        let open = "SELECT pid::bigint, application_name || ': ' || query FROM pg_stat_activity \
            WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
        let open = self.rows(open).await;
        assert!(open.is_empty(), "a transaction was left open, after {}", open[0].1);
    }

    /// How many wait for a lock. `pg_locks` knows it the moment a lock is given back, earlier than `pg_stat_activity`, which
    /// hears of it from the one who waits.
    async fn count_waiting(self) -> usize {
        let waiting = "SELECT count(DISTINCT pid), '' FROM pg_locks JOIN pg_stat_activity USING (pid) \
            WHERE NOT granted AND datname = current_database()";
        self.rows(waiting).await[0].0.unsigned_abs() as usize
    }

    /// Ends what a dead process has left connected. One that waits for a lock would not notice that nobody listens any
    /// more, and go on when it gets it.
    async fn close(self, name: String) {
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
            WHERE datname = current_database() AND application_name = $1";
        let mut own = self.own.lock().await;
        let Some(own) = own.as_mut() else { return };
        // A server that has vanished has nobody connected.
        while let Ok(1..) = sqlx::query_scalar::<_, i64>(end).bind(&name).fetch_one(&mut *own).await {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }

    /// Ends it: nothing of it is left on the server.
    ///
    /// # Panics
    /// When somebody is still connected.
    pub fn drop(self, outside: &Outside) {
        outside.wait(async {
            if let Some(own) = self.own.lock().await.take() {
                let _ = own.close().await;
                let mut server = connect(&self.options.clone().database("postgres")).await;
                let name = self.options.get_database().expect("it has a name");
                let dropped = server.execute(format!("DROP DATABASE {name}").as_str()).await;
                dropped.unwrap_or_else(|error| panic!("{name} is left: {error}"));
            }
        });
    }
}

async fn connect(options: &PgConnectOptions) -> PgConnection {
    let connected = PgConnection::connect_with(options).await;
    connected.unwrap_or_else(|error| panic!("the database cannot be reached: {error}"))
}

/// Empties all tables: what is small is sooner deleted than truncated.
const EMPTY: &str = "DO $$ DECLARE found text; BEGIN \
    FOR found IN SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public' \
    LOOP EXECUTE 'DELETE FROM ' || found; END LOOP; END $$";
