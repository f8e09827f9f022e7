//! Sidekiq's drains: ready jobs run in order, in the calling test. Nothing goes wrong and nothing is retried.

use std::time::Duration;

use super::Executor;
use crate::engine::state::{State, Stuck};
use crate::system::job::{JobError, JobState};

/// The result of a drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Attempts that were started.
    pub performed: usize,
    /// Attempts that succeeded.
    pub succeeded: usize,
    /// Attempts that failed.
    pub failed: usize,
    /// Attempts after which the job was discarded.
    pub discarded: usize,
    /// Jobs that entered the dead set.
    pub dead: usize,
    /// Attempts after which the job was put back for later.
    pub snoozed: usize,
}

/// The reason why a drain stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DrainError {
    /// A job failed. It was removed from the queue. The jobs behind it are still there.
    #[error("job#{job} {kind} failed: {error}")]
    Failed {
        /// The number of the job.
        job: u32,
        /// Its kind.
        kind: String,
        /// The error of the job.
        error: String,
    },
    /// No job is ready.
    #[error("no {what} is ready to run; {}", match ready { 0 => "the queue is empty".to_owned(), ready => format!("ready jobs of other kinds: {ready}") })]
    EmptyQueue {
        /// The kind that was requested.
        what: String,
        /// The number of ready jobs of other kinds.
        ready: usize,
    },
    /// A job could not run.
    #[error(transparent)]
    NotRun(#[from] JobError),
    /// The run cannot continue.
    #[error(transparent)]
    Stuck(#[from] Stuck),
}

/// Which jobs to drain, and how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Only jobs of this kind.
    pub(crate) only: Option<&'static str>,
    pub(crate) limit: usize,
    /// Includes jobs that are due until then.
    pub(crate) until: Option<Duration>,
    /// Includes jobs that the jobs enqueue.
    pub(crate) recursive: bool,
    /// Continues after the first error.
    pub(crate) keep_going: bool,
}

impl Executor {
    /// Runs all ready jobs and the jobs that they enqueue, in the order of production. The first error ends the
    /// drain.
    pub(crate) fn drain(&mut self, plan: Plan) -> Result<Drained, DrainError> {
        self.tally = Drained::default();
        let were_suspended = self.shared.state().search.suspend_faults(true);
        let drained = self.drain_calmly(plan);
        self.shared.state().search.suspend_faults(were_suspended);
        drained.map(|()| self.tally)
    }

    fn drain_calmly(&mut self, plan: Plan) -> Result<(), DrainError> {
        // Jobs are numbered in order, so jobs with a greater number were enqueued by the drain.
        let last = self.shared.state().queue.jobs().len() as u32;
        let mut set_aside = Vec::new();
        let drained = loop {
            if self.tally.performed >= plan.limit {
                break Ok(());
            }
            let Some((job, host)) = self.next_to_drain(plan) else { break Ok(()) };
            self.shared.state().queue.take(job);
            if !plan.recursive && job > last {
                set_aside.push(job);
                continue;
            }
            let performed = match host {
                Ok(host) => self.perform(job, host),
                Err(why) => {
                    self.cannot_run(job, None, why.to_string());
                    Err(why.into())
                }
            };
            if let (Err(error), false) = (performed, plan.keep_going) {
                break Err(error);
            }
        };
        let mut state = self.shared.state();
        set_aside.into_iter().for_each(|job| state.untake(job));
        drained
    }

    /// The next job, and the process that runs it or the reason why no process can. In a drain a process has as many
    /// slots as it needs.
    fn next_to_drain(&mut self, plan: Plan) -> Option<(u32, Result<usize, JobError>)> {
        loop {
            if let Some((job, host)) = self.next(plan.only, true) {
                return Some((job, Ok(host)));
            }
            let unrunnable = {
                let state = self.shared.state();
                let wanted =
                    state.queue.heads().filter(|head| plan.only.is_none_or(|only| only == head.kind));
                wanted.min_by_key(|head| head.turn).map(|head| head.job)
            };
            if let Some(job) = unrunnable {
                let why = self.why_never(job)?;
                return Some((job, Err(why)));
            }
            let next = self.shared.state().queue.next_due();
            let due = next.filter(|&due| plan.until.is_some_and(|until| due <= until))?;
            self.shared.advance(due);
        }
    }

    /// Runs a job that was taken to its end.
    fn perform(&mut self, job: u32, host: usize) -> Result<(), DrainError> {
        self.tally.performed += 1;
        self.begin(job, host);
        self.finish_running()?;
        failure_of(&self.shared.state(), job)
    }

    /// Runs the first ready job of a kind.
    pub(crate) fn perform_one(&mut self, kind: &'static str) -> Result<(), DrainError> {
        let plan = Plan { only: Some(kind), limit: 1, until: None, recursive: true, keep_going: false };
        match self.drain(plan)?.performed {
            0 => {
                let (what, ready) = (kind.to_owned(), self.shared.state().queue.ready_count());
                Err(DrainError::EmptyQueue { what, ready })
            }
            _ => Ok(()),
        }
    }

    /// Runs the current jobs to their end, and takes no others.
    pub(super) fn finish_running(&mut self) -> Result<(), DrainError> {
        let _work = self.shared.work();
        loop {
            let (begins, stuck) = {
                let state = self.shared.state();
                (state.inline.is_some(), state.search.stuck().cloned())
            };
            if begins && self.begin_inline() {
                continue;
            }
            if let Some(stuck) = stuck {
                return Err(self.give_up(stuck).into());
            }
            if self.attempts().next().is_none() {
                return Ok(());
            }
            if let Some(id) = self.shared.woken.pop() {
                self.run(id);
            } else if !self.turn_spawned() && !self.pass_time() {
                self.is_quiescent();
            }
        }
    }
}

/// The failure of a job that a drain has run, if it failed.
pub(super) fn failure_of(state: &State, job: u32) -> Result<(), DrainError> {
    let job = state.queue.job(job);
    let was_killed = job.state == JobState::Dead && !job.could_not_run;
    match (job.state, job.error()) {
        (JobState::Popped | JobState::Dead, Some(error)) if !was_killed => {
            let (kind, error) = (job.kind.to_owned(), error.to_owned());
            Err(DrainError::Failed { job: job.number, kind, error })
        }
        _ => Ok(()),
    }
}
