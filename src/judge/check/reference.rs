//! Checks whether runs can be compared with a reference run: something happens in it, and the same each time.

use crate::engine::simulation;
use crate::judge::oracle;
use crate::judge::report::words;
use crate::judge::run::{FinishedRun, Outcome};
use crate::search::choice::Choice;
use crate::search::input::InputQuestion;
use crate::system::job::{JobState, short_kind};
use crate::system::json_path;

/// The parts of the fault-free run that are needed for comparison.
pub(super) struct Reference {
    pub(super) record: Vec<Choice>,
    pub(super) outcome: Outcome,
}

impl From<FinishedRun> for Reference {
    fn from(ran: FinishedRun) -> Self {
        Self { record: ran.record, outcome: ran.outcome }
    }
}

/// Returns why the reference run tests nothing, if it tests nothing.
pub(super) fn nothing_tested(outcome: &Outcome) -> Option<String> {
    if outcome.jobs.is_empty() && !outcome.record.has_spawned() {
        return Some("no job was enqueued; enqueue one with `world.enqueue(…)`".to_owned());
    }
    if !outcome.jobs.is_empty() && outcome.jobs.iter().all(|job| job.state != JobState::Done) {
        let states: Vec<_> = outcome
            .jobs
            .iter()
            .map(|job| {
                let error = job.error().map(|error| format!(": {error}")).unwrap_or_default();
                format!(
                    "job#{} {} is {}{error}",
                    job.number,
                    short_kind(job.kind),
                    words::job_state(job.state)
                )
            })
            .collect();
        let waiting = outcome.jobs.iter().any(|job| job.failures() == 0);
        let help = if waiting {
            "a test body usually ends with `world.settle().await`"
        } else {
            "fix the job, or what the test passes to it, before looking at its retries"
        };
        return Some(format!("no job ended well in the fault-free run; {help}\n{}", states.join("\n")));
    }
    if outcome.record.crash_points() == 0 {
        return Some(
            "no crash point was reached; run the jobs with `world.settle()`, because a drain injects no failures"
                .to_owned(),
        );
    }
    let forgotten =
        outcome.jobs.iter().find(|job| matches!(job.state, JobState::Ready | JobState::Scheduled));
    if let Some(job) = forgotten.filter(|job| job.attempts == 0) {
        let (number, kind) = (job.number, short_kind(job.kind));
        return Some(format!(
            "job#{number} {kind} never ran, because the test body ended before; settle again after the last enqueue"
        ));
    }
    if outcome.effects.is_empty() && outcome.state.is_empty() {
        return Some(
            "the jobs did nothing that retryproof can see: no effect through the services of the process (`p.payments()`, …), and no state under `world.durable(…)` or `world.observe(…)`".to_owned(),
        );
    }
    None
}

/// Returns the difference between two runs of the same scenario.
pub(super) fn difference(one: &Reference, other: &Reference) -> Option<String> {
    let label = |choice: Option<&Choice>| {
        choice.map_or("the end of the run".to_owned(), |c| format!("`{}`", c.label))
    };
    let (first, second) = (&one.outcome.asked, &other.outcome.asked);
    if let Some(at) = (0..first.len().max(second.len())).find(|&at| first.get(at) != second.get(at)) {
        let name = |asked: Option<&InputQuestion>| {
            asked
                .map_or("none".to_owned(), |asked| format!("`{}` of {}", asked.question, asked.answers.len()))
        };
        let (a, b) = (name(first.get(at)), name(second.get(at)));
        return Some(format!("input {at} was {a} the first time and {b} the second"));
    }
    let (first, second) = (&one.record, &other.record);
    let at = (0..first.len().max(second.len())).find(|&at| first.get(at) != second.get(at));
    if let Some(at) = at {
        let (a, b) = (label(first.get(at)), label(second.get(at)));
        let failed = failed_then(&other.outcome);
        return Some(format!("choice {at} was {a} the first time and {b} the second{failed}"));
    }
    let (one, other) = (&one.outcome, &other.outcome);
    let mut findings = oracle::alone(other);
    findings.extend(oracle::differences(other, one, false, &oracle::Excuses::default()));
    // Ids may still differ where the operating system is simulated: one with a counter that outlives the run, such as a
    // UUID that begins with the time.
    let is_renamed = findings.is_empty() && simulation::is_on();
    let mut ordered = one.effects.iter().zip(&other.effects);
    if let Some((a, b)) = ordered.find(|(a, b)| a != b).filter(|_| !is_renamed) {
        return Some(match effect_difference(&a.body, &b.body) {
            Some(path) => format!("{} differs at {path}: {a} the first time, {b} the second", a.name()),
            None => format!("an effect was {a} the first time and {b} the second"),
        });
    }
    findings.first().map(|finding| {
        let (first, second) = words::expected_and_actual(finding);
        format!("{first} the first time, {second} the second")
    })
}

/// Returns the error of a job in the run that took a different course, because it often explains why.
pub(super) fn failed_then(outcome: &Outcome) -> String {
    let failed = outcome.jobs.iter().find_map(|job| Some((job, job.error()?)));
    failed.map_or(String::new(), |(job, error)| {
        format!("; then job#{} {} failed: {error}", job.number, short_kind(job.kind))
    })
}

fn effect_difference(one: &str, other: &str) -> Option<String> {
    let (one, other) = (serde_json::from_str(one).ok()?, serde_json::from_str(other).ok()?);
    json_path::differences(&one, &other).first().map(|difference| difference.path.clone())
}
