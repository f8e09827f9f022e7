//! Clients that speak HTTP, unchanged, against the services of retryproof, and a protocol that is added from outside: see
//! `examples/` and `tests/`. They have a member of their own so that nobody else has to build the clients.

pub mod key_value;
