//! Methods and path patterns.

use std::collections::BTreeMap;
use std::fmt;

use http::Method;

/// A method and a path pattern, such as `post("/v1/charges")` or `get("/v1/charges/{id}")`.
///
/// `{name}` stands for one segment of the path, and `{*rest}` at the end for all that follow. The query is not a part of
/// it. The first route that fits is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    method: Method,
    pattern: String,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.pattern)
    }
}

/// A route for `GET` requests.
pub fn get(pattern: impl Into<String>) -> Route {
    Route::new(Method::GET, pattern)
}

/// A route for `POST` requests.
pub fn post(pattern: impl Into<String>) -> Route {
    Route::new(Method::POST, pattern)
}

/// A route for `PUT` requests.
pub fn put(pattern: impl Into<String>) -> Route {
    Route::new(Method::PUT, pattern)
}

/// A route for `PATCH` requests.
pub fn patch(pattern: impl Into<String>) -> Route {
    Route::new(Method::PATCH, pattern)
}

/// A route for `DELETE` requests.
pub fn delete(pattern: impl Into<String>) -> Route {
    Route::new(Method::DELETE, pattern)
}

impl Route {
    /// Makes a route for a method of any other name.
    ///
    /// # Panics
    /// If the pattern does not begin with `/`.
    #[track_caller]
    pub fn new(method: Method, pattern: impl Into<String>) -> Self {
        let pattern = pattern.into();
        assert!(pattern.starts_with('/'), "a path pattern begins with `/`, and `{pattern}` does not");
        Self { method, pattern }
    }

    /// The name of the operation: the method and the pattern. It has no blank, because it stands in scenarios.
    pub(super) fn operation(&self) -> String {
        operation(&self.method, &self.pattern)
    }

    /// Returns the parameters of a path that fits.
    pub(super) fn parameters(&self, method: &str, path: &str) -> Option<BTreeMap<String, String>> {
        if self.method.as_str() != method {
            return None;
        }
        let (mut parameters, mut segments) = (BTreeMap::new(), path.split('/'));
        for wanted in self.pattern.split('/') {
            let name = wanted.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            if let Some(rest) = name.and_then(|name| name.strip_prefix('*')) {
                let left: Vec<_> = segments.by_ref().collect();
                parameters.insert(rest.to_owned(), left.join("/"));
                return Some(parameters);
            }
            let segment = segments.next()?;
            match name {
                Some(name) if !segment.is_empty() => {
                    parameters.insert(name.to_owned(), segment.to_owned());
                }
                None if wanted == segment => {}
                _ => return None,
            }
        }
        segments.next().is_none().then_some(parameters)
    }
}

fn operation(method: &Method, pattern: &str) -> String {
    format!("{method}{}", pattern.split_whitespace().collect::<String>())
}

/// The operation of a request without a route: its path, with `{id}` in place of the segments that look like ids. An id
/// differs between runs, and must not make another operation.
pub(super) fn operation_of_path(method: &str, path: &str) -> String {
    let segments: Vec<_> =
        path.split('/').map(|segment| if looks_like_id(segment) { "{id}" } else { segment }).collect();
    format!("{method}{}", segments.join("/"))
}

/// Whether a segment is a number, a UUID, or a name with a random part: `42`, `ch_63d74d53`.
fn looks_like_id(segment: &str) -> bool {
    let last = segment.rsplit(['_', '-']).next().unwrap_or(segment);
    let digits = last.bytes().filter(u8::is_ascii_digit).count();
    let is_version = segment.len() <= 3 && segment.starts_with('v');
    !is_version
        && digits > 0
        && (digits == last.len() || last.len() >= 8 && last.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(route: &Route, method: &str, path: &str) -> Option<String> {
        route.parameters(method, path).map(|found| format!("{found:?}"))
    }

    #[test]
    fn a_pattern_fits_whole_segments() {
        let refund = post("/v1/charges/{id}/refund");
        assert_eq!(fits(&refund, "POST", "/v1/charges/ch_1/refund").unwrap(), r#"{"id": "ch_1"}"#);
        for path in
            ["/v1/charges/ch_1", "/v1/charges//refund", "/v1/charges/ch_1/refund/x", "/v1/charges/a/b/refund"]
        {
            assert_eq!(fits(&refund, "POST", path), None, "{path}");
        }
        assert_eq!(fits(&refund, "GET", "/v1/charges/ch_1/refund"), None);
        assert_eq!(fits(&get("/files/{*path}"), "GET", "/files/a/b").unwrap(), r#"{"path": "a/b"}"#);
        assert_eq!(fits(&get("/"), "GET", "/").unwrap(), "{}");
    }

    #[test]
    fn ids_are_no_part_of_an_operation() {
        for (path, named) in [
            ("/v1/charges", "/v1/charges"),
            ("/v2/orders/42", "/v2/orders/{id}"),
            ("/charges/ch_63d74d53/refund", "/charges/{id}/refund"),
            ("/users/8e0d5b53-2b2c-4f42-9a0f-0c7a9b6f4a2e", "/users/{id}"),
            ("/oauth2/token", "/oauth2/token"),
            ("/", "/"),
        ] {
            assert_eq!(operation_of_path("GET", path), format!("GET{named}"));
        }
    }
}
