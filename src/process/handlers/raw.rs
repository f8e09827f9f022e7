//! Jobs with a name instead of a type, for adapters of other queues.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value;

use super::attempt::{Attempt, Handler, Wrappers};
use super::handler::{HandlerOptions, Registration};
use crate::engine::link::Link;
use crate::process::Process;
use crate::search::choice::{Name, Place};
use crate::system::job::{JobResult, JobView};

/// An attempt of a job with a name.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RawAttempt {
    /// The job, as the queue has it.
    pub job: JobView,
    /// The data in addition to the payload.
    pub context: BTreeMap<String, Value>,
}

struct RawHandler<F> {
    link: Link,
    handler: F,
}

impl<R, F> Handler for RawHandler<F>
where
    R: JobResult + 'static,
    F: AsyncFn(RawAttempt) -> R + 'static,
{
    fn start(self: Rc<Self>, job: u32, payload: &str, _: Wrappers) -> Result<Attempt, serde_json::Error> {
        let attempt = {
            let state = self.link.shared().state();
            let job = state.queue.job(job);
            let context = job.context().and_then(|context| serde_json::from_str(context).ok());
            // The queue has lent the payload.
            let view = JobView { payload: payload.to_owned(), ..JobView::from(job) };
            RawAttempt { job: view, context: context.unwrap_or_default() }
        };
        Ok(Box::pin(async move { (self.handler)(attempt).await.into_result() }))
    }
}

impl Process {
    /// Handles jobs with this name ([`NewJob::named`](crate::job::NewJob::named),
    /// [`World::enqueue_raw`](crate::World::enqueue_raw)), with their raw payload.
    ///
    /// # Panics
    /// Panics if the process already handles this name.
    #[track_caller]
    pub fn handle_raw<R, F>(&self, kind: impl Into<Name>, handler: F) -> HandlerOptions<'_>
    where
        R: JobResult + 'static,
        F: AsyncFn(RawAttempt) -> R + 'static,
    {
        let handler = Rc::new(RawHandler { link: self.link.clone(), handler });
        self.register(Registration::new(kind.into().as_str(), Place::caller(), handler))
    }
}
