//! The same bodies under retryproof and under other tools that explore schedules. They are a separate member so that
//! nobody else has to build those tools. `BENCHMARKS.md` has the figures, and the command that repeats them.
