//! Support for crashing jobs on a real PostgreSQL: a server ([`server`]), and a database in it that starts each
//! scenario clean, reports which connections wait for a lock, and leaves nothing of a dead process behind
//! ([`database`]).

pub mod server;
pub mod database;
