//! Benchmarks, in a member of their own so that nobody else has to build what measures. `BENCHMARKS.md` has the figures,
//! and the command that repeats each of them.
