//! Virtual time, and waits in it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::engine::call;
use crate::engine::link::{Link, Liveness};
use crate::search::choice::{Place, Point, Site, WaitKind};
use crate::system::clock::TimerId;

/// The virtual clock of one incarnation of a process.
///
/// ```
/// use retryproof::World;
/// use std::time::Duration;
///
/// const DAY: Duration = Duration::from_secs(86_400);
///
/// let world = World::fake();
/// world.process("worker", |p| {
///     let clock = p.clock();
///     p.handle(async move |_order: u32| {
///         let begun = clock.now();
///         clock.sleep(20 * DAY).await; // takes no time at all
///         assert_eq!(clock.now() - begun, 20 * DAY);
///     });
/// });
/// world.enqueue(6_u32);
/// world.settle().run();
/// assert_eq!(world.now(), 20 * DAY);
/// ```
#[derive(Clone, Debug)]
pub struct Clock {
    link: Link,
}

impl Clock {
    pub(crate) fn new(link: Link) -> Self {
        Self { link }
    }

    /// Returns the time since the world began.
    pub fn now(&self) -> Duration {
        self.link.arrive();
        let mut state = self.link.shared().state();
        let now = state.clock.now();
        state.generated.time(now);
        now
    }

    /// Waits in virtual time. This is a crash point.
    #[track_caller]
    pub fn sleep(&self, duration: Duration) -> Pause {
        self.pause(WaitKind::Sleep, Some(duration))
    }

    /// Lets other tasks run. This is a crash point.
    #[track_caller]
    pub fn yield_now(&self) -> Pause {
        self.pause(WaitKind::Yield, None)
    }

    #[track_caller]
    fn pause(&self, what: WaitKind, duration: Option<Duration>) -> Pause {
        let place = Place::caller();
        Pause { link: self.link.clone(), what, place, wait: Wait::Begin(duration) }
    }
}

#[derive(Debug)]
enum Wait {
    Begin(Option<Duration>),
    Yielded,
    Sleeping(TimerId),
    Over,
}

/// A wait in virtual time. It does nothing unless awaited.
#[derive(Debug)]
#[must_use = "a wait does nothing unless awaited"]
pub struct Pause {
    link: Link,
    what: WaitKind,
    place: Place,
    wait: Wait,
}

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        match this.link.liveness() {
            Liveness::Alive => {}
            Liveness::Dead => return this.link.pend_or_unwind(cx),
            Liveness::TearingDown => return Poll::Ready(()),
        }
        let mut guard = this.link.shared().state();
        let state = &mut *guard;
        match this.wait {
            Wait::Begin(duration) => {
                if call::dies_waiting(&this.link, state, this.what, this.place) {
                    drop(guard);
                    return this.link.pend_or_unwind(cx);
                }
                match duration {
                    None => {
                        this.wait = Wait::Yielded;
                        cx.waker().wake_by_ref();
                    }
                    Some(duration) => {
                        let site = Site::Wait(this.what);
                        let late = state.lateness(site, Point::Timer, Some(this.place));
                        let at = state.clock.now().saturating_add(duration).saturating_add(late);
                        this.wait = Wait::Sleeping(this.link.shared().set_timer(state, at, cx));
                    }
                }
                Poll::Pending
            }
            Wait::Sleeping(timer) if state.clock.now() < timer.0 => {
                state.clock.cancel(timer);
                this.wait = Wait::Sleeping(this.link.shared().set_timer(state, timer.0, cx));
                Poll::Pending
            }
            Wait::Sleeping(_) | Wait::Yielded | Wait::Over => {
                this.wait = Wait::Over;
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        if let Wait::Sleeping(timer) = self.wait {
            self.link.shared().state().clock.cancel(timer);
        }
    }
}
