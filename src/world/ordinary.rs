//! The executor for ordinary tests, with Sidekiq's two testing modes.

use super::World;
use crate::engine::runtime::Pool;
use crate::engine::state::{Inline, Mode, Shared, State};
use crate::executor::watch::CrashWatch;
use crate::search::choice::Chooser;
use crate::system::timeline::Timeline;

/// The number of steps without the end of any attempt after which an ordinary test is stuck.
const MOST_STEPS: u64 = 10_000_000;

impl World {
    /// Makes a world for an ordinary test, sync or async. Jobs wait in the queue, where the test can read them, until
    /// the test runs them. No failures are injected, and worlds share nothing.
    ///
    /// ```
    /// use retryproof::World;
    ///
    /// let world = World::fake();
    /// world.process("worker", |p| {
    ///     let email = p.email();
    ///     p.handle(async move |to: String| {
    ///         email.send(retryproof::service::email::Email::new(&to, "welcome")).await.map(drop)
    ///     });
    /// });
    /// world.enqueue("ada@example.com".to_owned());
    /// world.assert_enqueued::<String>(|to| to.starts_with("ada"));
    /// world.drain_all().run().unwrap();
    /// assert_eq!(world.email().records().len(), 1);
    /// ```
    pub fn fake() -> Self {
        let state = State::new(Chooser::idle(), Mode::Plain, Timeline::default(), 0, MOST_STEPS);
        Self::new(Shared::new(state), Pool::default(), CrashWatch::default())
    }

    /// Makes a world for an ordinary test in which a job runs where it is enqueued, even if a job enqueues it. A
    /// delayed job runs when it is due, in a drain or when the world settles.
    ///
    /// ```
    /// # use retryproof::World;
    /// let world = World::inline();
    /// let done = world.durable("done", Vec::<u32>::new());
    /// world.process("worker", |p| {
    ///     let done = p.durable::<Vec<u32>>("done");
    ///     p.handle(async move |job: u32| done.update(|done| done.push(job)));
    /// });
    /// world.enqueue(7_u32);
    /// assert_eq!(done.get(), [7]);
    /// ```
    pub fn inline() -> Self {
        let world = Self::fake();
        world.shared.state().inline = Some(Inline::default());
        world
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.is_view {
            return;
        }
        // Calls by the processes' destructors have no effect: the processes are torn down as after a crash.
        self.shared.state().search.suspend_faults(true);
        self.enqueue_layers.let_go();
        if let Ok(mut executor) = self.executor.try_borrow_mut() {
            executor.shut_down();
        }
        self.shared.externals.end();
    }
}
