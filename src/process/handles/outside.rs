//! Real external systems, such as a database or a cache. Each call has three crash points and a fault choice, with the
//! real operation in the middle.

use std::fmt;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use crate::engine::call::{Call, CallSpec, Door, Entered, Reply, Resumed, Visit, dies_waiting};
use crate::engine::externals::{Probe, Waiting};
use crate::engine::link::{Link, Liveness};
use crate::engine::outside::{Closer, System, real_time};
use crate::engine::runtime;
use crate::engine::state::{State, call_site};
use crate::process::Process;
use crate::search::choice::{Fault, FaultSet, Kind, Name, Place, WaitKind};
use crate::system::service::{FaultPlan, external_faults};
use crate::system::timeline::What;

/// The number of polls of a call without a pause, because most calls complete by then.
const GLANCES: u32 = 100;
/// The real time between later polls.
const PAUSE: Duration = Duration::from_micros(100);
/// The number of polls of a waiting call after something happened outside, before another call gets its turn.
const GLANCES_AGAIN: u32 = 10;
/// The number of polls with pauses after which to ask whether the call waits for a lock.
const ASKED: u32 = 10;

/// A real external system: a database, a cache or an API, with whatever client it has. The handle belongs to one
/// incarnation of a process, or to the test.
///
/// Each [`call`](Outside::call) is one await. The process may crash before it, after it happened but before its reply,
/// and after it. Its reply may be lost, if the test states how that looks ([`OutsideCall::fails_as`]). After it, other
/// tasks may run. The call itself is real, and takes real time: nothing else runs meanwhile, and no virtual time
/// passes. Other tasks only run while the call waits for something that one of them holds, such as a row lock.
///
/// It is enough to wrap a pool once: the call sites do not change.
///
///
/// ```
/// use retryproof::{Explore, Outside, OutsideFault, Verdict, World};
/// use std::sync::{Arc, Mutex};
///
/// /// Stands for a pool of connections to a database.
/// #[derive(Clone)]
/// struct Orders {
///     rows: Arc<Mutex<Vec<u32>>>,
///     database: Outside,
/// }
///
/// impl Orders {
///     async fn insert(&self, order: u32) -> Result<(), std::io::Error> {
///         let insert = async { Ok(self.rows.lock().unwrap().push(order)) };
///         self.database.call("insert", insert).fails_as(|fault| Err(fault.into())).await
///     }
/// }
///
/// let report = Explore::new().deviations(1).run(async |world: &World| {
///     // What the test creates anew in each run survives the crashes of that run.
///     let rows = Arc::new(Mutex::new(Vec::new()));
///     let seen = rows.clone();
///     world.observe("orders", move || seen.lock().unwrap().clone());
///     world.process("worker", move |p| {
///         let orders = Orders { rows: rows.clone(), database: p.outside("database") };
///         p.handle(async move |order: u32| orders.insert(order).await);
///     });
///     world.enqueue(6_u32);
///     world.settle().await;
/// });
/// // Nothing keeps the second attempt from inserting the row again.
/// assert_eq!(report.verdict(), Verdict::Violated);
/// ```
///
/// The test reaches the same system with [`World::outside`](crate::World::outside). With that handle, it registers how
/// to tell whether a call waits for a lock ([`waits`](Outside::waits)) and how to close what a dead process leaves
/// behind ([`closes`](Outside::closes)), and runs its own operations ([`wait`](Outside::wait)).
#[derive(Clone, Debug)]
pub struct Outside {
    link: Link,
    system: Arc<System>,
}

/// An injected fault of an external call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum OutsideFault {
    /// The system was not reached, so nothing has happened.
    #[error("not reached: nothing has happened")]
    Unreachable,
    /// The operation happened, but the caller does not get the reply.
    #[error("the connection was lost before the reply")]
    ReplyLost,
}

impl From<OutsideFault> for io::Error {
    fn from(fault: OutsideFault) -> Self {
        let kind = match fault {
            OutsideFault::Unreachable => io::ErrorKind::ConnectionRefused,
            OutsideFault::ReplyLost => io::ErrorKind::ConnectionReset,
        };
        io::Error::new(kind, fault)
    }
}

