//! Stopping a process as a deploy does: it takes no more jobs, those that run may end for a while, and what overruns is
//! interrupted and put back. That is no failure.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Executor, Host, drop_quietly};
use crate::engine::life;
use crate::search::choice::Actor;
use crate::system::timeline::What;

/// Whether a process is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shutdown {
    No,
    /// At the latest then. `again`: it is then started once more, as by a deploy.
    Until {
        at: Duration,
        again: bool,
    },
    /// It has stopped, and stays so until it is started.
    Stopped,
}

impl Host {
    /// When this process, which is down, is booted again, if it is by itself.
    pub(super) fn restarts(&self) -> Option<Duration> {
        let is_down = self.living.is_none() && self.copy_of.is_none();
        (is_down && !self.has_stopped()).then_some(self.restart_at)
    }

    /// Whether it stays down when it has stopped.
    pub(super) fn stays_down(&self) -> bool {
        matches!(self.shutdown, Shutdown::Stopped | Shutdown::Until { again: false, .. })
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.shutdown == Shutdown::Stopped
    }
}

impl Executor {
    /// The place of a process; `what` is what is to be done with it.
    pub(super) fn host_named(&self, process: &str, what: &str) -> usize {
        let named = self.hosts.iter().position(|host| host.name.as_str() == process);
        named.unwrap_or_else(|| {
            let known: Vec<_> = self.hosts.iter().map(|host| format!("`{}`", host.name)).collect();
            panic!("there is no process `{process}` to be {what}; there are: [{}]", known.join(", "))
        })
    }

    /// Tells a process to stop.
    pub(crate) fn stop(&mut self, process: &str, again: bool) {
        let index = self.host_named(process, "stopped");
        self.chosen = None;
        match (self.hosts[index].shutdown, &self.hosts[index].living) {
            (Shutdown::Until { at, .. }, _) => self.hosts[index].shutdown = Shutdown::Until { at, again },
            (Shutdown::Stopped, _) => {}
            (Shutdown::No, None) if again => {}
            (Shutdown::No, None) => self.hosts[index].shutdown = Shutdown::Stopped,
            (Shutdown::No, Some(_)) => self.tell_to_stop(index, again),
        }
        // Its copies are of the same program.
        for copy in 0..self.hosts.len() {
            if self.hosts[copy].copy_of == Some(index) && self.hosts[copy].shutdown == Shutdown::No {
                self.tell_to_stop(copy, again);
            }
        }
        while self.stop_when_due() {}
    }

    /// Starts a process that was stopped, or is about to.
    pub(crate) fn start(&mut self, process: &str) {
        let index = self.host_named(process, "started");
        let host = &mut self.hosts[index];
        match host.shutdown {
            Shutdown::No => {}
            Shutdown::Until { at, .. } => host.shutdown = Shutdown::Until { at, again: true },
            Shutdown::Stopped => {
                host.shutdown = Shutdown::No;
                if let Err(panic) = self.boot(index) {
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }

    fn tell_to_stop(&mut self, index: usize, again: bool) {
        let host = &mut self.hosts[index];
        let Some((life, process)) = &host.living else { return };
        let at = {
            let mut state = self.shared.state();
            let until = state.clock.now().saturating_add(process.grace_period());
            let process = host.name;
            self.shared.stopping.store(true, Ordering::Relaxed);
            state.note(|| What::Stopping { process, until });
            until
        };
        host.shutdown = Shutdown::Until { at, again };
        life.stop().into_iter().for_each(std::task::Waker::wake);
    }

    /// The next moment at which the time of a process is over.
    pub(super) fn next_stop(&self) -> Option<Duration> {
        let at = |host: &Host| match host.shutdown {
            Shutdown::Until { at, .. } if host.living.is_some() => Some(at),
            _ => None,
        };
        self.hosts.iter().filter_map(at).min()
    }

    /// Stops a process in which nothing runs any more, or whose time is over. False: there is none.
    pub(super) fn stop_when_due(&mut self) -> bool {
        // Whoever can go on at this very moment goes first.
        if !self.shared.stopping.load(Ordering::Relaxed) || self.shared.woken.any() {
            return false;
        }
        let now = self.shared.state().clock.now();
        let (mut due, mut waiting) = (None, false);
        for index in 0..self.hosts.len() {
            let stops = self.hosts[index].living.as_ref().is_some_and(|(life, _)| life.is_stopping());
            if stops && self.hosts[index].shutdown == Shutdown::No {
                // A deviation: it is told by the choice, and restarts.
                self.tell_to_stop(index, true);
            }
            let Shutdown::Until { at, .. } = self.hosts[index].shutdown else { continue };
            if self.hosts[index].living.is_none() {
                // It has crashed meanwhile.
                let stays = self.hosts[index].stays_down();
                self.hosts[index].shutdown = if stays { Shutdown::Stopped } else { Shutdown::No };
            } else if self.hosts[index].busy == 0 || at <= now {
                due = due.or(Some(index));
            }
            waiting |= self.hosts[index].living.is_some();
        }
        self.shared.stopping.store(waiting, Ordering::Relaxed);
        due.map(|index| self.interrupt(index)).is_some()
    }

    /// Ends a process that stops. Jobs that still run are put back first, in the order in which they were begun; then
    /// their futures are dropped. The process is alive meanwhile: what destructors do is done.
    pub(super) fn interrupt(&mut self, index: usize) {
        let Some((life, _)) = &self.hosts[index].living else { return };
        let life = life.clone();
        let mut tasks: Vec<_> =
            self.tasks.iter_mut().filter_map(|task| task.take_if(|task| task.host == index)).collect();
        tasks.sort_by_key(|task| task.id.turn);
        let now = {
            let mut state = self.shared.state();
            let now = state.clock.now();
            for task in tasks.iter().rev() {
                let held = task.job().filter(|&(job, attempt)| state.queue.is_held_by(job, attempt));
                let Some((job, _)) = held else { continue };
                state.as_actor(task.actor(), |state| state.note(|| What::Interrupted));
                state.queue.put_back_first(job, now);
            }
            now
        };
        for task in tasks {
            let _acting = self.shared.acting(task.actor());
            let job = task.job();
            let host = &mut self.hosts[index];
            let dropped =
                || host.context.within(now, &life, || life::run_as(&life, || drop_quietly(task.future)));
            let _ = catch_unwind(AssertUnwindSafe(dropped));
            job.into_iter().for_each(|(job, _)| self.shared.end_inline(job));
        }
        let name = self.hosts[index].name;
        self.shared.state().as_actor(Actor::Test, |state| state.note(|| What::Stopped { process: name }));
        life.die();
        self.take_apart(index, None);
        let stays = self.hosts[index].stays_down();
        self.hosts[index].shutdown = if stays { Shutdown::Stopped } else { Shutdown::No };
    }
}
