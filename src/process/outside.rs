//! What is really outside (a database, a cache of the user's own) as one incarnation reaches it: each call has three
//! crash points and a fault choice, and the real thing in the middle.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use super::Process;
use super::link::{Link, Standing};
use crate::engine::outside::{Closer, Probe, System, Waiting, real_time};
use crate::engine::state::call_site;
use crate::search::choice::{Fault, Kind, Name, Place, Point, Site, WaitKind};
use crate::system::service::external_faults;
use crate::system::timeline::What;
use crate::{engine::runtime, engine::slots};

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
pub struct OutsideCall<F: Future> {
    terms: Terms,
    future: Pin<Box<F>>,
    fails_as: Option<fn(OutsideFault) -> F::Output>,
    step: Step<F::Output>,
}

/// A call to the outside from code that blocks. It does nothing unless run.
#[must_use = "a call does nothing unless `run`"]
pub struct BlockingOutsideCall<W, R> {
    terms: Terms,
    work: W,
    fails_as: Option<fn(OutsideFault) -> R>,
}

/// How far one call has come.
enum Step<T> {
    Begin,
    UnderWay {
        loses_reply: bool,
        /// The ticket under which it waits for what others have.
        waits: Option<u64>,
        /// Somebody else drives the runtime: no time passes meanwhile.
        held: Option<usize>,
    },
    /// It has ended; its reply is on its way.
    Answering(T),
    Done,
}

/// What is drawn where a call begins.
enum Begun {
    Died,
    Goes { loses_reply: bool },
    Unreachable,
}

impl<F: Future> fmt::Debug for OutsideCall<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutsideCall").field("terms", &self.terms).finish_non_exhaustive()
    }
}

impl<W, R> fmt::Debug for BlockingOutsideCall<W, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingOutsideCall").field("terms", &self.terms).finish_non_exhaustive()
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
        let system = link.shared().outside.system(name);
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
        OutsideCall { terms, future: Box::pin(future), fails_as: None, step: Step::Begin }
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
        BlockingOutsideCall { terms, work, fails_as: None }
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
    fn site(&self) -> Site {
        call_site(self.outside.system.name, self.operation)
    }

    /// What comes before the real thing. `may_fail`: it is said how a failure looks.
    fn begin(&self, may_fail: bool) -> Begun {
        let Self { outside: Outside { link, system }, operation, place, reads } = self;
        let (site, service, operation, place) = (self.site(), system.name, *operation, *place);
        // What it touches there nobody knows.
        link.shared().reduce_no_more();
        let mut state = link.shared().state();
        link.speak(&mut state, |state| {
            link.admit(state, service.as_str());
            state.timeline.called_from(state.actor, place, site);
            state.calls_outside(service, operation, place);
            state.note(|| What::Called { service, operation, request: String::new(), place });
            if link.crashes(state, site, Point::Before, Some(place)) || state.stuck.is_some() {
                return Begun::Died;
            }
            if !may_fail {
                return Begun::Goes { loses_reply: false };
            }
            let fault = state.draw_fault(Kind::Fault, site, external_faults(!*reads), place);
            match fault {
                _ if state.stuck.is_some() => Begun::Died,
                None => Begun::Goes { loses_reply: false },
                Some(Fault::ReplyLost) => Begun::Goes { loses_reply: true },
                Some(_) => Begun::Unreachable,
            }
        })
    }

    /// The crash points between what happened and the caller's going on. True: the process has died, or the run is over.
    fn died_answering(&self) -> bool {
        let link = &self.outside.link;
        let (site, place) = (self.site(), Some(self.place));
        let mut state = link.shared().state();
        link.speak(&mut state, |state| {
            (!self.reads && link.crashes(state, site, Point::Happened, place))
                || link.crashes(state, site, Point::Replied, place)
                || state.stuck.is_some()
        })
    }

    fn note_fault(&self, fault: OutsideFault) {
        let link = &self.outside.link;
        let mut state = link.shared().state();
        link.speak(&mut state, |state| state.note(|| What::Replied { reply: Err(fault.to_string()) }));
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
        let (task, _) = state.task?;
        let (actor, wake) = (state.actor, shared.wake_of(&state, cx));
        let (system, operation, place) = (system.clone(), *operation, *place);
        let waiting = Waiting { ticket: 0, system, operation, place, actor, task, wake, is_locked };
        let text = format!("waits {}", waiting.why());
        state.note(|| What::Remarked { text });
        let site = Site::Wait(WaitKind::External);
        state.timeline.called_from(actor, place, site);
        let dies = link.crashes(&mut state, site, Point::Before, Some(place)) || !state.step();
        (!dies).then(|| shared.outside.wait(waiting))
    }
}

