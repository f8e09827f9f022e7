//! The checks that come before the route, and the route.

use std::time::Duration;

use http::header::{ACCEPT, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method};

use super::response::HttpResponse;
use crate::system::effect::fingerprint;

/// A built-in service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BuiltInService {
    Payments,
    Email,
    Fulfillment,
    ErrorTracker,
}

impl BuiltInService {
    pub(super) const ALL: [BuiltInService; 4] = [
        BuiltInService::Payments,
        BuiltInService::Fulfillment,
        BuiltInService::Email,
        BuiltInService::ErrorTracker,
    ];

    /// The path segment.
    pub(super) fn path(self) -> &'static str {
        match self {
            BuiltInService::Payments => "payments",
            BuiltInService::Email => "email",
            BuiltInService::Fulfillment => "fulfillment",
            BuiltInService::ErrorTracker => "error-tracker",
        }
    }
}

/// The resource of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Index,
    Status(BuiltInService),
    Page(BuiltInService),
    Clear(BuiltInService),
    Charge,
    Charges { order_id: String },
    Ship,
    Send,
    Emails { email: String, template_id: String },
    Notify,
    Own { service: String, operation: String },
}

/// The treatment that a request asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RequestOptions {
    pub(super) slow: Duration,
    pub(super) throttle: bool,
    /// The status of the crash.
    pub(super) crash: Option<u16>,
}

/// A request that has passed the checks before the route.
#[derive(Debug)]
pub(super) struct CheckedRequest {
    pub(super) route: Result<Route, HttpResponse>,
    pub(super) wants: RequestOptions,
}

/// The checks that come before the route.
///
/// # Errors
/// If the request is rejected.
pub(super) fn check(parts: &Parts, body: &[u8]) -> Result<CheckedRequest, HttpResponse> {
    let path = parts.uri.path();
    let (wanted, group) = match is_page(path) {
        true => ("text/html", "text/*"),
        false => ("application/json", "application/*"),
    };
    if !admits(&parts.headers, wanted, group) {
        return Err(HttpResponse::error(406, &format!("`Accept` does not admit {wanted}")));
    }
    let has_body = !body.is_empty() || [Method::POST, Method::PUT, Method::PATCH].contains(&parts.method);
    if has_body {
        if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(body) {
            return Err(HttpResponse::error(422, &format!("the body is not JSON: {error}")));
        }
    }
    let wants = wants(&parts.headers, path, body).map_err(|reason| HttpResponse::error(422, reason))?;
    let route = route(&parts.method, path, parts.uri.query().unwrap_or_default());
    Ok(CheckedRequest { route, wants })
}

fn is_page(path: &str) -> bool {
    path == "/"
        || BuiltInService::ALL
            .iter()
            .any(|which| path.strip_prefix('/') == Some(&format!("{}/ui", which.path())))
}

/// Reports whether an `Accept` header admits a type. Without the header, any type is admitted.
fn admits(headers: &HeaderMap, wanted: &str, group: &str) -> bool {
    let mut accepts = headers.get_all(ACCEPT).iter().peekable();
    if accepts.peek().is_none() {
        return true;
    }
    let ranges = accepts.filter_map(|accept| accept.to_str().ok()).flat_map(|accept| accept.split(','));
    let mut ranges = ranges.map(|range| range.split(';').map(str::trim));
    ranges.any(|mut range| {
        let kind = range.next().unwrap_or_default().to_ascii_lowercase();
        let is_refused = range.any(|parameter| {
            let quality = parameter.to_ascii_lowercase().replace(' ', "");
            quality.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0_f32))
        });
        !is_refused && ["*/*", group, wanted].contains(&kind.as_str())
    })
}

