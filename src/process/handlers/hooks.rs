//! Who hears of failures and deaths of the jobs that a process runs.

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
    /// Has `hear` called for each failed attempt of a job that this process runs.
    pub fn on_error(&self, hear: impl Fn(&FailedAttempt<'_>) + 'static) -> &Self {
        self.hooks.borrow_mut().errors.push(Box::new(hear));
        self
    }

    /// Has `hear` called once for each job that goes to the dead set, or is given up because its retries are off, after
    /// this process ran it. A panic in it is a violation: nobody heard of the death. So is a crash in it, at a blocking
    /// call: the job is dead by then, and does not come again. What must be told is told by the job, in its last attempt
    /// ([`ReportFailures`](crate::middleware::ReportFailures)).
    ///
    /// ```
    /// use retryproof::World;
    ///
    /// let world = World::fake();
    /// let dead = world.durable("dead", Vec::new());
    /// world.process("worker", {
    ///     let dead = dead.clone();
    ///     move |p| {
    ///         let dead = dead.clone();
    ///         p.on_death(move |job| dead.update(|dead| dead.push(job.error.clone())));
    ///         p.handle(async |_order: u32| Err::<(), _>("no such order")).max_retries(3);
    ///     }
    /// });
    /// world.enqueue(6_u32);
    /// world.settle().run();
    /// assert_eq!(dead.get(), [Some("no such order".to_owned())]);
    /// ```
    pub fn on_death(&self, hear: impl Fn(&JobView) + 'static) -> &Self {
        self.hooks.borrow_mut().deaths.push(Box::new(hear));
        self
    }

    /// Whether anybody hears of a failed attempt of a job of this kind. Mostly nobody does, and nothing need be made ready
    /// to be told.
    pub(crate) fn hears_of_failures(&self, kind: &str) -> bool {
        let decides = |handlers: &[Registration]| {
            handlers
                .iter()
                .find(|handler| handler.handles(kind))
                .is_some_and(|handler| handler.decide.is_some())
        };
        !self.hooks.borrow().errors.is_empty() || decides(&self.handlers.borrow())
    }

    /// What the handler of this kind decides; none if it leaves that to its options.
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
