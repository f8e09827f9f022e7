//! How long a task may stall: until just past the next deadline of the world, or the one after it. If nothing ever expires,
//! a stall only lets others run first, which is a choice of its own.

use std::time::Duration;

use super::State;
use crate::search::choice::{Actor, DeviationKind, Name, Options, Point, Stalls};
use crate::system::clock::TaskId;

/// How long past a deadline a stall ends. Others that wait for it have usually looked once more by then.
const PAST: Duration = Duration::from_secs(1);
/// How much longer the second stall takes if there is no second deadline.
const MINUTE: Duration = Duration::from_secs(60);
/// A long stall, for others that compare times themselves: longer than a worker with a heartbeat is ever silent.
const LONG: Duration = Duration::from_secs(600);
/// Deadlines later than this do not count: every retry is over by then.
const HORIZON: Duration = Duration::from_secs(31 * 86_400);
/// How many timers of the others fire during a stall, at the most. Each of them costs steps.
const LOOKS: u32 = 200;

impl State {
    /// An attempt in this process keeps values in thread-locals.
    pub(crate) fn note_thread_locals(&mut self, process: Name) {
        self.thread_locals.insert(process);
    }

    /// Whether attempts in this process keep values in thread-locals, which a copy on the same thread would see.
    pub(crate) fn keeps_thread_locals(&self, process: Name) -> bool {
        self.thread_locals.contains(&process)
    }

    /// Reports whether anything in the world may expire: a row, a key or the lock of a job.
    pub(super) fn has_expiring(&self) -> bool {
        self.ledger.expiries.are_used() || !self.queue.locks.is_unused()
    }

    /// Decides after a step of a task until when it stalls, if it does. `is_loop`: the task is no attempt, and what watches it
    /// does so by timers. `lease_ends`: when the lease ends that the attempt holds. To stall past that is a second delivery.
    pub(super) fn stall(
        &mut self,
        task: TaskId,
        is_loop: bool,
        lease_ends: Option<Duration>,
    ) -> Option<Duration> {
        let now = self.clock.now();
        let timer = if is_loop { self.clock.next_of_others(task) } else { None };
        let expiry = self.ledger.expiries.after(now);
        let locked = if self.queue.locks.is_unused() { None } else { self.queue.locks.next_expiry(now) };
        let horizon = now.saturating_add(HORIZON);
        let mut moments: Vec<_> = [timer, expiry, locked].into_iter().flatten().collect();
        moments.retain(|moment| *moment <= horizon);
        if moments.is_empty() {
            return None;
        }
        let after = self.ledger.expiries.after(expiry.unwrap_or(now));
        moments.extend(after.filter(|moment| *moment <= horizon));
        moments.sort_unstable();
        moments.dedup();
        let most = timer.map_or(Duration::MAX, |timer| now.saturating_add((timer - now) * LOOKS));
        let second = moments.get(1).copied().unwrap_or(moments[0].saturating_add(MINUTE));
        let mut stalls = Stalls::NONE.with(Stalls::NEXT);
        let second = second.saturating_add(PAST).min(most);
        let next = moments[0].saturating_add(PAST);
        if second > next {
            stalls = stalls.with(Stalls::SECOND);
        }
        let long = now.saturating_add(LONG).min(most);
        if timer.is_some() && long > second.max(next) {
            stalls = stalls.with(Stalls::LONG);
        }
        let mut kind = DeviationKind::Delay;
        if let Some(ends) = lease_ends {
            if next >= ends {
                kind = DeviationKind::Delivery;
            } else if second >= ends {
                stalls = Stalls::NONE.with(Stalls::NEXT);
            }
        }
        let site = self.last_site(self.actor);
        let taken = self.deviate(kind, site, Point::Stall, Options::Stall(stalls), None);
        let until = match stalls.at_option(taken)? {
            Stalls::NEXT => next,
            Stalls::SECOND => second,
            _ => long,
        };
        if is_loop {
            self.stands_still_until = self.stands_still_until.max(until);
        }
        Some(until)
    }

    /// Reports whether some loop stalls and `actor` is a loop. What the other loops do in the meantime counts, but nothing
    /// else goes wrong in them.
    pub(super) fn is_loop_still(&self, actor: Actor) -> bool {
        matches!(actor, Actor::Task(_)) && self.clock.now() < self.stands_still_until
    }
}
