//! A snapshot of the queue.

use std::fmt;

use serde::Serialize;

use super::World;
use crate::system::clock::Moment;
use crate::system::job::{JobState, JobView, short_kind};

/// All jobs that were enqueued in a world, in order, with their states.
///
/// `Display` prints one line per job, and `Serialize` writes all details. Both are the same in every run.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct QueueView(Vec<JobView>);

impl QueueView {
    /// Returns the jobs.
    pub fn jobs(&self) -> &[JobView] {
        &self.0
    }
}

impl World {
    /// Returns the present state of the queue.
    ///
    /// ```
    /// use retryproof::World;
    ///
    /// let world = World::fake();
    /// world.enqueue(6_u32);
    /// world.enqueue_in(std::time::Duration::from_secs(60), 7_u32);
    /// assert_eq!(world.queue().to_string(), "job#1 u32 6: ready\njob#2 u32 7: scheduled, due t+60s\n");
    /// ```
    pub fn queue(&self) -> QueueView {
        QueueView(self.all_jobs())
    }
}

impl fmt::Display for QueueView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for job in &self.0 {
            let JobView { number, kind, payload, state, attempts, failures, error, due, .. } = job;
            write!(f, "job#{number} {} {payload}: {}", short_kind(kind), word(*state))?;
            if let Some(due) = due {
                write!(f, ", due {}", Moment(*due))?;
            }
            if *attempts > 0 {
                write!(f, ", attempt {attempts}")?;
            }
            if let Some(error) = error {
                write!(f, ", failed {failures} ×: {}", error.replace('\n', "\\n"))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn word(state: JobState) -> &'static str {
    match state {
        JobState::Ready => "ready",
        JobState::Scheduled => "scheduled",
        JobState::Retrying => "retrying",
        JobState::Blocked => "blocked",
        JobState::Running => "running",
        JobState::Leased => "leased",
        JobState::Done => "done",
        JobState::Dead => "dead",
        JobState::Popped => "popped",
        JobState::Lost => "lost",
        JobState::Discarded => "discarded",
        JobState::Cleared => "cleared",
        JobState::Forgotten => "forgotten",
        JobState::Dropped => "dropped",
        JobState::Replaced => "replaced",
    }
}
