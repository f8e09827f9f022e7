//! What is needed to crash jobs on a real PostgreSQL: a server ([`server`]), and a database in it that starts each scenario
//! clean, tells who waits for a lock, and sees to it that nothing of a dead process is left ([`database`]).

pub mod database;
pub mod server;
