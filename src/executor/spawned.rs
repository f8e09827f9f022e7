//! Tasks that a process has spawned: the user's own loops.

use std::sync::Arc;
use std::time::Duration;

use super::Executor;
use super::task::{Task, Work};
use crate::engine::life::Life;
use crate::process::Attempt;
use crate::search::choice::Name;
use crate::system::clock::{TaskId, Wake};
use crate::system::job::JobFailure;
use crate::system::timeline::EventKind;

impl Executor {
    /// Adds a task of a process that has just booted.
    pub(super) fn spawn(&mut self, host: usize, name: Name, future: Attempt) {
        let id = self.add_task(host, Work::Spawned(name), future);
        self.shared.state().record.note_spawned();
        self.shared.woken.push(id);
    }

    /// Handles the end of a spawned task. If it failed, its process dies, like a `main` that returns an error.
    pub(super) fn spawned_ended(&mut self, life: &Arc<Life>, result: Result<(), JobFailure>) {
        if result.is_err() {
            self.shared.barrier();
        }
        if let Err(failure) = result {
            let error = failure.text;
            self.shared.state().note(|| EventKind::Exited { error });
            life.die();
            self.tear_down(life.index, None);
        }
    }

    /// Lets spawned tokio tasks run. Returns whether that had any result.
    pub(super) fn turn_spawned(&mut self) -> bool {
        let mut moved = false;
        for index in 0..self.hosts.len() {
            if !self.hosts[index].context.has_tasks() {
                continue;
            }
            self.shared.barrier();
            let before = self.shared.state().steps();
            self.with_spawned(index, |context, now, _| context.turn(now));
            self.shared.woken.clear_progress();
            moved |= self.shared.state().steps() != before || self.shared.woken.is_called_for();
        }
        moved
    }

    /// Wakes tasks that a tokio context has woken at the given times: immediately, or when the time here is the same.
    pub(super) fn wake_in_time(&self, woken: &[(Duration, TaskId)], now: Duration) {
        for (at, id) in woken {
            match *at <= now {
                true => self.shared.woken.push(*id),
                false => {
                    self.shared.state().clock.set(*at, Wake::Task(*id));
                }
            }
        }
    }

    /// The current attempts, each with its job.
    pub(super) fn attempts(&self) -> impl Iterator<Item = (&Task, u32)> {
        self.tasks.iter().flatten().filter_map(|task| task.job().map(|(job, _)| (task, job)))
    }

    /// Assigns an index to a task.
    pub(super) fn add_task(&mut self, host: usize, work: Work, future: Attempt) -> TaskId {
        let slot = self.tasks.iter().position(Option::is_none).unwrap_or_else(|| {
            self.tasks.push(None);
            self.tasks.len() - 1
        });
        self.turns += 1;
        let id = TaskId { slot: slot as u32, turn: self.turns };
        self.tasks[slot] = Some(Task::new(id, host, work, future, &self.shared));
        id
    }
}
