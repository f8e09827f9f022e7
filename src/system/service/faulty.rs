//! The fault layer around a service. Faults go around a service, never into it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fault::{Channel, faults};
use super::settings::{Behavior, CLIENT_TIMEOUT, Settings};
use super::{Operation, Refusal, Service, ServiceContext, ServiceError};
use crate::search::choice::{Fault, FaultSet, Name};

/// A stale look-up does not show the records of this last stretch of time. It is longer than the first retries take,
/// and longer than a dead worker's lease.
const STALE: Duration = Duration::from_secs(3_600);

/// A service and its fault layer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faulty<S> {
    pub(crate) service: S,
    pub(crate) settings: Settings,
    down_until: Duration,
    /// Requests with a key that may still be running, each with its end.
    in_flight: BTreeMap<String, Duration>,
}

/// How a call reaches the fault layer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CallOptions {
    pub(crate) channel: Channel,
    /// The behavior that the request itself asks for.
    pub(crate) behave: Option<Behavior>,
}

/// The faults that a call may have, as decided before it begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FaultPlan {
    /// The call ends with this fault.
    Forced(Fault),
    /// The call succeeds, or ends with one of these.
    Choose(FaultSet),
}

/// The outcome of a call, as the caller sees it.
#[derive(Debug)]
pub(crate) struct Answer<R> {
    pub(crate) result: Result<R, ServiceError>,
    /// The time until the answer arrives.
    pub(crate) takes: Duration,
    /// The key whose request runs until the caller has the answer.
    pub(crate) running: Option<String>,
}

impl<S: Service> Faulty<S> {
    pub(crate) fn new(service: S) -> Self {
        Self {
            service,
            settings: Settings::default(),
            down_until: Duration::ZERO,
            in_flight: BTreeMap::new(),
        }
    }

    /// Plans the faults of a call that begins now. A request may ask for a behavior.
    pub(crate) fn plan(&self, operation: Operation, now: Duration, options: CallOptions) -> FaultPlan {
        match options.behave.unwrap_or(self.settings.behave) {
            _ if now < self.down_until => FaultPlan::Forced(Fault::Unavailable),
            Behavior::Unavailable if operation.done_before_failure => FaultPlan::Forced(Fault::ReplyLost),
            Behavior::Unavailable => FaultPlan::Forced(Fault::Unavailable),
            Behavior::Throttled => FaultPlan::Forced(Fault::Throttled),
            Behavior::Normal | Behavior::Slow(_) => {
                FaultPlan::Choose(faults(&operation, &self.settings, options.channel))
            }
        }
    }

    /// Makes a call, with a fault or without.
    pub(crate) fn answer(
        &mut self,
        request: S::Request,
        operation: Name,
        fault: Option<Fault>,
        cx: &mut ServiceContext<'_>,
    ) -> Answer<S::Reply> {
        match fault {
            Some(Fault::Outage) => {
                self.down_until = cx.now.saturating_add(self.settings.outages.unwrap_or_default())
            }
            Some(Fault::OutageForEver) => self.down_until = Duration::MAX,
            _ => {}
        }
        cx.tells = self.service.is_error_tracker();
        cx.lag = if fault == Some(Fault::StaleRead) { STALE } else { self.settings.search_lag };
        let seen = fault.and_then(|fault| fault.seen_as(cx.service, operation));
        let slow = match self.settings.behave {
            Behavior::Slow(slow) => slow,
            _ => Duration::ZERO,
        };
        let is_heard = seen.is_none() && slow < CLIENT_TIMEOUT;
        let mut running = None;
        let answered = if fault.is_none_or(Fault::happens) {
            Some(self.ask(request, operation, is_heard, cx, &mut running))
        } else {
            None
        };
        match (seen, answered) {
            (Some(error @ ServiceError::TimedOut { .. }), _) => {
                Answer { result: Err(error), takes: CLIENT_TIMEOUT, running: None }
            }
            (Some(error), _) => Answer { result: Err(error), takes: Duration::ZERO, running: None },
            (None, Some(result)) if slow < CLIENT_TIMEOUT => Answer { result, takes: slow, running },
            _ => {
                let (service, takes) = (cx.service, CLIENT_TIMEOUT);
                let result = Err(ServiceError::TimedOut { service, operation, after: takes });
                Answer { result, takes, running: None }
            }
        }
    }

    /// Makes a call for the test body or for a destructor, without faults.
    pub(crate) fn given(
        &mut self,
        request: S::Request,
        operation: Name,
        cx: &mut ServiceContext<'_>,
    ) -> Answer<S::Reply> {
        cx.tells = self.service.is_error_tracker();
        let service = cx.service;
        let refused =
            |Refusal { status, reason }| ServiceError::Refused { service, operation, status, reason };
        let result = self.service.answer(request, cx).map_err(refused);
        Answer { result, takes: Duration::ZERO, running: None }
    }

    /// Calls the service, unless a request with the same key is still running.
    fn ask(
        &mut self,
        request: S::Request,
        operation: Name,
        is_heard: bool,
        cx: &mut ServiceContext<'_>,
        running: &mut Option<String>,
    ) -> Result<S::Reply, ServiceError> {
        let service = cx.service;
        let refused = |status, reason| ServiceError::Refused { service, operation, status, reason };
        if let Some(time) = self.settings.in_flight {
            if let Some(key) = self.service.key(&request) {
                if self.in_flight.get(key).is_some_and(|until| cx.now < *until) {
                    let reason = format!("a request with the idempotency key {key:?} is still running");
                    return Err(refused(409, reason));
                }
                self.in_flight.insert(key.to_owned(), cx.now.saturating_add(time));
                *running = Some(key.to_owned());
            }
        }
        let refusals = match self.settings.explores_refusals {
            true => self.service.refusals(&request, cx),
            false => None,
        };
        let refusal = refusals.and_then(|refusals| {
            let whole = (serde_json::to_string(&request), self.service.key(&request));
            let whole = format!("{whole:?}");
            cx.refusal(operation, &refusals, &whole, is_heard)
        });
        let answered = match refusal {
            Some(refusal) => self.service.refuse(request, refusal, cx),
            None => self.service.answer(request, cx),
        };
        answered.map_err(|refusal| refused(refusal.status, refusal.reason))
    }

    /// Ends the request with this key, because its caller has the answer.
    pub(crate) fn answered(&mut self, key: &str) {
        self.in_flight.remove(key);
    }

    /// Reports whether the answers depend on when records were made.
    pub(crate) fn looks_at_the_clock(&self) -> bool {
        self.settings.stale_reads || !self.settings.search_lag.is_zero()
    }

    /// Everything that the answers depend on, if the service exposes its state.
    pub(crate) fn state(&self) -> Option<String> {
        let around = serde_json::to_string(&(self.settings, self.down_until, &self.in_flight)).ok()?;
        self.service.state().map(|state| state + &around)
    }
}
