//! A pool, its connections and its transactions. Each statement is one call of an [`External`].

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use retryproof::External;
use retryproof::external::ExternalFault;
use sqlx::{Database, Describe, Either, Error, Execute, Executor};

use crate::statement::{operation, reads};

/// A pool of connections on which queries run as on [`sqlx::Pool`]. Cheap to clone.
pub struct Pool<DB: Database> {
    inner: sqlx::Pool<DB>,
    external: External,
}

/// Runs statements in a transaction, or on one connection of the pool: `&mut *transaction`.
pub struct Connection<DB: Database> {
    inner: Inner<DB>,
    external: External,
}

enum Inner<DB: Database> {
    Pooled(sqlx::pool::PoolConnection<DB>),
    Transaction(sqlx::Transaction<'static, DB>),
}

/// A connection of the pool, back in it when this is dropped.
#[derive(Debug)]
pub struct PoolConnection<DB: Database>(Connection<DB>);

/// A transaction: rolled back when it is dropped.
#[derive(Debug)]
pub struct Transaction<DB: Database>(Connection<DB>);

/// The error of a lost connection for users of sqlx.
fn lost<T>(fault: ExternalFault) -> Result<T, Error> {
    Err(Error::Io(io::Error::from(fault)))
}

impl<DB: Database> Pool<DB> {
    /// Makes each statement on a pool a call of `outside`, of a process as [`Process::external`](retryproof::Process::external)
    /// returns it. Make the pool in the boot closure of the process: what it has open dies with the process.
    pub fn new(inner: sqlx::Pool<DB>, external: External) -> Self {
        Self { inner, external }
    }

    /// The pool of sqlx. The harness does not see statements on it.
    pub fn inner(&self) -> &sqlx::Pool<DB> {
        &self.inner
    }

    /// Takes a connection out of the pool.
    ///
    /// # Errors
    /// If no connection is available.
    #[track_caller]
    pub fn acquire(&self) -> impl Future<Output = Result<PoolConnection<DB>, Error>> + Send + use<'_, DB> {
        let acquire = async {
            let inner = Inner::Pooled(self.inner.acquire().await?);
            Ok(PoolConnection(Connection { inner, external: self.external.clone() }))
        };
        self.external.call("acquire", acquire).read_only().on_fault(lost)
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// If no connection is available.
    #[track_caller]
    pub fn begin(&self) -> impl Future<Output = Result<Transaction<DB>, Error>> + Send + use<'_, DB> {
        let begin = async {
            let inner = Inner::Transaction(self.inner.begin().await?);
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
    /// If the database rejects it, or if its reply is lost. In the second case the outcome is unknown.
    #[track_caller]
    pub fn commit(self) -> impl Future<Output = Result<(), Error>> + Send {
        let (inner, external) = self.into_parts();
        external.call("commit", inner.commit()).on_fault(lost)
    }

    /// Rolls the transaction back, and waits until that is done.
    ///
    /// # Errors
    /// If the connection is lost. In this case the database has rolled back, too.
    #[track_caller]
    pub fn rollback(self) -> impl Future<Output = Result<(), Error>> + Send {
        let (inner, external) = self.into_parts();
        external.call("rollback", inner.rollback()).read_only().on_fault(lost)
    }

    fn into_parts(self) -> (sqlx::Transaction<'static, DB>, External) {
        match self.0 {
            Connection { inner: Inner::Transaction(inner), external } => (inner, external),
            Connection { inner: Inner::Pooled(_), .. } => unreachable!("only `begin` makes transactions"),
        }
    }
}

macro_rules! derefs {
    ($($name:ident)*) => {$(
        impl<DB: Database> Deref for $name<DB> {
            type Target = Connection<DB>;

            fn deref(&self) -> &Connection<DB> {
                &self.0
            }
        }

        impl<DB: Database> DerefMut for $name<DB> {
            fn deref_mut(&mut self) -> &mut Connection<DB> {
                &mut self.0
            }
        }
    )*};
}

derefs!(PoolConnection Transaction);

impl<DB: Database> Clone for Pool<DB> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), external: self.external.clone() }
    }
}

impl<DB: Database> fmt::Debug for Pool<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("external", &self.external).finish_non_exhaustive()
    }
}

impl<DB: Database> fmt::Debug for Connection<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("external", &self.external).finish_non_exhaustive()
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
        let in_transaction = matches!(self.inner, Inner::Transaction(_));
        let inner = match &mut self.inner {
            Inner::Pooled(inner) => &mut **inner,
            Inner::Transaction(inner) => &mut **inner,
        };
        (inner, &self.external, in_transaction)
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
                let (inner, external, _) = self.lend();
                let call = external.call("prepare", inner.prepare_with(sql, parameters));
                Box::pin(call.read_only().on_fault(lost))
            }

            fn describe<'e, 'q: 'e>(self, sql: &'q str) -> BoxFuture<'e, Result<Describe<DB>, Error>>
            where
                'c: 'e,
            {
                let (inner, external, _) = self.lend();
                Box::pin(external.call("describe", inner.describe(sql)).read_only().on_fault(lost))
            }
        }
    };
}

executes!(&'c Pool<DB>, &'a sqlx::Pool<DB>);
executes!(&'c mut Connection<DB>, &'a mut DB::Connection);
