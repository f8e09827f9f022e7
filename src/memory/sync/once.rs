//! Values that are initialized once.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::Location;
use std::sync as outside;
use std::sync::atomic::Ordering::{Acquire, Release};

use loom::lazy_static::Lazy;
use loom::sync as inside;

use super::super::execution::{Execution, LoomAccess, LoomType};
use super::super::step::OperationText;
use crate::search::choice::Place;

/// `std::sync::OnceLock` outside a model. Inside, its state is an atomic and its lock is loom's, so it is explored
/// which thread makes the value and which threads wait.
pub struct OnceLock<T> {
    model: LoomType<State>,
    kind: &'static str,
    data: outside::OnceLock<T>,
}

/// The state of a value that is initialized once.
#[derive(Debug)]
struct State {
    is_set: inside::atomic::AtomicBool,
    making: inside::Mutex<()>,
}

impl<T> OnceLock<T> {
    /// Makes an empty one. Not `const`: a static is a [`LazyLock`], or an empty one in a [`LazyLock`].
    #[track_caller]
    pub fn new() -> Self {
        Self::of_kind("OnceLock")
    }

    #[track_caller]
    fn of_kind(kind: &'static str) -> Self {
        let make =
            || State { is_set: inside::atomic::AtomicBool::new(false), making: inside::Mutex::new(()) };
        Self { model: LoomType::new(kind, make), kind, data: outside::OnceLock::new() }
    }

    /// Initializes a lazy value. The look-up itself is not recorded, only the initialization.
    #[track_caller]
    fn made_by(&self, made: &'static Location<'static>, make: impl FnOnce() -> T) -> &T {
        let at = Place::caller();
        let Some(asked) = self.model.asked(self.kind) else { return self.data.get_or_init(make) };
        asked.execution.record().shared[asked.shared].made = Place::of(made);
        let said = OperationText::Call { method: "deref", result: None };
        let is_set = asked.act(at, said, |loom| loom.is_set.load(Acquire), |_| None);
        self.data.get().filter(|_| is_set).unwrap_or_else(|| self.make(at, "deref", make))
    }

    /// Returns the value if it is set.
    #[track_caller]
    pub fn get(&self) -> Option<&T> {
        let at = Place::caller();
        let Some(asked) = self.model.asked(self.kind) else { return self.data.get() };
        self.look(&asked, at, "get")
    }

    fn look(&self, asked: &LoomAccess<'_, State>, at: Place, method: &'static str) -> Option<&T> {
        let said = |result| OperationText::Call { method, result };
        let told = |is_set: &bool| Some(said(Some(if *is_set { "there" } else { "empty" })));
        let is_set = asked.act(at, said(None), |loom| loom.is_set.load(Acquire), told);
        self.data.get().filter(|_| is_set)
    }

    /// Sets the value.
    ///
    /// # Errors
    /// The given value, if there already is one.
    #[track_caller]
    pub fn set(&self, value: T) -> Result<(), T> {
        let at = Place::caller();
        if self.model.asked(self.kind).is_none() {
            return self.data.set(value);
        }
        let mut value = Some(value);
        self.make(at, "set", || value.take().expect("a value is put in once"));
        value.map_or(Ok(()), Err)
    }

    /// Returns the value, and makes it if it is not set. Other threads wait in the meantime.
    #[track_caller]
    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        let at = Place::caller();
        let Some(asked) = self.model.asked(self.kind) else { return self.data.get_or_init(make) };
        match self.look(&asked, at, "get_or_init") {
            Some(value) => value,
            None => self.make(at, "get_or_init", make),
        }
    }

    /// Makes the value under the lock, because another thread may be making it.
    #[track_caller]
    fn make(&self, at: Place, method: &'static str, make: impl FnOnce() -> T) -> &T {
        let asked = self.model.asked(self.kind).expect("asked for inside of a model only");
        let waits = OperationText::Call { method, result: None };
        let making = asked.act(at, waits, |loom| loom.making.lock().ok(), |_| None);
        asked.execution.hold(asked.shared, at);
        let hold = Hold { making, asked: &asked };
        let said = |result| OperationText::Call { method, result: Some(result) };
        match self.data.get() {
            Some(_) => asked.execution.note(at, Some(asked.shared), said("made meanwhile")),
            None => {
                asked.execution.note(at, Some(asked.shared), said("makes it"));
                let value = make();
                let put = |loom: &State| {
                    let _ = self.data.set(value);
                    loom.is_set.store(true, Release);
                };
                asked.act(at, said("made"), put, |()| Some(said("made")));
            }
        }
        drop(hold);
        self.data.get().expect("it was there, or was just put in")
    }

    /// Returns the value if it is set. No other thread can read it.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.data.get_mut()
    }

    /// Takes the value out.
    pub fn into_inner(self) -> Option<T> {
        self.data.into_inner()
    }
}

