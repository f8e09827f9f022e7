//! What is under way on the lines of a run, and who waits there. The thread with the sockets writes it down, the
//! executor reads it.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Wake as WakeTrait, Waker};
use std::time::Duration;

use tokio::sync::oneshot;

use super::request::Request;
use super::serve::{Fate, Finish, Served, serve};
use super::sockets::Sockets;
use super::{Door, Owns};
use crate::engine::life;
use crate::engine::state::{Woken, lock};
use crate::engine::wire::{Asked, Traffic, Wire};
use crate::search::choice::Actor;
use crate::system::clock::Wake;
use crate::system::service::CLIENT_TIMEOUT;

/// How long whoever waits for nothing has its line, in virtual time: as a load balancer in between would have it. A
/// client's own timeout is mostly shorter.
const SILENCE: Duration = Duration::from_secs(60);
/// How long, in real time, the executor waits before it looks whether the other end can go on.
const PATIENCE: Duration = Duration::from_millis(2);
/// How long, in real time, is waited before time passes.
const MOMENT: Duration = Duration::from_millis(1);
/// After so many such waits in vain what is under way stays under way: somebody writes half a request, or does not read
/// the answer, and waits for something else meanwhile.
const STALLED: u32 = 250;

/// What a connection is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing: no part of a request has come.
    Idle,
    /// A request is being read.
    Reading,
    /// A request waits to be served, or its answer for its time.
    Waiting,
    /// The answer is being written.
    Answering,
    Gone,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Line {
    /// Connections are numbered as they are made.
    pub(super) number: u64,
    phase: Mutex<Phase>,
}

/// A request whose caller waits: where the answer goes.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) line: Arc<Line>,
    pub(super) answer: oneshot::Sender<Fate>,
}

struct Waiting {
    door: Arc<Door>,
    ticket: Ticket,
    by: Option<Actor>,
    step: Step,
}

enum Step {
    Begin(Request),
    /// It has happened, and its answer has taken its time.
    Finish(Finish),
}

/// A caller whom no answer will reach.
struct Silent {
    door: Arc<Door>,
    ticket: Ticket,
    until: Duration,
}

#[derive(Default)]
struct Lines {
    made: u64,
    reading: usize,
    answering: usize,
    waiting: Vec<Waiting>,
    silent: Vec<Silent>,
    /// Answers that take their time: of which line, until when.
    delayed: Vec<(u64, Duration)>,
}

/// See the module.
pub(super) struct Exchange {
    woken: Arc<Woken>,
    lines: Mutex<Lines>,
    changed: Condvar,
    /// How much has happened on the lines, and how much of it the executor has seen.
    moves: AtomicU64,
    seen: Mutex<Seen>,
    /// How often somebody has come to see who waits.
    visits: AtomicU64,
    pub(super) doors: Mutex<Vec<Arc<Door>>>,
    opened: AtomicU64,
    pub(super) own: Arc<Owns>,
    pub(super) sockets: Sockets,
}

#[derive(Debug, Default)]
struct Seen {
    moves: u64,
    in_vain: u32,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").finish_non_exhaustive()
    }
}

impl Exchange {
    pub(super) fn new(woken: Arc<Woken>) -> Self {
        Self {
            woken,
            lines: Mutex::default(),
            changed: Condvar::new(),
            moves: AtomicU64::new(0),
            seen: Mutex::default(),
            visits: AtomicU64::new(0),
            doors: Mutex::default(),
            opened: AtomicU64::new(0),
            own: Arc::default(),
            sockets: Sockets::default(),
        }
    }

    /// The number of the next door.
    pub(super) fn number(&self) -> u64 {
        self.opened.fetch_add(1, Ordering::SeqCst)
    }

    /// A connection was made.
    pub(super) fn line(&self) -> Arc<Line> {
        let mut lines = lock(&self.lines);
        lines.made += 1;
        self.moved();
        Arc::new(Line { number: lines.made, phase: Mutex::new(Phase::Idle) })
    }

