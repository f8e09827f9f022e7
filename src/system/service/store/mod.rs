//! A shared database, or Redis: rows under keys, with versions, times to live, row locks and transactions.
//!
//! Its contents are state, not effects: no customer notices a row. They are compared when a run ends, like durable
//! state. Waiting for rows and connections is up to the callers.

mod error;
mod change;
mod transaction;
#[cfg(test)]
mod tests;

pub use error::StoreError;
pub use transaction::Isolation;
pub(crate) use transaction::TxId;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use self::change::Change;
use self::transaction::OpenTransaction;
use super::{CreatedAt, Operation, Refusal, Service, ServiceContext, ServiceError};
use crate::system::effect::fingerprint;

/// Numbers of sequences have seven digits, so that they do not equal other numbers of a test. Each sequence has its
/// own range.
const FIRST_NUMBER: u64 = 1_000_000;
const SEQUENCES: u64 = 8_000;
const SPACING: u64 = 1_000;
/// A row that lives longer than a month still exists after the last retry, so its expiration cannot help.
const LONG_LIVED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A row, as a look-up returns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<T> {
    /// The value.
    pub value: T,
    /// The number of changes of the row, from 1. It continues if the row is deleted and inserted again.
    pub version: u64,
}

/// A value as JSON, written once and never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Json(pub(crate) Arc<str>);

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value: serde_json::Value = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        value.serialize(serializer)
    }
}

/// A request to the database, and its transaction, if it has one.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Request {
    #[serde(flatten)]
    pub(crate) ask: Ask,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) transaction: Option<TxId>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Ask {
    Get { key: String },
    Scan { prefix: String },
    Put { key: String, value: Json },
    Insert { key: String, value: Json },
    Delete { key: String },
    DeleteIf { key: String, value: Json },
    Incr { key: String, by: i64 },
    CompareAndSet { key: String, version: u64, value: Json },
    SetIfAbsent { key: String, value: Json, ttl: Option<Duration> },
    ForUpdate { key: String },
    SkipLocked { prefix: String, most: usize },
    Commit {},
    Next { sequence: String },
}

impl Ask {
    /// The row of the request, and whether the request may change it. `None` if there may be several rows.
    pub(crate) fn row(&self) -> Option<(&str, bool)> {
        match self {
            Ask::Get { key } => Some((key, false)),
            Ask::Put { key, .. }
            | Ask::Insert { key, .. }
            | Ask::Delete { key }
            | Ask::DeleteIf { key, .. }
            | Ask::Incr { key, .. }
            | Ask::CompareAndSet { key, .. }
            | Ask::SetIfAbsent { key, .. } => Some((key, true)),
            Ask::Scan { .. } | Ask::ForUpdate { .. } | Ask::SkipLocked { .. } | Ask::Commit {} => None,
            Ask::Next { .. } => None,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Ask::Get { .. } => "get",
            Ask::Scan { .. } => "scan",
            Ask::Put { .. } => "put",
            Ask::Insert { .. } => "insert",
            Ask::Delete { .. } => "delete",
            Ask::DeleteIf { .. } => "delete_if",
            Ask::Incr { .. } => "incr",
            Ask::CompareAndSet { .. } => "compare_and_set",
            Ask::SetIfAbsent { .. } => "set_if_absent",
            Ask::ForUpdate { .. } => "for_update",
            Ask::SkipLocked { .. } => "skip_locked",
            Ask::Commit {} => "commit",
            Ask::Next { .. } => "next",
        }
    }

    /// The row that the request changes or locks, if it is about one row.
    fn locks(&self) -> Option<&str> {
        match self {
            Ask::ForUpdate { key } => Some(key),
            _ => self.row().filter(|(_, changes)| *changes).map(|(key, _)| key),
        }
    }
}

/// A row as the database shows it: its value and its version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct VisibleRow {
    pub(crate) value: Json,
    pub(crate) version: u64,
    /// The time at which the row expires.
    #[serde(skip)]
    expires: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Reply {
    Row(FetchedRow),
    Rows(BTreeMap<String, VisibleRow>),
    /// Whether the write was carried out.
    Done(bool),
    Number(i64),
    #[serde(serialize_with = "in_words")]
    Failed(StoreError),
}

