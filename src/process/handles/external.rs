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

use crate::engine::call::{
    Call, CallSpec, CallTarget, EnterOutcome, Reply, ResumeOutcome, Visit, dies_waiting,
};
use crate::engine::external_calls::{Closer, ExternalSystem, real_time};
use crate::engine::externals::{BlockedCall, Probe};
use crate::engine::link::{Link, Liveness};
use crate::engine::runtime;
use crate::engine::state::{State, call_site};
use crate::process::Process;
use crate::search::choice::{DeviationKind, Fault, FaultSet, Name, Place, WaitKind};
use crate::system::service::{FaultPlan, external_faults};
use crate::system::timeline::EventKind;

/// The number of polls of a call without a pause, because most calls complete by then.
const SPIN_POLLS: u32 = 100;
/// The real time between later polls.
const POLL_PAUSE: Duration = Duration::from_micros(100);
/// The number of polls of a waiting call after something happened outside, before another call gets its turn.
const RESUME_POLLS: u32 = 10;
/// The number of polls with pauses after which to ask whether the call waits for a lock.
const PROBE_EVERY: u32 = 10;

/// A real external system: a database, a cache or an API, with whatever client it has. The handle belongs to one
/// incarnation of a process, or to the test.
///
/// Each [`call`](External::call) is one await. The process may crash before it, after it happened but before its reply,
/// and after it. Its reply may be lost, if the test states how that looks ([`ExternalCall::on_fault`]). After it, other
/// tasks may run. The call itself is real, and takes real time: nothing else runs meanwhile, and no virtual time
/// passes. Other tasks only run while the call waits for something that one of them holds, such as a row lock.
///
/// It is enough to wrap a pool once: the call sites do not change.
///
///
/// ```
/// use retryproof::external::ExternalFault;
/// use retryproof::{Explore, External, Verdict, World};
/// use std::sync::{Arc, Mutex};
///
/// /// Stands for a pool of connections to a database.
/// #[derive(Clone)]
/// struct Orders {
///     rows: Arc<Mutex<Vec<u32>>>,
///     database: External,
/// }
///
/// impl Orders {
///     async fn insert(&self, order: u32) -> Result<(), std::io::Error> {
///         let insert = async { Ok(self.rows.lock().unwrap().push(order)) };
///         self.database.call("insert", insert).on_fault(|fault| Err(fault.into())).await
///     }
/// }
///
/// let report = Explore::new().deviations(1).run(async |world: &World| {
///     // What the test creates anew in each run survives the crashes of that run.
///     let rows = Arc::new(Mutex::new(Vec::new()));
///     let seen = rows.clone();
///     world.observe("orders", move || seen.lock().unwrap().clone());
///     world.process("worker", move |p| {
///         let orders = Orders { rows: rows.clone(), database: p.external("database") };
///         p.handle(async move |order: u32| orders.insert(order).await);
///     });
///     world.enqueue(6_u32);
///     world.settle().await;
/// });
/// // Nothing keeps the second attempt from inserting the row again.
/// assert_eq!(report.verdict(), Verdict::Violated);
/// ```
///
/// The test reaches the same system with [`World::external`](crate::World::external). With that handle, it registers
/// how to tell whether a call waits for a lock ([`lock_probe`](External::lock_probe)) and how to close what a dead
/// process leaves behind ([`on_process_death`](External::on_process_death)), and runs its own operations
/// ([`block_on`](External::block_on)).
#[derive(Clone, Debug)]
pub struct External {
    link: Link,
    system: Arc<ExternalSystem>,
}

/// An injected fault of an external call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ExternalFault {
    /// The system was not reached, so nothing has happened.
    #[error("not reached: nothing has happened")]
    Unreachable,
    /// The operation happened, but the caller does not get the reply.
    #[error("the connection was lost before the reply")]
    ReplyLost,
    /// The system has refused the operation in favor of another caller: a deadlock or a serialization failure. Only a
    /// protocol that asks for it has this fault.
    #[error("refused in favor of another caller")]
    Conflict,
    /// The system says that it shuts down, and closes the connection, so nothing has happened. Only a protocol that
    /// asks for it has this fault.
    #[error("the system shuts down: nothing has happened")]
    ShutDown,
    /// The caller's own limit for waiting is over, so the operation does not happen. Only work of a protocol
    /// that sets such a limit has this one.
    #[error("waited too long: nothing has happened")]
    WaitedTooLong,
}

