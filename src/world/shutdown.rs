//! Processes that are stopped and started, as by a deploy.

use super::World;

impl World {
    /// Tells a process to stop, as a deploy does. It takes no more jobs; those that run may go on for its grace period
    /// ([`Process::grace`](crate::Process::grace), 25 seconds unless told). Those that overrun are interrupted: their
    /// futures are dropped while the process is still alive, so destructors do what they do, and the jobs come back at the
    /// front of their queue. That is no failure: no error handler hears of it, and no retry is used up.
    ///
    /// The time passes when the world runs on; a process in which nothing runs stops at once. It stays stopped until it is
    /// [started](World::start).
    ///
    /// # Panics
    /// When there is no process of that name.
    pub fn shut_down(&self, process: &str) {
        self.executor.borrow_mut().stop(process, false);
    }

    /// The same, but the process starts again when it has stopped: a deploy.
    ///
    /// # Panics
    /// When there is no process of that name.
    pub fn deploy(&self, process: &str) {
        self.executor.borrow_mut().stop(process, true);
    }

    /// Starts a process that was [shut down](World::shut_down): its boot closure is called. One that is still stopping
    /// starts again when it has stopped; one that runs, or has crashed and restarts by itself, is left alone.
    ///
    /// # Panics
    /// When there is no process of that name.
    pub fn start(&self, process: &str) {
        self.executor.borrow_mut().start(process);
    }

    /// Has deploys explored, too: at each wait of each job (a call, a sleep) two more deviations beside the crash. `stop`:
    /// the process is told to stop here. `interrupt`: it was told before, and here its grace period is over. Both count as
    /// crashes ([`Explore::crashes`](crate::Explore::crashes)), and in both the process starts again. Off unless told.
    ///
    /// ```
    /// use retryproof::{Verdict, World, service::payments::Charge};
    ///
    /// /// Pays back what it has charged, if it is not allowed to come to its end.
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
    ///             // What pays it back, as far as this service can.
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
    /// // A crash runs no destructor, an interruption does.
    /// assert_eq!(report.verdict(), Verdict::Violated);
    /// assert!(report.violations().iter().all(|violation| violation.scenario.to_string().ends_with("=interrupt")));
    /// ```
    pub fn explore_deploys(&self) {
        self.shared.state().deploys = true;
    }
}