fn wants(headers: &HeaderMap, path: &str, body: &[u8]) -> Result<RequestOptions, &'static str> {
    let is_set =
        |name: &str| headers.get(name).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"));
    // The random values derive from the request, so the same request is treated the same way in every run.
    let drawn = fingerprint(&[path, &String::from_utf8_lossy(body)]);
    let slow = match headers.get("x-be-slow").map(HeaderValue::to_str) {
        None | Some(Ok("false")) => Duration::ZERO,
        Some(Ok("true")) => Duration::from_secs(1 + drawn % 10),
        Some(seconds) => {
            let seconds = seconds.ok().and_then(|seconds| seconds.parse().ok());
            seconds
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .ok_or("X-Be-Slow is neither `true` nor a number of seconds")?
        }
    };
    let crash = is_set("x-crash").then_some(if drawn % 2 == 0 { 503 } else { 504 });
    Ok(RequestOptions { slow, throttle: is_set("x-throttle"), crash })
}

fn route(method: &Method, path: &str, query: &str) -> Result<Route, HttpResponse> {
    let unknown = || HttpResponse::error(404, "not found; `GET /` lists the services");
    // Neither `OPTIONS *` nor `CONNECT` has a path.
    let mut segments = path.strip_prefix('/').ok_or_else(unknown)?.split('/');
    let (first, second, more) = (segments.next().unwrap_or_default(), segments.next(), segments.next());
    if more.is_some() {
        return Err(unknown());
    }
    let which = BuiltInService::ALL.into_iter().find(|which| which.path() == first);
    let (Some(second), Some(which)) = (second, which) else {
        return match (first, second) {
            ("", None) => only(Method::GET, method, || Ok(Route::Index)),
            ("", _) | (_, None | Some("")) => Err(unknown()),
            (service, Some(operation)) => only(Method::POST, method, || {
                Ok(Route::Own { service: service.to_owned(), operation: operation.to_owned() })
            }),
        };
    };
    match (which, second) {
        (_, "status") => only(Method::GET, method, || Ok(Route::Status(which))),
        (_, "ui") => only(Method::GET, method, || Ok(Route::Page(which))),
        (BuiltInService::Payments, "charge") => only(Method::POST, method, || Ok(Route::Charge)),
        (BuiltInService::Payments, "charges") if method == Method::DELETE => Ok(Route::Clear(which)),
        (BuiltInService::Payments, "charges") => {
            either(method, || Ok(Route::Charges { order_id: parameter(query, "order_id")? }))
        }
        (BuiltInService::Fulfillment, "request") => only(Method::PUT, method, || Ok(Route::Ship)),
        (BuiltInService::Fulfillment, "requests") => only(Method::DELETE, method, || Ok(Route::Clear(which))),
        (BuiltInService::Email, "send") => only(Method::POST, method, || Ok(Route::Send)),
        (BuiltInService::Email, "emails") if method == Method::DELETE => Ok(Route::Clear(which)),
        (BuiltInService::Email, "emails") => either(method, || {
            let email = parameter(query, "email")?;
            Ok(Route::Emails { email, template_id: parameter(query, "template_id")? })
        }),
        (BuiltInService::ErrorTracker, "notification") => only(Method::PUT, method, || Ok(Route::Notify)),
        (BuiltInService::ErrorTracker, "notifications") => {
            only(Method::DELETE, method, || Ok(Route::Clear(which)))
        }
        _ => Err(unknown()),
    }
}

type Routed = Result<Route, HttpResponse>;

fn only(wanted: Method, method: &Method, route: impl FnOnce() -> Routed) -> Routed {
    if wanted == *method { route() } else { Err(not_allowed(HeaderValue::from_str(wanted.as_str()).ok())) }
}

/// A resource that can be read and cleared.
fn either(method: &Method, route: impl FnOnce() -> Routed) -> Routed {
    if method == Method::GET {
        route()
    } else {
        Err(not_allowed(Some(HeaderValue::from_static("GET, DELETE"))))
    }
}

fn not_allowed(allowed: Option<HeaderValue>) -> HttpResponse {
    let answer = HttpResponse::error(405, "the method is not allowed; see `Allow`");
    answer.allow(allowed)
}

fn parameter(query: &str, name: &str) -> Result<String, HttpResponse> {
    form_urlencoded::parse(query.as_bytes())
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.into_owned())
        .ok_or_else(|| HttpResponse::error(422, &format!("{name} required")))
}
