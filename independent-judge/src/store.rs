//! The store, as the documentation of `retryproof::Store` and `Transaction` describes it.

use std::collections::{BTreeMap, BTreeSet};

use crate::program::{Isolation, Row};
use crate::value::Value;

/// A transaction, by number.
pub type TxId = usize;

/// A request to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Get(Row),
    Put(Row, Value),
    SetIfAbsent(Row, Value),
    Increment,
    Commit,
}

/// An answer of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Row(Option<Value>),
    /// Whether it was done.
    Done(bool),
    /// The transaction cannot be serialized, and is rolled back.
    Conflict,
}

#[derive(Clone, Debug)]
struct Open {
    isolation: Isolation,
    /// The snapshot of a serializable transaction since its first statement: the number of the last commit, and the
    /// rows.
    snapshot: Option<(u64, BTreeMap<Row, Value>)>,
    reads: BTreeSet<Row>,
    writes: BTreeMap<Row, Value>,
    waits_for: Option<Row>,
}

/// The rows, and the open transactions.
#[derive(Clone, Debug, Default)]
pub struct Store {
    pub rows: BTreeMap<Row, Value>,
    /// The number of the last commit that changed each row.
    changed: BTreeMap<Row, u64>,
    commits: u64,
    open: BTreeMap<TxId, Open>,
    opened: TxId,
    locks: BTreeMap<Row, TxId>,
    /// The rows that were unlocked since the last call of `take_released`.
    released: Vec<Row>,
}

impl Store {
    pub fn begin(&mut self, isolation: Isolation) -> TxId {
        self.opened += 1;
        let (reads, writes) = (BTreeSet::new(), BTreeMap::new());
        self.open.insert(self.opened, Open { isolation, snapshot: None, reads, writes, waits_for: None });
        self.opened
    }

    pub fn roll_back(&mut self, tx: TxId) {
        if self.open.remove(&tx).is_some() {
            self.release(tx);
        }
    }

    fn release(&mut self, tx: TxId) {
        self.released.extend(self.locks.iter().filter(|(_, holder)| **holder == tx).map(|(row, _)| *row));
        self.locks.retain(|_, holder| *holder != tx);
    }

    pub fn take_released(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.released)
    }

    /// Returns the row for which a request must wait. A write that would change nothing does not wait.
    pub fn blocks(&self, ask: Ask, tx: Option<TxId>) -> Option<Row> {
        let row = match ask {
            Ask::Put(row, _) => row,
            Ask::Increment => Row::Count,
            Ask::SetIfAbsent(row, _) if !self.rows.contains_key(&row) => row,
            Ask::SetIfAbsent(..) | Ask::Get(_) | Ask::Commit => return None,
        };
        let holder = self.locks.get(&row)?;
        (tx != Some(*holder)).then_some(row)
    }

    /// Whether a transaction may wait for a row. If that closes a cycle, it is rolled back instead.
    pub fn may_wait(&mut self, tx: TxId, row: Row) -> bool {
        let mut next = self.locks.get(&row).copied();
        while let Some(holder) = next.filter(|holder| *holder != tx) {
            let awaited = self.open.get(&holder).and_then(|open| open.waits_for);
            next = awaited.and_then(|row| self.locks.get(&row).copied());
        }
        if next == Some(tx) {
            self.roll_back(tx);
            return false;
        }
        self.open.entry(tx).and_modify(|open| open.waits_for = Some(row));
        true
    }

    pub fn waits_no_more(&mut self, tx: TxId) {
        self.open.entry(tx).and_modify(|open| open.waits_for = None);
    }

    pub fn ask(&mut self, ask: Ask, tx: Option<TxId>) -> Answer {
        match tx {
            Some(tx) => self.statement(ask, tx),
            None => {
                let (change, answer) = decide(ask, |row| self.rows.get(&row).copied());
                if let Some((row, value)) = change {
                    self.commits += 1;
                    self.apply(row, value);
                }
                answer
            }
        }
    }

    fn apply(&mut self, row: Row, value: Value) {
        self.rows.insert(row, value);
        self.changed.insert(row, self.commits);
    }

    fn changed_since(&self, row: Row, commit: u64) -> bool {
        self.changed.get(&row).is_some_and(|changed| *changed > commit)
    }

    fn statement(&mut self, ask: Ask, tx: TxId) -> Answer {
        let mut open = self.open.remove(&tx).expect("a job whose transaction is over asks nothing in it");
        if open.isolation == Isolation::Serializable && open.snapshot.is_none() {
            open.snapshot = Some((self.commits, self.rows.clone()));
        }
        if ask == Ask::Commit {
            let answer = self.commit(&open);
            self.release(tx);
            return answer;
        }
        let seen = |row: Row| {
            let own = open.writes.get(&row);
            let committed = open.snapshot.as_ref().map_or(&self.rows, |(_, rows)| rows);
            own.or_else(|| committed.get(&row)).copied()
        };
        let (change, answer) = decide(ask, seen);
        let row = match ask {
            Ask::Get(row) | Ask::Put(row, _) | Ask::SetIfAbsent(row, _) => row,
            Ask::Increment | Ask::Commit => Row::Count,
        };
        if let Some((row, value)) = change {
            // The first writer of a row wins.
            if open.snapshot.as_ref().is_some_and(|(at, _)| self.changed_since(row, *at)) {
                self.release(tx);
                return Answer::Conflict;
            }
            self.locks.insert(row, tx);
            open.writes.insert(row, value);
        }
        open.reads.insert(row);
        self.open.insert(tx, open);
        answer
    }

    fn commit(&mut self, open: &Open) -> Answer {
        if open.writes.is_empty() {
            return Answer::Done(true);
        }
        if let Some((at, _)) = open.snapshot {
            if open.reads.iter().any(|row| self.changed_since(*row, at)) {
                return Answer::Conflict;
            }
        }
        self.commits += 1;
        open.writes.iter().for_each(|(row, value)| self.apply(*row, *value));
        Answer::Done(true)
    }
}

/// Returns what a request changes, and its answer.
fn decide(ask: Ask, seen: impl Fn(Row) -> Option<Value>) -> (Option<(Row, Value)>, Answer) {
    match ask {
        Ask::Get(row) => (None, Answer::Row(seen(row))),
        Ask::SetIfAbsent(row, _) if seen(row).is_some() => (None, Answer::Done(false)),
        Ask::Put(row, value) | Ask::SetIfAbsent(row, value) => (Some((row, value)), Answer::Done(true)),
        Ask::Increment => {
            let Value::Number(count) = seen(Row::Count).unwrap_or(Value::Number(0)) else {
                unreachable!("no program writes a generated value to the counter")
            };
            (Some((Row::Count, Value::Number(count + 1))), Answer::Done(true))
        }
        Ask::Commit => (None, Answer::Done(true)),
    }
}
