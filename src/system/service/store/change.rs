//! Computes how a write changes one row, given the visible row.

use std::time::Duration;

use super::{Ask, Json, Reply, StoreError, VisibleRow};

/// The new row. Without a value the row is deleted.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) key: String,
    pub(super) value: Option<Json>,
    pub(super) expires: Option<Duration>,
}

/// Returns the change, if there is one, and the answer.
pub(super) fn decide(ask: Ask, seen: Option<VisibleRow>, now: Duration) -> (Option<Change>, Reply) {
    let keeps = seen.as_ref().and_then(|seen| seen.expires);
    let version = seen.as_ref().map_or(0, |seen| seen.version);
    let set = |key, value| Some(Change { key, value: Some(value), expires: None });
    let done = |change: Option<Change>| {
        let done = change.is_some();
        (change, Reply::Done(done))
    };
    match ask {
        Ask::Put { key, value } => done(set(key, value)),
        Ask::Insert { key, .. } if seen.is_some() => (None, Reply::Failed(StoreError::Duplicate { key })),
        Ask::Insert { key, value } => done(set(key, value)),
        Ask::Delete { key } => done(seen.map(|_| Change { key, value: None, expires: None })),
        Ask::DeleteIf { key, value } => {
            let same = seen.filter(|seen| seen.value == value);
            done(same.map(|_| Change { key, value: None, expires: None }))
        }
        Ask::Incr { key, by } => {
            let number = seen.map_or(Some(0), |seen| serde_json::from_str::<i64>(&seen.value.0).ok());
            match number.and_then(|number| number.checked_add(by)) {
                None => (None, Reply::Failed(StoreError::NotANumber { key })),
                Some(sum) => {
                    let value = Some(Json(sum.to_string().into()));
                    (Some(Change { key, value, expires: keeps }), Reply::Number(sum))
                }
            }
        }
        Ask::CompareAndSet { key, version: wanted, value } if wanted == version => {
            done(Some(Change { key, value: Some(value), expires: keeps }))
        }
        Ask::SetIfAbsent { key, value, ttl } if seen.is_none() => {
            let expires = ttl.map(|ttl| now.saturating_add(ttl));
            done(Some(Change { key, value: Some(value), expires }))
        }
        Ask::CompareAndSet { .. } | Ask::SetIfAbsent { .. } => (None, Reply::Done(false)),
        Ask::Get { .. }
        | Ask::Scan { .. }
        | Ask::ForUpdate { .. }
        | Ask::SkipLocked { .. }
        | Ask::Next { .. }
        | Ask::Commit {} => {
            unreachable!("that is no write")
        }
    }
}

/// Reports whether a write would change a row that looks like `committed`. A write that changes nothing need not
/// wait.
pub(super) fn would(ask: &Ask, committed: Option<&VisibleRow>) -> bool {
    match ask {
        Ask::Get { .. } | Ask::Scan { .. } | Ask::SkipLocked { .. } | Ask::Commit {} | Ask::Next { .. } => {
            false
        }
        Ask::Put { .. } | Ask::Incr { .. } => true,
        Ask::Insert { .. } | Ask::SetIfAbsent { .. } => committed.is_none(),
        Ask::Delete { .. } | Ask::ForUpdate { .. } => committed.is_some(),
        Ask::DeleteIf { value, .. } => committed.is_some_and(|row| row.value == *value),
        Ask::CompareAndSet { version, .. } => committed.map_or(0, |row| row.version) == *version,
    }
}
