//! Polls attempts and picks who runs. Knows nothing of what is right or wrong.
//!
//! Option 0 of every choice is that the running task goes on running: a task is polled again as long as it has woken
//! itself. Time passes only when nothing can go on.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use crate::choice::{Actor, Kind, Name, Options, Site};
use crate::clock::TaskId;
use crate::job::{Delivery, JobError, JobState};
use crate::life::{self, Life};
use crate::panics;
use crate::process::{Attempt, Observed, Process};
use crate::runtime::{Context, Pool};
use crate::state::{Shared, Stuck, TaskWaker, Weather};
use crate::timeline::What;
use crate::watch::Watch;

/// How long a process that died is down.
const RESTART: Duration = Duration::from_secs(1);

type Boot = Box<dyn Fn(&Process)>;

/// A process and the incarnation that lives, if one does.
struct Host {
    name: Name,
    boot: Boot,
    incarnations: u32,
    living: Option<(Arc<Life>, Process)>,
    context: Context,
    busy: usize,
    restart_at: Duration,
}

/// An attempt under way.
struct Task {
    id: TaskId,
    host: usize,
    job: u32,
    attempt: u32,
    future: Attempt,
    wake: Arc<TaskWaker>,
    waker: Waker,
}

impl Task {
    fn actor(&self) -> Actor {
        Actor::Attempt { job: self.job, attempt: self.attempt }
    }

    /// Polls as long as the task wakes itself and no time passes; only once if somebody looks on after each step.
    /// Returns whether it woke itself, too.
    fn poll(
        &mut self,
        shared: &Shared,
        life: &Life,
        now: Duration,
        watched: bool,
    ) -> (Poll<Result<(), String>>, bool) {
        let mut cx = TaskContext::from_waker(&self.waker);
        loop {
            self.wake.begin();
            let polled = self.future.as_mut().poll(&mut cx);
            let woken = self.wake.end();
            if polled.is_ready() || !woken || watched || life.is_dead() {
                return (polled, woken);
            }
            let mut state = shared.state();
            if state.clock.now() != now || !state.step() {
                return (polled, woken);
            }
        }
    }

    /// Whether anything but the executor and the world will wake it: only then can time pass in tokio for its sake.
    fn waits_outside(&self) -> bool {
        // One for the executor's own handle, one inside the waker that is shown to the future.
        Arc::strong_count(&self.wake) > 2
    }
}

/// Runs the tasks of a world.
pub(crate) struct Executor {
    shared: Arc<Shared>,
    pool: Pool,
    hosts: Vec<Host>,
    tasks: Vec<Option<Task>>,
    turns: u32,
    /// Called after every step.
    pub(crate) always: Vec<Box<dyn Fn()>>,
    /// A boot closure panicked.
    pub(crate) broken_boot: Option<Box<dyn Any + Send>>,
    /// What is looked at when a run ends; shared with the world.
    pub(crate) observed: Rc<RefCell<Vec<Observed>>>,
    watch: Watch,
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("processes", &self.hosts.len()).finish_non_exhaustive()
    }
}

