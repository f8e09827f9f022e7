//! The texts of reports about failures, with one function per message.

mod deviation;

pub(crate) use deviation::deviation;

use std::time::Duration;

use serde_json::Value;

use super::crossing::{Crossing, CrossingStep};
use super::plain::completed;
pub(crate) use super::plain::{cut, filled, times, visible};
use crate::engine::panics::CaughtPanic;
use crate::engine::state::Culprit;
use crate::judge::oracle::Finding;
use crate::search::choice::{Actor, Name, Place};
use crate::system::effect::{Effect, Reuse};
use crate::system::hygiene::Hygiene;
use crate::system::job::{Conflict, JobState, short_kind};
use crate::system::timeline::LockEvent;
use crate::world::Guarantee;

fn json(value: Option<&Value>) -> String {
    value.map_or("nothing".to_owned(), Value::to_string)
}

/// Says what a state is, at the place where it differs.
fn is(name: Name, path: &str, value: Option<&Value>) -> String {
    match value {
        Some(_) => format!("{name}{} is {}", &path[1..], brief(value)),
        None => format!("{name}{} is missing", &path[1..]),
    }
}

/// A value that is short enough for a headline.
fn brief(value: Option<&Value>) -> String {
    const MOST: usize = 40;
    cut(&json(value), MOST).into_owned()
}

/// Says in one sentence what is wrong.
pub(crate) fn summary(finding: &Finding) -> String {
    match finding {
        Finding::Repeated { effect, expected, actual } => {
            format!("{} happened {}, expected {}", effect.name(), times(*actual), times(*expected))
        }
        Finding::Missing { effect, expected, actual } => match actual {
            0 => format!("{} never happened, expected {}", effect.name(), times(*expected)),
            _ => format!("{} happened {}, expected {}", effect.name(), times(*actual), times(*expected)),
        },
        Finding::Unexpected { effect, instead: Some(_), .. } => {
            format!("{} happened with different content or a different key than expected", effect.name())
        }
        Finding::Unexpected { effect, instead: None, .. } => {
            format!("{} happened, but happens in no fault-free run", effect.name())
        }
        Finding::Reused(reuse) => format!(
            "{}.{} never happened: it was answered with the stored answer of another request with the key {:?}",
            reuse.service, reuse.operation, reuse.key
        ),
        Finding::State { name, path, expected, actual, .. } => {
            format!("{}, expected {}", is(*name, path, actual.as_ref()), brief(expected.as_ref()))
        }
        Finding::Job { kind, actual: None, .. } => {
            format!("job `{}` was never enqueued", short_kind(kind))
        }
        Finding::Job { kind, expected, actual: Some(actual), .. } => {
            let (kind, actual, expected) = (short_kind(kind), job_state(*actual), job_state(*expected));
            format!("job `{kind}` ended {actual}, expected {expected}")
        }
        Finding::Died { kind, failures, went_wrong, error, .. } => died(kind, *failures, *went_wrong, error),
        Finding::HalfWay { kind, did, lacks, .. } => half_way(kind, did, lacks),
        Finding::Early { effect, waited, expected } => early(effect, *waited, *expected),
        Finding::Lost { kind, .. } => {
            format!(
                "job `{}` was lost when its worker crashed: the queue had already removed it",
                short_kind(kind)
            )
        }
        Finding::Unreported { kind, .. } => {
            format!("job `{}` ended dead and was not reported", short_kind(kind))
        }
        Finding::Told { kind, attempts, dead: true, .. } => {
            format!(
                "job `{}` reported its failures in {attempts} attempts, expected one report when it is dead",
                short_kind(kind)
            )
        }
        Finding::Told { kind, .. } => {
            format!("job `{}` reported a failure that a retry resolved", short_kind(kind))
        }
        Finding::NotRun { error, .. } => format!("a job could not be run: {error}"),
        Finding::DeathUnreported { kind, deaths, told, .. } => {
            let (kind, deaths, completed) = (short_kind(kind), times(*deaths as usize), completed(*told));
            format!(
                "job `{kind}` died {deaths}, but its death handlers {completed}: one of them panicked, or its process crashed"
            )
        }
        Finding::LockLeft { kind, key, holder } => {
            format!("a lock was never released: {key} of `{}`, held by {holder}", short_kind(kind))
        }
        Finding::Unhygienic(hygiene) => unhygienic(hygiene),
        Finding::Leaked(finding) => summary(finding) + ": a job found what another job had left behind",
        Finding::RefusalIgnored { .. } => refusal_ignored(finding),
        Finding::OutOfOrder { effect, before } => format!("{} happened before {before}", effect.name()),
        Finding::Panicked(panicked) => body_panicked(panicked),
        Finding::Stuck(stuck) => format!("stuck: {stuck}"),
    }
}

