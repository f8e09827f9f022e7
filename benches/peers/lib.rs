//! The same bodies under retryproof and under tools that explore schedules, in a member of their own so that nobody else has
//! to build those. `BENCHMARKS.md` has the figures, and the command that repeats them.