/// A row that was looked up by its key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FetchedRow {
    pub(crate) key: String,
    pub(crate) row: Option<VisibleRow>,
}

impl Serialize for FetchedRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.row.serialize(serializer)
    }
}

fn in_words<S: Serializer>(error: &StoreError, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(error)
}

/// A stored row. A deleted row stays, without a value: its versions continue, and a transaction that saw no row must
/// learn that this changed.
#[derive(Clone, Debug, Default)]
struct StoredRow {
    value: Option<Json>,
    version: u64,
    expires: Option<Duration>,
    /// The number of the last commit that changed it.
    changed: u64,
    created: CreatedAt,
    /// Earlier versions, for replicas that lag, if there are any.
    past: Vec<PastValue>,
}

#[derive(Clone, Debug)]
struct PastValue {
    value: Option<Json>,
    version: u64,
    created: CreatedAt,
}

impl StoredRow {
    /// Reports whether the row outlives everything that could wait for its expiration. This depends on its total time
    /// to live, not on the time left, because the time left differs between runs of different length.
    fn stays(&self) -> bool {
        self.expires.is_none_or(|at| at.saturating_sub(self.created.0.unwrap_or_default()) > LONG_LIVED)
    }

    fn shown(&self, now: Duration) -> Option<VisibleRow> {
        let live = self.expires.is_none_or(|at| now < at);
        let (version, expires) = (self.version, self.expires);
        self.value.as_ref().filter(|_| live).map(|value| VisibleRow {
            value: value.clone(),
            version,
            expires,
        })
    }

    /// The row as a replica shows it, which may lag.
    fn shown_by_replica(&self, cx: &ServiceContext<'_>) -> Option<VisibleRow> {
        if cx.shows(self.created) {
            return self.shown(cx.now());
        }
        let past = self.past.iter().rfind(|past| cx.shows(past.created))?;
        let version = past.version;
        past.value.as_ref().map(|value| VisibleRow { value: value.clone(), version, expires: None })
    }
}

/// The database.
#[derive(Clone, Debug, Default)]
pub(crate) struct Database {
    /// When what has changed in the call under way was to expire, and when it is now.
    moved: Vec<(Option<Duration>, Option<Duration>)>,
    rows: BTreeMap<String, StoredRow>,
    /// The number of commits. A commit counts once, regardless of the number of rows it changes.
    commits: u64,
    open: BTreeMap<TxId, OpenTransaction>,
    opened: u64,
    locks: BTreeMap<String, TxId>,
    /// Rows whose locks were released since the last query. The tasks that wait for them must be woken.
    released: Vec<String>,
    /// Whether earlier versions of rows are kept.
    has_replicas: bool,
    /// The count of numbers drawn from each sequence. Numbers are never returned.
    sequences: BTreeMap<String, u64>,
    /// Whether any row ever had a time to live.
    has_expiring: bool,
}

impl Database {
    /// Lets look-ups outside a transaction go to a replica. Earlier versions of rows are kept from here on.
    pub(crate) fn add_replicas(&mut self) {
        self.has_replicas = true;
    }

    /// Whether any row ever had a time to live.
    pub(crate) fn has_expiring(&self) -> bool {
        self.has_expiring
    }