fn refusal_ignored(finding: &Finding) -> String {
    let Finding::RefusalIgnored { service, operation, refusal, kind, all_the_same } = finding else {
        return String::new();
    };
    let went_on = |effect: &Effect| format!("went on to {}", effect.name());
    let did = all_the_same.as_ref().map_or("did the same".to_owned(), went_on);
    let kind = short_kind(kind);
    format!("{service}.{operation} was refused ({refusal}), but job `{kind}` {did} as when it is accepted")
}

fn died(kind: &str, failures: u32, went_wrong: usize, error: &str) -> String {
    let (kind, failed) = (short_kind(kind), times(failures as usize));
    let cause = match went_wrong {
        0 => "without any deviation".to_owned(),
        1 => "with only 1 deviation".to_owned(),
        count => format!("with only {count} deviations"),
    };
    format!("job `{kind}` ended dead: it failed {failed}, {cause} ({error})")
}

fn half_way(kind: &str, did: &Finding, lacks: &Finding) -> String {
    format!("job `{}` gave up halfway: {}, but {}", short_kind(kind), half(did), half(lacks))
}

/// Says in one clause which half is there or missing of a job that gave up halfway.
fn half(finding: &Finding) -> String {
    match finding {
        Finding::Repeated { effect, actual, .. } | Finding::Missing { effect, actual, .. } => match actual {
            0 => format!("{} never happened", effect.name()),
            _ => format!("{} happened {}", effect.name(), times(*actual)),
        },
        Finding::Unexpected { effect, .. } => format!("{} happened", effect.name()),
        Finding::State { name, path, expected, actual, .. } => match (actual, expected) {
            (Some(_), Some(expected)) => format!("{}, not {expected}", is(*name, path, actual.as_ref())),
            _ => is(*name, path, actual.as_ref()),
        },
        finding => in_short(finding),
    }
}

fn early(effect: &Effect, waited: Duration, expected: Duration) -> String {
    format!("{} happened too early: after {waited:?}, expected after {expected:?}", effect.name())
}

fn body_panicked(panicked: &CaughtPanic) -> String {
    let place = panicked.place.as_ref().map(|place| format!(" at {place}")).unwrap_or_default();
    match panicked.of {
        Some(Culprit::Invariant(name)) => {
            return format!("the invariant `{name}` does not hold{place}: {}", panicked.message);
        }
        Some(Culprit::Boot(name)) => {
            return format!("the process `{name}` panicked while it booted{place}: {}", panicked.message);
        }
        None => {}
    }
    match &panicked.place {
        Some(place) => format!("the test body panicked at {place}: {}", panicked.message),
        None => format!("the test body panicked: {}", panicked.message),
    }
}

