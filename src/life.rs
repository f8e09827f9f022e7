//! One life of a process: an incarnation, from its boot to its crash. All handles carry it.
//!
//! Whether an attempt died is read from here, never from a panic's payload: code under test may swallow or replace
//! that. While a dead incarnation is being taken apart it is *falling*: its destructors run, and what they ask for is
//! answered from throw-away copies.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::choice::Name;

/// An incarnation of a process.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) process: Name,
    /// The place of the process among the processes of the world.
    pub(crate) index: usize,
    /// From 1.
    pub(crate) incarnation: u32,
    dead: AtomicBool,
    falling: AtomicBool,
}

impl Life {
    pub(crate) fn new(process: Name, index: usize, incarnation: u32) -> Arc<Self> {
        let (dead, falling) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { process, index, incarnation, dead, falling })
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    pub(crate) fn die(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    /// Whether its destructors are running, on this thread or another.
    pub(crate) fn is_falling(&self) -> bool {
        self.falling.load(Ordering::Relaxed)
    }

    pub(crate) fn set_falling(&self, falling: bool) {
        self.falling.store(falling, Ordering::Relaxed);
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Life>>> = const { RefCell::new(None) };
}

/// Runs `code` as the code of this incarnation: what it does on this thread is done by it.
pub(crate) fn live<R>(life: &Arc<Life>, code: impl FnOnce() -> R) -> R {
    struct Former(Option<Arc<Life>>);
    impl Drop for Former {
        fn drop(&mut self) {
            CURRENT.set(self.0.take());
        }
    }
    let _former = Former(CURRENT.replace(Some(life.clone())));
    code()
}

/// Whether the code that runs on this thread belongs to an incarnation that is dead: what it does must not show.
pub(crate) fn is_dead_here() -> bool {
    CURRENT.with_borrow(|life| life.as_ref().is_some_and(|life| life.is_dead()))
}

/// What a blocking call unwinds with when its process dies. It is not a panic: no message, no hook.
#[derive(Debug)]
pub(crate) struct Died;

/// Unwinds to where the attempt is polled.
pub(crate) fn unwind() -> ! {
    std::panic::resume_unwind(Box::new(Died))
}
