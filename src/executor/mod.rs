//! Polls attempts and picks the next task. Does not judge the outcome.
//!
//! Option 0 of every choice lets the current task continue: a task is polled again as long as it has woken itself.
//! Time advances only when no task can run.

mod boot;
mod drain;
mod end;
mod inline;
mod rejected;
mod pick;
mod shutdown;
mod task;
mod externals;
mod replicas;
mod spawned;
mod turns;
pub(crate) mod watch;

pub use drain::{DrainError, Drained};

pub(crate) use drain::Plan;

use shutdown::Shutdown;
use task::{Task, Work};
use turns::NextTurn;

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::engine::life::{self, Life};
use crate::engine::panics;
use crate::engine::runtime::{Context, Pool};
use crate::engine::state::{Culprit, Mode, Shared, Stuck};
use crate::engine::steps::Resource;
use crate::executor::watch::CrashWatch;
use crate::process::{Observation, Process, hang_up};
use crate::search::choice::{Actor, Name, Site};
use crate::system::clock::TaskId;
use crate::system::job::{JobError, JobFailure, JobState};
use crate::system::timeline::EventKind;

/// The time between the death of a process and its restart.
const RESTART: Duration = Duration::from_secs(1);
/// A timer of tokio that is further away than this never comes.
const FAR: Duration = Duration::from_secs(100 * 86_400);

type Boot = Rc<dyn Fn(&Process)>;

/// A process and its living incarnation, if there is one.
struct ProcessSlot {
    name: Name,
    boot: Boot,
    incarnations: u32,
    /// The last job that this incarnation began.
    last_begun: Option<u32>,
    living: Option<(Arc<Life>, Process)>,
    context: Context,
    busy: usize,
    restart_at: Duration,
    /// The attempt that was polled last, if calls come over sockets.
    last: Option<Actor>,
    shutdown: Shutdown,
    /// The index of the process of which this is a fresh copy. A copy takes only jobs that are redelivered while one of
    /// their attempts still runs in the original.
    copy_of: Option<usize>,
    /// Whether it is one of two versions of a program.
    is_version: bool,
}

impl ProcessSlot {
    fn new(name: Name, boot: Boot, context: Context, copy_of: Option<usize>) -> Self {
        Self {
            name,
            boot,
            incarnations: 0,
            last_begun: None,
            living: None,
            context,
            busy: 0,
            restart_at: Duration::ZERO,
            last: None,
            shutdown: Shutdown::No,
            copy_of,
            is_version: false,
        }
    }
}

/// Runs the tasks of a world.
pub(crate) struct Executor {
    shared: Arc<Shared>,
    pool: Pool,
    hosts: Vec<ProcessSlot>,
    tasks: Vec<Option<Task>>,
    turns: u32,
    /// Whether external calls are being resumed. Tasks run no further than that, and this is not a step of any task.
    resuming: bool,
    /// The task that was chosen to run next.
    chosen: Option<NextTurn>,
    /// A buffer for the candidates of a choice.
    candidates: Vec<NextTurn>,
    actors: Vec<Actor>,
    /// Called after every step, with their names.
    pub(crate) invariants: Vec<(Name, Box<dyn Fn()>)>,
    /// The panic of a boot closure.
    pub(crate) broken_boot: Option<Box<dyn Any + Send>>,
    /// The values to observe when a run ends. Shared with the world.
    pub(crate) observed: Rc<RefCell<Vec<Observation>>>,
    watch: CrashWatch,
    /// The results of attempts since the last reset.
    tally: Drained,
    /// The process that took each job last. Empty if there is only one process.
    takers: BTreeMap<u32, usize>,
    /// Whether an attempt has lost its lease in this run.
    overtaken: bool,
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("processes", &self.hosts.len()).finish_non_exhaustive()
    }
}