/// The lock of the thread that makes the value. It is released when the value is made or when making it panics.
struct Hold<'a, 'l> {
    making: Option<inside::MutexGuard<'l, ()>>,
    asked: &'a LoomAccess<'l, State>,
}

impl Drop for Hold<'_, '_> {
    fn drop(&mut self) {
        let Some(making) = self.making.take() else { return };
        if self.asked.execution.is_broken() {
            return std::mem::forget(making);
        }
        drop(making);
        if self.asked.execution.is_live() {
            self.asked.execution.let_go(self.asked.shared);
        }
    }
}

impl<T> Default for OnceLock<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Execution::current() {
            Some(_) => f.write_str("OnceLock(…)"),
            None => self.data.fmt(f),
        }
    }
}

/// `std::sync::Once` outside a model. Inside, it is explored which thread calls and which threads wait.
pub struct Once(OnceLock<()>);

impl Once {
    /// Makes one. Not `const`: a static is a [`LazyLock`].
    #[track_caller]
    #[expect(clippy::new_without_default, reason = "the standard library's has none")]
    pub fn new() -> Self {
        Self(OnceLock::of_kind("Once"))
    }

    /// Calls `code`, unless it was called before. Other threads wait in the meantime.
    #[track_caller]
    pub fn call_once(&self, code: impl FnOnce()) {
        self.0.get_or_init(code);
    }

    /// Reports whether the call has ended.
    #[track_caller]
    pub fn is_completed(&self) -> bool {
        self.0.get().is_some()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Once(…)")
    }
}

/// `std::sync::LazyLock` outside a model. Inside, each execution makes its own value and drops it at its end. This is
/// how a static takes part in a model.
///
/// ```
/// use retryproof::model::Model;
/// use retryproof::sync::LazyLock;
/// use retryproof::sync::atomic::{AtomicU32, Ordering::SeqCst};
///
/// static SENT: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(0));
///
/// SENT.fetch_add(7, SeqCst); // Outside there is one for all.
/// Model::new().check(|| {
///     let other = retryproof::thread::spawn(|| SENT.fetch_add(1, SeqCst));
///     SENT.fetch_add(1, SeqCst);
///     other.join().unwrap();
///     assert_eq!(SENT.load(SeqCst), 2);
/// });
/// assert_eq!(SENT.load(SeqCst), 7);
/// ```
///
/// Do not keep a reference to the value for longer than its execution.
pub struct LazyLock<T: 'static> {
    make: fn() -> T,
    made: &'static Location<'static>,
    outside: outside::LazyLock<T>,
    /// One for all executions: loom stores the value of the current execution under its address.
    inside: outside::OnceLock<&'static Lazy<OnceLock<T>>>,
}

impl<T: 'static> LazyLock<T> {
    /// Makes one whose value is made when it is first read.
    #[track_caller]
    pub const fn new(make: fn() -> T) -> Self {
        Self {
            make,
            made: Location::caller(),
            outside: outside::LazyLock::new(make),
            inside: outside::OnceLock::new(),
        }
    }
}

impl<T: 'static> Deref for LazyLock<T> {
    type Target = T;

    #[track_caller]
    fn deref(&self) -> &T {
        let Some(execution) = Execution::current() else { return &self.outside };
        if !execution.is_live() {
            return &self.outside;
        }
        let of_all = self.inside.get_or_init(|| {
            let init = || OnceLock::of_kind("LazyLock");
            Box::leak(Box::new(Lazy { init, _p: PhantomData }))
        });
        of_all.get().made_by(self.made, self.make)
    }
}

impl<T: fmt::Debug + 'static> fmt::Debug for LazyLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Execution::current() {
            Some(_) => f.write_str("LazyLock(…)"),
            None => self.outside.fmt(f),
        }
    }
}
