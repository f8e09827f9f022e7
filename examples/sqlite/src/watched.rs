//! A pool that sqlx's queries run on as on its own, and each statement of which the harness hears of: `&pool`,
//! `&mut *transaction`, `pool.begin()` and `transaction.commit()` stay as they are.
//!
//! A shop's own crate has this around its pool where it is tested, and an [`External`] is all that it needs for it.

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

/// How a lost connection looks to sqlx's users.
fn lost<T>(fault: ExternalFault) -> Result<T, Error> {
    Err(Error::Io(io::Error::from(fault)))
}

/// `UPDATE jobs`, of a longer statement: its verb, and the table.
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
    /// Has the harness hear of all that is done on a pool.
    pub fn new(inner: sqlx::Pool<DB>, external: External) -> Self {
        Self { inner, external }
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// When there is no connection to be had.
    #[track_caller]
    pub fn begin(&self) -> impl Future<Output = Result<Transaction<DB>, Error>> + Send + use<'_, DB> {
        let begin = async {
            let inner = self.inner.begin().await?;
            Ok(Transaction(Connection { inner, external: self.external.clone() }))
        };
        // Nothing has happened by it that anybody could see.
        self.external.call("begin", begin).read_only().on_fault(lost)
    }
}

impl<DB: Database> Transaction<DB> {
    /// Makes what was done in it true for all.
    ///
    /// # Errors
    /// When the database refuses, or does not answer: then nobody knows.
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
    /// What is done in a transaction is undone when the connection is lost: that it had happened makes no difference.
    fn lend(&mut self) -> (&mut DB::Connection, &External, bool) {
        (&mut self.inner, &self.external, true)
    }
}

/// `fetch_many` and the others, each as one call.
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
                // All rows at once: a call has one reply.
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