    /// The durable rows, as JSON. Rows with a time to live are left out, because they expire on their own.
    pub(crate) fn compared(&self) -> String {
        let stay = |(key, row): (&'_ String, &'_ StoredRow)| match &row.value {
            Some(value) if row.stays() => Some((serde_json::Value::from(key.as_str()), value.clone())),
            _ => None,
        };
        let mut text = "{".to_owned();
        for (at, (key, value)) in self.rows.iter().filter_map(stay).enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let _ = write!(text, "{comma}{key}:{}", value.0);
        }
        text + "}"
    }

    /// The keys of the rows that were there, but are not compared: they are gone, or expire.
    pub(crate) fn not_compared(&self) -> impl Iterator<Item = &str> + '_ {
        let is_not = |(_, row): &(&String, &StoredRow)| row.value.is_none() || !row.stays();
        self.rows.iter().filter(is_not).map(|(key, _)| key.as_str())
    }

    fn committed(&self, key: &str, now: Duration) -> Option<VisibleRow> {
        self.rows.get(key).and_then(|row| row.shown(now))
    }

    /// A call outside a transaction. Its changes are committed immediately.
    fn at_once(&mut self, ask: Ask, cx: &mut ServiceContext<'_>) -> Reply {
        match ask {
            Ask::Next { sequence } => Reply::Number(self.draw(sequence, cx)),
            Ask::Get { key } => {
                let row = self.rows.get(&key).and_then(|row| row.shown_by_replica(cx));
                Reply::Row(FetchedRow { key, row })
            }
            Ask::Scan { prefix } => {
                let shown = under(&self.rows, &prefix)
                    .filter_map(|(key, row)| Some((key.clone(), row.shown_by_replica(cx)?)));
                Reply::Rows(shown.collect())
            }
            // Without a transaction there is no scope for a lock, and nothing to commit.
            Ask::ForUpdate { .. } | Ask::SkipLocked { .. } | Ask::Commit {} => {
                Reply::Failed(StoreError::RolledBack)
            }
            write => {
                let seen = write.locks().and_then(|key| self.committed(key, cx.now()));
                let (change, reply) = change::decide(write, seen, cx.now());
                if let Some(change) = change {
                    self.commits += 1;
                    self.apply(change, cx.created_at());
                }
                reply
            }
        }
    }

    /// The next number of a sequence. It is registered as a generated value, so outcomes are compared up to renaming
    /// it.
    fn draw(&mut self, sequence: String, cx: &mut ServiceContext<'_>) -> i64 {
        let start = FIRST_NUMBER + fingerprint(&[&sequence]) % SEQUENCES * SPACING;
        let drawn = self.sequences.entry(sequence).or_insert(0);
        *drawn += 1;
        let number = start + *drawn;
        cx.hands_out(number);
        number as i64
    }

    /// Changes a row, as part of the last commit.
    fn apply(&mut self, Change { key, value, expires }: Change, created: CreatedAt) {
        self.has_expiring |= expires.is_some();
        let row = self.rows.entry(key).or_default();
        if self.has_replicas && row.version > 0 {
            row.past.push(PastValue { value: row.value.take(), version: row.version, created: row.created });
        }
        row.version += 1;
        if row.expires.is_some() || expires.is_some() {
            self.moved.push((row.expires, expires));
        }
        (row.value, row.expires, row.created, row.changed) = (value, expires, created, self.commits);
    }
}

/// The rows whose keys have this prefix.
fn under<'m, V>(
    rows: &'m BTreeMap<String, V>,
    prefix: &'m str,
) -> impl Iterator<Item = (&'m String, &'m V)> + 'm {
    rows.range(prefix.to_owned()..).take_while(move |(key, _)| key.starts_with(prefix))
}

impl Service for Database {
    type Request = Request;
    type Reply = Reply;

    fn operation(&self, Request { ask, transaction }: &Request) -> Operation {
        let name = ask.name().into();
        let operation = match (ask, transaction) {
            (Ask::Commit {}, _) => Operation::write(name),
            (_, Some(_)) => Operation::provisional(name),
            (Ask::Get { .. } | Ask::Scan { .. }, None) => Operation::read(name),
            (_, None) => Operation::write(name),
        };
        operation.never_throttled()
    }

    fn error_text(error: &ServiceError) -> String {
        error::without_answer(error)
    }

    fn answer(
        &mut self,
        Request { ask, transaction }: Request,
        cx: &mut ServiceContext<'_>,
    ) -> Result<Reply, Refusal> {
        let reply = match transaction {
            None => self.at_once(ask, cx),
            Some(transaction) => self.statement(transaction, ask, cx).unwrap_or_else(Reply::Failed),
        };
        for (before, after) in self.moved.drain(..) {
            cx.ledger.expiries.replace(before, after);
        }
        Ok(reply)
    }

    fn state(&self) -> Option<String> {
        // Only transactions use the numbers of commits, and they die with their processes. Only replicas use the
        // times.
        let mut text = String::new();
        for (key, StoredRow { value, version, expires, created, past, .. }) in &self.rows {
            let created = self.has_replicas.then_some((created, past));
            let _ = write!(text, "{key:?} {value:?} {version} {expires:?} {created:?};");
        }
        let _ = write!(text, "{:?}", self.sequences);
        Some(text)
    }
}
