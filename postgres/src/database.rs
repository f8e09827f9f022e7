//! The test's side: a database for each scenario, and its URL for each process.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

use retryproof::{Process, World};
use serde_json::Value;

use crate::door::Door;
use crate::lease::{Ground, Leased, Migration, MigrationCode, lock};
use crate::state;

/// A PostgreSQL database of the program under test: a static, whose migrations run once in a test binary. Each scenario
/// gets a copy of its own with [`WorldExt::postgres`].
///
/// ```
/// use retryproof_postgres::Postgres;
///
/// static SHOP: Postgres = Postgres::schema("CREATE TABLE orders (id bigserial PRIMARY KEY, item text NOT NULL)");
/// ```
#[derive(Debug)]
pub struct Postgres {
    name: &'static str,
    migration: Migration,
    ground: Mutex<Option<Arc<Ground>>>,
}

impl Postgres {
    /// Makes the tables with these statements.
    pub const fn schema(statements: &'static str) -> Self {
        Self { name: "db", migration: Migration::Sql(statements), ground: Mutex::new(None) }
    }

    /// Makes the tables with the program's own migrations. They get the URL of an empty database, and run on a thread
    /// with a tokio runtime:
    ///
    /// ```
    /// use retryproof_postgres::Postgres;
    ///
    /// static SHOP: Postgres = Postgres::migrated(|url| {
    ///     Box::pin(async move {
    ///         let pool = sqlx::PgPool::connect(&url).await?;
    ///         sqlx::raw_sql("CREATE TABLE orders (id bigserial PRIMARY KEY)").execute(&pool).await?; // or `sqlx::migrate!().run(&pool)`
    ///         Ok(())
    ///     })
    /// });
    /// ```
    pub const fn migrated(run: MigrationCode) -> Self {
        Self { name: "db", migration: Migration::Code(run), ground: Mutex::new(None) }
    }

    /// Sets the name in reports. Defaults to `db`. A world with two databases needs two names.
    #[must_use]
    pub const fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    pub(crate) fn ground(&'static self) -> Arc<Ground> {
        let mut ground = lock(&self.ground);
        ground.get_or_insert_with(|| Arc::new(Ground::make(self.migration))).clone()
    }
}

/// Adds databases to a world.
pub trait WorldExt {
    /// Returns a database for this scenario. Its tables are as the migrations left them, and all of them are compared
    /// with those of the fault-free run when the scenario ends.
    ///
    /// # Panics
    /// If there is no PostgreSQL (see [`is_available`](crate::is_available)), if a migration fails, or if the world has a
    /// database with this name already.
    fn postgres(&self, postgres: &'static Postgres) -> Database;
}

impl WorldExt for World {
    #[track_caller]
    fn postgres(&self, postgres: &'static Postgres) -> Database {
        let lease = Leased::take(postgres.ground());
        let database = Database { name: postgres.name, lease, ignored: Arc::default() };
        self.wire(postgres.name, Door::new(postgres.name, database.lease.clone()));
        let observed = database.clone();
        self.observe(postgres.name, move || observed.rows());
        database
    }
}

/// A database in one scenario, from the test's side. Nothing goes wrong with what the test does.
#[derive(Clone, Debug)]
pub struct Database {
    name: &'static str,
    lease: Arc<Leased>,
    ignored: Arc<Mutex<BTreeSet<(String, String)>>>,
}

impl Database {
    /// The URL for the code of a process, instead of its `DATABASE_URL`. The host and the port differ in each incarnation
    /// of the process.
    #[track_caller]
    pub fn url(&self, p: &Process) -> String {
        let login = self.lease.server.address.login();
        format!("postgres://{login}@{}/{}?sslmode=disable", p.wire(self.name).address(), self.name)
    }

    /// The URL of the real database, for a client of the test's own. What goes over it is not explored, and the answers of
    /// [`query`](Database::query) do not notice it.
    pub fn direct_url(&self) -> String {
        self.lease.server.address.url(&self.lease.name)
    }

    /// Runs statements, such as the rows that a scenario begins with.
    ///
    /// # Panics
    /// If one fails.
    #[track_caller]
    pub fn execute(&self, statements: &str) {
        let done = self.lease.run(statements);
        done.map(drop).unwrap_or_else(|error| panic!("`{statements}` failed: {}", explained(&error)));
    }

    /// Returns the rows of a query, each column as text.
    ///
    /// The answer is kept until a job sends a statement, so it is cheap to ask before each step, as
    /// [`World::settle_until`] does.
    ///
    /// # Panics
    /// If the query fails.
    #[track_caller]
    pub fn query(&self, query: &str) -> Vec<Vec<Option<String>>> {
        self.lease.ask(query).unwrap_or_else(|error| panic!("`{query}` failed: {}", explained(&error)))
    }

    /// Counts the rows of a table, or of what comes after `FROM`: `orders WHERE NOT shipped`.
    ///
    /// # Panics
    /// If the query fails.
    #[track_caller]
    pub fn count(&self, from: &str) -> u64 {
        let rows = self.query(&format!("SELECT count(*) FROM {from}"));
        rows[0][0].as_deref().and_then(|count| count.parse().ok()).expect("a count is a number")
    }

    /// Leaves a column out of the comparison: `orders.updated_at`. Columns with generated ids and times need not be left
    /// out. A table of another schema than `public` is written with it.
    ///
    /// # Panics
    /// If there is no such column.
    #[track_caller]
    pub fn ignore(&self, column: &str) -> &Self {
        let named = column.rsplit_once('.');
        let (table, name) = named.unwrap_or_else(|| panic!("write `table.column`, not `{column}`"));
        let is_known = self.lease.with_schema(|schema, _| {
            let mut tables = schema.tables.iter().filter(|known| known.shown == table);
            tables.any(|table| table.columns.iter().any(|column| column.name == name))
        });
        assert!(is_known, "there is no column `{column}` that is compared");
        lock(&self.ignored).insert((table.to_owned(), name.to_owned()));
        self
    }

    fn rows(&self) -> BTreeMap<String, Vec<Value>> {
        let ignored = lock(&self.ignored).clone();
        self.lease.with_schema(|schema, admin| {
            let rows = schema.rows(admin);
            let rows =
                rows.unwrap_or_else(|error| panic!("the tables cannot be read: {}", explained(&error)));
            state::compared(&schema.tables, &rows, &ignored)
        })
    }
}

/// An error of the test's own statements, with its cause if that is a job.
fn explained(error: &io::Error) -> String {
    let text = error.to_string();
    match text.contains(" 55P03: ") {
        true => format!(
            "{text}; a job has an open transaction that holds the lock, and cannot go on before this statement ends"
        ),
        false => text,
    }
}