impl Executor {
    pub(crate) fn new(shared: Arc<Shared>, pool: Pool, watch: CrashWatch) -> Self {
        let (hosts, tasks, invariants, observed) = (Vec::new(), Vec::new(), Vec::new(), Rc::default());
        let (turns, chosen, candidates, actors) = (0, None, Vec::new(), Vec::new());
        let (broken_boot, tally, resuming) = (None, Drained::default(), false);
        Self {
            shared,
            pool,
            hosts,
            tasks,
            turns,
            resuming,
            chosen,
            candidates,
            actors,
            invariants,
            broken_boot,
            observed,
            watch,
            tally,
            takers: BTreeMap::new(),
            overtaken: false,
        }
    }

    /// Called before a task is polled. Its replies reach it first, and the step is counted. Returns the time, or
    /// `None` if the task does not continue because its process has died or the run is stuck.
    fn before_poll(&mut self, task: &Task, life: &Arc<Life>) -> Option<Duration> {
        if !self.send_replies(task, life) {
            return None;
        }
        let mut state = self.shared.state();
        if !self.resuming && !state.step() {
            return None;
        }
        state.begin_poll(task.actor(), task.id, task.waker.data().addr());
        Some(state.clock.now())
    }

    /// Reports whether the run continues like an earlier one.
    pub(crate) fn is_merged(&self) -> bool {
        self.watch.is_over()
    }

    /// Runs until nothing is left to do (false) or `enough` is true (true). `None` if the run is stuck or over.
    pub(crate) fn go_on_until(&mut self, enough: &dyn Fn() -> bool) -> Option<bool> {
        let _work = self.shared.work();
        self.watch.next_phase();
        let (keyed, deploys) = (self.shared.are_keyed(), self.shared.state().world.deploys);
        if !self.invariants.is_empty() || self.shared.externals.have_wires() || keyed || deploys {
            self.shared.reduce_no_more();
        }
        let mut reached = false;
        loop {
            reached = reached || enough();
            if reached && !self.is_anybody_held_up() {
                self.shared.state().record.note_settled(true);
                return Some(true);
            }
            // Each round counts as a step, so every endless loop is found.
            if self.watch.is_over() || !self.shared.state().step() || self.broken_boot.is_some() {
                return None;
            }
            if self.go_on() {
                continue;
            }
            if !self.pass_time() && !self.attend_outside(true) {
                self.shared.state().record.note_settled(false);
                return self.is_quiescent().then_some(false);
            }
        }
    }

    /// Makes one step that takes no time, if there is one.
    fn go_on(&mut self) -> bool {
        if self.begin_inline() || self.shared.sleepers.have_woken() || self.look_outside() {
            return true;
        }
        if let Some(turn) = self.chosen.take() {
            self.give(turn);
            return true;
        }
        if self.stop_when_due() {
            return true;
        }
        if self.may_switch() {
            return self.go_on_in_turn();
        }
        if let Some(id) = self.shared.woken.pop() {
            self.run(id);
            return true;
        }
        self.restart() || self.reap_dead_tasks() || self.take_job() || self.turn_spawned()
    }

    /// The same if the next task is a choice.
    fn go_on_in_turn(&mut self) -> bool {
        if !self.shared.woken.any() && (self.restart() || self.reap_dead_tasks()) {
            return true;
        }
        match self.whose_turn(None) {
            Some(turn) => {
                self.give(turn);
                true
            }
            None => self.restart() || self.reap_dead_tasks() || self.fail_unhandled() || self.turn_spawned(),
        }
    }

    /// Tears down processes that died outside of an attempt.
    fn reap_dead_tasks(&mut self) -> bool {
        if !self.shared.woken.take_died() {
            return false;
        }
        for index in 0..self.hosts.len() {
            if self.hosts[index].living.as_ref().is_some_and(|(life, _)| life.is_dead()) {
                self.tear_down(index, None);
            }
        }
        true
    }

