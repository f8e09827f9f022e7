//! Why a call to the store came to nothing.

use crate::system::service::ServiceError;

/// Why a call to the store came to nothing, or may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store did not answer. Whether a write or a commit happened all the same it does not tell; a transaction that
    /// was not about to commit is rolled back.
    #[error("{}", without_answer(.0))]
    Service(#[from] ServiceError),
    /// A serializable transaction has read or written a row that another one has changed since. It is rolled back;
    /// the same once more may succeed.
    #[error(
        "the row `{key}` was changed by another transaction since this one began; it is rolled back: run the whole of it again"
    )]
    Conflict {
        /// The row.
        key: String,
    },
    /// Transactions wait for one another's rows. This one is rolled back so that the others can go on; the same once
    /// more may succeed.
    #[error(
        "deadlock at the row `{key}`: the transactions that hold it wait for this one; it is rolled back: run the whole of it again, or lock rows in the same order everywhere"
    )]
    Deadlock {
        /// The row that it wanted.
        key: String,
    },
    /// There is a row of that key already: what a unique index says.
    #[error("there is a row `{key}` already")]
    Duplicate {
        /// The row.
        key: String,
    },
    /// The row to be counted up holds no whole number of 64 bits, or the sum would be none.
    #[error("the row `{key}` cannot be counted up: it holds no whole number, or one that becomes too large")]
    NotANumber {
        /// The row.
        key: String,
    },
    /// The row holds something else.
    #[error("the row `{key}` cannot be read as {wanted}: {reason}")]
    Undecodable {
        /// The row.
        key: String,
        /// The type that was asked for.
        wanted: &'static str,
        /// What serde says.
        reason: String,
    },
    /// The value cannot be written as JSON.
    #[error("the value for the row `{key}` cannot be written as JSON: {reason}")]
    Unencodable {
        /// The row.
        key: String,
        /// What serde says.
        reason: String,
    },
    /// The transaction was rolled back earlier, by an error or because its connection was lost.
    #[error("the transaction is rolled back; begin another one with `store.transaction(…)`")]
    RolledBack,
}

impl StoreError {
    /// Whether the same transaction, run again from its beginning, may succeed: it lost a conflict or a deadlock, and
    /// nothing of it has happened.
    pub fn is_retryable(&self) -> bool {
        matches!(self, StoreError::Conflict { .. } | StoreError::Deadlock { .. })
    }
}

/// In the words of a database's client: there is no status.
fn without_answer(error: &ServiceError) -> String {
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
