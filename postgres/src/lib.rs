#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod server;
mod connection;
mod schema;
mod state;
mod sql;
mod parameters;
mod sources;
mod backend;
mod lease;
mod door;
mod database;

pub use database::{Database, Postgres, WorldExt};
pub use server::is_available;
