//! The thread that serves callers which block the executor's thread: a boot closure, or the test itself. There is one
//! for the whole program, which starts when the first address is opened.
//!
//! It has almost nothing to do in an exploration: the executor moves the sockets of async and blocking handlers
//! itself, between their steps, without a thread switch.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use mio::event::Source;
use mio::{Events, Interest, Poll, Registry, Token};

use crate::engine::external_calls::real_time;
use crate::engine::panics;
use crate::engine::state::lock;

/// The interval at which the thread checks everything, for time limits and for callers whose blocking could not be
/// known.
const TICK: Duration = Duration::from_millis(100);

/// The sockets of one run, which the thread serves.
pub(super) trait ServedSockets: Send + Sync {
    /// Serves the callers that only this thread can serve. `is_tick` means that an interval has passed.
    fn attend(&self, is_tick: bool);
}

/// See the module.
pub(super) struct Thread {
    registry: Registry,
    attended: Mutex<Attendance>,
}

#[derive(Default)]
struct Attendance {
    runs: BTreeMap<usize, Weak<dyn ServedSockets>>,
    next: usize,
}

/// The sockets of one run, while the thread serves them.
pub(super) struct AttendanceGuard {
    thread: &'static Thread,
    number: usize,
}

impl Drop for AttendanceGuard {
    fn drop(&mut self) {
        lock(&self.thread.attended).runs.remove(&self.number);
    }
}

impl AttendanceGuard {
    /// Makes the thread watch a socket from here on.
    pub(super) fn listen(&self, socket: &mut impl Source) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.thread.registry.register(socket, Token(self.number), interest)
    }
}

/// Makes the thread serve a run.
///
/// # Errors
/// If the machine has no threads or files left.
pub(super) fn attend(run: Weak<dyn ServedSockets>) -> io::Result<AttendanceGuard> {
    static THREAD: Mutex<Option<&'static Thread>> = Mutex::new(None);
    let mut known = lock(&THREAD);
    let thread = match *known {
        Some(thread) => thread,
        None => {
            let poll = Poll::new()?;
            let registry = poll.registry().try_clone()?;
            let thread: &'static Thread =
                Box::leak(Box::new(Thread { registry, attended: Mutex::default() }));
            std::thread::Builder::new()
                .name("retryproof-wire".to_owned())
                .spawn(move || serve(thread, poll))?;
            *known = Some(thread);
            thread
        }
    };
    drop(known);
    let mut attended = lock(&thread.attended);
    let number = attended.next;
    attended.next += 1;
    attended.runs.insert(number, run);
    Ok(AttendanceGuard { thread, number })
}

fn serve(thread: &'static Thread, mut poll: Poll) {
    panics::keep_quiet();
    let mut ticked = real_time();
    let mut events = Events::with_capacity(256);
    loop {
        let is_idle = lock(&thread.attended).runs.is_empty();
        // An interrupted wait counts as a completed one.
        let _ = poll.poll(&mut events, Some(if is_idle { 10 * TICK } else { TICK }));
        let is_tick = ticked.elapsed() >= TICK;
        if is_tick {
            ticked = real_time();
        }
        let mut due: Vec<_> = events.iter().map(|event| event.token().0).collect();
        due.sort_unstable();
        due.dedup();
        let attended = lock(&thread.attended);
        let runs: Vec<Arc<dyn ServedSockets>> = match is_tick {
            true => attended.runs.values().filter_map(Weak::upgrade).collect(),
            false => due.iter().filter_map(|number| attended.runs.get(number)?.upgrade()).collect(),
        };
        drop(attended);
        for run in &runs {
            // The other runs of the program need this thread, too.
            let _ = catch_unwind(AssertUnwindSafe(|| run.attend(is_tick)));
        }
    }
}
