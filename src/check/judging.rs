//! Judges runs and sorts what is wrong with them by cause.

use super::{Exploration, poisoned};
use crate::choice::{Kind, Plan};
use crate::oracle::Finding;
use crate::run::{End, Ran};

/// Findings with the same cause.
pub(super) struct Group {
    pub(super) subject: String,
    pub(super) kinds: Vec<Kind>,
    pub(super) finding: Finding,
    pub(super) plan: Plan,
    pub(super) runs: u64,
}

impl Exploration<'_> {
    /// Judges a run and sorts what is wrong with it by cause.
    pub(super) fn judge(&mut self, ran: &Ran) {
        if let End::Stuck(stuck) = &ran.outcome.end {
            if self.stuck.is_none() {
                self.stuck = Some((ran.plan.clone(), stuck.to_string()));
            }
            return;
        }
        // What a poisoned lock makes of a job after a crash is no bug of the job, and no proof that it has none.
        let crashed = ran.record.iter().any(|choice| choice.kind == Kind::Crash && choice.taken != 0);
        if let Some(error) = poisoned(&ran.outcome).filter(|_| crashed) {
            self.poisoned.get_or_insert((ran.plan.clone(), error.to_owned()));
            return;
        }
        let findings = self.findings(&ran.outcome);
        if findings.is_empty() {
            return;
        }
        self.violated += 1;
        let mut kinds: Vec<Kind> = ran.record.iter().filter(|c| c.taken != 0).map(|c| c.kind).collect();
        kinds.sort();
        kinds.dedup();
        for finding in findings {
            let subject = finding.subject();
            // What fewer kinds of deviation bring about by themselves is no new cause.
            let known = |group: &&mut Group| {
                group.subject == subject && group.kinds.iter().all(|k| kinds.contains(k))
            };
            match self.groups.iter_mut().find(known) {
                Some(group) => group.runs += 1,
                None => self.groups.push(Group {
                    subject,
                    kinds: kinds.clone(),
                    finding,
                    plan: ran.plan.clone(),
                    runs: 1,
                }),
            }
        }
    }
}