    fn moved(&self) {
        self.moves.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn moves(&self) -> u64 {
        self.moves.load(Ordering::SeqCst)
    }

    /// What a connection is about has changed.
    pub(super) fn shift(&self, line: &Line, to: Phase) {
        let mut lines = lock(&self.lines);
        lines.shift(line, to);
        self.moved();
        drop(lines);
        self.changed.notify_all();
    }

    pub(super) fn is_about(&self, line: &Line) -> Phase {
        *lock(&line.phase)
    }

    /// A request has been read. It is served at once where the caller's thread can do nothing else meanwhile, and so
    /// can whoever would serve it; else it waits until nothing else goes on.
    pub(super) fn ask(self: &Arc<Self>, door: &Arc<Door>, ticket: Ticket, request: Request) {
        let waiting = Waiting { door: door.clone(), ticket, by: None, step: Step::Begin(request) };
        self.shift(&waiting.ticket.line, Phase::Waiting);
        if door.is_served_at_once() {
            self.serve_now(waiting);
        } else {
            self.enlist(waiting);
        }
    }

    fn enlist(&self, waiting: Waiting) {
        lock(&self.lines).waiting.push(waiting);
        self.moved();
        self.changed.notify_all();
        self.woken.stir();
    }

    fn answer(&self, ticket: Ticket, fate: Fate) {
        self.shift(&ticket.line, Phase::Answering);
        // Who is gone hears nothing.
        let _ = ticket.answer.send(fate);
    }

    /// Serves in the executor's thread, where nothing else runs.
    fn serve(self: &Arc<Self>, waiting: Waiting) {
        let Waiting { door, ticket, by, step } = waiting;
        match step {
            Step::Finish(_) if self.is_about(&ticket.line) == Phase::Gone => {}
            Step::Finish(finish) => self.answer(ticket, finish()),
            Step::Begin(request) => match serve(&door, &request) {
                Served::Now(fate) => self.answer(ticket, fate),
                Served::Never => {
                    let until = door.now().saturating_add(SILENCE);
                    lock(&self.lines).silent.push(Silent { door, ticket, until });
                    self.moved();
                }
                Served::Later(takes, finish) => {
                    let by = by.or_else(|| Some(door.link.shared().state().actor()));
                    self.delay(Waiting { door, ticket, by, step: Step::Finish(finish) }, takes);
                }
            },
        }
    }

    fn delay(self: &Arc<Self>, waiting: Waiting, takes: Duration) {
        let shared = waiting.door.link.shared().clone();
        let mut state = shared.state();
        let at = state.clock.now().saturating_add(takes);
        lock(&self.lines).delayed.push((waiting.ticket.line.number, at));
        let due = Due { exchange: self.clone(), waiting: Mutex::new(Some(waiting)) };
        state.clock.set(at, Wake::Waker(Waker::from(Arc::new(due))));
    }

    /// Serves in the thread of the sockets, while the caller blocks the executor's. Time passes by the way.
    fn serve_now(&self, waiting: Waiting) {
        let Waiting { door, ticket, step, .. } = waiting;
        let served = || match step {
            Step::Finish(finish) => finish(),
            Step::Begin(request) => match serve(&door, &request) {
                Served::Now(fate) => fate,
                Served::Never => {
                    door.link.shared().advance(door.now().saturating_add(CLIENT_TIMEOUT));
                    Fate::Reset
                }
                Served::Later(takes, finish) => {
                    door.link.shared().advance(door.now().saturating_add(takes));
                    finish()
                }
            },
        };
        let fate = match door.link.life_shared() {
            Some(life) => life::run_as(life, served),
            None => served(),
        };
        self.answer(ticket, fate);
    }

    pub(super) fn visits(&self) -> u64 {
        self.visits.load(Ordering::SeqCst)
    }

    /// Nobody has come for a while: whoever would serve this line is blocked, most likely by the caller itself.
    pub(super) fn serve_unattended(&self, door: &Door, line: &Line) {
        let mut lines = lock(&self.lines);
        let of_line = |ticket: &Ticket| ticket.line.number == line.number;
        if let Some(at) = lines.waiting.iter().position(|waiting| of_line(&waiting.ticket)) {
            let waiting = lines.waiting.remove(at);
            drop(lines);
            self.serve_now(waiting);
        } else if let Some(at) = lines.silent.iter().position(|silent| of_line(&silent.ticket)) {
            let silent = lines.silent.remove(at);
            drop(lines);
            door.link.shared().advance(door.now().saturating_add(CLIENT_TIMEOUT));
            self.answer(silent.ticket, Fate::Reset);
        } else if let Some(at) = lines.delayed.iter().position(|(number, _)| *number == line.number) {
            let (_, due) = lines.delayed.remove(at);
            drop(lines);
            door.link.shared().advance(due);
        }
    }

    /// Forgets all that waits at a door.
    fn forget(&self, door: &Door) {
        let mut lines = lock(&self.lines);
        lines.waiting.retain(|waiting| waiting.door.number != door.number);
        lines.silent.retain(|silent| silent.door.number != door.number);
    }
}

impl Lines {
    fn shift(&mut self, line: &Line, to: Phase) {
        let mut phase = lock(&line.phase);
        match *phase {
            Phase::Gone => return,
            Phase::Reading => self.reading -= 1,
            Phase::Answering => self.answering -= 1,
            Phase::Idle | Phase::Waiting => {}
        }
        match to {
            Phase::Reading => self.reading += 1,
            Phase::Answering => self.answering += 1,
            Phase::Idle | Phase::Waiting | Phase::Gone => {}
        }
        *phase = to;
    }
}

/// An answer whose time comes.
struct Due {
    exchange: Arc<Exchange>,
    waiting: Mutex<Option<Waiting>>,
}

impl WakeTrait for Due {
    fn wake(self: Arc<Self>) {
        let Some(waiting) = lock(&self.waiting).take() else { return };
        let number = waiting.ticket.line.number;
        lock(&self.exchange.lines).delayed.retain(|(delayed, _)| *delayed != number);
        if !waiting.door.is_closed() {
            self.exchange.enlist(waiting);
        }
    }
}

struct Call {
    exchange: Arc<Exchange>,
    waiting: Waiting,
}

impl Asked for Call {
    fn host(&self) -> usize {
        self.waiting.door.host().expect("what is asked through the test's door is served at once")
    }

