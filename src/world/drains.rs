//! Running what was enqueued: drains, which are Sidekiq's, and settling, which is production.

use std::fmt;
use std::future::{IntoFuture, Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::World;
use crate::engine::state::Mode;
use crate::executor::{DrainError, Drained, Plan};
use crate::system::job::kind_of;

/// A drain that was asked for. It does nothing unless awaited, or [run](Drain::run).
#[derive(Debug)]
#[must_use = "a drain does nothing unless it is awaited or `run`"]
pub struct Drain<'w> {
    world: &'w World,
    plan: Plan,
}

impl Drain<'_> {
    /// Stops after so many jobs.
    pub fn limit(mut self, jobs: usize) -> Self {
        self.plan.limit = jobs;
        self
    }

    /// Runs the jobs that are due until then, too, and lets the time pass in between.
    pub fn until(mut self, time: Duration) -> Self {
        self.plan.until = Some(time);
        self
    }

    /// Whether jobs that the jobs enqueue run, too. They do unless told.
    pub fn recursive(mut self, recursive: bool) -> Self {
        self.plan.recursive = recursive;
        self
    }

    /// Goes on after a job that fails: it is counted, and popped.
    pub fn keep_going(mut self) -> Self {
        self.plan.keep_going = true;
        self
    }

    /// Drains, here and now. The blocking form of `.await`.
    ///
    /// # Errors
    /// The first job that fails. It is popped, the jobs behind it stay.
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

/// Production: see [`World::settle`].
#[derive(Debug)]
#[must_use = "nothing runs unless this is awaited or `run`"]
pub struct Settle<'w> {
    world: &'w World,
}

impl Settle<'_> {
    /// Settles, here and now. The blocking form of `.await`, for ordinary tests.
    ///
    /// # Panics
    /// When the world is stuck.
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

/// Production, for a while: see [`World::settle_until`].
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
        // It sees the world after each step.
        self.world.shared.reduce_no_more();
        self.world.go_on_until(&|| (self.enough)(self.world))
    }

    /// Settles, here and now. The blocking form of `.await`, for ordinary tests.
    ///
    /// # Panics
    /// When the world is stuck.
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
    /// Runs the world as production does, until nothing is left to do: workers take jobs, failures are retried with
    /// backoff in virtual time, processes that crash restart, until every job is done or dead.
    ///
    /// When an explored run is stuck this never completes; the harness ends the run and says why.
    ///
    /// # Panics
    /// In an ordinary test, when the world is stuck.
    pub fn settle(&self) -> Settle<'_> {
        Settle { world: self }
    }

    /// The same until `enough` says so, which is asked before each step. False when nothing is left to do and it never
    /// has said so. It is asked after steps, not while time passes between them.
    ///
    /// In an exploration whoever was overtaken by then, or stood still, goes on to its next wait: what a slow worker still
    /// does counts, whatever the others have reached. When the test body ends, jobs that are not over go on to their ends,
    /// if all are over by then when nothing goes wrong: what the body has waited for may be there before a job that failed
    /// is tried again. If some are not, it is open how they end, and only what they have done by then is compared; let
    /// `enough` also ask whether they are over (`world.stats()`).
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
    /// In an ordinary test, when the world is stuck.
    pub fn settle_until<'w>(&'w self, enough: impl Fn(&World) -> bool + 'w) -> SettleUntil<'w> {
        SettleUntil { world: self, enough: Box::new(enough) }
    }

    /// Runs every ready job and the jobs they enqueue, in the order of production. Nothing goes wrong and nothing is
    /// retried: to explore what may go wrong, use [`World::settle`]. The first error comes back; that job is popped and
    /// the jobs behind it stay.
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

    /// The same for the jobs of one kind, those that they enqueue included. Jobs of other kinds stay.
    pub fn drain<J: 'static>(&self) -> Drain<'_> {
        self.drain_only(Some(kind_of::<J>()))
    }

    fn drain_only(&self, only: Option<&'static str>) -> Drain<'_> {
        let plan = Plan { only, limit: usize::MAX, until: None, recursive: true, keep_going: false };
        Drain { world: self, plan }
    }

    /// Runs the first ready job of a kind, here and now.
    ///
    /// # Errors
    /// [`DrainError::EmptyQueue`] when there is none, or the job's own error.
    pub fn perform_one<J: 'static>(&self) -> Result<(), DrainError> {
        self.executor.borrow_mut().perform_one(kind_of::<J>())
    }

    /// Lets time pass. What becomes due meanwhile is then ready; nothing runs by itself.
    pub fn advance(&self, by: Duration) {
        let to = self.now().saturating_add(by);
        self.shared.advance(to);
    }

    fn go_on_until(&self, enough: &dyn Fn() -> bool) -> Option<bool> {
        self.executor.borrow_mut().go_on_until(enough)
    }

    /// An explored run is ended by the harness; nobody would end an ordinary test.
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
        let stuck = stuck.expect("a world that goes no further says why");
        let stuck = executor.give_up(stuck);
        drop(executor);
        panic!("the world is stuck: {stuck}")
    }
}
