#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc = include_str!("../README.md")]

mod pool;
mod statement;

pub use pool::{Connection, Pool, PoolConnection, Transaction};
