//! The sockets of a run: addresses, connections, waiting requests, and replies on their way.
//!
//! The executor moves them between two steps, or the [thread](super::thread) does while a caller blocks the executor.
//! Nothing is moved while a request is served.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::task::{Wake as WakeTrait, Waker};
use std::time::{Duration, Instant};

use super::address::{Listener, Scope, bind};
use super::connection::{Connection, Phase, SLOWEST};
use super::forward::end_wait;
use super::protocol::{Caller, Codec, Endpoint, Finish, Outcome, Protocol, Reply, Talk};
use super::thread::{AttendanceGuard, ServedSockets, attend};
use super::transit::{ArrivedRequest, PendingReply, SilentCaller, WaitingCall, resume_all};
use crate::engine::external_calls::real_time;
use crate::engine::externals::{self, RealSystem, RequestStart, Traffic};
use crate::engine::life;
use crate::engine::simulation;
use crate::engine::state::{Shared, WakeQueue, lock};
use crate::process::Link;
use crate::search::choice::{Actor, Name, Place};
use crate::system::clock::Wake;
use crate::system::service::CLIENT_TIMEOUT;

/// The virtual time after which a connection is closed if no reply will ever come, as a load balancer would do. A
/// client's own timeout is usually shorter.
const SILENCE: Duration = Duration::from_secs(60);
/// The real time that the executor waits for data on its way before it lets the other end run.
const PATIENCE: Duration = Duration::from_millis(2);
/// The real time to wait for a late arrival.
const MOMENT: Duration = Duration::from_millis(1);
/// The pause between looks for a late arrival, after the first few.
const PAUSE: Duration = Duration::from_micros(50);
const SPINS: u32 = 20;
/// After this many waits without success, data on its way is ignored: a peer writes half a request, or does not read
/// the reply, and waits for something else.
const STALLED: u32 = 250;
/// The maximum real time that peers may keep the executor busy without a pause. Longer than one peer may take for a
/// message.
const FLOODED: Duration = Duration::from_secs(10);
/// The real time after which the thread serves in place of an absent executor. Most likely the caller itself blocks
/// the executor.
const UNATTENDED: Duration = Duration::from_secs(1);

/// A protocol of the run: once without its type, once with it.
struct ProtocolEntry {
    codec: Arc<dyn Codec>,
    typed: Arc<dyn Any + Send + Sync>,
}

#[derive(Default)]
struct Lines {
    protocols: BTreeMap<Name, ProtocolEntry>,
    listeners: Vec<Listener>,
    connections: Vec<Connection>,
    /// The number of addresses opened, and of connections accepted.
    opened: u64,
    accepted: u64,
    arrived: Vec<ArrivedRequest>,
    pending: Vec<PendingReply>,
    silent: Vec<SilentCaller>,
    /// In the order in which they began to wait.
    waiting: Vec<WaitingCall>,
    /// Second halves of calls outside any step, which wait for their time.
    delayed: Vec<(u64, Duration)>,
    /// The number of moves, and the number that the executor has seen.
    moves: u64,
    seen: u64,
    in_vain: u32,
    /// The maximum time for a message, if it is not [`SLOWEST`].
    slowest: Option<Duration>,
    /// The real time since which data has been moving without a pause.
    moving_since: Option<Instant>,
}

/// See the module.
pub(crate) struct Exchange {
    me: Weak<Exchange>,
    woken: Arc<WakeQueue>,
    lines: Mutex<Lines>,
    /// The number of times that the executor has looked.
    visits: AtomicU64,
    /// The visit and the time since which the executor has been absent.
    away: Mutex<Option<(u64, Instant)>>,
    attending: OnceLock<AttendanceGuard>,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").finish_non_exhaustive()
    }
}

