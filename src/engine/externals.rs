//! Systems external to a run: sockets that lead into it, and databases that its jobs call. The executor uses all of
//! them through [`RealSystem`].
//!
//! A run knows only virtual time, an external system only real time. So before virtual time advances, everything that
//! is on its way through an external system must arrive. A caller that waits there for another task is retried after
//! that task has run.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::search::choice::{Actor, Name, Place};
use crate::system::clock::{TaskId, Wake};

pub(crate) type BoxedFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// Counts the calls that wait for a lock at this moment.
pub(crate) type Probe = Arc<dyn Fn() -> BoxedFuture<usize> + Send + Sync>;

/// The result of waiting, in real time, for data on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// Data has arrived or is still on its way: the reader at the other end must run first.
    Moving,
    /// Nothing moves on its own. A request may be waiting.
    Still,
}

/// A task of the executor that waits for the reply to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) actor: Actor,
    pub(crate) task: TaskId,
    /// It blocks its own thread, so none of its timers ends its wait in virtual time.
    pub(crate) blocks: bool,
}

/// The first half of a request has been served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestStart {
    /// It was not a call, and its reply has been sent.
    Replied,
    /// The reply is ready. The caller gets it through [`RealSystem::reply`].
    Ready,
    /// The reply takes some time, or never comes.
    #[cfg_attr(not(feature = "wire"), expect(dead_code, reason = "only a wire answers so"))]
    Takes,
}

/// A request that has arrived over a wire and is not yet being served.
pub(crate) trait Request {
    /// The index of the calling process among the processes of the world.
    fn host(&self) -> usize;

    /// The attempt that made the request, if known.
    fn by(&self) -> Option<Actor>;

    /// Serves the first half, in the name of the current actor: the points before the call, the fault, the effect.
    fn begin(self: Box<Self>, caller: Caller) -> RequestStart;

    /// Serves both halves, in the name of the current actor.
    fn serve(self: Box<Self>);
}

/// A call of the code under test that waits in an external system for another task.
#[derive(Clone, Debug)]
pub(crate) struct BlockedCall {
    pub(crate) ticket: u64,
    pub(crate) system: Name,
    /// The real time to wait for the call before other tasks run.
    pub(crate) block_timeout: Duration,
    pub(crate) operation: Name,
    pub(crate) place: Place,
    pub(crate) actor: Actor,
    pub(crate) task: TaskId,
    pub(crate) wake: Wake,
    /// Whether a probe has reported that it waits for a lock. Otherwise it has only taken a long time.
    pub(crate) is_locked: bool,
}

impl BlockedCall {
    /// Describes what the call waits for.
    pub(crate) fn why(&self) -> String {
        let Self { system, operation, place, .. } = self;
        let what = if self.is_locked { "a lock" } else { "a connection, or a lock" };
        format!("at {place} for `{system}.{operation}`, which waits for {what}")
    }
}

/// A system external to the run. A wire implements the first group of methods, a database the second, and either may
/// implement the third.
pub(crate) trait RealSystem: fmt::Debug + Send + Sync {
    /// Moves all data that can move without waiting, for one process or for all. Returns whether anything moved.
    fn advance(&self, host: Option<usize>) -> bool {
        let _ = host;
        false
    }

    /// Waits, in real time, until nothing more arrives on its own.
    fn settle(&self) -> Traffic {
        Traffic::Still
    }

    /// Waits a moment longer, in real time, before a decision that a late arrival would change, because an operating
    /// system under load is slow. Returns whether anything arrived.
    fn linger(&self, host: Option<usize>) -> bool {
        let _ = host;
        false
    }

    /// Returns the first request that is not yet being served, of one process or of all.
    fn next_request(&self, host: Option<usize>) -> Option<Box<dyn Request>> {
        let _ = host;
        None
    }

    /// Reports whether a request of the process waits to be served.
    fn has_request(&self, host: usize) -> bool {
        let _ = host;
        false
    }

    /// Sends one reply that is due to the caller, in the name of the current actor. Returns false if nothing is due.
    fn reply(&self, caller: Caller, now: Duration) -> bool {
        let _ = (caller, now);
        false
    }