    fn by(&self) -> Option<Actor> {
        self.waiting.by
    }

    fn serve(self: Box<Self>) {
        self.exchange.serve(self.waiting);
    }
}

impl Wire for Exchange {
    fn settle(&self) -> Traffic {
        self.visits.fetch_add(1, Ordering::SeqCst);
        self.sockets.look();
        let lines = lock(&self.lines);
        let is_busy = |lines: &mut Lines| lines.reading + lines.answering > 0;
        let waited = self.changed.wait_timeout_while(lines, PATIENCE, is_busy);
        let (mut lines, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        let (is_busy, moves) = (is_busy(&mut lines), self.moves());
        let mut seen = lock(&self.seen);
        if seen.moves != moves {
            *seen = Seen { moves, in_vain: 0 };
            return Traffic::Moving;
        }
        seen.in_vain += u32::from(is_busy);
        match is_busy && seen.in_vain < STALLED {
            true => Traffic::Moving,
            false => Traffic::Still,
        }
    }

    fn linger(&self) -> bool {
        let before = self.moves();
        let lines = lock(&self.lines);
        drop(self.changed.wait_timeout_while(lines, MOMENT, |_| self.moves() == before));
        self.sockets.look();
        self.moves() != before
    }

    fn made_by(&self, host: usize, actor: Actor) {
        for waiting in &mut lock(&self.lines).waiting {
            if waiting.by.is_none() && waiting.door.host() == Some(host) {
                waiting.by = Some(actor);
            }
        }
    }

    fn next(self: Arc<Self>) -> Option<Box<dyn Asked>> {
        let mut lines = lock(&self.lines);
        let order = |waiting: &Waiting| (waiting.door.number, waiting.ticket.line.number);
        let first = (0..lines.waiting.len()).min_by_key(|&at| order(&lines.waiting[at]))?;
        let waiting = lines.waiting.remove(first);
        drop(lines);
        Some(Box::new(Call { exchange: self, waiting }))
    }

    fn hangs_up_at(&self) -> Option<Duration> {
        let mut lines = lock(&self.lines);
        lines.silent.retain(|silent| self.is_about(&silent.ticket.line) != Phase::Gone);
        lines.silent.iter().map(|silent| silent.until).min()
    }

    fn hang_up(&self, now: Duration) {
        let mut lines = lock(&self.lines);
        let (over, silent) =
            std::mem::take(&mut lines.silent).into_iter().partition(|silent| silent.until <= now);
        lines.silent = silent;
        drop(lines);
        let over: Vec<Silent> = over;
        for silent in over {
            self.answer(silent.ticket, Fate::Closed);
        }
    }

    fn close(&self, host: usize) {
        let mut doors = lock(&self.doors);
        let (closing, open): (Vec<_>, _) =
            std::mem::take(&mut *doors).into_iter().partition(|door| door.host() == Some(host));
        *doors = open;
        drop(doors);
        for door in closing {
            door.close();
            self.forget(&door);
            self.sockets.close(door.number);
        }
    }

    fn end(&self) {
        for door in std::mem::take(&mut *lock(&self.doors)) {
            door.close();
            self.forget(&door);
        }
        self.sockets.end();
    }

    fn without_ports(&self, text: String) -> String {
        lock(&self.doors).iter().fold(text, |text, door| {
            let whose = door.link.life().map_or("test", |life| life.process.as_str());
            text.replace(&door.address.to_string(), &format!("{whose}.localhost"))
        })
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
