//! A database for one exploration. Each scenario starts with fresh and empty tables, in one of two ways ([`Start`]).
//! Truncation is much faster.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use retryproof::{External, Process, World};
use retryproof_sqlx::Pool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection, Postgres};
use tokio::sync::Mutex;

use crate::server::Server;

/// The way in which a scenario gets fresh tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// Empties all tables of the schema `public` and restarts their sequences. Tables that the last scenario has
    /// added are dropped.
    #[default]
    Truncation,
    /// Drops the database and makes it again from a template. This is correct no matter what a scenario does to the
    /// database (other schemas, types, functions, dropped tables), but slower (BENCHMARKS.md), because seven
    /// megabytes are copied.
    Template,
}

/// A database. Its owner inspects it through its own connection, which is kept from scenario to scenario.
#[derive(Clone, Debug)]
pub struct Database {
    options: PgConnectOptions,
    tables: &'static str,
    start: Start,
    own: Arc<Mutex<Option<Own>>>,
}

/// The test's own connection.
#[derive(Debug)]
struct Own {
    connection: PgConnection,
    /// The original tables, and the statement that empties them.
    tables: BTreeSet<String>,
    empty: String,
}

static MADE: AtomicU32 = AtomicU32::new(0);

impl Database {
    /// Makes a database with these tables when the first scenario starts, through a connection to `postgres`.
    pub fn new(server: &Server, tables: &'static str) -> Self {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("retryproof_{}_{number}", std::process::id());
        Self {
            options: server.options().database(&name),
            tables,
            start: Start::default(),
            own: Arc::default(),
        }
    }

    /// Sets the way in which each scenario starts.
    pub fn starts_by(self, start: Start) -> Self {
        Self { start, ..self }
    }

    /// Connects the world to the database for one scenario. The tables are empty except for the rows that `given`
    /// inserts.
    ///
    /// # Panics
    /// If the tables cannot be made, if `given` fails, or if the server is not available.
    pub fn start(&self, world: &World, given: &str) -> External {
        let external = world.external("db");
        let (asks, closes) = (self.clone(), self.clone());
        external.lock_probe(move || asks.clone().count_waiting());
        external.on_process_death(move |process, incarnation| {
            closes.clone().close(format!("{process}#{incarnation}"))
        });
        external.block_on(async {
            let mut kept = self.own.lock().await;
            let clean = match (kept.take(), self.start) {
                (Some(own), Start::Truncation) => self.emptied(own).await,
                (Some(own), Start::Template) => {
                    let _ = own.connection.close().await;
                    self.copy().await
                }
                (None, Start::Truncation) => self.make().await,
                (None, Start::Template) => {
                    let _ = self.make().await.connection.close().await;
                    let template = format!("ALTER DATABASE {} RENAME TO {}", self.name(), self.template());
                    self.on_server(&template).await;
                    self.copy().await
                }
            };
            let own = kept.insert(clean);
            let put = own.connection.execute(given).await;
            put.unwrap_or_else(|error| panic!("the givens cannot be put in: {error}"));
        });
        external
    }

    fn name(&self) -> &str {
        self.options.get_database().expect("it has a name")
    }

    fn template(&self) -> String {
        format!("{}_template", self.name())
    }

    /// Runs a statement on the server, outside this database.
    async fn on_server(&self, statement: &str) {
        let mut server = connect(&self.options.clone().database("postgres")).await;
        let done = server.execute(statement).await;
        let _ = server.close().await;
        done.unwrap_or_else(|error| panic!("`{statement}` failed: {error}"));
    }

