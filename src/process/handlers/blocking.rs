//! Blocking handlers. Each attempt runs on the thread of a slot, and is polled from point to point.

use std::future::Future;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use serde::de::DeserializeOwned;

use super::attempt::{Attempt, Handler, Wrappers};
use crate::engine::life::Life;
use crate::engine::link::Link;
use crate::engine::slots::{Progress, SlotOwner, SlotTask, SlotWork, Slots};
use crate::engine::state::lock;
use crate::system::job::{JobFailure, JobResult};
use crate::{engine::life, engine::panics, engine::runtime};

/// The blocking handler of one kind of job.
pub(in crate::process) struct Blocking<J, F> {
    link: Link,
    slots: Slots,
    handler: Arc<F>,
    takes: PhantomData<fn(J)>,
}

impl<J, F> Blocking<J, F> {
    pub(in crate::process) fn new(link: Link, slots: Slots, handler: F) -> Self {
        link.shared().strides.are_used();
        Self { link, slots, handler: Arc::new(handler), takes: PhantomData }
    }
}

impl<J, R, F> Handler for Blocking<J, F>
where
    J: DeserializeOwned + Send + 'static,
    R: JobResult + Send + 'static,
    F: Fn(J) -> R + Send + Sync + 'static,
{
    fn start(self: Rc<Self>, _: u32, payload: &str, around: Wrappers) -> Result<Attempt, serde_json::Error> {
        let job: J = serde_json::from_str(payload)?;
        let (link, slots, handler) = (self.link.clone(), self.slots.clone(), self.handler.clone());
        Ok(Box::pin(BlockingAttempt {
            link,
            slots,
            code: Some(Box::new(move || handler(job))),
            around,
            ended: Arc::default(),
            running: None,
        }))
    }
}

impl SlotOwner for Arc<Life> {
    fn goes_on(&self) -> bool {
        // If a thread sleeps, check at each handover whether it still does.
        !self.shared.sleepers.any() && self.shared.goes_on(self.is_ending())
    }

    fn is_dead(&self) -> bool {
        Life::is_dead(self)
    }
}

/// How the code of an attempt ended, once it has.
type AttemptResult<R> = Arc<Mutex<Option<std::thread::Result<R>>>>;

/// An attempt that runs on the thread of a slot.
struct BlockingAttempt<R> {
    link: Link,
    slots: Slots,
    code: Option<Box<dyn FnOnce() -> R + Send>>,
    around: Wrappers,
    ended: AttemptResult<R>,
    running: Option<SlotWork>,
}

impl<R: Send + 'static> BlockingAttempt<R> {
    fn begin(&mut self, code: Box<dyn FnOnce() -> R + Send>) -> SlotWork {
        let life = self.link.life_shared().expect("an attempt is a process's").clone();
        let (ended, around, context) = (self.ended.clone(), self.around.clone(), runtime::lend());
        let (process, same) = (life.process, life.clone());
        let work = move || {
            let mut code = Some(code);
            let mut result = None;
            let all = || {
                around.run(&mut || result = code.take().map(|code| code()));
            };
            let caught =
                catch_unwind(AssertUnwindSafe(|| context.within(|| life::run_as_crashable(&life, all))));
            // A layer may have left out the call.
            let result = caught.and_then(|()| result.ok_or_else(|| Box::new("it was not run") as _));
            *lock(&ended) = Some(result);
        };
        let name = |slot| format!("{process}-slot-{}", slot + 1);
        let (sleepers, work) = (same.shared.sleepers.clone(), Box::new(work));
        self.slots.begin(name, panics::lend(), SlotTask { work, whose: Box::new(same) }, &sleepers)
    }
}

impl<R: JobResult + Send + 'static> Future for BlockingAttempt<R> {
    type Output = Result<(), JobFailure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(code) = this.code.take() {
            this.running = Some(this.begin(code));
        }
        let running = this.running.as_mut().expect("an attempt that has ended is not polled again");
        let shared = this.link.shared();
        let arrivals = this.link.life().filter(|_| shared.externals.have_wires()).map(|life| {
            let (host, actor, shared) = (life.index, shared.state().actor(), Arc::downgrade(shared));
            let has_come = move || {
                shared.upgrade().is_some_and(|shared| {
                    shared.externals.are_awaited_by(actor) || shared.externals.has_request(host)
                })
            };
            Arc::new(has_come) as Arc<dyn Fn() -> bool + Send + Sync>
        });
        if running.resume(cx.waker(), arrivals) != Progress::Ended {
            return Poll::Pending;
        }
        this.running = None;
        let result = lock(&this.ended).take().expect("what has ended has left a result");
        match result {
            Ok(result) => Poll::Ready(result.into_result()),
            // The process has died, which the executor handles.
            Err(_) if this.link.life().is_some_and(Life::is_ending) => Poll::Pending,
            Err(payload) => Poll::Ready(Err(JobFailure::of_panic(panics::text(&*payload)))),
        }
    }
}

impl<R> Drop for BlockingAttempt<R> {
    fn drop(&mut self) {
        drop(self.running.take());
    }
}
