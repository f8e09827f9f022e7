//! Handles a job that could not take its lock. This is not a failure.

use super::Executor;
use crate::system::job::{JobState, Refusal};
use crate::system::timeline::EventKind;

impl Executor {
    /// Wakes the attempts that wait for the lock of a job that is over without having ended. Returns whether there
    /// was one.
    pub(super) fn wake_for_locks(&self) -> bool {
        let woken = self.shared.state().queue.locks.take_woken();
        let any = !woken.is_empty();
        self.shared.wake(woken);
        any
    }

    /// Handles an attempt that ended before its handler ran because another job has its lock.
    pub(super) fn rejected(&mut self, job: u32, host: usize, refusal: &Refusal) {
        let mut state = self.shared.state();
        let now = state.clock.now();
        match refusal {
            Refusal::Drop => {
                state.queue.give_up(job, JobState::Dropped);
                self.tally.discarded += 1;
            }
            Refusal::Reject(taken) => {
                state.queue.reject(job, now, taken.to_string());
                self.tally.dead += 1;
            }
            Refusal::PutBack(wait, taken) => {
                let due = now.saturating_add(*wait);
                state.note(|| EventKind::Snoozed { due });
                state.put_back(job, due, || taken.to_string());
                self.tally.snoozed += 1;
            }
            Refusal::CannotRun(error) => {
                let error = error.to_string();
                state.note(|| EventKind::Failed { error: error.clone(), retry_at: None });
                drop(state);
                self.cannot_run(job, Some(host), error);
            }
        }
    }
}
