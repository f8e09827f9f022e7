//! Feature `loom`: memory shared between threads, in every order of its accesses.

mod error;
mod step;
mod execution;
mod report;
pub mod sync;
pub mod thread;

pub use error::ModelError;
pub use report::ModelReport;
pub use step::ModelStep;

use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use execution::{Execution, ExecutionEnd};

use crate::engine::panics::{self, CaughtPanic};
use crate::judge::report::Verdict;

/// Runs a closure in every order of its threads' accesses to shared memory, and panics with the report unless it
/// succeeds in all of them.
///
/// [`Model`] has the settings, and explains how code under test takes part.
///
/// ```
/// use retryproof::sync::{Arc, atomic::{AtomicU32, Ordering::SeqCst}};
///
/// retryproof::model(|| {
///     let sent = Arc::new(AtomicU32::new(0));
///     let other = { let sent = sent.clone(); retryproof::thread::spawn(move || sent.fetch_add(1, SeqCst)) };
///     sent.fetch_add(1, SeqCst);
///     other.join().unwrap();
///     assert_eq!(sent.load(SeqCst), 2);
/// });
/// ```
///
/// # Panics
/// If the verdict is not [`Verdict::RetryProof`].
#[track_caller]
pub fn model(code: impl Fn() + Send + Sync + 'static) {
    Model::new().check(code);
}

/// A model of threads that share memory, and its bounds.
///
/// A worker's threads share more than jobs: a counter in a static, a cache of idempotency keys, a client that the
/// first thread builds. Bugs there happen between two instructions, where there is no await and no crash point.
/// [loom](https://docs.rs/loom) runs the closure again and again, each time with another order of its threads'
/// operations on the types of [`sync`], and with each value that the memory model lets a load return. If an assertion
/// fails, the threads deadlock, or an [`Arc`](sync::Arc) is never dropped, the report shows the operations of each
/// thread, in order.
///
/// ```
/// use retryproof::model::Model;
/// use retryproof::Verdict;
/// use retryproof::sync::LazyLock;
/// use retryproof::sync::atomic::{AtomicU32, Ordering::SeqCst};
/// use retryproof::thread;
///
/// static SENT: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(0));
///
/// let count = |one_more: fn()| {
///     Model::new().run(move || {
///         let others = [thread::spawn(one_more), thread::spawn(one_more)];
///         others.into_iter().for_each(|other| other.join().unwrap());
///         assert_eq!(SENT.load(SeqCst), 2, "an email was not counted");
///     })
/// };
/// let lost = count(|| SENT.store(SENT.load(SeqCst) + 1, SeqCst));
/// assert_eq!(lost.verdict(), Verdict::Violated);
/// assert!(lost.to_string().contains("AtomicU32#1.load(SeqCst) → 0"));
///
/// let counted = count(|| { SENT.fetch_add(1, SeqCst); });
/// assert_eq!(counted.verdict(), Verdict::RetryProof, "{counted}");
/// ```
///
/// # How code under test takes part
///
/// In its tests the code uses the types of [`sync`] and [`thread`], otherwise the standard library. It needs no
/// `--cfg loom`, so a crate that also uses tokio can test this together with its other tests:
///
/// ```ignore
/// #[cfg(test)]
/// use retryproof::{sync, thread};
/// #[cfg(not(test))]
/// use std::{sync, thread};
/// ```
///
/// with `retryproof = { version = "…", features = ["loom"] }` in the dev-dependencies. Outside a model, in all other
/// tests, the types are those of the standard library.
///
/// `cfg(test)` is on only in unit tests, not when an integration test in `tests/` uses the crate. For those, use a
/// feature of your crate: `model = ["dep:retryproof"]`, with `retryproof` as an optional dependency, and `cfg(feature
/// = "model")` in place of `cfg(test)`.
///
/// # Statics
///
/// Loom's values belong to one execution, so `new` of these types is not `const`, and `static SENT: AtomicU32 =
/// AtomicU32::new(0)` does not compile with them. A [`LazyLock`](sync::LazyLock) compiles with the standard library's
/// types and with these, as in the example above. Outside a model there is one value. Inside, each execution makes
/// its own value and drops it at its end. [`thread_local!`](crate::thread_local) does the same for each thread. A
/// plain static of the standard library keeps its value from one execution to the next, so the executions differ.
///
/// # Limitations
///
/// * A model has at most 5 threads, including its own. The number of executions grows fast with the number of
///   accesses: two threads with one or two operations each is the normal size.
/// * A model sees only operations through [`sync`] and [`thread`]. Time does not advance: a thread that waits with a
///   timeout waits until it is notified. A thread never wakes from a [`Condvar`](sync::Condvar) spuriously, and
///   `compare_exchange_weak` never fails spuriously.
/// * Only the last seven values stored to an atomic are remembered. A load that sees a value which is stored later,
///   as `Relaxed` would allow, is not explored. Both are limits of loom. `SeqCst` accesses are put between `SeqCst`
///   fences. This is exact if all accesses are `SeqCst`. Mixed with weaker accesses they order more than the language
///   promises.
/// * A panic that unwinds past a lock poisons it permanently: if the panic is caught, taking the lock again is
///   [`ModelError::Poisoned`].
/// * Threads are not threads of the operating system: they all share a thread-local of the standard library, and each
///   has a stack of 32 KiB (see [`Builder::stack_size`](thread::Builder::stack_size)).
/// * The operations of destructors during the unwind of a panic are not part of the model. After a failure the values
///   that other threads still held are not dropped.
/// * The values behind a lock are not shown, because they may not implement `Debug`.
#[derive(Clone, Debug)]
#[must_use = "nothing is run before `run` or `check`"]
pub struct Model {
    name: Option<String>,
    max_threads: usize,
    max_branches: usize,
    max_preemptions: Option<u8>,
    max_executions: u64,
    max_time: Option<Duration>,
    allow_incomplete: bool,
}

