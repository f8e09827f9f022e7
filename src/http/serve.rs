//! Serves a request: the same state machines as in process, with the same choices, and the line's own faults.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::answer::Answer;
use super::request::{Request, Route, Wants, Which};
use super::{Door, pages};
use crate::engine::panics;
use crate::engine::state::lock;
use crate::process::Client;
use crate::system::service::email::{self, Email, Sent};
use crate::system::service::error_catcher::{Noted, Notification};
use crate::system::service::fulfillment::{Shipment, Shipped};
use crate::system::service::payments::{self, Charge, Charged};
use crate::system::service::{Behave, Broken, CallOptions, Channel, Directory, Service, ServiceError};

/// How long a throttled caller is told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Answer(Answer),
    /// The line is closed in the middle of the answer.
    Half(Answer),
    Closed,
    Reset,
}

/// The second half of a call, when its answer has taken its time.
pub(super) type Finish = Box<dyn FnOnce() -> Fate + Send>;

/// What has come of serving.
pub(super) enum Served {
    Now(Fate),
    Later(Duration, Finish),
    /// Nothing will ever come.
    Never,
}

impl Served {
    fn answer(answer: Answer) -> Self {
        Served::Now(Fate::Answer(answer))
    }

    /// The same, so much later.
    fn delayed(self, by: Duration) -> Self {
        match self {
            served if by.is_zero() => served,
            Served::Now(fate) => Served::Later(by, Box::new(move || fate)),
            Served::Later(takes, finish) => Served::Later(takes.saturating_add(by), finish),
            Served::Never => Served::Never,
        }
    }
}

/// Serves a request, in the name of whoever is said to run.
pub(super) fn serve(door: &Door, request: &Request) -> Served {
    let served = catch_unwind(AssertUnwindSafe(|| serve_route(door, request)));
    served.unwrap_or_else(|panic| {
        let text = format!("the service panicked: {}", panics::text(&*panic));
        Served::answer(Answer::error(500, &text))
    })
}

fn serve_route(door: &Door, request: &Request) -> Served {
    let Request { route, wants, body } = request;
    let only_looks = matches!(route, Ok(Route::Index | Route::Status(_) | Route::Page(_)));
    if door.host().is_none() && door.link.shared().is_at_work() && !only_looks {
        let reason = "a job called through the test's own door (`world.http()`), where nothing can go wrong; give it that of its process (`p.http()`)";
        return Served::answer(Answer::error(500, reason));
    }
    let before_the_route = || match (wants.throttle, wants.crash) {
        (true, _) => Some(throttled("too many requests")),
        (false, Some(status)) => Some(Answer::error(status, "the service has crashed, as it was asked to")),
        (false, None) => None,
    };
    let plain = |answer: &dyn Fn() -> Answer| {
        Served::answer(before_the_route().unwrap_or_else(answer)).delayed(wants.slow)
    };
    let services = &door.link.shared().services;
    let route = match route {
        Err(answer) => return plain(&|| answer.clone()),
        Ok(route) => route,
    };
    let asked = Asked { door, wants, body };
    match route {
        Route::Index => plain(&|| Answer::page(pages::index())),
        Route::Status(which) => plain(&|| status(*which, services)),
        Route::Page(which) => plain(&|| Answer::page(pages::of(*which, services))),
        Route::Clear(which) => plain(&|| clear(*which, services)),
        Route::Charge => asked.with::<_, Charge>(&door.payments(), payments::Request::Charge, charge_status),
        Route::Charges { order_id } => {
            let request = payments::Request::Charges { order_id: order_id.clone() };
            asked.call(&door.payments(), request, |_| 200)
        }
        Route::Ship => asked.with::<_, Shipment>(
            &door.fulfillment(),
            |shipment| shipment,
            |shipped| match shipped {
                Shipped::Accepted { .. } => 202,
                Shipped::Rejected { .. } => 422,
            },
        ),
        Route::Send => asked.with::<_, Email>(&door.email(), email::Request::Send, |reply| match reply {
            email::Reply::Sent(Sent::NotQueued { .. }) => 422,
            _ => 202,
        }),
        Route::Emails { email, template_id } => {
            let request = email::Request::Emails { email: email.clone(), template_id: template_id.clone() };
            asked.call(&door.email(), request, |_| 200)
        }
        Route::Notify => asked.with::<_, Notification>(
            &door.error_catcher(),
            |notification| notification,
            |noted| match noted {
                Noted::Noted { .. } => 202,
                Noted::Rejected { .. } => 422,
            },
        ),
        Route::Own { service, operation } => match door.own(service) {
            Some(own) => own.serve(&asked, operation),
            None => plain(&|| Answer::error(404, &format!("there is no service `{service}` over HTTP"))),
        },
    }
}

fn status(which: Which, services: &Directory) -> Answer {
    match which {
        Which::Fulfillment => {
            let requests = lock(&services.fulfillment).service.requests().len();
            Answer::json(200, &json!({ "num_requests": requests }))
        }
        Which::Payments | Which::Email | Which::ErrorCatcher => Answer::json(200, &json!({})),
    }
}

