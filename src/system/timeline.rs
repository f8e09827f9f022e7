//! What happened in one run, event by event. Recorded only for runs that are to be shown.

use std::collections::BTreeMap;
#[cfg(feature = "tracing")]
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::search::choice::{Actor, Choice, Name, Place, Site};
use crate::system::job::Conflict;

/// One thing that happened.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) at: Duration,
    pub(crate) by: Actor,
    pub(crate) what: What,
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A process was booted.
    Booted { process: Name },
    /// A job came into the world.
    Enqueued { job: u32, kind: &'static str, payload: String, due: Option<Duration> },
    /// An attempt of a job began.
    Started { kind: &'static str, payload: String, process: Name },
    /// A service was called.
    Called { service: Name, operation: Name, request: String, place: Place },
    /// An effect happened.
    Effect { name: String, id: String, key: Option<String> },
    /// The call ended: with its reply, or with an error.
    Replied { reply: Result<String, String> },
    /// The call was dropped by whoever had made it, before its reply arrived. None: nobody knows whether it has happened.
    Cancelled { service: Name, operation: Name, happened: Option<bool>, place: Place },
    /// Something else that is worth a line: a transaction begins, or somebody has to wait for another one.
    Remarked { text: String },
    /// Code under test has logged something.
    #[cfg(feature = "tracing")]
    Said { text: String },
    /// Durable state was updated.
    Updated { name: Name, place: Place },
    /// A deviation was taken.
    Deviated { choice: Choice, place: Option<Place>, instead: Option<Actor> },
    /// A task that a process had spawned ended with an error, and the process with it.
    Exited { error: String },
    /// The attempt ended well, and the queue heard of it.
    Succeeded,
    /// The attempt failed.
    Failed { error: String, retry_at: Option<Duration> },
    /// The job was given up without a place in the dead set.
    Discarded { error: String },
    /// The job was put back until later; that was no failure.
    Snoozed { due: Duration },
    /// A process takes no more jobs, and those that run may end until then.
    Stopping { process: Name, until: Duration },
    /// A process has stopped, as it was told.
    Stopped { process: Name },
    /// The attempt was interrupted because its process stops; the job comes again at once. That was no failure.
    Interrupted,
    /// The cursor of an iterable job was saved.
    Saved { cursor: String },
    /// The queue will hand the job out once more.
    DeliveredAgain,
    /// The attempt ended when the queue had already handed the job out again: it is not listened to.
    EndedLate { error: Option<String> },
    /// Something became of the lock of a unique job.
    Lock { key: String, event: LockEvent },
}

/// What became of a lock.
#[derive(Clone, Debug)]
pub(crate) enum LockEvent {
    Taken,
    GivenBack,
    /// It was given back by one who did not have it.
    TakenAway,
    /// Another one had it.
    Conflict {
        holder: String,
        then: Conflict,
    },
}

/// The events of a run, if they are wanted, and where the code last called.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    events: Option<Vec<Event>>,
    /// Where the last call was made, and by whom: where a crash is shown, and where a task got stuck.
    last_call: Option<(Actor, Place, Site)>,
    /// Where each has made its last call to the outside, waits left out.
    calls: BTreeMap<Actor, (Place, Site)>,
    /// What was logged while nobody could put it down here.
    #[cfg(feature = "tracing")]
    aside: Arc<Aside>,
}

/// What code under test has logged while the state of the run was locked, which it is while a service answers. It comes
/// into the timeline with the next event.
#[cfg(feature = "tracing")]
#[derive(Debug, Default)]
pub(crate) struct Aside(Mutex<Vec<String>>);

#[cfg(feature = "tracing")]
impl Aside {
    pub(crate) fn say(&self, text: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Timeline {
    pub(crate) fn recording() -> Self {
        Self { events: Some(Vec::new()), ..Self::default() }
    }

    pub(crate) fn is_recording(&self) -> bool {
        self.events.is_some()
    }

    pub(crate) fn push(&mut self, at: Duration, by: Actor, what: impl FnOnce() -> What) {
        if let Some(events) = &mut self.events {
            #[cfg(feature = "tracing")]
            events.extend(self.aside.take().into_iter().map(|text| Event {
                at,
                by,
                what: What::Said { text },
            }));
            events.push(Event { at, by, what: what() });
        }
    }

    /// Where to put what is logged while the timeline is out of reach.
    #[cfg(feature = "tracing")]
    pub(crate) fn aside(&self) -> Arc<Aside> {
        self.aside.clone()
    }

    pub(crate) fn called_from(&mut self, by: Actor, place: Place, site: Site) {
        self.last_call = Some((by, place, site));
        if let Site::Call { .. } = site {
            self.calls.insert(by, (place, site));
        }
    }

    /// Where `by` made its last call to the outside.
    pub(crate) fn called_at(&self, by: Actor) -> Option<(Place, Site)> {
        self.calls.get(&by).copied()
    }

    /// Where `by` made its last call, if nobody called since.
    pub(crate) fn last_call(&self, by: Actor) -> Option<(Place, Site)> {
        self.last_call.filter(|(actor, _, _)| *actor == by).map(|(_, place, site)| (place, site))
    }

    /// Who made the last call.
    pub(crate) fn last_actor(&self) -> Option<Actor> {
        self.last_call.map(|(actor, _, _)| actor)
    }

    pub(crate) fn take(&mut self) -> Vec<Event> {
        self.events.take().unwrap_or_default()
    }
}