/// What has come of waiting for a call that is under way.
enum Waited<T> {
    Ended(T),
    /// The process has died, or the run is stuck.
    Over,
    /// It goes on only when others have gone on.
    Waits,
}

impl<F: Future> OutsideCall<F> {
    /// It changes nothing: that it happened and that its reply got lost makes no difference, except to its caller.
    pub fn reads(mut self) -> Self {
        self.terms.reads = true;
        self
    }

    /// Says how it looks to the caller when the call fails: then that is explored. See [`OutsideFault`], which an
    /// [`io::Error`] can be made from, as most clients have an error for.
    pub fn fails_as(mut self, failure: fn(OutsideFault) -> F::Output) -> Self {
        self.fails_as = Some(failure);
        self
    }

    /// Has the real thing go on until it has ended, or cannot without others.
    fn go_on(&mut self, waits: Option<u64>, cx: &Context<'_>) -> Waited<F::Output> {
        let Self { terms, future, .. } = self;
        let (link, system) = (&terms.outside.link, &terms.outside.system);
        let shared = link.shared();
        let mut began = None;
        for glances in 0_u32.. {
            if let Poll::Ready(output) = runtime::glance(|cx| future.as_mut().poll(cx)) {
                return Waited::Ended(output);
            }
            if link.standing() != Standing::Alive || shared.state().stuck.is_some() {
                return Waited::Over;
            }
            if waits.is_some() && glances >= GLANCES_AGAIN {
                return Waited::Waits;
            }
            if glances < GLANCES {
                thread::yield_now();
            } else {
                thread::park_timeout(PAUSE);
            }
            if waits.is_none() && glances > GLANCES && glances % ASKED == 0 {
                // This one is under way, too.
                let others = shared.outside.locked(system.name);
                let is_locked = terms.locked().is_some_and(|locked| locked > others);
                let waited = began.get_or_insert_with(real_time).elapsed();
                if is_locked || waited > system.said().patience {
                    return match terms.wait(is_locked, cx) {
                        Some(ticket) => {
                            if let Step::UnderWay { waits, .. } = &mut self.step {
                                *waits = Some(ticket);
                            }
                            Waited::Waits
                        }
                        None => Waited::Over,
                    };
                }
            }
        }
        unreachable!("patience ends before numbers do")
    }

    fn end(&mut self, output: F::Output, cx: &Context<'_>) {
        let loses_reply = matches!(self.step, Step::UnderWay { loses_reply: true, .. });
        self.release();
        self.terms.outside.link.shared().outside.stir();
        let lost = self.fails_as.filter(|_| loses_reply);
        let output = lost.map_or(output, |fails_as| {
            self.terms.note_fault(OutsideFault::ReplyLost);
            fails_as(OutsideFault::ReplyLost)
        });
        self.answer(output, cx);
    }

    /// The reply is on its way: the caller goes on when it is its turn.
    fn answer(&mut self, output: F::Output, cx: &Context<'_>) {
        self.step = Step::Answering(output);
        cx.waker().wake_by_ref();
    }

    /// It is under way no more.
    fn release(&mut self) {
        if let Step::UnderWay { waits, held, .. } = &mut self.step {
            let outside = &self.terms.outside.link.shared().outside;
            waits.take().into_iter().for_each(|ticket| outside.stop_waiting(ticket));
            held.take().into_iter().for_each(|host| outside.let_go(host));
        }
    }

    fn begin(&mut self) -> Option<()> {
        let may_fail = self.fails_as.is_some();
        match (self.terms.begin(may_fail), self.fails_as) {
            (Begun::Died, _) => return None,
            (Begun::Unreachable, Some(fails_as)) => {
                self.terms.note_fault(OutsideFault::Unreachable);
                self.step = Step::Answering(fails_as(OutsideFault::Unreachable));
            }
            (Begun::Unreachable, None) => unreachable!("what cannot fail does not"),
            (Begun::Goes { loses_reply }, _) => {
                self.step = Step::UnderWay { loses_reply, waits: None, held: None };
            }
        }
        Some(())
    }

