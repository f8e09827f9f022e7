//! One run of a program: a worker process and its copies, their queue, the store, two services, and virtual time.
//!
//! It implements what the documentation of `World`, `Process` and their handles says, with its own explicit state. A
//! call has three points at which the process may crash: before it, after it happened, and after its reply. Between
//! what a call does and its reply, other attempts may run, and the worker may stall past its lease.

use std::collections::{BTreeMap, BTreeSet};

use crate::choice::{Actor, Chooser, Kind, Label, Options};
use crate::program::{Arrival, BACKOFF, Policy, Program, RETRIES};
use crate::script::{Call, Desk, Next, Reply, Script};
use crate::store::{Ask, Store};
use crate::value::{Effect, End, Identity, KeyText, Outcome, Value};

/// The seconds after which a job is redelivered if its worker has crashed or stalls.
const LEASE: u64 = 60;
/// The seconds after which a crashed process restarts.
const RESTART: u64 = 1;
/// The seconds for which a client waits for an answer.
const TIMEOUT: u64 = 30;
/// The number of attempts that run at once.
pub const SLOTS: usize = 8;

const LIVE_OR_CRASH: Options = Options::Named(&["live", "crash"]);

type TaskId = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    /// The job waits for its time, or for the end of its lease.
    Timed,
    /// The attempt with this number holds the job.
    Running(usize),
    Over(End),
}

/// A job in the queue.
#[derive(Clone, Debug)]
struct Job {
    /// Its place in the program.
    spec: usize,
    identity: Identity,
    payload: Option<Value>,
    state: State,
    attempts: usize,
    failures: u32,
    /// How many times the queue can hand it out.
    copies: usize,
    /// When its first attempt began, and when the queue recorded its end, as numbers of events.
    begun: Option<u64>,
    ended: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The code continues with this reply.
    Code(Option<Reply>),
    /// The call is made as soon as its row is free. The flag says whether it waits already.
    Asking(Call, bool),
    /// The call happened, or not, and the reply is in transit.
    Answering(Call, Reply),
}

/// An attempt in progress.
#[derive(Clone, Debug)]
struct Task {
    id: TaskId,
    job: usize,
    attempt: usize,
    /// The process: 0, or a copy of it on another machine.
    host: usize,
    script: Script,
    phase: Phase,
    stalled_until: Option<u64>,
}

enum Poll {
    Ended(bool),
    Died,
    /// The task waits. If `woken`, it can continue at once.
    Rests {
        woken: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Task(TaskId),
    Begin(usize),
}

/// A run.
#[derive(Clone, Debug)]
pub struct Machine<'p> {
    program: &'p Program,
    pub chooser: Chooser,
    now: u64,
    events: u64,
    jobs: Vec<Job>,
    /// Ready jobs, the next one first.
    ready: Vec<usize>,
    /// Jobs by the time at which they become ready, and by the order in which they came.
    timed: BTreeMap<(u64, u64), usize>,
    timers: BTreeMap<(u64, u64), TaskId>,
    set: u64,
    /// Attempts, by their slots.
    tasks: Vec<Option<Task>>,
    tasks_begun: TaskId,
    /// The number of copies of the process.
    copies: usize,
    /// Tasks that can run, the next one first.
    woken: Vec<TaskId>,
    /// Tasks that wait for a row, with the row, in the order in which they began to wait.
    waiting: Vec<(TaskId, crate::program::Row)>,
    chosen: Option<Turn>,
    /// When the process restarts. `None` while it runs.
    restart_at: Option<u64>,
    last_call: Option<(Actor, &'static str)>,
    store: Store,
    drawn: u32,
    effects: Vec<Effect>,
    /// The request and the returned id for each key.
    keys: BTreeMap<KeyText, ((u64, Value), Value)>,
    /// A key with which a different request was answered.
    pub reused: Option<KeyText>,
}

impl<'p> Machine<'p> {
    pub fn new(program: &'p Program, chooser: Chooser) -> Self {
        let mut machine = Self {
            program,
            chooser,
            now: 0,
            events: 0,
            jobs: Vec::new(),
            ready: Vec::new(),
            timed: BTreeMap::new(),
            timers: BTreeMap::new(),
            set: 0,
            tasks: Vec::new(),
            tasks_begun: 0,
            copies: 0,
            woken: Vec::new(),
            waiting: Vec::new(),
            chosen: None,
            restart_at: None,
            last_call: None,
            store: Store::default(),
            drawn: 0,
            effects: Vec::new(),
            keys: BTreeMap::new(),
            reused: None,
        };
        for (spec, job) in program.jobs.iter().enumerate() {
            match job.arrival {
                Arrival::Now => machine.take_in(spec, vec![spec], None, 0),
                Arrival::InAnHour => machine.take_in(spec, vec![spec], None, 3_600),
                Arrival::Child => {}
            }
        }
        machine
    }

