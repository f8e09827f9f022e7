//! The calls that a task has under way at once (`join!`, `join_all`). They may take effect in any order.
//!
//! That calls are made side by side shows only when the second one is made, and then the first one has taken effect. So
//! the reference run notes which operations were made beside others, and each of them draws a choice in the runs that
//! follow.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::State;
use crate::search::choice::Name;
use crate::system::clock::TaskId;

/// A service and one of its operations.
pub(crate) type CalledAs = (Name, Name);

/// One call that is under way.
pub(crate) type Flight = (TaskId, CalledAs);

/// The calls that are under way, and which were so side by side.
#[derive(Debug, Default)]
pub(super) struct Flights {
    under_way: Vec<Flight>,
    /// The operations that the reference run has made beside others.
    known: Arc<BTreeSet<CalledAs>>,
    /// Those that this run has.
    seen: BTreeSet<CalledAs>,
}

impl State {
    /// Says which operations the reference run has made beside others.
    pub(crate) fn expect_flights(&mut self, known: Arc<BTreeSet<CalledAs>>) {
        self.flights.known = known;
    }

    /// The operations that this run has made beside others.
    pub(crate) fn take_flights(&mut self) -> BTreeSet<CalledAs> {
        std::mem::take(&mut self.flights.seen)
    }

    pub(crate) fn is_made_beside_others(&self, service: Name, operation: Name) -> bool {
        self.flights.known.contains(&(service, operation))
    }

    /// A call of the task that is polled is under way.
    pub(crate) fn take_off(&mut self, service: Name, operation: Name) -> Option<Flight> {
        let (task, called) = (self.task()?, (service, operation));
        for (_, beside) in self.flights.under_way.iter().filter(|(of, _)| *of == task) {
            self.flights.seen.extend([*beside, called]);
        }
        self.flights.under_way.push((task, called));
        Some((task, called))
    }

    /// It is under way no longer.
    pub(crate) fn land(&mut self, flight: Flight) {
        if let Some(at) = self.flights.under_way.iter().position(|known| *known == flight) {
            self.flights.under_way.swap_remove(at);
        }
    }
}
