//! `std::thread` outside of a model, loom's inside of one.
//!
//! `scope` is not there: loom's threads own what they use. A time to sleep is nothing but a place where others go on.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::thread as outside;
use std::time::Duration;

use loom::thread as inside;

#[doc(no_inline)]
pub use std::thread::{Result, available_parallelism, panicking};

use super::execution::Execution;
use super::step::{OperationText, Step};
use crate::search::choice::Place;

/// A step of the current thread that is about no shared thing.
fn act<R>(execution: &Execution, at: Place, said: OperationText, act: impl FnOnce() -> R) -> R {
    let about = Step { thread: execution.thread(), at, shared: None, said: said.clone() };
    execution.act(about, act, |_| Some(said))
}

/// The execution that is under way, if loom is to be asked.
fn live() -> Option<std::rc::Rc<Execution>> {
    Execution::current().filter(|execution| execution.is_live())
}

/// A thread that can be waited for.
pub struct JoinHandle<T>(Handle<T>);

enum Handle<T> {
    Outside(outside::JoinHandle<T>),
    Inside { handle: inside::JoinHandle<T>, number: usize },
}

/// A thread.
#[derive(Clone, Debug)]
pub struct Thread(ThreadSource);

#[derive(Clone, Debug)]
enum ThreadSource {
    Outside(outside::Thread),
    Inside { thread: inside::Thread, number: usize },
}

/// Which thread it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ThreadId(Id);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Id {
    Outside(outside::ThreadId),
    Inside(usize),
}

impl fmt::Debug for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Id::Outside(id) => id.fmt(f),
            Id::Inside(number) => write!(f, "ThreadId({number})"),
        }
    }
}

/// Starts a thread.
///
/// # Panics
/// Outside of a model when the operating system gives none.
#[track_caller]
pub fn spawn<T: Send + 'static>(code: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let at = Place::caller();
    match live() {
        None => JoinHandle(Handle::Outside(outside::spawn(code))),
        Some(execution) => spawn_inside(&execution, at, inside::Builder::new(), code)
            .unwrap_or_else(|error| panic!("loom has started no thread: {error}")),
    }
}

#[track_caller]
fn spawn_inside<T: Send + 'static>(
    execution: &Execution,
    at: Place,
    builder: inside::Builder,
    code: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let number = execution.new_thread();
    let code = move || match Execution::current() {
        Some(execution) => execution.live_as(number, code),
        None => code(),
    };
    let handle = act(execution, at, OperationText::Spawn(number), || builder.spawn(code))?;
    Ok(JoinHandle(Handle::Inside { handle, number }))
}

impl<T> JoinHandle<T> {
    /// Waits for the end of the thread.
    ///
    /// # Errors
    /// What it panicked with. Not inside of a model: a thread that panics there is a failure.
    #[track_caller]
    pub fn join(self) -> Result<T> {
        let at = Place::caller();
        match (self.0, live()) {
            (Handle::Outside(handle), _) => handle.join(),
            (Handle::Inside { handle, number }, Some(execution)) => {
                act(&execution, at, OperationText::Join(number), || handle.join())
            }
            (Handle::Inside { .. }, None) => Err(Box::new("joined outside of its model")),
        }
    }

    /// The thread.
    pub fn thread(&self) -> Thread {
        Thread(match &self.0 {
            Handle::Outside(handle) => ThreadSource::Outside(handle.thread().clone()),
            Handle::Inside { handle, number } => {
                ThreadSource::Inside { thread: handle.thread().clone(), number: *number }
            }
        })
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").finish_non_exhaustive()
    }
}

impl Thread {
    /// Which it is.
    pub fn id(&self) -> ThreadId {
        ThreadId(match &self.0 {
            ThreadSource::Outside(thread) => Id::Outside(thread.id()),
            ThreadSource::Inside { number, .. } => Id::Inside(*number),
        })
    }

    /// The name that it was given.
    pub fn name(&self) -> Option<&str> {
        match &self.0 {
            ThreadSource::Outside(thread) => thread.name(),
            ThreadSource::Inside { thread, .. } => thread.name(),
        }
    }

    /// Wakes it, or has its next [`park`] return at once.
    #[track_caller]
    pub fn unpark(&self) {
        let at = Place::caller();
        match (&self.0, live()) {
            (ThreadSource::Outside(thread), _) => thread.unpark(),
            (ThreadSource::Inside { thread, number }, Some(execution)) => {
                act(&execution, at, OperationText::Unpark(*number), || thread.unpark());
            }
            (ThreadSource::Inside { .. }, None) => {}
        }
    }
}

