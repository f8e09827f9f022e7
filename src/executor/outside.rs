//! Calls to what is really outside that wait there for what other tasks have.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::Executor;
use crate::engine::life::Life;
use crate::engine::outside::real_time;
use crate::engine::runtime;
use crate::engine::state::Stuck;

/// How long the pauses between two looks are, in real time.
const PAUSE: Duration = Duration::from_micros(100);
/// For how long those are looked at of whom nobody can tell whether they still wait.
const MOMENT: Duration = Duration::from_millis(2);
/// For how long those who wait for each other are left to the database, before time passes: it finds a deadlock by a
/// timeout of its own.
const DEADLOCK: Duration = Duration::from_millis(400);

impl Executor {
    /// Something has happened outside: whoever waits there and can go on now does, up to the end of that call. After that it
    /// is a matter of turns.
    pub(super) fn look_outside(&mut self) -> bool {
        if !self.shared.outside.is_used() {
            return false;
        }
        (0..self.hosts.len()).for_each(|index| self.finish_tasks(index));
        if !self.shared.outside.is_stirred() {
            return false;
        }
        self.let_go_on(Duration::ZERO);
        true
    }

    /// The same, before time passes: `at_least` for so long. True when anybody goes on.
    fn let_go_on(&mut self, at_least: Duration) -> bool {
        let before = self.shared.outside.waiting();
        let began = real_time();
        self.resuming = true;
        loop {
            for waiting in self.shared.outside.waiting() {
                self.shared.wake(vec![waiting.wake]);
                self.shared.woken.retain(|woken| woken != waiting.task);
                self.run(waiting.task);
            }
            self.shared.outside.settle_down();
            let (left, looked) = (self.shared.outside.waiting(), began.elapsed());
            let moment = if left.iter().all(|waiting| waiting.is_locked) { Duration::ZERO } else { MOMENT };
            let patience =
                left.iter().map(|waiting| waiting.system.said().patience).max().unwrap_or_default();
            let has_gone_on = left.len() < before.len();
            let is_enough = looked >= moment && (has_gone_on || looked >= at_least);
            if left.is_empty() || looked > patience.max(at_least) || is_enough && self.all_are_locked() {
                break;
            }
            thread::park_timeout(PAUSE);
        }
        self.resuming = false;
        // In the order in which they began to wait, whoever of them was the first to be served.
        let left = self.shared.outside.waiting();
        let went_on = before.iter().filter(|gone| left.iter().all(|waiting| waiting.ticket != gone.ticket));
        let went_on: Vec<_> = went_on.map(|gone| gone.task).collect();
        for task in &went_on {
            let mut is_woken = false;
            self.shared.woken.each(|woken| is_woken |= woken == *task);
            if is_woken {
                self.shared.woken.retain(|woken| woken != *task);
                self.shared.woken.push(*task);
            }
        }
        !went_on.is_empty()
    }

    /// Whether all that waited for a lock still do.
    fn all_are_locked(&self) -> bool {
        let outside = &self.shared.outside;
        outside.systems().iter().all(|system| {
            let waiting = outside.locked(system.name);
            waiting == 0 || system.said().probe.is_none_or(|probe| runtime::wait(probe()) >= waiting)
        })
    }

    /// Has what is under way outside in tasks of tokio's end, and whoever waits there go on, before time passes. True when
    /// anybody can go on because of it.
    pub(super) fn attend_outside(&mut self, is_the_end: bool) -> bool {
        if !self.shared.outside.is_used() {
            return false;
        }
        (0..self.hosts.len()).for_each(|index| self.finish_tasks(index));
        if self.shared.woken.is_called_for() {
            return true;
        }
        if !self.shared.outside.anybody_waits() {
            return false;
        }
        let waiting = self.shared.outside.waiting();
        let patience = waiting.iter().map(|waiting| waiting.system.said().patience).max().unwrap_or_default();
        self.let_go_on(match &waiting[..] {
            _ if is_the_end => patience.max(DEADLOCK),
            // It is known what it waits for, and nobody waits for one that waits.
            [alone] if alone.is_locked => Duration::ZERO,
            _ => DEADLOCK,
        })
    }

    /// Lets the tokio tasks of a process go on until none has a call under way, and those that it has just spawned have
    /// ended: a transaction that is dropped is rolled back by one.
    pub(super) fn finish_tasks(&mut self, index: usize) {
        if !self.shared.outside.is_used() || self.hosts[index].living.is_none() {
            return;
        }
        if !self.shared.outside.is_held(index) && !self.hosts[index].context.has_new_tasks() {
            return;
        }
        let began = real_time();
        for looks in 0_u32.. {
            let is_held = self.shared.outside.is_held(index);
            let patience = if is_held { Duration::from_secs(2) } else { 2 * MOMENT };
            if !is_held && !self.hosts[index].context.has_new_tasks() || began.elapsed() > patience {
                break;
            }
            self.with_spawned(index, |context, now, _| context.rest(now));
            if looks > 0 {
                thread::park_timeout(PAUSE);
            }
        }
        self.hosts[index].context.leave_tasks();
    }

    /// What a dead incarnation has left open is closed, and that is waited for.
    pub(super) fn close_outside(&mut self, life: &Arc<Life>) {
        let outside = &self.shared.outside;
        if !outside.is_used() {
            return;
        }
        outside.bury(life.index);
        for system in outside.systems() {
            for close in system.said().closers {
                runtime::wait(close(life.process, life.incarnation));
            }
        }
        outside.stir();
    }

    /// Those who wait outside for ever, although everything else is done.
    pub(super) fn stuck_outside(&self) -> Option<Stuck> {
        let waiting = self.shared.outside.waiting();
        let waiting: Vec<_> =
            waiting.iter().map(|waiting| format!("{} waits {}", waiting.actor, waiting.why())).collect();
        (!waiting.is_empty()).then_some(Stuck::Deadlock { waiting })
    }
}
