//! External systems of the user, such as databases and caches, and the calls that wait there for a lock or a
//! connection.
//!
//! A run knows only virtual time, an external system only real time. So while an external call is open, nothing else
//! runs, unless the call waits for another task. In that case the other tasks run, and after each of their calls the
//! executor checks whether the waiting call can continue.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::externals::{BlockedCall, BoxedFuture, Probe, RealSystem};
use crate::search::choice::{Actor, Name};
use crate::system::clock::Wake;

/// The real time. External systems know no other, and only waits for them use it.
#[allow(clippy::disallowed_methods, reason = "what is outside goes by the real time")]
pub(crate) fn real_time() -> Instant {
    Instant::now()
}

/// Closes everything that a dead incarnation of a process has left open, and waits until it is closed.
pub(crate) type Closer = Arc<dyn Fn(Name, u32) -> BoxedFuture<()> + Send + Sync>;

/// The default of the real time to wait for a call before other tasks run.
const PATIENCE: Duration = Duration::from_secs(2);

/// An external system, with the settings from the test.
pub(crate) struct ExternalSystem {
    pub(crate) name: Name,
    said: Mutex<ExternalSettings>,
}

#[derive(Clone)]
pub(crate) struct ExternalSettings {
    pub(crate) probe: Option<Probe>,
    pub(crate) closers: Vec<Closer>,
    pub(crate) block_timeout: Duration,
}

impl fmt::Debug for ExternalSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("System").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ExternalSystem {
    pub(crate) fn said(&self) -> ExternalSettings {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn say(&self, change: impl FnOnce(&mut ExternalSettings)) {
        change(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// All external systems, and the calls that wait there.
#[derive(Debug, Default)]
pub(crate) struct ExternalCalls {
    /// Whether something has happened that may let a waiting call continue.
    is_stirred: AtomicBool,
    calls: Mutex<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    systems: Vec<Arc<ExternalSystem>>,
    waiting: Vec<BlockedCall>,
    tickets: u64,
    /// The processes whose tokio tasks have open calls, once for each call.
    held: Vec<usize>,
}

impl ExternalCalls {
    fn calls(&self) -> std::sync::MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The system of that name.
    pub(crate) fn system(&self, name: Name) -> Arc<ExternalSystem> {
        let mut calls = self.calls();
        if let Some(known) = calls.systems.iter().find(|system| system.name == name) {
            return known.clone();
        }
        let said = ExternalSettings { probe: None, closers: Vec::new(), block_timeout: PATIENCE };
        let new = Arc::new(ExternalSystem { name, said: Mutex::new(said) });
        calls.systems.push(new.clone());
        new
    }

    /// Adds a call that waits. Sets its ticket.
    pub(crate) fn wait(&self, mut waiting: BlockedCall) -> u64 {
        let mut calls = self.calls();
        calls.tickets += 1;
        waiting.ticket = calls.tickets;
        calls.waiting.push(waiting);
        calls.tickets
    }

    /// Changes how a waiting call is woken.
    pub(crate) fn wait_on(&self, ticket: u64, wake: Wake) {
        if let Some(known) = self.calls().waiting.iter_mut().find(|known| known.ticket == ticket) {
            known.wake = wake;
        }
    }

    pub(crate) fn stop_waiting(&self, ticket: u64) {
        self.calls().waiting.retain(|known| known.ticket != ticket);
    }

    /// The number of calls that wait for a lock in a system.
    pub(crate) fn locked(&self, system: Name) -> usize {
        self.calls().waiting.iter().filter(|known| known.is_locked && known.system == system).count()
    }

    /// Notes that a call has ended or a process has died, which may let other calls continue.
    pub(crate) fn note_progress(&self) {
        if !self.calls().waiting.is_empty() {
            self.is_stirred.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that a tokio task of a process has an open call. Time must not advance until it has ended.
    pub(crate) fn hold(&self, host: usize) {
        self.calls().held.push(host);
    }

    pub(crate) fn let_go(&self, host: usize) {
        let mut calls = self.calls();
        if let Some(at) = calls.held.iter().position(|held| *held == host) {
            calls.held.swap_remove(at);
        }
    }
}

impl RealSystem for ExternalCalls {
    fn has_calls(&self) -> bool {
        true
    }

    fn waiting(&self) -> Vec<BlockedCall> {
        self.calls().waiting.clone()
    }

    fn has_progress(&self) -> bool {
        self.is_stirred.load(Ordering::Relaxed)
    }

    fn clear_progress(&self) {
        self.is_stirred.store(false, Ordering::Relaxed);
    }

    fn holds_tasks_of(&self, host: usize) -> bool {
        self.calls().held.contains(&host)
    }

    fn probes(&self) -> Vec<(Probe, usize)> {
        let systems = self.calls().systems.clone();
        let counted = systems.iter().filter_map(|system| {
            let waiting = self.locked(system.name);
            system.said().probe.filter(|_| waiting > 0).map(|probe| (probe, waiting))
        });
        counted.collect()
    }

    fn waits_for(&self, actor: Actor) -> Option<String> {
        self.calls().waiting.iter().find(|waiting| waiting.actor == actor).map(BlockedCall::why)
    }

    fn bury(&self, host: usize, process: Name, incarnation: u32) -> Vec<BoxedFuture<()>> {
        let mut calls = self.calls();
        // None of its calls is open any more.
        calls.held.retain(|held| *held != host);
        let systems = calls.systems.clone();
        drop(calls);
        self.note_progress();
        let closers = systems.iter().flat_map(|system| system.said().closers);
        closers.map(|close| close(process, incarnation)).collect()
    }
}
