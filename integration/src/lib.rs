//! Tests and examples that need features of retryproof, or libraries that take long to build: see `examples/` and
//! `tests/`. They are a separate member so that nobody else has to build these libraries.

/// The examples of `Process::http`, `World::http`, `Client::over_http` and `World::upstream`, run with the client that they show.
/// retryproof's own doctests cannot run them, because it is tested without that client.
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
/// ```
#[doc = include_str!("../../docs/http/an_upstream.rs")]
/// ```
#[cfg(doctest)]
pub struct ExamplesOverHttp;

/// The same of `Process::smtp` and `World::smtp`.
///
/// ```
#[doc = include_str!("../../docs/smtp/a_job.rs")]
/// ```
/// ```
#[doc = include_str!("../../docs/smtp/a_fake.rs")]
/// ```
#[cfg(doctest)]
pub struct ExamplesOverSmtp;

pub mod key_value;
