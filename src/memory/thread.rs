//! `std::thread` outside a model, loom's threads inside.
//!
//! There is no `scope`, because loom's threads own their data. A sleep is only a point at which other threads may
//! run.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::thread as outside;
use std::time::Duration;

use loom::thread as inside;

#[doc(no_inline)]
pub use std::thread::{Result, available_parallelism, panicking};

use super::execution::Execution;
use super::step::{OperationText, ThreadStep};
use crate::search::choice::Place;

/// A step of the current thread that uses no shared value.
fn act<R>(execution: &Execution, at: Place, said: OperationText, act: impl FnOnce() -> R) -> R {
    let about = ThreadStep { thread: execution.thread(), at, shared: None, said: said.clone() };
    execution.act(about, act, |_| Some(said))
}

/// The current execution, if loom may be called.
fn live() -> Option<std::rc::Rc<Execution>> {
    Execution::current().filter(|execution| execution.is_live())
}

/// A thread to join.
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

/// The id of a thread.
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
/// Outside a model, if the operating system cannot start a thread.
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
    /// The payload of its panic. Never inside a model, where a panic of a thread is a failure.
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
    /// Its id.
    pub fn id(&self) -> ThreadId {
        ThreadId(match &self.0 {
            ThreadSource::Outside(thread) => Id::Outside(thread.id()),
            ThreadSource::Inside { number, .. } => Id::Inside(*number),
        })
    }

    /// Its name, if it has one.
    pub fn name(&self) -> Option<&str> {
        match &self.0 {
            ThreadSource::Outside(thread) => thread.name(),
            ThreadSource::Inside { thread, .. } => thread.name(),
        }
    }

    /// Wakes it, or makes its next [`park`] return immediately.
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

/// The current thread.
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

/// Lets other threads run. A loop that waits for another thread must call this, because a model switches threads only
/// at operations.
#[track_caller]
pub fn yield_now() {
    let at = Place::caller();
    match live() {
        None => outside::yield_now(),
        Some(execution) => act(&execution, at, OperationText::Plain("yield_now"), inside::yield_now),
    }
}

/// Sleeps. Inside a model, lets other threads run instead, and time does not advance.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "outside of a model it is the standard library's")]
pub fn sleep(time: Duration) {
    let at = Place::caller();
    match live() {
        None => outside::sleep(time),
        Some(execution) => act(&execution, at, OperationText::Plain("sleep"), inside::yield_now),
    }
}

/// The settings of a new thread: its name and its stack size.
#[derive(Debug, Default)]
#[must_use = "nothing is started before `spawn`"]
pub struct Builder {
    name: Option<String>,
    stack_size: Option<usize>,
}

impl Builder {
    /// Makes the default settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the name.
    pub fn name(mut self, name: String) -> Self {
        self.name = Some(name);
        self
    }

    /// Sets the stack size, in bytes. Inside a model it defaults to 32 KiB.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// Outside a model, if the operating system cannot start a thread.
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

/// A value for each thread, declared by [`thread_local!`](crate::thread_local). Inside a model each of its threads
/// has its own.
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

    /// Passes the value to `code`. The value is made first if this thread has none yet.
    ///
    /// # Panics
    /// If the value is gone because the thread ends.
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

/// `std::thread_local!` outside a model. Inside, each of the model's threads has its own value. With the standard
/// library's macro they would share one.
///
/// ```
/// use std::cell::Cell;
/// retryproof::thread_local! { static DEPTH: Cell<u32> = Cell::new(0); }
///
/// retryproof::model::Model::new().check(|| {
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
