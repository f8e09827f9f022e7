//! Runs enqueued jobs: draining, as in Sidekiq's tests, and settling, as in production.

use std::fmt;
use std::future::{IntoFuture, Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::World;
use crate::engine::state::Mode;
use crate::executor::{DrainError, Drained, Plan};
use crate::system::job::kind_of;

/// A drain. It does nothing unless awaited or [run](Drain::run).
#[derive(Debug)]
#[must_use = "a drain does nothing unless it is awaited or `run`"]
pub struct Drain<'w> {
    world: &'w World,
    plan: Plan,
}

impl Drain<'_> {
    /// Stops after this number of jobs.
    pub fn limit(mut self, jobs: usize) -> Self {
        self.plan.limit = jobs;
        self
    }

    /// Also runs the jobs that are due until `time`, and lets the time pass in between.
    pub fn until(mut self, time: Duration) -> Self {
        self.plan.until = Some(time);
        self
    }

    /// Sets whether to run jobs that jobs enqueue. Defaults to true.
    pub fn recursive(mut self, recursive: bool) -> Self {
        self.plan.recursive = recursive;
        self
    }

    /// Continues after a job that fails. It is counted, and removed from the queue.
    pub fn keep_going(mut self) -> Self {
        self.plan.keep_going = true;
        self
    }

    /// Drains at once. This is the blocking form of `.await`.
    ///
    /// # Errors
    /// Returns the error of the first job that fails. That job is removed from the queue, and the jobs behind it stay.
    pub fn run(self) -> Result<Drained, DrainError> {
        self.world.executor.borrow_mut().drain(self.plan)
    }
}

impl IntoFuture for Drain<'_> {
    type Output = Result<Drained, DrainError>;
    type IntoFuture = Ready<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        ready(self.run())
    }
}

/// Runs the world as in production. See [`World::settle`].
#[derive(Debug)]
#[must_use = "nothing runs unless this is awaited or `run`"]
pub struct Settle<'w> {
    world: &'w World,
}

impl Settle<'_> {
    /// Settles at once. This is the blocking form of `.await`, for ordinary tests.
    ///
    /// # Panics
    /// Panics if the world is stuck.
    pub fn run(self) {
        if self.world.go_on_until(&|| false).is_none() {
            self.world.panic_stuck();
        }
    }
}

impl Future for Settle<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        match self.world.go_on_until(&|| false) {
            Some(_) => Poll::Ready(()),
            None => self.world.stuck(),
        }
    }
}

/// Runs the world as in production, until a condition holds. See [`World::settle_until`].
#[must_use = "nothing runs unless this is awaited or `run`"]
pub struct SettleUntil<'w> {
    world: &'w World,
    enough: Box<dyn Fn(&World) -> bool + 'w>,
}

impl fmt::Debug for SettleUntil<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettleUntil").field("world", &self.world).finish_non_exhaustive()
    }
}

impl SettleUntil<'_> {
    fn go(&self) -> Option<bool> {
        // The condition sees the world after each step.
        self.world.shared.reduce_no_more();
        self.world.go_on_until(&|| (self.enough)(self.world))
    }

    /// Settles at once. This is the blocking form of `.await`, for ordinary tests.
    ///
    /// # Panics
    /// Panics if the world is stuck.
    pub fn run(self) -> bool {
        self.go().unwrap_or_else(|| self.world.panic_stuck())
    }
}

impl Future for SettleUntil<'_> {
    type Output = bool;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<bool> {
        match self.go() {
            Some(reached) => Poll::Ready(reached),
            None => self.world.stuck(),
        }
    }
}

