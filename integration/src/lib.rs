//! What needs features of retryproof, or libraries that take long to build: see `examples/` and `tests/`. They have a
//! member of their own so that nobody else has to build the libraries.

/// The examples of `Process::http`, `World::http` and `Client::over_http`, with the client that they show. There they are
/// only shown: retryproof itself is tested without the client.
///
/// ```
#[doc = include_str!("../../docs/http/a_job.rs")]
/// ```
/// ```
#[doc = include_str!("../../docs/http/a_fake.rs")]
/// ```
/// ```
#[doc = include_str!("../../docs/http/a_function.rs")]
/// ```
#[cfg(doctest)]
pub struct ExamplesOverHttp;

pub mod key_value;