    // The queue.

    fn take_in(&mut self, spec: usize, identity: Identity, payload: Option<Value>, delay: u64) {
        let (state, begun, ended) = (State::Ready, None, None);
        let job = Job { spec, identity, payload, state, attempts: 0, failures: 0, copies: 1, begun, ended };
        self.jobs.push(job);
        let job = self.jobs.len() - 1;
        match delay {
            0 => self.make_ready(job),
            delay => self.wait(job, delay),
        }
    }

    fn make_ready(&mut self, job: usize) {
        self.jobs[job].state = State::Ready;
        self.ready.push(job);
    }

    fn wait(&mut self, job: usize, seconds: u64) {
        self.jobs[job].state = State::Timed;
        self.set += 1;
        self.timed.insert((self.now + seconds, self.set), job);
    }

    fn event(&mut self) -> u64 {
        self.events += 1;
        self.events
    }

    fn over(&mut self, job: usize, end: End) {
        let event = self.event();
        let job = &mut self.jobs[job];
        (job.state, job.ended) = (State::Over(end), Some(event));
    }

    fn holds(&self, job: usize, attempt: usize) -> bool {
        self.jobs[job].state == State::Running(attempt)
    }

    // Choices.

    fn choose(
        &mut self,
        kind: Kind,
        actor: Actor,
        site: &'static str,
        point: &'static str,
        options: Options,
    ) -> usize {
        self.chooser.choose(kind, Label { actor, site, point }, options)
    }

    fn crashes(&mut self, actor: Actor, site: &'static str, point: &'static str) -> bool {
        self.choose(Kind::Crash, actor, site, point, LIVE_OR_CRASH) != 0
    }

    /// Returns the site of `actor`'s last call, unless another actor made the last call.
    fn last_site(&self, actor: Actor) -> &'static str {
        self.last_call.filter(|(by, _)| *by == actor).map_or("", |(_, site)| site)
    }

    // Attempts.

    fn busy(&self) -> usize {
        self.tasks.iter().flatten().count()
    }

    fn task(&self, id: TaskId) -> Option<&Task> {
        self.tasks.iter().flatten().find(|task| task.id == id)
    }

    fn begin(&mut self, job: usize) {
        self.ready.retain(|ready| *ready != job);
        let event = self.event();
        let begun = &mut self.jobs[job];
        begun.attempts += 1;
        begun.state = State::Running(begun.attempts);
        begun.begun.get_or_insert(event);
        let attempt = begun.attempts;
        let script = Script::new(begun.payload);
        let actor = (job + 1, attempt);
        self.last_call = Some((actor, ""));
        let host = self.host_for(job, actor);
        let dies = self.crashes(actor, "", "start");
        self.tasks_begun += 1;
        let id = self.tasks_begun;
        let task = Task { id, job, attempt, host, script, phase: Phase::Code(None), stalled_until: None };
        match self.tasks.iter().position(Option::is_none) {
            Some(place) => self.tasks[place] = Some(task),
            None => self.tasks.push(Some(task)),
        }
        match dies {
            true => self.crash(None, host),
            false => self.run(id),
        }
    }

