//! The choice of the process that takes a job, and the fresh copy of a process that is the only candidate.

use std::rc::Rc;

use super::task::Task;
use super::{Executor, ProcessSlot};
use crate::engine::runtime::Context;
use crate::search::choice::Name;

impl Executor {
    /// Reports whether the process may take the job at all. A copy takes only jobs that have lost a lease in its original.
    pub(super) fn may_take(&self, index: usize, job: u32) -> bool {
        let Some(original) = self.hosts[index].copy_of else { return true };
        self.overtaken_in(job) == Some(original)
    }

    /// The process in which an earlier attempt of the job still runs.
    fn overtaken_in(&self, job: u32) -> Option<usize> {
        if !self.overtaken {
            return None;
        }
        let is_its = |task: &&Task| task.job().is_some_and(|(of, _)| of == job);
        let host = self.tasks.iter().flatten().find(is_its)?.host;
        Some(self.hosts[host].copy_of.unwrap_or(host))
    }

    /// Reports whether an attempt of the job runs in a process.
    fn runs_in(&self, job: u32, host: usize) -> bool {
        self.tasks
            .iter()
            .flatten()
            .any(|task| task.host == host && task.job().is_some_and(|(of, _)| of == job))
    }

    /// The name of the process, or of the one of which it is a copy.
    pub(super) fn original_of(&self, host: usize) -> Name {
        let original = self.hosts[host].copy_of.unwrap_or(host);
        self.hosts[original].name
    }

    /// A job that is redelivered while its first worker stalls goes to another process. If none has a free slot, this boots a
    /// fresh copy of the process, as another machine would.
    pub(super) fn copy_for_overtaken(&mut self) {
        if !self.overtaken || self.shared.state().queue.ready_count() == 0 {
            return;
        }
        let ready = self.shared.state().queue.ready();
        for job in ready {
            let Some(original) = self.overtaken_in(job) else { continue };
            let is_elsewhere = |index| !self.runs_in(job, index) && self.hosts[index].has_free_slot();
            let is_served = {
                let state = self.shared.state();
                !self.can_take(&state, original, job) && self.hosts[original].living.is_some()
                    || self.host_with(&state, job, is_elsewhere).is_some()
            };
            if !is_served && !self.shared.state().keeps_thread_locals(self.hosts[original].name) {
                self.boot_copy_of(original);
            }
        }
    }

    fn boot_copy_of(&mut self, original: usize) {
        let is_free = |host: &ProcessSlot| host.copy_of == Some(original) && host.living.is_none();
        let index = self.hosts.iter().position(is_free).unwrap_or_else(|| {
            let copies = self.hosts.iter().filter(|host| host.copy_of == Some(original)).count();
            let host = &self.hosts[original];
            let name = Name::from(format!("{}#{}", host.name, copies + 2));
            let context = Context::new(self.pool.clone());
            self.hosts.push(ProcessSlot::new(name, Rc::clone(&host.boot), context, Some(original)));
            self.hosts.len() - 1
        });
        if let Err(panic) = self.boot(index) {
            self.broken_boot = Some(panic);
        }
    }

    /// Draws the process that takes a job, if more than one could. `first` is the process that takes it in the ordinary course.
    /// A second delivery goes to a process that did not have the job before.
    pub(super) fn taker_of(&mut self, job: u32, first: usize) -> usize {
        if self.hosts.len() == 1 || !self.may_switch() {
            return first;
        }
        let last = self.takers.get(&job).copied();
        let (actor, mut candidates) = {
            let state = self.shared.state();
            let can = |&index: &usize| self.hosts[index].has_free_slot() && self.can_take(&state, index, job);
            let others = (0..self.hosts.len()).filter(|index| *index != first);
            let candidates: Vec<_> = [first].into_iter().chain(others).filter(can).collect();
            (state.attempt_to_come(job), candidates)
        };
        candidates.sort_by_key(|&index| self.overtaken && self.runs_in(job, index) || Some(index) == last);
        let names: Vec<_> = candidates.iter().map(|&index| self.hosts[index].name).collect();
        let taken = self.shared.state().taken_by(actor, &names);
        let taker = candidates.get(taken).copied().unwrap_or(first);
        self.takers.insert(job, taker);
        taker
    }
}