    /// Polled inside of a runtime that is running: whoever runs it waits for it, and time stands still.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<F::Output> {
        if let Poll::Ready(output) = self.future.as_mut().poll(cx) {
            return Poll::Ready(output);
        }
        let link = &self.terms.outside.link;
        if let (Step::UnderWay { held, .. }, Some(life)) = (&mut self.step, link.life()) {
            if held.is_none() {
                link.shared().outside.hold(life.index);
                *held = Some(life.index);
                link.shared().woken.stir();
            }
        }
        Poll::Pending
    }
}

/// Nothing in it is pinned but what has a box of its own.
impl<F: Future> Unpin for OutsideCall<F> {}

impl<F: Future> Future for OutsideCall<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let link = this.terms.outside.link.clone();
        if link.is_given() {
            return Poll::Ready(runtime::wait(this.future.as_mut()));
        }
        match (link.standing(), this.fails_as) {
            (Standing::Alive, _) => {}
            // What a destructor asks for comes to nothing.
            (Standing::Falling, Some(fails_as)) => return Poll::Ready(fails_as(OutsideFault::Unreachable)),
            (Standing::Falling, None) => return Poll::Pending,
            (Standing::Dead, _) => return link.cease(cx),
        }
        if matches!(this.step, Step::Begin) {
            if this.begin().is_none() {
                return link.cease(cx);
            }
            if matches!(this.step, Step::Answering(_)) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        if let Step::UnderWay { waits, .. } = this.step {
            if runtime::is_driven_here() {
                if let Poll::Ready(output) = this.poll_held(cx) {
                    this.end(output, cx);
                }
                return Poll::Pending;
            }
            match this.go_on(waits, cx) {
                Waited::Ended(output) => this.end(output, cx),
                Waited::Waits => {
                    if let Some(ticket) = waits {
                        let shared = link.shared();
                        let wake = shared.wake_of(&shared.state(), cx);
                        shared.outside.wait_on(ticket, wake);
                    }
                }
                Waited::Over => return link.cease(cx),
            }
            return Poll::Pending;
        }
        if this.terms.died_answering() {
            return link.cease(cx);
        }
        match std::mem::replace(&mut this.step, Step::Done) {
            Step::Answering(output) => Poll::Ready(output),
            _ => panic!("a call was polled after it had ended"),
        }
    }
}

impl<F: Future> Drop for OutsideCall<F> {
    fn drop(&mut self) {
        self.release();
    }
}

impl<R, W: FnOnce() -> R> BlockingOutsideCall<W, R> {
    /// It changes nothing: that it happened and that its reply got lost makes no difference, except to its caller.
    pub fn reads(mut self) -> Self {
        self.terms.reads = true;
        self
    }

    /// Says how it looks to the caller when the call fails: then that is explored.
    pub fn fails_as(mut self, failure: fn(OutsideFault) -> R) -> Self {
        self.fails_as = Some(failure);
        self
    }

    /// Makes the call. A crash unwinds.
    pub fn run(self) -> R {
        let Self { terms, work, fails_as } = self;
        let link = &terms.outside.link;
        if link.is_given() {
            return work();
        }
        match (link.standing(), fails_as) {
            (Standing::Alive, _) => {}
            (Standing::Falling, Some(fails_as)) => return fails_as(OutsideFault::Unreachable),
            // A destructor cannot unwind, and nobody has said what else it could be given.
            (Standing::Falling, None) => return work(),
            (Standing::Dead, _) => link.unwind(),
        }
        if slots::is_here() {
            let (link, future) = (link.clone(), Box::pin(async move { work() }));
            return link.wait_for(OutsideCall { terms, future, fails_as, step: Step::Begin });
        }
        let output = match (terms.begin(fails_as.is_some()), fails_as) {
            (Begun::Died, _) | (Begun::Unreachable, None) => link.unwind(),
            (Begun::Unreachable, Some(fails_as)) => {
                terms.note_fault(OutsideFault::Unreachable);
                fails_as(OutsideFault::Unreachable)
            }
            (Begun::Goes { loses_reply }, _) => {
                let output = work();
                link.shared().outside.stir();
                fails_as.filter(|_| loses_reply).map_or(output, |fails_as| {
                    terms.note_fault(OutsideFault::ReplyLost);
                    fails_as(OutsideFault::ReplyLost)
                })
            }
        };
        if terms.died_answering() {
            link.unwind()
        }
        output
    }
}