    /// Returns the process for an attempt. A job whose earlier attempt still runs goes to a fresh copy, or to the process
    /// itself, which is a deviation.
    fn host_for(&mut self, job: usize, actor: Actor) -> usize {
        let is_overtaken = self.tasks.iter().flatten().any(|task| task.job == job);
        if !is_overtaken || self.choose(Kind::Schedule, actor, "", "take", Options::Others(1)) != 0 {
            return 0;
        }
        self.copies += 1;
        self.copies
    }

    /// A process crashes: its attempts are dropped, their transactions rolled back, and their jobs leased.
    fn crash(&mut self, running: Option<Task>, host: usize) {
        let its = |slot: &mut Option<Task>| slot.take_if(|task| task.host == host);
        let others: Vec<_> = self.tasks.iter_mut().filter_map(its).collect();
        for task in running.into_iter().chain(others) {
            self.waiting.retain(|(waiter, _)| *waiter != task.id);
            if self.holds(task.job, task.attempt) {
                self.wait(task.job, LEASE);
            }
            if let Some(tx) = task.script.tx {
                self.store.roll_back(tx);
            }
        }
        self.wake_released();
        if host == 0 {
            self.restart_at = Some(self.now + RESTART);
        }
    }

    /// Runs an attempt until it waits, or until another task is chosen.
    fn run(&mut self, id: TaskId) {
        let place = self.tasks.iter().position(|task| task.as_ref().is_some_and(|task| task.id == id));
        let Some(place) = place else { return };
        let may_be_overtaken = self.busy() < SLOTS;
        let Some(mut task) = self.tasks[place].take() else { return };
        task.stalled_until = None;
        let actor = (task.job + 1, task.attempt);
        loop {
            match self.poll(&mut task) {
                Poll::Ended(well) => {
                    if let Some(tx) = task.script.tx {
                        self.roll_back(tx);
                    }
                    return self.ended(&task, well);
                }
                Poll::Died => {
                    let host = task.host;
                    return self.crash(Some(task), host);
                }
                Poll::Rests { woken: false } => break,
                Poll::Rests { woken: true } => {}
            }
            if may_be_overtaken && self.holds(task.job, task.attempt) {
                let pause = Options::Named(&["none", "past-lease"]);
                if self.choose(Kind::Delivery, actor, self.last_site(actor), "pause", pause) != 0 {
                    self.wait(task.job, LEASE);
                    task.stalled_until = Some(self.now + LEASE);
                    self.set_timer(LEASE, id);
                    break;
                }
            }
            match self.whose_turn(Some((id, actor))) {
                Some(Turn::Task(next)) if next == id => {}
                other => {
                    self.chosen = other;
                    self.woken.push(id);
                    break;
                }
            }
        }
        self.tasks[place] = Some(task);
    }

    fn set_timer(&mut self, seconds: u64, task: TaskId) {
        self.set += 1;
        self.timers.insert((self.now + seconds, self.set), task);
    }

    /// Runs an attempt until its next wait.
    fn poll(&mut self, task: &mut Task) -> Poll {
        let actor = (task.job + 1, task.attempt);
        loop {
            match task.phase {
                Phase::Code(reply) => {
                    let mut desk = Desk { store: &mut self.store, drawn: &mut self.drawn };
                    let spec = &self.program.jobs[self.jobs[task.job].spec];
                    match task.script.resume(spec, reply, &mut desk) {
                        Next::End(well) => return Poll::Ended(well),
                        Next::Call(call) => task.phase = Phase::Asking(call, false),
                    }
                }
                Phase::Asking(call, waits) => {
                    if let Call::Store { ask, tx } = call {
                        if let Some(row) = self.store.blocks(ask, tx) {
                            if tx.is_some_and(|tx| !self.store.may_wait(tx, row)) {
                                // The victim of a deadlock.
                                self.wake_released();
                                self.waiting.retain(|(waiter, _)| *waiter != task.id);
                                task.phase = Phase::Code(Some(Reply::Error));
                                continue;
                            }
                            if !waits {
                                self.last_call = Some((actor, "lock-wait"));
                                if self.crashes(actor, "lock-wait", "before") {
                                    return Poll::Died;
                                }
                                self.waiting.push((task.id, row));
                            }
                            task.phase = Phase::Asking(call, true);
                            return Poll::Rests { woken: false };
                        }
                        if waits {
                            self.waiting.retain(|(waiter, _)| *waiter != task.id);
                            tx.into_iter().for_each(|tx| self.store.waits_no_more(tx));
                        }
                    }
                    return self.make(call, task, actor);
                }
                Phase::Answering(call, reply) => {
                    if writes(call) && self.crashes(actor, call.site(), "happened")
                        || self.crashes(actor, call.site(), "replied")
                    {
                        return Poll::Died;
                    }
                    if let (Call::Store { tx: Some(tx), .. }, Reply::Error) = (call, reply) {
                        self.roll_back(tx);
                    }
                    task.phase = Phase::Code(Some(reply));
                }
            }
        }
    }

