//! A service as one incarnation reaches it: calls with three crash points and a fault choice each.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use super::link::{Link, Standing};
use crate::engine::slots;
use crate::engine::state::{State, call_site, lock};
use crate::engine::steps::Thing;
use crate::search::choice::{Fault, Kind, Name, Place, Point};
use crate::system::clock::TimerId;
use crate::system::effect::Ledger;
use crate::system::service::{
    Answer, Cx, Door, Environment, Manner, Operation, STORE, Service, ServiceError, Sight,
};
use crate::system::timeline::What;

/// A service, as one incarnation of a process (or the test body) reaches it.
///
/// ```
/// use retryproof::service::payments::{Charge, Charged, Payments};
/// use retryproof::{Client, ServiceError, World};
///
/// /// Code under test: it takes a client, and does not know of the test.
/// async fn pay(payments: &Client<Payments>, order: u32) -> Result<bool, ServiceError> {
///     let charge = Charge::of_order(order, 9_999).key(format!("order-{order}")); // an amount that is declined
///     Ok(matches!(payments.charge(charge).await?, Charged::Success { .. }))
/// }
///
/// let world = World::fake();
/// world.process("worker", |p| {
///     let payments = p.payments();
///     p.handle(async move |order: u32| pay(&payments, order).await.map(|paid| assert!(!paid)));
/// });
/// world.enqueue(6_u32);
/// world.drain_all().run().unwrap();
/// // The test's side of the same service.
/// assert_eq!(world.payments().look(|payments| payments.records().len()), 1);
/// assert_eq!(world.effects().of("payments.charge").count(), 0);
/// ```
#[derive(Debug)]
pub struct Client<S: Service> {
    pub(super) link: Link,
    pub(super) name: Name,
    pub(super) door: Arc<Mutex<Door<S>>>,
}

impl<S: Service> Clone for Client<S> {
    fn clone(&self) -> Self {
        Self { link: self.link.clone(), name: self.name, door: self.door.clone() }
    }
}

/// How far one call has come.
#[derive(Debug)]
enum Step<S: Service> {
    Begin(S::Request),
    /// It happened, or not; the answer is on its way.
    Answering(Happened<S>),
    /// The answer takes its time; or none will come, and the client waits until its own timeout.
    Waiting(Happened<S>, TimerId),
    Done,
}

/// What comes of the first half of a call: nothing, if the process died in it.
pub(super) type Begun<S> = Option<Happened<S>>;

/// A call that has happened, or not, and what the caller will see of it.
#[derive(Debug)]
pub(super) struct Happened<S: Service> {
    pub(super) operation: Operation,
    pub(super) answer: Answer<S::Reply>,
    #[cfg_attr(
        not(feature = "http"),
        expect(dead_code, reason = "what breaks a line matters where there is one")
    )]
    pub(super) fault: Option<Fault>,
}

/// A call that was made. It does nothing unless awaited.
#[derive(Debug)]
#[must_use = "a call does nothing unless awaited"]
pub struct Call<S: Service> {
    pub(super) client: Client<S>,
    pub(super) place: Place,
    step: Step<S>,
}

