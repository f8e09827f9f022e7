//! Misuses of a model.

use serde::Serialize;

/// The reason why a model cannot test the code: the misuse must be fixed first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A value that was made before the model began is used in it.
    #[error(
        "{used}: a {kind} that was made outside the model is used in it. Make it in the model's closure; a static must be a `retryproof::sync::LazyLock`"
    )]
    MadeOutside {
        /// The name of its type.
        kind: &'static str,
        /// The place of the use, as `file:line:column`.
        used: String,
    },
    /// A value that was made in one execution is used in another one.
    #[error(
        "the {kind} made at {made} is used in another execution than the one that made it. Shared values make executions differ: make a new one in each; a static must be a `retryproof::sync::LazyLock`"
    )]
    Outlived {
        /// The name of its type.
        kind: &'static str,
        /// The place where it was made, as `file:line:column`.
        made: String,
    },
    /// A value that was made in a model is used when no model is running on this thread.
    #[error(
        "the {kind} made in a model at {made} is used outside of it. Take the value out of it before the model's closure returns, and start threads with `retryproof::thread`"
    )]
    Escaped {
        /// The name of its type.
        kind: &'static str,
        /// The place where it was made, as `file:line:column`.
        made: String,
    },
    /// There are more threads than a model may have.
    #[error(
        "more than {most} threads, including the model's own. Fewer are enough: two for most bugs, three for nearly all"
    )]
    TooManyThreads {
        /// The maximum number of threads.
        most: usize,
    },
    /// [`Model::max_threads`](super::Model::max_threads) is more than loom supports, or less than two.
    #[error("max_threads = {asked}, but a model has 2 to {most} threads, including its own")]
    NoSuchThreads {
        /// The requested number.
        asked: usize,
        /// The maximum number.
        most: usize,
    },
    /// A bound of zero, under which nothing would run.
    #[error("{setting} = 0 runs nothing; leave the setting out, or give it at least 1")]
    Nothing {
        /// The name of the setting.
        setting: &'static str,
    },
    /// A model inside another model.
    #[error("a model was started inside another model; start it in its own test")]
    Nested,
    /// The closure does not repeat its behavior.
    #[error(
        "the model's closure does not repeat its behavior when it is run again: {difference}. Make everything that it depends on anew in each execution: no statics, no time, no random numbers, no order of a `HashMap`"
    )]
    Nondeterministic {
        /// The difference, or the message of loom.
        difference: String,
    },
    /// A thread takes a lock that another thread held when it panicked.
    #[error(
        "thread {thread} takes a lock that a thread held when it panicked, and the panic was caught: loom does not support this. Keep the panic out of the model"
    )]
    Poisoned {
        /// The thread that takes it.
        thread: usize,
    },
    /// The build has `panic = "abort"`.
    #[error(
        "the build has `panic = \"abort\"`, and a model needs unwinding; `cargo test` always unwinds, so look at the profile's settings"
    )]
    Abort,
}