/// The sockets of a run. They are created on first use.
pub(crate) fn exchange_of(shared: &Arc<Shared>) -> Arc<Exchange> {
    shared.externals.get_or_add(|| {
        Arc::new_cyclic(|me| Exchange {
            me: me.clone(),
            woken: shared.woken.clone(),
            lines: Mutex::default(),
            visits: AtomicU64::new(0),
            away: Mutex::default(),
            attending: OnceLock::new(),
        })
    })
}

impl Exchange {
    /// The protocol with this name. The first one with a name stays.
    ///
    /// # Panics
    /// If the first one has another type.
    pub(crate) fn get_or_add<P: Protocol>(&self, name: Name, make: impl FnOnce() -> P) -> Arc<P> {
        let mut lines = lock(&self.lines);
        let known = lines.protocols.entry(name).or_insert_with(|| {
            let protocol = Arc::new(make());
            ProtocolEntry { codec: protocol.clone(), typed: protocol }
        });
        let typed = known.typed.clone();
        drop(lines);
        typed
            .downcast()
            .unwrap_or_else(|_| panic!("another protocol is called `{name}` already; give each its own name"))
    }

    /// The address at which a process (or the test) speaks a protocol. It is opened on first use.
    ///
    /// # Panics
    /// If no port can be opened, or if there is no such protocol.
    pub(super) fn open(&self, link: &Link, protocol: Name, place: Place) -> Arc<Endpoint> {
        let mut lines = lock(&self.lines);
        let host = link.life().map(|life| life.index);
        let mut endpoints = lines.listeners.iter().map(|listener| &listener.endpoint);
        if let Some(endpoint) =
            endpoints.find(|endpoint| endpoint.host() == host && endpoint.protocol == protocol)
        {
            return endpoint.clone();
        }
        let Some(codec) = lines.protocols.get(&protocol).map(|spoken| spoken.codec.clone()) else {
            drop(lines);
            panic!(
                "no protocol is called `{protocol}`; add it with `world.wire(\"{protocol}\", …)`, before `world.process(…)`"
            );
        };
        let opened = bind().and_then(|mut socket| {
            let attending = match self.attending.get() {
                Some(attending) => attending,
                None => {
                    let attending = attend(self.me.clone())?;
                    self.attending.get_or_init(|| attending)
                }
            };
            attending.listen(&mut socket)?;
            Ok((socket.local_addr()?, socket))
        });
        match opened {
            Ok((address, socket)) => {
                simulation::expect_connections_to(address);
                let (link, number) = (link.clone(), lines.opened);
                lines.opened += 1;
                let is_closed = false.into();
                let endpoint =
                    Arc::new(Endpoint { number, link, place, address, protocol, codec, is_closed });
                lines.listeners.push(Listener { endpoint: endpoint.clone(), socket });
                endpoint
            }
            Err(error) => {
                drop(lines);
                panic!(
                    "no port of 127.0.0.1 could be opened for a process: {error}; are too many files open?"
                )
            }
        }
    }

    /// Moves everything in scope as far as possible, and serves the callers that are served immediately. Returns
    /// whether anything has moved.
    fn advance_in(&self, scope: Scope) -> bool {
        let mut has_moved = false;
        loop {
            let mut lines = lock(&self.lines);
            let mut moved = lines.accept(scope, self.attending.get());
            let open = lines.connections.len();
            let (more, requests) = lines.advance(scope);
            moved |= more;
            lines.moves += u64::from(moved);
            // A connection that is gone may have held a lock.
            let released = lines.connections.len() < open && !lines.waiting.is_empty();
            drop(lines);
            if released {
                self.resume_waiting();
            }
            has_moved |= moved;
            if requests.is_empty() {
                return has_moved;
            }
            requests.into_iter().for_each(|request| self.serve_at_once(request));
        }
    }