/// A short form of [`summary`], for a column of a table.
pub(crate) fn in_short(finding: &Finding) -> String {
    match finding {
        Finding::Repeated { effect, actual, .. } | Finding::Missing { effect, actual, .. } => {
            format!("{} {}", effect.name(), times(*actual))
        }
        Finding::Unexpected { effect, .. } => format!("unexpected {}", effect.name()),
        Finding::Reused(reuse) => {
            format!("{}.{} never, because the key {:?} was used", reuse.service, reuse.operation, reuse.key)
        }
        Finding::State { name, path, expected, actual, .. } => {
            format!("{name}{} = {}, not {}", &path[1..], json(actual.as_ref()), json(expected.as_ref()))
        }
        Finding::Died { kind, .. } => format!("job `{}` dead", short_kind(kind)),
        Finding::HalfWay { kind, .. } => format!("job `{}` gave up halfway", short_kind(kind)),
        Finding::Early { effect, .. } => format!("{} too early", effect.name()),
        Finding::Job { .. }
        | Finding::Lost { .. }
        | Finding::NotRun { .. }
        | Finding::Unreported { .. }
        | Finding::Told { .. }
        | Finding::DeathUnreported { .. }
        | Finding::LockLeft { .. }
        | Finding::Unhygienic(_)
        | Finding::Leaked(_)
        | Finding::RefusalIgnored { .. }
        | Finding::OutOfOrder { .. }
        | Finding::Panicked(_)
        | Finding::Stuck(_) => summary(finding),
    }
}

/// Lists the inputs that were explored.
pub(crate) fn inputs(inputs: &[(Name, &[Name])], assignments: usize) -> String {
    const MOST: usize = 6;
    let named = |(question, answers): &(Name, &[Name])| {
        let answers: Vec<_> = answers.iter().map(ToString::to_string).collect();
        format!("{question} ({})", answers.join(", "))
    };
    let mut list: Vec<_> = inputs.iter().take(MOST).map(named).collect();
    if inputs.len() > MOST {
        list.push(format!("{} more", inputs.len() - MOST));
    }
    let s = if assignments == 1 { "" } else { "s" };
    format!(
        "inputs: {}; {assignments} assignment{s}, and each run is compared with the fault-free run of its assignment",
        list.join(", ")
    )
}

/// Reports that there are more assignments of inputs than were explored.
pub(crate) fn assignments_cut(most: usize) -> String {
    format!(
        "stopped by max_assignments = {most}: the inputs have more assignments; raise the limit, or explore fewer inputs in one check"
    )
}

/// Shows an effect without the empty fields of its request.
fn shown(effect: &Effect) -> String {
    let key = effect.key.as_ref().map(|key| format!(" key {key:?}")).unwrap_or_default();
    format!("{} {}{key}", effect.name(), filled(&effect.body))
}

/// Returns what the fault-free run has, and what this run has.
pub(crate) fn expected_and_actual(finding: &Finding) -> (String, String) {
    let of = |count: usize, effect: &Effect| format!("{count} × {}", shown(effect));
    match finding {
        Finding::Repeated { effect, expected, actual } | Finding::Missing { effect, expected, actual } => {
            (of(*expected, effect), of(*actual, effect))
        }
        Finding::Unexpected { effect, instead, .. } => {
            (instead.as_ref().map_or("nothing".to_owned(), shown), shown(effect))
        }
        Finding::Reused(reuse) => both_requests(reuse),
        Finding::State { name, path, expected, actual, .. } => (
            format!("{name}{} = {}", &path[1..], json(expected.as_ref())),
            format!("{name}{} = {}", &path[1..], json(actual.as_ref())),
        ),
        Finding::Job { kind, payload, expected, actual, .. } => (
            format!("{} {payload} {}", short_kind(kind), job_state(*expected)),
            format!("{} {payload} {}", short_kind(kind), actual.map_or("never enqueued", job_state)),
        ),
        Finding::Died { kind, payload, failures, .. } => {
            let job = format!("{} {payload}", short_kind(kind));
            (format!("{job} done"), format!("{job} dead after {failures} failures"))
        }
        Finding::HalfWay { kind, payload, error, did, lacks } => {
            all_or_nothing(short_kind(kind), payload, error, (did, lacks))
        }
        Finding::Early { effect, waited, expected } => {
            let effect = shown(effect);
            (format!("{effect} after {expected:?}"), format!("{effect} after {waited:?}"))
        }
        Finding::Lost { kind, payload } => is_not(kind, payload, "done", "lost"),
        Finding::Unreported { kind, payload } => {
            is_not(kind, payload, "dead, reported once", "dead, never reported")
        }
        Finding::Told { kind, payload, attempts, dead } => {
            reports(short_kind(kind), payload, *attempts, *dead)
        }
        Finding::NotRun { kind, payload, .. } => is_not(kind, payload, "is run", "cannot be run"),
        Finding::DeathUnreported { kind, payload, deaths, told } => {
            let job = format!("{} {payload}: death handlers", short_kind(kind));
            (format!("{job} {}", completed(*deaths)), format!("{job} {}", completed(*told)))
        }
        Finding::LockLeft { kind, key, holder } => {
            let kind = short_kind(kind);
            (
                format!("{kind}: the lock {key} is free, or expires"),
                format!("{kind}: the lock {key} is held by {holder}"),
            )
        }
        Finding::Leaked(finding) => expected_and_actual(finding),
        Finding::Unhygienic(hygiene) => (hygiene_advice(hygiene).to_owned(), unhygienic(hygiene)),
        Finding::OutOfOrder { effect, before } => (
            format!("{before}, then {}", effect.name()),
            format!("{} without {before} before it", shown(effect)),
        ),
        Finding::RefusalIgnored { .. } => refusal_compared(finding, shown),
        Finding::Panicked(panicked) => {
            ("the test body completes".to_owned(), format!("panic: {}", panicked.message))
        }
        Finding::Stuck(stuck) => ("the run ends".to_owned(), stuck.to_string()),
    }
}

