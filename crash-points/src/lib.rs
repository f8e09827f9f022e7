//! A place to die before every statement of a function: compiled in for tests, absent from production builds.
//!
//! Code that must survive being killed anywhere (a background job, a migration) can only be tested by a test that can kill
//! it anywhere. The attribute [`#[crash_points]`](macro@crash_points) makes the places; a harness such as `retryproof`
//! listens, and decides which of them is fatal.
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
//! The code under test depends on this crate as on any other; it has no dependencies at run time, and without `enabled`
//! none at build time but the attribute itself (`syn` is not even built). Who turns the points on is the harness, a
//! dev-dependency whose own dependency on this crate asks for the feature `enabled`:
//!
//! ```toml
//! [dependencies]
//! crash-points = "0.1"
//!
//! [dev-dependencies]
//! retryproof = "0.1" # depends on crash-points with features = ["enabled"]
//! ```
//!
//! Since resolver 2 (edition 2021) cargo keeps the features that dev-dependencies ask for out of `cargo build`: there the
//! attribute expands to exactly the item it was given, and the machine code is that of the item without it. In `cargo test`
//! it has its points, for unit tests and for those under `tests/`.
//!
//! ## The leak: `--workspace`
//!
//! Features are united over all that one cargo command builds. If a *member* of the workspace depends on the harness
//! normally (a simulator, a test-support crate), then `cargo build --release --workspace` turns the points on for
//! every member, those that ship included. Build what ships with `-p`, and let it say so itself:
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
//! * A point stands before every statement, tail expressions included, of the body and of the blocks in it: loops, `if` and
//!   `match` arms with braces, `let … else`, `unsafe`, closures with braces, async blocks.
//! * It is a plain call, never an `.await`: it changes nothing about what is `Send`, nor how often a future waits.
//! * What you wrote stays as it was; above all no tail expression is wrapped, since that would change its coercions and how
//!   long its temporaries live. Errors of the compiler point to your code.
//! * A point has the `#[cfg]`s of its statement, adds no warning, and knows its line and column, without attributes. Where
//!   several stand at the same place (a macro wrote the code) its ordinal tells them apart.
//! * While nobody listens on the thread, a point is one read of a thread-local.
//!
//! On an `impl` block it means every function in it but the `const` ones. With `#[async_trait]` either may come first.
//! `#[crash_points(crate = path::to::crash_points)]` is for crates that re-export this one.
//!
//! # Limits
//!
//! * Expressions without a block of their own have no point: `Some(x) => g(x),` as an arm, `|x| g(x)` as a closure. Give
//!   it braces and a second statement, or rely on the harness's points before and after each effect.
//! * What is inside a macro's parentheses (`select! { … }`) is out of sight; there is a point before the macro itself.
//! * Nested functions and `impl`s need an attribute of their own. `const fn`, `const { … }` and initialisers of constants
//!   can have no points, naked functions neither.
//! * Code that syntax shows to be unreachable (after `return`, `panic!`, an endless `loop`) gets none, nor does a statement
//!   with `#[allow(unreachable_code)]`. Statements that only handle names beginning with `__` count as another macro's
//!   plumbing and get none.
//! * Misuse is reported where points are on. Where they are off the attribute reads nothing.
//! * If code of the build itself (a build script's dependency) asks for `enabled`, cargo builds the attribute once, for
//!   both. It then expands to calls of an empty function in a build without points; [`ENABLED`] is still `false`, and the
//!   optimiser removes them.
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
/// Without the feature `enabled` it expands to exactly the item it was given. What is generated, and where it may stand, is
/// told [above](crate#what-is-generated).
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

/// Whether points are compiled in.
///
/// For a binary that must never have them:
///
/// ```
/// # #[cfg(not(feature = "enabled"))]
/// const _: () = assert!(cfg!(debug_assertions) || !crash_points::ENABLED, "built with crash points in it");
/// ```
pub const ENABLED: bool = cfg!(feature = "enabled");
