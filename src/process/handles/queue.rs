//! The queue, through which the code under test enqueues jobs.

use std::time::Duration;

use serde::Serialize;

use super::enqueue::{EnqueueLayers, NewJob, enqueue_through, run_blocking};
use super::pending::{EnqueueError, EnqueueFuture, PendingJob, QueueTarget, pending_job};
use crate::engine::call::Call;
use crate::engine::link::{Link, Liveness};
use crate::engine::slots;
use crate::search::choice::Place;
use crate::system::job::{JobId, kind_of};

/// The queue. The handle belongs to one incarnation of a process.
///
/// ```
/// use retryproof::World;
/// use std::time::Duration;
///
/// let world = World::fake();
/// world.process("worker", |p| {
///     let queue = p.queue();
///     p.handle(async move |order: u32| {
///         queue.enqueue(format!("confirm {order}")).await?;
///         queue.enqueue_in(Duration::from_secs(3_600), format!("remind {order}")).await.map(drop)
///     });
///     p.handle(async |_mail: String| ());
/// });
/// world.enqueue(6_u32);
/// world.perform_one::<u32>().unwrap();
/// world.assert_enqueued(|mail: &String| mail == "confirm 6");
/// assert_eq!(world.scheduled()[0].payload, "\"remind 6\"");
/// ```
#[derive(Clone, Debug)]
pub struct JobQueue {
    pub(in crate::process) link: Link,
    pub(in crate::process) layers: EnqueueLayers,
    /// The number of jobs per batch of a bulk.
    pub(in crate::process) batch: usize,
}

/// The default number of jobs per batch of a bulk, as in Sidekiq.
const BATCH: usize = 1_000;

impl JobQueue {
    pub(crate) fn new(link: Link, layers: EnqueueLayers) -> Self {
        Self { link, layers, batch: BATCH }
    }

    /// Enqueues a job that is ready at once.
    ///
    /// # Errors
    /// Returns an error if the queue does not answer, if a layer around it fails, or if the job cannot be written as JSON.
    #[track_caller]
    pub fn enqueue<J: Serialize + 'static>(&self, job: J) -> EnqueueFuture {
        self.enqueue_in(Duration::ZERO, job)
    }

    /// Enqueues a job that becomes ready after `delay`.
    ///
    /// # Errors
    /// Returns an error if the queue does not answer, or if the job cannot be written as JSON.
    #[track_caller]
    pub fn enqueue_in<J: Serialize + 'static>(&self, delay: Duration, job: J) -> EnqueueFuture {
        self.send(pending_job(kind_of::<J>(), &job, delay, None, Place::caller()))
    }

    /// Enqueues a job that becomes ready at a time since the world began. A time in the past means now.
    ///
    /// # Errors
    /// Returns an error if the queue does not answer, or if the job cannot be written as JSON.
    #[track_caller]
    pub fn enqueue_at<J: Serialize + 'static>(&self, at: Duration, job: J) -> EnqueueFuture {
        self.send(pending_job(kind_of::<J>(), &job, Duration::ZERO, Some(at), Place::caller()))
    }

    /// Enqueues a request unchanged, through the layers around the queue.
    ///
    /// ```
    /// use retryproof::job::NewJob;
    /// use retryproof::{Conflict, World};
    ///
    /// let world = World::fake();
    /// world.process("worker", |p| {
    ///     let queue = p.queue();
    ///     p.handle(async move |order: u32| {
    ///         let mail = NewJob::encoded::<String>(format!("\"confirm {order}\""));
    ///         queue.enqueue_new(mail.deduplicate(format!("confirm-{order}"), Conflict::Drop)).await.map(drop)
    ///     });
    ///     p.handle(async |_mail: String| ());
    /// });
    /// world.enqueue_bulk([6_u32, 6]);
    /// let drained = world.drain_all().run().unwrap();
    /// assert_eq!(drained.succeeded, 3, "two orders, and one mail");
    /// ```
    ///
    /// # Errors
    /// Returns an error if the queue does not answer, if a layer around it fails, or if the key of the request is taken.
    pub fn enqueue_new(&self, request: NewJob) -> EnqueueFuture {
        let layered = self.layers.around(&self.link).map(|service| enqueue_through(service, request.clone()));
        EnqueueFuture { layered, ..PendingJob::of(request).enqueue(self.link.clone()) }
    }

    fn send(&self, job: Result<PendingJob, EnqueueError>) -> EnqueueFuture {
        let layered = self.layers.around(&self.link).zip(job.as_ref().ok()).map(|(service, job)| {
            let now = self.link.shared().state().clock.now();
            enqueue_through(service, job.clone().request(now))
        });
        let call = job.map(|job| Call::new(QueueTarget { link: self.link.clone(), job }));
        EnqueueFuture { call, performing: None, layered }
    }

    /// Enqueues a job from blocking code. A crash unwinds the stack.
    ///
    /// # Errors
    /// Returns an error if the queue does not answer, or if the job cannot be written as JSON.
    #[track_caller]
    pub fn enqueue_blocking<J: Serialize + 'static>(&self, job: J) -> Result<JobId, EnqueueError> {
        self.send_blocking(pending_job(kind_of::<J>(), &job, Duration::ZERO, None, Place::caller())?)
    }

    /// Enqueues a job that becomes ready after `delay`, from blocking code. A crash unwinds the stack.
    ///
    /// # Errors
    /// Returns an error if the queue does not answer, or if the job cannot be written as JSON.
    #[track_caller]
    pub fn enqueue_in_blocking<J: Serialize + 'static>(
        &self,
        delay: Duration,
        job: J,
    ) -> Result<JobId, EnqueueError> {
        self.send_blocking(pending_job(kind_of::<J>(), &job, delay, None, Place::caller())?)
    }

    /// Enqueues a job that becomes ready at a time since the world began, from blocking code. A crash unwinds the
    /// stack.
    ///
    /// # Errors
    /// Returns an error if the queue does not answer, or if the job cannot be written as JSON.
    #[track_caller]
    pub fn enqueue_at_blocking<J: Serialize + 'static>(
        &self,
        at: Duration,
        job: J,
    ) -> Result<JobId, EnqueueError> {
        self.send_blocking(pending_job(kind_of::<J>(), &job, Duration::ZERO, Some(at), Place::caller())?)
    }

    fn send_blocking(&self, job: PendingJob) -> Result<JobId, EnqueueError> {
        if self.link.liveness() == Liveness::Alive {
            if slots::on_slot_thread() {
                return self.link.wait_for(self.send(Ok(job)));
            }
            if self.link.shared().state().inline.is_some() {
                return Err(EnqueueError::InlineBlocking { kind: job.kind.to_owned() });
            }
            if !self.layers.is_empty() {
                return run_blocking(job.kind, self.send(Ok(job)));
            }
        }
        Call::new(QueueTarget { link: self.link.clone(), job }).block().map(|(_, id)| id)
    }
}
