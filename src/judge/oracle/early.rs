//! Finds effects that happen too early: before a job was due, or before the end of a wait of the fault-free run.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Finding;
use crate::judge::run::Outcome;
use crate::search::choice::{Actor, Name};
use crate::system::effect::Effect;
use crate::system::generated::Forms;
use crate::system::job::Job;
use crate::system::script::Roles;

/// How long an effect was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct WaitTime {
    /// The time that the job itself and its parents waited: until they were due, and from when they began. Time spent
    /// waiting for a slot or for other jobs does not count.
    own: Duration,
    /// The time since the first of these jobs was enqueued.
    all: Duration,
    /// The time of the effect. A job that waits for a certain time of day waits less if it starts later.
    at: Duration,
    job: u32,
}

impl WaitTime {
    fn is_before(&self, due: &Self) -> bool {
        self.own < due.own && self.all < due.all && self.at < due.at
    }
}

fn waits(outcome: &Outcome, effect: &Effect) -> Option<WaitTime> {
    let Actor::Attempt { job: number, .. } = effect.by else { return None };
    let job_of = |number: u32| outcome.jobs.get(number.checked_sub(1)? as usize);
    let mut job = job_of(number)?;
    let mut own = effect.at.saturating_sub(job.history.began_at);
    loop {
        let Job { history, .. } = job;
        own += history.due.saturating_sub(history.born_at);
        let Some(parent) = job_of(job.parent) else { break };
        own += history.born_at.saturating_sub(parent.history.began_at);
        job = parent;
    }
    let all = effect.at.saturating_sub(job.history.born_at);
    Some(WaitTime { own, all, at: effect.at, job: number })
}

/// Returns the first effect that happened too early.
///
/// An effect is too early if the job itself and the world waited less than in the expected outcome, and if the effect
/// happened earlier than there: the job may wait for a slot in that run, or for a time that is closer in this run.
pub(crate) fn early(outcome: &Outcome, expected: &Outcome) -> Option<Finding> {
    if !expected.waits || !may_be_early(outcome, expected) {
        return None;
    }
    let mut roles = Roles::default();
    let mut named = |of: &Outcome| -> Vec<(Named, WaitTime)> {
        let generated = super::renaming::generated(of);
        let cast = roles.of(&of.jobs, &generated);
        let forms = Forms::of(&generated);
        let name = |effect: &Effect| {
            let Actor::Attempt { job, .. } = effect.by else { return None };
            let key = effect.key.as_deref().map(|key| forms.blank(key).into_owned());
            let body = forms.blank(&effect.body).into_owned();
            let role = cast.get(job as usize - 1)?.1;
            Some(((role, effect.service, effect.operation, key, body), waits(of, effect)?))
        };
        of.effects.iter().filter_map(name).collect()
    };
    let mut due: BTreeMap<Named, WaitTime> = BTreeMap::new();
    for (name, waits) in named(expected) {
        let known = due.entry(name).or_insert(waits);
        *known = waits.min(*known);
    }
    let early = named(outcome).into_iter().position(|(name, waited)| {
        let is_drawn = || draws(outcome, waited.job);
        due.get(&name).is_some_and(|due| waited.is_before(due) && !is_drawn())
    })?;
    let by_job = |effect: &&Effect| waits(outcome, effect).is_some();
    let effect = outcome.effects.iter().filter(by_job).nth(early)?;
    let (name, waited) = named(outcome).into_iter().nth(early)?;
    let (effect, waited, expected) = (effect.clone(), waited.own, due.get(&name)?.own);
    Some(Finding::Early { effect, waited, expected })
}

/// Returns whether any effect would be too early if it were the same as some expected effect of its operation. In most
/// runs none would be, so that the effects need not be named.
fn may_be_early(outcome: &Outcome, expected: &Outcome) -> bool {
    outcome.effects.iter().any(|effect| {
        let Some(waited) = waits(outcome, effect) else { return false };
        let operation = (effect.service, effect.operation);
        let mut alike = expected.effects.iter().filter(|other| (other.service, other.operation) == operation);
        alike.any(|other| waits(expected, other).is_some_and(|due| waited.is_before(&due)))
    })
}

/// Whether a job, or one of its parents, drew random numbers. If a job draws its waiting time, it may draw a shorter
/// one the next time.
fn draws(outcome: &Outcome, mut job: u32) -> bool {
    while job != 0 {
        if outcome.drawing.contains(&job) {
            return true;
        }
        job = outcome.jobs[job as usize - 1].parent;
    }
    false
}

/// The identity of an effect: the role of the job, service, operation, key and body, without generated values.
type Named = (u32, Name, Name, Option<String>, String);