fn clear(which: Which, services: &Directory) -> Answer {
    match which {
        Which::Payments => lock(&services.payments).service.clear(),
        Which::Email => lock(&services.email).service.clear(),
        Which::Fulfillment => lock(&services.fulfillment).service.clear(),
        Which::ErrorCatcher => lock(&services.error_catcher()).service.clear(),
    }
    Answer::json(200, &json!({}))
}

fn charge_status(reply: &payments::Reply) -> u16 {
    match reply {
        payments::Reply::Charged(Charged::Success { .. }) => 201,
        _ => 200,
    }
}

fn throttled(reason: &str) -> Answer {
    Answer::error(429, reason).retry_after(RETRY_AFTER)
}

/// A request for a service, whichever it is.
pub(super) struct Asked<'a> {
    door: &'a Door,
    wants: &'a Wants,
    body: &'a [u8],
}

impl Asked<'_> {
    /// A call whose request stands in the body.
    fn with<S: Service, Q: DeserializeOwned>(
        &self,
        client: &Client<S>,
        into: fn(Q) -> S::Request,
        status: fn(&S::Reply) -> u16,
    ) -> Served {
        match serde_json::from_slice(self.body) {
            Ok(request) => self.call(client, into(request), status),
            Err(error) => Served::answer(Answer::error(422, &error.to_string())).delayed(self.wants.slow),
        }
    }

    fn call<S: Service>(
        &self,
        client: &Client<S>,
        request: S::Request,
        status: fn(&S::Reply) -> u16,
    ) -> Served {
        let behave = match self.wants {
            Wants { throttle: true, .. } => Some(Behave::Throttle),
            Wants { crash: Some(_), .. } => Some(Behave::Crash),
            _ => None,
        };
        let crash = self.wants.crash.unwrap_or(503);
        let place = self.door.place_of_call();
        if let (true, Some(behave)) = (client.is_given(), behave) {
            return self.given(client, request, behave).delayed(self.wants.slow);
        }
        let manner = CallOptions { channel: Channel::Line, behave };
        let Some(carried) = client.carry(request, place, manner) else { return Served::Now(Fate::Reset) };
        let breaks = carried.breaks();
        let takes = carried.takes();
        let finish = move || {
            let Some(result) = carried.arrive() else { return Fate::Reset };
            let answer = match result {
                Ok(reply) => Answer::json(status(&reply), &reply),
                Err(error) => refusal(&error, crash),
            };
            match breaks {
                None => Fate::Answer(answer),
                Some(Broken::Half) => Fate::Half(answer),
                Some(Broken::Closed) => Fate::Closed,
                Some(Broken::Silent | Broken::Reset) => Fate::Reset,
            }
        };
        if breaks == Some(Broken::Silent) {
            // A process that dies while it waits dies before it has given up.
            return match self.door.is_alive_after(finish) {
                true => Served::Never,
                false => Served::Now(Fate::Reset),
            };
        }
        let takes = takes.saturating_add(self.wants.slow);
        match takes.is_zero() {
            true => Served::Now(finish()),
            false => Served::Later(takes, Box::new(finish)),
        }
    }

    /// The test's own requests are treated as they ask to be.
    fn given<S: Service>(&self, client: &Client<S>, request: S::Request, behave: Behave) -> Served {
        if behave == Behave::Throttle {
            return Served::answer(throttled("too many requests"));
        }
        if lock(client.door()).service.operation(&request).done_before_crash {
            let carried = client.carry(request, self.door.place_of_call(), CallOptions::default());
            carried.map(|carried| carried.arrive());
        }
        let status = self.wants.crash.unwrap_or(503);
        Served::answer(Answer::error(status, "the service has crashed, as it was asked to"))
    }
}

fn refusal(error: &ServiceError, crash: u16) -> Answer {
    match error {
        ServiceError::Throttled { retry_after, .. } => {
            throttled(&error.to_string()).retry_after(*retry_after)
        }
        ServiceError::Refused { status, reason, .. } => Answer::error(*status, reason),
        ServiceError::Unavailable { service, operation } => {
            Answer::error(crash, &format!("{service}.{operation}: service unavailable"))
        }
        ServiceError::TimedOut { .. } => Answer::error(504, &error.to_string()),
    }
}

/// A service of the test's own that is reached over HTTP.
pub(super) trait Own: Send + Sync {
    fn serve(&self, asked: &Asked<'_>, operation: &str) -> Served;
}

impl<S> Own for Client<S>
where
    S: Service,
    S::Request: DeserializeOwned + Serialize,
{
    fn serve(&self, asked: &Asked<'_>, operation: &str) -> Served {
        let request = match serde_json::from_slice::<S::Request>(asked.body) {
            Ok(request) => request,
            Err(error) => return Served::answer(Answer::error(422, &error.to_string())),
        };
        let known = lock(self.door()).service.operation(&request).name;
        if known.as_str() != operation {
            let name = self.name();
            return Served::answer(Answer::error(404, &format!("this request is for /{name}/{known}")));
        }
        asked.call(&self.of_link(&asked.door.link), request, |_| 200)
    }
}
