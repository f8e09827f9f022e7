//! What is really outside (a database, a cache of the user's own) as one incarnation reaches it: each call has three
//! crash points and a fault choice, and the real thing in the middle.

use std::fmt;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use crate::engine::call::{Call, CallSpec, Door, EnterOutcome, Reply, ResumeOutcome, Visit, dies_waiting};
use crate::engine::external_calls::{Closer, ExternalSystem, real_time};
use crate::engine::externals::{BlockedCall, Probe};
use crate::engine::link::{Link, Liveness};
use crate::engine::runtime;
use crate::engine::state::{State, call_site};
use crate::process::Process;
use crate::search::choice::{DeviationKind, Fault, FaultSet, Name, Place, WaitKind};
use crate::system::service::{FaultPlan, external_faults};
use crate::system::timeline::EventKind;

/// So often a call that is under way is looked at without a pause: most have ended by then.
const SPIN_POLLS: u32 = 100;
/// How long the pauses between later looks are, in real time.
const POLL_PAUSE: Duration = Duration::from_micros(100);
/// So often a call that waits is looked at when something has happened outside, before it is another one's turn.
const RESUME_POLLS: u32 = 10;
/// After so many looks with pauses it is asked whether it waits for a lock.
const PROBE_EVERY: u32 = 10;

/// Something that is really outside, as one incarnation of a process (or the test) reaches it: a database, a cache, an
/// API of the user's own, with whatever client it has.
///
/// Each [`call`](External::call) is one await at which the process may crash before, after it happened but before its reply,
/// and after; at which its reply may get lost, where it is said how that looks ([`ExternalCall::on_fault`]); and after which
/// other tasks may go on instead. The call itself is real, and so is the time that it takes: nothing else goes on
/// meanwhile, and no virtual time passes. Only a call that waits for what another task has, a row lock say, lets the
/// others go on.
///
/// It is enough to wrap a pool once: no call site needs to know of it.
///
/// ```
/// use retryproof::{Explore, External, ExternalFault, Verdict, World};
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
///     // What the test makes anew in each run outlives the crashes in it.
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
/// The test reaches the same by [`World::external`](crate::World::external), says there how to tell whether a call waits for
/// a lock ([`lock_probe`](External::lock_probe)) and how to close what a dead process leaves behind ([`on_process_death`](External::on_process_death)), and
/// has its own part done by [`block_on`](External::block_on).
#[derive(Clone, Debug)]
pub struct External {
    link: Link,
    system: Arc<ExternalSystem>,
}

/// How a call to the outside fails that the harness has fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ExternalFault {
    /// It was not reached: nothing has happened.
    #[error("not reached: nothing has happened")]
    Unreachable,
    /// It has happened, and the caller does not hear of it.
    #[error("the connection was lost before the reply")]
    ReplyLost,
}

impl From<ExternalFault> for io::Error {
    fn from(fault: ExternalFault) -> Self {
        let kind = match fault {
            ExternalFault::Unreachable => io::ErrorKind::ConnectionRefused,
            ExternalFault::ReplyLost => io::ErrorKind::ConnectionReset,
        };
        io::Error::new(kind, fault)
    }
}

/// What is known of a call, whether it blocks or not.
#[derive(Clone, Debug)]
struct CallTerms {
    external: External,
    operation: Name,
    place: Place,
    reads: bool,
}

/// A call to the outside. It does nothing unless awaited.
#[must_use = "a call does nothing unless awaited"]
pub struct ExternalCall<F: Future>(Call<ExternalDoor<F>>);

/// A call to the outside from code that blocks. It does nothing unless run.
#[must_use = "a call does nothing unless `run`"]
pub struct BlockingExternalCall<W, R>(Call<BlockingDoor<W, R>>)
where
    W: FnOnce() -> R;

impl<F: Future> fmt::Debug for ExternalCall<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalCall").field("terms", &self.0.door.terms).finish_non_exhaustive()
    }
}

impl<R, W: FnOnce() -> R> fmt::Debug for BlockingExternalCall<W, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingExternalCall").field("terms", &self.0.door.terms).finish_non_exhaustive()
    }
}

