//! Hooks for failures and deaths of the jobs that a process runs.

use std::fmt;

use super::handler::{HearOfJob, Registration};
use crate::process::Process;
use crate::system::job::{Decision, FailedAttempt, JobView};

type ErrorHook = Box<dyn Fn(&FailedAttempt<'_>)>;

#[derive(Default)]
pub(in crate::process) struct Hooks {
    errors: Vec<ErrorHook>,
    deaths: Vec<HearOfJob>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("errors", &self.errors.len())
            .field("deaths", &self.deaths.len())
            .finish()
    }
}

impl Process {
    /// Registers a hook that is called for each failed attempt of a job that this process runs.
    pub fn on_error(&self, hear: impl Fn(&FailedAttempt<'_>) + 'static) -> &Self {
        self.hooks.borrow_mut().errors.push(Box::new(hear));
        self
    }

    /// Registers a hook that is called once for each job that this process ran and that is then moved to the dead set,
    /// or discarded because its retries are off. A panic or a crash at a blocking call in the hook is a violation,
    /// because the job is dead by then and the hook does not run again. Report what matters from the job's last
    /// attempt instead ([`ReportFailures`](crate::middleware::ReportFailures)).
    ///
    /// ```
    /// use retryproof::World;
    ///
    /// let world = World::fake();
    /// let dead = world.durable("dead", Vec::<Option<String>>::new());
    /// world.process("worker", |p| {
    ///     let dead = p.durable::<Vec<Option<String>>>("dead");
    ///     p.on_death(move |job| dead.update(|dead| dead.push(job.error.clone())));
    ///     p.handle(async |_order: u32| Err::<(), _>("no such order")).max_retries(3);
    /// });
    /// world.enqueue(6_u32);
    /// world.settle().run();
    /// assert_eq!(dead.get(), [Some("no such order".to_owned())]);
    /// ```
    pub fn on_death(&self, hear: impl Fn(&JobView) + 'static) -> &Self {
        self.hooks.borrow_mut().deaths.push(Box::new(hear));
        self
    }

    /// Whether a hook is called for failed attempts of this kind. Usually none is, and its argument need not be
    /// prepared.
    pub(crate) fn hears_of_failures(&self, kind: &str) -> bool {
        let decides = |handlers: &[Registration]| {
            handlers
                .iter()
                .find(|handler| handler.handles(kind))
                .is_some_and(|handler| handler.decide.is_some())
        };
        !self.hooks.borrow().errors.is_empty() || decides(&self.handlers.borrow())
    }

    /// Returns the decision of this kind's handler, or `None` if it leaves that to its options.
    pub(crate) fn decide(&self, kind: &str, failed: &FailedAttempt<'_>) -> Option<Decision> {
        let handlers = self.handlers.borrow();
        let handler = handlers.iter().find(|handler| handler.handles(kind))?;
        handler.decide.as_ref().map(|decide| decide(failed))
    }

    pub(crate) fn tell_of_error(&self, failed: &FailedAttempt<'_>) {
        self.hooks.borrow().errors.iter().for_each(|hear| hear(failed));
    }

    pub(crate) fn tell_of_exhaustion(&self, job: &JobView) {
        let handlers = self.handlers.borrow();
        let handler = handlers.iter().find(|handler| handler.handles(job.kind));
        if let Some(hear) = handler.and_then(|handler| handler.exhausted.as_ref()) {
            hear(job);
        }
    }

    pub(crate) fn tell_of_death(&self, job: &JobView) {
        self.hooks.borrow().deaths.iter().for_each(|hear| hear(job));
    }
}