impl<S: Service> Client<S> {
    pub(crate) fn new(link: Link, name: Name, door: Arc<Mutex<Door<S>>>) -> Self {
        if !link.is_given() && lock(&door).service.is_told_of_failures() {
            link.shared().state().told_of_failures = Some(name);
        }
        Self { link, name, door }
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
            Standing::Falling => return client.throw_away(request, place),
            Standing::Dead => client.link.unwind(),
            Standing::Alive => {}
        }
        if slots::is_here() {
            return client.link.wait_for(Call { client: client.clone(), place, step: Step::Begin(request) });
        }
        let begun = client.begin(request, place, Manner::default());
        let Some(Happened { operation, answer, .. }) = begun else { client.link.unwind() };
        let mut state = client.link.shared().state();
        if !answer.takes.is_zero() {
            let now = state.clock.now();
            drop(state);
            client.link.shared().advance(now.saturating_add(answer.takes));
            state = client.link.shared().state();
        }
        if client.died_answering(&mut state, operation, place) {
            drop(state);
            client.link.unwind()
        }
        client.note_reply(&mut state, &answer.result);
        drop(state);
        client.hear(answer.running.as_deref());
        answer.result
    }

    /// The state of the service, to be looked at by the test: it is no call.
    ///
    /// `look` must not come back to this same service.
    pub fn look<R>(&self, look: impl FnOnce(&S) -> R) -> R {
        look(&lock(&self.door).service)
    }

    /// Changes what is set of the door.
    pub(super) fn set(&self, change: impl FnOnce(&mut Door<S>)) -> &Self {
        self.test_only();
        change(&mut lock(&self.door));
        self
    }

    /// From here on it matters how late something comes: something expires.
    pub(super) fn expect_delays(&self) {
        self.test_only();
        self.link.shared().state().delays = true;
    }

    /// Refuses what is the test's own business to the code under test.
    pub(super) fn test_only(&self) {
        assert!(
            self.link.is_given(),
            "settings of the service `{}` are the test's: set them through `world`, not through the handle of a process",
            self.name
        );
    }

    pub(super) fn begin(&self, request: S::Request, place: Place, manner: Manner) -> Begun<S> {
        let mut door = lock(&self.door);
        let operation = door.service.operation(&request);
        let mut state = self.link.shared().state();
        self.link
            .speak(&mut state, |state| self.begin_as(state, &mut door, request, (operation, place, manner)))
    }

    fn begin_as(
        &self,
        state: &mut State,
        door: &mut Door<S>,
        request: S::Request,
        (operation, place, manner): (Operation, Place, Manner),
    ) -> Begun<S> {
        let name = self.name;
        let site = call_site(name, operation.name);
        self.link.admit(state, name.as_str());
        if self.link.is_given() {
            let answer = door.given(request, operation.name, &mut self.cx(state, name, place));
            return Some(Happened { operation, answer, fault: None });
        }
        state.timeline.called_from(state.actor, place, site);
        // Which rows it touches is said where it is known.
        if name.as_str() != STORE {
            state.touch(Thing::Service(name), operation.writes);
        }
        state.calls_outside(name, operation.name, place);
        if state.timeline.is_recording() {
            let request = json(&request);
            let (service, operation) = (name, operation.name);
            state.note(|| What::Called { service, operation, request, place });
        }
        if self.link.crashes(state, site, Point::Before, Some(place)) {
            return None;
        }
        let fault = match door.sight(operation, state.clock.now(), manner) {
            Sight::Certain(fault) => Some(fault),
            Sight::Open(faults) => state.draw_fault(Kind::Fault, site, faults, place),
        };
        if state.stuck.is_some() {
            return None;
        }
        let effects = state.ledger.effects().len();
        let answer = door.answer(request, operation.name, fault, &mut self.cx(state, name, place));
        if state.timeline.is_recording() {
            let new: Vec<_> =
                state.ledger.effects()[effects..].iter().map(|e| (e.name(), e.id.clone())).collect();
            for (name, id) in new {
                state.note(|| What::Effect { name, id });
            }
        }
        Some(Happened { operation, answer, fault })
    }

    fn cx<'a>(&self, state: &'a mut State, service: Name, place: Place) -> Cx<'a> {
        let (now, by, lag) = (state.clock.now(), state.actor, Duration::ZERO);
        Cx {
            now,
            by,
            service,
            given: self.link.is_given(),
            place: Some(place),
            lag,
            tells: false,
            ledger: &mut state.ledger,
            inputs: Some(Environment { inputs: &mut state.inputs, met: state.chooser.record().len() }),
        }
    }

    /// The caller has the answer to a request that was running.
    pub(super) fn hear(&self, running: Option<&str>) {
        if let Some(key) = running {
            self.link.shared().touch(Thing::Service(self.name), true);
            lock(&self.door).answered(key);
        }
    }

    /// The crash points between what happened and the caller's going on. Where nothing can have happened there is
    /// one, since before and after the reply are the same.
    pub(super) fn died_answering(&self, state: &mut State, operation: Operation, place: Place) -> bool {
        let site = call_site(self.name, operation.name);
        self.link.speak(state, |state| {
            (operation.writes && self.link.crashes(state, site, Point::Happened, Some(place)))
                || self.link.crashes(state, site, Point::Replied, Some(place))
        })
    }

    pub(super) fn note_reply(&self, state: &mut State, result: &Result<S::Reply, ServiceError>) {
        if state.timeline.is_recording() && !self.link.is_given() {
            let reply = result.as_ref().map(json).map_err(ServiceError::to_string);
            self.link.speak(state, |state| state.note(|| What::Replied { reply }));
        }
    }

    /// The answer that a destructor of a dead process gets. Nothing comes of it.
    fn throw_away(&self, request: S::Request, place: Place) -> Result<S::Reply, ServiceError> {
        let mut copy = lock(&self.door).clone();
        let mut ledger = Ledger::default();
        let operation = copy.service.operation(&request).name;
        let state = self.link.shared().state();
        let (now, by, service) = (state.clock.now(), state.actor, self.name);
        drop(state);
        let (place, lag) = (Some(place), Duration::ZERO);
        let mut cx = Cx {
            ledger: &mut ledger,
            service,
            now,
            by,
            given: false,
            place,
            lag,
            tells: false,
            inputs: None,
        };
        copy.given(request, operation, &mut cx).result
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
            Standing::Dead => return link.cease(cx),
            Standing::Falling => {
                return match std::mem::replace(&mut this.step, Step::Done) {
                    Step::Begin(request) => Poll::Ready(this.client.throw_away(request, this.place)),
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
                let Some(happened) = this.client.begin(request, this.place, Manner::default()) else {
                    return link.cease(cx);
                };
                if link.is_given() {
                    return Poll::Ready(happened.answer.result);
                }
                let takes = happened.answer.takes;
                this.step = if takes.is_zero() {
                    cx.waker().wake_by_ref();
                    Step::Answering(happened)
                } else {
                    let mut state = link.shared().state();
                    let at = state.clock.now().saturating_add(takes);
                    Step::Waiting(happened, link.shared().set_timer(&mut state, at, cx))
                };
                Poll::Pending
            }
            Step::Waiting(happened, timer) => {
                let mut state = link.shared().state();
                if state.clock.now() < timer.0 {
                    state.clock.cancel(timer);
                    let timer = link.shared().set_timer(&mut state, timer.0, cx);
                    this.step = Step::Waiting(happened, timer);
                    return Poll::Pending;
                }
                drop(state);
                this.finish(happened, cx)
            }
            Step::Answering(happened) => this.finish(happened, cx),
            Step::Done => panic!("a call was polled after it had ended"),
        }
    }
}