impl From<ExternalFault> for io::Error {
    fn from(fault: ExternalFault) -> Self {
        let kind = match fault {
            ExternalFault::Unreachable => io::ErrorKind::ConnectionRefused,
            ExternalFault::ReplyLost => io::ErrorKind::ConnectionReset,
            ExternalFault::Conflict => io::ErrorKind::WouldBlock,
            ExternalFault::ShutDown => io::ErrorKind::ConnectionAborted,
            ExternalFault::WaitedTooLong => io::ErrorKind::TimedOut,
        };
        io::Error::new(kind, fault)
    }
}

/// The description of a call, blocking or not.
#[derive(Clone, Debug)]
struct CallTerms {
    external: External,
    operation: Name,
    place: Place,
    reads: bool,
}

/// A call to an external system. It does nothing unless awaited.
#[must_use = "a call does nothing unless awaited"]
pub struct ExternalCall<F: Future>(Call<ExternalTarget<F>>);

/// A call to an external system from blocking code. It does nothing unless run.
#[must_use = "a call does nothing unless `run`"]
pub struct BlockingExternalCall<W, R>(Call<BlockingTarget<W, R>>)
where
    W: FnOnce() -> R;

impl<F: Future> fmt::Debug for ExternalCall<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalCall").field("terms", &self.0.target.terms).finish_non_exhaustive()
    }
}

impl<R, W: FnOnce() -> R> fmt::Debug for BlockingExternalCall<W, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingExternalCall").field("terms", &self.0.target.terms).finish_non_exhaustive()
    }
}

impl Process {
    /// Returns this incarnation's handle for an external system, under a name that the test chooses.
    pub fn external(&self, name: impl Into<Name>) -> External {
        External::new(self.link.clone(), name.into())
    }
}

impl External {
    pub(crate) fn new(link: Link, name: Name) -> Self {
        let system = link.shared().external_calls().system(name);
        Self { link, system }
    }

    /// Makes a call. `future` is the real operation, which is polled once the call is awaited. `operation` names it in
    /// the report. Spaces in the name become dashes.
    ///
    /// A call from a tokio task (`tokio::spawn` in a handler) is waited for like any other call, but no other task
    /// runs while it waits for a lock.
    #[track_caller]
    pub fn call<F: Future>(&self, operation: impl Into<Name>, future: F) -> ExternalCall<F> {
        let terms = self.terms(operation.into(), Place::caller());
        let (future, on_fault) = (Box::pin(future), None);
        ExternalCall(Call::new(ExternalTarget { terms, future, on_fault, waits: None, held: None }))
    }

    /// Makes a call from blocking code. `work` is the real operation, which runs when the call is
    /// [`run`](BlockingExternalCall::run). It should not wait for something that another task holds, because only the
    /// elapsed time would reveal that.
    #[track_caller]
    pub fn call_blocking<R, W: FnOnce() -> R>(
        &self,
        operation: impl Into<Name>,
        work: W,
    ) -> BlockingExternalCall<W, R> {
        let terms = self.terms(operation.into(), Place::caller());
        BlockingExternalCall(Call::new(BlockingTarget { terms, work: Some(work), on_fault: None }))
    }

    fn terms(&self, operation: Name, place: Place) -> CallTerms {
        let operation = match operation.as_str().contains(char::is_whitespace) {
            true => Name::from(operation.as_str().split_whitespace().collect::<Vec<_>>().join("-")),
            false => operation,
        };
        CallTerms { external: self.clone(), operation, place, reads: false }
    }

