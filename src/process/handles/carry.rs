//! Calls that reach a service over a wire of the process. The server of the wire begins and ends them on behalf of the
//! process.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::client::{Client, ServiceAnswer, ServiceTarget};
use crate::engine::call::InFlight;
use crate::engine::link::Link;
use crate::engine::state::Shared;
use crate::search::choice::{Fault, Name, Place};
use crate::system::service::{BrokenConnection, CallOptions, Faulty, Service, ServiceError};

/// A call whose reply is in transit. The call may have happened or not.
#[derive(Debug)]
pub(crate) struct CallInTransit<S: Service>(InFlight<ServiceTarget<S>>);

#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "HTTP is what reaches services over a line"))]
impl<S: Service> Client<S> {
    /// Returns a client for the same service that belongs to another link.
    pub(crate) fn of_link(&self, link: &Link) -> Self {
        Self { link: link.clone(), name: self.name, faulty: self.faulty.clone() }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        self.link.shared()
    }

    pub(crate) fn name(&self) -> Name {
        self.name
    }

    pub(crate) fn faulty(&self) -> &Arc<Mutex<Faulty<S>>> {
        &self.faulty
    }

    /// Whether the client belongs to the test.
    pub(crate) fn is_given(&self) -> bool {
        self.link.is_given()
    }

    /// Performs the first half of a call, at the service. Returns `None` if the process died before, or if the run is
    /// stuck.
    pub(crate) fn carry(
        &self,
        request: S::Request,
        place: Place,
        options: CallOptions,
    ) -> Option<CallInTransit<S>> {
        InFlight::begin(self.target_for(request, place, options)).map(CallInTransit)
    }
}

impl<S: Service> CallInTransit<S> {
    /// Returns how long the answer takes.
    pub(crate) fn takes(&self) -> Duration {
        match self.breaks() {
            Some(_) => Duration::ZERO,
            None => self.0.takes,
        }
    }

    /// Returns how the wire breaks, if it breaks instead of delivering an answer.
    pub(crate) fn breaks(&self) -> Option<BrokenConnection> {
        let ServiceAnswer { answer, fault } = &self.0.output;
        let is_late = matches!(answer.result, Err(ServiceError::TimedOut { .. }));
        fault.and_then(Fault::breaks).or(is_late.then_some(BrokenConnection::Silent))
    }

    /// Performs the second half of a call, which delivers the answer. Returns `None` if the process died before.
    pub(crate) fn arrive(self) -> Option<Result<S::Reply, ServiceError>> {
        self.0.arrive().map(|answered| answered.answer.result)
    }
}
