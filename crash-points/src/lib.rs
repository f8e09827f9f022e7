//! A place to die before every statement of a function: compiled in for tests, absent from production builds.
//!
//! To test code that must survive being killed anywhere (a background job, a migration), a test must be able to kill
//! it anywhere. The attribute [`#[crash_points]`](macro@crash_points) creates the places. A test harness such as
//! `retryproof` listens, and decides which of them is fatal.
//!
#![cfg_attr(feature = "enabled", doc = "```")]
#![cfg_attr(not(feature = "enabled"), doc = "```ignore")]
//! use std::cell::Cell;
//! use std::panic::{catch_unwind, resume_unwind};
//! # use std::panic::AssertUnwindSafe;
//!
//! use crash_points::{Point, crash_points};
//!
//! #[derive(Default)]
//! struct Order {
//!     charges: Cell<u32>,
//!     paid: Cell<bool>,
//! }
//!
//! #[crash_points]
//! fn complete(order: &Order) {
//!     if order.paid.get() {
//!         return;
//!     }
//!     order.charges.set(order.charges.get() + 1);
//!     order.paid.set(true); // dying just before this line charges the customer twice
//! }
//!
//! /// The smallest harness: dies before the last statement of `complete`.
//! fn crash(point: Point) {
//!     if point.ordinal + 1 == point.function.points.len() as u32 {
//!         resume_unwind(Box::new("crash"));
//!     }
//! }
//!
//! let order = Order::default();
//! crash_points::listen(Some(crash));
//! let attempt = catch_unwind(AssertUnwindSafe(|| complete(&order)));
//! assert!(attempt.is_err());
//!
//! crash_points::listen(None);
//! complete(&order); // the retry
//! assert_eq!(order.charges.get(), 2); // found: two charges for one order
//! ```
//!
//! # Setting it up
//!
//! The code under test has an ordinary dependency on this crate. It has no dependencies at run time. Without
//! `enabled` its only build dependency is the attribute itself, and `syn` is not built. The test harness turns the
//! points on: it is a dev-dependency whose own dependency on this crate has the feature `enabled`:
//!
//! ```toml
//! [dependencies]
//! crash-points = "0.1"
//!
//! [dev-dependencies]
//! retryproof = "0.1" # depends on crash-points with features = ["enabled"]
//! ```
//!
//! Since resolver 2 (edition 2021), cargo does not enable the features of dev-dependencies in `cargo build`. There
//! the attribute expands to exactly the item it was given, and the machine code is the same as without it. In `cargo
//! test` it creates its points, for unit tests and for tests under `tests/`.
//!
//! ## The leak: `--workspace`
//!
//! Cargo unifies features over everything that one command builds. If a *member* of the workspace has an ordinary
//! dependency on the harness (a simulator, a test-support crate), then `cargo build --release --workspace` turns the
//! points on for every member, including those that you ship. Build those with `-p`, and add a check:
//!
//! ```
//! # #[cfg(not(feature = "enabled"))]
//! const _: () = assert!(cfg!(debug_assertions) || !crash_points::ENABLED, "built with crash points in it");
//! ```
//!
//! # What is generated
//!
//! | you write | in tests it becomes |
//! | --- | --- |
//! | `fn f() -> u32 {` | `fn f() -> u32 {` <br> `static __CRASH_POINTS: Function = …;` |
//! | `let a = g();` | `hit(&__CRASH_POINTS, 0);` <br> `let a = g();` |
//! | `a + 1` | `hit(&__CRASH_POINTS, 1);` <br> `a + 1` |
//! | `}` | `}` |
//!
//! * There is a point before every statement, including tail expressions, of the body and of its inner blocks: loops,
//!   `if` and `match` arms with braces, `let … else`, `unsafe`, closures with braces, async blocks.
//! * A point is a plain call, never an `.await`. It does not change which futures are `Send`, or how often a future
//!   waits.
//! * Your code stays the same. In particular, a tail expression is never wrapped, because that would change its
//!   coercions and the lifetimes of its temporaries. Compiler errors point to your code.
//! * A point has the `#[cfg]`s of its statement, adds no warning, and knows the line and column of the statement
//!   without its attributes. If several points have the same place (a macro wrote the code), their ordinals differ.
//! * If nothing listens on the thread, a point is one read of a thread-local.
//!
//! On an `impl` block the attribute applies to every function in it except the `const` ones. It works before or after
//! `#[async_trait]`. `#[crash_points(crate = path::to::crash_points)]` is for crates that re-export this one.
//!
//! # Limits
//!
//! * Expressions without their own block have no point: `Some(x) => g(x),` as an arm, `|x| g(x)` as a closure. Give
//!   them braces and a second statement, or rely on the harness's points before and after each effect.
//! * Code inside a macro's parentheses (`select! { … }`) is not visible. There is a point before the macro itself.
//! * Nested functions and `impl`s need their own attribute. `const fn`, `const { … }`, initializers of constants and
//!   naked functions cannot have points.
//! * Code that is unreachable by its syntax (after `return`, `panic!`, an endless `loop`) gets no points, nor does a
//!   statement with `#[allow(unreachable_code)]`. Statements that only use names beginning with `__` count as another
//!   macro's plumbing and get no points.
//! * Misuse is reported if points are on. If they are off, the attribute does not parse the item.
//! * If code of the build itself (a dependency of a build script) asks for `enabled`, cargo builds the attribute once
//!   for both. It then expands to calls of an empty function in a build without points. [`ENABLED`] is still `false`,
//!   and the optimizer removes the calls.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod point;
#[cfg(feature = "enabled")]
mod listener;
#[cfg(not(feature = "enabled"))]
mod inert;

/// Puts a crash point before every statement of a function, or of every function of an `impl` block.
///
/// Without the feature `enabled` it expands to exactly the item it was given. See [above](crate#what-is-generated)
/// for the generated code, and where the attribute is allowed.
pub use crash_points_macros::crash_points;

#[cfg(not(feature = "enabled"))]
#[doc(hidden)]
pub use inert::hit;
#[cfg(feature = "enabled")]
#[doc(hidden)]
pub use listener::hit;
#[cfg(feature = "enabled")]
pub use listener::{Listener, listen};
#[cfg(feature = "enabled")]
pub use point::Point;
#[cfg_attr(not(feature = "enabled"), doc(hidden))]
pub use point::{Function, Place};

/// Reports whether points are compiled in.
///
/// For a binary that must never have them:
///
/// ```
/// # #[cfg(not(feature = "enabled"))]
/// const _: () = assert!(cfg!(debug_assertions) || !crash_points::ENABLED, "built with crash points in it");
/// ```
pub const ENABLED: bool = cfg!(feature = "enabled");
