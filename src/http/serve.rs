//! Serves a request: the same state machines as in process, with the same choices and the faults of the connection.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::message::Message;
use super::pages;
use super::request::{BuiltInService, CheckedRequest, RequestOptions, Route, check};
use super::response::{HttpResponse, ResponseOptions};
use crate::engine::panics;
use crate::engine::state::lock;
use crate::process::Client;
use crate::system::service::email::{self, Email, EmailService, SendOutcome};
use crate::system::service::error_tracker::{ErrorTracker, Notification, NotifyOutcome};
use crate::system::service::fulfillment::{Fulfillment, Shipment, ShipmentOutcome};
use crate::system::service::payments::{self, Charge, ChargeOutcome, Payments};
use crate::system::service::{Behavior, BuiltIn, Directory, Service, ServiceError};
use crate::wire::{Caller, ServeOutcome};

/// The time that a throttled caller must wait.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// The test's own services that are reachable over HTTP, by name.
pub(super) trait CustomServices {
    fn own(&self, name: &str) -> Option<Arc<dyn CustomService>>;
}

/// Serves a request in the name of the current actor.
pub(super) fn serve(message: Message, owns: &dyn CustomServices, caller: &Caller<'_>) -> ServeOutcome {
    let Message { parts, body, manner } = message;
    let reply = |answer: HttpResponse| ServeOutcome::reply(answer.written(manner));
    let CheckedRequest { route, wants } = match check(&parts, &body) {
        Ok(asked) => asked,
        Err(answer) => return reply(answer),
    };
    let call = Call { caller, wants: &wants, body: &body, manner };
    let served = catch_unwind(AssertUnwindSafe(|| call.serve(route, owns)));
    served.unwrap_or_else(|panic| {
        reply(HttpResponse::error(500, &format!("the service panicked: {}", panics::text(&*panic))))
    })
}

/// A request to any service.
pub(super) struct Call<'a> {
    caller: &'a Caller<'a>,
    wants: &'a RequestOptions,
    body: &'a [u8],
    manner: ResponseOptions,
}

impl Call<'_> {
    fn reply(&self, answer: HttpResponse) -> ServeOutcome {
        ServeOutcome::reply(answer.written(self.manner))
    }

    /// A request that is not a call. It may still ask for bad treatment.
    fn plain(&self, answer: impl FnOnce() -> HttpResponse) -> ServeOutcome {
        let badly = match (self.wants.throttle, self.wants.crash) {
            (true, _) => Some(throttled("too many requests")),
            (false, Some(status)) => {
                Some(HttpResponse::error(status, "the service has crashed, as it was asked to"))
            }
            (false, None) => None,
        };
        self.reply(badly.unwrap_or_else(answer)).delayed(self.wants.slow)
    }

    fn client<S: BuiltIn>(&self) -> Client<S> {
        Client::built_in(self.caller.link().clone())
    }

    fn serve(&self, route: Result<Route, HttpResponse>, owns: &dyn CustomServices) -> ServeOutcome {
        let only_looks = matches!(route, Ok(Route::Index | Route::Status(_) | Route::Page(_)));
        if self.caller.is_misused() && !only_looks {
            let reason = "a job called through the test's own address (`world.http()`), where nothing can go wrong; give it that of its process (`p.http()`)";
            return self.reply(HttpResponse::error(500, reason));
        }
        let services = &self.caller.shared().services;
        let payments = || self.client::<Payments>();
        let email = || self.client::<EmailService>();
        let route = match route {
            Err(answer) => return self.plain(|| answer),
            Ok(route) => route,
        };
        match route {
            Route::Index => self.plain(|| HttpResponse::page(pages::index())),
            Route::Status(which) => self.plain(|| status(which, services)),
            Route::Page(which) => self.plain(|| HttpResponse::page(pages::of(which, services))),
            Route::Clear(which) => self.plain(|| clear(which, services)),
            Route::Charge => self.with::<_, Charge>(&payments(), payments::Request::Charge, charge_status),
            Route::Charges { order_id } => {
                self.call(&payments(), payments::Request::Charges { order_id }, |_| 200)
            }
            Route::Ship => self.with::<_, Shipment>(
                &self.client::<Fulfillment>(),
                |shipment| shipment,
                |shipped| match shipped {
                    ShipmentOutcome::Accepted { .. } => 202,
                    ShipmentOutcome::Rejected { .. } => 422,
                },
            ),
            Route::Send => self.with::<_, Email>(&email(), email::Request::Send, |reply| match reply {
                email::Reply::Sent(SendOutcome::NotQueued { .. }) => 422,
                _ => 202,
            }),
            Route::Emails { email: to, template_id } => {
                self.call(&email(), email::Request::Emails { email: to, template_id }, |_| 200)
            }
            Route::Notify => self.with::<_, Notification>(
                &self.client::<ErrorTracker>(),
                |notification| notification,
                |noted| match noted {
                    NotifyOutcome::Noted { .. } => 202,
                    NotifyOutcome::Rejected { .. } => 422,
                },
            ),
            Route::Own { service, operation } => match owns.own(&service) {
                Some(own) => own.serve(self, &operation),
                None => self.plain(|| {
                    HttpResponse::error(404, &format!("there is no service `{service}` over HTTP"))
                }),
            },
        }
    }

    /// A call with its request in the body.
    fn with<S: Service, Q: DeserializeOwned>(
        &self,
        client: &Client<S>,
        into: fn(Q) -> S::Request,
        status: fn(&S::Reply) -> u16,
    ) -> ServeOutcome {
        match serde_json::from_slice(self.body) {
            Ok(request) => self.call(client, into(request), status),
            Err(error) => self.reply(HttpResponse::error(422, &error.to_string())).delayed(self.wants.slow),
        }
    }

    fn call<S: Service>(
        &self,
        client: &Client<S>,
        request: S::Request,
        status: fn(&S::Reply) -> u16,
    ) -> ServeOutcome {
        let behave = match self.wants {
            RequestOptions { throttle: true, .. } => Some(Behavior::Throttled),
            RequestOptions { crash: Some(_), .. } => Some(Behavior::Unavailable),
            _ => None,
        };
        let (crash, manner) = (self.wants.crash.unwrap_or(503), self.manner);
        if let (true, Some(behave)) = (client.is_given(), behave) {
            return self.given(client, request, behave).delayed(self.wants.slow);
        }
        let reply = move |result: Result<S::Reply, ServiceError>| {
            let answer = match result {
                Ok(reply) => HttpResponse::json(status(&reply), &reply),
                Err(error) => refusal(&error, crash),
            };
            answer.written(manner)
        };
        self.caller.call_through(client, request, behave, reply).delayed(self.wants.slow)
    }

    /// Treats the test's own requests as they ask.
    fn given<S: Service>(&self, client: &Client<S>, request: S::Request, behave: Behavior) -> ServeOutcome {
        if behave == Behavior::Throttled {
            return self.reply(throttled("too many requests"));
        }
        if lock(client.faulty()).service.operation(&request).done_before_failure {
            self.caller.happen(client, request);
        }
        let status = self.wants.crash.unwrap_or(503);
        self.reply(HttpResponse::error(status, "the service has crashed, as it was asked to"))
    }
}

