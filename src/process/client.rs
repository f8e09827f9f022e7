//! A service as one incarnation reaches it: calls with three crash points and a fault choice each.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use super::link::{Link, Standing};
use crate::choice::{Kind, Name, Place};
use crate::clock::TimerId;
use crate::effect::Ledger;
use crate::service::email::{self, Email, EmailRecord, EmailService, Sent};
use crate::service::fulfillment::{Fulfillment, Shipment, Shipped};
use crate::service::payments::{self, Charge, ChargeRecord, Charged, Payments};
use crate::service::{CLIENT_TIMEOUT, Cx, Fault, Operation, Service, ServiceError, answer};
use crate::state::{State, call_site, lock};
use crate::timeline::What;

/// A service, as one incarnation of a process (or the test body) reaches it.
#[derive(Debug)]
pub struct Client<S: Service> {
    link: Link,
    name: Name,
    service: Arc<Mutex<S>>,
}

impl<S: Service> Clone for Client<S> {
    fn clone(&self) -> Self {
        Self { link: self.link.clone(), name: self.name, service: self.service.clone() }
    }
}

/// How far one call has come.
#[derive(Debug)]
enum Step<S: Service> {
    Begin(S::Request),
    /// It happened, or not; the answer is on its way.
    Answering(Operation, Result<S::Reply, ServiceError>),
    /// No answer will come; the client waits until its own timeout.
    TimingOut(Operation, ServiceError, TimerId),
    Done,
}

/// What comes of the first half of a call.
enum Begun<S: Service> {
    Died,
    Happened(Operation, Result<S::Reply, ServiceError>),
}

/// A call that was made. It does nothing unless awaited.
#[derive(Debug)]
#[must_use = "a call does nothing unless awaited"]
pub struct Call<S: Service> {
    client: Client<S>,
    place: Place,
    step: Step<S>,
}

impl<S: Service> Client<S> {
    pub(crate) fn new(link: Link, service: Arc<Mutex<S>>) -> Self {
        let name = lock(&service).name();
        Self { link, name, service }
    }

    /// Asks the service. Three crash points: before, after it happened but before its reply, after the reply.
    #[track_caller]
    pub fn call(&self, request: S::Request) -> Call<S> {
        Call { client: self.clone(), place: Place::caller(), step: Step::Begin(request) }
    }

    /// Asks the service from code that blocks. A crash unwinds.
    ///
    /// # Errors
    /// When the call came to nothing, as far as the caller can see.
    #[track_caller]
    pub fn call_blocking(&self, request: S::Request) -> Result<S::Reply, ServiceError> {
        let (client, place) = (self, Place::caller());
        match client.link.standing() {
            Standing::Falling => return Ok(client.throw_away(request, place)),
            Standing::Dead => client.link.unwind(),
            Standing::Alive => {}
        }
        let Begun::Happened(operation, result) = client.begin(request, place) else { client.link.unwind() };
        let mut state = client.link.shared().state();
        if matches!(result, Err(ServiceError::TimedOut { .. })) {
            let now = state.clock.now();
            drop(state);
            client.link.shared().advance(now + CLIENT_TIMEOUT);
            state = client.link.shared().state();
        }
        if client.died_answering(&mut state, operation, place) {
            drop(state);
            client.link.unwind()
        }
        client.note_reply(&mut state, &result);
        result
    }