impl<S: Service> Call<S> {
    fn finish(&self, happened: Happened<S>, cx: &Context<'_>) -> Poll<Result<S::Reply, ServiceError>> {
        let Happened { operation, answer, .. } = happened;
        let mut state = self.client.link.shared().state();
        if self.client.died_answering(&mut state, operation, self.place) || state.stuck.is_some() {
            drop(state);
            return self.client.link.cease(cx);
        }
        self.client.note_reply(&mut state, &answer.result);
        drop(state);
        self.client.hear(answer.running.as_deref());
        Poll::Ready(answer.result)
    }

    /// What will be asked, as long as it was not.
    pub(super) fn request(&self) -> Option<&S::Request> {
        match &self.step {
            Step::Begin(request) => Some(request),
            _ => None,
        }
    }

    /// The same, taken out: the call is made by somebody else.
    pub(super) fn take_request(&mut self) -> Option<S::Request> {
        match std::mem::replace(&mut self.step, Step::Done) {
            Step::Begin(request) => Some(request),
            _ => None,
        }
    }

    /// The same call, with its reply made into what is wanted of it.
    pub fn map<T>(self, unpack: fn(S::Reply) -> T) -> TypedCall<S, T> {
        TypedCall { call: self, unpack }
    }
}

impl<S: Service> Drop for Call<S> {
    fn drop(&mut self) {
        if let Step::Waiting(_, timer) = self.step {
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
