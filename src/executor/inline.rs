//! Inline mode: a job runs at the enqueue.
//!
//! A job that enqueues another one waits until that one has ended. It waits like any future, so a chain of jobs uses
//! no stack.

use super::Executor;
use super::drain::{DrainError, failure_of};

impl Executor {
    /// Begins a job that another one waits for in inline mode.
    pub(super) fn begin_inline(&mut self) -> bool {
        let Some(job) = self.shared.state().inline.as_mut().and_then(|inline| inline.begins.pop_front())
        else {
            return false;
        };
        let living = {
            let state = self.shared.state();
            let kind = state.queue.job(job).kind;
            let handles = |host: &super::ProcessSlot| {
                host.living.as_ref().is_some_and(|(life, p)| !life.is_dead() && p.handles_kind(kind))
            };
            self.hosts.iter().position(handles)
        };
        self.shared.state().queue.take(job);
        match living {
            Some(host) => self.begin(job, host),
            None => {
                let kind = self.shared.state().queue.job(job).kind.to_owned();
                self.cannot_run(job, None, crate::system::job::JobError::NoHandler { job, kind }.to_string());
            }
        }
        true
    }

    /// Runs a job that the test body has enqueued to its end.
    pub(crate) fn perform_inline(&mut self, job: u32) -> Result<(), DrainError> {
        let were_suspended = {
            let mut state = self.shared.state();
            state.inline.get_or_insert_default().begins.push_back(job);
            state.search.suspend_faults(true)
        };
        let finished = self.finish_running();
        self.shared.state().search.suspend_faults(were_suspended);
        finished?;
        failure_of(&self.shared.state(), job)
    }
}
