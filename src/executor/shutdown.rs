//! Stops a process as a deploy does: it takes no more jobs, and running jobs may end during a grace period. Jobs that
//! take longer are interrupted and put back. This is not a failure.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Executor, ProcessSlot, drop_quietly};
use crate::engine::life;
use crate::search::choice::Actor;
use crate::system::timeline::EventKind;

/// Whether a process must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shutdown {
    No,
    /// At this time at the latest. If `again`, it is then restarted, as by a deploy.
    Until {
        at: Duration,
        again: bool,
    },
    /// It has stopped, and stays down until it is started.
    Stopped,
}

impl ProcessSlot {
    /// The time at which this process restarts, if it is down and restarts on its own.
    pub(super) fn restarts(&self) -> Option<Duration> {
        let is_down = self.living.is_none() && self.copy_of.is_none();
        (is_down && !self.has_stopped()).then_some(self.restart_at)
    }

    /// Reports whether it stays down after it has stopped.
    pub(super) fn stays_down(&self) -> bool {
        matches!(self.shutdown, Shutdown::Stopped | Shutdown::Until { again: false, .. })
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.shutdown == Shutdown::Stopped
    }
}

impl Executor {
    /// The index of a process. `what` is the intended operation, for the panic message.
    pub(super) fn host_named(&self, process: &str, what: &str) -> usize {
        let named = self.hosts.iter().position(|host| host.name.as_str() == process);
        named.unwrap_or_else(|| {
            let known: Vec<_> = self.hosts.iter().map(|host| format!("`{}`", host.name)).collect();
            panic!("there is no process `{process}` to be {what}; there are: [{}]", known.join(", "))
        })
    }

    /// Gives a process the stop signal.
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
        // Its copies belong to the same deployment.
        for copy in 0..self.hosts.len() {
            if self.hosts[copy].copy_of == Some(index) && self.hosts[copy].shutdown == Shutdown::No {
                self.tell_to_stop(copy, again);
            }
        }
        while self.stop_when_due() {}
    }

    /// Starts a process that was stopped or is stopping.
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
            state.note(|| EventKind::Stopping { process, until });
            until
        };
        host.shutdown = Shutdown::Until { at, again };
        life.stop().into_iter().for_each(std::task::Waker::wake);
    }

    /// The next time at which the grace period of a process ends.
    pub(super) fn next_stop(&self) -> Option<Duration> {
        let at = |host: &ProcessSlot| match host.shutdown {
            Shutdown::Until { at, .. } if host.living.is_some() => Some(at),
            _ => None,
        };
        self.hosts.iter().filter_map(at).min()
    }

    /// Stops a process that is idle or whose grace period is over. Returns false if no process is due.
    pub(super) fn stop_when_due(&mut self) -> bool {
        // Tasks that can run at this very moment go first.
        if !self.shared.stopping.load(Ordering::Relaxed) || self.shared.woken.any() {
            return false;
        }
        let now = self.shared.state().clock.now();
        let (mut due, mut waiting) = (None, false);
        for index in 0..self.hosts.len() {
            let stops = self.hosts[index].living.as_ref().is_some_and(|(life, _)| life.is_stopping());
            if stops && self.hosts[index].shutdown == Shutdown::No {
                // A deviation: the choice is in the timeline, and the process restarts.
                self.tell_to_stop(index, true);
            }
            let Shutdown::Until { at, .. } = self.hosts[index].shutdown else { continue };
            if self.hosts[index].living.is_none() {
                // It has crashed in the meantime.
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

    /// Ends a process that is stopping. Jobs that still run are put back first, in the order in which they began.
    /// Then their futures are dropped. The process is still alive, so the calls of destructors take effect.
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
                state.as_actor(task.actor(), |state| state.note(|| EventKind::Interrupted));
                state.interrupted(job);
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
        self.shared
            .state()
            .as_actor(Actor::Test, |state| state.note(|| EventKind::Stopped { process: name }));
        life.die();
        self.tear_down(index, None);
        let stays = self.hosts[index].stays_down();
        self.hosts[index].shutdown = if stays { Shutdown::Stopped } else { Shutdown::No };
    }
}
