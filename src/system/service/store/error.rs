//! Errors of the store.

use crate::system::service::ServiceError;

/// The error of a call to the store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store did not answer. The error does not tell whether a write or a commit happened. A transaction that was
    /// not about to commit is rolled back.
    #[error("{}", without_answer(.0))]
    Service(#[from] ServiceError),
    /// A serializable transaction has read or written a row that another transaction has changed since. It is rolled
    /// back. A retry may succeed.
    #[error(
        "the row `{key}` was changed by another transaction since this one began; it is rolled back: run the whole transaction again"
    )]
    Conflict {
        /// The row.
        key: String,
    },
    /// Transactions wait for each other's rows. This one is rolled back so that the others can continue. A retry may
    /// succeed.
    #[error(
        "deadlock at the row `{key}`: the transactions that hold it wait for this one; it is rolled back: run the whole transaction again, or lock rows in the same order everywhere"
    )]
    Deadlock {
        /// The row that the transaction needed.
        key: String,
    },
    /// A row with that key already exists, as a unique index reports.
    #[error("the row `{key}` already exists")]
    Duplicate {
        /// The row.
        key: String,
    },
    /// The row to increment does not hold a 64-bit integer, or the sum would not fit in one.
    #[error("the row `{key}` cannot be incremented: its value is not an integer, or the sum is too large")]
    NotANumber {
        /// The row.
        key: String,
    },
    /// The row holds a value of another type.
    #[error("the row `{key}` cannot be read as {wanted}: {reason}")]
    Undecodable {
        /// The row.
        key: String,
        /// The requested type.
        wanted: &'static str,
        /// The message of serde.
        reason: String,
    },
    /// The value cannot be written as JSON.
    #[error("the value for the row `{key}` cannot be written as JSON: {reason}")]
    Unencodable {
        /// The row.
        key: String,
        /// The message of serde.
        reason: String,
    },
    /// The transaction was already rolled back, by an error or because its connection was lost.
    #[error("the transaction is rolled back; begin another one with `store.transaction(…)`")]
    RolledBack,
}

impl StoreError {
    /// Reports whether the same transaction may succeed if it is run again from its beginning: it lost a conflict or
    /// a deadlock, and nothing of it has happened.
    pub fn is_retryable(&self) -> bool {
        matches!(self, StoreError::Conflict { .. } | StoreError::Deadlock { .. })
    }
}

/// In the words of a database's client: there is no status.
pub(super) fn without_answer(error: &ServiceError) -> String {
    match error {
        ServiceError::Unavailable { service, operation } => {
            format!("{service}.{operation}: the connection to the database is lost")
        }
        ServiceError::TimedOut { service, operation, after } => {
            format!("{service}.{operation}: the database has not answered within {after:?}")
        }
        ServiceError::Throttled { service, operation, .. } => {
            format!("{service}.{operation}: the database has too many connections")
        }
        error => error.to_string(),
    }
}