    /// Runs the tokio context of a process in that process's name.
    fn with_spawned<R>(
        &mut self,
        index: usize,
        code: impl FnOnce(&mut Context, Duration, &Shared) -> R,
    ) -> Option<R> {
        let host = &mut self.hosts[index];
        let life = host.living.as_ref().map(|(life, _)| life.clone())?;
        let _acting = self.shared.acting(Actor::Process(host.name));
        let now = self.shared.state().clock.now();
        let result = life::run_as_crashable(&life, || code(&mut host.context, now, &self.shared));
        Some(result)
    }

    fn begin(&mut self, job: u32, host: usize) {
        let (life, process) = self.hosts[host].living.as_ref().expect("a job is given to a living process");
        let life = life.clone();
        let (kind, payload, attempt) = {
            let mut state = self.shared.state();
            state.begin_step(None, &self.shared.woken);
            state.touch(Resource::Queue, true);
            // Lent to the handler for decoding.
            let taken = state.queue.job_mut(job);
            let (kind, payload, attempt) = (taken.kind, taken.lend_body(), taken.attempts);
            let now = state.clock.now();
            state.queue.begins(job, now);
            if self.attempts().next().is_some() {
                state.record.note_overlap();
            }
            let process = self.hosts[host].name;
            state.world.reliable.begins(job, process);
            self.overtaken |= state.begin_lease(job);
            let started = || EventKind::Started { kind, payload: payload.to_string(), process };
            state.as_actor(Actor::Attempt { job, attempt }, |state| state.note(started));
            (kind, payload, attempt)
        };
        if self.is_received_too_often(job, attempt) {
            return self.received_too_often(job, attempt, host, payload);
        }
        let acting = self.shared.acting(Actor::Attempt { job, attempt });
        self.watch.begins(&self.shared, &self.observed.borrow());
        let begun =
            life::run_as(&life, || catch_unwind(AssertUnwindSafe(|| process.start(job, kind, &payload))));
        let mut state = self.shared.state();
        state.queue.job_mut(job).give_back_body(payload);
        let future = match begun {
            Ok(Some((Ok(future), place))) => {
                let actor = state.actor();
                state.timeline.called_from(actor, place, Site::Attempt);
                future
            }
            Ok(Some((Err(error), _))) => {
                let payload = state.queue.job(job).payload.to_string();
                let (kind, reason) = (kind.to_owned(), error.to_string());
                let error = JobError::Undecodable { job, kind, reason, payload }.to_string();
                state.note(|| EventKind::Failed { error: error.clone(), retry_at: None });
                drop(state);
                drop(acting);
                self.cannot_run(job, Some(host), error);
                return;
            }
            Ok(None) => unreachable!("a job is given to a process that handles it"),
            Err(panic) => {
                drop(state);
                drop(acting);
                let failure = JobFailure::of_panic(panics::text(&*panic));
                self.ended(job, attempt, &life, Err(failure));
                return;
            }
        };
        let dies = life.dies_at_start(&mut state, job);
        drop(state);
        self.occupy(host, true);
        self.hosts[host].last_begun = Some(job);
        let id = self.add_task(host, Work::Attempt { job, attempt }, future);
        if dies {
            self.tear_down(host, None);
        } else {
            self.run(id);
        }
        drop(acting);
    }

