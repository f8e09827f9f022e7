//! Checks that no job vanishes: every job that was enqueued ends done or dead, or is still waiting.

use super::{Comparison, Finding};
use crate::judge::run::Outcome;
use crate::search::choice::Actor;
use crate::system::job::{Job, JobState};
use crate::world::{Guarantee, JobTerm};

/// Finds jobs that were lost, or that could not run at all.
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
            findings.push(Finding::DeathUnreported { kind, payload, deaths, told });
        }
    }
}

/// Whether a job may be lost: a request whose client is gone is not tried again by anybody.
fn may_be_lost(job: &Job, outcome: &Outcome) -> bool {
    job.request().is_some() || outcome.terms.accepts(job.kind, JobTerm::Lost)
}

/// Finds locks that will never be released.
pub(super) fn locks(outcome: &Outcome, findings: &mut Vec<Finding>) {
    for (lock, holder) in &outcome.left_locks {
        let (kind, key, holder) = (lock.kind, lock.key.to_string(), holder.clone());
        findings.push(Finding::LockLeft { kind, key, holder });
    }
}

/// Checks reports to error trackers. A job that died must have reported it in exactly one attempt, and a job that was
/// retried and ended well in none. The number of reports within one attempt does not matter, because a reply may be
/// lost. Jobs with an attempt whose worker crashed before the queue recorded its end are excluded, unless they are
/// dead and were never reported, because what such an attempt reported was real.
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
                findings.push(Finding::Unreported { kind, payload });
            }
            JobState::Dead if told.len() > 1 && job.attempts == job.failures() && !may_repeat => {
                findings.push(Finding::Told { kind, payload, attempts: told.len(), dead: true });
            }
            JobState::Done if job.attempts == job.failures() + 1 && !may_repeat => {
                // The last attempt ended well, so what it reports belongs to its ordinary course.
                told.retain(|attempt| *attempt < job.attempts);
                if !told.is_empty() {
                    findings.push(Finding::Told { kind, payload, attempts: told.len(), dead: false });
                }
            }
            _ => {}
        }
    }
}

/// Whether the job is dead because another job had its lock. It did not fail, so there is nothing to report.
fn was_rejected(job: &Job) -> bool {
    job.extras.as_ref().is_some_and(|extras| extras.rejected)
}

fn attempt_of(by: Actor, number: u32) -> Option<u32> {
    match by {
        Actor::Attempt { job, attempt } if job == number => Some(attempt),
        _ => None,
    }
}

/// Whether a job gave up because it failed too often, and not because it could not run or another job had its lock.
fn gave_up(job: &Job) -> bool {
    match job.state {
        JobState::Dead => !job.could_not_run && !was_rejected(job),
        state => state == JobState::Discarded,
    }
}

/// Whether a job may have been dropped as a duplicate: it had no effects, its last attempt had no deviation, and an
/// equal job that came before its end had effects.
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

/// Whether a job gave up because of its deviations, so that each failed attempt had one. A job that fails more often
/// fails because of what an earlier attempt left behind. A preemption is no excuse.
pub(super) fn is_excused(job: &Job, outcome: &Outcome) -> bool {
    let accepts = |term| outcome.terms.accepts(job.kind, term);
    match job.state {
        JobState::Lost => may_be_lost(job, outcome),
        // A client lives with every error.
        JobState::Discarded if job.request().is_some() => true,
        JobState::Done => accepts(JobTerm::Skipped) && was_skipped(job, outcome),
        state => {
            let by_itself = !outcome.outage && job.failures() as usize > outcome.mishaps;
            gave_up(job) && (!by_itself || accepts(JobTerm::End(state)))
        }
    }
}

/// Finds jobs that gave up although they had no more deviations.
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

/// Checks that each job of the expected outcome exists and ended the same way. An additional job is not a finding here,
/// because its effects and state show what it did.
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
