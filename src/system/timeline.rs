//! The events of one run. They are recorded only for runs that a report shows.

use std::collections::BTreeMap;
#[cfg(feature = "tracing")]
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::search::choice::{Actor, Choice, Name, Place, Site};
use crate::system::job::Conflict;

/// One event.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) at: Duration,
    pub(crate) by: Actor,
    pub(crate) what: EventKind,
}

/// The kind of an event.
#[derive(Clone, Debug)]
pub(crate) enum EventKind {
    /// A process was booted.
    Booted { process: Name },
    /// A job entered the world.
    Enqueued { job: u32, kind: &'static str, payload: String, due: Option<Duration> },
    /// An attempt of a job began.
    Started { kind: &'static str, payload: String, process: Name },
    /// A service was called.
    Called { service: Name, operation: Name, request: String, place: Place },
    /// An effect happened.
    Effect { name: String, id: String, key: Option<String> },
    /// The call ended: with its reply, or with an error.
    Replied { reply: Result<String, String> },
    /// The caller dropped the call before its reply arrived. `None` if it is unknown whether the call happened.
    Cancelled { service: Name, operation: Name, happened: Option<bool>, place: Place },
    /// Another remark: a transaction begins, or a task must wait for another one.
    Remarked { text: String },
    /// The code under test has logged something.
    #[cfg(feature = "tracing")]
    Said { text: String },
    /// Durable state was updated.
    Updated { name: Name, place: Place },
    /// A deviation was taken.
    Deviated { choice: Choice, place: Option<Place>, instead: Option<Actor> },
    /// A task that a process had spawned ended with an error, which also ended the process.
    Exited { error: String },
    /// The attempt succeeded, and the queue learned of it.
    Succeeded,
    /// The attempt failed.
    Failed { error: String, retry_at: Option<Duration> },
    /// The job was given up, without a place in the dead set.
    Discarded { error: String },
    /// The job was put back until later. This is not a failure.
    Snoozed { due: Duration },
    /// A process stops taking jobs. Running jobs may end until then.
    Stopping { process: Name, until: Duration },
    /// A process has stopped after it received the signal.
    Stopped { process: Name },
    /// The attempt was interrupted because its process is stopping. The job is ready again immediately. This is not a
    /// failure.
    Interrupted,
    /// The cursor of an iterable job was saved.
    Saved { cursor: String },
    /// The queue will deliver the job again.
    DeliveredAgain,
    /// The attempt ended after the queue had already redelivered the job. Its result is ignored.
    EndedLate { error: Option<String> },
    /// The lock of a unique job changed.
    Lock { key: String, event: LockEvent },
}

/// The change of a lock.
#[derive(Clone, Debug)]
pub(crate) enum LockEvent {
    Taken,
    GivenBack,
    /// It was released by a job that did not hold it.
    TakenAway,
    /// Another job held it.
    Conflict {
        holder: String,
        then: Conflict,
    },
}

/// The events of a run, if they are recorded, and the places of the last calls.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    events: Option<Vec<Event>>,
    /// The place and the actor of the last call: the report shows a crash or a stuck task there.
    last_call: Option<(Actor, Place, Site)>,
    /// The place of each actor's last external call, not counting waits.
    calls: BTreeMap<Actor, (Place, Site)>,
    /// Log lines that could not be added to the timeline directly.
    #[cfg(feature = "tracing")]
    aside: Arc<SideNotes>,
}

/// Log lines of the code under test that arrived while the state of the run was locked, as it is while a service
/// answers. They enter the timeline with the next event.
#[cfg(feature = "tracing")]
#[derive(Debug, Default)]
pub(crate) struct SideNotes(Mutex<Vec<String>>);

#[cfg(feature = "tracing")]
impl SideNotes {
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

    pub(crate) fn push(&mut self, at: Duration, by: Actor, what: impl FnOnce() -> EventKind) {
        if let Some(events) = &mut self.events {
            #[cfg(feature = "tracing")]
            events.extend(self.aside.take().into_iter().map(|text| Event {
                at,
                by,
                what: EventKind::Said { text },
            }));
            events.push(Event { at, by, what: what() });
        }
    }

    /// The buffer for log lines while the timeline is locked.
    #[cfg(feature = "tracing")]
    pub(crate) fn aside(&self) -> Arc<SideNotes> {
        self.aside.clone()
    }

    pub(crate) fn called_from(&mut self, by: Actor, place: Place, site: Site) {
        self.last_call = Some((by, place, site));
        if let Site::Call { .. } = site {
            self.calls.insert(by, (place, site));
        }
    }

    /// The place of the last external call of `by`.
    pub(crate) fn called_at(&self, by: Actor) -> Option<(Place, Site)> {
        self.calls.get(&by).copied()
    }

    /// The place of the last call of `by`, if no other actor has called since.
    pub(crate) fn last_call(&self, by: Actor) -> Option<(Place, Site)> {
        self.last_call.filter(|(actor, _, _)| *actor == by).map(|(_, place, site)| (place, site))
    }

    /// The actor that made the last call.
    pub(crate) fn last_actor(&self) -> Option<Actor> {
        self.last_call.map(|(actor, _, _)| actor)
    }

    /// The events so far.
    pub(crate) fn events(&self) -> &[Event] {
        self.events.as_deref().unwrap_or_default()
    }

    pub(crate) fn take(&mut self) -> Vec<Event> {
        self.events.take().unwrap_or_default()
    }
}
