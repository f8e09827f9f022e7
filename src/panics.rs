//! Keeps the panics of explored runs off the terminal, and remembers where the last one was.

use std::cell::{Cell, RefCell};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Option<Panicked>> = const { RefCell::new(None) };
}

/// A panic that did not reach the terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Panicked {
    pub(crate) message: String,
    /// `src/jobs.rs:12:5`
    pub(crate) place: Option<String>,
}

/// From here on panics of this thread are kept off the terminal.
pub(crate) fn keep_quiet() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let former = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.try_with(Cell::get).unwrap_or(false) {
                return former(info);
            }
            let message = text(info.payload());
            let place = info.location().map(ToString::to_string);
            let _ = LAST.try_with(|last| *last.borrow_mut() = Some(Panicked { message, place }));
        }));
    });
    QUIET.set(true);
}

/// Runs `code` with the panics of this thread kept off the terminal.
pub(crate) fn quietly<R>(code: impl FnOnce() -> R) -> R {
    struct Loud(bool);
    impl Drop for Loud {
        fn drop(&mut self) {
            QUIET.set(self.0);
        }
    }
    let _loud = Loud(QUIET.get());
    keep_quiet();
    code()
}

/// The last panic of this thread that was kept off the terminal.
pub(crate) fn last() -> Option<Panicked> {
    LAST.take()
}

/// The message of a panic.
pub(crate) fn text(payload: &dyn std::any::Any) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is no text".to_owned())
}