fn status(which: BuiltInService, services: &Directory) -> HttpResponse {
    match which {
        BuiltInService::Fulfillment => {
            let requests = lock(&services.built_in::<Fulfillment>()).service.records().len();
            HttpResponse::json(200, &json!({ "num_requests": requests }))
        }
        BuiltInService::Payments | BuiltInService::Email | BuiltInService::ErrorTracker => {
            HttpResponse::json(200, &json!({}))
        }
    }
}

fn clear(which: BuiltInService, services: &Directory) -> HttpResponse {
    match which {
        BuiltInService::Payments => lock(&services.built_in::<Payments>()).service.clear(),
        BuiltInService::Email => lock(&services.built_in::<EmailService>()).service.clear(),
        BuiltInService::Fulfillment => lock(&services.built_in::<Fulfillment>()).service.clear(),
        BuiltInService::ErrorTracker => lock(&services.built_in::<ErrorTracker>()).service.clear(),
    }
    HttpResponse::json(200, &json!({}))
}

fn charge_status(reply: &payments::Reply) -> u16 {
    match reply {
        payments::Reply::Charged(ChargeOutcome::Success { .. }) => 201,
        _ => 200,
    }
}

fn throttled(reason: &str) -> HttpResponse {
    HttpResponse::error(429, reason).retry_after(RETRY_AFTER)
}

fn refusal(error: &ServiceError, crash: u16) -> HttpResponse {
    match error {
        ServiceError::Throttled { retry_after, .. } => {
            throttled(&error.to_string()).retry_after(*retry_after)
        }
        ServiceError::Refused { status, reason, .. } => HttpResponse::error(*status, reason),
        ServiceError::Unavailable { service, operation } => {
            HttpResponse::error(crash, &format!("{service}.{operation}: service unavailable"))
        }
        ServiceError::TimedOut { .. } => HttpResponse::error(504, &error.to_string()),
    }
}

/// A service of the test that is reachable over HTTP.
pub(super) trait CustomService: Send + Sync {
    fn serve(&self, call: &Call<'_>, operation: &str) -> ServeOutcome;
}

impl<S> CustomService for Client<S>
where
    S: Service,
    S::Request: DeserializeOwned + Serialize,
{
    fn serve(&self, call: &Call<'_>, operation: &str) -> ServeOutcome {
        let request = match serde_json::from_slice::<S::Request>(call.body) {
            Ok(request) => request,
            Err(error) => return call.reply(HttpResponse::error(422, &error.to_string())),
        };
        let known = lock(self.faulty()).service.operation(&request).name;
        if known.as_str() != operation {
            let name = self.name();
            return call.reply(HttpResponse::error(404, &format!("this request is for /{name}/{known}")));
        }
        call.call(&self.of_link(call.caller.link()), request, |_| 200)
    }
}
