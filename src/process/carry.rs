//! Calls that reach a service over a line of the process's: begun and ended by whoever serves the line, in the name of
//! the process.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::client::{Client, Happened};
use super::link::Link;
use crate::engine::state::Shared;
use crate::search::choice::{Name, Place};
use crate::system::service::{Broken, Door, Manner, Service, ServiceError};

/// A call that has happened, or not, and whose reply is on its way.
#[derive(Debug)]
pub(crate) struct Carried<S: Service> {
    client: Client<S>,
    happened: Happened<S>,
}

impl<S: Service> Client<S> {
    /// The way of somebody else to the same service.
    pub(crate) fn of_link(&self, link: &Link) -> Self {
        Self { link: link.clone(), name: self.name, door: self.door.clone() }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        self.link.shared()
    }

    pub(crate) fn name(&self) -> Name {
        self.name
    }

    pub(crate) fn door(&self) -> &Arc<Mutex<Door<S>>> {
        &self.door
    }

    /// Whether it is the test's own.
    pub(crate) fn is_given(&self) -> bool {
        self.link.is_given()
    }

    /// The first half of a call: what happens at the service. None if the process died before it, or the run is stuck.
    pub(crate) fn carry(&self, request: S::Request, place: Place, manner: Manner) -> Option<Carried<S>> {
        let happened = self.begin(request, place, manner)?;
        Some(Carried { client: self.clone(), happened })
    }
}

impl<S: Service> Carried<S> {
    /// How long the answer takes.
    pub(crate) fn takes(&self) -> Duration {
        match self.breaks() {
            Some(_) => Duration::ZERO,
            None => self.happened.answer.takes,
        }
    }

    /// What becomes of the line in place of an answer.
    pub(crate) fn breaks(&self) -> Option<Broken> {
        let is_late = matches!(self.happened.answer.result, Err(ServiceError::TimedOut { .. }));
        self.happened.fault.and_then(|fault| fault.breaks()).or(is_late.then_some(Broken::Silent))
    }

    /// The second half: the answer, on its way to the caller. None if the process died before it had it.
    pub(crate) fn arrive(self, place: Place) -> Option<Result<S::Reply, ServiceError>> {
        let Self { client, happened: Happened { operation, answer, .. } } = self;
        let mut state = client.link.shared().state();
        if client.died_answering(&mut state, operation, place) || state.stuck.is_some() {
            return None;
        }
        client.note_reply(&mut state, &answer.result);
        drop(state);
        client.hear(answer.running.as_deref());
        Some(answer.result)
    }
}