    /// Reports whether it is known what the caller waits for, so that nothing else can be on its way from it.
    fn is_awaited_by(&self, actor: Actor) -> bool {
        let _ = actor;
        false
    }

    /// Attributes the requests of a process that have arrived since the last call to `actor`.
    fn attribute(&self, host: usize, actor: Actor) {
        let _ = (host, actor);
    }

    /// The virtual time at which the first connection is cut whose caller will never receive a reply.
    fn deadline(&self) -> Option<Duration> {
        None
    }

    /// Cuts the connections whose callers have waited until now for a reply that never comes.
    fn hang_up(&self, now: Duration) {
        let _ = now;
    }

    /// The calls that wait for other tasks, longest wait first.
    fn waiting(&self) -> Vec<BlockedCall> {
        Vec::new()
    }

    /// Reports whether something has happened that may let a waiting call continue.
    fn has_progress(&self) -> bool {
        false
    }

    /// Resets the progress, because the waiting calls have been retried.
    fn clear_progress(&self) {}

    /// Reports whether a tokio task of the process has an open call.
    fn holds_tasks_of(&self, host: usize) -> bool {
        let _ = host;
        false
    }

    /// The probes, each with the number of calls that it should count if all that waited for a lock still do.
    fn probes(&self) -> Vec<(Probe, usize)> {
        Vec::new()
    }

    /// Describes what the actor waits for.
    fn waits_for(&self, actor: Actor) -> Option<String> {
        let _ = actor;
        None
    }

    /// Reports whether tasks may wait for each other here. Otherwise the external is a wire.
    fn has_calls(&self) -> bool {
        false
    }

    /// The process has died, and its destructors are about to run. None of its requests arrives any more.
    fn process_died(&self, host: usize) {
        let _ = host;
    }

    /// The destructors have run. The returned futures close everything that the incarnation left open. The caller
    /// waits for them.
    fn bury(&self, host: usize, process: Name, incarnation: u32) -> Vec<BoxedFuture<()>> {
        let _ = (host, process, incarnation);
        Vec::new()
    }

    /// Cleans up at the end of the run.
    fn end(&self) {}

    /// Removes the parts of the text that differ from run to run.
    fn redact(&self, text: String) -> String {
        text
    }
}

/// The externals of a run. Most runs have none and check only one flag.
#[derive(Debug, Default)]
pub(crate) struct Externals {
    have_wires: AtomicBool,
    have_calls: AtomicBool,
    /// The number of times that data was in transit.
    moves: AtomicU64,
    list: Mutex<Vec<Entry>>,
}

#[derive(Debug)]
struct Entry {
    external: Arc<dyn RealSystem>,
    typed: Arc<dyn Any + Send + Sync>,
}

