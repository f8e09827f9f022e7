#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc = include_str!("../README.md")]
//!
//! # The map
//!
//! * Start with [`ProcessExt`]: a process's [`storage`](ProcessExt::storage), and the workers
//!   ([`run_worker`](ProcessExt::run_worker)) and services ([`handle_task`](ProcessExt::handle_task)) that it runs.
//! * [`WorldExt`] pushes tasks from the test body.
//! * [`WorldStorage`] is the backend, with its [`JsonCodec`] and its [`StorageError`].
//! * [`TaskError`] is the error of a task, [`decision`] decides about its job.
//! * [`RunWorker`], [`Events`], [`Capture`] and [`Elsewhere`] appear only in bounds and types.
//!
//! # Design
//!
//! apalis assembles a worker's service when the worker begins to run. From the inside out: the handler, the attempt
//! counter, the worker's data and layers, and a layer of the backend. The backend here keeps the service that its
//! layer wraps, and the worker does not run any further. So this crate does not imitate apalis' order, counting or
//! states: each attempt of a job calls the worker's own service, within the attempt, where the world can crash it,
//! stall it past its lease, and let other jobs run first.
//!
//! The task for that call is made like one from a database row. Its settings are in the queue beside the payload, in
//! the context that enqueue layers use, too.

mod wall_clock;
mod carried;
mod failure;
mod capture;
mod storage;
mod process;
mod world;

pub use apalis_core::backend::TaskSinkError;
pub use capture::{Capture, Elsewhere};
pub use failure::{TaskError, decision};
pub use process::{Events, ProcessExt, RunWorker};
pub use storage::{JsonCodec, StorageError, WorldStorage};
pub use world::WorldExt;
