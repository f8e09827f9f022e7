//! A shop that keeps its orders in SQLite: a worker that polls a table of jobs ([`table`]), and a pipeline that completes
//! orders ([`pipeline`]). sqlx's pool is that of `retryproof-sqlx`; rusqlite's calls are wrapped by hand.

pub mod memory;
pub mod table;
pub mod pipeline;
