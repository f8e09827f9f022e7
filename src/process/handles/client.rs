//! A client for a service, whose calls have three crash points and a fault choice each.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::engine::call::{self, CallSpec, CallTarget, EnterOutcome, Reply, Visit};
use crate::engine::link::Link;
use crate::engine::state::{EnqueueOutcome, IncomingJob, State, call_site, lock};
use crate::engine::steps::Resource;
use crate::search::choice::{DeviationKind, Fault, Name, Options, Place, Point, Site};
use crate::system::effect::Ledger;
use crate::system::service::{
    Answer, BuiltIn, CallOptions, Environment, FaultPlan, Faulty, Operation, STORE, Service, ServiceContext,
    ServiceError, Webhook,
};
use crate::system::timeline::EventKind;

/// The time from a reply to the webhook of its call, and the time that a reply waits for a webhook that comes first.
const WEBHOOK_AFTER: Duration = Duration::from_secs(1);
/// The time until a late webhook.
const LATE_WEBHOOK: Duration = Duration::from_secs(3_600);

/// A client for a service. It belongs to one incarnation of a process, or to the test body.
///
/// ```
/// use retryproof::service::payments::{Charge, ChargeOutcome, Payments};
/// use retryproof::{Client, ServiceError, World};
///
/// /// Code under test, which takes a client and does not know about the test.
/// async fn pay(payments: &Client<Payments>, order: u32) -> Result<bool, ServiceError> {
///     let charge = Charge::of_order(order, 9_999).key(format!("order-{order}")); // this amount is declined
///     Ok(matches!(payments.charge(charge).await?, ChargeOutcome::Success { .. }))
/// }
///
/// let world = World::fake();
/// world.process("worker", |p| {
///     let payments = p.payments();
///     p.handle(async move |order: u32| pay(&payments, order).await.map(|paid| assert!(!paid)));
/// });
/// world.enqueue(6_u32);
/// world.drain_all().run().unwrap();
/// // The same service, from the test's side.
/// assert_eq!(world.payments().inspect(|payments| payments.records().len()), 1);
/// assert_eq!(world.effects().of("payments.charge").count(), 0);
/// ```
#[derive(Debug)]
pub struct Client<S: Service> {
    pub(in crate::process) link: Link,
    pub(in crate::process) name: Name,
    pub(in crate::process) faulty: Arc<Mutex<Faulty<S>>>,
}

impl<S: Service> Clone for Client<S> {
    fn clone(&self) -> Self {
        Self { link: self.link.clone(), name: self.name, faulty: self.faulty.clone() }
    }
}

/// The answer of a service, and the injected fault.
#[derive(Debug)]
pub(crate) struct ServiceAnswer<S: Service> {
    pub(in crate::process) answer: Answer<S::Reply>,
    #[cfg_attr(
        not(feature = "wire"),
        expect(dead_code, reason = "what breaks a line matters where there is one")
    )]
    pub(in crate::process) fault: Option<Fault>,
}

/// A call to a service. It does nothing unless awaited.
#[derive(Debug)]
#[must_use = "a call does nothing unless awaited"]
pub struct Call<S: Service>(call::Call<ServiceTarget<S>>);

impl<S: Service> Client<S> {
    pub(crate) fn new(link: Link, name: Name, faulty: Arc<Mutex<Faulty<S>>>) -> Self {
        if !link.is_given() && lock(&faulty).service.is_error_tracker() {
            link.shared().state().record.note_told_of_failures(name);
        }
        Self { link, name, faulty }
    }

    /// Returns a client for a built-in service, which is created on first use.
    pub(crate) fn built_in(link: Link) -> Self
    where
        S: BuiltIn,
    {
        let faulty = link.shared().services.built_in();
        Self::new(link, S::NAME.into(), faulty)
    }

    /// Returns a client for the same service with another link to the same world.
    #[track_caller]
    pub(in crate::process) fn through(&self, link: Link) -> Self {
        assert!(
            Arc::ptr_eq(self.link.shared(), link.shared()),
            "the service `{}` belongs to another world; pass the client that `world.service(…)` of this world returned",
            self.name
        );
        Self::new(link, self.name, self.faulty.clone())
    }

    /// Calls the service. The call has three crash points: before it, after it happened but before its reply, and
    /// after the reply.
    #[track_caller]
    pub fn call(&self, request: S::Request) -> Call<S> {
        Call(call::Call::new(self.target_for(request, Place::caller(), CallOptions::default())))
    }

    /// Calls the service from blocking code. A crash unwinds the stack.
    ///
    /// # Errors
    /// Returns an error if the call failed from the caller's point of view.
    #[track_caller]
    pub fn call_blocking(&self, request: S::Request) -> Result<S::Reply, ServiceError> {
        let target = self.target_for(request, Place::caller(), CallOptions::default());
        call::Call::new(target).block().answer.result
    }

