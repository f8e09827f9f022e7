//! Notifications that reach only those that listen.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::client::{Call, Client};
use crate::engine::call;
use crate::engine::link::Liveness;
use crate::engine::state::lock;
use crate::search::choice::{Place, WaitKind};
use crate::system::service::ServiceError;
use crate::system::service::notifier::NotifierService;

/// A notifier, as PostgreSQL's LISTEN and NOTIFY: a notification reaches those that listen at that moment, and nobody
/// else. [`World::notifier`](crate::World::notifier) makes one, and [`Process::notifier`](crate::Process::notifier) gives a
/// process its handle.
///
/// So a process that only waits for notifications misses those that come while it restarts.
///
/// ```
/// use retryproof::{Explore, World};
///
/// let explore = |looks_first: bool| {
///     Explore::new().deviations(1).run(async move |world: &World| {
///         world.notifier("orders");
///         let open = world.durable("open", 0_u32);
///         world.process("web", |p| {
///             let (orders, open) = (p.notifier("orders"), p.durable::<u32>("open"));
///             p.handle(async move |_order: u32| {
///                 open.set(1);
///                 orders.notify().await
///             });
///         });
///         world.process("worker", move |p| {
///             let (orders, open) = (p.notifier("orders"), p.durable::<u32>("open"));
///             p.spawn("relay", async move {
///                 let mut listener = orders.listen();
///                 loop {
///                     // The bug: without it, an order that came before is never seen.
///                     if looks_first && open.get() == 1 {
///                         open.set(2);
///                     }
///                     listener.recv().await;
///                     if open.get() == 1 {
///                         open.set(2);
///                     }
///                 }
///             });
///         });
///         world.enqueue(6_u32);
///         world.settle().await;
///     })
/// };
/// assert!(explore(true).is_retryproof());
/// let report = explore(false);
/// assert_eq!(report.violations()[0].scenario.to_string().split(' ').nth(1), Some("worker/relay/listen:before=crash"));
/// ```
#[derive(Clone)]
pub struct Notifier(Client<NotifierService>);

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Notifier").field(&self.0.name).finish()
    }
}

impl Notifier {
    pub(crate) fn new(client: Client<NotifierService>) -> Self {
        Self(client)
    }

    /// Notifies those that listen.
    #[track_caller]
    pub fn notify(&self) -> Notify {
        Notify { call: self.0.call(()), client: self.0.clone() }
    }

    /// Listens from now on, until the listener is dropped.
    pub fn listen(&self) -> Listener {
        let number = lock(&self.0.faulty).service.listen();
        Listener { client: self.0.clone(), number }
    }
}

/// A notification that is being sent. It does nothing unless awaited.
#[derive(Debug)]
#[must_use = "nobody is notified unless this is awaited"]
pub struct Notify {
    call: Call<NotifierService>,
    client: Client<NotifierService>,
}

impl Future for Notify {
    type Output = Result<(), ServiceError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = Pin::new(&mut self.call).poll(cx);
        let due = lock(&self.client.faulty).service.take_due();
        self.client.link.shared().wake(due);
        polled
    }
}

/// Hears the notifications of a [`Notifier`].
pub struct Listener {
    client: Client<NotifierService>,
    number: u64,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Listener {
    /// Waits for a notification that came since the last one. It has a crash point before the wait.
    #[track_caller]
    pub fn recv(&mut self) -> NextNotification<'_> {
        NextNotification { listener: self, place: Place::caller(), has_begun: false }
    }
}

/// A wait for a notification. It does nothing unless awaited.
#[derive(Debug)]
#[must_use = "a wait does nothing unless awaited"]
pub struct NextNotification<'l> {
    listener: &'l Listener,
    place: Place,
    has_begun: bool,
}

impl Future for NextNotification<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Listener { client, number } = self.listener;
        let link = &client.link;
        match link.liveness() {
            Liveness::Alive => {}
            Liveness::Dead => return link.pend_or_unwind(cx),
            Liveness::TearingDown => return Poll::Ready(()),
        }
        let wake = {
            let mut state = link.shared().state();
            let has_begun = std::mem::replace(&mut self.has_begun, true);
            if !has_begun && call::dies_waiting(link, &mut state, WaitKind::Notification, self.place) {
                drop(state);
                return link.pend_or_unwind(cx);
            }
            link.shared().wake_of(&state, cx)
        };
        match lock(&client.faulty).service.hear(*number, wake) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        lock(&self.client.faulty).service.hang_up(self.number);
    }
}
