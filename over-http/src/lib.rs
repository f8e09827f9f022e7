//! Clients that speak HTTP, unchanged, against the services of retryproof: see `examples/` and `tests/`. They have a
//! member of their own so that nobody else has to build the clients.