    /// Serves a caller that blocks the executor. Time advances as part of this.
    fn serve_at_once(&self, ArrivedRequest { endpoint, line, mut talk, finish, .. }: ArrivedRequest) {
        let served = || {
            let (takes, finish) = match finish {
                Some(finish) => (Duration::ZERO, finish),
                None => match talk.serve(&Caller { endpoint: &endpoint }).0 {
                    Outcome::Plain(reply) => return reply,
                    Outcome::Takes(takes, finish) => (takes, finish),
                    Outcome::Waits(waiting) => (Duration::ZERO, end_wait(&endpoint, waiting)),
                    Outcome::Silent => (CLIENT_TIMEOUT, Box::new(Reply::reset) as Finish),
                },
            };
            if !takes.is_zero() {
                endpoint.link.shared().advance(endpoint.now().saturating_add(takes));
            }
            finish()
        };
        let reply = match endpoint.link.life_shared() {
            Some(life) => life::run_as(life, served),
            None => served(),
        };
        self.send(line, talk, reply);
    }

    fn send(&self, line: u64, talk: Box<dyn Talk>, reply: Reply) {
        let mut lines = lock(&self.lines);
        lines.moves += 1;
        if let Some(connection) = lines.connection(line) {
            connection.reply(talk, reply);
        }
        lines.forget_gone();
    }

    /// Resumes the calls that wait in a real system, because something has happened there. Those that have ended
    /// continue in the order in which they began to wait, regardless of which was served first.
    pub(super) fn resume_waiting(&self) {
        self.resume_waiting_at(None);
        let mut lines = lock(&self.lines);
        let pushed =
            lines.connections.iter_mut().filter_map(|connection| connection.push().then_some(())).count();
        lines.moves += pushed as u64;
        if pushed > 0 {
            lines.forget_gone();
            drop(lines);
            self.woken.note_progress();
        }
    }

    /// The same. Those whose limit is over at `now` end.
    fn resume_waiting_at(&self, now: Option<Duration>) {
        let waiting = std::mem::take(&mut lock(&self.lines).waiting);
        let (left, ended) = resume_all(waiting, now);
        let mut lines = lock(&self.lines);
        lines.waiting = left;
        if ended.is_empty() {
            return;
        }
        let mut tasks = Vec::new();
        for (WaitingCall { endpoint, line, actor, caller, talk, .. }, finish) in ended {
            lines.moves += 1;
            match caller {
                Some(caller) => {
                    let due = Duration::ZERO;
                    tasks.push(caller.task);
                    lines.pending.push(PendingReply { endpoint, line, caller, talk, finish, due });
                }
                None => lines.arrived.push(ArrivedRequest::second_half(endpoint, line, actor, talk, finish)),
            }
        }
        drop(lines);
        self.woken.note_progress();
        tasks.into_iter().for_each(|task| self.woken.push(task));
    }

    fn is_heard(&self, line: u64) -> bool {
        lock(&self.lines).connection(line).is_some_and(|connection| connection.is_heard())
    }

    /// Delays the reply to a call that was made outside any step.
    fn delay(&self, arrived: ArrivedRequest, takes: Duration) {
        let shared = arrived.endpoint.link.shared().clone();
        let mut state = shared.state();
        let at = state.clock.now().saturating_add(takes);
        lock(&self.lines).delayed.push((arrived.line, at));
        let due = DueReply { exchange: self.me.clone(), arrived: Mutex::new(Some(arrived)) };
        state.clock.set(at, Wake::Waker(Waker::from(Arc::new(due))));
    }

