//! The part that all handles share: the world, and the caller.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::engine::life::{self, Life};
use crate::engine::slots;
use crate::engine::state::{Shared, State};
use crate::search::choice::{Actor, Place, Point, Site};

/// The connection of a handle to the world: for one incarnation of a process, or for the test body. Every call clones
/// a link, so it is one pointer.
#[derive(Clone, Debug)]
pub(crate) enum Link {
    Process(Arc<Life>),
    /// The test body: no faults and no crash points. Its effects are givens.
    Test(Arc<Shared>),
}

/// Whether a caller is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Liveness {
    Alive,
    /// Its destructors are running. Their calls are answered from throw-away copies.
    TearingDown,
    /// It does nothing more.
    Dead,
}

impl Link {
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        match self {
            Link::Process(life) => &life.shared,
            Link::Test(shared) => shared,
        }
    }

    pub(crate) fn life(&self) -> Option<&Life> {
        match self {
            Link::Process(life) => Some(life),
            Link::Test(_) => None,
        }
    }

    /// The same, for a caller that keeps it.
    pub(crate) fn life_shared(&self) -> Option<&Arc<Life>> {
        match self {
            Link::Process(life) => Some(life),
            Link::Test(_) => None,
        }
    }

    /// Makes code that was asleep on the thread of a slot wait for its turn. Does nothing on any other thread.
    pub(crate) fn arrive(&self) {
        if slots::await_turn().is_err() {
            self.unwind()
        }
    }

    /// Runs an operation of several calls to its end, from blocking code on the thread of a slot.
    pub(crate) fn wait_for<F: Future>(&self, future: F) -> F::Output {
        slots::block_on(future).unwrap_or_else(|_| self.unwind())
    }

    pub(crate) fn is_given(&self) -> bool {
        matches!(self, Link::Test(_))
    }

    pub(crate) fn liveness(&self) -> Liveness {
        self.arrive();
        match self.life() {
            Some(life) if life.is_tearing_down() => Liveness::TearingDown,
            Some(life) if life.is_dead() => Liveness::Dead,
            _ => Liveness::Alive,
        }
    }

    /// The result of a call that never completes because its process is dead or the run is stuck. If the executor
    /// polls it, it is dropped soon. If other code inside the run polls it (a `block_on`, a task of tokio's), it
    /// unwinds, because nothing else would ever drop it.
    ///
    /// The caller must not hold any lock of the world.
    pub(crate) fn pend_or_unwind<T>(&self, cx: &Context<'_>) -> Poll<T> {
        if !self.shared().state().is_polled_by_executor(cx) && life::is_inside() && !std::thread::panicking()
        {
            life::unwind()
        }
        Poll::Pending
    }

    /// Runs `code` in the name of the caller.
    pub(crate) fn as_caller<R>(&self, state: &mut State, code: impl FnOnce(&mut State) -> R) -> R {
        match self.life() {
            Some(life) => life.as_caller(state, code),
            None => code(state),
        }
    }

    /// A crash point of the caller. Returns true if the process died here.
    pub(crate) fn crashes(&self, state: &mut State, site: Site, point: Point, place: Option<Place>) -> bool {
        self.life().is_some_and(|life| life.crashes(state, site, point, place))
    }

    /// Rejects a handle of the test body in code under test. Calls through it would test nothing.
    ///
    /// # Panics
    /// If an attempt calls through it.
    pub(crate) fn reject_foreign_handle(&self, state: &State, what: &str) {
        let actor = state.actor();
        if self.is_given() && actor != Actor::Test {
            panic!(
                "{actor} called {what} through the test's own handle (`world.…`), where nothing can go wrong; give the job the handle of its process (`p.…`)"
            );
        }
    }

    /// Ends a blocking call of a dead process or in a stuck run.
    pub(crate) fn unwind(&self) -> ! {
        life::unwind()
    }
}