    async fn make(&self) -> Own {
        // If the last scenario has lost the server, the database still exists.
        self.on_server(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name())).await;
        self.on_server(&format!("CREATE DATABASE {}", self.name())).await;
        let mut connection = connect(&self.options).await;
        if let Err(error) = connection.execute(self.tables).await {
            let _ = connection.close().await;
            self.on_server(&format!("DROP DATABASE {}", self.name())).await;
            panic!("the tables cannot be made: {error}");
        }
        let tables = tables(&mut connection).await.unwrap_or_else(|error| panic!("{error}"));
        let empty = sqlx::query_scalar(HOW_TO_EMPTY).fetch_one(&mut connection).await;
        let empty = empty.unwrap_or_else(|error| panic!("the tables cannot be looked at: {error}"));
        Own { connection, tables, empty }
    }

    /// The same database without the data of the last scenario.
    async fn emptied(&self, mut own: Own) -> Own {
        let found = match tables(&mut own.connection).await {
            Ok(found) => found,
            Err(_) => {
                // The server was away.
                own.connection = connect(&self.options).await;
                tables(&mut own.connection).await.unwrap_or_else(|error| panic!("{error}"))
            }
        };
        if !own.tables.is_subset(&found) {
            // A table that was dropped cannot be emptied.
            let _ = own.connection.close().await;
            return self.make().await;
        }
        let new: Vec<_> =
            found.difference(&own.tables).map(|table| format!("DROP TABLE {table} CASCADE;")).collect();
        let empty = new.concat() + &own.empty;
        let emptied = own.connection.execute(empty.as_str()).await;
        emptied.unwrap_or_else(|error| panic!("the tables cannot be emptied: {error}"));
        own
    }

    /// Replaces the database by a copy of the template.
    async fn copy(&self) -> Own {
        self.on_server(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name())).await;
        self.on_server(&format!("CREATE DATABASE {} TEMPLATE {}", self.name(), self.template())).await;
        let connection = connect(&self.options).await;
        Own { connection, tables: BTreeSet::new(), empty: String::new() }
    }

    /// A pool of connections for a process. Each has the name of the process. None is opened yet.
    pub fn pool(&self, p: &Process, most: u32) -> Pool<Postgres> {
        let options = self.options.clone().application_name(&format!("{}#{}", p.name(), p.incarnation()));
        let pool = PgPoolOptions::new().max_connections(most).max_lifetime(None).idle_timeout(None);
        Pool::new(pool.test_before_acquire(false).connect_lazy_with(options), p.external("db"))
    }

    /// All rows of a query with two columns, a number and a text.
    ///
    /// # Panics
    /// If the query has other columns, or if the server is not available.
    pub async fn rows(self, query: &str) -> Vec<(i64, String)> {
        let mut own = self.own.lock().await;
        let own = own.as_mut().expect("the scenario has started");
        let rows = sqlx::query_as(query).fetch_all(&mut own.connection).await;
        rows.unwrap_or_else(|error| panic!("the database cannot be looked at: {error}"))
    }

    /// Checks that no transaction was left open.
    ///
    /// # Panics
    /// If there is an open transaction.
    pub async fn nothing_is_open(self) {
        let open = "SELECT pid::bigint, application_name || ': ' || query FROM pg_stat_activity \
            WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
        let open = self.rows(open).await;
        assert!(open.is_empty(), "a transaction was left open, after {}", open[0].1);
    }

    /// The number of connections that wait for a lock. `pg_locks` is updated when a lock is released, earlier than
    /// `pg_stat_activity`, which is updated by the waiting connection.
    async fn count_waiting(self) -> usize {
        let waiting = "SELECT count(DISTINCT pid), '' FROM pg_locks JOIN pg_stat_activity USING (pid) \
            WHERE NOT granted AND datname = current_database()";
        self.rows(waiting).await[0].0.unsigned_abs() as usize
    }

    /// Ends the connections of a dead process. A connection that waits for a lock would not notice that its client is
    /// gone, and would continue when it gets the lock.
    async fn close(self, name: String) {
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
            WHERE datname = current_database() AND application_name = $1";
        let mut own = self.own.lock().await;
        let Some(own) = own.as_mut() else { return };
        // If the server has vanished, there are no connections.
        while let Ok(1..) = sqlx::query_scalar::<_, i64>(end).bind(&name).fetch_one(&mut own.connection).await
        {
            // Repeating the query takes as long as the connections take to end.
            tokio::task::yield_now().await;
        }
    }

    /// Drops the database, so that nothing is left on the server.
    ///
    /// # Panics
    /// If there is still a connection.
    pub fn drop(self, external: &External) {
        external.block_on(async {
            if let Some(own) = self.own.lock().await.take() {
                let _ = own.connection.close().await;
            }
            self.on_server(&format!("DROP DATABASE IF EXISTS {}", self.name())).await;
            if self.start == Start::Template {
                self.on_server(&format!("DROP DATABASE IF EXISTS {}", self.template())).await;
            }
        });
    }
}

async fn connect(options: &PgConnectOptions) -> PgConnection {
    let connected = PgConnection::connect_with(options).await;
    connected.unwrap_or_else(|error| panic!("the database cannot be reached: {error}"))
}

/// The current tables.
async fn tables(connection: &mut PgConnection) -> Result<BTreeSet<String>, sqlx::Error> {
    let found = "SELECT quote_ident(relname) FROM pg_class \
        WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace";
    Ok(sqlx::query_scalar(found).fetch_all(connection).await?.into_iter().collect())
}

/// Makes one statement that empties all tables. Deleting is faster than truncating for small tables, but only
/// truncation handles tables that refer to each other.
const HOW_TO_EMPTY: &str = "SELECT CASE \
    WHEN NOT EXISTS (SELECT FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace) THEN '' \
    WHEN EXISTS (SELECT FROM pg_constraint WHERE contype = 'f') \
        OR EXISTS (SELECT FROM pg_trigger WHERE NOT tgisinternal) \
    THEN (SELECT 'TRUNCATE ' || string_agg(quote_ident(relname), ', ') || ' RESTART IDENTITY CASCADE;' FROM pg_class \
        WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace) \
    ELSE (SELECT string_agg('DELETE FROM ' || quote_ident(relname) || ';', '') FROM pg_class \
        WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace) \
    END || coalesce((SELECT string_agg(format('SELECT setval(%L, %s, false);', \
        quote_ident(schemaname) || '.' || quote_ident(sequencename), start_value), '') \
        FROM pg_sequences WHERE schemaname = 'public'), '')";