impl World {
    /// Runs the world as in production until nothing is left to do: workers take jobs, failed jobs are retried with
    /// backoff in virtual time, and crashed processes restart, until every job is done or dead.
    ///
    /// If an explored run is stuck, this future never completes. The harness ends the run and reports why.
    ///
    /// # Panics
    /// Panics in an ordinary test if the world is stuck.
    pub fn settle(&self) -> Settle<'_> {
        Settle { world: self }
    }

    /// Runs the world as in production until `enough` returns true, which is called before each step. Returns false if
    /// nothing is left to do before that. `enough` is called after steps, but not while time passes between them. In an
    /// exploration, a task that was preempted or stalled by then continues to its next wait: what a slow worker still
    /// does counts, whatever the other tasks have reached.
    ///
    /// If all jobs have ended when the test body ends in the fault-free run, then the jobs of another run that have not
    /// ended by then continue to their ends: the condition may hold before a job that failed is retried. Otherwise jobs
    /// that have not ended are compared by what they have done by then, so let `enough` check that as well
    /// (`world.stats()`).
    ///
    /// ```
    /// use retryproof::World;
    ///
    /// let world = World::fake();
    /// world.process("worker", |p| {
    ///     p.handle(async |_order: u32| Err::<(), _>("not yet"));
    /// });
    /// world.enqueue(6_u32);
    /// assert!(world.settle_until(|world| !world.retries().is_empty()).run());
    /// assert_eq!(world.retries()[0].failures, 1);
    /// ```
    ///
    /// # Panics
    /// Panics in an ordinary test if the world is stuck.
    pub fn settle_until<'w>(&'w self, enough: impl Fn(&World) -> bool + 'w) -> SettleUntil<'w> {
        SettleUntil { world: self, enough: Box::new(enough) }
    }

    /// Runs every ready job, and the jobs that they enqueue, in the order of production. No failures are injected, and
    /// nothing is retried. To explore failures, use [`World::settle`]. Returns the first error. That job is removed
    /// from the queue, and the jobs behind it stay.
    ///
    /// ```
    /// # use retryproof::World;
    /// let world = World::fake();
    /// world.process("worker", |p| {
    ///     p.handle(async |job: u32| if job == 3 { Err("three") } else { Ok(()) });
    /// });
    /// world.enqueue_bulk([1_u32, 2, 3, 4]);
    /// assert_eq!(world.drain_all().limit(2).run().unwrap().performed, 2);
    /// assert_eq!(world.drain_all().run().unwrap_err().to_string(), "job#3 u32 failed: three");
    /// assert_eq!(world.all_enqueued::<u32>(), [4]);
    /// ```
    pub fn drain_all(&self) -> Drain<'_> {
        self.drain_only(None)
    }

    /// Like [`World::drain_all`] for the jobs of one kind, including those that they enqueue. Jobs of other kinds stay.
    pub fn drain<J: 'static>(&self) -> Drain<'_> {
        self.drain_only(Some(kind_of::<J>()))
    }

    fn drain_only(&self, only: Option<&'static str>) -> Drain<'_> {
        let plan = Plan { only, limit: usize::MAX, until: None, recursive: true, keep_going: false };
        Drain { world: self, plan }
    }

    /// Runs the first ready job of a kind at once.
    ///
    /// # Errors
    /// Returns [`DrainError::EmptyQueue`] if the queue is empty, or the job's own error.
    pub fn perform_one<J: 'static>(&self) -> Result<(), DrainError> {
        self.executor.borrow_mut().perform_one(kind_of::<J>())
    }

    /// Lets time pass. Jobs that become due are then ready, but do not run by themselves.
    pub fn advance(&self, by: Duration) {
        let to = self.now().saturating_add(by);
        self.shared.advance(to);
    }

    fn go_on_until(&self, enough: &dyn Fn() -> bool) -> Option<bool> {
        self.executor.borrow_mut().go_on_until(enough)
    }

    /// Pends in an explored run, because the harness ends it. Panics in an ordinary test, which nothing else would end.
    fn stuck<T>(&self) -> Poll<T> {
        if self.shared.state().search.mode() != Mode::Plain {
            return Poll::Pending;
        }
        self.panic_stuck()
    }

    fn panic_stuck(&self) -> ! {
        let mut executor = self.executor.borrow_mut();
        if let Some(panic) = executor.broken_boot.take() {
            std::panic::resume_unwind(panic);
        }
        let stuck = self.shared.state().search.stuck().cloned();
        let stuck = stuck.expect("a world that cannot continue has a reason");
        let stuck = executor.give_up(stuck);
        drop(executor);
        panic!("the world is stuck: {stuck}")
    }
}