fn refusal_compared(finding: &Finding, shown: fn(&Effect) -> String) -> (String, String) {
    let Finding::RefusalIgnored { service, operation, refusal, kind, all_the_same } = finding else {
        return (String::new(), String::new());
    };
    match all_the_same {
        Some(effect) => (
            format!("no {} after {service}.{operation} answered `{refusal}`", effect.name()),
            format!("{service}.{operation} answered `{refusal}`, and {} happened", shown(effect)),
        ),
        None => (
            format!(
                "an effect, a state or an end of job `{}` that differs from the run in which {service}.{operation} is accepted",
                short_kind(kind)
            ),
            format!("{service}.{operation} answered `{refusal}`, and everything else is the same"),
        ),
    }
}

fn both_requests(Reuse { service, operation, key, first, second, .. }: &Reuse) -> (String, String) {
    (
        format!("{service}.{operation} {} happens, under its own key", filled(second)),
        format!(
            "{service}.{operation} {} happened under the key {key:?}, and its answer was used for both",
            filled(first)
        ),
    )
}

fn reports(kind: &str, payload: &str, attempts: usize, is_dead: bool) -> (String, String) {
    let (state, expected) = if is_dead { ("dead", "reported once") } else { ("done", "never reported") };
    let job = format!("{kind} {payload} {state}");
    let s = if attempts == 1 { "" } else { "s" };
    (format!("{job}, {expected}"), format!("{job}, reported in {attempts} attempt{s}"))
}

/// Names the run that has the expected outcome: that of an order that the run allows, or the fault-free run.
pub(super) fn whose(finding: &Finding, order: &[u32]) -> String {
    const MOST: usize = 8;
    if matches!(finding, Finding::HalfWay { .. }) {
        return "all or nothing".to_owned();
    }
    if order.len() < 2 {
        return "the fault-free run".to_owned();
    }
    let jobs: Vec<_> = order.iter().take(MOST).map(|job| format!("job#{job}")).collect();
    let more = if order.len() > MOST { ", …" } else { "" };
    format!("allowed order: {}{more}", jobs.join(", "))
}

fn is_not(kind: &str, payload: &str, expected: &str, actual: &str) -> (String, String) {
    let job = format!("{} {payload}", short_kind(kind));
    (format!("{job} {expected}"), format!("{job} {actual}"))
}

/// Returns what a job that gave up should have done, and what it did. A job that does nothing has no `did`, and a job
/// that does everything has no `lacks`.
fn all_or_nothing(
    kind: &str,
    payload: &str,
    error: &str,
    (did, lacks): (&Finding, &Finding),
) -> (String, String) {
    let ((nothing, did), (all, _)) = (expected_and_actual(did), expected_and_actual(lacks));
    (
        format!("{kind} {payload}: all of it ({all}) or nothing ({nothing})"),
        format!("{did}, and it gave up: {error}"),
    )
}

