//! No job vanishes: every one that came into the world ends done, dead, or still waiting.

use super::Finding;
use crate::job::{Job, JobState};
use crate::run::Outcome;

/// Jobs that are gone, or could not be run at all.
pub(super) fn judge(outcome: &Outcome, findings: &mut Vec<Finding>) {
    for job in &outcome.jobs {
        let kind = job.kind;
        if job.state == JobState::Lost {
            findings.push(Finding::Lost { kind, payload: job.payload.to_string() });
        } else if job.could_not_run {
            let payload = job.payload.to_string();
            let error = job.error().unwrap_or_default().to_owned();
            findings.push(Finding::NotRun { kind, payload, error });
        } else if let Some(trouble) = job.trouble.as_ref().filter(|t| t.deaths != t.deaths_told) {
            let payload = job.payload.to_string();
            let (deaths, told) = (trouble.deaths, trouble.deaths_told);
            findings.push(Finding::DeathUntold { kind, payload, deaths, told });
        }
    }
}

/// Whether a job ended dead that does not in the expected outcome.
pub(super) fn newly_dead(outcome: &Outcome, expected: &Outcome) -> bool {
    let is_expected = |job: &Job| {
        expected
            .jobs
            .iter()
            .any(|e| e.state == JobState::Dead && e.kind == job.kind && e.payload == job.payload)
    };
    outcome.jobs.iter().any(|job| job.state == JobState::Dead && !job.could_not_run && !is_expected(job))
}

/// Each job of the expected outcome must be there and have ended likewise. A job more than expected is none of this
/// oracle's business: what it did is seen in effects and state.
pub(super) fn compare(outcome: &Outcome, expected: &Outcome, serial: bool, findings: &mut Vec<Finding>) {
    for job in &expected.jobs {
        let mut alike =
            outcome.jobs.iter().filter(|other| other.kind == job.kind && other.payload == job.payload);
        let actual = alike.clone().next().map(|other| other.state);
        if alike.any(|other| other.state == job.state) || actual == Some(JobState::Lost) {
            continue;
        }
        let (kind, payload, expected) = (job.kind, job.payload.to_string(), job.state);
        findings.push(Finding::Job { kind, payload, expected, actual, serial });
    }
}
