//! The operating system for threads of code under test: the time of day, random bytes, and connections.
//!
//! This module only has the values. The member `determinism` replaces the functions of the C library, and asks here.
//! Without it, nothing here is ever on.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::search::choice::Dice;

/// Midnight UTC, January 1, 2026, as the time since 1970. It is the same in each run of a program, so that reports are.
const BEGINNING: Duration = Duration::from_secs(1_767_225_600);

/// Linux gives ports from here on to sockets that ask for none.
const FIRST_EPHEMERAL_PORT: u16 = 32_768;

static IS_ON: AtomicBool = AtomicBool::new(false);

thread_local! {
    static HERE: RefCell<Option<ThreadSimulation>> = const { RefCell::new(None) };
}

/// The part that all threads of a run share.
#[derive(Debug, Default)]
struct Surroundings {
    /// Nanoseconds since the world began.
    now: AtomicU64,
    is_over: AtomicBool,
    seen: Mutex<Seen>,
}

/// The answers that code under test has had.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The times, since the world began, at which the clock was read.
    pub(crate) times: BTreeSet<Duration>,
    pub(crate) has_draws: bool,
    connections: Connections,
}

/// The TCP connections of code under test.
#[derive(Clone, Debug, Default)]
struct Connections {
    /// The addresses of the harness, and of servers that a part of it uses.
    expected: BTreeSet<SocketAddr>,
    others: BTreeSet<SocketAddr>,
}

/// The operating system, as one thread of a run sees it.
#[derive(Debug)]
pub(crate) struct ThreadSimulation {
    run: Arc<Surroundings>,
    /// Each thread has numbers of its own, so that threads that run at the same time do not take them from each other.
    seed: u64,
    dice: Dice,
    /// The number of threads that this one has started.
    started: u64,
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ThreadSimulation {
    fn new(run: Arc<Surroundings>, seed: u64) -> Self {
        Self { run, seed, dice: Dice::new(seed, 0), started: 0 }
    }

    /// The simulation for a thread that this one starts.
    fn of_other(&mut self) -> Self {
        self.started += 1;
        Self::new(self.run.clone(), Dice::new(self.seed, self.started).roll())
    }
}

/// Runs each scenario of this program on a thread of its own, which takes part in the scenario: the functions of
/// [`adapter`](crate::adapter) answer it. Threads that such a thread starts take part if they call the function that
/// [`in_this_run`] returns.
pub fn simulate_operating_system() {
    IS_ON.store(true, Ordering::Relaxed);
}

pub(crate) fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

/// This thread runs a scenario until this value is dropped.
#[derive(Debug)]
#[must_use = "it lasts until it is dropped"]
pub(crate) struct SimulatedRun(Arc<Surroundings>);

impl Drop for SimulatedRun {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
        HERE.take();
    }
}

/// Begins a run on this thread.
pub(crate) fn begin(seed: u64) -> SimulatedRun {
    let run = Arc::<Surroundings>::default();
    HERE.set(Some(ThreadSimulation::new(run.clone(), seed)));
    SimulatedRun(run)
}

