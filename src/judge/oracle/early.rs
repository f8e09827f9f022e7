//! Effects before their time: before a job was due, or before what the fault-free run has it wait for.

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
struct Waits {
    /// By the job itself and those that it came from: until they were due, and from when they began. Waiting for a slot,
    /// for other jobs, counts nothing.
    own: Duration,
    /// Since the first of these jobs came into the world.
    all: Duration,
    /// When it happened: a job that waits for a certain hour waits less if it comes later.
    at: Duration,
    job: u32,
}

impl Waits {
    fn is_before(&self, due: &Self) -> bool {
        self.own < due.own && self.all < due.all && self.at < due.at
    }
}

fn waits(outcome: &Outcome, effect: &Effect) -> Option<Waits> {
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
    Some(Waits { own, all, at: effect.at, job: number })
}

/// The first effect that happened before its time.
///
/// It did if the job itself and the world have waited less than in the expected outcome, and it is earlier: a job may have
/// to wait for a slot there, or here for a moment that has come closer meanwhile.
pub(crate) fn early(outcome: &Outcome, expected: &Outcome) -> Option<Finding> {
    if !expected.waits || !may_be_early(outcome, expected) {
        return None;
    }
    let mut roles = Roles::default();
    let mut named = |of: &Outcome| -> Vec<(Named, Waits)> {
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
    let mut due: BTreeMap<Named, Waits> = BTreeMap::new();
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

/// Whether any effect is before its time if it is the same as some expected effect of the same operation. In most runs
/// none is, and no effect need be named.
fn may_be_early(outcome: &Outcome, expected: &Outcome) -> bool {
    outcome.effects.iter().any(|effect| {
        let Some(waited) = waits(outcome, effect) else { return false };
        let operation = (effect.service, effect.operation);
        let mut alike = expected.effects.iter().filter(|other| (other.service, other.operation) == operation);
        alike.any(|other| waits(expected, other).is_some_and(|due| waited.is_before(&due)))
    })
}

/// Whether a job, or one that it came from, has drawn random numbers: if it draws how long to wait it may draw less the
/// next time.
fn draws(outcome: &Outcome, mut job: u32) -> bool {
    while job != 0 {
        if outcome.drawing.contains(&job) {
            return true;
        }
        job = outcome.jobs[job as usize - 1].parent;
    }
    false
}

/// Which effect it is: the role of the job, service, operation, key and body, without generated values.
type Named = (u32, Name, Name, Option<String>, String);
