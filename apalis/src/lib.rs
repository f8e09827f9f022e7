#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc = include_str!("../README.md")]
//!
//! # The map
//!
//! * [`ProcessExt`] is where to start: a process's [`storage`](ProcessExt::storage), and what it runs: workers
//!   ([`run_worker`](ProcessExt::run_worker)) and services ([`handle_task`](ProcessExt::handle_task)).
//! * [`WorldExt`] pushes tasks from the test body.
//! * [`WorldStorage`] is the backend, with its [`JsonCodec`] and its [`StorageError`].
//! * [`TaskError`] is why a task failed, [`decision`] what becomes of its job.
//! * [`RunWorker`], [`Events`], [`Capture`] and [`Elsewhere`] are named in bounds and types alone.
//!
//! # Design
//!
//! apalis puts a worker's service together when the worker begins to run: its data and layers around what counts attempts, that
//! around the handler, and a layer of the backend's own around it all. The backend here keeps what its layer is put
//! around, and the worker is not run any further. So nothing of apalis' own order, counting or states is imitated: each attempt of
//! a job calls the worker's own service, in the attempt's own place, where the world can crash it, stop it for longer than
//! its lease, and let others go first.
//!
//! The task for that call is made as a database's row would be. What it was pushed with lies in the queue beside the
//! payload, in the context that layers around enqueues use too.

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
