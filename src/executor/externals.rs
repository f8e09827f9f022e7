//! Handles the systems external to a run: requests that come over sockets, and calls that wait in a database for
//! other tasks.
//!
//! Nothing else runs while a request is served, so the order in which faults and crashes are drawn does not depend on
//! the speed of a socket. A request that arrives during a step of an attempt is a call of that attempt. Other tasks
//! may overtake the attempt there, as at a call in process.
//!
//! Where real time decides: a task that waits for a socket gets a moment before another task runs instead
//! ([`Executor::after_poll`]) or time advances ([`Executor::pass_time`]). On loopback a write has arrived when it
//! returns, so the moment ends early except on an overloaded system, and the order is the same in every run.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::Executor;
use super::task::Task;
use crate::engine::external_calls::real_time;
use crate::engine::externals::{Caller, RequestStart, Traffic};
use crate::engine::life::{self, Life};
use crate::engine::runtime;
use crate::engine::state::{AfterStep, StrideChecks, Stuck};
use crate::search::choice::Actor;

/// The pause between two looks, in real time.
const PAUSE: Duration = Duration::from_micros(100);
/// The time for retrying calls of which no probe can tell whether they still wait, in real time.
const MOMENT: Duration = Duration::from_millis(2);
/// The time, in real time, that calls which wait for each other are left to the database before virtual time
/// advances. A database finds a deadlock by its own timeout.
const DEADLOCK: Duration = Duration::from_millis(400);

/// The number of times that the sockets of a process may move after one step. Without it, a thread of the code under
/// test could continue forever.
const MOST_MOVES: u32 = 1_000;

/// The next action after a poll that leaves a task waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterPoll {
    /// The task waits for others, or for time to advance.
    Rests,
    /// The task continues in the same step: it has connected, or read a part of something.
    Again,
    /// The task has made a call, whose reply is ready.
    Called,
    /// Like `Called`, and it stalls past its lease before it receives the reply.
    Stalls(Duration),
    /// The process has died in the call, or the run is stuck.
    Over,
}

impl Executor {
    /// Collects the requests of a task over sockets, and serves them up to the point where the reply is on its way.
    /// Returns whether the task continues immediately.
    pub(super) fn follows_up(&mut self, task: &mut Task, life: &Arc<Life>, look: StrideChecks) -> bool {
        match self.after_poll(task, life, look) {
            AfterPoll::Again => true,
            AfterPoll::Called => self.goes_on(task, look),
            AfterPoll::Rests | AfterPoll::Over => false,
            AfterPoll::Stalls(until) => {
                task.stalled_until = Some(until);
                false
            }
        }
    }

    fn after_poll(&mut self, task: &Task, life: &Arc<Life>, look: StrideChecks) -> AfterPoll {
        let externals = || &self.shared.externals;
        // Requests from tokio's threads arrive at any time. The task waits until nothing else can run.
        if !externals().have_wires() || self.hosts[task.host].context.has_threads() {
            return AfterPoll::Rests;
        }
        let mut has_lingered = false;
        for _ in 0..MOST_MOVES {
            self.rest_of(task.host);
            let has_moved = self.shared.externals.advance(Some(task.host));
            if self.shared.externals.has_request(task.host) {
                return self.begin_calls(task, life, look);
            }
            if self.shared.woken.contains(task.id) {
                self.shared.woken.retain(|woken| woken != task.id);
                return AfterPoll::Again;
            }
            if has_moved {
                continue;
            }
            let others =
                look.switching && (self.shared.woken.any() || self.shared.state().queue.ready_count() > 0);
            let may_come = self.may_send(task);
            if has_lingered || !others || !may_come {
                return AfterPoll::Rests;
            }
            has_lingered = !self.shared.externals.linger(Some(task.host));
        }
        AfterPoll::Rests
    }

    /// Serves the first halves of all new requests of the task.
    fn begin_calls(&mut self, task: &Task, life: &Arc<Life>, look: StrideChecks) -> AfterPoll {
        let caller = self.caller_of(task);
        let (mut is_ready, mut goes_on) = (false, false);
        while let Some(request) = self.shared.externals.next_request(Some(task.host)) {
            let acting = self.shared.acting(caller.actor);
            let begun = life::run_as(life, || request.begin(caller));
            drop(acting);
            is_ready |= begun == RequestStart::Ready;
            goes_on |= begun == RequestStart::Replied;
            if life.is_ending() || self.shared.state().search.is_stuck() {
                return AfterPoll::Over;
            }
        }
        if !is_ready {
            return if goes_on { AfterPoll::Again } else { AfterPoll::Rests };
        }
        let acting = self.shared.acting(caller.actor);
        let next = task.after_call(&self.shared, look);
        drop(acting);
        match next {
            AfterStep::Rests { stalled_until: Some(until), .. } => AfterPoll::Stalls(until),
            AfterStep::GoesOn | AfterStep::Rests { .. } => AfterPoll::Called,
        }
    }