    /// Serves requests when the executor has been absent for a while. Most likely the caller itself blocks it. Real
    /// time decides here, for code that blocks where it should not. The requests that are served are the same.
    fn serve_unattended(&self) {
        let mut away = lock(&self.away);
        let visits = self.visits.load(Ordering::SeqCst);
        match *away {
            Some((seen, since)) if seen == visits && since.elapsed() < UNATTENDED => return,
            Some((seen, _)) if seen == visits => {}
            _ => {
                *away = Some((visits, real_time()));
                return;
            }
        }
        drop(away);
        self.advance_in(Scope::All);
        let mut lines = lock(&self.lines);
        let arrived = std::mem::take(&mut lines.arrived);
        let silent = std::mem::take(&mut lines.silent);
        let delayed = std::mem::take(&mut lines.delayed);
        drop(lines);
        arrived.into_iter().for_each(|request| self.serve_at_once(request));
        for SilentCaller { endpoint, line, talk, .. } in silent {
            endpoint.link.shared().advance(endpoint.now().saturating_add(CLIENT_TIMEOUT));
            self.send(line, talk, Reply::reset());
        }
        if let Some((line, due)) = delayed.into_iter().min_by_key(|(_, due)| *due) {
            let endpoint = lock(&self.lines).connection(line).map(|connection| connection.endpoint.clone());
            endpoint.inspect(|endpoint| endpoint.link.shared().advance(due));
        }
    }

    /// Moves until something arrives, for at most this long.
    fn wait(&self, scope: Scope, most: Duration) -> bool {
        let began = real_time();
        for looks in 0_u32.. {
            // Looks once more when the time is up, because this thread may not have run in between.
            let is_last = began.elapsed() >= most;
            if self.advance_in(scope) {
                return true;
            }
            if is_last {
                break;
            }
            match looks < SPINS {
                true => std::thread::yield_now(),
                false => std::thread::park_timeout(PAUSE),
            }
        }
        false
    }

    /// Resets all connections in scope and closes its addresses.
    fn close(&self, scope: Scope) {
        let mut lines = lock(&self.lines);
        lines
            .listeners
            .iter()
            .filter(|listener| scope.has(&listener.endpoint))
            .for_each(|listener| listener.endpoint.close());
        lines.listeners.retain(|listener| !listener.endpoint.is_closed());
        // Waiting calls are dropped first, in reverse order, because one that waits for a lock would get it from a
        // connection that is reset before it.
        let (mut closed, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut lines.waiting).into_iter().partition(|waiting| waiting.endpoint.is_closed());
        lines.waiting = waiting;
        while closed.pop().is_some() {}
        for connection in &mut lines.connections {
            if scope.has(&connection.endpoint) {
                connection.reset();
            }
        }
        lines.forget_gone();
        let Lines { arrived, pending, silent, .. } = &mut *lines;
        arrived.retain(|arrived| !arrived.endpoint.is_closed());
        pending.retain(|pending| !pending.endpoint.is_closed());
        silent.retain(|silent| !silent.endpoint.is_closed());
        drop(lines);
        self.resume_waiting();
    }

    /// Shortens the maximum time for a message, for the suite of [`conformance`](super::conformance), which would
    /// otherwise wait for seconds.
    pub(super) fn hurry(&self, slowest: Duration) {
        lock(&self.lines).slowest = Some(slowest);
    }

    /// The number of open connections of a process, for the suite of [`conformance`](super::conformance).
    pub(super) fn connections_of(&self, process: &str) -> usize {
        let lines = lock(&self.lines);
        let of_process = |connection: &&Connection| {
            connection.endpoint.link.life().is_some_and(|life| life.process.as_str() == process)
        };
        lines.connections.iter().filter(of_process).count()
    }
}

