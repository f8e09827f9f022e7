#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc = include_str!("../README.md")]

mod statement;
mod pool;

pub use pool::{Connection, Pool, PoolConnection, Transaction};