/// The description of a call, blocking or not.
#[derive(Clone, Debug)]
struct Terms {
    outside: Outside,
    operation: Name,
    place: Place,
    reads: bool,
}

/// A call to an external system. It does nothing unless awaited.
#[must_use = "a call does nothing unless awaited"]
pub struct OutsideCall<F: Future>(Call<ExternalDoor<F>>);

/// A call to an external system from blocking code. It does nothing unless run.
#[must_use = "a call does nothing unless `run`"]
pub struct BlockingOutsideCall<W, R>(Call<BlockingDoor<W, R>>)
where
    W: FnOnce() -> R;

impl<F: Future> fmt::Debug for OutsideCall<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutsideCall").field("terms", &self.0.door.terms).finish_non_exhaustive()
    }
}

impl<R, W: FnOnce() -> R> fmt::Debug for BlockingOutsideCall<W, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingOutsideCall").field("terms", &self.0.door.terms).finish_non_exhaustive()
    }
}

impl Process {
    /// Returns this incarnation's handle for an external system, under a name that the test chooses.
    pub fn outside(&self, name: impl Into<Name>) -> Outside {
        Outside::new(self.link.clone(), name.into())
    }
}

impl Outside {
    pub(crate) fn new(link: Link, name: Name) -> Self {
        let system = link.shared().outside().system(name);
        Self { link, system }
    }

    /// Makes a call. `future` is the real operation, which is polled once the call is awaited. `operation` names it in
    /// the report. Spaces in the name become dashes.
    ///
    /// A call from a tokio task (`tokio::spawn` in a handler) is waited for like any other call, but no other task
    /// runs while it waits for a lock.
    #[track_caller]
    pub fn call<F: Future>(&self, operation: impl Into<Name>, future: F) -> OutsideCall<F> {
        let terms = self.terms(operation.into(), Place::caller());
        let (future, fails_as) = (Box::pin(future), None);
        OutsideCall(Call::new(ExternalDoor { terms, future, fails_as, waits: None, held: None }))
    }

    /// Makes a call from blocking code. `work` is the real operation, which runs when the call is
    /// [`run`](BlockingOutsideCall::run). It should not wait for something that another task holds, because only the
    /// elapsed time would reveal that.
    #[track_caller]
    pub fn call_blocking<R, W: FnOnce() -> R>(
        &self,
        operation: impl Into<Name>,
        work: W,
    ) -> BlockingOutsideCall<W, R> {
        let terms = self.terms(operation.into(), Place::caller());
        BlockingOutsideCall(Call::new(BlockingDoor { terms, work: Some(work), fails_as: None }))
    }

    fn terms(&self, operation: Name, place: Place) -> Terms {
        let operation = match operation.as_str().contains(char::is_whitespace) {
            true => Name::from(operation.as_str().split_whitespace().collect::<Vec<_>>().join("-")),
            false => operation,
        };
        Terms { outside: self.clone(), operation, place, reads: false }
    }

    /// Runs an operation of the test itself at once, in real time: creates a database, or reads rows. No failure is
    /// injected. Connections that it opens stay open until this thread ends, and can be used in the next scenario.
    ///
    /// # Panics
    /// Panics in the code under test, and inside a running tokio runtime (a [`World::fake`](crate::World::fake) in a
    /// `#[tokio::test]`). Await the operation there instead.
    pub fn wait<F: Future>(&self, future: F) -> F::Output {
        self.test_only();
        runtime::wait(future)
    }

