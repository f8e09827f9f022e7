//! The database of task handlers: graphile_worker's statements go to the world's queue.

use std::any::Any;
use std::panic::Location;

use graphile_worker_database::{
    BoxFuture, Database, DatabaseDriver, DbCell, DbError, DbExecutor, DbParams, DbRow, DbTransaction,
    DbValue, NotificationStream, row_mapping,
};
use retryproof::job::JobId;
use retryproof::{Clock, JobQueue, Process};

use crate::row;
use crate::spec::{Added, Beside};

/// The queue of a process, disguised as a database.
#[derive(Clone, Debug)]
struct QueueInDisguise {
    queue: JobQueue,
    clock: Clock,
    /// The place of the code that owns it, because code that adds jobs has no place of its own in reports.
    place: &'static Location<'static>,
}

/// Returns the database for code of this process that adds jobs outside of task handlers, for a `WorkerUtils` of its
/// own (`WorkerUtils::new(database(p), "graphile_worker")`). Adding a job is a call with its crash points and its
/// lost reply.
///
/// The database supports the statements of `add_job`, `add_raw_job`, `add_batch_job`, `add_jobs` and `add_raw_jobs`,
/// and no others.
#[track_caller]
pub fn database(p: &Process) -> Database {
    of(p, Location::caller())
}

/// The database for code at this place.
pub(crate) fn of(p: &Process, place: &'static Location<'static>) -> Database {
    Database::new(QueueInDisguise { queue: p.queue().batches_of(usize::MAX), clock: p.clock(), place })
}

/// The supported statements.
enum Statement {
    AddJob,
    AddJobs,
    /// Registers tasks before their jobs are added.
    InsertTasks,
    SelectTasks,
}

impl Statement {
    fn of(sql: &str) -> Result<Self, DbError> {
        let is_of_tasks = sql.contains("_private_tasks as tasks");
        match sql.trim_start() {
            sql if sql.contains(".add_job(") => Ok(Self::AddJob),
            sql if sql.contains(".add_jobs(") => Ok(Self::AddJobs),
            sql if is_of_tasks && sql.starts_with("insert") => Ok(Self::InsertTasks),
            sql if is_of_tasks && sql.starts_with("select id, identifier") => Ok(Self::SelectTasks),
            sql => Err(DbError::with_code(
                format!(
                    "this statement is not modeled: `{}`. Under retryproof the database of a task handler can \
                     only add jobs; give handlers with their own tables a database by an extension, and call it \
                     through `p.external(…)`",
                    sql.split_whitespace().collect::<Vec<_>>().join(" ")
                ),
                "0A000",
            )),
        }
    }
}

impl QueueInDisguise {
    async fn add_job(&self, params: &DbParams) -> Result<Vec<DbRow>, DbError> {
        let added = Added::one(params)?;
        let beside = added.beside(self.clock.now())?;
        let (identifier, payload) = (added.identifier.clone(), added.payload.clone());
        let id = self.queue.enqueue_new(added.into_request(&beside).called_at(self.place)).await;
        let id = id.map_err(|error| DbError::new(error.to_string()))?;
        Ok(vec![row::of_job(id, &identifier, payload, &beside)])
    }

    async fn add_jobs(&self, params: &DbParams) -> Result<Vec<DbRow>, DbError> {
        let now = self.clock.now();
        let added = Added::many(params)?;
        let beside = added.iter().map(|added| added.beside(now)).collect::<Result<Vec<Beside>, _>>()?;
        let place = self.place;
        let job = |(added, beside): (Added, &Beside)| added.into_request(beside).called_at(place);
        let jobs: Vec<_> = added.iter().cloned().zip(&beside).map(job).collect();
        let ids: Vec<JobId> =
            self.queue.enqueue_new_bulk::<()>(jobs).await.map_err(|error| DbError::new(error.to_string()))?;
        let rows = ids.into_iter().zip(&added).zip(&beside);
        Ok(rows.map(|((id, a), beside)| row::of_job(id, &a.identifier, a.payload.clone(), beside)).collect())
    }

    fn select_tasks(params: &DbParams) -> Vec<DbRow> {
        let [DbValue::TextArray(identifiers)] = params.values() else { return Vec::new() };
        let row = |identifier: &String| {
            let cells = [
                ("id", DbCell::I32(row::small_id(identifier))),
                ("identifier", DbCell::Text(identifier.clone())),
            ];
            row_mapping::cells(cells)
        };
        identifiers.iter().map(row).collect()
    }
}

impl DbExecutor for QueueInDisguise {
    fn execute<'a>(&'a self, sql: &'a str, params: DbParams) -> BoxFuture<'a, Result<u64, DbError>> {
        Box::pin(async move {
            match Statement::of(sql)? {
                Statement::AddJob => self.add_job(&params).await.map(|rows| rows.len() as u64),
                Statement::AddJobs => self.add_jobs(&params).await.map(|rows| rows.len() as u64),
                Statement::InsertTasks | Statement::SelectTasks => Ok(0),
            }
        })
    }

    fn fetch_all<'a>(&'a self, sql: &'a str, params: DbParams) -> BoxFuture<'a, Result<Vec<DbRow>, DbError>> {
        Box::pin(async move {
            match Statement::of(sql)? {
                Statement::AddJob => self.add_job(&params).await,
                Statement::AddJobs => self.add_jobs(&params).await,
                Statement::InsertTasks => Ok(Vec::new()),
                Statement::SelectTasks => Ok(Self::select_tasks(&params)),
            }
        })
    }
}

impl DatabaseDriver for QueueInDisguise {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn begin<'a>(&'a self) -> BoxFuture<'a, Result<DbTransaction, DbError>> {
        Box::pin(async { Statement::of("begin").map(|_| unreachable!("the statement is not supported")) })
    }

    fn listen<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<NotificationStream>, DbError>> {
        Box::pin(async { Ok(None) })
    }
}
