//! Keeps the panics of explored runs off the terminal, and remembers the last one.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::sync::{Arc, Once};

use crate::engine::state::{Culprit, Shared};
use crate::search::choice::{look, set_look};
use crate::search::scenario::Scenario;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
    static ALOUD: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Option<CaughtPanic>> = const { RefCell::new(None) };
    static TEST: RefCell<String> = const { RefCell::new(String::new()) };
    static RUN: RefCell<Option<Arc<Shared>>> = const { RefCell::new(None) };
}

/// A panic that did not reach the terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CaughtPanic {
    pub(crate) message: String,
    /// `src/jobs.rs:12:5`
    pub(crate) place: Option<String>,
    /// The code that panicked, if it was not the test body.
    pub(crate) of: Option<Culprit>,
}

/// Keeps panics of this thread off the terminal from here on.
pub(crate) fn keep_quiet() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let former = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.try_with(Cell::get).unwrap_or(false) {
                return former(info);
            }
            let message = text(info.payload());
            // The standard library prints this before it aborts because of a second panic during an unwind.
            if message.starts_with("panic in a destructor")
                || message.starts_with("panic in a function that cannot")
            {
                last_words();
                return former(info);
            }
            if ALOUD.try_with(Cell::get).unwrap_or(false) {
                former(info);
            }
            let place = info.location().map(ToString::to_string);
            let _ = LAST.try_with(|last| *last.borrow_mut() = Some(CaughtPanic { message, place, of: None }));
        }));
    });
    QUIET.set(true);
}

/// Sets the current run of this thread, or `None` when it is over.
pub(crate) fn during(run: Option<Arc<Shared>>) {
    RUN.set(run);
}

/// The current run of this thread.
#[cfg(feature = "tracing")]
pub(crate) fn run_here() -> Option<Arc<Shared>> {
    RUN.try_with(|run| run.borrow().clone()).ok().flatten()
}

/// Prints the scenario of the run before the process aborts.
fn last_words() {
    let scenario = RUN.try_with(|run| {
        let shared = run.borrow().clone()?;
        let state = shared.try_state()?;
        let scenario = TEST.with_borrow(|test| Scenario::of_record(test, state.search.choices()));
        Some(scenario.on(&state.inputs.words()))
    });
    let first = LAST.try_with(|last| last.borrow().clone()).ok().flatten();
    let mut words = String::new();
    if let Some(first) = first {
        words = format!("retryproof: panicked at {}: {}\n", first.place.unwrap_or_default(), first.message);
    }
    if let Ok(Some(scenario)) = scenario {
        words.push_str("retryproof: a second panic during an unwind aborts the process; to replay it:\n");
        words.push_str(&format!("  RETRYPROOF_REPLAY='{scenario}' cargo test\n"));
    }
    // Not `eprintln!`: libtest captures it, and captured output is lost when the process aborts.
    let _ = std::io::stderr().write_all(words.as_bytes());
}

/// Runs `code`, an exploration of this test, with the panics of this thread kept off the terminal.
pub(crate) fn quietly<R>(test: &str, code: impl FnOnce() -> R) -> R {
    struct LoudGuard(bool);
    impl Drop for LoudGuard {
        fn drop(&mut self) {
            QUIET.set(self.0);
        }
    }
    let _loud = LoudGuard(QUIET.get());
    keep_thread_quiet(test);
    code()
}

/// Runs `code`, one run on a quiet thread, and lets its panics reach the terminal, with their backtraces.
pub(crate) fn aloud<R>(code: impl FnOnce() -> R) -> R {
    struct QuietGuard(bool);
    impl Drop for QuietGuard {
        fn drop(&mut self) {
            ALOUD.set(self.0);
        }
    }
    let _quiet = QuietGuard(ALOUD.replace(true));
    code()
}

/// Starts an exploration of this test on this thread, and keeps its panics off the terminal.
pub(crate) fn keep_thread_quiet(test: &str) {
    keep_quiet();
    TEST.set(test.to_owned());
}

/// Returns a function for a thread that this one starts. It makes the panics of that thread go where those of this
/// one go.
pub(crate) fn lend() -> impl FnOnce() + Send + 'static {
    let (quiet, test, run) = (QUIET.get(), TEST.with_borrow(Clone::clone), RUN.with_borrow(Clone::clone));
    let (aloud, look) = (ALOUD.get(), look());
    move || {
        set_look(look);
        QUIET.set(quiet);
        TEST.set(test);
        RUN.set(run);
        ALOUD.set(aloud);
    }
}

/// The last panic of this thread that was kept off the terminal.
pub(crate) fn last() -> Option<CaughtPanic> {
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
