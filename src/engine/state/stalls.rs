//! How long a task may stand still: until just past the next moment at which something of the world is over, or the one
//! after. Where nothing is ever over, to stand still is no more than to let others go first.

use std::time::Duration;

use super::State;
use crate::search::choice::{Actor, DeviationKind, Options, Point, Stalls};
use crate::system::clock::TaskId;

/// How long past such a moment: those who wait for it have looked once more by then.
const PAST: Duration = Duration::from_secs(1);
/// How much longer where there is no second moment.
const MINUTE: Duration = Duration::from_secs(60);
/// A long while: longer than any worker that beats stays silent, where others look at the clock by themselves.
const LONG: Duration = Duration::from_secs(600);
/// What expires later than that helps nobody, and hurts nobody.
const HORIZON: Duration = Duration::from_secs(31 * 86_400);
/// How often others look meanwhile at the most.
const LOOKS: u32 = 200;

impl State {
    /// After a step of a task: until when it stands still, if it does. `is_loop`: it is no attempt, and whoever watches
    /// it does so by timers.
    pub(super) fn stall(&mut self, task: TaskId, is_loop: bool) -> Option<Duration> {
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
        let site = self.last_site(self.actor);
        let taken = self.deviate(DeviationKind::Delay, site, Point::Stall, Options::Stall(stalls), None);
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

    /// Whether a loop stands still: what the others do meanwhile is looked at, and not what may go wrong with it.
    pub(super) fn is_loop_still(&self, actor: Actor) -> bool {
        matches!(actor, Actor::Task(_)) && self.clock.now() < self.stands_still_until
    }
}
