//! Checks the order of each job's effects.

use std::collections::BTreeSet;

use super::Finding;
use crate::judge::run::Outcome;
use crate::search::choice::{Actor, Name};
use crate::system::job::Job;
use crate::world::names;

/// The jobs that made an effect.
#[derive(Default)]
struct EffectfulJobs<'o> {
    jobs: BTreeSet<u32>,
    /// The same jobs, by kind and payload.
    repeated: BTreeSet<(&'static str, &'o str)>,
}

impl<'o> EffectfulJobs<'o> {
    fn add(&mut self, job: &'o Job) {
        self.jobs.insert(job.number);
        self.repeated.insert((job.kind, &*job.payload));
    }

    /// Whether this job made the effect, an equal job that was enqueued again, or one of its parents.
    fn has(&self, job: &Job, jobs: &[Job]) -> bool {
        let mut of = Some(job);
        while let Some(job) = of {
            if self.jobs.contains(&job.number) || self.repeated.contains(&(job.kind, &*job.payload)) {
                return true;
            }
            of = job.parent.checked_sub(1).map(|at| &jobs[at as usize]);
        }
        false
    }
}

/// Finds effects whose predecessor in a list had not happened before: not by the same job, one of its parents, or a job
/// whose stored answer it received for the same request with the same key. What other jobs do does not count.
pub(super) fn judge(outcome: &Outcome, findings: &mut Vec<Finding>) {
    let jobs = &outcome.jobs;
    let job_of = |by: Actor| match by {
        Actor::Attempt { job, .. } => jobs.get(job as usize - 1),
        Actor::Test | Actor::Process(_) | Actor::Task(_) => None,
    };
    for pair in outcome.terms.in_order.iter().flat_map(|list| list.windows(2)) {
        let is_first = |service: Name, operation: Name| names(&pair[0], service, operation);
        let mut repeats = outcome.repeats.iter().peekable();
        let mut done = EffectfulJobs::default();
        for (at, effect) in outcome.effects.iter().enumerate() {
            while let Some(repeat) = repeats.next_if(|repeat| repeat.at <= at) {
                if is_first(repeat.service, repeat.operation) {
                    job_of(repeat.by).into_iter().for_each(|job| done.add(job));
                }
            }
            let Some(job) = job_of(effect.by) else { continue };
            let is_second = names(&pair[1], effect.service, effect.operation);
            let known = |finding: &Finding| match finding {
                Finding::OutOfOrder { effect: other, before } => other == effect && *before == pair[0],
                _ => false,
            };
            if is_second && !done.has(job, jobs) && !findings.iter().any(known) {
                let (effect, before) = (effect.clone(), pair[0].clone());
                findings.push(Finding::OutOfOrder { effect, before });
            }
            if is_first(effect.service, effect.operation) {
                done.add(job);
            }
        }
    }
}