impl Process {
    /// What is really outside, under a name of the test's own choice, as this incarnation reaches it.
    pub fn external(&self, name: impl Into<Name>) -> External {
        External::new(self.link.clone(), name.into())
    }
}

impl External {
    pub(crate) fn new(link: Link, name: Name) -> Self {
        let system = link.shared().external_calls().system(name);
        Self { link, system }
    }

    /// A call: `future` is what really happens, and is polled once this is awaited. `operation` names it in the report,
    /// and blanks in it become dashes.
    ///
    /// What a tokio task calls (`tokio::spawn` in a handler) is waited for like any other call, but its waiting for a lock
    /// lets nobody else go on.
    #[track_caller]
    pub fn call<F: Future>(&self, operation: impl Into<Name>, future: F) -> ExternalCall<F> {
        let terms = self.terms(operation.into(), Place::caller());
        let (future, on_fault) = (Box::pin(future), None);
        ExternalCall(Call::new(ExternalDoor { terms, future, on_fault, waits: None, held: None }))
    }

    /// A call from code that blocks: `work` is what really happens, once this is [`run`](BlockingExternalCall::run). It
    /// should not wait for what another task has: nobody can tell that it does but by the time that has passed.
    #[track_caller]
    pub fn call_blocking<R, W: FnOnce() -> R>(
        &self,
        operation: impl Into<Name>,
        work: W,
    ) -> BlockingExternalCall<W, R> {
        let terms = self.terms(operation.into(), Place::caller());
        BlockingExternalCall(Call::new(BlockingDoor { terms, work: Some(work), on_fault: None }))
    }

    fn terms(&self, operation: Name, place: Place) -> CallTerms {
        let operation = match operation.as_str().contains(char::is_whitespace) {
            true => Name::from(operation.as_str().split_whitespace().collect::<Vec<_>>().join("-")),
            false => operation,
        };
        CallTerms { external: self.clone(), operation, place, reads: false }
    }

