//! Jobs of a world: how they come in, and where they are.

use std::time::Duration;

use serde::Serialize;
use tower_layer::Layer;
use tower_service::Service;

use super::World;
use crate::engine::state::{Enqueued, Incoming};
use crate::process::{Enqueue, EnqueueError, EnqueueService, Given, incoming};
use crate::search::choice::Name;
use crate::system::job::{JobId, JobState, JobView, kind_of};

/// An error of whatever layer, boxed as tower's layers do.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How many jobs a bulk enqueue puts in at once, as Sidekiq's.
const BATCH: usize = 1_000;

impl World {
    /// Enqueues a job, ready at once. In inline mode it runs here and now.
    ///
    /// # Panics
    /// When it cannot be written as JSON, a layer refuses it, and in inline mode when it fails.
    pub fn enqueue<J: Serialize + 'static>(&self, job: J) -> JobId {
        self.enqueue_in(Duration::ZERO, job)
    }

    /// Enqueues a job that becomes ready after `delay`.
    ///
    /// # Panics
    /// When it cannot be written as JSON, a layer refuses it, and in inline mode when there is no delay and it fails.
    pub fn enqueue_in<J: Serialize + 'static>(&self, delay: Duration, job: J) -> JobId {
        self.send(kind_of::<J>(), json(&job), delay)
    }

    /// Enqueues a job that becomes ready at a time since the world began. A time in the past means now.
    ///
    /// # Panics
    /// When it cannot be written as JSON, a layer refuses it, and in inline mode when its time has come and it fails.
    pub fn enqueue_at<J: Serialize + 'static>(&self, at: Duration, job: J) -> JobId {
        self.enqueue_in(at.saturating_sub(self.now()), job)
    }

    /// Enqueues many jobs, in batches of 1,000. Their ids come back in order.
    ///
    /// # Panics
    /// When one cannot be written as JSON, a layer refuses one, and in inline mode when one fails.
    pub fn enqueue_bulk<J: Serialize + 'static>(&self, jobs: impl IntoIterator<Item = J>) -> Vec<JobId> {
        let mut jobs = jobs.into_iter().peekable();
        let mut ids = Vec::with_capacity(jobs.size_hint().0);
        while jobs.peek().is_some() {
            // Written before anything is locked: what a job writes itself as is the user's code.
            let batch: Vec<_> = jobs.by_ref().take(BATCH).map(|job| json(&job)).collect();
            let kind = kind_of::<J>();
            let keys: Vec<_> = batch.iter().map(|payload| self.shared.keys(kind, payload)).collect();
            let mut state = self.shared.state();
            if state.inline.is_some() || !self.enqueue_layers.borrow().is_empty() {
                drop(state);
                ids.extend(batch.into_iter().map(|payload| self.send(kind, payload, Duration::ZERO)));
            } else {
                for (payload, keys) in batch.into_iter().zip(keys) {
                    let enqueued = state
                        .enqueue(Incoming { kind, payload, keys, ..Incoming::default() }, &mut |_| false);
                    ids.push(accepted(enqueued).1);
                }
            }
        }
        ids
    }

    /// Puts a payload into the queue as it is, under a kind's name: what a program in another language, or an older
    /// version of this one, would have put there.
    pub fn enqueue_raw(&self, kind: impl Into<Name>, payload: impl Into<String>) -> JobId {
        self.give((kind.into().as_str(), payload.into(), Duration::ZERO, None))
    }

    /// Puts a request into the queue as it is, past the layers around it. See [`JobQueue::put`](crate::JobQueue::put).
    ///
    /// # Panics
    /// When its key is taken, and it is to be refused then.
    pub fn put(&self, request: Enqueue) -> JobId {
        let keys = self.shared.keys(request.kind, &request.payload);
        self.enqueue_given(incoming(request, keys))
    }

    /// Puts a [`tower::Layer`](tower_layer::Layer) around each job that the test body enqueues, as
    /// [`Process::enqueue_layer`](crate::Process::enqueue_layer) does around those of a process: where the test stands in
    /// for a web server, say, that has such layers. [`World::enqueue_raw`] goes past them.
    pub fn enqueue_layer<L>(&self, layer: L) -> &Self
    where
        L: Layer<EnqueueService> + Send + 'static,
        L::Service: Service<Enqueue, Response = JobId, Error: Into<BoxError>, Future: Send + 'static>,
        L::Service: Clone + Send + 'static,
    {
        self.enqueue_layers.borrow_mut().push(layer);
        self
    }

    /// Enqueues what is already written as JSON, through the layers, if there are any.
    pub(crate) fn send(&self, kind: &'static str, payload: String, delay: Duration) -> JobId {
        let layers = self.enqueue_layers.borrow().clone();
        if layers.is_empty() {
            return self.give((kind, payload, delay, None));
        }
        let sent = layers.send_given(&self.shared, kind, payload, delay);
        let (id, given) = sent.unwrap_or_else(|error| panic!("{error}"));
        given.into_iter().map(|given| self.give(given)).reduce(|first, _| first).unwrap_or(id)
    }

    fn give(&self, (kind, payload, delay, context): Given) -> JobId {
        let keys = self.shared.keys(kind, &payload);
        self.enqueue_given(Incoming { kind, payload, delay, keys, context, ..Incoming::default() })
    }

    fn enqueue_given(&self, incoming: Incoming) -> JobId {
        let (job, id, inline) = {
            let mut state = self.shared.state();
            let (job, id) = accepted(state.enqueue(incoming, &mut |_| false));
            (job, id, job != 0 && state.inline.is_some() && state.queue.job(job).state == JobState::Ready)
        };
        if inline {
            let performed = self.executor.borrow_mut().perform_inline(job);
            performed.unwrap_or_else(|error| panic!("a job that ran where it was enqueued: {error}"));
        }
        id
    }

    /// Every job that ever came into this world, in the order in which they came, wherever it is now.
    pub fn all_jobs(&self) -> Vec<JobView> {
        self.shared.state().queue.jobs().iter().map(JobView::from).collect()
    }

    /// The jobs that wait for their time.
    pub fn scheduled(&self) -> Vec<JobView> {
        self.views(JobState::Scheduled)
    }

    /// The jobs that wait to be tried again.
    pub fn retries(&self) -> Vec<JobView> {
        self.views(JobState::Retrying)
    }

    /// The dead set, in the order in which they died.
    pub fn dead(&self) -> Vec<JobView> {
        let state = self.shared.state();
        state.queue.dead().map(|job| state.queue.job(job).into()).collect()
    }

    fn views(&self, wanted: JobState) -> Vec<JobView> {
        let state = self.shared.state();
        state.queue.jobs().iter().filter(|job| job.state == wanted).map(JobView::from).collect()
    }

    /// Makes a job of the dead set ready again, by its number. As in Sidekiq it keeps its failures: when it fails once
    /// more, it is dead once more.
    ///
    /// # Panics
    /// When no such job is in the dead set.
    pub fn retry_dead(&self, job: u32) {
        let mut state = self.shared.state();
        let now = state.clock.now();
        if !state.queue.retry_dead(job, now) {
            let dead: Vec<_> = state.queue.dead().map(|job| format!("job#{job}")).collect();
            drop(state);
            panic!("job#{job} is not in the dead set, which holds: [{}]", dead.join(", "));
        }
    }

    /// Takes the waiting jobs of one kind out of the queue, scheduled ones and retries included, and no others.
    /// Returns how many there were.
    pub fn clear<J: 'static>(&self) -> usize {
        self.clear_where(|kind| kind == kind_of::<J>())
    }

    /// Takes all waiting jobs out of the queue, scheduled ones and retries included. Returns how many there were.
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

/// The number and id of what the test itself enqueued; the number is 0 for a job that is there already.
fn accepted(enqueued: Enqueued) -> (u32, JobId) {
    match enqueued {
        Enqueued::Accepted(job, id) => (job, id),
        Enqueued::Duplicate(id) => (0, id),
        Enqueued::Rejected(taken) => panic!("{}", EnqueueError::Locked(taken)),
        Enqueued::Crashed => unreachable!("the test does not die"),
    }
}

pub(super) fn json<J: Serialize + 'static>(job: &J) -> String {
    serde_json::to_string(job).unwrap_or_else(|error| {
        panic!("{} cannot be enqueued: it cannot be written as JSON: {error}", kind_of::<J>())
    })
}