    /// The state of the service, to be looked at by the test.
    pub(crate) fn look(&self) -> MutexGuard<'_, S> {
        lock(&self.service)
    }

    fn begin(&self, request: S::Request, place: Place) -> Begun<S> {
        let mut service = lock(&self.service);
        let operation = service.operation(&request);
        let mut state = self.link.shared().state();
        self.link.speak(&mut state, |state| self.begin_as(state, &mut service, request, operation, place))
    }

    fn begin_as(
        &self,
        state: &mut State,
        service: &mut S,
        request: S::Request,
        operation: Operation,
        place: Place,
    ) -> Begun<S> {
        let name = self.name;
        let site = call_site(name, operation.name);
        self.link.admit(state, name.as_str());
        if self.link.is_given() {
            let result = Ok(service.answer(request, &mut self.cx(state, name, place)));
            return Begun::Happened(operation, result);
        }
        state.timeline.called_from(state.actor, place, site);
        if state.timeline.is_recording() {
            let request = json(&request);
            let (service, operation) = (name, operation.name);
            state.note(|| What::Called { service, operation, request });
        }
        if self.link.crashes(state, site, "before", Some(place)) {
            return Begun::Died;
        }
        let option = state.deviate(Kind::Fault, site, "call", Fault::options(operation), Some(place));
        if state.stuck.is_some() {
            return Begun::Died;
        }
        let effects = state.ledger.effects().len();
        let fault = Fault::taken(operation, option);
        let result = answer(service, request, operation.name, fault, &mut self.cx(state, name, place));
        if state.timeline.is_recording() {
            let new: Vec<_> =
                state.ledger.effects()[effects..].iter().map(|e| (e.name(), e.id.clone())).collect();
            for (name, id) in new {
                state.note(|| What::Effect { name, id });
            }
        }
        Begun::Happened(operation, result)
    }

    fn cx<'a>(&self, state: &'a mut State, service: Name, place: Place) -> Cx<'a> {
        let (now, by) = (state.clock.now(), state.actor);
        Cx { now, by, service, given: self.link.is_given(), place: Some(place), ledger: &mut state.ledger }
    }

    /// The crash points between what happened and the caller's going on. Where nothing can have happened there is
    /// one, since before and after the reply are the same.
    fn died_answering(&self, state: &mut State, operation: Operation, place: Place) -> bool {
        let site = call_site(self.name, operation.name);
        self.link.speak(state, |state| {
            (operation.writes && self.link.crashes(state, site, "happened", Some(place)))
                || self.link.crashes(state, site, "replied", Some(place))
        })
    }

    fn note_reply(&self, state: &mut State, result: &Result<S::Reply, ServiceError>) {
        if state.timeline.is_recording() && !self.link.is_given() {
            let reply = result.as_ref().map(json).map_err(ServiceError::to_string);
            self.link.speak(state, |state| state.note(|| What::Replied { reply }));
        }
    }

    /// The answer that a destructor of a dead process gets. Nothing comes of it.
    fn throw_away(&self, request: S::Request, place: Place) -> S::Reply {
        let mut copy = self.look().clone();
        let mut ledger = Ledger::default();
        let state = self.link.shared().state();
        let (now, by, service) = (state.clock.now(), state.actor, self.name);
        copy.answer(
            request,
            &mut Cx { ledger: &mut ledger, service, now, by, given: false, place: Some(place) },
        )
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| format!("(not JSON: {error})"))
}

impl<S: Service> Future for Call<S> {
    type Output = Result<S::Reply, ServiceError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let link = &this.client.link;
        match link.standing() {
            Standing::Alive => {}
            Standing::Dead => return Poll::Pending,
            Standing::Falling => {
                return match std::mem::replace(&mut this.step, Step::Done) {
                    Step::Begin(request) => Poll::Ready(Ok(this.client.throw_away(request, this.place))),
                    // A call that was under way when the process died: its answer never comes.
                    other => {
                        this.step = other;
                        Poll::Pending
                    }
                };
            }
        }
        match std::mem::replace(&mut this.step, Step::Done) {
            Step::Begin(request) => {
                let Begun::Happened(operation, result) = this.client.begin(request, this.place) else {
                    return Poll::Pending;
                };
                if link.is_given() {
                    return Poll::Ready(result);
                }
                this.step = match result {
                    Err(error @ ServiceError::TimedOut { after, .. }) => {
                        let mut state = link.shared().state();
                        let at = state.clock.now() + after;
                        Step::TimingOut(operation, error, link.shared().set_timer(&mut state, at, cx))
                    }
                    result => {
                        cx.waker().wake_by_ref();
                        Step::Answering(operation, result)
                    }
                };
                Poll::Pending
            }
            Step::TimingOut(operation, error, timer) => {
                let mut state = link.shared().state();
                if state.clock.now() < timer.0 {
                    state.clock.cancel(timer);
                    let timer = link.shared().set_timer(&mut state, timer.0, cx);
                    this.step = Step::TimingOut(operation, error, timer);
                    return Poll::Pending;
                }
                drop(state);
                this.finish(operation, Err(error))
            }
            Step::Answering(operation, result) => this.finish(operation, result),
            Step::Done => panic!("a call was polled after it had ended"),
        }
    }
}