    /// Registers a query that returns how many calls are blocked on a lock. While a call is blocked, other tasks run,
    /// and after each of their calls the blocked calls are checked again. `count` runs in real time while a call is in
    /// progress, so it needs its own connection.
    ///
    /// Without this query, a call that has not ended after some time ([`patience`](Outside::patience)) lets other
    /// tasks run.
    pub fn waits<Fut>(&self, count: impl Fn() -> Fut + Send + Sync + 'static) -> &Self
    where
        Fut: Future<Output = usize> + 'static,
    {
        self.test_only();
        let probe: Probe = Arc::new(move || Box::pin(count()));
        self.system.say(|said| said.probe = Some(probe));
        self
    }

    /// Registers a function that closes what a dead process has left open, and waits until it is closed. It gets the
    /// name of the process and the number of its incarnation. It runs in real time after each crash, when everything
    /// in the process has been dropped and before the process restarts, and once per process at the end of the run.
    pub fn closes<Fut>(&self, close: impl Fn(Name, u32) -> Fut + Send + Sync + 'static) -> &Self
    where
        Fut: Future<Output = ()> + 'static,
    {
        self.test_only();
        let closer: Closer = Arc::new(move |process, incarnation| Box::pin(close(process, incarnation)));
        self.system.say(|said| said.closers.push(closer));
        self
    }

    /// Sets how long, in real time, to wait for a call before other tasks run, if nothing reveals that it waits for a
    /// lock, but for a connection from an exhausted pool, for example. Defaults to two seconds. If no task can run for
    /// that long, the run is [`Verdict::Stuck`](crate::Verdict::Stuck).
    pub fn patience(&self, patience: Duration) -> &Self {
        self.test_only();
        self.system.say(|said| said.patience = patience);
        self
    }

    fn test_only(&self) {
        assert!(
            self.link.is_given(),
            "`{}` is set up, and waited for, by the test: use `world.outside(…)`, not the handle of a process",
            self.system.name
        );
    }
}

impl Terms {
    /// Begins the first half of a call. `may_fail` says whether the test stated how a failure looks.
    fn open<T>(&self, may_fail: bool) -> ExternalVisit<'_, T> {
        // Nobody knows what the call touches outside.
        self.outside.link.shared().reduce_no_more();
        ExternalVisit { terms: self, may_fail, output: PhantomData }
    }

    /// Returns what the caller sees: the result of the operation, unless its reply is lost.
    fn end<T>(&self, output: T, fault: Option<Fault>, fails_as: Option<fn(OutsideFault) -> T>) -> T {
        self.outside.link.shared().outside().stir();
        let lost = fails_as.filter(|_| fault.is_some());
        lost.map_or(output, |fails_as| self.fail(OutsideFault::ReplyLost, fails_as))
    }

    fn fail<T>(&self, fault: OutsideFault, fails_as: fn(OutsideFault) -> T) -> T {
        self.note_fault(fault);
        fails_as(fault)
    }

    fn note_fault(&self, fault: OutsideFault) {
        let link = &self.outside.link;
        let mut state = link.shared().state();
        link.as_caller(&mut state, |state| state.note(|| What::Replied { reply: Err(fault.to_string()) }));
    }

    /// Returns how many calls are blocked on a lock, if a query was registered.
    fn locked(&self) -> Option<usize> {
        self.outside.system.said().probe.map(|probe| runtime::wait(probe()))
    }

    /// Makes a call wait for what other tasks hold. Returns `None` if its process died because of that.
    fn wait(&self, is_locked: bool, cx: &Context<'_>) -> Option<u64> {
        let link = &self.outside.link;
        let Self { outside: Outside { system, .. }, operation, place, .. } = self;
        let shared = link.shared();
        let mut state = shared.state();
        let task = state.task()?;
        let (actor, wake) = (state.actor(), shared.wake_of(&state, cx));
        let (patience, operation, place) = (system.said().patience, *operation, *place);
        let system = system.name;
        let waiting = Waiting { ticket: 0, system, patience, operation, place, actor, task, wake, is_locked };
        let text = format!("waits {}", waiting.why());
        state.note(|| What::Remarked { text });
        let dies = dies_waiting(link, &mut state, WaitKind::External, place);
        (!dies).then(|| shared.outside().wait(waiting))
    }
}

impl<F: Future> OutsideCall<F> {
    /// Marks the call as one that changes nothing, so that a lost reply only makes a difference to its caller.
    pub fn reads(mut self) -> Self {
        self.0.door.terms.reads = true;
        self
    }