    pub(in crate::process) fn target_for(
        &self,
        request: S::Request,
        place: Place,
        options: CallOptions,
    ) -> ServiceTarget<S> {
        ServiceTarget { client: self.clone(), place, options, request: Some(request) }
    }

    /// Reads the state of the service, for the test: this is not a call.
    ///
    /// `inspect` must not use the same service.
    pub fn inspect<R>(&self, look: impl FnOnce(&S) -> R) -> R {
        look(&lock(&self.faulty).service)
    }

    /// Changes the settings of the service.
    pub(in crate::process) fn set(&self, change: impl FnOnce(&mut Faulty<S>)) -> &Self {
        self.test_only();
        change(&mut lock(&self.faulty));
        self
    }

    /// Turns on delays, because something expires from now on.
    pub(crate) fn expect_delays(&self) {
        self.test_only();
        self.link.shared().state().world.delays = true;
    }

    /// Panics if the code under test calls what is reserved for the test.
    pub(in crate::process) fn test_only(&self) {
        assert!(
            self.link.is_given(),
            "settings of the service `{}` belong to the test: change them through `world`, not through the handle of a process",
            self.name
        );
    }

    fn cx<'a>(&self, state: &'a mut State, service: Name, place: Place) -> ServiceContext<'a> {
        let (now, by, lag) = (state.clock.now(), state.actor(), Duration::ZERO);
        ServiceContext {
            now,
            by,
            service,
            given: self.link.is_given(),
            place: Some(place),
            lag,
            tells: false,
            ledger: &mut state.ledger,
            inputs: Some(Environment {
                inputs: &mut state.inputs,
                met: state.search.choices().len(),
                generated: &mut state.generated,
            }),
            webhooks: Vec::new(),
        }
    }

    /// Sends the requests with which the service calls back, after `reply_in` and a second. Returns the time that a reply
    /// waits for them, if they come first.
    fn call_back(
        &self,
        webhooks: Vec<Webhook>,
        reply_in: Duration,
        call: Option<(Site, Place)>,
        state: &mut State,
    ) -> Duration {
        if webhooks.is_empty() {
            return Duration::ZERO;
        }
        let options = if state.world.loses_jobs { Options::LossyWebhook } else { Options::Webhook };
        let (kind, point) = (DeviationKind::Preemption, Point::Webhook);
        let taken = call.map_or(0, |(site, place)| state.deviate(kind, site, point, options, Some(place)));
        let (delay, reply_waits) = match taken {
            0 => (reply_in.saturating_add(WEBHOOK_AFTER), Duration::ZERO),
            1 => (Duration::ZERO, WEBHOOK_AFTER),
            2 => (LATE_WEBHOOK, Duration::ZERO),
            _ => return Duration::ZERO,
        };
        self.link.shared().woken.note_progress();
        for Webhook { kind, payload } in webhooks {
            state.record.note_webhook(kind, self.name);
            let job = IncomingJob { kind, payload, delay, ..IncomingJob::default() };
            // It has no key, so nothing keeps it out.
            let _: EnqueueOutcome = state.enqueue(job, &mut |_| false);
        }
        reply_waits
    }

    /// Returns the answer for a destructor of a dead process, without any effect.
    fn throw_away(&self, request: S::Request, place: Place) -> Result<S::Reply, ServiceError> {
        let mut copy = lock(&self.faulty).clone();
        let mut ledger = Ledger::default();
        let operation = copy.service.operation(&request).name;
        let state = self.link.shared().state();
        let (now, by, service) = (state.clock.now(), state.actor(), self.name);
        drop(state);
        let (place, lag) = (Some(place), Duration::ZERO);
        let mut cx = ServiceContext {
            ledger: &mut ledger,
            service,
            now,
            by,
            given: false,
            place,
            lag,
            tells: false,
            inputs: None,
            webhooks: Vec::new(),
        };
        copy.given(request, operation, &mut cx).result
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| format!("(not JSON: {error})"))
}

/// The service as the target of one call.
pub(crate) struct ServiceTarget<S: Service> {
    pub(in crate::process) client: Client<S>,
    pub(in crate::process) place: Place,
    options: CallOptions,
    /// The request, until the call begins.
    request: Option<S::Request>,
}

impl<S: Service> CallTarget for ServiceTarget<S> {
    type Output = ServiceAnswer<S>;
    type Visit<'v> = ServiceVisit<'v, S>;

    fn link(&self) -> &Link {
        &self.client.link
    }

    fn operation(&self) -> Option<(Name, Name)> {
        let operation = lock(&self.client.faulty).service.operation(self.request.as_ref()?);
        Some((self.client.name, operation.name))
    }