    /// Runs an operation of the test itself at once, in real time: creates a database, or reads rows. No failure is
    /// injected. Connections that it opens stay open until this thread ends, and can be used in the next scenario.
    ///
    /// # Panics
    /// Panics in the code under test, and inside a running tokio runtime (a [`World::fake`](crate::World::fake) in a
    /// `#[tokio::test]`). Await the operation there instead.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.test_only();
        runtime::wait(future)
    }

    /// Registers a query that returns how many calls are blocked on a lock. While a call is blocked, other tasks run,
    /// and after each of their calls the blocked calls are checked again. `count` runs in real time while a call is in
    /// progress, so it needs its own connection.
    ///
    /// Without this query, a call that has not ended after some time ([`block_timeout`](External::block_timeout)) lets
    /// other tasks run.
    pub fn lock_probe<Fut>(&self, count: impl Fn() -> Fut + Send + Sync + 'static) -> &Self
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
    pub fn on_process_death<Fut>(&self, close: impl Fn(Name, u32) -> Fut + Send + Sync + 'static) -> &Self
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
    pub fn block_timeout(&self, block_timeout: Duration) -> &Self {
        self.test_only();
        self.system.say(|said| said.block_timeout = block_timeout);
        self
    }

    fn test_only(&self) {
        assert!(
            self.link.is_given(),
            "`{}` is set up, and waited for, by the test: use `world.external(…)`, not the handle of a process",
            self.system.name
        );
    }
}

impl CallTerms {
    /// Begins the first half of a call. `may_fail` says whether the test stated how a failure looks.
    fn open<T>(&self, may_fail: bool) -> ExternalVisit<'_, T> {
        // Nobody knows what the call touches outside.
        self.external.link.shared().reduce_no_more();
        ExternalVisit { terms: self, may_fail, output: PhantomData }
    }

    /// Returns what the caller sees: the result of the operation, unless its reply is lost.
    fn end<T>(&self, output: T, fault: Option<Fault>, on_fault: Option<fn(ExternalFault) -> T>) -> T {
        self.external.link.shared().external_calls().note_progress();
        let lost = on_fault.filter(|_| fault.is_some());
        lost.map_or(output, |on_fault| self.fail(ExternalFault::ReplyLost, on_fault))
    }

    fn fail<T>(&self, fault: ExternalFault, on_fault: fn(ExternalFault) -> T) -> T {
        self.note_fault(fault);
        on_fault(fault)
    }

    fn note_fault(&self, fault: ExternalFault) {
        let link = &self.external.link;
        let mut state = link.shared().state();
        link.as_caller(&mut state, |state| {
            state.note(|| EventKind::Replied { reply: Err(fault.to_string()) })
        });
    }

    /// Returns how many calls are blocked on a lock, if a query was registered.
    fn locked(&self) -> Option<usize> {
        self.external.system.said().probe.map(|probe| runtime::wait(probe()))
    }

    /// Makes a call wait for what other tasks hold. Returns `None` if its process died because of that.
    fn wait(&self, is_locked: bool, cx: &Context<'_>) -> Option<u64> {
        let link = &self.external.link;
        let Self { external: External { system, .. }, operation, place, .. } = self;
        let shared = link.shared();
        let mut state = shared.state();
        let task = state.task()?;
        let (actor, wake) = (state.actor(), shared.wake_of(&state, cx));
        let (block_timeout, operation, place) = (system.said().block_timeout, *operation, *place);
        let system = system.name;
        let waiting =
            BlockedCall { ticket: 0, system, block_timeout, operation, place, actor, task, wake, is_locked };
        let text = format!("waits {}", waiting.why());
        state.note(|| EventKind::Remarked { text });
        let dies = dies_waiting(link, &mut state, WaitKind::External, place);
        (!dies).then(|| shared.external_calls().wait(waiting))
    }
}

impl<F: Future> ExternalCall<F> {
    /// Marks the call as one that changes nothing, so that a lost reply only makes a difference to its caller.
    pub fn read_only(mut self) -> Self {
        self.0.target.terms.reads = true;
        self
    }

    /// Registers how a failed call looks to the caller, which turns on the exploration of failures. See
    /// [`ExternalFault`], which converts into an [`io::Error`], because most clients have an error for that.
    pub fn on_fault(mut self, failure: fn(ExternalFault) -> F::Output) -> Self {
        self.0.target.on_fault = Some(failure);
        self
    }
}

