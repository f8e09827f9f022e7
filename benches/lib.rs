//! Benchmarks. They are a separate member so that nobody else has to build them. `BENCHMARKS.md` has the figures, and
//! the command that repeats each of them.
