//! How a model is misused.

use serde::Serialize;

/// Why a model says nothing of the code under test: what has to be done otherwise first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Something that was made before the model began is used in it.
    #[error(
        "{used}: a {kind} that was made outside of the model is used in it. Make it in the model's closure; a static must be a `retryproof::sync::LazyLock`"
    )]
    MadeOutside {
        /// Its type's name.
        kind: &'static str,
        /// Where it was used, as `file:line:column`.
        used: String,
    },
    /// Something that was made in one execution is used in another one.
    #[error(
        "the {kind} made at {made} is used in another execution than the one that made it. What executions share keeps them from being alike: make it anew in each; a static must be a `retryproof::sync::LazyLock`"
    )]
    Outlived {
        /// Its type's name.
        kind: &'static str,
        /// Where it was made, as `file:line:column`.
        made: String,
    },
    /// Something that was made in a model is used when no model is under way on this thread.
    #[error(
        "the {kind} made in a model at {made} is used outside of it. Take the value out of it before the model's closure returns, and start threads with `retryproof::thread`"
    )]
    Escaped {
        /// Its type's name.
        kind: &'static str,
        /// Where it was made, as `file:line:column`.
        made: String,
    },
    /// More threads than a model may have.
    #[error(
        "more than {most} threads, the model's own among them. Fewer show the same: two for most bugs, three for nearly all"
    )]
    TooManyThreads {
        /// How many there may be.
        most: usize,
    },
    /// [`Model::max_threads`](super::Model::max_threads) asks for more than loom can do, or for less than two.
    #[error("max_threads = {asked}, but a model has 2 to {most} threads, its own among them")]
    NoSuchThreads {
        /// What was asked for.
        asked: usize,
        /// The most there can be.
        most: usize,
    },
    /// A bound of zero under which nothing would run.
    #[error("{setting} = 0 runs nothing; leave the setting out, or give it at least 1")]
    Nothing {
        /// The setting's name.
        setting: &'static str,
    },
    /// A model inside of a model.
    #[error("a model was started inside of a model; start it in a test of its own")]
    Nested,
    /// The closure does not do the same each time.
    #[error(
        "the model's closure does not do the same when it is run the same way again: {difference}. What it depends on must be made anew in each execution: no statics, no time, no random numbers, no order of a `HashMap`"
    )]
    Nondeterministic {
        /// What differs, or what loom said.
        difference: String,
    },
    /// A lock is taken that a thread held when it panicked.
    #[error(
        "thread {thread} takes a lock that a thread held when it panicked, and the panic was caught: loom cannot tell what comes then. Keep the panic out of the model"
    )]
    Poisoned {
        /// Which thread takes it.
        thread: usize,
    },
    /// A build with `panic = "abort"`.
    #[error(
        "the build has `panic = \"abort\"`, and a model needs unwinding; `cargo test` always unwinds, so look at the profile's settings"
    )]
    Abort,
}
