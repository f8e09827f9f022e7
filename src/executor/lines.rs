//! Calls that come over real sockets. They are served here, where nothing else runs: what goes wrong with them is
//! drawn in an order that does not depend on how fast a socket is.

use std::sync::Arc;
use std::time::Duration;

use super::Executor;
use crate::engine::life;
use crate::engine::wire::{Traffic, Wire};
use crate::search::choice::Actor;

impl Executor {
    fn wire(&self) -> Option<Arc<dyn Wire>> {
        self.shared.wire().cloned()
    }

    /// Has whatever is under way on a socket arrive, and serves who waits there. True when somebody can go on because
    /// of it; time must not pass before this says no.
    pub(super) fn attend(&mut self) -> bool {
        let Some(wire) = self.wire() else { return false };
        let mut served = false;
        loop {
            self.rest();
            if self.shared.woken.is_called_for() {
                return true;
            }
            if wire.settle() == Traffic::Moving {
                continue;
            }
            let Some(asked) = wire.clone().next() else { return served };
            let host = asked.host();
            let Some((life, _)) = &self.hosts[host].living else { continue };
            let life = life.clone();
            let acting = self.shared.acting(asked.by().unwrap_or_else(|| self.caller(host)));
            life::run_as(&life, || asked.serve());
            drop(acting);
            served = true;
            if life.is_dead() {
                self.take_apart(host, None);
                return true;
            }
            if self.shared.state().stuck.is_some() {
                return true;
            }
        }
    }

    /// Who makes the calls of a process that wait: the attempt that was polled last, if it is under way.
    fn caller(&self, host: usize) -> Actor {
        let of_host = self.tasks.iter().flatten().filter(|task| task.host == host);
        let mut attempts = of_host.map(super::Task::actor);
        let last = self.hosts[host].last;
        attempts.find(|actor| Some(*actor) == last).unwrap_or(Actor::Process(self.hosts[host].name))
    }

    /// An attempt is about to be polled. If it was another one of its process the last time, whatever that one asked
    /// for arrives first: afterwards nobody could tell whose it is.
    pub(super) fn turn_to(&mut self, host: usize, actor: Actor) {
        let Some(wire) = self.wire() else { return };
        let Some(last) = self.hosts[host].last.replace(actor).filter(|last| *last != actor) else { return };
        loop {
            self.rest();
            if wire.settle() == Traffic::Still {
                break;
            }
        }
        wire.made_by(host, last);
    }

    /// Where threads of a process are at work its clock does not go on. Whoever waits in one for what never comes has
    /// its line cut instead. True if there is anybody.
    pub(super) fn cut_off(&mut self, waiting: &[usize], now: Duration, limit: Option<Duration>) -> bool {
        let Some(wire) = self.wire() else { return false };
        if !waiting.iter().any(|&index| self.hosts[index].context.has_threads()) {
            return false;
        }
        let Some(at) = wire.hangs_up_at() else { return false };
        let until = limit.map_or(at, |limit| limit.min(at)).max(now);
        self.shared.advance(until);
        wire.hang_up(until);
        true
    }

    /// Lets what tokio drives go on, in every process, as far as it comes without time.
    fn rest(&mut self) {
        for index in 0..self.hosts.len() {
            self.with_spawned(index, |context, now, _| context.rest(now));
        }
    }
}
