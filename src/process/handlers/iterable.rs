//! Jobs that iterate over many items, and save how far they have come.

use std::cell::Cell;
use std::fmt::Display;
use std::marker::PhantomData;
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::attempt::{Attempt, Handler, Wrappers};
use super::handler::{HandlerOptions, Registration};
use crate::engine::call::{Call, CallSpec, CallTarget, EnterOutcome, Reply, Visit};
use crate::engine::link::Link;
use crate::engine::state::{State, call_site};
use crate::process::Process;
use crate::search::choice::{DeviationKind, Fault, Place};
use crate::system::job::{JobFailure, JobResult, kind_of};
use crate::system::timeline::EventKind;

struct Iterable<J, C, N, F> {
    link: Link,
    place: Place,
    /// The number of items after which the cursor is saved.
    every: Rc<Cell<u32>>,
    next: N,
    each: F,
    takes: PhantomData<fn(J) -> C>,
}

impl Process {
    /// Registers a handler that processes jobs of one kind item by item, with a cursor that the queue stores with the
    /// job.
    ///
    /// `next` returns the items after the cursor, each with its own cursor: all remaining items, or a page of them. It
    /// is called again after the last one, and the job is done when it returns none. `each` processes one item. The
    /// cursor is saved after each item, or after several ([`HandlerOptions::save_every`]): a crash, an interruption or
    /// a retry repeats only the items since the last save. The save is a call with a crash point before and after it.
    ///
    /// When the process is asked to stop, the job saves its cursor before the next item and returns to the front of its
    /// queue. This is not a failure.
    ///
    /// ```
    /// use retryproof::{World, service::email::Email};
    ///
    /// let world = World::fake();
    /// world.process("worker", |p| {
    ///     let email = p.email();
    ///     p.handle_iterable(
    ///         async |_: &String, cursor: Option<u32>| {
    ///             let first = cursor.map_or(0, |last| last + 1);
    ///             Ok::<_, String>((first..3).map(|customer| (customer, customer)))
    ///         },
    ///         async move |template: &String, customer: u32| {
    ///             email.send(Email::new(format!("{customer}@example.com"), template)).await
    ///         },
    ///     );
    /// });
    /// world.enqueue("news".to_owned());
    /// world.settle().run();
    /// assert_eq!(world.email().records().len(), 3);
    /// ```
    ///
    /// # Panics
    /// Panics if the process already has a handler for this kind.
    #[track_caller]
    pub fn handle_iterable<J, C, T, I, E, R, N, F>(&self, next: N, each: F) -> HandlerOptions<'_>
    where
        J: DeserializeOwned + 'static,
        C: Serialize + DeserializeOwned + Clone + 'static,
        T: 'static,
        I: IntoIterator<Item = (C, T)> + 'static,
        E: Display + 'static,
        R: JobResult + 'static,
        N: AsyncFn(&J, Option<C>) -> Result<I, E> + 'static,
        F: AsyncFn(&J, T) -> R + 'static,
    {
        let (link, place, every) = (self.link.clone(), Place::caller(), Rc::new(Cell::new(1)));
        let takes = PhantomData::<fn(J) -> C>;
        let handler = Rc::new(Iterable { link, place, every: every.clone(), next, each, takes });
        let mut registered = Registration::new(kind_of::<J>(), place, handler);
        registered.save_every = Some(every);
        self.register(registered)
    }
}

impl HandlerOptions<'_> {
    /// Sets the number of items that an iterable job ([`Process::handle_iterable`]) processes before its cursor is
    /// saved. Defaults to 1.
    ///
    /// # Panics
    /// Panics if `items` is 0, or if the job is not iterable.
    pub fn save_every(self, items: u32) -> Self {
        assert!(items > 0, "the cursor cannot be saved more often than after every item; use at least 1");
        {
            let registered = &self.process.handlers.borrow()[self.index];
            let every = registered.save_every.as_ref().unwrap_or_else(|| {
                panic!(
                    "{} saves no cursor; use `p.handle_iterable(…)` to process it item by item",
                    registered.kind
                )
            });
            every.set(items);
        }
        self
    }
}

