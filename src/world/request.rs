//! Requests: calls by clients, such as browsers, which no queue hands out again.

use std::marker::PhantomData;

use serde::Serialize;

use super::World;
use super::jobs::json;
use crate::engine::state::{EnqueueOutcome, IncomingJob};
use crate::system::job::{JobId, JobState, Request, kind_of};

/// A request that was sent ([`World::request`]): what its client does if it is not answered well.
#[derive(Debug)]
pub struct ClientRequest<'w, J> {
    world: &'w World,
    job: u32,
    id: JobId,
    body: PhantomData<fn(J)>,
}

impl<J: Serialize + 'static> ClientRequest<'_, J> {
    /// Its id.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Lets the client repeat the request up to `retries` times, with the same body: if it fails, if its worker crashes,
    /// and if the answer is late or lost. Defaults to none.
    ///
    /// All repetitions are one request: what it does must have happened once, or not at all.
    ///
    /// ```
    /// use retryproof::service::payments::Charge;
    /// use retryproof::{Explore, Report, World};
    ///
    /// let checkout = |has_key: bool| -> Report {
    ///     Explore::new().deviations(1).run(async move |world: &World| {
    ///         world.process("web", move |p| {
    ///             let payments = p.payments();
    ///             p.handle(async move |order: u32| {
    ///                 let charge = Charge::of_order(order, 500);
    ///                 payments.charge(if has_key { charge.key(format!("order-{order}")) } else { charge }).await
    ///             });
    ///         });
    ///         world.request(6_u32).client_retries(2);
    ///         world.settle().await;
    ///     })
    /// };
    /// assert!(!checkout(false).is_retryproof());
    /// assert!(checkout(true).is_retryproof());
    /// ```
    pub fn client_retries(self, retries: usize) -> Self {
        let state = self.world.shared.state();
        let same = state.queue.job(self.job).payload.clone();
        drop(state);
        self.repeats(vec![same; retries])
    }

    /// The same, with a body of its own for each repetition: a customer who corrects the form and sends it again.
    ///
    /// It is still one request. What it does must be what it does with one of the bodies that were sent.
    ///
    /// # Panics
    /// If a body cannot be written as JSON.
    pub fn client_retries_with(self, bodies: impl IntoIterator<Item = J>) -> Self {
        let bodies = bodies.into_iter().map(|body| json(&body).into_boxed_str()).collect();
        self.repeats(bodies)
    }

    fn repeats(self, bodies: Vec<Box<str>>) -> Self {
        let mut state = self.world.shared.state();
        let request = state.queue.job_mut(self.job).extras().request.get_or_insert_default();
        request.repetitions.extend(bodies);
        drop(state);
        self
    }
}

impl World {
    /// Sends a request, as a browser or another program does: its handler runs as that of a job, but no queue hands it
    /// out again. It has one attempt. It may fail, and it may be lost in a crash, but it must not be half done: either
    /// all that it does has happened, or none of it.
    ///
    /// The client may repeat it if the test says so: [`ClientRequest::client_retries`]. Options of the handler that are about
    /// retries (`max_retries`, `decide`, `delivery`, a lock) do not apply.
    ///
    /// ```
    /// use retryproof::service::payments::Charge;
    /// use retryproof::{Code, Explore, Report, World};
    ///
    /// let checkout = |is_one_step: bool| -> Report {
    ///     Explore::new().deviations(1).run(async move |world: &World| {
    ///         world.process("web", move |p| {
    ///             let (payments, store, queue) = (p.payments(), p.store(), p.queue());
    ///             p.handle(async move |order: u32| {
    ///                 if is_one_step {
    ///                     // The rest is the affair of a job, which is tried again.
    ///                     queue.enqueue(format!("pay {order}")).await?;
    ///                     return Ok(());
    ///                 }
    ///                 payments.charge(Charge::of_order(order, 500)).await?;
    ///                 store.put(format!("paid:{order}"), &true).await?;
    ///                 Ok::<(), Box<dyn std::error::Error>>(())
    ///             });
    ///             let (payments, store) = (p.payments(), p.store());
    ///             p.handle(async move |order: String| {
    ///                 payments.charge(Charge::of_order(6, 500).key(&*order)).await?;
    ///                 store.put(format!("paid:{order}"), &true).await?;
    ///                 Ok::<(), Box<dyn std::error::Error>>(())
    ///             });
    ///         });
    ///         world.request(6_u32);
    ///         world.settle().await;
    ///     })
    /// };
    /// assert_eq!(checkout(false).code(), Some(Code::GaveUpHalfWay)); // charged, and nobody knows
    /// assert!(checkout(true).is_retryproof());
    /// ```
    ///
    /// # Panics
    /// If it cannot be written as JSON.
    pub fn request<J: Serialize + 'static>(&self, body: J) -> ClientRequest<'_, J> {
        let (kind, payload) = (kind_of::<J>(), json(&body));
        let (job, id, inline) = {
            let mut state = self.shared.state();
            let incoming = IncomingJob { kind, payload, ..IncomingJob::default() };
            let EnqueueOutcome::Accepted(job, id) = state.enqueue(incoming, &mut |_| false) else {
                unreachable!("a request has no lock")
            };
            state.queue.job_mut(job).extras().request = Some(Box::new(Request::default()));
            (job, id, state.inline.is_some() && state.queue.job(job).state == JobState::Ready)
        };
        if inline {
            // It may fail.
            let _ = self.executor.borrow_mut().perform_inline(job);
        }
        ClientRequest { world: self, job, id, body: PhantomData }
    }
}
