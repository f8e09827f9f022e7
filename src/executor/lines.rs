//! Calls that come over real sockets. They are served here, where nothing else runs: what goes wrong with them is
//! drawn in an order that does not depend on how fast a socket is.

use std::sync::Arc;

use super::Executor;
use crate::choice::Actor;
use crate::life;
use crate::wire::{Traffic, Wire};

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
            self.shared.state().actor = asked.by().unwrap_or_else(|| self.caller(host));
            life::live(&life, || asked.serve());
            self.shared.state().actor = Actor::Test;
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

    /// Who makes the calls of a process: its attempt, if it is the only one.
    fn caller(&self, host: usize) -> Actor {
        let mut attempts = self.tasks.iter().flatten().filter(|task| task.host == host);
        match (attempts.next(), attempts.next()) {
            (Some(task), None) => task.actor(),
            _ => Actor::Process(self.hosts[host].name),
        }
    }

    /// Sees to it that a call is known for that of the attempt which has just been polled: afterwards nobody could tell
    /// it from that of another attempt of the process.
    pub(super) fn attribute(&mut self, host: usize, actor: Actor) {
        let Some(wire) = self.wire() else { return };
        if self.tasks.iter().flatten().filter(|task| task.host == host).count() < 2 {
            return;
        }
        loop {
            self.rest();
            if wire.settle() == Traffic::Still {
                break;
            }
        }
        wire.made_by(host, actor);
    }

    /// Lets what tokio drives go on, in every process, as far as it comes without time.
    fn rest(&mut self) {
        for index in 0..self.hosts.len() {
            self.with_spawned(index, |context, now, shared| context.rest(now, &shared.woken));
        }
    }
}