impl Lines {
    fn connection(&mut self, number: u64) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.number == number)
    }

    fn accept(&mut self, scope: Scope, attending: Option<&AttendanceGuard>) -> bool {
        let mut has_accepted = false;
        for Listener { endpoint, socket } in
            self.listeners.iter().filter(|listener| scope.has(&listener.endpoint))
        {
            // An error may mean that too many files are open. The client is accepted when some are closed.
            while let Ok((mut accepted, _)) = socket.accept() {
                let _ = accepted.set_nodelay(true);
                if let Some(attending) = attending.filter(|_| endpoint.is_served_at_once()) {
                    let _ = attending.listen(&mut accepted);
                }
                self.accepted += 1;
                has_accepted = true;
                self.connections.push(Connection::new(self.accepted, endpoint.clone(), Box::new(accepted)));
            }
        }
        has_accepted
    }

    /// Moves the connections in scope. Returns whether any has moved, and the requests that must be served
    /// immediately.
    fn advance(&mut self, scope: Scope) -> (bool, Vec<ArrivedRequest>) {
        let (mut has_moved, mut at_once) = (false, Vec::new());
        let slowest = self.slowest.unwrap_or(SLOWEST);
        for connection in self.connections.iter_mut().filter(|connection| scope.has(&connection.endpoint)) {
            let moved = connection.advance();
            has_moved |= moved.any;
            if connection.is_too_slow(slowest) {
                connection.reset();
                has_moved = true;
            }
            let Some(talk) = moved.request.then(|| connection.take_request()).flatten() else { continue };
            let (endpoint, line) = (connection.endpoint.clone(), connection.number);
            let arrived = ArrivedRequest { endpoint, line, by: None, talk, finish: None };
            match arrived.endpoint.is_served_at_once() {
                true => at_once.push(arrived),
                false => self.arrived.push(arrived),
            }
        }
        self.forget_gone();
        (has_moved, at_once)
    }

    fn forget_gone(&mut self) {
        self.connections.retain(|connection| connection.phase != Phase::Gone);
    }

    fn is_busy(&self) -> bool {
        self.connections.iter().any(|connection| matches!(connection.phase, Phase::Reading | Phase::Writing))
    }
}

/// A reply that becomes due.
struct DueReply {
    exchange: Weak<Exchange>,
    arrived: Mutex<Option<ArrivedRequest>>,
}

impl WakeTrait for DueReply {
    fn wake(self: Arc<Self>) {
        let Some(exchange) = self.exchange.upgrade() else { return };
        let Some(arrived) = lock(&self.arrived).take() else { return };
        let mut lines = lock(&exchange.lines);
        lines.delayed.retain(|(delayed, _)| *delayed != arrived.line);
        if !arrived.endpoint.is_closed() {
            lines.arrived.push(arrived);
            lines.moves += 1;
        }
        drop(lines);
        exchange.woken.note_progress();
    }
}

/// A request for the executor.
struct Request {
    exchange: Arc<Exchange>,
    arrived: ArrivedRequest,
}

impl externals::Request for Request {
    fn host(&self) -> usize {
        self.arrived.endpoint.host().expect("what comes to the test's own address is served at once")
    }

    fn by(&self) -> Option<Actor> {
        self.arrived.by
    }

    fn begin(self: Box<Self>, caller: externals::Caller) -> RequestStart {
        let Self { exchange, arrived: ArrivedRequest { endpoint, line, mut talk, .. } } = *self;
        let now = endpoint.now();
        let (takes, finish) = match talk.serve(&Caller { endpoint: &endpoint }).0 {
            Outcome::Plain(reply) => {
                exchange.send(line, talk, reply);
                exchange.resume_waiting();
                return RequestStart::Replied;
            }
            Outcome::Takes(takes, finish) => (takes, finish),
            Outcome::Waits(waiting) => {
                let waiting = WaitingCall::new(endpoint, line, (caller.actor, Some(caller)), talk, waiting);
                lock(&exchange.lines).waiting.push(waiting);
                return RequestStart::Takes;
            }
            Outcome::Silent if caller.blocks => (CLIENT_TIMEOUT, Box::new(Reply::reset) as Finish),
            Outcome::Silent => {
                let (until, by) = (now.saturating_add(SILENCE), Some((caller.actor, caller.task)));
                lock(&exchange.lines).silent.push(SilentCaller { endpoint, line, by, talk, until });
                return RequestStart::Takes;
            }
        };
        let due = now.saturating_add(takes);
        if !takes.is_zero() {
            endpoint.link.shared().state().clock.set(due, Wake::Task(caller.task));
        }
        lock(&exchange.lines).pending.push(PendingReply { endpoint, line, caller, talk, finish, due });
        exchange.resume_waiting();
        if takes.is_zero() { RequestStart::Ready } else { RequestStart::Takes }
    }