impl<J, C, T, I, E, R, N, F> Handler for Iterable<J, C, N, F>
where
    J: DeserializeOwned + 'static,
    C: Serialize + DeserializeOwned + Clone + 'static,
    T: 'static,
    I: IntoIterator<Item = (C, T)> + 'static,
    E: Display + 'static,
    R: JobResult + 'static,
    N: AsyncFn(&J, Option<C>) -> Result<I, E> + 'static,
    F: AsyncFn(&J, T) -> R + 'static,
{
    fn start(self: Rc<Self>, job: u32, payload: &str, _: Wrappers) -> Result<Attempt, serde_json::Error> {
        let decoded = serde_json::from_str(payload)?;
        let (attempt, saved) = {
            let state = self.link.shared().state();
            let job = state.queue.job(job);
            (job.attempts, job.cursor().map(str::to_owned))
        };
        let cursor = saved.as_deref().map(serde_json::from_str).transpose();
        Ok(Box::pin(async move {
            let cursor = cursor.map_err(|error| {
                JobFailure::new(format!("its cursor {} does not decode: {error}", saved.unwrap_or_default()))
            })?;
            self.go(&decoded, cursor, Slot { job, attempt }).await
        }))
    }
}

/// The owner of the cursor: one attempt of one job.
#[derive(Clone, Copy, Debug)]
struct Slot {
    job: u32,
    attempt: u32,
}

impl<J, C, N, F> Iterable<J, C, N, F>
where
    C: Serialize + Clone,
{
    async fn go<T, I, E, R>(&self, job: &J, mut cursor: Option<C>, slot: Slot) -> Result<(), JobFailure>
    where
        I: IntoIterator<Item = (C, T)>,
        E: Display + 'static,
        R: JobResult,
        N: AsyncFn(&J, Option<C>) -> Result<I, E>,
        F: AsyncFn(&J, T) -> R,
    {
        let mut unsaved = 0;
        loop {
            let before = json(cursor.as_ref())?;
            let mut items = (self.next)(job, cursor.clone()).await.map_err(JobFailure::new)?.into_iter();
            let mut given = false;
            loop {
                if self.link.life().is_some_and(|life| life.is_stopping()) {
                    if unsaved > 0 {
                        self.save(slot, json(cursor.as_ref())?).await;
                    }
                    return Err(JobFailure::interrupted());
                }
                let Some((at, item)) = items.next() else { break };
                given = true;
                (self.each)(job, item).await.into_result()?;
                cursor = Some(at);
                unsaved += 1;
                if unsaved >= self.every.get() {
                    self.save(slot, json(cursor.as_ref())?).await;
                    unsaved = 0;
                }
            }
            if !given {
                return Ok(());
            }
            let after = json(cursor.as_ref())?;
            if after == before {
                return Err(JobFailure::new(format!(
                    "the items after the cursor {after} end at that same cursor, so they would never end; `next` must return the items after its cursor"
                )));
            }
        }
    }

    async fn save(&self, slot: Slot, cursor: String) {
        Call::new(CursorTarget { link: &self.link, slot, place: self.place, cursor: Some(cursor) }).await
    }
}

fn json<C: Serialize>(cursor: Option<&C>) -> Result<String, JobFailure> {
    serde_json::to_string(&cursor)
        .map_err(|error| JobFailure::new(format!("its cursor cannot be written as JSON: {error}")))
}

/// The queue as the target of a cursor: a call with a crash point before it has happened and one after.
struct CursorTarget<'l> {
    link: &'l Link,
    slot: Slot,
    place: Place,
    /// The cursor, until it is saved.
    cursor: Option<String>,
}

impl<'l> CallTarget for CursorTarget<'l> {
    type Output = ();
    type Visit<'v>
        = CursorVisit<'v>
    where
        Self: 'v;

    fn link(&self) -> &Link {
        self.link
    }

    fn open(&mut self) -> CursorVisit<'_> {
        let Self { link, slot, place, cursor } = self;
        CursorVisit { link, slot: *slot, place: *place, cursor: cursor.take().unwrap_or_default() }
    }

    fn given(&mut self) {}

    fn after_death(&mut self) -> Option<()> {
        Some(())
    }
}

struct CursorVisit<'v> {
    link: &'v Link,
    slot: Slot,
    place: Place,
    cursor: String,
}

impl<'v> Visit<'v> for CursorVisit<'v> {
    type Output = ();

    fn link(&self) -> &'v Link {
        self.link
    }

    fn spec(&self) -> CallSpec {
        let site = call_site("queue".into(), "save_cursor".into());
        CallSpec { site, place: self.place, faults: DeviationKind::Delivery, reply: Reply::Save }
    }

    fn enter(self, _: Option<Fault>, state: &mut State) -> EnterOutcome<()> {
        let Self { slot: Slot { job, attempt }, cursor, .. } = self;
        state.note(|| EventKind::Saved { cursor: cursor.clone() });
        // An attempt that has lost its lease saves nothing, because another attempt may have come further.
        if state.queue.is_held_by(job, attempt) {
            state.queue.job_mut(job).extras().cursor = Some(cursor.into_boxed_str());
        }
        EnterOutcome::Replies { output: (), takes: Duration::ZERO }
    }
}
