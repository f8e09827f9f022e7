//! Transactions: what they see, what they lock, and whether they may commit.
//!
//! Read committed works as in PostgreSQL: each statement sees the rows that are committed by then and the
//! transaction's own writes. A write locks its row until the end and waits for the locks of others. A serializable
//! transaction reads from a snapshot and is checked when it commits, by backward validation (Kung and Robinson,
//! 1981). If any row that it has read was changed since, it fails, so the order of commits is a possible serial order
//! of the transactions. A transaction that only reads never fails: it is equivalent to one that ran when it began.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::change::{self, Change};
use super::{
    Ask, CreatedAt, Database, FetchedRow, Reply, Request, ServiceContext, StoreError, StoredRow, VisibleRow,
    under,
};

/// Which changes of other transactions a transaction sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum Isolation {
    /// Each statement sees the rows that are committed by then. Other transactions may change a row between its read
    /// and the commit, so reading a row and writing back a value computed from it can lose an update. The default of
    /// most databases.
    ReadCommitted,
    /// Equivalent to running the transactions one after the other. If that is impossible, a transaction fails with
    /// [`StoreError::Conflict`] and must be run again.
    Serializable,
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isolation::ReadCommitted => "read committed",
            Isolation::Serializable => "serializable",
        })
    }
}

/// A transaction of the database, numbered from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct TxId(u64);

impl fmt::Display for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transaction {}", self.0)
    }
}

/// An open transaction.
#[derive(Clone, Debug)]
pub(super) struct OpenTransaction {
    isolation: Isolation,
    /// Present from the first statement of a serializable transaction on.
    snapshot: Option<Snapshot>,
    writes: BTreeMap<String, Change>,
    reads: BTreeSet<String>,
    prefixes: BTreeSet<String>,
    /// The row that the transaction waits for.
    waits_for: Option<String>,
}

#[derive(Clone, Debug)]
struct Snapshot {
    /// The number of the last commit in it.
    at: u64,
    rows: BTreeMap<String, StoredRow>,
}

impl OpenTransaction {
    /// The row as this transaction sees it.
    fn sees(
        &self,
        committed: &BTreeMap<String, StoredRow>,
        key: &str,
        cx: &ServiceContext<'_>,
    ) -> Option<VisibleRow> {
        let rows = self.snapshot.as_ref().map_or(committed, |snapshot| &snapshot.rows);
        let row = rows.get(key);
        match self.writes.get(key) {
            None => row.and_then(|row| row.shown(cx.now())),
            Some(Change { value, expires, .. }) => {
                let own = StoredRow {
                    value: value.clone(),
                    expires: *expires,
                    version: row.map_or(0, |row| row.version) + 1,
                    ..StoredRow::default()
                };
                own.shown(cx.now())
            }
        }
    }

    /// All rows under a prefix, as this transaction sees them.
    fn scans(
        &self,
        committed: &BTreeMap<String, StoredRow>,
        prefix: &str,
        cx: &ServiceContext<'_>,
    ) -> BTreeMap<String, VisibleRow> {
        let rows = self.snapshot.as_ref().map_or(committed, |snapshot| &snapshot.rows);
        let keys: BTreeSet<_> = under(rows, prefix)
            .map(|(key, _)| key)
            .chain(under(&self.writes, prefix).map(|(key, _)| key))
            .collect();
        keys.into_iter().filter_map(|key| Some((key.clone(), self.sees(committed, key, cx)?))).collect()
    }
}

impl Database {
    /// Opens a transaction.
    pub(crate) fn begin(&mut self, isolation: Isolation) -> TxId {
        self.opened += 1;
        let id = TxId(self.opened);
        let (reads, prefixes) = (BTreeSet::new(), BTreeSet::new());
        let open = OpenTransaction {
            isolation,
            snapshot: None,
            writes: BTreeMap::new(),
            reads,
            prefixes,
            waits_for: None,
        };
        self.open.insert(id, open);
        id
    }

    /// Rolls back a transaction, if it is still open.
    pub(crate) fn roll_back(&mut self, id: TxId) {
        if self.open.remove(&id).is_some() {
            self.release(id);
        }
    }

    fn release(&mut self, id: TxId) {
        let released = &mut self.released;
        self.locks.retain(|key, holder| {
            let stays = *holder != id;
            if !stays {
                released.push(key.clone());
            }
            stays
        });
    }

    /// The rows whose locks were released since the last call.
    pub(crate) fn take_released(&mut self) -> Vec<String> {
        std::mem::take(&mut self.released)
    }

    /// The row that a request must wait for, and the transaction that has locked it.
    pub(crate) fn blocks(&self, request: &Request, now: Duration) -> Option<(&str, TxId)> {
        let (key, holder) = self.locks.get_key_value(request.ask.locks()?)?;
        let own = request.transaction == Some(*holder);
        let over = request.transaction.is_some_and(|id| !self.open.contains_key(&id));
        let waits = !own && !over && change::would(&request.ask, self.committed(key, now).as_ref());
        waits.then_some((key, *holder))
    }

