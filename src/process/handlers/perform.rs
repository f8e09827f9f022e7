//! How an attempt begins: behind its locks, and inside its layers.

use std::rc::Rc;

use tower_layer::Layer;
use tower_service::Service;

use super::attempt::{Attempt, Start, Wrappers};
use super::handler::{HandlerOptions, Registration};
use super::layers::{BoxError, Innermost, Perform, PerformService, Router, attempt, service};
use super::locks::guarded;
use crate::process::Process;
use crate::system::job::JobView;

impl Process {
    /// Adds a [`tower::Layer`](Layer) around each attempt of all kinds of jobs that this process performs. Layers of
    /// one kind ([`HandlerOptions::layer`]) are inside of it. The first layer added is the outermost.
    ///
    /// The request of the layer's service is an attempt ([`Perform`]), and its response is nothing. Its error becomes
    /// the failure of the attempt. Each attempt gets a clone of the stack, waits until it is ready, and calls it. This
    /// is the same in `check`, in drains, and in fake and inline mode.
    ///
    #[cfg_attr(feature = "tokio", doc = "```")]
    #[cfg_attr(not(feature = "tokio"), doc = "```ignore")]
    /// use std::time::Duration;
    /// use retryproof::World;
    /// use tower::timeout::TimeoutLayer;
    ///
    /// let world = World::fake();
    /// world.process("worker", |p| {
    ///     let clock = p.clock();
    ///     p.layer(TimeoutLayer::new(Duration::from_secs(10)));
    ///     p.handle(async move |seconds: u64| clock.sleep(Duration::from_secs(seconds)).await);
    /// });
    /// world.enqueue(60_u64);
    /// assert_eq!(world.drain_all().run().unwrap_err().to_string(), "job#1 u64 failed: request timed out");
    /// ```
    pub fn layer<L>(&self, layer: L) -> &Self
    where
        L: Layer<PerformService> + 'static,
        L::Service: Service<Perform, Error: Into<BoxError>, Future: 'static> + Clone + 'static,
    {
        self.layers.borrow_mut().push(layer);
        self
    }

    /// Begins an attempt of a job, inside its layers.
    pub(crate) fn start(&self, job: u32, kind: &str, payload: &str) -> Option<Start> {
        let (handlers, layers) = (self.handlers.borrow(), self.layers.borrow());
        let registered = handlers.iter().find(|handler| handler.handles(kind))?;
        if layers.is_empty() && registered.layers.is_empty() {
            let begun = registered.handler.clone().start(job, payload, Wrappers::default());
            return Some((begun.map(|run| self.past_locks(registered, payload, run)), registered.place));
        }
        let stack_of = |registered: &Registration| {
            registered.layers.around(|| service(Innermost(registered.handler.clone())))
        };
        let stack = if layers.is_empty() {
            stack_of(registered)
        } else {
            layers.around(|| {
                let stacks = handlers.iter().map(|registered| (registered.kinds(), stack_of(registered)));
                service(Router(Rc::new(stacks.collect())))
            })
        };
        let run = attempt(stack, self.request(job, payload));
        Some((Ok(self.past_locks(registered, payload, run)), registered.place))
    }

    /// Puts the locks of a unique job outside of all layers, so that the layers only see attempts that run.
    fn past_locks(&self, registered: &Registration, payload: &str, run: Attempt) -> Attempt {
        match &registered.unique {
            None => run,
            Some(unique) => guarded(&self.link, unique, payload, registered.place, run),
        }
    }

    fn request(&self, job: u32, payload: &str) -> Perform {
        let state = self.link.shared().state();
        let job = state.queue.job(job);
        let context = job.context().and_then(|context| serde_json::from_str(context).ok());
        // The queue has lent the payload.
        let view = JobView { payload: payload.to_owned(), ..JobView::from(job) };
        let (context, around) = (context.unwrap_or_default(), Wrappers::default());
        Perform { job: view, context, around, link: self.link.clone() }
    }
}

impl HandlerOptions<'_> {
    /// Adds a [`tower::Layer`](Layer) around each attempt of this kind. See [`Process::layer`].
    pub fn layer<L>(self, layer: L) -> Self
    where
        L: Layer<PerformService> + 'static,
        L::Service: Service<Perform, Error: Into<BoxError>, Future: 'static> + Clone + 'static,
    {
        self.process.handlers.borrow_mut()[self.index].layers.push(layer);
        self
    }
}