    /// Polls a task as long as it continues on its own.
    fn run(&mut self, id: TaskId) {
        let slot = id.slot as usize;
        let Some(mut task) = self.tasks.get_mut(slot).and_then(|task| task.take_if(|task| task.id == id))
        else {
            return;
        };
        self.turn_to(task.host, task.actor());
        let life =
            self.hosts[task.host].living.as_ref().expect("the tasks of a dead process are gone").0.clone();
        task.stalled_until = None;
        let look = self.look_at(&task);
        let ended = loop {
            let Some(now) = self.before_poll(&task, &life) else { break None };
            // Caught as far inside as possible, because everything that the unwind restores makes a crash slower.
            let context = &mut self.hosts[task.host].context;
            let go_on = || catch_unwind(AssertUnwindSafe(|| task.poll(&self.shared, &life, now, look)));
            let polled = context.within(now, &life, || life::run_as_crashable(&life, go_on));
            // Invariants belong to the test.
            task.rest(&mut self.shared.state());
            for (name, check) in &self.invariants {
                if let Err(panic) = catch_unwind(AssertUnwindSafe(check)) {
                    self.shared.state().culprit = Some(Culprit::Invariant(*name));
                    std::panic::resume_unwind(panic);
                }
            }
            if life.is_ending() {
                break None;
            }
            match polled {
                Ok((Poll::Ready(result), _)) => break Some(result),
                Ok((Poll::Pending, true)) if self.goes_on(&task, look) => {}
                Ok((Poll::Pending, false)) if self.follows_up(&mut task, &life, look) => {}
                Ok((Poll::Pending, _)) => break None,
                Err(panic) => {
                    break Some(Err(JobFailure::of_panic(panics::text(&*panic))));
                }
            }
        };
        let host = task.host;
        if life.is_dead() {
            self.tear_down(host, Some(task));
            return;
        }
        if life.has_overrun() {
            self.tasks[slot] = Some(task);
            self.interrupt(host);
            return;
        }
        match (ended, task.work) {
            (None, _) => {
                self.overtaken |= task.stalled_until.is_some();
                self.tasks[slot] = Some(task);
            }
            (Some(result), Work::Attempt { job, attempt }) => {
                life::run_as(&life, || drop_quietly(task.future));
                self.occupy(host, false);
                self.ended(job, attempt, &life, result);
            }
            (Some(result), Work::Spawned(_)) => {
                life::run_as(&life, || drop_quietly(task.future));
                self.spawned_ended(&life, result);
            }
        }
    }

    /// Takes or releases a slot of a process.
    fn occupy(&mut self, host: usize, more: bool) {
        let busy = &mut self.hosts[host].busy;
        let usage = &mut self.shared.state().usage;
        if more {
            (*busy, usage.busy) = (*busy + 1, usage.busy + 1);
        } else {
            (*busy, usage.busy) = (*busy - 1, usage.busy - 1);
        }
    }

    /// Drops the attempts, handlers and tasks of a dead incarnation. Calls of its destructors have no effect.
    fn tear_down(&mut self, index: usize, running: Option<Task>) {
        let Some((life, process)) = self.hosts[index].living.take() else { return };
        self.shared.barrier();
        let mut tasks: Vec<_> = running.into_iter().collect();
        for task in &mut self.tasks {
            tasks.extend(task.take_if(|task| task.host == index));
        }
        let now = {
            let mut state = self.shared.state();
            let now = state.clock.now();
            for task in &tasks {
                if let Some((job, _)) = task.job().filter(|(job, by)| state.queue.is_held_by(*job, *by)) {
                    let delivery = state.delivery(job);
                    state.worker_died(task.actor(), delivery);
                }
            }
            state.usage.busy -= self.hosts[index].busy;
            state.usage.slots -= process.slot_count();
            state.ending = Some((self.hosts[index].name, tasks.first().map_or(Actor::Test, Task::actor)));
            now
        };
        self.shared.externals.process_died(index);
        life.set_tearing_down(true);
        let host = &mut self.hosts[index];
        life::run_as(&life, || {
            host.context.within(now, &life, || {
                tasks.into_iter().for_each(drop_quietly);
                drop_quietly(process);
            });
            let context = &mut host.context;
            let _ = catch_unwind(AssertUnwindSafe(|| context.end()));
        });
        life.set_tearing_down(false);
        self.shared.state().ending = None;
        hang_up(&self.shared, &life);
        self.close_outside(&life);
        let host = &mut self.hosts[index];
        host.context = Context::new(self.pool.clone());
        host.busy = 0;
        host.last = None;
        host.restart_at = now + RESTART;
        let nobody_lives = self.hosts.iter().all(|host| host.living.is_none());
        // A copy is made anew when it is wanted.
        let own = self.hosts.iter().filter(|host| host.copy_of.is_none());
        let down = nobody_lives.then(|| own.map(|h| (h.incarnations, h.restart_at, h.stays_down())));
        self.watch.crashed(&self.shared, &self.observed.borrow(), down);
    }

