//! Processes come into the world, and come again.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Executor, ProcessSlot};
use crate::engine::life::{self, Life};
use crate::engine::runtime::Context;
use crate::engine::state::Culprit;
use crate::process::Process;
use crate::search::choice::{Actor, Name};
use crate::system::job::short_kind;
use crate::system::timeline::EventKind;

impl Executor {
    /// Adds a process and boots it.
    #[track_caller]
    pub(crate) fn add(&mut self, name: Name, boot: Box<dyn Fn(&Process)>) {
        assert!(
            self.hosts.iter().all(|host| host.name != name),
            "the process `{name}` was added twice; give each process its own name"
        );
        // There is usually one process, and space for four is a large allocation, which costs far more than a small
        // one.
        self.hosts.reserve_exact(1);
        self.hosts.push(ProcessSlot::new(name, boot.into(), Context::new(self.pool.clone()), None));
        if let Err(panic) = self.boot(self.hosts.len() - 1) {
            std::panic::resume_unwind(panic);
        }
    }

    /// Adds a process with another version of the program of `of`.
    #[track_caller]
    pub(crate) fn add_version(&mut self, of: Name, boot: Box<dyn Fn(&Process)>) {
        let old = self.host_named(of.as_str(), "replaced");
        self.hosts[old].is_version = true;
        let name = Name::from(format!("{of}@new"));
        self.add(name, boot);
        let new = self.hosts.len() - 1;
        self.hosts[new].is_version = true;
        let kinds = [old, new].map(|index| {
            let living = self.hosts[index].living.as_ref();
            living.map_or_else(Vec::new, |(_, process)| {
                process.handle_other_version();
                process.kinds()
            })
        });
        self.shared.state().add_versioned_kinds(kinds[0].iter().copied());
        let [old, new] = kinds.map(|kinds| kinds.into_iter().map(short_kind).collect::<Vec<_>>());
        assert!(
            old.iter().any(|kind| new.contains(kind)),
            "the two versions of the process `{of}` handle no kind of job in common ({} and {}); a new version has to handle the jobs that the old one has enqueued",
            old.join(", "),
            new.join(", ")
        );
    }

    pub(super) fn boot(&mut self, index: usize) -> Result<(), Box<dyn Any + Send>> {
        self.shared.barrier();
        let host = &mut self.hosts[index];
        host.incarnations += 1;
        host.last_begun = None;
        let life = Life::new(self.shared.clone(), host.name, index, host.incarnations);
        let process = Process::new(life.clone());
        let were_suspended;
        let now = {
            let mut state = self.shared.state();
            let process = host.name;
            state.note(|| EventKind::Booted { process });
            // The calls of the boot closure itself succeed. A boot that fails is not a failing job.
            were_suspended = state.search.suspend_faults(true);
            state.clock.now()
        };
        let (boot, context) = (&host.boot, &mut host.context);
        let acting = self.shared.acting(Actor::Process(host.name));
        let booted = catch_unwind(AssertUnwindSafe(|| {
            context.within(now, &life, || life::run_as(&life, || life.blocked(|| boot(&process))))
        }));
        drop(acting);
        {
            let mut state = self.shared.state();
            state.search.suspend_faults(were_suspended);
            if booted.is_err() {
                state.culprit = Some(Culprit::Boot(host.name));
            }
            state.usage.slots += process.slot_count();
            // A copy has what its original has, and is not told about again.
            if process.uses_store() && host.copy_of.is_none() {
                state.connections.used_by(host.name, process.slot_count());
            }
        }
        if host.is_version {
            process.handle_other_version();
        }
        let spawned = process.take_spawned();
        host.living = Some((life, process));
        spawned.into_iter().for_each(|(name, future)| self.spawn(index, name, future));
        booted
    }

    /// Boots the processes that are due.
    pub(super) fn restart(&mut self) -> bool {
        if self.hosts.iter().all(|host| host.living.is_some()) {
            return false;
        }
        let now = self.shared.state().clock.now();
        let is_due = |host: &ProcessSlot| host.restarts().is_some_and(|at| at <= now);
        let Some(index) = self.hosts.iter().position(is_due) else { return false };
        if let Err(panic) = self.boot(index) {
            self.broken_boot = Some(panic);
        }
        true
    }

    /// Restarts a process immediately and silently. Only its memory and its threads are lost.
    pub(super) fn reboot(&mut self, index: usize) {
        let Some((life, _)) = &self.hosts[index].living else { return };
        life.die();
        self.tear_down(index, None);
        self.hosts[index].incarnations -= 1;
        if let Err(panic) = self.boot(index) {
            self.broken_boot = Some(panic);
        }
    }
}