    fn roll_back(&mut self, tx: usize) {
        self.store.roll_back(tx);
        self.wake_released();
    }

    fn wake_released(&mut self) {
        let released = self.store.take_released();
        for (task, row) in &self.waiting {
            if released.contains(row) && !self.woken.contains(task) {
                self.woken.push(*task);
            }
        }
    }

    /// Makes a call, which happens or fails.
    fn make(&mut self, call: Call, task: &mut Task, actor: Actor) -> Poll {
        let site = call.site();
        self.last_call = Some((actor, site));
        if self.crashes(actor, site, "before") {
            return Poll::Died;
        }
        let (kind, options) = faults(call);
        let taken = self.choose(kind, actor, site, "call", Options::Named(options));
        let fault = options[taken];
        let happens = matches!(fault, "ok" | "reply-lost" | "timed-out-but-done");
        let reply = match happens {
            true => self.happen(call, task),
            false => Reply::Error,
        };
        if let Call::Store { tx: Some(_), .. } = call {
            self.wake_released();
        }
        task.phase = Phase::Answering(call, if fault == "ok" { reply } else { Reply::Error });
        let times_out = matches!(fault, "timed-out" | "timed-out-but-done");
        if times_out {
            self.set_timer(TIMEOUT, task.id);
        }
        Poll::Rests { woken: !times_out }
    }

    fn happen(&mut self, call: Call, task: &Task) -> Reply {
        match call {
            Call::Service { name, key, order, body } => {
                if let Some((key, (known, id))) = key.and_then(|key| Some((key, *self.keys.get(&key)?))) {
                    if known != (order, body) {
                        self.reused = Some(key);
                    }
                    return Reply::Service(id);
                }
                self.drawn += 1;
                let id = Value::Generated(self.drawn);
                key.into_iter().for_each(|key| _ = self.keys.insert(key, ((order, body), id)));
                self.effects.push(Effect { service: name, key, order, body });
                Reply::Service(id)
            }
            Call::Store { ask, tx } => Reply::Store(self.store.ask(ask, tx)),
            Call::Enqueue { child, step, payload } => {
                let identity = [self.jobs[task.job].identity.clone(), vec![step]].concat();
                self.take_in(child, identity, Some(payload), 0);
                Reply::Enqueued
            }
        }
    }

    fn ended(&mut self, task: &Task, well: bool) {
        let (job, attempt) = (task.job, task.attempt);
        let actor = (job + 1, attempt);
        let holds = self.holds(job, attempt);
        if self.crashes(actor, "", "end") {
            if holds {
                self.wait(job, LEASE);
            }
            return self.crash(None, task.host);
        }
        if !holds {
            // It has lost its lease, so the queue ignores it.
            return;
        }
        let policy = self.program.jobs[self.jobs[job].spec].policy;
        if well {
            if self.choose(Kind::Delivery, actor, "", "ack", Options::Named(&["heard", "again"])) != 0 {
                self.jobs[job].copies += 1;
            }
            self.jobs[job].copies -= 1;
            match self.jobs[job].copies {
                0 => self.over(job, End::Done),
                _ => self.make_ready(job),
            }
            return;
        }
        self.jobs[job].failures += 1;
        match policy {
            Policy::Discard => self.over(job, End::Discarded),
            Policy::Die => self.over(job, End::Dead),
            Policy::Retry if self.jobs[job].failures > RETRIES => self.over(job, End::Dead),
            Policy::Retry => self.wait(job, BACKOFF),
        }
    }

