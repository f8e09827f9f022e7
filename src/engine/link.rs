//! What every handle holds: the world, and on whose behalf it speaks.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::engine::life::{self, Life};
use crate::engine::slots;
use crate::engine::state::{Shared, State};
use crate::search::choice::{Actor, Place, Point, Site};

/// A way to the world: for one incarnation of a process, or for the test body. Every call clones one, so it is one
/// pointer.
#[derive(Clone, Debug)]
pub(crate) enum Link {
    Process(Arc<Life>),
    /// The test body's own: no faults, no crash points; what it does is a given.
    Test(Arc<Shared>),
}

/// Whether a caller lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Liveness {
    Alive,
    /// Its destructors are running: answered from throw-away copies.
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

    /// The same, to be kept.
    pub(crate) fn life_shared(&self) -> Option<&Arc<Life>> {
        match self {
            Link::Process(life) => Some(life),
            Link::Test(_) => None,
        }
    }

    /// Has whoever was asleep on the thread of a slot wait for its turn. On any other thread it does nothing.
    pub(crate) fn arrive(&self) {
        if slots::await_turn().is_err() {
            self.unwind()
        }
    }

    /// Runs what is more than a call to its end, from code that blocks, on the thread of a slot.
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

    /// What a call answers that never completes: its process is dead, or the run is stuck. Polled by the executor it is
    /// dropped soon. Polled by anybody else inside of the run (a `block_on`, a task of tokio's) it unwinds, since
    /// nobody else would ever let go of it.
    ///
    /// No lock of the world's may be held.
    pub(crate) fn pend_or_unwind<T>(&self, cx: &Context<'_>) -> Poll<T> {
        if !self.shared().state().is_polled_by_executor(cx) && life::is_inside() && !std::thread::panicking()
        {
            life::unwind()
        }
        Poll::Pending
    }

    /// Has `code` done in the name of whoever speaks through this link.
    pub(crate) fn as_caller<R>(&self, state: &mut State, code: impl FnOnce(&mut State) -> R) -> R {
        match self.life() {
            Some(life) => life.as_caller(state, code),
            None => code(state),
        }
    }

    /// A crash point of whoever speaks through this link. True: the process has died, here.
    pub(crate) fn crashes(&self, state: &mut State, site: Site, point: Point, place: Option<Place>) -> bool {
        self.life().is_some_and(|life| life.crashes(state, site, point, place))
    }

    /// Refuses a handle of the test body's to the code under test: through it nothing would be tested.
    ///
    /// # Panics
    /// When an attempt speaks through it.
    pub(crate) fn reject_foreign_handle(&self, state: &State, what: &str) {
        let actor = state.actor();
        if self.is_given() && actor != Actor::Test {
            panic!(
                "{actor} called {what} through the test's own handle (`world.…`), where nothing can go wrong; give the job the handle of its process (`p.…`)"
            );
        }
    }

    /// Ends a blocking call of a process that is dead, or of a run that is stuck.
    pub(crate) fn unwind(&self) -> ! {
        life::unwind()
    }
}
