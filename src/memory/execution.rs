//! One running execution of a model: the current thread, the steps so far, and the waits.
//!
//! All threads of an execution take turns on one thread of the operating system, so the execution is found through a
//! thread-local. A switch happens only inside an operation, and each operation goes through [`Execution::act`], which
//! therefore always knows the current thread.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::ModelError;
use super::step::{OperationText, ThreadStep};
use crate::engine::panics::{self, CaughtPanic};
use crate::search::choice::Place;

thread_local! {
    static UNDER_WAY: RefCell<Option<Rc<Execution>>> = const { RefCell::new(None) };
}

/// A value that threads share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shared {
    pub(super) kind: &'static str,
    /// Counted from 1, for each kind.
    pub(super) number: usize,
    pub(super) made: Place,
    /// The holder, if it is a lock: the thread, and the place where it took the lock.
    pub(super) held: Option<(usize, Place)>,
}

/// The reason why an execution ended early.
#[derive(Clone, Debug)]
pub(super) enum ExecutionEnd {
    /// The code under test panicked.
    Panicked { thread: usize, what: CaughtPanic },
    /// Loom reported something: a deadlock, a limit, or an unordered access to memory.
    Loom { thread: usize, message: String },
    /// The model is misused.
    Misused(ModelError),
}

#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) steps: Vec<ThreadStep>,
    pub(super) shared: Vec<Shared>,
    /// The current operation of each thread.
    pub(super) doing: Vec<Option<ThreadStep>>,
    pub(super) broken: Option<ExecutionEnd>,
}

#[derive(Debug)]
pub(crate) struct Execution {
    /// An id that is never shown. It distinguishes executions.
    id: u64,
    most_threads: usize,
    /// False after something has broken the execution. Loom is not called after that.
    live: Cell<bool>,
    /// The current thread.
    current: Cell<usize>,
    record: RefCell<Record>,
}

/// The panic with which a thread leaves an execution that is over.
struct ExecutionOver;

impl Execution {
    /// Begins an execution on this thread.
    pub(super) fn begin(most_threads: usize) -> Rc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let record = Record { doing: vec![None], ..Record::default() };
        let execution = Rc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            most_threads,
            live: Cell::new(true),
            current: Cell::new(0),
            record: RefCell::new(record),
        });
        UNDER_WAY.set(Some(execution.clone()));
        execution
    }

    /// Ends the execution of this thread, if there is one.
    pub(super) fn end() -> Option<Rc<Self>> {
        UNDER_WAY.take()
    }

    /// The current execution, if there is one.
    pub(super) fn current() -> Option<Rc<Self>> {
        UNDER_WAY.try_with(|under_way| under_way.borrow().clone()).ok().flatten()
    }

    /// Reports whether loom may be called. It may not be called while a thread unwinds, because other threads would
    /// then run in the middle of the unwind.
    pub(super) fn is_live(&self) -> bool {
        self.live.get() && !std::thread::panicking()
    }

    pub(super) fn is_broken(&self) -> bool {
        !self.live.get()
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn record(&self) -> std::cell::RefMut<'_, Record> {
        self.record.borrow_mut()
    }

    pub(super) fn thread(&self) -> usize {
        self.current.get()
    }

    /// Registers a new value that threads share.
    pub(super) fn share(&self, kind: &'static str, made: Place) -> usize {
        let mut record = self.record();
        let number = 1 + record.shared.iter().filter(|shared| shared.kind == kind).count();
        record.shared.push(Shared { kind, number, made, held: None });
        record.shared.len() - 1
    }

    /// Makes loom carry out an operation of a thread. Records the result, unless `told` returns `None`.
    pub(super) fn act<R>(
        &self,
        about: ThreadStep,
        act: impl FnOnce() -> R,
        told: impl FnOnce(&R) -> Option<OperationText>,
    ) -> R {
        let me = self.current.get();
        self.record().doing[me] = Some(about.clone());
        // Any complaint of loom breaks the execution, before the destructors of the code under test run.
        let acted = catch_unwind(AssertUnwindSafe(act));
        self.current.set(me);
        match acted {
            Ok(result) => {
                let mut record = self.record();
                record.doing[me] = None;
                if let Some(said) = told(&result) {
                    record.steps.push(ThreadStep { thread: me, said, ..about });
                }
                result
            }
            Err(panic) => {
                self.break_off(ExecutionEnd::Loom { thread: me, message: panics::text(&*panic) });
                resume_unwind(panic)
            }
        }
    }

    /// The same for code that runs in the middle of an operation and may itself be interrupted.
    pub(super) fn note(&self, at: Place, shared: Option<usize>, said: OperationText) {
        let thread = self.current.get();
        self.record().steps.push(ThreadStep { thread, at, shared, said });
    }

    pub(super) fn hold(&self, lock: usize, at: Place) {
        let thread = self.current.get();
        self.record().shared[lock].held = Some((thread, at));
    }

    pub(super) fn let_go(&self, lock: usize) {
        self.record().shared[lock].held = None;
    }

    /// Registers a new thread. Returns its number.
    #[track_caller]
    pub(super) fn new_thread(&self) -> usize {
        let number = self.record().doing.len();
        if number >= self.most_threads {
            self.misuse(ModelError::TooManyThreads { most: self.most_threads });
        }
        self.record().doing.push(None);
        number
    }

    /// Runs the code of a thread. Its panic breaks the execution.
    pub(super) fn live_as<R>(&self, thread: usize, code: impl FnOnce() -> R) -> R {
        self.current.set(thread);
        match catch_unwind(AssertUnwindSafe(code)) {
            Ok(result) => result,
            Err(panic) => {
                let message = panics::text(&*panic);
                let place = panics::last().filter(|last| last.message == message).and_then(|last| last.place);
                self.break_off(ExecutionEnd::Panicked {
                    thread,
                    what: CaughtPanic { message, place, of: None },
                });
                resume_unwind(panic)
            }
        }
    }

    /// Records the first reason that breaks the execution.
    fn break_off(&self, broken: ExecutionEnd) {
        if self.live.replace(false) {
            self.record().broken = Some(broken);
        }
    }

    /// Ends the execution because the model is misused.
    pub(super) fn misuse(&self, error: ModelError) -> ! {
        self.break_off(ExecutionEnd::Misused(error));
        resume_unwind(Box::new(ExecutionOver) as Box<dyn Any + Send>)
    }
}

