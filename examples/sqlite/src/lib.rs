//! The code that a shop with orders in SQLite writes once, so that its jobs can be crashed at every statement: a pool
//! of its own ([`watched`]). The rest is ordinary code: a worker that polls a table of jobs ([`table`]), and a
//! pipeline that completes orders ([`pipeline`]).

pub mod memory;
pub mod pipeline;
pub mod table;
pub mod watched;
