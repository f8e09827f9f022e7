//! Assertions on the queue. Their failures list the waiting jobs.

use std::fmt::Write;

use serde::de::DeserializeOwned;

use super::World;
use crate::system::clock::Moment;
use crate::system::job::{Job, JobState, kind_of, short_kind};

/// The maximum number of jobs that a failed assertion lists.
const MOST_LISTED: usize = 20;

impl World {
    /// Returns the waiting jobs of one kind, in the order in which workers will take them.
    ///
    /// # Panics
    /// Panics if a job does not decode. The message lists the waiting jobs.
    #[track_caller]
    pub fn all_enqueued<J: DeserializeOwned + 'static>(&self) -> Vec<J> {
        let decoded = self.waiting::<J>().into_iter().map(|job| {
            let decoded = serde_json::from_str(&job.payload);
            decoded.map_err(|error| (job.number, error))
        });
        match decoded.collect() {
            Ok(jobs) => jobs,
            Err((job, error)) => {
                panic!("job#{job} {} does not decode: {error}; {}", kind_of::<J>(), self.listed())
            }
        }
    }

    /// Asserts that `matcher` accepts a waiting job of this kind.
    ///
    /// ```
    /// use retryproof::World;
    ///
    /// let world = World::fake();
    /// world.enqueue("ada@example.com".to_owned());
    /// world.assert_enqueued(|to: &String| to.ends_with("example.com"));
    /// world.refute_enqueued(|to: &String| to.is_empty());
    /// ```
    ///
    /// # Panics
    /// Panics if there is no such job. The message lists the waiting jobs.
    #[track_caller]
    pub fn assert_enqueued<J: DeserializeOwned + 'static>(&self, matcher: impl Fn(&J) -> bool) {
        if !self.all_enqueued::<J>().iter().any(matcher) {
            panic!("no waiting {} matches; {}", kind_of::<J>(), self.listed());
        }
    }

    /// Asserts that `matcher` accepts no waiting job of this kind.
    ///
    /// # Panics
    /// Panics if there is such a job. The message lists the waiting jobs.
    #[track_caller]
    pub fn refute_enqueued<J: DeserializeOwned + 'static>(&self, matcher: impl Fn(&J) -> bool) {
        let found = self.all_enqueued::<J>().iter().filter(|job| matcher(job)).count();
        if found > 0 {
            panic!("{found} waiting {} should not exist; {}", kind_of::<J>(), self.listed());
        }
    }

    fn waiting<J: 'static>(&self) -> Vec<Job> {
        let state = self.shared.state();
        let waits = |job: &&Job| job.state.is_waiting() && job.kind == kind_of::<J>();
        state.queue.jobs().iter().filter(waits).cloned().collect()
    }

    fn listed(&self) -> String {
        let state = self.shared.state();
        let waiting: Vec<_> = state.queue.jobs().iter().filter(|job| job.state.is_waiting()).collect();
        if waiting.is_empty() {
            return "nothing waits".to_owned();
        }
        let mut text = format!("{} wait:", waiting.len());
        for job in waiting.iter().take(MOST_LISTED) {
            let due = match job.state {
                JobState::Ready => String::new(),
                JobState::Blocked => ", blocked".to_owned(),
                _ => format!(", due {}", Moment(job.at)),
            };
            let _ = write!(text, "\n  job#{} {} {}{due}", job.number, short_kind(job.kind), job.payload);
        }
        if waiting.len() > MOST_LISTED {
            let _ = write!(text, "\n  and {} more", waiting.len() - MOST_LISTED);
        }
        text
    }
}
