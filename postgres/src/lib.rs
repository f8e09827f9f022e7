#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod clock;
mod installed;
mod server;
mod connection;
mod tokens;
mod sql;
mod schema;
mod state;
mod parameters;
mod sources;
mod backend;
mod lease;
mod line;
mod session;
mod door;
mod database;

pub use database::{Database, Postgres, WorldExt};
pub use server::is_available;