    // Turns.

    /// Runs until nothing is left to do.
    pub fn settle(&mut self) {
        loop {
            let is_due = self.restart_at.is_some_and(|at| at <= self.now);
            if let Some(turn) = self.chosen.take() {
                self.give(turn);
            } else if let Some(turn) = self.whose_turn(None) {
                self.give(turn);
            } else if is_due {
                self.restart_at = None;
            } else if !self.pass_time() {
                assert!(self.busy() == 0, "an attempt waits forever");
                return;
            }
        }
    }

    fn give(&mut self, turn: Turn) {
        match turn {
            Turn::Task(id) => {
                self.woken.retain(|woken| *woken != id);
                self.run(id);
            }
            Turn::Begin(job) => self.begin(job),
        }
    }

    /// Returns the next task: the running one, then woken tasks, then ready jobs if there are free slots, then jobs
    /// whose lease has ended. Any task but the first is a deviation.
    fn whose_turn(&mut self, running: Option<(TaskId, Actor)>) -> Option<Turn> {
        let now = self.now;
        let woken = std::mem::take(&mut self.woken);
        let can_go_on = |id: &TaskId| {
            self.task(*id).is_some_and(|task| task.stalled_until.is_none_or(|until| until <= now))
        };
        let woken: Vec<_> = woken.into_iter().filter(can_go_on).collect();
        let stalled: BTreeSet<TaskId> = woken
            .iter()
            .copied()
            .filter(|id| self.task(*id).is_some_and(|task| task.stalled_until.is_some()))
            .collect();
        let free = match self.restart_at {
            None => SLOTS - self.busy() - usize::from(running.is_some()),
            Some(_) => 0,
        };
        let mut turns: Vec<_> = running.map(|(id, _)| Turn::Task(id)).into_iter().collect();
        turns.extend(woken.iter().filter(|id| !stalled.contains(id)).map(|id| Turn::Task(*id)));
        turns.extend(self.ready.iter().take(free).map(|job| Turn::Begin(*job)));
        turns.extend(woken.iter().filter(|id| stalled.contains(id)).map(|id| Turn::Task(*id)));
        self.woken = woken;
        if turns.len() < 2 {
            return turns.first().copied();
        }
        let actor = match (running, turns[0]) {
            (Some((_, actor)), _) => actor,
            (None, Turn::Task(id)) => {
                let task = self.task(id).expect("only those that are there can go on");
                (task.job + 1, task.attempt)
            }
            (None, Turn::Begin(job)) => (job + 1, self.jobs[job].attempts + 1),
        };
        let others = Options::Others(turns.len() - 1);
        let taken = self.choose(Kind::Schedule, actor, self.last_site(actor), "next", others);
        Some(turns[taken])
    }

    /// Advances to the next event. Returns false if there is no event.
    fn pass_time(&mut self) -> bool {
        let next = |moments: Option<(&(u64, u64), &u64)>| moments.map(|((at, _), _)| *at);
        let timed = self.timed.first_key_value().map(|((at, _), _)| *at);
        let moments = [next(self.timers.first_key_value()), timed, self.restart_at];
        let Some(at) = moments.into_iter().flatten().min() else { return false };
        self.now = self.now.max(at);
        while let Some(due) = self.timed.first_entry().filter(|due| due.key().0 <= self.now) {
            let job = due.remove();
            self.make_ready(job);
        }
        while let Some(due) = self.timers.first_entry().filter(|due| due.key().0 <= self.now) {
            self.woken.push(due.remove());
        }
        true
    }

    // One at a time.

