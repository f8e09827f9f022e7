//! The stop signal, as the code in a process sees it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::engine::link::{Link, Liveness};
use crate::process::Process;

/// The default time for which jobs may continue when their process is asked to stop, as in Sidekiq.
pub(in crate::process) const GRACE: Duration = Duration::from_secs(25);

impl Process {
    /// Sets how long the jobs of this process may continue when it is asked to stop
    /// ([`World::shut_down`](crate::World::shut_down)), before they are interrupted. Defaults to 25 seconds.
    pub fn grace(&self, period: Duration) -> &Self {
        self.grace.set(period);
        self
    }

    pub(crate) fn grace_period(&self) -> Duration {
        self.grace.get()
    }

    /// Returns a signal that tells jobs that the process should stop, so that a long job can end in time.
    pub fn stop_signal(&self) -> StopSignal {
        StopSignal { link: self.link.clone() }
    }
}

/// Tells whether the process should stop. The signal belongs to one incarnation.
///
/// ```
/// use std::time::Duration;
/// use retryproof::World;
///
/// let world = World::fake();
/// let done = world.durable("done", 0_u32);
/// world.process("worker", |p| {
///     let (stop, clock, done) = (p.stop_signal(), p.clock(), p.durable::<u32>("done"));
///     p.handle(async move |_: u32| {
///         while done.get() < 100 && !stop.is_raised() {
///             clock.sleep(Duration::from_secs(1)).await;
///             done.update(|done| *done += 1);
///         }
///     });
/// });
/// world.enqueue(1_u32);
/// world.settle_until(|world| world.now() >= Duration::from_secs(10)).run();
/// world.shut_down("worker");
/// world.settle().run();
/// assert_eq!(done.get(), 10);
/// ```
#[derive(Clone, Debug)]
pub struct StopSignal {
    link: Link,
}

impl StopSignal {
    /// Whether the process was asked to stop.
    pub fn is_raised(&self) -> bool {
        self.link.life().is_some_and(|life| life.is_stopping())
    }

    /// Waits until the process is asked to stop. This is not a crash point.
    pub fn raised(&self) -> Stopping {
        Stopping { link: self.link.clone() }
    }
}

/// A future that waits until the process is asked to stop. It does nothing unless awaited.
#[derive(Debug)]
#[must_use = "a wait does nothing unless awaited"]
pub struct Stopping {
    link: Link,
}

impl Future for Stopping {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match (self.link.liveness(), self.link.life()) {
            (Liveness::Dead, _) => self.link.pend_or_unwind(cx),
            (Liveness::Alive, Some(life)) if !life.is_stopping() => {
                life.listen(cx.waker());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }
}