    /// Registers how a failed call looks to the caller, which turns on the exploration of failures. See
    /// [`OutsideFault`], which converts into an [`io::Error`], because most clients have an error for that.
    pub fn fails_as(mut self, failure: fn(OutsideFault) -> F::Output) -> Self {
        self.0.door.fails_as = Some(failure);
        self
    }
}

impl<F: Future> Future for OutsideCall<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<R, W: FnOnce() -> R> BlockingOutsideCall<W, R> {
    /// Marks the call as one that changes nothing, so that a lost reply only makes a difference to its caller.
    pub fn reads(mut self) -> Self {
        self.0.door.terms.reads = true;
        self
    }

    /// Registers how a failed call looks to the caller, which turns on the exploration of failures.
    ///
    /// Always call this in a destructor: a destructor that runs because its process dies must get some result, and the
    /// call must have no effect.
    pub fn fails_as(mut self, failure: fn(OutsideFault) -> R) -> Self {
        self.0.door.fails_as = Some(failure);
        self
    }

    /// Makes the call. A crash unwinds the stack.
    pub fn run(self) -> R {
        self.0.block()
    }
}

/// The external system during the first half of a call.
struct ExternalVisit<'v, T> {
    terms: &'v Terms,
    may_fail: bool,
    output: PhantomData<T>,
}

impl<'v, T> Visit<'v> for ExternalVisit<'v, T> {
    type Output = T;

    fn link(&self) -> &'v Link {
        &self.terms.outside.link
    }

    fn spec(&self) -> CallSpec {
        let Terms { outside: Outside { system, .. }, operation, place, reads } = self.terms;
        let reply = if *reads { Reply::Read } else { Reply::Write };
        CallSpec { site: call_site(system.name, *operation), place: *place, faults: Kind::Fault, reply }
    }

    fn announce(&mut self, state: &mut State) {
        let Terms { outside: Outside { system, .. }, operation, place, .. } = self.terms;
        let (service, operation, place) = (system.name, *operation, *place);
        state.calls_outside(service, operation, place);
        state.note(|| What::Called { service, operation, request: String::new(), place });
    }

    fn faults(&mut self, _: &State) -> FaultPlan {
        FaultPlan::Choose(match self.may_fail {
            true => external_faults(!self.terms.reads),
            false => FaultSet::NONE,
        })
    }

    fn enter(self, _: Option<Fault>, _: &mut State) -> Entered<T> {
        Entered::UnderWay
    }
}

/// The external system as the target of one call.
struct ExternalDoor<F: Future> {
    terms: Terms,
    future: Pin<Box<F>>,
    fails_as: Option<fn(OutsideFault) -> F::Output>,
    /// The ticket under which the call waits for what other tasks hold.
    waits: Option<u64>,
    /// Set if someone else drives the runtime, so that no time passes meanwhile.
    held: Option<usize>,
}

impl<F: Future> Door for ExternalDoor<F> {
    type Output = F::Output;
    type Visit<'v>
        = ExternalVisit<'v, F::Output>
    where
        Self: 'v;

    fn link(&self) -> &Link {
        &self.terms.outside.link
    }

    fn operation(&self) -> Option<(Name, Name)> {
        Some((self.terms.outside.system.name, self.terms.operation))
    }

    fn open(&mut self) -> ExternalVisit<'_, F::Output> {
        self.terms.open(self.fails_as.is_some())
    }

    fn given(&mut self) -> F::Output {
        runtime::wait(self.future.as_mut())
    }

    fn after_death(&mut self) -> Option<F::Output> {
        self.fails_as.map(|fails_as| fails_as(OutsideFault::Unreachable))
    }

    fn resume(&mut self, fault: Option<Fault>, cx: &mut Context<'_>) -> Resumed<F::Output> {
        if let (Some(Fault::Unreachable), Some(fails_as)) = (fault, self.fails_as) {
            return Resumed::Ended(self.terms.fail(OutsideFault::Unreachable, fails_as));
        }
        let resumed = match runtime::is_driven_here() {
            true => self.poll_held(cx),
            false => self.go_on(cx),
        };
        match resumed {
            Resumed::Ended(output) => {
                self.release();
                Resumed::Ended(self.terms.end(output, fault, self.fails_as))
            }
            other => other,
        }
    }
}