    /// Returns the jobs that have not ended, by number.
    pub fn unfinished(&self) -> Vec<usize> {
        let unfinished = |(_, job): &(usize, &Job)| !matches!(job.state, State::Over(_));
        self.jobs.iter().enumerate().filter(unfinished).map(|(number, _)| number).collect()
    }

    pub fn identity(&self, job: usize) -> &Identity {
        &self.jobs[job].identity
    }

    /// Runs one attempt of a job while nothing else runs.
    pub fn attempt_alone(&mut self, job: usize) {
        assert!(self.chooser.calm, "one at a time nothing goes wrong");
        let key = self.timed.iter().find(|(_, timed)| **timed == job).map(|(key, _)| *key);
        key.into_iter().for_each(|key| _ = self.timed.remove(&key));
        // There is no other task to run first.
        let ready = std::mem::take(&mut self.ready);
        self.begin(job);
        let own = std::mem::replace(&mut self.ready, ready);
        self.ready.retain(|ready| *ready != job);
        self.ready.extend(own);
    }

    /// Returns everything on which the result of further attempts depends, if they run one at a time.
    pub fn state(&self) -> String {
        let job = |job: &Job| (job.identity.clone(), job.payload, job.failures, job.ended.is_some());
        let jobs: Vec<_> = self.jobs.iter().map(job).collect();
        format!("{jobs:?} {:?} {}", self.reused, self.outcome())
    }

    // What came of it.

    pub fn outcome(&self) -> Outcome {
        let mut effects = self.effects.clone();
        effects.sort();
        let (mut ends, mut came) = (BTreeMap::new(), BTreeSet::new());
        for job in &self.jobs {
            if let State::Over(end) = job.state {
                // For a job that came twice, the worse end.
                let known = ends.entry(job.identity.clone()).or_insert(end);
                *known = end.max(*known);
                came.insert((job.spec, job.payload));
            }
        }
        Outcome { effects, rows: self.store.rows.clone(), ends, came }
    }

    /// Returns the pairs of jobs of which the first had ended before the second one's first attempt began. A job that
    /// came twice ended when it ended for the last time.
    pub fn precedence(&self) -> BTreeSet<(Identity, Identity)> {
        let mut spans: BTreeMap<&Identity, (u64, u64)> = BTreeMap::new();
        for job in &self.jobs {
            let (begun, ended) = (job.begun.unwrap_or(u64::MAX), job.ended.unwrap_or(u64::MAX));
            let span = spans.entry(&job.identity).or_insert((begun, ended));
            *span = (span.0.min(begun), span.1.max(ended));
        }
        let mut pairs = BTreeSet::new();
        for (first, (_, ended)) in &spans {
            for (second, (begun, _)) in &spans {
                if ended < begun {
                    pairs.insert(((*first).clone(), (*second).clone()));
                }
            }
        }
        pairs
    }
}

/// Whether a call may change something by itself.
fn writes(call: Call) -> bool {
    match call {
        Call::Service { .. } | Call::Enqueue { .. } => true,
        Call::Store { ask: Ask::Commit, .. } => true,
        Call::Store { ask, tx } => tx.is_none() && !matches!(ask, Ask::Get(_)),
    }
}

/// Returns how a call may fail.
fn faults(call: Call) -> (Kind, &'static [&'static str]) {
    match call {
        Call::Service { .. } => (
            Kind::Fault,
            &["ok", "unavailable", "reply-lost", "throttled", "timed-out", "timed-out-but-done"],
        ),
        Call::Enqueue { .. } => {
            (Kind::Delivery, &["ok", "refused", "reply-lost", "timed-out", "timed-out-but-done"])
        }
        call if writes(call) => {
            (Kind::Fault, &["ok", "unavailable", "reply-lost", "timed-out", "timed-out-but-done"])
        }
        Call::Store { tx: Some(_), .. } => (Kind::Fault, &["ok", "unavailable"]),
        Call::Store { tx: None, .. } => (Kind::Fault, &["ok", "unavailable", "timed-out"]),
    }
}