    /// Advances time to the next event. Returns false if nothing is due.
    fn pass_time(&mut self) -> bool {
        self.shared.woken.clear_progress();
        if self.attend() || self.wake_for_locks() || self.attend_outside(false) {
            return true;
        }
        let (now, limit) = {
            let state = self.shared.state();
            let restart = self.hosts.iter().filter_map(ProcessSlot::restarts).min();
            let moments = [state.clock.next(), state.queue.next_due(), restart, self.next_stop()];
            (state.clock.now(), moments.into_iter().flatten().min())
        };
        let outside: Vec<_> = (0..self.hosts.len())
            .filter(|&index| {
                let sleepers = &self.shared.sleepers;
                let waits = |task: &Task| {
                    task.waits_outside() && !sleepers.has(&task.waker) && !sleepers.are_called_by(&task.waker)
                };
                self.tasks.iter().flatten().any(|task| task.host == index && waits(task))
            })
            .collect();
        if outside.is_empty() {
            // A caller that blocks its thread may wait in an external system, for as long as it allows.
            let until = [limit, self.shared.externals.deadline()].into_iter().flatten().min();
            let Some(until) = until else { return self.shared.sleepers.wake_at_last() };
            self.shared.advance(until.max(now));
            self.shared.externals.hang_up(until.max(now));
            return true;
        }
        let has_come = self.awaits_arrivals() && self.shared.externals.linger(None);
        if has_come || self.cut_off(&outside, now, limit) {
            return true;
        }
        // Each is driven until an earlier one has called the executor. A task that is woken later waits until then.
        let limit = [limit, self.shared.externals.deadline()].into_iter().flatten().min();
        let in_steps = self.shared.externals.have_wires();
        let (mut until, mut latest, mut called, mut woken) = (limit, now, false, Vec::new());
        for index in outside {
            if until.is_some_and(|until| self.hosts[index].context.is_past(until)) {
                continue;
            }
            let driven = self.with_spawned(index, |context, now, shared| {
                context.drive(now, until, &shared.woken, in_steps)
            });
            match driven {
                Some((reached, true)) => {
                    called = true;
                    until = Some(until.map_or(reached, |until| until.min(reached)));
                    woken.extend(std::iter::from_fn(|| self.shared.woken.pop()).map(|id| (reached, id)));
                }
                // Tokio's timers tick in milliseconds, so the time may be a little later than requested.
                Some((reached, false)) => latest = latest.max(reached),
                None => {}
            }
        }
        self.wake_in_time(&woken, until.unwrap_or(now));
        // Tokio stops at moments of its own on the way to a timer. Without one, that would go on without end.
        if limit.is_none() && woken.is_empty() && until.is_some_and(|until| until.saturating_sub(now) > FAR) {
            return self.shared.sleepers.wake_at_last();
        }
        match until {
            Some(until) if called => self.shared.advance(until.max(now)),
            Some(until) => self.shared.advance(until.max(latest)),
            None => return self.shared.sleepers.wake_at_last(),
        }
        self.shared.externals.hang_up(self.shared.state().clock.now());
        true
    }