impl Default for Model {
    fn default() -> Self {
        Self::new()
    }
}

impl Model {
    /// Makes a model that runs all orders, with up to 5 threads and up to 1,000 switch points in each execution.
    pub fn new() -> Self {
        Self {
            name: None,
            max_threads: loom::MAX_THREADS,
            max_branches: 1_000,
            max_preemptions: None,
            max_executions: u64::MAX,
            max_time: None,
            allow_incomplete: false,
        }
    }

    /// Sets the name in the report. Defaults to the name of the test.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the maximum number of threads, including the model's own, from 2 to 5. Defaults to 5. Exceeding it is
    /// [`ModelError::TooManyThreads`].
    pub fn max_threads(mut self, threads: usize) -> Self {
        self.max_threads = threads;
        self
    }

    /// Sets the maximum number of switch points in one execution. Defaults to 1,000. Exceeding it is
    /// [`Verdict::Stuck`]. The usual cause is a loop that waits for another thread without [`thread::yield_now`].
    pub fn max_branches(mut self, branches: usize) -> Self {
        self.max_branches = branches;
        self
    }

    /// Sets the maximum number of preemptions of a thread in an execution. Defaults to no limit. Two or three find
    /// most bugs in far fewer executions. However, loom skips orders that it considers equivalent, and with a limit
    /// it may skip one that is not. The report says so.
    pub fn max_preemptions(mut self, preemptions: u8) -> Self {
        self.max_preemptions = Some(preemptions);
        self
    }

    /// Stops after this many executions. The verdict is then [`Verdict::Incomplete`], unless one of them failed.
    pub fn max_executions(mut self, executions: u64) -> Self {
        self.max_executions = executions;
        self
    }

    /// Stops between two executions when this much real time has passed.
    pub fn max_time(mut self, time: Duration) -> Self {
        self.max_time = Some(time);
        self
    }