/// Lists the deviations of a run in one line.
pub(crate) fn causes(causes: &[String]) -> String {
    match causes {
        [] => "in the fault-free run".to_owned(),
        causes => causes.join("; then "),
    }
}

/// Says what the test allows that would otherwise be a violation.
pub(crate) fn allowed(effect: &str, guarantee: Guarantee) -> Option<String> {
    let may = match guarantee {
        Guarantee::ExactlyOnce => return None,
        Guarantee::AtLeastOnce => "may be repeated",
        Guarantee::AtMostOnce => "may be missing",
        Guarantee::Unchecked => "may be repeated and may be missing",
        Guarantee::Between { least, most } => {
            return Some(format!("{effect} may happen {least} to {most} times: the test allows that"));
        }
    };
    Some(format!("{effect} {may}: the test allows `{guarantee:?}`"))
}

pub(crate) fn effect_of(finding: &Finding) -> Option<String> {
    match finding {
        Finding::Repeated { effect, .. }
        | Finding::Missing { effect, .. }
        | Finding::Early { effect, .. }
        | Finding::OutOfOrder { effect, .. }
        | Finding::Unexpected { effect, .. } => Some(effect.name()),
        Finding::Reused(reuse) => Some(format!("{}.{}", reuse.service, reuse.operation)),
        Finding::Leaked(finding) => effect_of(finding),
        _ => None,
    }
}

pub(crate) fn job_state(state: JobState) -> &'static str {
    match state {
        JobState::Ready => "ready",
        JobState::Scheduled => "scheduled",
        JobState::Retrying => "waiting for a retry",
        JobState::Blocked => "waiting for the jobs before it in its stream",
        JobState::Running => "running",
        JobState::Leased => "leased by a crashed worker",
        JobState::Done => "done",
        JobState::Dead => "dead",
        JobState::Popped => "popped",
        JobState::Lost => "lost",
        JobState::Discarded => "discarded",
        JobState::Cleared => "cleared",
        JobState::Forgotten => "dead, and removed from the dead set",
        JobState::Dropped => "dropped because of its lock",
        JobState::Replaced => "replaced by another job with its lock",
    }
}

/// Shows two steps of one attempt, and the step of another attempt that came between them, in one line each.
pub(super) fn crossing(crossing: &Crossing) -> [String; 3] {
    let named = |step: &CrossingStep| {
        let what = match step.operation {
            Some(operation) => format!("{}.{operation}", step.whose),
            None => format!("updates `{}`", step.whose),
        };
        format!("{what} ({}:{})", step.place.file, step.place.line)
    };
    let Crossing { before, between, after } = crossing;
    [
        format!("{}: {}", who(before.by), named(before)),
        format!("    {}: {}", who(between.by), named(between)),
        format!("{}: {}", who(after.by), named(after)),
    ]
}

/// `attempt 2 of job#1`
pub(crate) fn who(actor: Actor) -> String {
    match actor {
        Actor::Attempt { job, attempt } => format!("attempt {attempt} of job#{job}"),
        Actor::Process(name) | Actor::Task(name) => name.to_string(),
        Actor::Test => "the test".to_owned(),
    }
}

/// `attempt 2 of job#1: …`
pub(crate) fn at(by: Actor, text: &str) -> String {
    match by {
        Actor::Attempt { job: 1, attempt } => format!("attempt {attempt}: {text}"),
        Actor::Attempt { job, attempt } => format!("job#{job}, attempt {attempt}: {text}"),
        Actor::Process(name) | Actor::Task(name) => format!("{name}: {text}"),
        Actor::Test => text.to_owned(),
    }
}

/// Marks a call that a later attempt makes again.
pub(super) fn call_again(by: Actor, service: Name, operation: Name) -> String {
    at(by, &format!("calls {service}.{operation} again"))
}

/// Marks the last call of the attempt that ended the job.
pub(super) fn last_call_of_done_job(by: Actor) -> String {
    at(by, "its last call, and the job is done")
}