    /// Sends a task the replies that are due to it. Returns false if it does not continue because its process has
    /// died or the run is stuck.
    pub(super) fn send_replies(&mut self, task: &Task, life: &Arc<Life>) -> bool {
        if !self.shared.externals.have_wires() {
            return true;
        }
        let caller = self.caller_of(task);
        let mut has_replied = false;
        loop {
            let now = self.shared.state().clock.now();
            let acting = self.shared.acting(caller.actor);
            let replied = life::run_as(life, || self.shared.externals.reply(caller, now));
            drop(acting);
            if life.is_ending() || self.shared.state().search.is_stuck() {
                return false;
            }
            if !replied {
                break;
            }
            has_replied = true;
        }
        if has_replied {
            self.rest_of(task.host);
        }
        true
    }

    fn caller_of(&self, task: &Task) -> Caller {
        let blocks = self.shared.sleepers.are_called_by(&task.waker);
        Caller { actor: task.actor(), task: task.id, blocks }
    }

    /// Collects everything that is on its way over sockets, and serves the requests that wait. Returns true if that
    /// lets a task continue. Time must not advance until this returns false.
    pub(super) fn attend(&mut self) -> bool {
        if !self.shared.externals.have_wires() {
            return false;
        }
        let mut served = false;
        loop {
            (0..self.hosts.len()).for_each(|index| self.rest_of(index));
            if self.shared.woken.is_called_for() || self.shared.state().search.is_stuck() {
                return true;
            }
            if self.shared.externals.settle() == Traffic::Moving {
                continue;
            }
            if self.has_late_call() {
                return true;
            }
            let Some(request) = self.shared.externals.next_request(None) else { return served };
            let host = request.host();
            let Some((life, _)) = &self.hosts[host].living else { continue };
            let life = life.clone();
            let acting = self.shared.acting(request.by().unwrap_or_else(|| self.caller(host)));
            life::run_as(&life, || request.serve());
            drop(acting);
            served = true;
            if life.is_dead() {
                self.tear_down(host, None);
                return true;
            }
            if self.shared.state().search.is_stuck() {
                return true;
            }
        }
    }

    /// Wakes a task whose request arrived only after its step, because the operating system was late. The request is a
    /// call of that task, with the choices that it would have had in time.
    fn has_late_call(&mut self) -> bool {
        let is_late = |task: &&Task| {
            let host = &self.hosts[task.host];
            host.last == Some(task.actor())
                && !host.context.has_threads()
                && task.stalled_until.is_none()
                && self.may_send(task)
                && self.shared.externals.has_request(task.host)
        };
        let late = self.tasks.iter().flatten().find(is_late).map(|task| task.id);
        late.into_iter().for_each(|task| self.shared.woken.push(task));
        late.is_some()
    }

    /// The actor of calls that arrive outside any step: the attempt of the process that was polled last. If that has ended,
    /// it is the only one that may still send something.
    fn caller(&self, host: usize) -> Actor {
        let of_host = || self.tasks.iter().flatten().filter(|task| task.host == host);
        let last = self.hosts[host].last;
        let polled = of_host().map(Task::actor).find(|actor| Some(*actor) == last);
        let mut sending = of_host().filter(|task| self.may_send(task)).map(Task::actor);
        let only = || sending.next().filter(|_| sending.next().is_none());
        polled.or_else(only).unwrap_or(Actor::Process(self.hosts[host].name))
    }

    /// Called before an attempt is polled. If another attempt of its process was polled last, all requests of that
    /// one's threads must arrive first, because later they could not be attributed.
    pub(super) fn turn_to(&mut self, host: usize, actor: Actor) {
        if !self.shared.externals.have_wires() {
            return;
        }
        let Some(last) = self.hosts[host].last.replace(actor).filter(|last| *last != actor) else { return };
        if self.hosts[host].context.has_threads() {
            loop {
                self.rest_of(host);
                if self.shared.externals.settle() == Traffic::Still || self.shared.state().search.is_stuck() {
                    break;
                }
            }
        }
        self.shared.externals.all().iter().for_each(|external| external.attribute(host, last));
    }

    /// While threads of a process work, its clock does not advance. A thread that waits for a reply that never comes
    /// gets its connection cut instead. Returns whether there was one.
    pub(super) fn cut_off(&mut self, waiting: &[usize], now: Duration, limit: Option<Duration>) -> bool {
        if !waiting.iter().any(|&index| self.hosts[index].context.has_threads()) {
            return false;
        }
        let Some(at) = self.shared.externals.deadline() else { return false };
        let until = limit.map_or(at, |limit| limit.min(at)).max(now);
        self.shared.advance(until);
        self.shared.externals.hang_up(until);
        true
    }

    /// Reports whether something may arrive late over a socket from one of the tasks that wait for neither the
    /// executor nor the world.
    pub(super) fn awaits_arrivals(&self) -> bool {
        self.shared.externals.have_wires() && self.tasks.iter().flatten().any(|task| self.may_send(task))
    }

    /// Reports whether something that the task has sent may be on its way.
    fn may_send(&self, task: &Task) -> bool {
        let (sleepers, externals) = (&self.shared.sleepers, &self.shared.externals);
        task.waits_outside() && !sleepers.has(&task.waker) && !externals.are_awaited_by(task.actor())
    }

