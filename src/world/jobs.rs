//! The jobs of a world.

use std::time::Duration;

use serde::Serialize;
use tower_layer::Layer;
use tower_service::Service;

use super::World;
use crate::engine::state::{EnqueueOutcome, IncomingJob};
use crate::process::{EnqueueError, EnqueueService, JobParts, NewJob, incoming};
use crate::search::choice::Name;
use crate::system::job::{JobId, JobState, JobView, kind_of};

/// The error of a layer, boxed as in tower.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The number of jobs per batch of a bulk enqueue, as in Sidekiq.
const BATCH: usize = 1_000;

impl World {
    /// Enqueues a job that is ready at once. In inline mode, it runs immediately.
    ///
    /// # Panics
    /// Panics if the job cannot be written as JSON, if a layer refuses it, or, in inline mode, if it fails.
    pub fn enqueue<J: Serialize + 'static>(&self, job: J) -> JobId {
        self.enqueue_in(Duration::ZERO, job)
    }

    /// Enqueues a job that becomes ready after `delay`.
    ///
    /// # Panics
    /// Panics if the job cannot be written as JSON, if a layer refuses it, or, in inline mode without a delay, if it fails.
    pub fn enqueue_in<J: Serialize + 'static>(&self, delay: Duration, job: J) -> JobId {
        self.send(kind_of::<J>(), json(&job), delay)
    }

    /// Enqueues a job that becomes ready at a time since the world began. A time in the past means now.
    ///
    /// # Panics
    /// Panics if the job cannot be written as JSON, if a layer refuses it, or, in inline mode, if it is due and fails.
    pub fn enqueue_at<J: Serialize + 'static>(&self, at: Duration, job: J) -> JobId {
        self.enqueue_in(at.saturating_sub(self.now()), job)
    }

    /// Enqueues many jobs, in batches of 1,000. Returns their ids in order.
    ///
    /// # Panics
    /// Panics if a job cannot be written as JSON, if a layer refuses one, or, in inline mode, if one fails.
    pub fn enqueue_bulk<J: Serialize + 'static>(&self, jobs: impl IntoIterator<Item = J>) -> Vec<JobId> {
        let mut jobs = jobs.into_iter().peekable();
        let mut ids = Vec::with_capacity(jobs.size_hint().0);
        while jobs.peek().is_some() {
            // Serialize before anything is locked, because it runs the user's code.
            let batch: Vec<_> = jobs.by_ref().take(BATCH).map(|job| json(&job)).collect();
            let kind = kind_of::<J>();
            let keys: Vec<_> = batch.iter().map(|payload| self.shared.keys(kind, payload)).collect();
            let mut state = self.shared.state();
            if state.inline.is_some() || !self.enqueue_layers.is_empty() {
                drop(state);
                ids.extend(batch.into_iter().map(|payload| self.send(kind, payload, Duration::ZERO)));
            } else {
                for (payload, keys) in batch.into_iter().zip(keys) {
                    let enqueued = state
                        .enqueue(IncomingJob { kind, payload, keys, ..IncomingJob::default() }, &mut |_| {
                            false
                        });
                    ids.push(accepted(enqueued).1);
                }
            }
        }
        ids
    }

    /// Enqueues a raw payload under the name of a kind, as a program in another language, or an older version of this
    /// one, would.
    pub fn enqueue_raw(&self, kind: impl Into<Name>, payload: impl Into<String>) -> JobId {
        self.give((kind.into().as_str(), payload.into(), Duration::ZERO, None))
    }

    /// Enqueues a request unchanged, without the layers around the queue. See
    /// [`JobQueue::enqueue_new`](crate::JobQueue::enqueue_new).
    ///
    /// # Panics
    /// Panics if the key of the request is taken, and its conflict rule refuses it.
    pub fn enqueue_new(&self, request: NewJob) -> JobId {
        let keys = self.shared.keys(request.kind, &request.payload);
        self.enqueue_given(incoming(request, keys))
    }

    /// Adds a [`tower::Layer`](tower_layer::Layer) around each job that the test body enqueues, like
    /// [`Process::enqueue_layer`](crate::Process::enqueue_layer) for the jobs of a process: for a test that stands for
    /// a web server with such layers, for example. [`World::enqueue_raw`] bypasses them.
    pub fn enqueue_layer<L>(&self, layer: L) -> &Self
    where
        L: Layer<EnqueueService> + Send + 'static,
        L::Service: Service<NewJob, Response = JobId, Error: Into<BoxError>, Future: Send + 'static>,
        L::Service: Clone + Send + 'static,
    {
        self.enqueue_layers.push(layer);
        self
    }

    /// Enqueues a payload that is JSON already, through the layers, if there are any.
    pub(crate) fn send(&self, kind: &'static str, payload: String, delay: Duration) -> JobId {
        let layers = self.enqueue_layers.clone();
        if layers.is_empty() {
            return self.give((kind, payload, delay, None));
        }
        let sent = layers.send_given(&self.shared, kind, payload, delay);
        let (id, given) = sent.unwrap_or_else(|error| panic!("{error}"));
        given.into_iter().map(|given| self.give(given)).reduce(|first, _| first).unwrap_or(id)
    }

    fn give(&self, (kind, payload, delay, context): JobParts) -> JobId {
        let keys = self.shared.keys(kind, &payload);
        self.enqueue_given(IncomingJob { kind, payload, delay, keys, context, ..IncomingJob::default() })
    }

    fn enqueue_given(&self, incoming: IncomingJob) -> JobId {
        let (job, id, inline) = {
            let mut state = self.shared.state();
            let (job, id) = accepted(state.enqueue(incoming, &mut |_| false));
            (job, id, job != 0 && state.inline.is_some() && state.queue.job(job).state == JobState::Ready)
        };
        if inline {
            let performed = self.executor.borrow_mut().perform_inline(job);
            performed.unwrap_or_else(|error| panic!("a job that ran where it was enqueued failed: {error}"));
        }
        id
    }

    /// Returns all jobs that were ever enqueued in this world, in order, whatever their state.
    pub fn all_jobs(&self) -> Vec<JobView> {
        self.shared.state().queue.jobs().iter().map(JobView::from).collect()
    }

    /// Returns the jobs that wait for their time.
    pub fn scheduled(&self) -> Vec<JobView> {
        self.views(JobState::Scheduled)
    }

    /// Returns the jobs that wait for a retry.
    pub fn retries(&self) -> Vec<JobView> {
        self.views(JobState::Retrying)
    }

    /// Returns the dead set, in the order in which the jobs died.
    pub fn dead(&self) -> Vec<JobView> {
        let state = self.shared.state();
        state.queue.dead().map(|job| state.queue.job(job).into()).collect()
    }

    fn views(&self, wanted: JobState) -> Vec<JobView> {
        let state = self.shared.state();
        state.queue.jobs().iter().filter(|job| job.state == wanted).map(JobView::from).collect()
    }

    /// Makes a job of the dead set ready again, given its number. As in Sidekiq, it keeps its failures, so it is dead
    /// again after one more failure.
    ///
    /// # Panics
    /// Panics if there is no such job in the dead set.
    pub fn retry_dead(&self, job: u32) {
        let mut state = self.shared.state();
        let now = state.clock.now();
        if !state.queue.retry_dead(job, now) {
            let dead: Vec<_> = state.queue.dead().map(|job| format!("job#{job}")).collect();
            drop(state);
            panic!("job#{job} is not in the dead set, which holds: [{}]", dead.join(", "));
        }
    }

    /// Removes the waiting jobs of one kind from the queue, including scheduled jobs and retries. Returns their number.
    pub fn clear<J: 'static>(&self) -> usize {
        self.clear_where(|kind| kind == kind_of::<J>())
    }

    /// Removes all waiting jobs from the queue, including scheduled jobs and retries. Returns their number.
    pub fn clear_all(&self) -> usize {
        self.clear_where(|_| true)
    }

    fn clear_where(&self, wanted: impl Fn(&str) -> bool) -> usize {
        let mut state = self.shared.state();
        let waiting = state.queue.jobs().iter().filter(|job| job.state.is_waiting() && wanted(job.kind));
        let cleared: Vec<_> = waiting.map(|job| job.number).collect();
        cleared.iter().for_each(|&job| state.queue.give_up(job, JobState::Cleared));
        cleared.len()
    }
}

/// Returns the number and id of a job that the test enqueued. The number is 0 if the job existed already.
fn accepted(enqueued: EnqueueOutcome) -> (u32, JobId) {
    match enqueued {
        EnqueueOutcome::Accepted(job, id) => (job, id),
        EnqueueOutcome::Duplicate(id) => (0, id),
        EnqueueOutcome::Rejected(taken) => panic!("{}", EnqueueError::Locked(taken)),
        EnqueueOutcome::Crashed => unreachable!("the test does not crash"),
    }
}

pub(super) fn json<J: Serialize + 'static>(job: &J) -> String {
    serde_json::to_string(job).unwrap_or_else(|error| {
        panic!("{} cannot be enqueued: it cannot be written as JSON: {error}", kind_of::<J>())
    })
}
