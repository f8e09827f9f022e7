//! Stops and starts processes, as a deploy does.

use super::World;

impl World {
    /// Tells a process to stop, as a deploy does. It takes no more jobs. Running jobs may continue for its grace
    /// period ([`Process::grace`](crate::Process::grace), which defaults to 25 seconds). Then the remaining jobs are
    /// interrupted: their futures are dropped while the process is still alive, so destructors take effect, and the
    /// jobs return to the front of their queue. This is not a failure: no error handler is called, and no retry is
    /// used up.
    ///
    /// The time passes when the world runs on. A process without running jobs stops at once. It stays stopped until it
    /// is [started](World::start).
    ///
    /// # Panics
    /// Panics if there is no process with this name.
    pub fn shut_down(&self, process: &str) {
        self.executor.borrow_mut().stop(process, false);
    }

    /// Tells a process to stop, and starts it again when it has stopped: a deploy.
    ///
    /// # Panics
    /// Panics if there is no process with this name.
    pub fn deploy(&self, process: &str) {
        self.executor.borrow_mut().stop(process, true);
    }

    /// Starts a process that was [shut down](World::shut_down), by calling its boot closure. A process that is still
    /// stopping starts again when it has stopped. A process that runs, or that crashed and will restart by itself, is
    /// left alone.
    ///
    /// # Panics
    /// Panics if there is no process with this name.
    pub fn start(&self, process: &str) {
        self.executor.borrow_mut().start(process);
    }

    /// Explores deploys, too: at each wait of each job (a call, a sleep), there are two deviations in addition to the
    /// crash. With `stop`, the process is asked to stop here. With `interrupt`, it was asked to stop before, and its
    /// grace period ends here. Both count as crashes ([`Explore::crashes`](crate::Explore::crashes)), and the process
    /// starts again after both. Off by default.
    ///
    /// ```
    /// use retryproof::{Verdict, World, service::payments::Charge};
    ///
    /// /// Refunds a charge if its job is interrupted before its end.
    /// struct Refund<P: Fn()>(P);
    ///
    /// impl<P: Fn()> Drop for Refund<P> {
    ///     fn drop(&mut self) {
    ///         (self.0)();
    ///     }
    /// }
    ///
    /// let report = retryproof::Explore::new().deviations(1).faults(0).run(async |world: &World| {
    ///     world.explore_deploys();
    ///     world.process("worker", |p| {
    ///         let (payments, clock) = (p.payments(), p.clock());
    ///         p.handle(async move |order: u32| {
    ///             payments.charge(Charge::of_order(order, 500).key("charge")).await?;
    ///             // The refund, as far as this service can do it.
    ///             let refund = Charge::of_order(order, 500).key("refund");
    ///             let refund = Refund(|| drop(payments.charge_blocking(refund.clone())));
    ///             clock.yield_now().await;
    ///             std::mem::forget(refund);
    ///             Ok::<(), retryproof::ServiceError>(())
    ///         });
    ///     });
    ///     world.enqueue(6_u32);
    ///     world.settle().await;
    /// });
    /// // A crash runs no destructors, but an interruption does.
    /// assert_eq!(report.verdict(), Verdict::Violated);
    /// assert!(report.violations().iter().all(|violation| violation.scenario.to_string().ends_with("=interrupt")));
    /// ```
    pub fn explore_deploys(&self) {
        self.shared.state().world.deploys = true;
    }

    /// Allows the queue to lose a job that it has accepted, as in a failover: the caller has the id of the job, and no worker
    /// ever gets it. This is a deviation at each enqueue of the code under test. Jobs of the test
    /// are not lost. Off by default: the code needs something that notices (a sweeper, an outbox).
    pub fn explore_lost_jobs(&self) {
        self.shared.state().world.loses_jobs = true;
    }

    /// Allows a job to crash every worker that takes it, at the start of each attempt, like a payload that the worker cannot
    /// survive. This is one deviation. The queue has to stop at some attempt, so this is on for kinds with
    /// [`HandlerOptions::max_receives`](crate::HandlerOptions::max_receives), and off for all others unless a test calls this.
    pub fn explore_poison_jobs(&self) {
        self.shared.state().world.has_poison = true;
    }
}