    /// Lets [`Model::check`] pass if a model stopped at [`Model::max_executions`] or [`Model::max_time`] without
    /// finding a failure.
    pub fn allow_incomplete(mut self) -> Self {
        self.allow_incomplete = true;
        self
    }

    /// Runs the model, and panics with the report unless the closure succeeds in every order.
    ///
    /// # Panics
    /// If the verdict is neither [`Verdict::RetryProof`] nor one that is allowed.
    #[track_caller]
    pub fn check(&self, code: impl Fn() + Send + Sync + 'static) {
        let report = self.run(code);
        let passes = match report.verdict() {
            Verdict::RetryProof => true,
            Verdict::Incomplete => self.allow_incomplete && report.error().is_none(),
            _ => false,
        };
        let is_plain = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
        let colour = !is_plain && std::io::stderr().is_terminal();
        let text = if colour { report.to_ansi() } else { report.to_string() };
        assert!(passes, "{text}");
    }

    /// Runs the model, and returns the report.
    #[track_caller]
    pub fn run(&self, code: impl Fn() + Send + Sync + 'static) -> ModelReport {
        let name = self.name.clone().unwrap_or_else(|| name(Location::caller()));
        if let Err(error) = self.is_possible() {
            return ModelReport::misused(name, error);
        }
        let code = Arc::new(code);
        panics::quietly(&name, || {
            let mut search = self.search(self.max_preemptions, code.clone());
            if search.broken.is_none() {
                // The first execution must repeat its behavior. Otherwise the result has no meaning.
                let again =
                    Self { max_executions: 1, ..self.clone() }.search(self.max_preemptions, code.clone());
                search.broken = again.broken.or_else(|| difference(&search.first, &again.first));
            }
            // The same failure with the fewest preemptions is the easiest to read.
            if matches!(search.broken, Some(ExecutionEnd::Panicked { .. } | ExecutionEnd::Loom { .. })) {
                let fewer = self.max_preemptions.unwrap_or(FEW + 1).min(FEW + 1);
                let plainer = (0..fewer).map(|bound| self.search(Some(bound), code.clone()));
                if let Some(plainer) = plainer.into_iter().find(|plainer| plainer.shows_like(&search)) {
                    search = Search { executions: search.executions, ..plainer };
                }
            }
            ModelReport::new(name.clone(), self, search)
        })
    }

    fn is_possible(&self) -> Result<(), ModelError> {
        if cfg!(panic = "abort") {
            return Err(ModelError::Abort);
        }
        if Execution::current().is_some() {
            return Err(ModelError::Nested);
        }
        let most = loom::MAX_THREADS;
        if !(2..=most).contains(&self.max_threads) {
            return Err(ModelError::NoSuchThreads { asked: self.max_threads, most });
        }
        match (self.max_branches, self.max_executions) {
            (0, _) => Err(ModelError::Nothing { setting: "max_branches" }),
            (_, 0) => Err(ModelError::Nothing { setting: "max_executions" }),
            _ => Ok(()),
        }
    }