/// The thread at work.
pub fn current() -> Thread {
    Thread(match live() {
        None => ThreadSource::Outside(outside::current()),
        Some(execution) => ThreadSource::Inside { thread: inside::current(), number: execution.thread() },
    })
}

/// Waits for [`Thread::unpark`].
#[track_caller]
pub fn park() {
    let at = Place::caller();
    match live() {
        None => outside::park(),
        Some(execution) => act(&execution, at, OperationText::Plain("park"), inside::park),
    }
}

/// Lets other threads go on. A loop that waits for one of them has to call it: inside of a model nothing else gives them
/// their turn.
#[track_caller]
pub fn yield_now() {
    let at = Place::caller();
    match live() {
        None => outside::yield_now(),
        Some(execution) => act(&execution, at, OperationText::Plain("yield_now"), inside::yield_now),
    }
}

/// Sleeps; inside of a model it lets other threads go on, and no time passes.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "outside of a model it is the standard library's")]
pub fn sleep(time: Duration) {
    let at = Place::caller();
    match live() {
        None => outside::sleep(time),
        Some(execution) => act(&execution, at, OperationText::Plain("sleep"), inside::yield_now),
    }
}

/// How a thread is started: with a name, or a stack of a certain size.
#[derive(Debug, Default)]
#[must_use = "nothing is started before `spawn`"]
pub struct Builder {
    name: Option<String>,
    stack_size: Option<usize>,
}

impl Builder {
    /// The ordinary way.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives it a name.
    pub fn name(mut self, name: String) -> Self {
        self.name = Some(name);
        self
    }

    /// Gives it a stack of so many bytes. Inside of a model a thread has 32 KiB unless told.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// Outside of a model, when the operating system gives no thread.
    #[track_caller]
    pub fn spawn<T: Send + 'static>(
        self,
        code: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<T>> {
        let at = Place::caller();
        let Some(execution) = live() else {
            let builder = outside::Builder::new();
            let builder = self.name.into_iter().fold(builder, outside::Builder::name);
            let builder = self.stack_size.into_iter().fold(builder, outside::Builder::stack_size);
            return builder.spawn(code).map(|handle| JoinHandle(Handle::Outside(handle)));
        };
        let builder = inside::Builder::new();
        let builder = self.name.into_iter().fold(builder, inside::Builder::name);
        // Loom counts in words.
        let words = self.stack_size.map(|bytes| bytes.div_ceil(size_of::<usize>()));
        let builder = words.into_iter().fold(builder, inside::Builder::stack_size);
        spawn_inside(&execution, at, builder, code)
    }
}

/// What [`thread_local!`](crate::thread_local) declares: a value for each thread, inside of a model for each of its.
pub struct LocalKey<T: 'static> {
    #[doc(hidden)]
    pub __outside: fn() -> &'static outside::LocalKey<T>,
    #[doc(hidden)]
    pub __inside: inside::LocalKey<T>,
}

impl<T: 'static> LocalKey<T> {
    #[doc(hidden)]
    pub const fn __new(outside: fn() -> &'static outside::LocalKey<T>, init: fn() -> T) -> Self {
        Self { __outside: outside, __inside: inside::LocalKey { init, _p: PhantomData } }
    }

    /// Shows the value, made first if this thread has none yet.
    ///
    /// # Panics
    /// When it is gone, because the thread ends.
    pub fn with<R>(&'static self, code: impl FnOnce(&T) -> R) -> R {
        match live() {
            None => (self.__outside)().with(code),
            Some(_) => self.__inside.with(code),
        }
    }
}

impl<T: 'static> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").finish_non_exhaustive()
    }
}

/// `std::thread_local!` outside of a model; inside each of its threads has a value of its own, which the standard library's
/// would have them share.
///
/// ```
/// use std::cell::Cell;
/// retryproof::thread_local! { static DEPTH: Cell<u32> = Cell::new(0); }
///
/// retryproof::Model::new().check(|| {
///     let other = retryproof::thread::spawn(|| DEPTH.with(|depth| depth.set(1)));
///     other.join().unwrap();
///     assert_eq!(DEPTH.with(Cell::get), 0);
/// });
/// ```
#[macro_export]
macro_rules! thread_local {
    ($($(#[$attribute:meta])* $visible:vis static $name:ident: $type:ty = $init:expr);* $(;)?) => {
        $($(#[$attribute])* $visible static $name: $crate::thread::LocalKey<$type> = {
            ::std::thread_local! { static OUTSIDE: $type = $init; }
            $crate::thread::LocalKey::__new(|| &OUTSIDE, || $init)
        };)*
    };
}