/// Why a drain stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DrainError {
    /// A job failed. It is popped; the jobs behind it stay.
    #[error("job#{job} {kind} failed: {error}")]
    Failed {
        /// The number of the job.
        job: u32,
        /// Its kind.
        kind: String,
        /// What it answered.
        error: String,
    },
    /// A job could not be run at all.
    #[error(transparent)]
    NotRun(#[from] JobError),
    /// The run can go no further.
    #[error(transparent)]
    Stuck(#[from] Stuck),
}

impl Executor {
    pub(crate) fn new(shared: Arc<Shared>, pool: Pool, watch: Watch) -> Self {
        let (hosts, tasks, always, observed) = (Vec::new(), Vec::new(), Vec::new(), Rc::default());
        Self { shared, pool, hosts, tasks, turns: 0, always, broken_boot: None, observed, watch }
    }

    /// Adds a process and boots it.
    #[track_caller]
    pub(crate) fn add(&mut self, name: Name, boot: Boot) {
        assert!(
            self.hosts.iter().all(|host| host.name != name),
            "the process `{name}` was added twice; give each process a name of its own"
        );
        let context = Context::new(self.pool.clone());
        let restart_at = Duration::ZERO;
        // There is mostly one, and room for four is a large piece of memory, which costs far more than a small one.
        self.hosts.reserve_exact(1);
        self.hosts.push(Host { name, boot, incarnations: 0, living: None, context, busy: 0, restart_at });
        if let Err(panic) = self.boot(self.hosts.len() - 1) {
            std::panic::resume_unwind(panic);
        }
    }

    fn boot(&mut self, index: usize) -> Result<(), Box<dyn Any + Send>> {
        let host = &mut self.hosts[index];
        host.incarnations += 1;
        let life = Life::new(self.shared.clone(), host.name, index, host.incarnations);
        let process = Process::new(life.clone());
        let calm;
        let now = {
            let mut state = self.shared.state();
            let process = host.name;
            state.note(|| What::Booted { process });
            state.actor = Actor::Process(host.name);
            // What the boot closure itself asks for is answered: a boot that fails is no job that does.
            calm = std::mem::replace(&mut state.calm, true);
            state.clock.now()
        };
        let (boot, context) = (&host.boot, &mut host.context);
        let booted = catch_unwind(AssertUnwindSafe(|| {
            context.within(now, &life, || life::live(&life, || boot(&process)))
        }));
        {
            let mut state = self.shared.state();
            state.actor = Actor::Test;
            state.calm = calm;
        }
        host.living = Some((life, process));
        booted
    }

    /// Whether the run goes on as another one has already.
    pub(crate) fn is_merged(&self) -> bool {
        self.watch.is_over()
    }

    /// Production: runs until nothing is left to do. False when the run is stuck, or over.
    pub(crate) fn settle(&mut self) -> bool {
        self.watch.next_phase();
        loop {
            // Each round counts: whatever goes on for ever, it is found.
            if self.watch.is_over() || !self.shared.state().step() || self.broken_boot.is_some() {
                return false;
            }
            if self.go_on() {
                continue;
            }
            if !self.pass_time() {
                return self.is_quiescent();
            }
        }
    }

    /// One step that takes no time, if there is one.
    fn go_on(&mut self) -> bool {
        if let Some(id) = self.shared.woken.pop() {
            self.run(id);
            return true;
        }
        if self.restart() || self.bury_dead_tasks() || self.take_job() {
            return true;
        }
        self.turn_spawned()
    }

    /// Boots the processes whose time has come.
    fn restart(&mut self) -> bool {
        if self.hosts.iter().all(|host| host.living.is_some()) {
            return false;
        }
        let now = self.shared.state().clock.now();
        let due = (0..self.hosts.len())
            .find(|&index| self.hosts[index].living.is_none() && self.hosts[index].restart_at <= now);
        let Some(index) = due else { return false };
        if let Err(panic) = self.boot(index) {
            self.broken_boot = Some(panic);
        }
        true
    }

    /// Takes apart processes that died outside of an attempt.
    fn bury_dead_tasks(&mut self) -> bool {
        if !self.shared.woken.take_died() {
            return false;
        }
        for index in 0..self.hosts.len() {
            if self.hosts[index].living.as_ref().is_some_and(|(life, _)| life.is_dead()) {
                self.take_apart(index, None);
            }
        }
        true
    }

    /// Lets spawned tokio tasks go on. True if anything came of it.
    fn turn_spawned(&mut self) -> bool {
        let mut moved = false;
        for index in 0..self.hosts.len() {
            if !self.hosts[index].context.has_tasks() {
                continue;
            }
            let before = self.shared.state().steps();
            self.with_spawned(index, |context, now, _| context.turn(now));
            self.shared.woken.settle_down();
            moved |= self.shared.state().steps() != before || self.shared.woken.is_called_for();
        }
        moved
    }

    /// Runs the tokio context of a process in that process's name.
    fn with_spawned<R>(
        &mut self,
        index: usize,
        code: impl FnOnce(&mut Context, Duration, &Shared) -> R,
    ) -> Option<R> {
        let host = &mut self.hosts[index];
        let life = host.living.as_ref().map(|(life, _)| life.clone())?;
        let now = {
            let mut state = self.shared.state();
            state.actor = Actor::Process(host.name);
            state.clock.now()
        };
        let result = life::risk(&life, || code(&mut host.context, now, &self.shared));
        self.shared.state().actor = Actor::Test;
        Some(result)
    }

    /// Starts an attempt, if a job is ready and a slot free.
    fn take_job(&mut self) -> bool {
        let mut state = self.shared.state();
        if state.weather == Weather::Serial {
            drop(state);
            return self.tasks.iter().all(Option::is_none) && self.take_in_any_order();
        }
        if state.queue.ready().len() == 0 {
            return false;
        }
        let candidate = state
            .queue
            .ready()
            .find_map(|job| self.host_for(state.queue.job(job).kind).map(|host| (job, host)));
        let Some((job, host)) = candidate else {
            drop(state);
            return self.bury_unhandled();
        };
        state.queue.take_out_of_turn(job);
        drop(state);
        self.begin(job, host);
        true
    }

    /// One at a time: any waiting job may come next, a scheduled one when its time has come.
    fn take_in_any_order(&mut self) -> bool {
        let (job, due) = {
            let mut state = self.shared.state();
            let now = state.clock.now();
            let mut waiting: Vec<_> = state.queue.ready().map(|job| (now, job)).collect();
            waiting.extend(state.queue.timed());
            waiting.retain(|(_, job)| self.host_for(state.queue.job(*job).kind).is_some());
            if waiting.is_empty() {
                drop(state);
                return self.bury_unhandled();
            }
            let (due, job) = waiting[state.pick(waiting.len())];
            state.queue.take_out_of_turn(job);
            (job, due)
        };
        self.shared.advance(due);
        let kind = self.shared.state().queue.job(job).kind;
        let host = self.host_for(kind).expect("a host was there a moment ago");
        self.begin(job, host);
        true
    }

    /// A living process that handles the kind and has a free slot.
    fn host_for(&self, kind: &str) -> Option<usize> {
        self.hosts.iter().position(|host| {
            let serves = |(life, process): &(Arc<Life>, Process)| {
                !life.is_dead() && host.busy < process.slot_count() && process.handles_kind(kind)
            };
            host.living.as_ref().is_some_and(serves)
        })
    }

    /// Puts a ready job that no process handles into the dead set.
    fn bury_unhandled(&mut self) -> bool {
        if self.hosts.iter().any(|host| host.living.is_none()) {
            return false;
        }
        let mut state = self.shared.state();
        let handled = |kind: &str| {
            self.hosts.iter().any(|host| host.living.as_ref().is_some_and(|(_, p)| p.handles_kind(kind)))
        };
        let Some(job) = state.queue.ready().find(|&job| !handled(state.queue.job(job).kind)) else {
            return false;
        };
        let kind = state.queue.job(job).kind.to_owned();
        state.queue.take_out_of_turn(job);
        state.queue.bury(job, JobError::NoHandler { job, kind }.to_string());
        state.queue.job_mut(job).could_not_run = true;
        true
    }

    fn begin(&mut self, job: u32, host: usize) {
        let (life, process) = self.hosts[host].living.as_ref().expect("a job is given to a living process");
        let life = life.clone();
        let (kind, payload, attempt) = {
            let mut state = self.shared.state();
            // Lent to the handler while it decodes.
            let taken = state.queue.job_mut(job);
            let (kind, payload, attempt) = (taken.kind, std::mem::take(&mut taken.payload), taken.attempts);
            state.actor = Actor::Attempt { job, attempt };
            state.overlapped |= self.tasks.iter().any(Option::is_some);
            let process = self.hosts[host].name;
            state.note(|| What::Started { kind, payload: payload.clone(), process });
            (kind, payload, attempt)
        };
        self.watch.begins(&self.observed.borrow());
        let begun = life::live(&life, || catch_unwind(AssertUnwindSafe(|| process.start(kind, &payload))));
        let mut state = self.shared.state();
        state.queue.job_mut(job).payload = payload;
        let future = match begun {
            Ok(Some((Ok(future), place))) => {
                let actor = state.actor;
                state.timeline.called_from(actor, place, Site::Attempt);
                future
            }
            Ok(Some((Err(error), _))) => {
                let payload = state.queue.job(job).payload.clone();
                let (kind, reason) = (kind.to_owned(), error.to_string());
                let error = JobError::Undecodable { job, kind, reason, payload }.to_string();
                state.note(|| What::Failed { error: error.clone(), retry_at: None });
                state.queue.bury(job, error);
                state.queue.job_mut(job).could_not_run = true;
                state.actor = Actor::Test;
                return;
            }
            Ok(None) => unreachable!("a job is given to a process that handles it"),
            Err(panic) => {
                drop(state);
                self.ended(job, attempt, &life, Err(format!("panicked: {}", panics::text(&*panic))));
                return;
            }
        };
        let dies = life.crashes(&mut state, Site::Attempt, "start", None);
        drop(state);
        self.hosts[host].busy += 1;
        let slot = self.tasks.iter().position(Option::is_none).unwrap_or_else(|| {
            self.tasks.push(None);
            self.tasks.len() - 1
        });
        self.turns += 1;
        let id = TaskId { slot: slot as u32, turn: self.turns };
        let wake = TaskWaker::new(id, self.shared.woken.clone());
        let waker = Waker::from(wake.clone());
        self.tasks[slot] = Some(Task { id, host, job, attempt, future, wake, waker });
        if dies {
            self.take_apart(host, None);
        } else {
            self.run(id);
        }
    }

    /// Polls a task as long as it goes on by itself.
    fn run(&mut self, id: TaskId) {
        let slot = id.slot as usize;
        let Some(mut task) = self.tasks.get_mut(slot).and_then(|task| task.take_if(|task| task.id == id))
        else {
            return;
        };
        let host = &mut self.hosts[task.host];
        let life = host.living.as_ref().expect("the tasks of a dead process are gone").0.clone();
        let watched = !self.always.is_empty();
        let ended = loop {
            let now = {
                let mut state = self.shared.state();
                if !state.step() {
                    break None;
                }
                state.actor = task.actor();
                state.task = Some((task.id, task.waker.data().addr()));
                state.clock.now()
            };
            // Caught as far inside as can be: all that unwinding has to put back on its way makes a crash dearer.
            let go_on = || task.poll(&self.shared, &life, now, watched);
            let go_on = || catch_unwind(AssertUnwindSafe(go_on));
            let polled = host.context.within(now, &life, || life::risk(&life, go_on));
            self.shared.state().task = None;
            for check in &self.always {
                check();
            }
            if life.is_dead() {
                break None;
            }
            match polled {
                Ok((Poll::Ready(result), _)) => break Some(result),
                Ok((Poll::Pending, true)) => {}
                Ok((Poll::Pending, false)) => break None,
                Err(panic) => break Some(Err(format!("panicked: {}", panics::text(&*panic)))),
            }
        };
        let (host, job, attempt) = (task.host, task.job, task.attempt);
        if life.is_dead() {
            self.take_apart(host, Some(task));
            return;
        }
        match ended {
            None => self.tasks[slot] = Some(task),
            Some(result) => {
                life::live(&life, || drop_quietly(task.future));
                self.hosts[host].busy -= 1;
                self.ended(job, attempt, &life, result);
            }
        }
        self.shared.state().actor = Actor::Test;
    }

    /// An attempt has ended: the point between its end and the queue's hearing of it.
    fn ended(&mut self, job: u32, attempt: u32, life: &Arc<Life>, result: Result<(), String>) {
        let mut state = self.shared.state();
        state.actor = Actor::Attempt { job, attempt };
        if state.stuck.is_some() {
            return;
        }
        let options = state.options(state.queue.job(job).kind);
        if life.crashes(&mut state, Site::Attempt, "end", None) {
            match (options.delivery, &result) {
                // Popped before it ran, and it ran to its end: there is nothing to hand out again.
                (Delivery::AtMostOnce, Ok(())) => state.queue.acknowledge(job),
                (delivery, _) => state.worker_died(Actor::Attempt { job, attempt }, delivery),
            }
            drop(state);
            self.take_apart(life.index, None);
            self.shared.state().actor = Actor::Test;
            return;
        }
        match result {
            Ok(()) => {
                const ACK: Options = Options::Named(&["heard", "again"]);
                state.note(|| What::Succeeded);
                let again = options.delivery == Delivery::AtLeastOnce
                    && state.deviate(Kind::Delivery, Site::Attempt, "ack", ACK, None) != 0;
                if again {
                    state.note(|| What::DeliveredAgain);
                    state.queue.deliver_again(job);
                }
                state.queue.acknowledge(job);
            }
            Err(error) if state.calm => state.queue.pop_failed(job, error),
            Err(error) => {
                let failures = state.queue.job(job).failures;
                if failures >= options.retry.max_retries {
                    state.note(|| What::Failed { error: error.clone(), retry_at: None });
                    state.queue.bury(job, error);
                } else {
                    let wait = options.retry.backoff.after(failures, state.jitter(job, failures));
                    let late = state.lateness(Site::Attempt, "retry", None);
                    let due = state.clock.now().saturating_add(wait).saturating_add(late);
                    state.note(|| What::Failed { error: error.clone(), retry_at: Some(due) });
                    state.queue.retry(job, due, error);
                }
            }
        }
        state.actor = Actor::Test;
    }

    /// Drops all that a dead incarnation was: its attempts, its handlers, its spawned tasks. Its destructors run, but
    /// nothing comes of what they do.
    fn take_apart(&mut self, index: usize, running: Option<Task>) {
        let Some((life, process)) = self.hosts[index].living.take() else { return };
        let mut tasks: Vec<_> = running.into_iter().collect();
        for task in &mut self.tasks {
            tasks.extend(task.take_if(|task| task.host == index));
        }
        let now = {
            let mut state = self.shared.state();
            let now = state.clock.now();
            for task in &tasks {
                let options = state.options(state.queue.job(task.job).kind);
                if state.queue.job(task.job).state == JobState::Running {
                    state.worker_died(task.actor(), options.delivery);
                }
            }
            now
        };
        life.set_falling(true);
        let host = &mut self.hosts[index];
        life::live(&life, || {
            host.context.within(now, &life, || {
                tasks.into_iter().for_each(drop_quietly);
                drop_quietly(process);
            });
            let context = &mut host.context;
            let _ = catch_unwind(AssertUnwindSafe(|| context.end()));
        });
        life.set_falling(false);
        host.context = Context::new(self.pool.clone());
        host.busy = 0;
        host.restart_at = now + RESTART;
        let nobody_lives = self.hosts.iter().all(|host| host.living.is_none());
        let down = nobody_lives.then(|| self.hosts.iter().map(|host| (host.incarnations, host.restart_at)));
        self.watch.crashed(&self.shared, &self.observed.borrow(), down);
    }

    /// Lets time pass to the next moment at which something happens. False when there is none.
    fn pass_time(&mut self) -> bool {
        self.shared.woken.settle_down();
        let (now, limit) = {
            let state = self.shared.state();
            let restart =
                self.hosts.iter().filter(|host| host.living.is_none()).map(|host| host.restart_at).min();
            let moments = [state.clock.next(), state.queue.next_due(), restart];
            (state.clock.now(), moments.into_iter().flatten().min())
        };
        let outside: Vec<_> = (0..self.hosts.len())
            .filter(|&index| {
                self.tasks.iter().flatten().any(|task| task.host == index && task.waits_outside())
            })
            .collect();
        if outside.is_empty() {
            let Some(limit) = limit else { return false };
            self.shared.advance(limit.max(now));
            return true;
        }
        // The first process to be called for ends the wait for those after it.
        let (mut until, mut latest, mut called) = (limit, now, false);
        for index in outside {
            let driven =
                self.with_spawned(index, |context, now, shared| context.drive(now, until, &shared.woken));
            match driven {
                Some((reached, true)) => {
                    called = true;
                    until = Some(until.map_or(reached, |until| until.min(reached)));
                }
                // Tokio's timers tick in milliseconds: it may be a little later than was asked for.
                Some((reached, false)) => latest = latest.max(reached),
                None => {}
            }
        }
        match until {
            Some(until) if called => self.shared.advance(until.max(now)),
            Some(until) => self.shared.advance(until.max(latest)),
            None => return false,
        }
        true
    }

    /// Nothing goes on any more: because all is done, or because everything waits for ever.
    fn is_quiescent(&mut self) -> bool {
        let mut state = self.shared.state();
        let waiting: Vec<_> = self
            .tasks
            .iter()
            .flatten()
            .map(|task| {
                let kind = crate::job::short_kind(state.queue.job(task.job).kind);
                match state.timeline.last_call(task.actor()) {
                    Some((place, _)) => format!("{} {kind} waits; it called last at {place}", task.actor()),
                    None => format!("{} {kind} waits", task.actor()),
                }
            })
            .collect();
        if !waiting.is_empty() {
            state.stuck = Some(Stuck::Deadlock { waiting });
            return false;
        }
        debug_assert!(state.queue.is_idle(), "a job that waits has a time at which it goes on");
        true
    }

    /// Sidekiq's `drain_all`: every ready job and the jobs they enqueue, in order; the first error ends it. Nothing
    /// goes wrong and nothing is retried.
    pub(crate) fn drain_all(&mut self) -> Result<usize, DrainError> {
        self.shared.state().calm = true;
        let drained = self.drain();
        self.shared.state().calm = false;
        drained
    }

    fn drain(&mut self) -> Result<usize, DrainError> {
        let mut performed = 0;
        loop {
            let next = {
                let mut state = self.shared.state();
                let next = state.queue.take();
                next.map(|job| (job, state.queue.job(job).kind))
            };
            let Some((job, kind)) = next else { return Ok(performed) };
            let Some(host) = self.host_for(kind) else {
                let error = JobError::NoHandler { job, kind: kind.to_owned() };
                let mut state = self.shared.state();
                state.queue.bury(job, error.to_string());
                state.queue.job_mut(job).could_not_run = true;
                return Err(error.into());
            };
            self.begin(job, host);
            performed += 1;
            self.finish_running()?;
            let state = self.shared.state();
            let job = state.queue.job(job);
            if let (JobState::Popped | JobState::Dead, Some(error)) = (job.state, &job.error) {
                return Err(DrainError::Failed {
                    job: job.number,
                    kind: job.kind.to_owned(),
                    error: error.clone(),
                });
            }
        }
    }

    /// Runs what runs to its end, taking no other job.
    fn finish_running(&mut self) -> Result<(), DrainError> {
        while self.tasks.iter().any(Option::is_some) {
            if let Some(stuck) = self.shared.state().stuck.clone() {
                return Err(stuck.into());
            }
            if let Some(id) = self.shared.woken.pop() {
                self.run(id);
            } else if !self.turn_spawned() && !self.pass_time() {
                self.is_quiescent();
            }
        }
        Ok(())
    }

    /// Ends the world: every process is taken apart.
    pub(crate) fn shut_down(&mut self) -> Watch {
        // The end is no crash.
        let watch = std::mem::take(&mut self.watch);
        for index in 0..self.hosts.len() {
            if let Some((life, _)) = &self.hosts[index].living {
                life.die();
                self.take_apart(index, None);
            }
        }
        watch
    }
}

/// Drops what belongs to a dead process, whose destructors may panic.
fn drop_quietly<T>(value: T) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(value)));
}
