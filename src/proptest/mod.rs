//! Feature `proptest`: properties that hold for any workload and any scenario within the bounds.
//!
//! [`prop_retryproof`] runs a test body once for each case that proptest's `TestRunner` draws. A case has data from
//! your strategy or a whole [`Workload`], and a scenario from [`Scenarios`] and [`Preemptions`]. A failing case is
//! shrunk, data and scenario together. For each smaller piece of data, the scenarios with the same number of
//! deviations are tried, fewest first, so the data may shrink even if the drawn scenario no longer fits.
//!
//! ```
//! use proptest::prelude::*;
//! use retryproof::proptest::{Property, Workload, Workloads};
//! use retryproof::service::payments::Charge;
//! use retryproof::World;
//!
//! let orders = Workloads::new().kind(1..100_u32).jobs(1..=4).duplicates(1..=2).queues(["high", "low"]);
//! Property::new().cases(20).check(orders, async |world: &World, orders: &Workload| {
//!     let queue = orders.queue_of::<u32>();
//!     world.process("worker", move |p| {
//!         let payments = p.payments();
//!         p.queues(["high", "low"]);
//!         p.handle(async move |order: u32| {
//!             payments.charge(Charge::of_order(order, 500).key(format!("order-{order}"))).await.map(drop)
//!         })
//!         .queue(queue);
//!     });
//!     orders.enqueue(world);
//!     world.settle().await;
//!     assert_eq!(world.stats().dead, 0);
//! });
//! ```
//!
//! # Seeds
//!
//! The cases are determined by the test's name and [`Property::seed`], so a run draws the same cases each time. The
//! seed of a failing case is in the report and in a file. The next run tries it first. `RETRYPROOF_SEED='test seed'`
//! runs that case alone. `PROPTEST_CASES` and the other variables of proptest's configuration work, except those for
//! proptest's own seeds and files.

mod course;
mod seeds;
mod property;
mod workload;

pub use course::{Deviations, DeviationsTree, Preemptions, Scenarios};
pub use property::{Property, PropertyError, prop_retryproof};
pub use workload::{PlannedJob, Workload, Workloads};
