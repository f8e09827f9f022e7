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

/// So often a call that is under way is looked at without a pause: most have ended by then.
const GLANCES: u32 = 100;
/// How long the pauses between later looks are, in real time.
const PAUSE: Duration = Duration::from_micros(100);
/// So often a call that waits is looked at when something has happened outside, before it is another one's turn.
const GLANCES_AGAIN: u32 = 10;
/// After so many looks with pauses it is asked whether it waits for a lock.
const ASKED: u32 = 10;

/// Something that is really outside, as one incarnation of a process (or the test) reaches it: a database, a cache, an
/// API of the user's own, with whatever client it has.
///
/// Each [`call`](Outside::call) is one await at which the process may crash before, after it happened but before its reply,
/// and after; at which its reply may get lost, where it is said how that looks ([`OutsideCall::fails_as`]); and after which
/// other tasks may go on instead. The call itself is real, and so is the time that it takes: nothing else goes on
/// meanwhile, and no virtual time passes. Only a call that waits for what another task has, a row lock say, lets the
/// others go on.
///
/// It is enough to wrap a pool once: no call site needs to know of it.
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
///     // What the test makes anew in each run outlives the crashes in it.
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
/// The test reaches the same by [`World::outside`](crate::World::outside), says there how to tell whether a call waits for
/// a lock ([`waits`](Outside::waits)) and how to close what a dead process leaves behind ([`closes`](Outside::closes)), and
/// has its own part done by [`wait`](Outside::wait).
#[derive(Clone, Debug)]
pub struct Outside {
    link: Link,
    system: Arc<System>,
}

/// How a call to the outside fails that the harness has fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum OutsideFault {
    /// It was not reached: nothing has happened.
    #[error("not reached: nothing has happened")]
    Unreachable,
    /// It has happened, and the caller does not hear of it.
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

/// What is known of a call, whether it blocks or not.
#[derive(Clone, Debug)]
struct Terms {
    outside: Outside,
    operation: Name,
    place: Place,
    reads: bool,
}

/// A call to the outside. It does nothing unless awaited.
#[must_use = "a call does nothing unless awaited"]
pub struct OutsideCall<F: Future>(Call<ExternalDoor<F>>);

/// A call to the outside from code that blocks. It does nothing unless run.
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
    /// What is really outside, under a name of the test's own choice, as this incarnation reaches it.
    pub fn outside(&self, name: impl Into<Name>) -> Outside {
        Outside::new(self.link.clone(), name.into())
    }
}

impl Outside {
    pub(crate) fn new(link: Link, name: Name) -> Self {
        let system = link.shared().outside().system(name);
        Self { link, system }
    }

    /// A call: `future` is what really happens, and is polled once this is awaited. `operation` names it in the report,
    /// and blanks in it become dashes.
    ///
    /// What a tokio task calls (`tokio::spawn` in a handler) is waited for like any other call, but its waiting for a lock
    /// lets nobody else go on.
    #[track_caller]
    pub fn call<F: Future>(&self, operation: impl Into<Name>, future: F) -> OutsideCall<F> {
        let terms = self.terms(operation.into(), Place::caller());
        let (future, fails_as) = (Box::pin(future), None);
        OutsideCall(Call::new(ExternalDoor { terms, future, fails_as, waits: None, held: None }))
    }

    /// A call from code that blocks: `work` is what really happens, once this is [`run`](BlockingOutsideCall::run). It
    /// should not wait for what another task has: nobody can tell that it does but by the time that has passed.
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

    /// Does what the test itself has to do outside, here and now, in real time: a database is made, rows are looked at.
    /// Nothing goes wrong there. What is left connected by it stays so until this thread ends: it can be used in the next
    /// scenario, too.
    ///
    /// # Panics
    /// In the code under test, and inside of a tokio runtime that is running (a [`World::fake`](crate::World::fake) in a
    /// `#[tokio::test]`): await it there instead.
    pub fn wait<F: Future>(&self, future: F) -> F::Output {
        self.test_only();
        runtime::wait(future)
    }

    /// Says how to tell how many calls wait for a lock now. Whoever waits is not waited for: the others go on, and after
    /// each of their calls those who wait are asked after again. `count` is called in real time, while a call is under way;
    /// it needs a connection of its own.
    ///
    /// Without it a call that has not ended after some time ([`patience`](Outside::patience)) lets the others go on.
    pub fn waits<Fut>(&self, count: impl Fn() -> Fut + Send + Sync + 'static) -> &Self
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
    pub fn closes<Fut>(&self, close: impl Fn(Name, u32) -> Fut + Send + Sync + 'static) -> &Self
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
    pub fn patience(&self, patience: Duration) -> &Self {
        self.test_only();
        self.system.say(|said| said.patience = patience);
        self
    }

    fn test_only(&self) {
        assert!(
            self.link.is_given(),
            "`{}` is set up, and waited for, by the test: through `world.outside(…)`, not through the handle of a process",
            self.system.name
        );
    }
}

impl Terms {
    /// The first half of a call. `may_fail`: it is stated how a failure looks.
    fn open<T>(&self, may_fail: bool) -> ExternalVisit<'_, T> {
        // What it touches there nobody knows.
        self.outside.link.shared().reduce_no_more();
        ExternalVisit { terms: self, may_fail, output: PhantomData }
    }

    /// What the caller sees: what came of the real thing, unless its reply is lost.
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

    /// How many calls wait for a lock, if somebody can tell.
    fn locked(&self) -> Option<usize> {
        self.outside.system.said().probe.map(|probe| runtime::wait(probe()))
    }

    /// A call that has not ended waits from here on for what others have. None: its process has died of that.
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
    /// It changes nothing: that it happened and that its reply got lost makes no difference, except to its caller.
    pub fn reads(mut self) -> Self {
        self.0.door.terms.reads = true;
        self
    }

    /// Says how it looks to the caller when the call fails: then that is explored. See [`OutsideFault`], which an
    /// [`io::Error`] can be made from, as most clients have an error for.
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
    /// It changes nothing: that it happened and that its reply got lost makes no difference, except to its caller.
    pub fn reads(mut self) -> Self {
        self.0.door.terms.reads = true;
        self
    }

    /// Says how it looks to the caller when the call fails: then that is explored.
    ///
    /// In a destructor it should always be said: one that runs because its process dies must be given something, and
    /// nothing may come of it.
    pub fn fails_as(mut self, failure: fn(OutsideFault) -> R) -> Self {
        self.0.door.fails_as = Some(failure);
        self
    }

    /// Makes the call. A crash unwinds.
    pub fn run(self) -> R {
        self.0.block()
    }
}

/// An external system, as the first half of a call reaches it.
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

/// An external system, as one call reaches it.
struct ExternalDoor<F: Future> {
    terms: Terms,
    future: Pin<Box<F>>,
    fails_as: Option<fn(OutsideFault) -> F::Output>,
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
        &self.terms.outside.link
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
    /// Has the real thing go on until it has ended, or cannot without others.
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
                // This one is under way, too.
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

    /// It is under way no more.
    fn release(&mut self) {
        let outside = self.terms.outside.link.shared().outside();
        self.waits.take().into_iter().for_each(|ticket| outside.stop_waiting(ticket));
        self.held.take().into_iter().for_each(|host| outside.let_go(host));
    }

    /// Polled inside of a runtime that is running: whoever runs it waits for it, and time stands still.
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

/// An external system, as one call of code that blocks reaches it.
struct BlockingDoor<W, R> {
    terms: Terms,
    /// Until it is done.
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

    /// On the thread of a slot, which the work blocks.
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
