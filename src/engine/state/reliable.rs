//! Processes in which nothing goes wrong. They belong to the test, not to the code under test.

use std::collections::BTreeMap;

use super::State;
use crate::search::choice::{Actor, DeviationKind, Name};

/// The processes in which nothing goes wrong, and the jobs that run in them.
#[derive(Debug, Default)]
pub(crate) struct ReliableProcesses {
    processes: Vec<Name>,
    /// The process of each job that was begun, if there are such processes.
    runs_in: BTreeMap<u32, Name>,
}

impl ReliableProcesses {
    pub(crate) fn add(&mut self, process: Name) {
        self.processes.push(process);
    }

    /// A job begins in a process.
    pub(crate) fn begins(&mut self, job: u32, process: Name) {
        if !self.processes.is_empty() {
            self.runs_in.insert(job, process);
        }
    }

    fn has(&self, actor: Actor) -> bool {
        match actor {
            Actor::Test => false,
            Actor::Process(name) => self.processes.contains(&name),
            Actor::Task(name) => self.processes.iter().any(|process| {
                name.as_str().strip_prefix(process.as_str()).is_some_and(|rest| rest.starts_with('/'))
            }),
            Actor::Attempt { job, .. } => {
                self.runs_in.get(&job).is_some_and(|process| self.processes.contains(process))
            }
        }
    }
}

impl State {
    /// Reports whether this kind cannot go wrong in the current process. The next task is a choice in any process.
    pub(super) fn is_reliable(&self, kind: DeviationKind) -> bool {
        !self.world.reliable.processes.is_empty()
            && kind != DeviationKind::Preemption
            && self.world.reliable.has(self.actor)
    }
}