    fn serve(self: Box<Self>) {
        let Self { exchange, arrived } = *self;
        let ArrivedRequest { endpoint, line, by, mut talk, finish } = arrived;
        if let Some(finish) = finish {
            // A caller that has given up receives nothing.
            let reply = if exchange.is_heard(line) { finish() } else { Reply::reset() };
            return exchange.send(line, talk, reply);
        }
        match talk.serve(&Caller { endpoint: &endpoint }).0 {
            Outcome::Plain(reply) => {
                exchange.send(line, talk, reply);
                exchange.resume_waiting();
            }
            Outcome::Takes(Duration::ZERO, finish) => {
                let reply = finish();
                exchange.send(line, talk, reply);
                exchange.resume_waiting();
            }
            Outcome::Waits(waiting) => {
                let actor = by.unwrap_or_else(|| endpoint.link.shared().state().actor());
                let waiting = WaitingCall::new(endpoint, line, (actor, None), talk, waiting);
                let mut lines = lock(&exchange.lines);
                lines.waiting.push(waiting);
                lines.moves += 1;
            }
            Outcome::Takes(takes, finish) => {
                let by = by.unwrap_or_else(|| endpoint.link.shared().state().actor());
                exchange.delay(ArrivedRequest::second_half(endpoint, line, by, talk, finish), takes);
            }
            Outcome::Silent => {
                let until = endpoint.now().saturating_add(SILENCE);
                let mut lines = lock(&exchange.lines);
                lines.silent.push(SilentCaller { endpoint, line, by: None, talk, until });
                lines.moves += 1;
            }
        }
    }
}

impl RealSystem for Exchange {
    fn advance(&self, host: Option<usize>) -> bool {
        self.visits.fetch_add(1, Ordering::SeqCst);
        self.advance_in(host.map_or(Scope::All, Scope::Host))
    }

    fn settle(&self) -> Traffic {
        self.visits.fetch_add(1, Ordering::SeqCst);
        self.advance_in(Scope::All);
        let lines = lock(&self.lines);
        let (is_busy, moves, seen) = (lines.is_busy(), lines.moves, lines.seen);
        drop(lines);
        if moves == seen && is_busy {
            self.wait(Scope::All, PATIENCE);
        }
        let mut lines = lock(&self.lines);
        let is_moving = lines.moves != seen;
        (lines.seen, lines.in_vain) = match is_moving {
            true => (lines.moves, 0),
            false => (seen, lines.in_vain + u32::from(is_busy)),
        };
        let began = *lines.moving_since.get_or_insert_with(real_time);
        if (is_moving || is_busy && lines.in_vain < STALLED) && began.elapsed() < FLOODED {
            return Traffic::Moving;
        }
        lines.moving_since = None;
        Traffic::Still
    }

    fn linger(&self, host: Option<usize>) -> bool {
        self.wait(host.map_or(Scope::All, Scope::Host), MOMENT)
    }

    fn next_request(&self, host: Option<usize>) -> Option<Box<dyn externals::Request>> {
        let mut lines = lock(&self.lines);
        let is_meant = |arrived: &ArrivedRequest| match host {
            Some(host) => arrived.endpoint.host() == Some(host) && arrived.finish.is_none(),
            None => true,
        };
        let order = |arrived: &ArrivedRequest| (arrived.endpoint.number, arrived.line);
        let meant = (0..lines.arrived.len()).filter(|&at| is_meant(&lines.arrived[at]));
        let first = meant.min_by_key(|&at| order(&lines.arrived[at]))?;
        let arrived = lines.arrived.remove(first);
        drop(lines);
        Some(Box::new(Request { exchange: self.me.upgrade()?, arrived }))
    }

