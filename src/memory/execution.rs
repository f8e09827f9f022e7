//! One execution of a model under way: who is at work, what was done, and who waits for what.
//!
//! All threads of an execution take turns on one thread of the operating system, so it is found through a thread-local.
//! A switch happens only inside of an operation, and each of those goes through [`Execution::act`]: so it always knows
//! which of them is at work.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::ModelError;
use super::step::{Said, Step};
use crate::engine::panics::{self, Panicked};
use crate::search::choice::Place;

thread_local! {
    static UNDER_WAY: RefCell<Option<Rc<Execution>>> = const { RefCell::new(None) };
}

/// Something that threads share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shared {
    pub(super) kind: &'static str,
    /// Counted from 1, for each kind.
    pub(super) number: usize,
    pub(super) made: Place,
    /// Who holds it, if it is a lock: which thread, since when.
    pub(super) held: Option<(usize, Place)>,
}

/// Why an execution ended before its time.
#[derive(Clone, Debug)]
pub(super) enum Broken {
    /// The code under test panicked.
    Panicked { thread: usize, what: Panicked },
    /// Loom said something: of a deadlock, a limit, a memory that is accessed without order.
    Loom { thread: usize, message: String },
    /// It does not use the model as it must be used.
    Misused(ModelError),
}

#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) steps: Vec<Step>,
    pub(super) shared: Vec<Shared>,
    /// What each thread is about to do, while it is at it.
    pub(super) doing: Vec<Option<Step>>,
    pub(super) broken: Option<Broken>,
}

#[derive(Debug)]
pub(crate) struct Execution {
    /// Never shown: tells one execution from another.
    id: u64,
    most_threads: usize,
    /// Until something breaks it. After that loom is not asked any more.
    live: Cell<bool>,
    /// Which thread is at work.
    current: Cell<usize>,
    record: RefCell<Record>,
}

/// The panic with which a thread leaves an execution that is over.
struct Over;

impl Execution {
    /// Begins one on this thread.
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

    /// Ends the one of this thread, if there is one.
    pub(super) fn end() -> Option<Rc<Self>> {
        UNDER_WAY.take()
    }

    /// The one that is under way, if loom is to be asked.
    pub(super) fn current() -> Option<Rc<Self>> {
        UNDER_WAY.try_with(|under_way| under_way.borrow().clone()).ok().flatten()
    }

    /// Whether loom is to be asked. While a thread unwinds it is not: it would let other threads go on in the middle.
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

    /// Something new that threads share.
    pub(super) fn share(&self, kind: &'static str, made: Place) -> usize {
        let mut record = self.record();
        let number = 1 + record.shared.iter().filter(|shared| shared.kind == kind).count();
        record.shared.push(Shared { kind, number, made, held: None });
        record.shared.len() - 1
    }

    /// Has loom do what a thread is about to do, and writes down what came of it, unless that is nothing worth telling.
    pub(super) fn act<R>(
        &self,
        about: Step,
        act: impl FnOnce() -> R,
        told: impl FnOnce(&R) -> Option<Said>,
    ) -> R {
        let me = self.current.get();
        self.record().doing[me] = Some(about.clone());
        // Whatever loom complains about breaks the execution, before any destructor of the code under test runs.
        let acted = catch_unwind(AssertUnwindSafe(act));
        self.current.set(me);
        match acted {
            Ok(result) => {
                let mut record = self.record();
                record.doing[me] = None;
                if let Some(said) = told(&result) {
                    record.steps.push(Step { thread: me, said, ..about });
                }
                result
            }
            Err(panic) => {
                self.break_off(Broken::Loom { thread: me, message: panics::text(&*panic) });
                resume_unwind(panic)
            }
        }
    }

    /// The same for code that runs in the middle of an operation, and may itself be interrupted.
    pub(super) fn note(&self, at: Place, shared: Option<usize>, said: Said) {
        let thread = self.current.get();
        self.record().steps.push(Step { thread, at, shared, said });
    }

    pub(super) fn hold(&self, lock: usize, at: Place) {
        let thread = self.current.get();
        self.record().shared[lock].held = Some((thread, at));
    }

    pub(super) fn let_go(&self, lock: usize) {
        self.record().shared[lock].held = None;
    }

    /// A new thread, to which this number belongs.
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
                self.break_off(Broken::Panicked { thread, what: Panicked { message, place, of: None } });
                resume_unwind(panic)
            }
        }
    }

    /// The first thing that breaks an execution is what it broke of.
    fn break_off(&self, broken: Broken) {
        if self.live.replace(false) {
            self.record().broken = Some(broken);
        }
    }

    /// Ends the execution: it does not use the model as it must be used.
    pub(super) fn misuse(&self, error: ModelError) -> ! {
        self.break_off(Broken::Misused(error));
        resume_unwind(Box::new(Over) as Box<dyn Any + Send>)
    }
}

/// What stands for a type of the standard library's inside a model. Outside there is none.
#[derive(Debug)]
pub(super) struct Modelled<L>(Option<Twin<L>>);

#[derive(Debug)]
struct Twin<L> {
    execution: u64,
    kind: &'static str,
    made: Place,
    shared: usize,
    loom: L,
}

/// Something of loom's that is to be asked.
pub(super) struct Asked<'l, L> {
    pub(super) execution: Rc<Execution>,
    pub(super) shared: usize,
    pub(super) loom: &'l L,
}

impl<'l, L> Asked<'l, L> {
    /// An operation on it.
    pub(super) fn act<R>(
        &self,
        at: Place,
        about: Said,
        act: impl FnOnce(&'l L) -> R,
        told: impl FnOnce(&R) -> Option<Said>,
    ) -> R {
        let about = Step { thread: self.execution.thread(), at, shared: Some(self.shared), said: about };
        self.execution.act(about, || act(self.loom), told)
    }
}

impl<L> Modelled<L> {
    /// Made where the caller is, by loom if a model is under way.
    #[track_caller]
    pub(super) fn new(kind: &'static str, make: impl FnOnce() -> L) -> Self {
        let made = Place::caller();
        let Some(execution) = Execution::current().filter(|execution| execution.is_live()) else {
            return Self(None);
        };
        let shared = execution.share(kind, made);
        Self(Some(Twin { execution: execution.id(), kind, made, shared, loom: make() }))
    }

    /// Loom's, if it is to be asked; none where the standard library is.
    ///
    /// # Panics
    /// When it does not belong to the execution that is under way.
    #[track_caller]
    pub(super) fn asked(&self, kind: &'static str) -> Option<Asked<'_, L>> {
        match (&self.0, Execution::current()) {
            (None, None) => None,
            (_, Some(execution)) if !execution.is_live() => None,
            (Some(twin), Some(execution)) if twin.execution == execution.id() => {
                Some(Asked { execution, shared: twin.shared, loom: &twin.loom })
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

    /// Loom's own, taken out.
    pub(super) fn into_loom(self) -> Option<L> {
        let live = Execution::current().is_some_and(|execution| execution.is_live());
        self.0.filter(|_| live).map(|twin| twin.loom)
    }
}