    /// Records that a transaction is about to wait for a row that `holder` has locked.
    ///
    /// # Errors
    /// If `holder` waits for this transaction, directly or through others. This transaction is rolled back.
    pub(crate) fn waits(&mut self, id: TxId, key: &str, holder: TxId) -> Result<(), StoreError> {
        let mut next = Some(holder);
        while let Some(other) = next.filter(|other| *other != id) {
            let awaited = self.open.get(&other).and_then(|open| open.waits_for.as_ref());
            next = awaited.and_then(|key| self.locks.get(key).copied());
        }
        if next == Some(id) {
            self.roll_back(id);
            return Err(StoreError::Deadlock { key: key.to_owned() });
        }
        if let Some(open) = self.open.get_mut(&id) {
            open.waits_for = Some(key.to_owned());
        }
        Ok(())
    }

    /// Records that a transaction does not wait any more.
    pub(crate) fn goes_on(&mut self, id: TxId) {
        if let Some(open) = self.open.get_mut(&id) {
            open.waits_for = None;
        }
    }

    /// Runs a statement inside a transaction, or its commit.
    ///
    /// # Errors
    /// If the transaction is over or cannot be serialized. In the second case it is rolled back.
    pub(super) fn statement(
        &mut self,
        id: TxId,
        ask: Ask,
        cx: &ServiceContext<'_>,
    ) -> Result<Reply, StoreError> {
        let Some(mut open) = self.open.remove(&id) else { return Err(StoreError::RolledBack) };
        if open.isolation == Isolation::Serializable && open.snapshot.is_none() {
            open.snapshot = Some(Snapshot { at: self.commits, rows: self.rows.clone() });
        }
        if let Ask::Commit {} = ask {
            let committed = self.commit(open, cx.created_at());
            self.release(id);
            return committed.map(|()| Reply::Done(true));
        }
        match self.ask_in(&mut open, id, ask, cx) {
            Ok(reply) => {
                self.open.insert(id, open);
                Ok(reply)
            }
            Err(error) => {
                self.release(id);
                Err(error)
            }
        }
    }

    fn ask_in(
        &mut self,
        open: &mut OpenTransaction,
        id: TxId,
        ask: Ask,
        cx: &ServiceContext<'_>,
    ) -> Result<Reply, StoreError> {
        match ask {
            Ask::Get { key } => {
                let row = open.sees(&self.rows, &key, cx);
                open.reads.insert(key.clone());
                Ok(Reply::Row(FetchedRow { key, row }))
            }
            Ask::Scan { prefix } => {
                let rows = open.scans(&self.rows, &prefix, cx);
                open.prefixes.insert(prefix);
                Ok(Reply::Rows(rows))
            }
            Ask::ForUpdate { key } => {
                let row = open.sees(&self.rows, &key, cx);
                if row.is_some() {
                    self.lock(open, id, &key)?;
                }
                open.reads.insert(key.clone());
                Ok(Reply::Row(FetchedRow { key, row }))
            }
            Ask::SkipLocked { prefix, most } => {
                let mut rows = open.scans(&self.rows, &prefix, cx);
                rows.retain(|key, _| self.locks.get(key).is_none_or(|holder| *holder == id));
                let beyond = rows.keys().nth(most).cloned();
                beyond.map(|beyond| rows.split_off(&beyond));
                for key in rows.keys() {
                    self.lock(open, id, key)?;
                    open.reads.insert(key.clone());
                }
                Ok(Reply::Rows(rows))
            }
            write => {
                let key = write.locks().unwrap_or_default().to_owned();
                let seen = open.sees(&self.rows, &key, cx);
                let (change, reply) = change::decide(write, seen, cx.now());
                if let Some(change) = change {
                    self.lock(open, id, &key)?;
                    open.writes.insert(key.clone(), change);
                }
                open.reads.insert(key);
                Ok(reply)
            }
        }
    }

    /// Locks a row for a transaction. The row is not locked, because the caller has waited for that.
    ///
    /// # Errors
    /// If the transaction is serializable and the row was changed since it began.
    fn lock(&mut self, open: &OpenTransaction, id: TxId, key: &str) -> Result<(), StoreError> {
        let changed = self.rows.get(key).map_or(0, |row| row.changed);
        if open.snapshot.as_ref().is_some_and(|snapshot| changed > snapshot.at) {
            return Err(StoreError::Conflict { key: key.to_owned() });
        }
        self.locks.insert(key.to_owned(), id);
        Ok(())
    }

    fn commit(&mut self, open: OpenTransaction, created: CreatedAt) -> Result<(), StoreError> {
        let OpenTransaction { snapshot, writes, reads, prefixes, .. } = open;
        if writes.is_empty() {
            return Ok(());
        }
        if let Some(Snapshot { at, .. }) = snapshot {
            let one_by_one = reads.iter().filter_map(|key| self.rows.get_key_value(key));
            let scanned = prefixes.iter().flat_map(|prefix| under(&self.rows, prefix));
            if let Some((key, _)) = one_by_one.chain(scanned).find(|(_, row)| row.changed > at) {
                return Err(StoreError::Conflict { key: key.clone() });
            }
        }
        self.commits += 1;
        writes.into_values().for_each(|change| self.apply(change, created));
        Ok(())
    }
}
