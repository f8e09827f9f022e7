//! Who hears of a point that is passed: at most one function a thread.

use std::cell::Cell;

use crate::{Function, Point};

/// Called at each point that its thread passes. It may unwind: that is how a harness crashes the code there.
///
/// It is called again if it passes a point itself; take it away for the while if that must not be.
pub type Listener = fn(Point);

thread_local! {
    // No destructor and nothing to set up: a point reads it, and that is all.
    static LISTENER: Cell<Option<Listener>> = const { Cell::new(None) };
}

/// Makes `listener` the one that hears of this thread's points, and returns the former.
pub fn listen(listener: Option<Listener>) -> Option<Listener> {
    LISTENER.replace(listener)
}

/// A point is passed. What the attribute inserts; not for people.
// In a debug build it is better not inlined: where dependencies are optimised in tests, as is often done, it is a call of
// 2 ns, while inlined into the caller's unoptimised code it would be 9 ns.
#[cfg_attr(not(debug_assertions), inline)]
pub fn hit(function: &'static Function, ordinal: u32) {
    // `try_with`: code with points may run while a thread ends, in the destructors of its thread-locals.
    if let Ok(Some(listener)) = LISTENER.try_with(Cell::get) {
        listener(Point { function, ordinal });
    }
}