    /// Nothing can run any more, either because all is done or because every task waits forever.
    fn is_quiescent(&mut self) -> bool {
        let mut state = self.shared.state();
        let waiting: Vec<_> = self
            .attempts()
            .map(|(task, job)| {
                let kind = crate::system::job::short_kind(state.queue.job(job).kind);
                if self.shared.sleepers.has(&task.waker) {
                    return self.sleeps_for_ever(task);
                }
                let waits = state.connections.waits_for(task.actor());
                if let Some(why) = waits.or_else(|| self.shared.externals.waits_for(task.actor())) {
                    return format!("{} {kind} waits {why}", task.actor());
                }
                if let Some(lock) = state.awaited_lock(job) {
                    return format!("{} {kind} waits for {lock}", task.actor());
                }
                match task.last {
                    Some(place) => format!("{} {kind} waits; it called last at {place}", task.actor()),
                    None => format!("{} {kind} waits", task.actor()),
                }
            })
            .collect();
        if !waiting.is_empty() {
            state.search.get_stuck(match self.shared.sleepers.any() {
                true => Stuck::Locked { waiting },
                false => Stuck::Deadlock { waiting },
            });
            return false;
        }
        if let Some(stuck) = self.stuck_outside() {
            state.search.get_stuck(stuck);
            return false;
        }
        let stopped = self.hosts.iter().any(ProcessSlot::has_stopped);
        debug_assert!(state.queue.is_idle() || stopped, "a job that waits has a time at which it goes on");
        true
    }

    /// Describes the wait of a thread outside any call. The harness sees neither the lock nor its holder.
    fn sleeps_for_ever(&self, sleeper: &Task) -> String {
        let since = |task: &Task| task.last.map(|place| format!(" (last at {place})")).unwrap_or_default();
        let others: Vec<_> = self.tasks.iter().flatten().filter(|other| other.id != sleeper.id).collect();
        let holders = match others[..] {
            [] => "that no other task can hold: it holds the lock itself, or waits for a message that never comes"
                .to_owned(),
            [other] => format!("that {}{} holds", other.actor(), since(other)),
            _ => {
                let names: Vec<_> =
                    others.iter().map(|other| format!("{}{}", other.actor(), since(other))).collect();
                format!("that one of {} holds", names.join(", "))
            }
        };
        let actor = sleeper.actor();
        format!("{actor}{} waits for a lock of its own (a Mutex, a channel, …) {holders}", since(sleeper))
    }

    /// Lets an ordinary test continue after it was stuck: drops the current attempts and removes their jobs. In an
    /// exploration the run ends instead.
    pub(crate) fn give_up(&mut self, stuck: Stuck) -> Stuck {
        if self.shared.state().search.mode() != Mode::Plain {
            return stuck;
        }
        for slot in 0..self.tasks.len() {
            let attempt = self.tasks[slot].take_if(|task| task.job().is_some());
            if let Some((task, (job, _))) = attempt.and_then(|task| task.job().map(|job| (task, job))) {
                let life = self.hosts[task.host].living.as_ref().map(|(life, _)| life.clone());
                self.occupy(task.host, false);
                let mut state = self.shared.state();
                let now = state.clock.now();
                state.queue.note_failure(job, now, stuck.to_string());
                state.queue.give_up(job, JobState::Popped);
                drop(state);
                match life {
                    Some(life) => life::run_as(&life, || drop_quietly(task.future)),
                    None => drop_quietly(task.future),
                }
            }
        }
        let mut state = self.shared.state();
        state.search.unstick();
        state.job_ended();
        state.end_poll();
        stuck
    }

    pub(crate) fn crash(&mut self, process: &str) {
        let index = self.host_named(process, "killed");
        self.chosen = None;
        if let Some((life, _)) = &self.hosts[index].living {
            life.die();
            self.tear_down(index, None);
        }
    }

    /// Ends the world: tears down every process.
    pub(crate) fn shut_down(&mut self) -> CrashWatch {
        // The end is not a crash.
        let watch = std::mem::take(&mut self.watch);
        self.invariants.clear();
        for index in 0..self.hosts.len() {
            if let Some((life, _)) = &self.hosts[index].living {
                life.die();
                self.tear_down(index, None);
            }
        }
        watch
    }
}

/// Drops a value of a dead process, whose destructor may panic.
fn drop_quietly<T>(value: T) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(value)));
}