    fn has_request(&self, host: usize) -> bool {
        let of_host =
            |arrived: &ArrivedRequest| arrived.endpoint.host() == Some(host) && arrived.finish.is_none();
        lock(&self.lines).arrived.iter().any(of_host)
    }

    fn reply(&self, caller: externals::Caller, now: Duration) -> bool {
        let mut lines = lock(&self.lines);
        let is_due = |pending: &PendingReply| pending.caller.task == caller.task && pending.due <= now;
        let Some(at) = lines.pending.iter().position(is_due) else { return false };
        let PendingReply { line, talk, finish, .. } = lines.pending.remove(at);
        let is_heard = lines.connection(line).is_some_and(|connection| connection.is_heard());
        drop(lines);
        let reply = if is_heard { finish() } else { Reply::reset() };
        self.send(line, talk, reply);
        true
    }

    fn is_awaited_by(&self, actor: Actor) -> bool {
        let mut lines = lock(&self.lines);
        let Lines { pending, silent, waiting, connections, .. } = &mut *lines;
        let is_heard = |line: u64| {
            connections.iter().any(|connection| connection.number == line && connection.is_heard())
        };
        pending.iter().any(|pending| pending.caller.actor == actor && is_heard(pending.line))
            || waiting.iter().any(|waiting| waiting.actor == actor && is_heard(waiting.line))
            || silent
                .iter()
                .any(|silent| silent.by.is_some_and(|(by, _)| by == actor) && is_heard(silent.line))
    }

    fn waits_for(&self, actor: Actor) -> Option<String> {
        let lines = lock(&self.lines);
        lines.waiting.iter().find(|call| call.actor == actor).map(|call| call.waiting.what.clone())
    }

    fn attribute(&self, host: usize, actor: Actor) {
        for arrived in &mut lock(&self.lines).arrived {
            if arrived.by.is_none() && arrived.endpoint.host() == Some(host) {
                arrived.by = Some(actor);
            }
        }
    }

    fn deadline(&self) -> Option<Duration> {
        let mut lines = lock(&self.lines);
        let Lines { silent, waiting, connections, .. } = &mut *lines;
        silent.retain(|silent| {
            connections.iter().any(|connection| connection.number == silent.line && connection.is_heard())
        });
        let waiting = waiting.iter().filter_map(|call| call.until);
        silent.iter().map(|silent| silent.until).chain(waiting).min()
    }

    fn hang_up(&self, now: Duration) {
        let mut lines = lock(&self.lines);
        if lines.waiting.iter().any(|call| call.until.is_some_and(|until| until <= now)) {
            drop(lines);
            self.resume_waiting_at(Some(now));
            lines = lock(&self.lines);
        }
        if lines.silent.is_empty() {
            return;
        }
        let silent = std::mem::take(&mut lines.silent);
        let (over, silent): (Vec<_>, _) = silent.into_iter().partition(|silent| silent.until <= now);
        lines.silent = silent;
        drop(lines);
        for SilentCaller { line, talk, .. } in over {
            self.send(line, talk, Reply::closed());
        }
    }

    fn process_died(&self, host: usize) {
        self.close(Scope::Host(host));
    }

    fn end(&self) {
        self.close(Scope::All);
    }

    fn redact(&self, text: String) -> String {
        lock(&self.lines).listeners.iter().fold(text, |text, Listener { endpoint, .. }| {
            let process = endpoint.link.life().map_or("test", |life| life.process.as_str());
            let host = match endpoint.protocol.as_str() {
                "http" => format!("{process}.localhost"),
                protocol => format!("{process}.{protocol}.localhost"),
            };
            text.replace(&endpoint.address.to_string(), &host)
        })
    }
}

impl ServedSockets for Exchange {
    fn attend(&self, is_tick: bool) {
        self.advance_in(Scope::AtOnce);
        if is_tick {
            self.serve_unattended();
        }
    }
}
