//! Examples and tests that need features of retryproof, or libraries that take long to build: see `examples/` and
//! `tests/`. They are a separate workspace member, so that other members do not build these libraries.

/// The examples of `Process::http`, `World::http` and `Client::over_http`, tested here with their client.
/// retryproof's own documentation only shows them, because it is tested without the client.
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
