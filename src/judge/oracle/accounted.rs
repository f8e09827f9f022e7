//! No job vanishes: every one that came into the world ends done, dead, or still waiting.

use super::{Comparison, Finding};
use crate::judge::run::Outcome;
use crate::search::choice::Actor;
use crate::system::job::{Job, JobState};
use crate::world::{Guarantee, JobTerm};

/// Jobs that are gone, or could not be run at all.
pub(super) fn judge(outcome: &Outcome, findings: &mut Vec<Finding>) {
    for job in &outcome.jobs {
        let kind = job.kind;
        if job.state == JobState::Lost && may_be_lost(job, outcome) {
            continue;
        }
        if job.state == JobState::Lost {
            findings.push(Finding::Lost { kind, payload: job.payload.to_string() });
        } else if job.could_not_run {
            let payload = job.payload.to_string();
            let error = job.error().unwrap_or_default().to_owned();
            findings.push(Finding::NotRun { kind, payload, error });
        } else if let Some(extras) = job.extras.as_ref().filter(|t| t.deaths != t.deaths_told) {
            let payload = job.payload.to_string();
            let (deaths, told) = (extras.deaths, extras.deaths_told);
            findings.push(Finding::DeathUntold { kind, payload, deaths, told });
        }
    }
}

/// Whether a job may be lost: a request whose client is gone is not tried again by anybody.
fn may_be_lost(job: &Job, outcome: &Outcome) -> bool {
    job.request().is_some() || outcome.terms.accepts(job.kind, JobTerm::Lost)
}

/// Locks that nobody will ever give back.
pub(super) fn locks(outcome: &Outcome, findings: &mut Vec<Finding>) {
    for (lock, holder) in &outcome.left_locks {
        let (kind, key, holder) = (lock.kind, lock.key.to_string(), holder.clone());
        findings.push(Finding::LockLeft { kind, key, holder });
    }
}

/// Who died must have told, in one attempt; who was tried again and ended well, in none. How often within one attempt is
/// nobody's business: a reply may be lost. Jobs with an attempt whose worker died before the queue heard of its end are
/// left alone, unless they are dead and never told: what such an attempt told of was real.
pub(super) fn told(outcome: &Outcome, guarantee: Guarantee, findings: &mut Vec<Finding>) {
    let (may_repeat, may_lack) = match guarantee {
        Guarantee::ExactlyOnce => (false, false),
        Guarantee::AtLeastOnce => (true, false),
        Guarantee::AtMostOnce => (false, true),
        Guarantee::Unchecked => return,
        Guarantee::Between { least, most } => (most > 1, least == 0),
    };
    for job in &outcome.jobs {
        let mut told: Vec<u32> =
            outcome.told.iter().filter_map(|told| attempt_of(told.by, job.number)).collect();
        told.dedup();
        let (kind, payload) = (job.kind, job.payload.to_string());
        match job.state {
            JobState::Dead if told.is_empty() && !job.could_not_run && !was_rejected(job) && !may_lack => {
                findings.push(Finding::Untold { kind, payload });
            }
            JobState::Dead if told.len() > 1 && job.attempts == job.failures() && !may_repeat => {
                findings.push(Finding::Told { kind, payload, attempts: told.len(), dead: true });
            }
            JobState::Done if job.attempts == job.failures() + 1 && !may_repeat => {
                // The last attempt ended well; what it tells is part of its ordinary course.
                told.retain(|attempt| *attempt < job.attempts);
                if !told.is_empty() {
                    findings.push(Finding::Told { kind, payload, attempts: told.len(), dead: false });
                }
            }
            _ => {}
        }
    }
}

/// Whether it is dead because another job had its lock: it has not failed, and nobody is to be told.
fn was_rejected(job: &Job) -> bool {
    job.extras.as_ref().is_some_and(|extras| extras.rejected)
}

fn attempt_of(by: Actor, number: u32) -> Option<u32> {
    match by {
        Actor::Attempt { job, attempt } if job == number => Some(attempt),
        _ => None,
    }
}

/// Whether a job gave up: it failed too often, and not because it could not be run or another one had its lock.
fn gave_up(job: &Job) -> bool {
    match job.state {
        JobState::Dead => !job.could_not_run && !was_rejected(job),
        state => state == JobState::Discarded,
    }
}

