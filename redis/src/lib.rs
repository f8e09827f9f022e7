#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod resp;
mod address;
mod clock;
mod upstream;
mod installed;
mod server;
mod commands;
mod sources;
mod state;
mod line;
mod door;
mod handle;

pub use handle::{Redis, WorldExt};
pub use server::is_available;