/// Sets the time of the run of this thread.
#[inline]
pub(crate) fn advance(now: Duration) {
    if is_on() {
        HERE.with_borrow(|here| {
            if let Some(here) = here {
                here.run.now.store(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
    }
}

/// Returns a function for a thread that this one starts. It lets that thread take part in the same scenario, with random
/// numbers of its own.
pub fn in_this_run() -> impl FnOnce() + Send + 'static {
    let other = HERE.try_with(|here| here.borrow_mut().as_mut().map(ThreadSimulation::of_other));
    let other = other.ok().flatten();
    move || {
        if let Some(other) = other {
            _ = HERE.try_with(|here| here.replace(Some(other)));
        }
    }
}

/// Asks the simulation of this thread, if the thread takes part in a run that is not over. Code that the simulation itself
/// calls, and destructors of other thread-locals, get the operating system.
fn ask<R>(question: impl FnOnce(&mut ThreadSimulation) -> R) -> Option<R> {
    let answer = HERE.try_with(|here| {
        let mut here = here.try_borrow_mut().ok()?;
        here.as_mut().filter(|here| !here.run.is_over.load(Ordering::Relaxed)).map(question)
    });
    answer.ok().flatten()
}

/// Notes an address to which a part of the harness connects, or that belongs to it.
pub fn expect_connections_to(address: SocketAddr) {
    ask(|here| lock(&here.run.seen).connections.expected.insert(address));
}

/// Notes that the code on this thread connects to an address. If that does not belong to the harness, the report warns of
/// it.
pub fn note_connection_to(address: SocketAddr) {
    ask(|here| {
        let connections = &mut lock(&here.run.seen).connections;
        if !connections.expected.contains(&address) {
            connections.others.insert(address);
        }
    });
}

/// Returns the answers that the code under test of this run has had so far.
pub(crate) fn seen() -> Option<Seen> {
    ask(|here| lock(&here.run.seen).clone())
}

impl Seen {
    /// The addresses of connections that do not belong to the harness. The ports that systems give to servers without one
    /// differ from run to run, and are left out.
    pub(crate) fn unexplored(&self) -> BTreeSet<String> {
        let name = |address: &SocketAddr| match address.port() < FIRST_EPHEMERAL_PORT {
            true => address.to_string(),
            false => format!("a port of {}", address.ip()),
        };
        self.connections.others.iter().map(name).collect()
    }
}

/// Returns the time since 1970 for the code on this thread. `None` if the thread takes part in no scenario.
pub fn time_of_day() -> Option<Duration> {
    let now = ask(|here| {
        let now = Duration::from_nanos(here.run.now.load(Ordering::Relaxed));
        lock(&here.run.seen).times.insert(now);
        now
    })?;
    Some(BEGINNING + now)
}

/// Reports whether the code on this thread takes part in a scenario.
pub fn is_in_run() -> bool {
    ask(|_| ()).is_some()
}

/// Returns the time since 1970 at which each world begins. `None` without [`simulate_operating_system`].
pub fn beginning_of_time() -> Option<Duration> {
    is_on().then_some(BEGINNING)
}

/// Fills the bytes with random numbers of the scenario. Returns false, and leaves them as they are, if this thread takes
/// part in no scenario.
pub fn random_bytes(bytes: &mut [u8]) -> bool {
    let filled = ask(|here| {
        lock(&here.run.seen).has_draws = true;
        for piece in bytes.chunks_mut(8) {
            piece.copy_from_slice(&here.dice.roll().to_le_bytes()[..piece.len()]);
        }
    });
    filled.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(bytes: usize) -> Option<Vec<u8>> {
        let mut drawn = vec![0; bytes];
        random_bytes(&mut drawn).then_some(drawn)
    }

    #[test]
    fn a_thread_draws_the_same_in_each_run_with_a_seed_and_its_threads_draw_other_numbers() {
        let draw = |seed| {
            let _run = begin(seed);
            let before = drawn(13).unwrap();
            let [first, second] = [in_this_run(), in_this_run()].map(|enter| {
                let thread = std::thread::spawn(move || {
                    enter();
                    drawn(13).unwrap()
                });
                thread.join().unwrap()
            });
            let all = [before, first, second, drawn(13).unwrap()];
            assert!((1..4).all(|at| !all[..at].contains(&all[at])), "{all:?}");
            all
        };
        assert_eq!(draw(6), draw(6));
        assert_ne!(draw(6), draw(7));
    }

    #[test]
    fn a_thread_that_takes_part_in_no_run_gets_the_operating_system() {
        assert_eq!((drawn(1), time_of_day()), (None, None));
        let run = begin(1);
        let enter = in_this_run();
        assert_eq!(time_of_day(), Some(BEGINNING));
        drop(run);
        assert_eq!((drawn(1), time_of_day()), (None, None));
        // A thread that outlives its run.
        enter();
        assert_eq!((drawn(1), time_of_day()), (None, None));
        HERE.take();
    }
}