    /// Does what the test itself has to do outside, here and now, in real time: a database is made, rows are looked at.
    /// Nothing goes wrong there. What is left connected by it stays so until this thread ends: it can be used in the next
    /// scenario, too.
    ///
    /// # Panics
    /// In the code under test, and inside of a tokio runtime that is running (a [`World::fake`](crate::World::fake) in a
    /// `#[tokio::test]`): await it there instead.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.test_only();
        runtime::wait(future)
    }

    /// Says how to tell how many calls wait for a lock now. Whoever waits is not waited for: the others go on, and after
    /// each of their calls those who wait are asked after again. `count` is called in real time, while a call is under way;
    /// it needs a connection of its own.
    ///
    /// Without it a call that has not ended after some time ([`block_timeout`](External::block_timeout)) lets the others go on.
    pub fn lock_probe<Fut>(&self, count: impl Fn() -> Fut + Send + Sync + 'static) -> &Self
    where
        Fut: Future<Output = usize> + 'static,
    {
        self.test_only();
        let probe: Probe = Arc::new(move || Box::pin(count()));
        self.system.say(|said| said.probe = Some(probe));
        self
    }

    /// Says how to close what a dead process has left open, given its name and the number of its incarnation, and to wait
    /// until it is closed. It is called in real time after each crash, when all that the process had is dropped and before
    /// it restarts; and once for each process when the run is over.
    pub fn on_process_death<Fut>(&self, close: impl Fn(Name, u32) -> Fut + Send + Sync + 'static) -> &Self
    where
        Fut: Future<Output = ()> + 'static,
    {
        self.test_only();
        let closer: Closer = Arc::new(move |process, incarnation| Box::pin(close(process, incarnation)));
        self.system.say(|said| said.closers.push(closer));
        self
    }

    /// For how long, in real time, a call is waited for before the others go on, where nobody can tell that it waits for a
    /// lock: for a connection from a pool that is exhausted, say. Two seconds unless told. When nobody can go on and as
    /// much has passed, the run is [`Verdict::Stuck`](crate::Verdict::Stuck).
    pub fn block_timeout(&self, block_timeout: Duration) -> &Self {
        self.test_only();
        self.system.say(|said| said.block_timeout = block_timeout);
        self
    }

    fn test_only(&self) {
        assert!(
            self.link.is_given(),
            "`{}` is set up, and waited for, by the test: through `world.external(…)`, not through the handle of a process",
            self.system.name
        );
    }
}

impl CallTerms {
    /// The first half of a call. `may_fail`: it is stated how a failure looks.
    fn open<T>(&self, may_fail: bool) -> ExternalVisit<'_, T> {
        // What it touches there nobody knows.
        self.external.link.shared().reduce_no_more();
        ExternalVisit { terms: self, may_fail, output: PhantomData }
    }

    /// What the caller sees: what came of the real thing, unless its reply is lost.
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

    /// How many calls wait for a lock, if somebody can tell.
    fn locked(&self) -> Option<usize> {
        self.external.system.said().probe.map(|probe| runtime::wait(probe()))
    }

    /// A call that has not ended waits from here on for what others have. None: its process has died of that.
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
    /// It changes nothing: that it happened and that its reply got lost makes no difference, except to its caller.
    pub fn read_only(mut self) -> Self {
        self.0.door.terms.reads = true;
        self
    }

    /// Says how it looks to the caller when the call fails: then that is explored. See [`ExternalFault`], which an
    /// [`io::Error`] can be made from, as most clients have an error for.
    pub fn on_fault(mut self, failure: fn(ExternalFault) -> F::Output) -> Self {
        self.0.door.on_fault = Some(failure);
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
    /// It changes nothing: that it happened and that its reply got lost makes no difference, except to its caller.
    pub fn read_only(mut self) -> Self {
        self.0.door.terms.reads = true;
        self
    }

    /// Says how it looks to the caller when the call fails: then that is explored.
    ///
    /// In a destructor it should always be said: one that runs because its process dies must be given something, and
    /// nothing may come of it.
    pub fn on_fault(mut self, failure: fn(ExternalFault) -> R) -> Self {
        self.0.door.on_fault = Some(failure);
        self
    }

    /// Makes the call. A crash unwinds.
    pub fn run(self) -> R {
        self.0.block()
    }
}

/// An external system, as the first half of a call reaches it.
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

/// An external system, as one call reaches it.
struct ExternalDoor<F: Future> {
    terms: CallTerms,
    future: Pin<Box<F>>,
    on_fault: Option<fn(ExternalFault) -> F::Output>,
    /// The ticket under which it waits for what others have.
    waits: Option<u64>,
    /// Somebody else drives the runtime: no time passes meanwhile.
    held: Option<usize>,
}

impl<F: Future> Door for ExternalDoor<F> {
    type Output = F::Output;
    type Visit<'v>
        = ExternalVisit<'v, F::Output>
    where
        Self: 'v;

    fn link(&self) -> &Link {
        &self.terms.external.link
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

impl<F: Future> ExternalDoor<F> {
    /// Has the real thing go on until it has ended, or cannot without others.
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
                // This one is under way, too.
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

    /// It is under way no more.
    fn release(&mut self) {
        let external = self.terms.external.link.shared().external_calls();
        self.waits.take().into_iter().for_each(|ticket| external.stop_waiting(ticket));
        self.held.take().into_iter().for_each(|host| external.let_go(host));
    }

    /// Polled inside of a runtime that is running: whoever runs it waits for it, and time stands still.
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

impl<F: Future> Drop for ExternalDoor<F> {
    fn drop(&mut self) {
        self.release();
    }
}

/// An external system, as one call of code that blocks reaches it.
struct BlockingDoor<W, R> {
    terms: CallTerms,
    /// Until it is done.
    work: Option<W>,
    on_fault: Option<fn(ExternalFault) -> R>,
}

impl<R, W: FnOnce() -> R> Door for BlockingDoor<W, R> {
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

    /// On the thread of a slot, which the work blocks.
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
