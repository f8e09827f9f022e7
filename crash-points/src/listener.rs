//! The listener: at most one function for each thread is called at its points.

use std::cell::Cell;

use crate::{Function, Point};

/// A function that is called at each point of its thread. It may unwind, which is how a harness crashes the code
/// there.
///
/// If the listener itself reaches a point, it is called again. Remove it temporarily if that is not wanted.
pub type Listener = fn(Point);

thread_local! {
    // No destructor and no initialization, so a point is a plain read.
    static LISTENER: Cell<Option<Listener>> = const { Cell::new(None) };
}

/// Sets the listener of this thread, and returns the former one.
pub fn listen(listener: Option<Listener>) -> Option<Listener> {
    LISTENER.replace(listener)
}

/// Called at a point. The attribute inserts this call. Do not call it yourself.
// In a debug build it is better not inlined. If dependencies are optimized in tests, as is common, it is a call of 2
// ns. Inlined into the caller's unoptimized code it would take 9 ns.
#[cfg_attr(not(debug_assertions), inline)]
pub fn hit(function: &'static Function, ordinal: u32) {
    // `try_with`: code with points may run in the destructors of thread-locals while a thread ends.
    if let Ok(Some(listener)) = LISTENER.try_with(Cell::get) {
        listener(Point { function, ordinal });
    }
}
