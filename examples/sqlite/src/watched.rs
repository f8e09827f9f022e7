//! A pool that runs sqlx's queries like sqlx's own pool, with each statement as a call for the harness. `&pool`,
//! `&mut *transaction`, `pool.begin()` and `transaction.commit()` stay the same.
//!
//! A shop's own crate wraps its pool like this in tests. It needs only an [`External`].

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use retryproof::{External, ExternalFault};
use sqlx::{Database, Describe, Either, Error, Execute, Executor};

/// A pool of connections.
pub struct Pool<DB: Database> {
    inner: sqlx::Pool<DB>,
    external: External,
}

/// A connection in a transaction.
pub struct Connection<DB: Database> {
    inner: sqlx::Transaction<'static, DB>,
    external: External,
}

/// A transaction: rolled back when it is dropped.
#[derive(Debug)]
pub struct Transaction<DB: Database>(Connection<DB>);

/// The error of a lost connection for users of sqlx.
fn lost<T>(fault: ExternalFault) -> Result<T, Error> {
    Err(Error::Io(io::Error::from(fault)))
}

/// `UPDATE jobs` for a longer statement: its verb and its table.
fn operation(sql: &str) -> String {
    let mut words = sql.split_whitespace();
    let verb = words.next().unwrap_or_default().to_lowercase();
    let before_table = match verb.as_str() {
        "select" | "delete" => Some("from"),
        "insert" => Some("into"),
        _ => None,
    };
    let table = match before_table {
        Some(word) => words.skip_while(|found| !found.eq_ignore_ascii_case(word)).nth(1),
        None => words.next(),
    };
    let table = table.unwrap_or_default().trim_matches(|c: char| !c.is_alphanumeric() && c != '_');
    format!("{verb}-{table}")
}

fn reads(sql: &str) -> bool {
    sql.trim_start().get(..6).is_some_and(|verb| verb.eq_ignore_ascii_case("select"))
        && !sql.contains(" FOR ")
}

impl<DB: Database> Pool<DB> {
    /// Makes everything that is done on a pool a call for the harness.
    pub fn new(inner: sqlx::Pool<DB>, external: External) -> Self {
        Self { inner, external }
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// If there is no connection available.
    #[track_caller]
    pub fn begin(&self) -> impl Future<Output = Result<Transaction<DB>, Error>> + Send + use<'_, DB> {
        let begin = async {
            let inner = self.inner.begin().await?;
            Ok(Transaction(Connection { inner, external: self.external.clone() }))
        };
        // Beginning a transaction has no visible effect.
        self.external.call("begin", begin).read_only().on_fault(lost)
    }
}

impl<DB: Database> Transaction<DB> {
    /// Commits the transaction.
    ///
    /// # Errors
    /// If the database rejects it or does not answer. In the second case the outcome is unknown.
    #[track_caller]
    pub fn commit(self) -> impl Future<Output = Result<(), Error>> + Send {
        let Connection { inner, external } = self.0;
        external.call("commit", inner.commit()).on_fault(lost)
    }
}

impl<DB: Database> Deref for Transaction<DB> {
    type Target = Connection<DB>;

    fn deref(&self) -> &Connection<DB> {
        &self.0
    }
}

impl<DB: Database> DerefMut for Transaction<DB> {
    fn deref_mut(&mut self) -> &mut Connection<DB> {
        &mut self.0
    }
}

impl<DB: Database> Clone for Pool<DB> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), external: self.external.clone() }
    }
}

impl<DB: Database> fmt::Debug for Pool<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("outside", &self.external).finish_non_exhaustive()
    }
}

impl<DB: Database> fmt::Debug for Connection<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("outside", &self.external).finish_non_exhaustive()
    }
}

type Step<DB> = Either<<DB as Database>::QueryResult, <DB as Database>::Row>;

impl<DB: Database> Pool<DB> {
    fn lend(&self) -> (&sqlx::Pool<DB>, &External, bool) {
        (&self.inner, &self.external, false)
    }
}

impl<DB: Database> Connection<DB> {
    /// A lost connection undoes the statements of its transaction, so it makes no difference whether they had
    /// happened.
    fn lend(&mut self) -> (&mut DB::Connection, &External, bool) {
        (&mut self.inner, &self.external, true)
    }
}

/// Implements `fetch_many` and the other methods, each as one call.
macro_rules! executes {
    ($of:ty, $inner:ty) => {
        impl<'c, DB: Database> Executor<'c> for $of
        where
            for<'a> $inner: Executor<'a, Database = DB>,
        {
            type Database = DB;

            fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Step<DB>, Error>>
            where
                'c: 'e,
                E: 'q + Execute<'q, DB>,
            {
                let (inner, external, in_transaction) = self.lend();
                let (name, reads) = (operation(query.sql()), in_transaction || reads(query.sql()));
                // All rows together, because a call has one reply.
                let all = async move { inner.fetch_many(query).try_collect::<Vec<_>>().await };
                let call = external.call(name, all).on_fault(lost);
                let steps = stream::once(if reads { call.read_only() } else { call });
                steps.map_ok(|steps| stream::iter(steps.into_iter().map(Ok))).try_flatten().boxed()
            }

            fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<DB::Row>, Error>>
            where
                'c: 'e,
                E: 'q + Execute<'q, DB>,
            {
                let (inner, external, in_transaction) = self.lend();
                let (name, reads) = (operation(query.sql()), in_transaction || reads(query.sql()));
                let call = external.call(name, inner.fetch_optional(query)).on_fault(lost);
                Box::pin(if reads { call.read_only() } else { call })
            }

            fn prepare_with<'e, 'q: 'e>(
                self,
                sql: &'q str,
                parameters: &'e [DB::TypeInfo],
            ) -> BoxFuture<'e, Result<DB::Statement<'q>, Error>>
            where
                'c: 'e,
            {
                self.lend().0.prepare_with(sql, parameters)
            }

            fn describe<'e, 'q: 'e>(self, sql: &'q str) -> BoxFuture<'e, Result<Describe<DB>, Error>>
            where
                'c: 'e,
            {
                self.lend().0.describe(sql)
            }
        }
    };
}

executes!(&'c Pool<DB>, &'a sqlx::Pool<DB>);
executes!(&'c mut Connection<DB>, &'a mut DB::Connection);
