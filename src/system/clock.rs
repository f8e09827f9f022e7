//! Virtual time and timers. Time does not advance while any task can run. Then it jumps to the next timer.

use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;
use std::time::Duration;

/// The task that a timer wakes.
#[derive(Clone, Debug)]
pub(crate) enum Wake {
    /// One of the executor's own tasks, by number. Unlike a clone of its waker, this leaves no trace at the waker.
    /// The executor can therefore distinguish tasks that wait for something outside from tasks that wait for the
    /// world.
    Task(TaskId),
    /// Any other task: one of tokio's, or one inside a combinator with wakers of its own.
    Waker(Waker),
}

/// A task of the executor: its slot, and a count of the uses of that slot, because slots are reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskId {
    pub(crate) slot: u32,
    pub(crate) turn: u32,
}

/// The id of a timer, with which it can be canceled.
pub(crate) type TimerId = (Duration, u64);

/// The time since the world began, and all timers.
#[derive(Debug, Default)]
pub(crate) struct VirtualClock {
    now: Duration,
    set: u64,
    /// In the order in which they fire. There are few at a time, and most are set behind the others. A map would
    /// allocate for each of them.
    timers: VecDeque<(TimerId, Wake)>,
}

impl VirtualClock {
    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    /// Sets a timer that wakes `wake` at time `at`. Timers of the same time fire in the order in which they were set.
    pub(crate) fn set(&mut self, at: Duration, wake: Wake) -> TimerId {
        let id = (at, self.set);
        self.set += 1;
        let place = self.place_of(id);
        self.timers.insert(place, (id, wake));
        id
    }

    pub(crate) fn cancel(&mut self, id: TimerId) {
        let place = self.place_of(id);
        if self.timers.get(place).is_some_and(|(known, _)| *known == id) {
            self.timers.remove(place);
        }
    }

    fn place_of(&self, id: TimerId) -> usize {
        self.timers.partition_point(|(known, _)| *known < id)
    }

    /// The time at which the next timer fires.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.timers.front().map(|((at, _), _)| *at)
    }

    /// When the next timer fires that is not this task's.
    pub(crate) fn next_of_others(&self, task: TaskId) -> Option<Duration> {
        let is_others = |wake: &Wake| !matches!(wake, Wake::Task(known) if *known == task);
        let others = self.timers.iter().filter(|((at, _), wake)| *at > self.now && is_others(wake));
        others.map(|((at, _), _)| *at).next()
    }

    /// Advances the time to `to`. Time never goes back.
    pub(crate) fn advance(&mut self, to: Duration) {
        self.now = self.now.max(to);
    }

    /// Removes and returns the next timer that is due.
    pub(crate) fn take_due(&mut self) -> Option<Wake> {
        if self.next().is_none_or(|at| at > self.now) {
            return None;
        }
        self.timers.pop_front().map(|(_, wake)| wake)
    }
}

/// The moments at which something that is there now expires, and how much does.
#[derive(Debug, Default)]
pub(crate) struct Expiries {
    at: BTreeMap<Duration, u32>,
    are_used: bool,
}

impl Expiries {
    /// Moves an expiry from `before` to `after`. `None` is no expiry.
    pub(crate) fn replace(&mut self, before: Option<Duration>, after: Option<Duration>) {
        if let Some(count) = before.and_then(|before| self.at.get_mut(&before)) {
            *count = count.saturating_sub(1);
        }
        self.at.retain(|_, count| *count > 0);
        if let Some(after) = after {
            *self.at.entry(after).or_default() += 1;
            self.are_used = true;
        }
    }

    /// The next of them after `now`.
    pub(crate) fn after(&self, now: Duration) -> Option<Duration> {
        let later = (std::ops::Bound::Excluded(now), std::ops::Bound::Unbounded);
        self.at.range(later).next().map(|(at, _)| *at)
    }

    /// Whether anything was ever to expire.
    pub(crate) fn are_used(&self) -> bool {
        self.are_used
    }
}

/// A moment of virtual time in readable form: `t+0s`, `t+60s`, `t+1.5s`, `t+3d 2h`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(pub(crate) Duration);

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (seconds, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        let text = if nanos == 0 && seconds < 600 {
            format!("t+{seconds}s")
        } else if nanos != 0 && seconds < 600 {
            format!("t+{:?}", self.0)
        } else {
            let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
            let parts = [(days, "d"), (hours, "h"), (minutes, "m"), (seconds % 60, "s")];
            let shown: Vec<_> = parts
                .iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, unit)| format!("{count}{unit}"))
                .collect();
            format!("t+{}", shown.join(" "))
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waker() -> Wake {
        Wake::Waker(Waker::noop().clone())
    }

    fn woken_at(clock: &mut VirtualClock, at: Duration) -> usize {
        clock.advance(at);
        std::iter::from_fn(|| clock.take_due()).count()
    }

    #[test]
    fn fires_what_is_due_in_the_order_it_was_set() {
        let mut clock = VirtualClock::default();
        let second = Duration::from_secs(1);
        clock.set(2 * second, waker());
        let taken_back = clock.set(second, waker());
        clock.set(second, waker());
        clock.cancel(taken_back);
        assert_eq!(clock.next(), Some(second));
        assert_eq!(woken_at(&mut clock, second), 1);
        assert_eq!(woken_at(&mut clock, 5 * second), 1);
        assert_eq!((clock.now(), clock.next()), (5 * second, None));
        clock.advance(second);
        assert_eq!(clock.now(), 5 * second, "time does not go back");
    }

    #[test]
    fn timers_of_the_same_moment_fire_in_the_order_in_which_they_were_set() {
        let mut clock = VirtualClock::default();
        for (slot, seconds) in [(0, 2), (1, 1), (2, 2), (3, 1)] {
            clock.set(Duration::from_secs(seconds), Wake::Task(TaskId { slot, turn: 0 }));
        }
        clock.advance(Duration::from_secs(2));
        let woken = std::iter::from_fn(|| clock.take_due()).map(|wake| match wake {
            Wake::Task(task) => task.slot,
            Wake::Waker(_) => unreachable!("none was set"),
        });
        assert_eq!(woken.collect::<Vec<_>>(), [1, 3, 0, 2]);
    }

    #[test]
    fn what_is_deleted_or_written_anew_expires_no_more() {
        let mut expiries = Expiries::default();
        let second = Duration::from_secs(1);
        assert!(!expiries.are_used());
        expiries.replace(None, Some(5 * second));
        expiries.replace(None, Some(5 * second));
        expiries.replace(None, Some(9 * second));
        assert_eq!(expiries.after(second), Some(5 * second));
        assert_eq!(expiries.after(5 * second), Some(9 * second));
        expiries.replace(Some(5 * second), None);
        assert_eq!(expiries.after(second), Some(5 * second), "the other one stays");
        expiries.replace(Some(5 * second), Some(20 * second));
        assert_eq!(expiries.after(second), Some(9 * second));
        assert!(expiries.are_used());
    }

    #[test]
    fn moments_are_read_at_a_glance() {
        let text = |millis| Moment(Duration::from_millis(millis)).to_string();
        assert_eq!(text(0), "t+0s");
        assert_eq!(text(60_000), "t+60s");
        assert_eq!(text(1_500), "t+1.5s");
        assert_eq!(text(266_400_000), "t+3d 2h");
    }
}