/// Whether a job may have been dropped as a duplicate: it has done nothing, nothing went wrong in its last attempt, and the
/// same job came before it was over and has acted.
fn was_skipped(job: &Job, outcome: &Outcome) -> bool {
    let acts = |job: &Job| outcome.effects.iter().any(|effect| attempt_of(effect.by, job.number).is_some());
    let payload = |job: &Job| outcome.generated.compared(job.kind, &job.payload).into_owned();
    let last = Actor::Attempt { job: job.number, attempt: job.attempts };
    if outcome.troubled.contains(&last) || acts(job) {
        return false;
    }
    let is_original = |other: &&Job| {
        other.number != job.number
            && other.kind == job.kind
            && other.attempts > 0
            && other.history.began <= job.history.ended
            && payload(other) == payload(job)
    };
    outcome.jobs.iter().filter(is_original).any(acts)
}

/// Whether a job gave up for what went wrong in it: no attempt failed for which nothing had gone wrong. One that fails more
/// often fails by itself, for what an earlier attempt has left behind; and that somebody else went first is no excuse.
pub(super) fn is_excused(job: &Job, outcome: &Outcome) -> bool {
    let accepts = |term| outcome.terms.accepts(job.kind, term);
    match job.state {
        JobState::Lost => may_be_lost(job, outcome),
        // A client lives with an error, whatever it is for.
        JobState::Discarded if job.request().is_some() => true,
        JobState::Done => accepts(JobTerm::Skipped) && was_skipped(job, outcome),
        state => {
            let by_itself = !outcome.outage && job.failures() as usize > outcome.mishaps;
            gave_up(job) && (!by_itself || accepts(JobTerm::End(state)))
        }
    }
}

/// Jobs that gave up though nothing went wrong any more.
pub(super) fn judge_deaths(comparison: &Comparison<'_>, findings: &mut Vec<Finding>) {
    let outcome = comparison.outcome;
    for (job, role) in outcome.jobs.iter().zip(&comparison.roles) {
        let mut expected = comparison.jobs.iter().zip(&comparison.expected_roles);
        let is_expected = expected.any(|(expected, known)| known == role && gave_up(expected));
        if !gave_up(job) || is_excused(job, outcome) || is_expected {
            continue;
        }
        let (kind, payload, failures) = (job.kind, job.payload.to_string(), job.failures());
        let error = job.error().unwrap_or_default().to_owned();
        findings.push(Finding::Died { kind, payload, failures, went_wrong: outcome.mishaps, error });
    }
}

/// Whether it is open how a job ends that has not ended where the test body did, in one run or in both: it would go on.
fn is_open(expected: JobState, actual: JobState) -> bool {
    let is_open = |state: JobState| state.is_under_way() || state == JobState::Done;
    is_open(expected) && is_open(actual)
}

/// Each job of the expected outcome must be there and have ended likewise. A job more than expected is none of this
/// oracle's business: what it did is seen in effects and state.
pub(super) fn compare(comparison: &Comparison<'_>, findings: &mut Vec<Finding>) {
    let Comparison { outcome, jobs, excuses, serial, .. } = comparison;
    let is_cut_short = outcome.record.is_cut_short();
    for job in jobs.iter() {
        let is_alike = |other: &&Job| {
            let ignored = |payload| outcome.generated.compared(job.kind, payload);
            let same = other.payload == job.payload;
            let has_ignored = || outcome.terms.ignored_payloads.iter().any(|(kind, _)| *kind == job.kind);
            other.kind == job.kind
                && (same || has_ignored() && ignored(&other.payload) == ignored(&job.payload))
        };
        let mut alike = outcome.jobs.iter().filter(is_alike);
        let actual = alike.clone().next().map(|other| other.state);
        let ended_so = |other: &Job| {
            other.state == job.state
                || excuses.0.contains(&other.number)
                || is_cut_short && is_open(job.state, other.state)
        };
        if alike.any(ended_so) || actual == Some(JobState::Lost) {
            continue;
        }
        let (kind, payload, expected) = (job.kind, job.payload.to_string(), job.state);
        findings.push(Finding::Job { kind, payload, expected, actual, serial: *serial });
    }
}
