//! Effects before their time: before a job was due, or before what the fault-free run has it wait for.

use std::time::Duration;

use super::Finding;
use crate::judge::run::Outcome;
use crate::search::choice::Actor;
use crate::system::effect::Effect;
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
}

fn waits(outcome: &Outcome, effect: &Effect) -> Option<Waits> {
    let Actor::Attempt { job, .. } = effect.by else { return None };
    let job_of = |number: u32| outcome.jobs.get(number.checked_sub(1)? as usize);
    let mut job = job_of(job)?;
    let mut own = effect.at.saturating_sub(job.history.began_at);
    loop {
        let Job { history, .. } = job;
        own += history.due.saturating_sub(history.born_at);
        let Some(parent) = job_of(job.parent) else { break };
        own += history.born_at.saturating_sub(parent.history.began_at);
        job = parent;
    }
    Some(Waits { own, all: effect.at.saturating_sub(job.history.born_at) })
}

/// The first effect that happened before its time.
///
/// It did if both the job itself and the world have waited less than in the expected outcome: a job may have to wait for a
/// slot there, or here for a moment that has come closer meanwhile.
pub(crate) fn early(outcome: &Outcome, expected: &Outcome) -> Option<Finding> {
    if !expected.waits {
        return None;
    }
    let mut roles = Roles::default();
    let generated = [outcome, expected].map(super::renaming::generated);
    let ours = roles.of(&outcome.jobs, &generated[0]);
    let theirs = roles.of(&expected.jobs, &generated[1]);
    let name = |effect: &Effect, of: &super::Generated| {
        let key = effect.key.as_deref().map(|key| of.blank(key).into_owned());
        (effect.service, effect.operation, key, of.blank(&effect.body).into_owned())
    };
    let role = |effect: &Effect, cast: &[(crate::system::script::Role, u32)]| match effect.by {
        Actor::Attempt { job, .. } => cast.get(job as usize - 1).map(|(_, number)| *number),
        _ => None,
    };
    let is_same = |ours_: &Effect, other: &Effect| {
        role(ours_, &ours) == role(other, &theirs) && name(ours_, &generated[0]) == name(other, &generated[1])
    };
    let found = outcome.effects.iter().find_map(|effect| {
        let Actor::Attempt { job, .. } = effect.by else { return None };
        // Who draws how long to wait may draw less the next time.
        if outcome.drawing.contains(&job) {
            return None;
        }
        let waited = waits(outcome, effect)?;
        let alike = expected.effects.iter().filter(|other| is_same(effect, other));
        let due = alike.filter_map(|other| waits(expected, other)).min()?;
        (waited.own < due.own && waited.all < due.all).then(|| Finding::Early {
            effect: effect.clone(),
            waited: waited.own,
            expected: due.own,
        })
    });
    found
}
