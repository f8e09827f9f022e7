//! What every handle holds: the world, and on whose behalf it speaks.

use std::sync::Arc;

use crate::choice::{Actor, Place, Site};
use crate::life::{self, Life};
use crate::state::{Shared, State};

/// A way to the world: for one incarnation of a process, or for the test body.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    shared: Arc<Shared>,
    life: Option<Arc<Life>>,
}

/// How a caller stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Alive,
    /// Its destructors are running: answered from throw-away copies.
    Falling,
    /// It does nothing more.
    Dead,
}

impl Link {
    pub(crate) fn of_process(shared: Arc<Shared>, life: Arc<Life>) -> Self {
        Self { shared, life: Some(life) }
    }

    /// The test body's own: no faults, no crash points; what it does is a given.
    pub(crate) fn of_test(shared: Arc<Shared>) -> Self {
        Self { shared, life: None }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn life(&self) -> Option<&Life> {
        self.life.as_deref()
    }

    pub(crate) fn is_given(&self) -> bool {
        self.life.is_none()
    }

    pub(crate) fn standing(&self) -> Standing {
        match &self.life {
            Some(life) if life.is_falling() => Standing::Falling,
            Some(life) if life.is_dead() => Standing::Dead,
            _ => Standing::Alive,
        }
    }

    /// Has `code` done in the name of whoever speaks through this link.
    pub(crate) fn speak<R>(&self, state: &mut State, code: impl FnOnce(&mut State) -> R) -> R {
        match &self.life {
            Some(life) => life.speak(state, code),
            None => code(state),
        }
    }

    /// A crash point of whoever speaks through this link. True: the process has died, here.
    pub(crate) fn crashes(
        &self,
        state: &mut State,
        site: Site,
        point: &'static str,
        place: Option<Place>,
    ) -> bool {
        self.life.as_ref().is_some_and(|life| life.crashes(state, site, point, place))
    }

    /// Refuses a handle of the test body's to the code under test: through it nothing would be tested.
    ///
    /// # Panics
    /// When an attempt speaks through it.
    pub(crate) fn admit(&self, state: &State, what: &str) {
        let actor = state.actor;
        if self.life.is_none() && actor != Actor::Test {
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