    fn open(&mut self) -> ServiceVisit<'_, S> {
        let request = self.request.take().expect("a call begins once");
        let faulty = lock(&self.client.faulty);
        let operation = faulty.service.operation(&request);
        ServiceVisit {
            client: &self.client,
            place: self.place,
            options: self.options,
            faulty,
            operation,
            request,
        }
    }

    fn given(&mut self) -> ServiceAnswer<S> {
        let ServiceVisit { client, place, mut faulty, operation, request, .. } = self.open();
        let mut state = client.link.shared().state();
        client.link.reject_foreign_handle(&state, client.name.as_str());
        let mut cx = client.cx(&mut state, client.name, place);
        let answer = faulty.given(request, operation.name, &mut cx);
        let webhooks = std::mem::take(&mut cx.webhooks);
        client.call_back(webhooks, Duration::ZERO, None, &mut state);
        ServiceAnswer { answer, fault: None }
    }

    fn after_death(&mut self) -> Option<ServiceAnswer<S>> {
        let result = self.client.throw_away(self.request.take()?, self.place);
        Some(ServiceAnswer { answer: Answer { result, takes: Duration::ZERO, running: None }, fault: None })
    }

    fn note_reply(&self, state: &mut State, output: &ServiceAnswer<S>) {
        if state.timeline.is_recording() {
            let reply = output.answer.result.as_ref().map(json).map_err(S::error_text);
            state.note(|| EventKind::Replied { reply });
        }
    }

    fn received(&mut self, output: &ServiceAnswer<S>) {
        if let Some(key) = &output.answer.running {
            self.client.link.shared().touch(Resource::Service(self.client.name), true);
            lock(&self.client.faulty).answered(key);
        }
    }
}

/// The service during the first half of a call.
pub(crate) struct ServiceVisit<'v, S: Service> {
    client: &'v Client<S>,
    place: Place,
    options: CallOptions,
    faulty: MutexGuard<'v, Faulty<S>>,
    operation: Operation,
    request: S::Request,
}

impl<'v, S: Service> Visit<'v> for ServiceVisit<'v, S> {
    type Output = ServiceAnswer<S>;

    fn link(&self) -> &'v Link {
        &self.client.link
    }

    fn spec(&self) -> CallSpec {
        let site = call_site(self.client.name, self.operation.name);
        let reply = if self.operation.writes { Reply::Write } else { Reply::Read };
        CallSpec { site, place: self.place, faults: DeviationKind::Fault, reply }
    }

    fn announce(&mut self, state: &mut State) {
        let (service, operation, place) = (self.client.name, self.operation, self.place);
        // The store records which rows a call touches.
        if service.as_str() != STORE {
            state.touch(Resource::Service(service), operation.writes);
        }
        state.calls_outside(service, operation.name, place);
        if state.timeline.is_recording() {
            let (request, operation) = (json(&self.request), operation.name);
            state.note(|| EventKind::Called { service, operation, request, place });
        }
    }

    fn faults(&mut self, state: &State) -> FaultPlan {
        self.faulty.plan(self.operation, state.clock.now(), self.options)
    }

    fn enter(self, fault: Option<Fault>, state: &mut State) -> EnterOutcome<ServiceAnswer<S>> {
        let CallSpec { site, .. } = self.spec();
        let Self { client, place, mut faulty, operation, request, .. } = self;
        let effects = state.ledger.effects().len();
        if state.timeline.is_recording() {
            client.link.shared().leave_glimpse(state);
        }
        let mut cx = client.cx(state, client.name, place);
        let answer = faulty.answer(request, operation.name, fault, &mut cx);
        let webhooks = std::mem::take(&mut cx.webhooks);
        if state.timeline.is_recording() {
            let new: Vec<_> = state.ledger.effects()[effects..]
                .iter()
                .map(|e| (e.name(), e.id.clone(), e.key.clone()))
                .collect();
            for (name, id, key) in new {
                state.note(|| EventKind::Effect { name, id, key });
            }
        }
        let takes = answer.takes;
        let takes = takes.saturating_add(client.call_back(webhooks, takes, Some((site, place)), state));
        EnterOutcome::Replies { output: ServiceAnswer { answer, fault }, takes }
    }
}

impl<S: Service> Future for Call<S> {
    type Output = Result<S::Reply, ServiceError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|answered| answered.answer.result)
    }
}

impl<S: Service> Call<S> {
    pub(in crate::process) fn client(&self) -> &Client<S> {
        &self.0.target.client
    }

    pub(in crate::process) fn place(&self) -> Place {
        self.0.target.place
    }

    /// Returns the request, if the call has not begun.
    pub(in crate::process) fn request(&self) -> Option<&S::Request> {
        self.0.target.request.as_ref()
    }

    /// Makes the call from blocking code.
    pub(in crate::process) fn block(&mut self) -> Result<S::Reply, ServiceError> {
        let ServiceTarget { client, place, options, request } = &mut self.0.target;
        let target = ServiceTarget {
            client: client.clone(),
            place: *place,
            options: *options,
            request: request.take(),
        };
        call::Call::new(target).block().answer.result
    }

    /// Returns the same call, whose reply is mapped with `unpack`.
    pub fn map<T>(self, unpack: fn(S::Reply) -> T) -> TypedCall<S, T> {
        TypedCall { call: self, unpack }
    }
}

/// A call whose reply has a certain type.
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
