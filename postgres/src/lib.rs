#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod server;
mod connection;
mod state;
mod schema;
mod sql;
mod parameters;
mod backend;
mod lease;
mod sources;
mod door;
mod database;

pub use database::{Database, Postgres, WorldExt};
pub use server::is_available;

pub(crate) use database::{Migration, MigrationCode};