impl<F: Future> Future for ExternalCall<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<R, W: FnOnce() -> R> BlockingExternalCall<W, R> {
    /// Marks the call as one that changes nothing, so that a lost reply only makes a difference to its caller.
    pub fn read_only(mut self) -> Self {
        self.0.target.terms.reads = true;
        self
    }

    /// Registers how a failed call looks to the caller, which turns on the exploration of failures.
    ///
    /// Always call this in a destructor: a destructor that runs because its process dies must get some result, and the
    /// call must have no effect.
    pub fn on_fault(mut self, failure: fn(ExternalFault) -> R) -> Self {
        self.0.target.on_fault = Some(failure);
        self
    }

    /// Makes the call. A crash unwinds the stack.
    pub fn run(self) -> R {
        self.0.block()
    }
}

/// The external system during the first half of a call.
struct ExternalVisit<'v, T> {
    terms: &'v CallTerms,
    may_fail: bool,
    output: PhantomData<T>,
}

impl<'v, T> Visit<'v> for ExternalVisit<'v, T> {
    type Output = T;

    fn link(&self) -> &'v Link {
        &self.terms.external.link
    }

    fn spec(&self) -> CallSpec {
        let CallTerms { external: External { system, .. }, operation, place, reads } = self.terms;
        let reply = if *reads { Reply::Read } else { Reply::Write };
        CallSpec {
            site: call_site(system.name, *operation),
            place: *place,
            faults: DeviationKind::Fault,
            reply,
        }
    }

    fn announce(&mut self, state: &mut State) {
        let CallTerms { external: External { system, .. }, operation, place, .. } = self.terms;
        let (service, operation, place) = (system.name, *operation, *place);
        state.calls_outside(service, operation, place);
        state.note(|| EventKind::Called { service, operation, request: String::new(), place });
    }

    fn faults(&mut self, _: &State) -> FaultPlan {
        FaultPlan::Choose(match self.may_fail {
            true => external_faults(!self.terms.reads),
            false => FaultSet::NONE,
        })
    }

    fn enter(self, _: Option<Fault>, _: &mut State) -> EnterOutcome<T> {
        EnterOutcome::UnderWay
    }
}

/// The external system as the target of one call.
struct ExternalTarget<F: Future> {
    terms: CallTerms,
    future: Pin<Box<F>>,
    on_fault: Option<fn(ExternalFault) -> F::Output>,
    /// The ticket under which the call waits for what other tasks hold.
    waits: Option<u64>,
    /// Set if someone else drives the runtime, so that no time passes meanwhile.
    held: Option<usize>,
}

impl<F: Future> CallTarget for ExternalTarget<F> {
    type Output = F::Output;
    type Visit<'v>
        = ExternalVisit<'v, F::Output>
    where
        Self: 'v;

    fn link(&self) -> &Link {
        &self.terms.external.link
    }

    fn operation(&self) -> Option<(Name, Name)> {
        Some((self.terms.external.system.name, self.terms.operation))
    }

    fn open(&mut self) -> ExternalVisit<'_, F::Output> {
        self.terms.open(self.on_fault.is_some())
    }

    fn given(&mut self) -> F::Output {
        runtime::wait(self.future.as_mut())
    }

    fn after_death(&mut self) -> Option<F::Output> {
        self.on_fault.map(|on_fault| on_fault(ExternalFault::Unreachable))
    }

    fn resume(&mut self, fault: Option<Fault>, cx: &mut Context<'_>) -> ResumeOutcome<F::Output> {
        if let (Some(Fault::Unreachable), Some(on_fault)) = (fault, self.on_fault) {
            return ResumeOutcome::Ended(self.terms.fail(ExternalFault::Unreachable, on_fault));
        }
        let resumed = match runtime::is_driven_here() {
            true => self.poll_held(cx),
            false => self.go_on(cx),
        };
        match resumed {
            ResumeOutcome::Ended(output) => {
                self.release();
                ResumeOutcome::Ended(self.terms.end(output, fault, self.on_fault))
            }
            other => other,
        }
    }
}