/// Says what happened to a lock.
pub(crate) fn lock(key: &str, event: &LockEvent) -> String {
    match event {
        LockEvent::Taken => format!("takes the lock {key}"),
        LockEvent::GivenBack => format!("releases the lock {key}"),
        LockEvent::TakenAway => format!("releases the lock {key}, which another job holds"),
        LockEvent::Conflict { holder, then } => {
            let then = match then {
                Conflict::Drop => "dropped".to_owned(),
                Conflict::Raise => "refused".to_owned(),
                Conflict::Reject => "moved to the dead set".to_owned(),
                Conflict::Replace => "replaces it".to_owned(),
                Conflict::Reschedule(wait) => format!("rescheduled after {wait:?}"),
                Conflict::Wait => "waits for it".to_owned(),
            };
            format!("finds the lock {key} held by {holder}: {then}")
        }
    }
}

/// Says what is risky.
pub(crate) fn unhygienic(hygiene: &Hygiene) -> String {
    match hygiene {
        Hygiene::ExternalCall { service, operation, opened, .. } => {
            format!("{service}.{operation} is called while the transaction begun at {} is open", line(opened))
        }
        Hygiene::EnqueueInTransaction { kind, opened, .. } => {
            let kind = short_kind(kind);
            format!("job `{kind}` is enqueued while the transaction begun at {} is open", line(opened))
        }
        Hygiene::PoolTooSmall { process, slots, connections } => {
            let connections = match connections {
                1 => "1 connection".to_owned(),
                count => format!("{count} connections"),
            };
            format!("`{process}` runs {slots} jobs at once over {connections} to the store")
        }
        Hygiene::Unexplored { address } => {
            format!("code under test connects to {address}, where nothing goes wrong and nothing is compared")
        }
    }
}

/// Says why it is risky, and what to do instead.
pub(crate) fn hygiene_advice(hygiene: &Hygiene) -> &'static str {
    match hygiene {
        Hygiene::ExternalCall { .. } => {
            "the transaction holds row locks and a connection until the answer comes; make the call after the commit"
        }
        Hygiene::EnqueueInTransaction { .. } => {
            "the job may run before the commit and find nothing, and a rollback does not remove it; insert a row into an outbox in the same transaction, and enqueue from there"
        }
        Hygiene::PoolTooSmall { .. } => {
            "jobs wait for each other's connections, and wait forever if one of them needs a second connection; size the pool to the slots"
        }
        Hygiene::Unexplored { .. } => {
            "its server is real and keeps its state from run to run; put it behind the harness (`world.upstream`, `p.external`, `retryproof-postgres`), or give the code the address of a fake"
        }
    }
}

pub(crate) fn unhygienic_place(hygiene: &Hygiene) -> Option<Place> {
    match hygiene {
        Hygiene::ExternalCall { place, .. } | Hygiene::EnqueueInTransaction { place, .. } => Some(*place),
        Hygiene::PoolTooSmall { .. } | Hygiene::Unexplored { .. } => None,
    }
}

fn line(place: &Place) -> String {
    format!("{}:{}", place.file, place.line)
}

/// Marks an effect that had already happened.
pub(crate) fn again(effect: &Effect) -> String {
    format!("{} happens again", effect.name())
}

/// Marks a request that did not happen because its key was already used.
pub(crate) fn reused_here(reuse: &Reuse) -> String {
    format!("the key {:?} was used by another request; this one never happens", reuse.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_steers_a_terminal() {
        assert_eq!(visible("a\u{1b}[31m\r\nb\u{202e}"), "a\\u{1b}[31m\\r\\nb\\u{202e}");
        assert!(matches!(visible("plain ü → ●"), std::borrow::Cow::Borrowed(_)));
    }

    #[test]
    fn requests_are_shown_without_what_is_empty() {
        let request = r#"{"z":"","b":{"c":null},"a":{"d":"6"},"e":[],"f":0,"g":null}"#;
        assert_eq!(filled(request), r#"{"a":{"d":"6"},"f":0}"#);
        assert_eq!(filled("6"), "6");
        assert_eq!(filled("{not JSON"), "{not JSON");
    }

    #[test]
    fn a_text_is_cut_at_its_columns() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äö…");
    }
}