    /// Lets tokio run in a process as far as it can without advancing time.
    fn rest_of(&mut self, index: usize) {
        self.with_spawned(index, |context, now, _| context.rest(now));
    }

    /// Called after something has happened in an external system. The calls that wait there and can continue do so,
    /// up to their end. After that, turns decide.
    pub(super) fn look_outside(&mut self) -> bool {
        if !self.shared.externals.have_calls() {
            return false;
        }
        (0..self.hosts.len()).for_each(|index| self.finish_tasks(index));
        if !self.shared.externals.have_progress() {
            return false;
        }
        self.let_go_on(Duration::ZERO);
        true
    }

    /// The same before time advances, for at least `at_least`. Returns whether a call continues.
    fn let_go_on(&mut self, at_least: Duration) -> bool {
        let before = self.shared.externals.waiting();
        let began = real_time();
        self.resuming = true;
        loop {
            for waiting in self.shared.externals.waiting() {
                self.shared.wake(vec![waiting.wake]);
                self.shared.woken.retain(|woken| woken != waiting.task);
                self.run(waiting.task);
            }
            self.shared.externals.clear_progress();
            let (left, looked) = (self.shared.externals.waiting(), began.elapsed());
            let moment = if left.iter().all(|waiting| waiting.is_locked) { Duration::ZERO } else { MOMENT };
            let block_timeout = left.iter().map(|waiting| waiting.block_timeout).max().unwrap_or_default();
            let has_gone_on = left.len() < before.len();
            let is_enough = looked >= moment && (has_gone_on || looked >= at_least);
            if left.is_empty() || looked > block_timeout.max(at_least) || is_enough && self.all_are_locked() {
                break;
            }
            thread::park_timeout(PAUSE);
        }
        self.resuming = false;
        // In the order in which they began to wait, regardless of which was served first.
        let left = self.shared.externals.waiting();
        let went_on = before.iter().filter(|gone| left.iter().all(|waiting| waiting.ticket != gone.ticket));
        let went_on: Vec<_> = went_on.map(|gone| gone.task).collect();
        for task in &went_on {
            if self.shared.woken.contains(*task) {
                self.shared.woken.retain(|woken| woken != *task);
                self.shared.woken.push(*task);
            }
        }
        !went_on.is_empty()
    }

    /// Reports whether all calls that waited for a lock still do.
    fn all_are_locked(&self) -> bool {
        let probes = self.shared.externals.all().into_iter().flat_map(|external| external.probes());
        probes.into_iter().all(|(probe, waiting)| runtime::wait(probe()) >= waiting)
    }

    /// Ends the external calls of tokio tasks, and retries the calls that wait, before time advances. Returns whether
    /// that lets a task continue.
    pub(super) fn attend_outside(&mut self, is_the_end: bool) -> bool {
        if !self.shared.externals.have_calls() {
            return false;
        }
        (0..self.hosts.len()).for_each(|index| self.finish_tasks(index));
        if self.shared.woken.is_called_for() {
            return true;
        }
        let waiting = self.shared.externals.waiting();
        if waiting.is_empty() {
            return false;
        }
        let block_timeout = waiting.iter().map(|waiting| waiting.block_timeout).max().unwrap_or_default();
        self.let_go_on(match &waiting[..] {
            _ if is_the_end => block_timeout.max(DEADLOCK),
            // A probe reports that the call waits for a lock, and no other call waits for it in turn.
            [alone] if alone.is_locked => Duration::ZERO,
            _ => DEADLOCK,
        })
    }

    /// Lets the tokio tasks of a process run until none has an open call, and those that it has just spawned have
    /// ended. A dropped transaction is rolled back by such a task.
    pub(super) fn finish_tasks(&mut self, index: usize) {
        if !self.shared.externals.have_calls() || self.hosts[index].living.is_none() {
            return;
        }
        if !self.shared.externals.hold_tasks_of(index) && !self.hosts[index].context.has_new_tasks() {
            return;
        }
        let began = real_time();
        for looks in 0_u32.. {
            let is_held = self.shared.externals.hold_tasks_of(index);
            let block_timeout = if is_held { Duration::from_secs(2) } else { 2 * MOMENT };
            if !is_held && !self.hosts[index].context.has_new_tasks() || began.elapsed() > block_timeout {
                break;
            }
            self.rest_of(index);
            if looks > 0 {
                thread::park_timeout(PAUSE);
            }
        }
        self.hosts[index].context.leave_tasks();
    }

    /// Closes everything that a dead incarnation has left open, and waits for that.
    pub(super) fn close_outside(&mut self, life: &Arc<Life>) {
        for external in self.shared.externals.all() {
            for closed in external.bury(life.index, life.process, life.incarnation) {
                runtime::wait(closed);
            }
        }
    }

    /// The external calls that wait forever although everything else is done.
    pub(super) fn stuck_outside(&self) -> Option<Stuck> {
        let waiting = self.shared.externals.waiting();
        let waiting: Vec<_> =
            waiting.iter().map(|waiting| format!("{} waits {}", waiting.actor, waiting.why())).collect();
        (!waiting.is_empty()).then_some(Stuck::Deadlock { waiting })
    }
}