/// The counterpart of a standard library type inside a model. `None` outside a model.
#[derive(Debug)]
pub(super) struct LoomType<L>(Option<LoomTwin<L>>);

#[derive(Debug)]
struct LoomTwin<L> {
    execution: u64,
    kind: &'static str,
    made: Place,
    shared: usize,
    loom: L,
}

/// A value of loom's, ready for operations.
pub(super) struct LoomAccess<'l, L> {
    pub(super) execution: Rc<Execution>,
    pub(super) shared: usize,
    pub(super) loom: &'l L,
}

impl<'l, L> LoomAccess<'l, L> {
    /// Makes an operation on the value.
    pub(super) fn act<R>(
        &self,
        at: Place,
        about: OperationText,
        act: impl FnOnce(&'l L) -> R,
        told: impl FnOnce(&R) -> Option<OperationText>,
    ) -> R {
        let about =
            ThreadStep { thread: self.execution.thread(), at, shared: Some(self.shared), said: about };
        self.execution.act(about, || act(self.loom), told)
    }
}

impl<L> LoomType<L> {
    /// Makes the value, with loom if a model is running. The caller's place is recorded.
    #[track_caller]
    pub(super) fn new(kind: &'static str, make: impl FnOnce() -> L) -> Self {
        let made = Place::caller();
        let Some(execution) = Execution::current().filter(|execution| execution.is_live()) else {
            return Self(None);
        };
        let shared = execution.share(kind, made);
        Self(Some(LoomTwin { execution: execution.id(), kind, made, shared, loom: make() }))
    }

    /// The value of loom's, or `None` if the standard library's value must be used.
    ///
    /// # Panics
    /// If the value does not belong to the current execution.
    #[track_caller]
    pub(super) fn asked(&self, kind: &'static str) -> Option<LoomAccess<'_, L>> {
        match (&self.0, Execution::current()) {
            (None, None) => None,
            (_, Some(execution)) if !execution.is_live() => None,
            (Some(twin), Some(execution)) if twin.execution == execution.id() => {
                Some(LoomAccess { execution, shared: twin.shared, loom: &twin.loom })
            }
            (Some(twin), Some(execution)) => {
                let (kind, made) = (twin.kind, twin.made.to_string());
                execution.misuse(ModelError::Outlived { kind, made })
            }
            (None, Some(execution)) => {
                execution.misuse(ModelError::MadeOutside { kind, used: Place::caller().to_string() })
            }
            (Some(twin), None) => {
                panic!("{}", ModelError::Escaped { kind: twin.kind, made: twin.made.to_string() })
            }
        }
    }

    /// Takes loom's value out.
    pub(super) fn into_loom(self) -> Option<L> {
        let live = Execution::current().is_some_and(|execution| execution.is_live());
        self.0.filter(|_| live).map(|twin| twin.loom)
    }
}