impl<F: Future> ExternalTarget<F> {
    /// Drives the real operation until it completes, or cannot complete without other tasks.
    fn go_on(&mut self, cx: &Context<'_>) -> ResumeOutcome<F::Output> {
        let Self { terms, future, waits, .. } = self;
        let (link, system) = (&terms.external.link, &terms.external.system);
        let shared = link.shared();
        let mut began = None;
        for glances in 0_u32.. {
            if let Poll::Ready(output) = runtime::poll_once(|cx| future.as_mut().poll(cx)) {
                return ResumeOutcome::Ended(output);
            }
            if link.liveness() != Liveness::Alive || shared.state().search.is_stuck() {
                return ResumeOutcome::Over;
            }
            if let Some(ticket) = waits.filter(|_| glances >= RESUME_POLLS) {
                let wake = shared.wake_of(&shared.state(), cx);
                shared.external_calls().wait_on(ticket, wake);
                return ResumeOutcome::Waits;
            }
            if glances < SPIN_POLLS {
                thread::yield_now();
            } else {
                thread::park_timeout(POLL_PAUSE);
            }
            if waits.is_none() && glances > SPIN_POLLS && glances % PROBE_EVERY == 0 {
                // Count this call as well.
                let others = shared.external_calls().locked(system.name);
                let is_locked = terms.locked().is_some_and(|locked| locked > others);
                let waited = began.get_or_insert_with(real_time).elapsed();
                if is_locked || waited > system.said().block_timeout {
                    *waits = terms.wait(is_locked, cx);
                    return if waits.is_some() { ResumeOutcome::Waits } else { ResumeOutcome::Over };
                }
            }
        }
        unreachable!("patience ends before numbers do")
    }

    /// Marks the call as no longer in progress.
    fn release(&mut self) {
        let external = self.terms.external.link.shared().external_calls();
        self.waits.take().into_iter().for_each(|ticket| external.stop_waiting(ticket));
        self.held.take().into_iter().for_each(|host| external.let_go(host));
    }

    /// Polls inside a runtime that is running already. Its driver waits for the call, and time stands still.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> ResumeOutcome<F::Output> {
        if let Poll::Ready(output) = self.future.as_mut().poll(cx) {
            return ResumeOutcome::Ended(output);
        }
        let link = &self.terms.external.link;
        if let (None, Some(life)) = (self.held, link.life()) {
            link.shared().external_calls().hold(life.index);
            self.held = Some(life.index);
            link.shared().woken.note_progress();
        }
        ResumeOutcome::Waits
    }
}

impl<F: Future> Drop for ExternalTarget<F> {
    fn drop(&mut self) {
        self.release();
    }
}

/// The external system as the target of one blocking call.
struct BlockingTarget<W, R> {
    terms: CallTerms,
    /// The operation, until it has run.
    work: Option<W>,
    on_fault: Option<fn(ExternalFault) -> R>,
}

impl<R, W: FnOnce() -> R> CallTarget for BlockingTarget<W, R> {
    type Output = R;
    type Visit<'v>
        = ExternalVisit<'v, R>
    where
        Self: 'v;

    fn link(&self) -> &Link {
        &self.terms.external.link
    }

    fn open(&mut self) -> ExternalVisit<'_, R> {
        self.terms.open(self.on_fault.is_some())
    }

    fn given(&mut self) -> R {
        self.work.take().expect("a call is made once")()
    }

    fn after_death(&mut self) -> Option<R> {
        self.on_fault.map(|on_fault| on_fault(ExternalFault::Unreachable))
    }

    /// Runs on the thread of a slot, which the operation blocks.
    fn resume(&mut self, fault: Option<Fault>, _: &mut Context<'_>) -> ResumeOutcome<R> {
        if runtime::is_driven_here() {
            return ResumeOutcome::Ended(self.work(fault));
        }
        match runtime::poll_once(|_| Poll::Ready(self.work(fault))) {
            Poll::Ready(output) => ResumeOutcome::Ended(output),
            Poll::Pending => unreachable!("work that blocks has ended when it returns"),
        }
    }

    fn work(&mut self, fault: Option<Fault>) -> R {
        if let (Some(Fault::Unreachable), Some(on_fault)) = (fault, self.on_fault) {
            return self.terms.fail(ExternalFault::Unreachable, on_fault);
        }
        let output = self.work.take().expect("a call is made once")();
        self.terms.end(output, fault, self.on_fault)
    }
}