impl<F: Future> ExternalDoor<F> {
    /// Drives the real operation until it completes, or cannot complete without other tasks.
    fn go_on(&mut self, cx: &Context<'_>) -> Resumed<F::Output> {
        let Self { terms, future, waits, .. } = self;
        let (link, system) = (&terms.outside.link, &terms.outside.system);
        let shared = link.shared();
        let mut began = None;
        for glances in 0_u32.. {
            if let Poll::Ready(output) = runtime::glance(|cx| future.as_mut().poll(cx)) {
                return Resumed::Ended(output);
            }
            if link.liveness() != Liveness::Alive || shared.state().search.is_stuck() {
                return Resumed::Over;
            }
            if let Some(ticket) = waits.filter(|_| glances >= GLANCES_AGAIN) {
                let wake = shared.wake_of(&shared.state(), cx);
                shared.outside().wait_on(ticket, wake);
                return Resumed::Waits;
            }
            if glances < GLANCES {
                thread::yield_now();
            } else {
                thread::park_timeout(PAUSE);
            }
            if waits.is_none() && glances > GLANCES && glances % ASKED == 0 {
                // Count this call as well.
                let others = shared.outside().locked(system.name);
                let is_locked = terms.locked().is_some_and(|locked| locked > others);
                let waited = began.get_or_insert_with(real_time).elapsed();
                if is_locked || waited > system.said().patience {
                    *waits = terms.wait(is_locked, cx);
                    return if waits.is_some() { Resumed::Waits } else { Resumed::Over };
                }
            }
        }
        unreachable!("patience ends before numbers do")
    }

    /// Marks the call as no longer in progress.
    fn release(&mut self) {
        let outside = self.terms.outside.link.shared().outside();
        self.waits.take().into_iter().for_each(|ticket| outside.stop_waiting(ticket));
        self.held.take().into_iter().for_each(|host| outside.let_go(host));
    }

    /// Polls inside a runtime that is running already. Its driver waits for the call, and time stands still.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Resumed<F::Output> {
        if let Poll::Ready(output) = self.future.as_mut().poll(cx) {
            return Resumed::Ended(output);
        }
        let link = &self.terms.outside.link;
        if let (None, Some(life)) = (self.held, link.life()) {
            link.shared().outside().hold(life.index);
            self.held = Some(life.index);
            link.shared().woken.stir();
        }
        Resumed::Waits
    }
}

impl<F: Future> Drop for ExternalDoor<F> {
    fn drop(&mut self) {
        self.release();
    }
}

/// The external system as the target of one blocking call.
struct BlockingDoor<W, R> {
    terms: Terms,
    /// The operation, until it has run.
    work: Option<W>,
    fails_as: Option<fn(OutsideFault) -> R>,
}

impl<R, W: FnOnce() -> R> Door for BlockingDoor<W, R> {
    type Output = R;
    type Visit<'v>
        = ExternalVisit<'v, R>
    where
        Self: 'v;

    fn link(&self) -> &Link {
        &self.terms.outside.link
    }

    fn open(&mut self) -> ExternalVisit<'_, R> {
        self.terms.open(self.fails_as.is_some())
    }

    fn given(&mut self) -> R {
        self.work.take().expect("a call is made once")()
    }

    fn after_death(&mut self) -> Option<R> {
        self.fails_as.map(|fails_as| fails_as(OutsideFault::Unreachable))
    }

    /// Runs on the thread of a slot, which the operation blocks.
    fn resume(&mut self, fault: Option<Fault>, _: &mut Context<'_>) -> Resumed<R> {
        if runtime::is_driven_here() {
            return Resumed::Ended(self.work(fault));
        }
        match runtime::glance(|_| Poll::Ready(self.work(fault))) {
            Poll::Ready(output) => Resumed::Ended(output),
            Poll::Pending => unreachable!("work that blocks has ended when it returns"),
        }
    }

    fn work(&mut self, fault: Option<Fault>) -> R {
        if let (Some(Fault::Unreachable), Some(fails_as)) = (fault, self.fails_as) {
            return self.terms.fail(OutsideFault::Unreachable, fails_as);
        }
        let output = self.work.take().expect("a call is made once")();
        self.terms.end(output, fault, self.fails_as)
    }
}