    /// Runs all executions within a bound of preemptions, or until one breaks or a limit is reached.
    fn search<C: Fn() + Send + Sync + 'static>(&self, preemptions: Option<u8>, code: Arc<C>) -> Search {
        let mut builder = loom::model::Builder::new();
        builder.max_threads = self.max_threads;
        builder.max_branches = self.max_branches;
        builder.preemption_bound = preemptions.map(usize::from);
        // Overrides everything that loom reads from its environment.
        builder.max_permutations = None;
        builder.max_duration = None;
        builder.checkpoint_file = None;
        builder.checkpoint_interval = usize::MAX;
        builder.expect_explicit_explore = false;
        builder.location = false;
        builder.log = false;
        let count = Arc::new(Count::default());
        let (counting, deadline) = (count.clone(), self.max_time.map(|time| now() + time));
        let (most, most_threads) = (self.max_executions, self.max_threads);
        let searched = catch_unwind(AssertUnwindSafe(|| {
            builder.check(move || {
                counting.take_down(Execution::end());
                let executions = counting.executions.load(Ordering::Relaxed);
                if executions >= most || deadline.is_some_and(|deadline| now() >= deadline) {
                    resume_unwind(Box::new(Limit));
                }
                counting.executions.store(executions + 1, Ordering::Relaxed);
                Execution::begin(most_threads).live_as(0, || code());
            });
        }));
        let last = Execution::end();
        let is_cut = searched.as_ref().is_err_and(|panic| panic.is::<Limit>());
        let broken = last.as_ref().and_then(|last| last.record().broken.take());
        let broken = broken.or_else(|| match (searched, is_cut) {
            // After an execution ends, loom looks for values that were never dropped.
            (Err(panic), false) => Some(ExecutionEnd::Loom { thread: 0, message: panics::text(&*panic) }),
            _ => None,
        });
        count.take_down(last.clone());
        let executions = count.executions.load(Ordering::Relaxed);
        let has_threads = count.has_threads.load(Ordering::Relaxed);
        let first = count.first.get().cloned().unwrap_or_default();
        Search { executions, is_cut, has_threads, broken, first, last }
    }
}

/// The maximum number of preemptions in the search for a simpler failure.
const FEW: u8 = 2;

#[derive(Default)]
struct Count {
    executions: AtomicU64,
    /// Whether any execution had more than one thread.
    has_threads: AtomicBool,
    /// The steps of the first execution.
    first: OnceLock<Vec<ModelStep>>,
}

impl Count {
    /// Records the result of an execution.
    fn take_down(&self, execution: Option<Rc<Execution>>) {
        let Some(execution) = execution else { return };
        let record = execution.record();
        self.has_threads.fetch_or(record.doing.len() > 1, Ordering::Relaxed);
        self.first.get_or_init(|| report::steps(&record));
    }
}

/// The first difference between two executions that should be the same.
fn difference(one: &[ModelStep], other: &[ModelStep]) -> Option<ExecutionEnd> {
    let at = (0..one.len().max(other.len())).find(|at| one.get(*at) != other.get(*at))?;
    let told = |steps: &[ModelStep]| match steps.get(at) {
        Some(step) => format!("thread {} has {} at {}", step.thread, step.operation, step.place),
        None => "there is nothing more".to_owned(),
    };
    let difference = format!("the first time {}, the second time {}", told(one), told(other));
    Some(ExecutionEnd::Misused(ModelError::Nondeterministic { difference }))
}

/// The panic that ends a search at a limit.
struct Limit;

/// The result of a search.
struct Search {
    executions: u64,
    is_cut: bool,
    has_threads: bool,
    broken: Option<ExecutionEnd>,
    /// The steps of the first execution.
    first: Vec<ModelStep>,
    /// The last execution: the one that broke, if one did.
    last: Option<Rc<Execution>>,
}

impl Search {
    /// Reports whether this is the same failure as another one.
    fn shows_like(&self, other: &Self) -> bool {
        match (&self.broken, &other.broken) {
            (
                Some(ExecutionEnd::Panicked { what: one, .. }),
                Some(ExecutionEnd::Panicked { what: other, .. }),
            ) => {
                let place = |what: &CaughtPanic| what.place.clone();
                place(one) == place(other)
            }
            (
                Some(ExecutionEnd::Loom { message: one, .. }),
                Some(ExecutionEnd::Loom { message: other, .. }),
            ) => {
                let beginning = |text: &str| text.split([';', ':']).next().map(str::to_owned);
                beginning(one) == beginning(other)
            }
            _ => false,
        }
    }
}

/// The name of the test, which libtest gives to the thread, or the place of the call.
fn name(caller: &Location<'_>) -> String {
    match std::thread::current().name() {
        Some(name) if name != "main" => name.to_owned(),
        _ => format!("{}:{}", caller.file(), caller.line()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "max_time bounds the search itself, in real time; no execution sees it"
)]
fn now() -> Instant {
    Instant::now()
}