impl Externals {
    fn list(&self) -> std::sync::MutexGuard<'_, Vec<Entry>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The external of that type. If it is missing, `make` creates it.
    pub(crate) fn get_or_add<T: RealSystem + 'static>(&self, make: impl FnOnce() -> Arc<T>) -> Arc<T> {
        let mut list = self.list();
        if let Some(known) = list.iter().find_map(|entry| entry.typed.clone().downcast().ok()) {
            return known;
        }
        let external = make();
        let flag = if external.has_calls() { &self.have_calls } else { &self.have_wires };
        flag.store(true, Ordering::Relaxed);
        list.push(Entry { external: external.clone(), typed: external.clone() });
        external
    }

    /// Reports whether requests come over wires.
    #[inline]
    pub(crate) fn have_wires(&self) -> bool {
        self.have_wires.load(Ordering::Relaxed)
    }

    /// Reports whether jobs call an external system in which they may wait for each other.
    #[inline]
    pub(crate) fn have_calls(&self) -> bool {
        self.have_calls.load(Ordering::Relaxed)
    }

    pub(crate) fn any(&self) -> bool {
        self.have_wires() || self.have_calls()
    }

    /// All externals, in the order of their first use.
    pub(crate) fn all(&self) -> Vec<Arc<dyn RealSystem>> {
        match self.any() {
            true => self.list().iter().map(|entry| entry.external.clone()).collect(),
            false => Vec::new(),
        }
    }

    fn of_wires<R>(&self, ask: impl FnMut(&Arc<dyn RealSystem>) -> Option<R>) -> Option<R> {
        if !self.have_wires() {
            return None;
        }
        let mut wires = self.all();
        wires.retain(|external| !external.has_calls());
        wires.iter().find_map(ask)
    }

    /// See [`RealSystem::advance`].
    pub(crate) fn advance(&self, host: Option<usize>) -> bool {
        let mut moved = false;
        self.of_wires(|wire| {
            moved |= wire.advance(host);
            None::<()>
        });
        moved
    }

    /// See [`RealSystem::settle`].
    pub(crate) fn settle(&self) -> Traffic {
        let moving = self.of_wires(|wire| (wire.settle() == Traffic::Moving).then_some(Traffic::Moving));
        self.moves.fetch_add(u64::from(moving.is_some()), Ordering::Relaxed);
        moving.unwrap_or(Traffic::Still)
    }

    /// The number of times that data was in transit. A run that waits for such data makes progress.
    pub(crate) fn moves(&self) -> u64 {
        self.moves.load(Ordering::Relaxed)
    }

    /// See [`RealSystem::linger`].
    pub(crate) fn linger(&self, host: Option<usize>) -> bool {
        self.of_wires(|wire| wire.linger(host).then_some(())).is_some()
    }

    /// See [`RealSystem::next_request`].
    pub(crate) fn next_request(&self, host: Option<usize>) -> Option<Box<dyn Request>> {
        self.of_wires(|wire| wire.next_request(host))
    }

    /// Reports whether a request of the process has arrived. Called while the executor waits for a thread of that
    /// process.
    pub(crate) fn has_request(&self, host: usize) -> bool {
        self.of_wires(|wire| {
            wire.advance(Some(host));
            wire.has_request(host).then_some(())
        })
        .is_some()
    }

    /// See [`RealSystem::reply`].
    pub(crate) fn reply(&self, caller: Caller, now: Duration) -> bool {
        self.of_wires(|wire| wire.reply(caller, now).then_some(())).is_some()
    }

    /// See [`RealSystem::is_awaited_by`].
    pub(crate) fn are_awaited_by(&self, actor: Actor) -> bool {
        self.of_wires(|wire| wire.is_awaited_by(actor).then_some(())).is_some()
    }

    /// See [`RealSystem::deadline`].
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.all().iter().filter_map(|external| external.deadline()).min()
    }

    /// See [`RealSystem::hang_up`].
    pub(crate) fn hang_up(&self, now: Duration) {
        self.all().iter().for_each(|external| external.hang_up(now));
    }

    /// See [`RealSystem::waiting`].
    pub(crate) fn waiting(&self) -> Vec<BlockedCall> {
        match self.have_calls() {
            true => self.all().iter().flat_map(|external| external.waiting()).collect(),
            false => Vec::new(),
        }
    }

    /// See [`RealSystem::has_progress`].
    #[inline]
    pub(crate) fn have_progress(&self) -> bool {
        self.have_calls() && self.all().iter().any(|external| external.has_progress())
    }

    /// See [`RealSystem::clear_progress`].
    pub(crate) fn clear_progress(&self) {
        self.all().iter().for_each(|external| external.clear_progress());
    }

    /// See [`RealSystem::holds_tasks_of`].
    pub(crate) fn hold_tasks_of(&self, host: usize) -> bool {
        self.all().iter().any(|external| external.holds_tasks_of(host))
    }

    /// See [`RealSystem::waits_for`].
    pub(crate) fn waits_for(&self, actor: Actor) -> Option<String> {
        self.all().iter().find_map(|external| external.waits_for(actor))
    }

    /// See [`RealSystem::process_died`].
    pub(crate) fn process_died(&self, host: usize) {
        self.all().iter().for_each(|external| external.process_died(host));
    }

    /// See [`RealSystem::end`].
    pub(crate) fn end(&self) {
        self.all().iter().for_each(|external| external.end());
    }

    /// See [`RealSystem::redact`].
    pub(crate) fn redact(&self, text: String) -> String {
        self.all().iter().fold(text, |text, external| external.redact(text))
    }
}
