//! Converts the answers of the store to what the callers want.

use serde::de::DeserializeOwned;

use crate::system::service::store::{FetchedRow, Reply, Row, StoreError, VisibleRow};

fn other_reply<T>() -> T {
    unreachable!("the store answers the request that it received")
}

fn decode<T: DeserializeOwned>(
    key: &str,
    VisibleRow { value, version, .. }: &VisibleRow,
) -> Result<Row<T>, StoreError> {
    match serde_json::from_str(&value.0) {
        Ok(value) => Ok(Row { value, version: *version }),
        Err(error) => {
            let (key, wanted, reason) = (key.to_owned(), std::any::type_name::<T>(), error.to_string());
            Err(StoreError::Undecodable { key, wanted, reason })
        }
    }
}

pub(super) fn row<T: DeserializeOwned>(reply: Reply) -> Result<Option<Row<T>>, StoreError> {
    match reply {
        Reply::Row(FetchedRow { key, row }) => row.map(|row| decode(&key, &row)).transpose(),
        _ => other_reply(),
    }
}

pub(super) fn rows<T: DeserializeOwned>(reply: Reply) -> Result<Vec<(String, Row<T>)>, StoreError> {
    match reply {
        Reply::Rows(rows) => {
            rows.into_iter().map(|(key, row)| decode(&key, &row).map(|row| (key, row))).collect()
        }
        _ => other_reply(),
    }
}

pub(super) fn nothing(reply: Reply) -> Result<(), StoreError> {
    done(reply).map(drop)
}

pub(super) fn done(reply: Reply) -> Result<bool, StoreError> {
    match reply {
        Reply::Done(done) => Ok(done),
        _ => other_reply(),
    }
}

pub(super) fn number(reply: Reply) -> Result<i64, StoreError> {
    match reply {
        Reply::Number(number) => Ok(number),
        _ => other_reply(),
    }
}
