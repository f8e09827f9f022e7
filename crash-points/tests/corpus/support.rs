//! What the specimens have in common: a trace of what happened, values that tell when they are dropped, and an executor.

use std::cell::RefCell;
use std::fmt::Debug;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// A function's name, and how to call it.
pub(crate) type Specimen = (&'static str, fn(i64) -> String);

/// The specimens of a file.
macro_rules! specimens {
    ($($name:ident),* $(,)?) => {
        pub(crate) const ALL: &[crate::support::Specimen] =
            &[$((stringify!($name), |input| format!("{:?}", $name(input)))),*];
    };
}
pub(crate) use specimens;

thread_local! { static TRACE: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) } }

/// Something observable happens.
pub(crate) fn note(what: impl Debug) {
    TRACE.with_borrow_mut(|trace| trace.push(format!("{what:?}")));
}

/// Notes its own end, so that the order of drops is part of a specimen's behaviour.
#[derive(Debug)]
pub(crate) struct Loud(pub(crate) i64);

impl Loud {
    pub(crate) fn value(&self) -> i64 {
        note(("value", self.0));
        self.0
    }

    pub(crate) fn itself(&self) -> &Self {
        self
    }
}

impl Drop for Loud {
    fn drop(&mut self) {
        note(("drop", self.0));
    }
}

/// All that can be seen of one call: its trace, then its value or its panic.
pub(crate) fn behaviour(specimen: &Specimen, input: i64) -> String {
    TRACE.take();
    let end = catch_unwind(AssertUnwindSafe(|| specimen.1(input)));
    let end = end.unwrap_or_else(|payload| match payload.downcast::<String>() {
        Ok(text) => format!("panic: {text}"),
        Err(payload) => format!("panic: {:?}", payload.downcast::<&str>().ok()),
    });
    format!("{} => {end}", TRACE.take().join(" "))
}

/// Panics are behaviour here, not news; and what libtest says of a failed test needs no hook.
pub(crate) fn silence_panics() {
    std::panic::set_hook(Box::new(|info| {
        let text = info.to_string();
        if text.contains("assertion") || text.contains(" always does ") {
            eprintln!("{text}");
        }
    }));
}

/// Pending once.
pub(crate) async fn pause() {
    let mut waited = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs it to its end; how often it waited is behaviour, too.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    for waits in 0..1000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut cx) {
            note(("waited", waits));
            return value;
        }
    }
    panic!("a specimen never ends");
}