impl<S: Service> Call<S> {
    fn finish(
        &self,
        operation: Operation,
        result: Result<S::Reply, ServiceError>,
    ) -> Poll<Result<S::Reply, ServiceError>> {
        let mut state = self.client.link.shared().state();
        if self.client.died_answering(&mut state, operation, self.place) || state.stuck.is_some() {
            return Poll::Pending;
        }
        self.client.note_reply(&mut state, &result);
        Poll::Ready(result)
    }
}

impl<S: Service> Drop for Call<S> {
    fn drop(&mut self) {
        if let Step::TimingOut(_, _, timer) = self.step {
            self.client.link.shared().state().clock.cancel(timer);
        }
    }
}

/// A call whose reply is of one certain form.
#[derive(Debug)]
#[must_use = "a call does nothing unless awaited"]
pub struct TypedCall<S: Service, T> {
    call: Call<S>,
    unpack: fn(S::Reply) -> T,
}

impl<S: Service, T> Future for TypedCall<S, T> {
    type Output = Result<T, ServiceError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let unpack = self.unpack;
        Pin::new(&mut self.call).poll(cx).map(|result| result.map(unpack))
    }
}

/// Writes the async and the blocking form of a call, with the reply as that call has it.
macro_rules! calls {
    ($service:ty: $($(#[$doc:meta])* $name:ident, $blocking:ident($($arg:ident: $type:ty),*) $request:expr => $unpack:expr, $output:ty;)*) => {
        impl Client<$service> {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// When the call came to nothing, as far as the caller can see. It may have happened all the same.
            #[track_caller]
            pub fn $name(&self, $($arg: $type),*) -> TypedCall<$service, $output> {
                TypedCall { call: self.call($request), unpack: $unpack }
            }

            #[doc = concat!("The blocking form of [`", stringify!($name), "`](Self::", stringify!($name), "). A crash unwinds.")]
            ///
            /// # Errors
            /// When the call came to nothing, as far as the caller can see. It may have happened all the same.
            #[track_caller]
            pub fn $blocking(&self, $($arg: $type),*) -> Result<$output, ServiceError> {
                self.call_blocking($request).map($unpack)
            }
        )*}
    };
}

fn other_reply<T>() -> T {
    unreachable!("a service answers what it was asked")
}

calls! { Payments:
    /// Charges a card.
    charge, charge_blocking(charge: Charge) payments::Request::Charge(charge) => |reply| match reply { payments::Reply::Charged(charged) => charged, payments::Reply::Charges(_) => other_reply() }, Charged;
    /// The charges of an order, declined ones included.
    charges, charges_blocking(order_id: impl std::fmt::Display) payments::Request::Charges { order_id: order_id.to_string() } => |reply| match reply { payments::Reply::Charges(charges) => charges, payments::Reply::Charged(_) => other_reply() }, Vec<ChargeRecord>;
}

calls! { EmailService:
    /// Sends an email.
    send, send_blocking(email: Email) email::Request::Send(email) => |reply| match reply { email::Reply::Sent(sent) => sent, email::Reply::Emails(_) => other_reply() }, Sent;
    /// The emails sent to an address from a template.
    emails, emails_blocking(to: &str, template_id: &str) email::Request::Emails { email: to.to_owned(), template_id: template_id.to_owned() } => |reply| match reply { email::Reply::Emails(emails) => emails, email::Reply::Sent(_) => other_reply() }, Vec<EmailRecord>;
}

calls! { Fulfillment:
    /// Ships a parcel.
    request, request_blocking(shipment: Shipment) shipment => |shipped| shipped, Shipped;
}

impl Client<Payments> {
    /// Every charge so far, declined ones included. For the test: it is no call.
    pub fn records(&self) -> Vec<ChargeRecord> {
        self.look().records().to_vec()
    }
}

impl Client<EmailService> {
    /// Every email so far. For the test: it is no call.
    pub fn records(&self) -> Vec<EmailRecord> {
        self.look().records().to_vec()
    }
}

impl Client<Fulfillment> {
    /// Every parcel so far. For the test: it is no call.
    pub fn requests(&self) -> Vec<Shipment> {
        self.look().requests().to_vec()
    }
}
